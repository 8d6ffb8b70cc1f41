"""``work list``, ``retry`` and ``drain`` as a user meets them, on work as a running service leaves it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from fhir_aftercare.cli.work import app
from servers import free_port

if TYPE_CHECKING:
    from click.testing import Result

LEFT = Path(__file__).parents[1] / "data" / "work" / "release-1.sql"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AFTERCARE_DATABASE_URL", f"sqlite:///{tmp_path / 'aftercare.db'}")
    return tmp_path


@pytest.fixture
def database(folder: Path) -> Path:
    file = folder / "aftercare-work.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(LEFT.read_text("utf-8"))
    return file


def run(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done


def listed(*arguments: str) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in json.loads(run("list", "--json", *arguments).stdout)}


def change(database: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute(statement)
        connection.commit()


def test_what_is_not_done_is_listed_with_its_reason(database: Path) -> None:
    lines = {line.split()[0]: line for line in run("list").stdout.splitlines()}
    assert next(iter(lines)) == "id"
    assert set(lines) == {"id", "refused", "refused-later", "put-off", "begun", "not-begun"}
    assert "fhir-rejected error/invariant/care-1" in lines["refused"]
    assert all(word in lines["put-off"] for word in ("harbor", "waiting", "fhir-broken", "Encounter/4"))
    found = listed()
    assert found["put-off"]["next"] > found["put-off"]["changed"]
    assert found["refused-later"] == {
        "id": "refused-later",
        "job": "do",
        "clinic": "harbor",
        "state": "refused",
        "about": {"encounter": "Encounter/2"},
        "attempts": 2,
        "code": "fhir-rejected",
        "issues": [{"severity": "error", "code": "invariant", "details": ["care-1"]}],
        "result": None,
        "changed": found["refused-later"]["changed"],
        "next": None,
    }


def test_work_is_chosen_by_state_and_clinic(database: Path) -> None:
    assert set(listed("--state", "refused")) == {"refused", "refused-later"}
    assert set(listed("--state", "done", "--state", "running")) == {"done", "begun"}
    assert listed("--clinic", "summit") == {}
    assert len(listed("--limit", "2")) == 2
    assert "refused" in run("list", "--state", "lost", code=2).stderr


def test_an_identifier_that_names_a_person_is_not_shown(database: Path) -> None:
    change(database, "UPDATE workflow_input SET inputs = replace(inputs, '\"encounter\"', '\"patient_identifier\"')")
    assert "Encounter/" not in run("list", "--json").stdout
    assert "Encounter/" not in run("list").stdout


def test_refused_work_waits_again_after_retry(database: Path) -> None:
    assert "will be done again" in run("retry", "refused-later").stderr
    assert listed()["refused-later"]["state"] == "waiting"
    assert "1 will be done again" in run("retry", "--all", "--clinic", "harbor").stderr
    assert listed("--state", "refused") == {}
    assert "0 will be done again" in run("retry", "--all").stderr


def test_put_off_work_is_hurried_by_retry(database: Path) -> None:
    run("retry", "put-off")
    assert listed()["put-off"]["next"] < "2100"


def test_there_must_be_something_to_repeat(database: Path) -> None:
    assert "nothing to repeat" in run("retry", "done", code=1).stderr
    assert "work list" in run("retry", "unheard-of", code=1).stderr
    for arguments in ((), ("refused", "--all")):
        assert "--all" in run("retry", *arguments, code=2).stderr


def test_drain_ends_when_nothing_is_left_to_do_and_fails_when_the_time_is_over(database: Path) -> None:
    over = run("drain", "--timeout", "0.1", code=1)
    assert "2 waiting, 1 running, 2 refused" in over.stderr
    assert "fhir-aftercare serve" in over.stderr  # nobody does it
    change(database, "UPDATE workflow_status SET status = 'SUCCESS' WHERE status <> 'ERROR'")
    assert run("drain").stderr.strip() == "0 waiting, 0 running, 2 refused"


def test_where_no_work_was_ever_kept_there_is_none_and_no_file_is_made(folder: Path) -> None:
    assert json.loads(run("list", "--json").stdout) == []
    assert run("list").stdout == ""
    run("drain")
    assert "AFTERCARE_DATABASE_URL" in run("retry", "--all", code=1).stderr
    assert list(folder.iterdir()) == []


def test_a_database_that_cannot_be_asked_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (f"postgresql://app:secret@127.0.0.1:{free_port()}/clinic", "mysql://app:secret@db/clinic"):
        monkeypatch.setenv("AFTERCARE_DATABASE_URL", url)
        for arguments in (["list"], ["retry", "--all"], ["drain"]):
            said = run(*arguments, code=1)
            assert "database" in said.stderr
            assert "secret" not in said.output
