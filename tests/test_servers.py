"""A test server that cannot be started says why, and what to do."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import servers
from servers import HapiServer, ServerFailed

if TYPE_CHECKING:
    from pathlib import Path


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    run = folder / "run.sh"
    run.write_text(f"#!/bin/sh\n{script}\n")
    run.chmod(0o755)
    monkeypatch.setattr(servers, "HAPI_DIR", folder)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")


def test_without_java_it_names_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "java" else tool)
    with pytest.raises(ServerFailed, match=r"not found: java\. Run: make test-deps"):
        HapiServer(tmp_path / "log").start()


def test_a_failed_build_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, 'echo "no such artefact"; exit 1')
    with pytest.raises(ServerFailed, match="no such artefact"):
        HapiServer(tmp_path / "log").start()


def test_a_server_that_ends_while_starting_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, '[ "$1" = "--build" ] && exit 0; echo "port $HAPI_PORT: no memory"; exit 3')
    with pytest.raises(ServerFailed, match=r"ended with 3 while starting[\s\S]+no memory"):
        HapiServer(tmp_path / "log").start()


def test_a_server_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, '[ "$1" = "--build" ] && exit 0; echo "thinking"; exec sleep 60')
    monkeypatch.setattr(servers, "BOOT_SECONDS", 0.2)
    hapi = HapiServer(tmp_path / "log")
    with pytest.raises(ServerFailed, match="thinking"):
        hapi.start()
    hapi.stop()
