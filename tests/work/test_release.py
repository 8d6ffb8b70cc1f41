"""Work that the previous release left is done by this one: ``make_release`` made the file, once."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fhir_aftercare.work.board import open_board
from fhir_aftercare.work.place import work_url
from work.bench import CLINIC, QUICK, Hands, drained, until

LEFT = Path(__file__).parents[1] / "data" / "work" / "release-1.sql"
ALL = ("waiting", "running", "refused", "done")


@pytest.fixture
def left(sqlite_url: str) -> str:
    file = Path(str(work_url(sqlite_url).database))
    file.parent.mkdir()
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(LEFT.read_text("utf-8"))
    return sqlite_url


async def test_what_the_previous_release_left_is_listed_as_it_was(left: str) -> None:
    async with open_board(left) as board:
        found = {item.id: item for item in await board.items(states=ALL)}
    assert {item.id: (item.state, item.attempts, item.code) for item in found.values()} == {
        "refused": ("refused", 1, "fhir-rejected"),
        "refused-later": ("refused", 2, "fhir-rejected"),
        "done": ("done", 1, None),
        "put-off": ("waiting", 1, "fhir-broken"),
        "begun": ("running", 1, None),
        "not-begun": ("waiting", 0, None),
    }
    assert found["refused-later"].outcome == ({"severity": "error", "code": "invariant", "details": ["care-1"]},)
    assert found["done"].result == "ok"


async def test_what_the_previous_release_left_is_done(left: str) -> None:
    hands = Hands()
    async with hands.running(left, pace=replace(QUICK, keep=timedelta(days=36_500))) as engine:
        await until(lambda: len(hands.begun) == 2)  # what was begun, and what was not
        for work_id in ("refused", "refused-later", "put-off"):
            assert await engine.retry(work_id)
        await drained(engine)
        assert {item.id: item.state for item in await engine.items(states=ALL)} == dict.fromkeys(
            ["refused", "refused-later", "done", "put-off", "begun", "not-begun"], "done"
        )
        assert {ids["encounter"] for _, ids, _ in hands.begun} == {f"Encounter/{each}" for each in (1, 2, 4, 5, 6)}
        for work_id in ("refused", "refused-later", "done", "put-off", "begun", "not-begun"):
            assert not await engine.submit("do", CLINIC, work_id, {})
