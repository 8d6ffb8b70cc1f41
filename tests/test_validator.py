"""A validator that cannot be started, or ends, says why and what to do."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import validator
from servers import ServerFailed
from validator import Issue, OfficialValidator

if TYPE_CHECKING:
    from pathlib import Path


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> OfficialValidator:
    run = folder / "run.sh"
    run.write_text(f'#!/bin/sh\n[ "$1" = "--build" ] && exit ${{BUILT:-0}}\n{script}\n')
    run.chmod(0o755)
    monkeypatch.setattr(validator, "VALIDATOR_DIR", folder)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    return OfficialValidator(folder / "log")


def test_without_maven_it_names_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "mvn" else tool)
    with pytest.raises(ServerFailed, match=r"not found: mvn\. Run: make test-deps"):
        OfficialValidator(tmp_path / "log").start()


def test_a_failed_build_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILT", "1")
    with pytest.raises(ServerFailed, match="could not be built"):
        pretend(monkeypatch, tmp_path, "").start()


def test_a_validator_that_ends_while_starting_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerFailed, match="no memory"):
        pretend(monkeypatch, tmp_path, 'echo "no memory" >&2; exit 3').start()


def test_a_validator_that_never_gets_ready_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validator, "BOOT_SECONDS", 0.2)
    with pytest.raises(ServerFailed, match="thinking"):
        pretend(monkeypatch, tmp_path, 'echo "thinking" >&2; exec sleep 60').start()


def test_what_is_asked_of_a_validator_that_has_ended_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = pretend(monkeypatch, tmp_path, 'echo "{}"; echo "gone" >&2')
    ending.start()
    with pytest.raises(ServerFailed, match="gone"):
        ending.validate([{"resourceType": "Patient"}])
    ending.stop()
    ending.stop()
    with pytest.raises(ServerFailed, match="not running"):
        ending.faults({"resourceType": "Patient"})


def test_each_resource_gets_the_answer_to_its_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    echo = """echo '{}'; while read -r line; do echo "[{\\"severity\\": \\"error\\", \\"location\\": \\"$(
        echo "$line" | tr -dc a-z)\\", \\"message\\": \\"m\\"}]"; done"""
    running = pretend(monkeypatch, tmp_path, echo)
    running.start()
    try:
        assert running.validate([{"id": "a"}, {"id": "b"}]) == [[Issue("error", f"id{name}", "m")] for name in "ab"]
    finally:
        running.stop()
