"""The commands ``protocol lint``, ``simulate``, ``install`` as a user meets them: output, JSON, exit codes."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from fhir_aftercare.cli.protocol import app
from fhir_aftercare.fhir import exact_json, terms
from fhir_aftercare.fhir.lint import RULES
from fhir_aftercare.protocol_files import read_protocol_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

Resource = dict[str, Any]

SHIPPED = read_protocol_files(None)
CALL = "ActivityDefinition-follow-up-call.json"
PLAN = "PlanDefinition-ketamine-infusion-aftercare.json"
CLINIC = """
name = "Harbor Clinic"
fhir_base_url = "http://127.0.0.1:9/fhir"
identifier_base = "https://aftercare.example.org"
zone = "America/Los_Angeles"
organization = "Organization/42"
phone = "+1 555 0100"
language = "es"
[call_hours]
sat = ["09:00-12:00"]
"""


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the shipped protocol in a folder of its own."""
    for name, each in SHIPPED.items():
        (tmp_path / name).write_bytes(exact_json.dumps(each))
    return tmp_path


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    path = tmp_path / "harbor.toml"
    path.write_text(CLINIC)
    return path


def change(path: Path, file: str, **values: Any) -> Path:
    """Write a shipped file with elements changed (None: taken out)."""
    found = {name: value for name, value in {**copy.deepcopy(SHIPPED[file]), **values}.items() if value is not None}
    (path / file).write_bytes(exact_json.dumps(found))
    return path / file


# --- lint ------------------------------------------------------------------------------------------------------------
def test_the_shipped_folder_passes(folder: Path) -> None:
    result = run("lint", folder)
    assert f"{len(SHIPPED)} file(s): 0 error(s), 0 warning(s), 1 to know." in result.output
    assert "no-open-hour  PlanDefinition.action[7].relatedAction" in result.output


def test_a_single_file_is_looked_at_with_the_shipped_rest(tmp_path: Path) -> None:
    assert "1 file(s): 0 error(s)" in run("lint", change(tmp_path, CALL)).output
    assert "0 to know" in run("lint", tmp_path / CALL).output
    changed = change(tmp_path, CALL, kind="ServiceRequest", doNotPerform=True)
    result = run("lint", changed, code=1)
    assert str(changed) in result.output
    assert "must be a restriction" in result.output


def test_what_a_file_breaks_elsewhere_is_found(tmp_path: Path) -> None:
    result = json.loads(run("lint", "--json", change(tmp_path, CALL, status="draft"), code=1).stdout)
    (found,) = result["findings"]
    assert (found["file"], found["rule"]) == (PLAN, "canonical")


def test_json_holds_each_finding_whole(folder: Path) -> None:
    path = change(folder, CALL, code=None, description=None)
    result = json.loads(run("lint", "--json", folder, code=1).stdout)
    assert (result["errors"], result["warnings"], result["information"], result["files"]) == (2, 0, 1, len(SHIPPED))
    found = [each for each in result["findings"] if each["severity"] == "error"]
    assert {each["path"] for each in found} == {"ActivityDefinition.code", "ActivityDefinition.description"}
    for each in found:
        assert each.keys() == {"file", "path", "rule", "severity", "why", "remedy"}
        assert each["file"] == str(path)
        assert each["rule"] in RULES
        assert each["why"]
        assert each["remedy"]


def test_a_folder_is_a_whole_protocol(folder: Path) -> None:
    (folder / CALL).unlink()
    result = run("lint", folder, code=1)
    assert "canonical  PlanDefinition.action[7].definitionCanonical" in result.output


def test_the_clinics_hours_and_zone_are_used(folder: Path, clinic: Path) -> None:
    result = run("lint", folder, "--clinic", clinic)
    assert "at harbor." in result.output
    assert "Infusions ending Mon 0-24 h, Tue 0-24 h" in result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "it is not JSON"), ('{"resourceType": "Patient"}', "no FHIR definition"), (None, "cannot be read")],
)
def test_what_cannot_be_read_is_exit_code_2_and_named(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "broken.json"
    if text is not None:
        path.write_text(text)
    result = run("lint", path, code=2)
    assert f"{path}: " in result.stderr.replace("\n", "")
    assert said in result.stderr
    (fault,) = json.loads(run("lint", "--json", path, code=2).stdout)["unreadable"]
    assert said in fault


def test_a_faulty_clinic_file_is_exit_code_2(folder: Path, clinic: Path) -> None:
    clinic.write_text(CLINIC.replace("America/Los_Angeles", "Mars/Olympus"))
    result = run("lint", folder, "--clinic", clinic, code=2)
    assert "harbor.toml: zone: must be an IANA name" in result.stderr


# --- simulate --------------------------------------------------------------------------------------------------------
SPRING = ("simulate", "--date", "2026-03-07T15:45", "--zone", "America/New_York")


def test_a_table_shows_who_does_what_when() -> None:
    output = run(*SPRING).output
    assert "Infusion 1 of 1: from 2026-03-07T15:05-05:00 to 2026-03-07T15:45-05:00" in output
    lines = {
        line.split("│")[1].strip(): [each.strip() for each in line.split("│")]
        for line in output.splitlines()
        if "│" in line
    }
    assert lines["Follow-up call"][2:5] == ["nurse", "2026-03-09T09:00-04:00", "2026-03-09T18:00-04:00"]
    assert "2026-03-08T07:00-04:00" in output
    assert "Coming: forms that open later" in output


def test_a_course_marks_what_was_superseded() -> None:
    output = run(*SPRING, "--infusions", 6, "--every", "3d").output
    assert "Infusion 6 of 6: from 2026-03-22T15:05-04:00 to 2026-03-22T15:45-04:00" in output
    assert "superseded" in output


def test_json_is_a_bundle() -> None:
    bundle = json.loads(run(*SPRING, "--json", "--escort", "left-alone").stdout)
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    codes = [
        e["resource"]["code"]["coding"][0]["code"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Task"
    ]
    assert terms.SAME_EVENING_CALL.code in codes


def test_a_clinic_gives_zone_language_hours_and_identifiers(clinic: Path) -> None:
    result = run("simulate", "--date", "2026-03-07T15:45", "--clinic", clinic, "--json")
    tasks = [e["resource"] for e in json.loads(result.stdout)["entry"] if e["resource"]["resourceType"] == "Task"]
    assert {each["identifier"][0]["system"] for each in tasks} == {"https://aftercare.example.org/id/activity"}
    (call,) = [each for each in tasks if each["code"]["coding"][0]["code"] == terms.FOLLOW_UP_CALL.code]
    assert call["restriction"]["period"] == {"start": "2026-03-14T09:00:00-07:00", "end": "2026-03-14T12:00:00-07:00"}
    assert "Harbor Clinic; times of America/Los_Angeles" in run(
        "simulate", "--date", "2026-03-07T15:45", "--clinic", clinic
    ).output.replace("\n", " ")


def test_a_clinics_own_protocol_is_simulated(folder: Path) -> None:
    plan = copy.deepcopy(SHIPPED[PLAN])
    plan["action"] = [each for each in plan["action"] if each["id"] != "day-3-check-in"]
    change(folder, PLAN, action=plan["action"])
    assert "Day 3" in run(*SPRING).output
    assert "Day 3" not in run(*SPRING, "--profiles", folder).output


def test_a_protocol_that_is_refused_is_exit_code_1(folder: Path) -> None:
    change(folder, CALL, description=None)
    result = run(*SPRING, "--profiles", folder, code=1)
    assert "`description` is missing" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--date", "2026-03-08T02:30", "--zone", "America/New_York"], "skip this time"),
        (["--date", "2026-11-01T01:30", "--zone", "America/New_York"], "comes twice on that day; add -04:00 or -05:00"),
        (["--date", "2026-03-07", "--zone", "America/New_York"], "date and time"),
        (["--date", "soon", "--zone", "America/New_York"], "date and time"),
        (["--date", "2026-03-07T15:45"], "--zone"),
        (["--date", "2026-03-07T15:45", "--zone", "UTC", "--every", "3 moons", "--infusions", "2"], "such as 3d"),
        (["--date", "2026-03-07T15:45", "--zone", "UTC", "--language", "de"], "en, es"),
    ],
)
def test_what_cannot_be_simulated_is_a_usage_error(arguments: list[str], said: str) -> None:
    result = run("simulate", *arguments, code=2)
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_a_time_with_its_offset_is_never_ambiguous() -> None:
    result = run("simulate", "--date", "2026-11-01T01:30-05:00", "--zone", "America/New_York")
    assert "to 2026-11-01T01:30-05:00" in result.output


def test_an_unknown_zone_is_named() -> None:
    assert "IANA" in run("simulate", "--date", "2026-03-07T15:45", "--zone", "Mars/Olympus", code=1).stderr


# --- install ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Give a server that has nothing and accepts everything, and the Authorization headers it saw."""
    seen: list[str] = []

    class Accepting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            entries = [answer(entry["request"]) for entry in sent["entry"]]
            body = json.dumps({"resourceType": "Bundle", "type": "batch-response", "entry": entries}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/fhir+json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    def answer(request: Resource) -> Resource:
        if request["method"] == "GET":
            return {"response": {"status": "200"}, "resource": {"resourceType": "Bundle", "type": "searchset"}}
        return {"response": {"status": "201", "location": f"{request['url']}/_history/1"}}

    http = HTTPServer(("127.0.0.1", 0), Accepting)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/fhir", seen
    http.shutdown()
    http.server_close()
    thread.join()


def test_every_file_is_told_with_what_became_of_it(server: tuple[str, list[str]]) -> None:
    output = run("install", "--fhir-base-url", server[0]).output
    assert f"created    ActivityDefinition/follow-up-call  ({CALL})" in output
    assert f"{server[0]}: {len(SHIPPED)} created." in output
    assert "indexed them again" in output
    result = json.loads(run("install", "--fhir-base-url", server[0], "--json").stdout)
    assert result["created"] == len(result["files"]) == len(SHIPPED)
    assert server[1][0] == ""


def test_a_token_is_sent_and_never_shown(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERCARE_FHIR_TOKEN", "opaque-token")
    result = run("install", "--fhir-base-url", server[0])
    assert set(server[1]) == {"Bearer opaque-token"}
    assert "opaque-token" not in result.output
    assert "https" in run("install", "--fhir-base-url", "http://fhir.example.com/r4", code=2).stderr


def test_a_faulty_protocol_is_not_installed(server: tuple[str, list[str]], folder: Path) -> None:
    change(folder, CALL, description=None)
    result = run("install", "--fhir-base-url", server[0], "--profiles", folder, code=1)
    assert CALL in result.stderr
    assert server[1] == []


def test_a_server_that_is_not_there_is_told(clinic: Path) -> None:
    result = run("install", "--clinic", clinic, code=1)
    assert "reachable" in result.stderr


def test_a_server_must_be_named() -> None:
    assert "--fhir-base-url" in run("install", code=2).stderr


@pytest.mark.parametrize("command", ["lint", "simulate"])
def test_what_speaks_to_no_server_starts_without_the_libraries_that_do(command: str) -> None:
    script = (
        f"import sys, fhir_aftercare.cli.protocol_{command};"
        "print([each for each in ('httpx', 'fastapi', 'sqlalchemy', 'dbos', 'cryptography') if each in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert ran.stdout.strip() == b"[]"
