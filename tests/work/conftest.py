"""Tests of durable work do not wait for what DBOS looks at once in a second."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """DBOS looks once in a second for work whose waiting time is over: nearly every test would wait for that."""
    monkeypatch.setattr("dbos._workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC", 0.05)
