"""``keys new``, ``rotate`` and ``list`` as a user meets them; a private key never leaves the file."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from fhir_aftercare.cli.keys import app
from fhir_aftercare.smart.keys import KeyRing

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys.json"
    monkeypatch.setenv("AFTERCARE_KEYS", str(path))
    return path


def run(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done


def private_parts(file: Path) -> list[str]:
    return [key["d"] for key in json.loads(file.read_text("utf-8"))["keys"]]


def test_a_new_file_has_a_key_that_signs_and_the_next(file: Path) -> None:
    done = run("new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ring = KeyRing.load(file)
    assert [(key.alg, key.status) for key in ring.keys] == [("ES384", "current"), ("ES384", "next")]
    assert all(key.kid in done.stdout for key in ring.keys)
    assert "jwks.json" in done.stderr
    assert not [part for part in private_parts(file) if part in done.output]


def test_keys_for_another_algorithm_are_added_and_none_is_lost(file: Path) -> None:
    run("new")
    before = KeyRing.load(file)
    run("new", "--alg", "RS384")
    assert {key.kid for key in before.keys} < {key.kid for key in KeyRing.load(file).keys}
    refused = run("new", code=1)
    assert "keys rotate" in refused.stderr
    assert run("new", "--alg", "HS256", code=1).stderr.count("RS384")


def test_rotation_lets_the_next_key_sign_and_tells_if_it_is_young(file: Path) -> None:
    run("new")
    before = KeyRing.load(file)
    done = run("rotate")
    after = KeyRing.load(file)
    assert after.signing("ES384").kid == before.keys[1].kid
    assert [key.status for key in after.keys] == ["current", "next", "retired"]
    assert "less than an hour ago" in done.stderr
    assert not [part for part in private_parts(file) if part in done.output]


def test_a_compromised_key_is_gone_at_once(file: Path) -> None:
    run("new")
    before = {key.kid for key in KeyRing.load(file).keys}
    done = run("rotate", "--compromised")
    assert not before & {key.kid for key in KeyRing.load(file).keys}
    assert "tell them" in done.stderr


def test_the_list_is_for_people_or_for_an_ehr(file: Path) -> None:
    run("new")
    ring = KeyRing.load(file)
    listed = run("list")
    assert [line.split()[:3] for line in listed.stdout.splitlines()[1:]] == [
        [key.kid, "ES384", key.status] for key in ring.keys
    ]
    assert json.loads(run("list", "--jwks").stdout) == ring.public_jwks()


def test_a_file_that_cannot_be_used_is_told_with_the_remedy(file: Path) -> None:
    for command in ("list", "rotate"):
        assert "cannot be read" in run(command, code=1).stderr
    run("new")
    file.chmod(0o644)
    assert "chmod 600" in run("list", code=1).stderr
    file.chmod(0o600)
    file.write_text("{}", "utf-8")
    assert "not one of ours" in run("rotate", code=1).stderr
