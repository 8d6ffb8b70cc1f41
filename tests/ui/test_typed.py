"""A day and a clock that somebody typed, as an instant: also in the nights when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.timing import local
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.ui.typed import clock_text, day_text, typed_clock, typed_moment

NEW_YORK = ZoneInfo("America/New_York")
FIRST, LAST = datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2027-01-01")


@pytest.mark.parametrize("clock", ["13:05", "1305", "13.05", " 13:05 ", "13:05 EDT", "1305edt"])
def test_a_clock_is_read_however_it_is_typed(clock: str) -> None:
    assert typed_moment("2026-09-16", clock, NEW_YORK, "at") == datetime(2026, 9, 16, 17, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "clock", "words"),
    [
        ("16.09.2026", "13:05", "Give the day"),
        ("2026-02-30", "13:05", "no such day"),
        ("2026-09-16", "24:00", "Give the time"),
        ("2026-09-16", "", "Give the time"),
        ("2026-09-16", "13:05 PST", "not the clinic's time zone"),
        ("2026-03-08", "02:30", "set forward"),
        ("2026-11-01", "01:30", "add EDT or EST"),
    ],
)
def test_what_is_no_instant_is_refused_with_the_reason(day: str, clock: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        typed_moment(day, clock, NEW_YORK, "at")
    assert refused.value.where == ("at",)


def test_a_clock_that_comes_twice_is_told_apart_by_its_zone() -> None:
    first = typed_moment("2026-11-01", "01:30 EDT", NEW_YORK, "at")
    second = typed_moment("2026-11-01", "01:30 EST", NEW_YORK, "at")
    assert (second.astimezone(UTC) - first.astimezone(UTC)).total_seconds() == 3600


@given(st.datetimes(FIRST, LAST, timezones=st.just(UTC)))
def test_what_a_field_holds_is_read_back_as_the_same_minute(at: datetime) -> None:
    minute = at.replace(second=0, microsecond=0)
    there = local(minute, NEW_YORK)
    read = typed_moment(day_text(minute, NEW_YORK), clock_text(minute, NEW_YORK), NEW_YORK, "at")
    assert read.astimezone(UTC) == there.astimezone(UTC)


@pytest.mark.parametrize(
    ("clock", "found"), [("23:50", "2026-09-16T23:50"), ("0010", "2026-09-17T00:10"), ("20:00", "2026-09-16T20:00")]
)
def test_a_clock_without_a_day_is_the_one_of_the_24_hours_that_are_meant(clock: str, found: str) -> None:
    earliest = datetime(2026, 9, 16, 20, 0, 30, tzinfo=NEW_YORK)
    assert typed_clock(clock, earliest, NEW_YORK, "at") == datetime.fromisoformat(found).replace(tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("clock", "earliest", "words"),
    [
        ("25:00", datetime(2026, 9, 16, 20, 0, tzinfo=NEW_YORK), "Give the time"),
        ("02:30", datetime(2026, 3, 7, 20, 0, tzinfo=NEW_YORK), "set forward"),
        ("01:30", datetime(2026, 10, 31, 20, 0, tzinfo=NEW_YORK), "add EDT or EST"),
    ],
)
def test_a_clock_without_a_day_is_refused_like_one_with_it(clock: str, earliest: datetime, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        typed_clock(clock, earliest, NEW_YORK, "at")
