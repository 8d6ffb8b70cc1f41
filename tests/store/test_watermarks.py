"""How far sweeps have come: kept for each clinic and sweep, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.errors import MissingZone
from fhir_aftercare.store.database import Database
from fhir_aftercare.store.sweep_state import SweepState, Watermark
from fhir_aftercare.store.watermarks import Watermarks

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 9, 16, 17, 40, 0, 123456, tzinfo=UTC)
LATER = AT + timedelta(minutes=5)
MARK = Watermark(AT, AT - timedelta(hours=3), "Encounter/12")


async def test_a_sweep_that_never_ran_has_no_watermark(database: Database) -> None:
    watermarks = Watermarks(database)
    assert await watermarks.of("harbor", "encounters") == SweepState("harbor", "encounters")
    assert await watermarks.all() == []


async def test_what_was_kept_is_read_as_the_same_instants(database: Database) -> None:
    watermarks = Watermarks(database)
    await watermarks.started("harbor", "encounters", AT.astimezone(timezone(timedelta(hours=-5))))
    await watermarks.finished("harbor", "encounters", LATER, MARK)
    state = await watermarks.of("harbor", "encounters")
    assert state == SweepState("harbor", "encounters", MARK, AT, LATER)
    assert state.watermark is not None
    assert state.watermark.at.tzinfo is UTC


async def test_a_failure_keeps_the_watermark_and_the_last_success_and_a_success_ends_it(database: Database) -> None:
    watermarks = Watermarks(database)
    await watermarks.finished("harbor", "encounters", AT, MARK)
    await watermarks.started("harbor", "encounters", LATER)
    await watermarks.failed("harbor", "encounters", "fhir-timeout")
    state = await watermarks.of("harbor", "encounters")
    assert (state.watermark, state.last_finished, state.last_error) == (MARK, AT, "fhir-timeout")
    await watermarks.finished("harbor", "encounters", LATER)
    state = await watermarks.of("harbor", "encounters")
    assert (state.watermark, state.last_finished, state.last_error) == (MARK, LATER, None)


async def test_a_failure_before_the_first_success_is_kept_too(database: Database) -> None:
    watermarks = Watermarks(database)
    await watermarks.failed("harbor", "encounters", "x" * 100)
    assert await watermarks.of("harbor", "encounters") == SweepState("harbor", "encounters", last_error="x" * 64)


async def test_clinics_and_sweeps_do_not_touch_each_other(database: Database) -> None:
    watermarks = Watermarks(database)
    await watermarks.finished("harbor", "encounters", AT, MARK)
    await watermarks.finished("harbor", "plans", LATER)
    await watermarks.finished("bay", "encounters", LATER)
    found = {(each.clinic, each.sweep): (each.watermark, each.last_finished) for each in await watermarks.all()}
    assert found == {
        ("bay", "encounters"): (None, LATER),
        ("harbor", "encounters"): (MARK, AT),
        ("harbor", "plans"): (None, LATER),
    }


async def test_of_many_that_tell_of_one_incident_one_notes_it(database: Database) -> None:
    watermarks = Watermarks(database)
    noted = await asyncio.gather(*(watermarks.told("harbor", "encounters", None, "incident") for _ in range(6)))
    assert sorted(noted) == [False] * 5 + [True]
    assert (await watermarks.of("harbor", "encounters")).told == "incident"
    assert not await watermarks.told("harbor", "encounters", "other", None)
    assert await watermarks.told("harbor", "encounters", "incident", None)
    assert (await watermarks.of("harbor", "encounters")).told is None


async def test_what_was_told_outlives_the_process(sqlite_url: str, tmp_path: Path) -> None:
    first = Database(sqlite_url)
    await first.upgrade()
    await Watermarks(first).finished("harbor", "encounters", AT, MARK)
    await Watermarks(first).told("harbor", "encounters", None, "incident")
    await first.close()
    second = Database(sqlite_url)
    state = await Watermarks(second).of("harbor", "encounters")
    assert (state.told, state.watermark) == ("incident", MARK)
    await second.close()


async def test_a_time_without_zone_is_refused(database: Database) -> None:
    with pytest.raises(MissingZone):
        await Watermarks(database).finished("harbor", "encounters", datetime(2026, 1, 1))  # noqa: DTZ001
