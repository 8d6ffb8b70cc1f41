"""Protocol files: the shipped ones are found in a checkout and in an installed package, faulty ones are all named."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from fhir_aftercare import protocol_files
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.protocol_files import read_protocol_files

ROOT = Path(__file__).resolve().parents[1]
DEFINITION = {"resourceType": "Questionnaire", "url": "https://example.org/Questionnaire/x"}


def write(folder: Path, name: str, content: str | bytes) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def faults_of(folder: Path) -> ConfigFault:
    with pytest.raises(ConfigFault) as fault:
        read_protocol_files(folder)
    return fault.value


def test_the_shipped_files_are_those_of_the_checkout() -> None:
    found = read_protocol_files(None)
    assert list(found) == sorted(path.name for path in (ROOT / "profiles").glob("*.json"))
    assert found["Questionnaire-phq-9.json"]["resourceType"] == "Questionnaire"
    assert not any(resource["resourceType"] == "Patient" for resource in found.values())


def test_an_installed_package_brings_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {
        "profiles": "fhir_aftercare/_profiles"
    }
    (tmp_path / "_profiles").mkdir()
    write(tmp_path / "_profiles", "Questionnaire-x.json", json.dumps(DEFINITION))
    monkeypatch.setattr(protocol_files, "files", lambda _: tmp_path)
    assert read_protocol_files(None) == {"Questionnaire-x.json": DEFINITION}


def test_a_clinics_own_folder_is_read_instead(tmp_path: Path) -> None:
    write(tmp_path, "b.json", json.dumps(DEFINITION))
    write(tmp_path, "a.json", b"\xef\xbb\xbf" + json.dumps(DEFINITION).encode())
    write(tmp_path, "README.md", "not read")
    (tmp_path / "examples").mkdir()
    write(tmp_path / "examples", "c.json", "not read")
    (tmp_path / "folder.json").mkdir()
    assert list(read_protocol_files(tmp_path)) == ["a.json", "b.json"]


def test_decimals_stay_as_they_are_written(tmp_path: Path) -> None:
    write(tmp_path, "a.json", '{"resourceType": "Questionnaire", "url": "https://example.org/x", "value": 1.50}')
    assert str(read_protocol_files(tmp_path)["a.json"]["value"]) == str(Decimal("1.50"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('{"resourceType": "Questionnaire", "url": "x"} x', "not JSON"),
        ('{"resourceType": "Questionnaire", "url": "x", "a": NaN}', "not JSON"),
        ('{"resourceType": "Questionnaire", "url": "x", "item": [{"a": 1, "a": 2}]}', "there twice"),
        (b'{"resourceType": "Questionnaire", "url": "\xe9"}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no FHIR definition"),
        ('"Questionnaire"', "no FHIR definition"),
        ('{"resourceType": "Patient", "id": "1"}', "no FHIR definition"),
        ('{"url": "https://example.org/x"}', "no FHIR definition"),
        ('{"resourceType": "Questionnaire", "url": 1}', "no FHIR definition"),
    ],
)
def test_a_file_that_is_no_fhir_definition_is_named(tmp_path: Path, content: str | bytes, said: str) -> None:
    write(tmp_path, "good.json", json.dumps(DEFINITION))
    write(tmp_path, "bad.json", content)
    fault = faults_of(tmp_path)
    assert fault.where == ("bad.json",)
    assert said in fault.message
    assert "resourceType and url" in fault.message


def test_all_faulty_files_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a.json", "[]")
    write(tmp_path, "b.json", "{")
    fault = faults_of(tmp_path)
    assert fault.where == ("a.json", "b.json")
    assert len(fault.faults) == 2


def test_a_folder_that_is_not_there_or_empty_is_a_fault(tmp_path: Path) -> None:
    for folder, said in ((tmp_path / "none", "no such folder"), (tmp_path, "no protocol files")):
        fault = faults_of(folder)
        assert said in fault.message
        assert str(folder) in fault.message
        assert fault.where == ("AFTERCARE_PROFILES",)
