"""What comes first on the worklist, when a call is tried again, and when it counts as not reached."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.escalation_rules import Level
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.timing import OpenHours
from fhir_aftercare.care.worklist import (
    GROUPS,
    NEVER,
    Earliest,
    Waiting,
    WorkState,
    first_group,
    is_last_try,
    next_try,
    overdue_by,
    place_of,
    state_of,
    states_of,
    unreachable,
)
from fhir_aftercare.errors import InvalidInput, MissingZone

NEW_YORK = ZoneInfo("America/New_York")
HOURS = OpenHours({day: ((time(9), time(18)),) for day in range(5)}, frozenset({date(2026, 11, 26)}), NEW_YORK)
NEVER_OPEN = OpenHours({}, frozenset(), NEW_YORK)
NOW = datetime(2026, 9, 16, 14, 30, tzinfo=NEW_YORK)  # a Wednesday
HOUR = timedelta(hours=1)

moments = st.integers(0, 365 * 24 * 3600).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
works = st.builds(
    Waiting, st.text("abcdef", min_size=1, max_size=4), st.sampled_from(Level), st.none() | moments, st.none() | moments
)


def work(id_: str, level: Level = Level.ROUTINE, opens: float = -1, due: float | None = 1) -> Waiting:
    """Give work that opens and is due so many hours from now."""
    return Waiting(id_, level, NOW + opens * HOUR, None if due is None else NOW + due * HOUR)


# --- the order -------------------------------------------------------------------------------------------------------
def test_escalated_by_level_comes_before_overdue_by_age_before_due_before_coming() -> None:
    in_order = [
        work("stat", Level.STAT, due=5),
        work("asap overdue", Level.ASAP, due=-1),
        work("asap", Level.ASAP, opens=3, due=6),
        work("urgent", Level.URGENT, due=48),
        work("overdue for long", due=-30),
        work("overdue", due=-3),
        work("due soon", due=2),
        work("due later", due=90),
        work("due some time", due=None),
        work("coming soon", opens=1, due=3),
        work("coming later", opens=1, due=4),
    ]
    shuffled = [*in_order[5:], *in_order[:5]]
    assert sorted(shuffled, key=lambda each: place_of(each, NOW)) == in_order


def test_what_is_urgent_and_late_is_both_and_is_listed_as_urgent() -> None:
    late = work("x", Level.URGENT, due=-3)
    assert states_of(late, NOW) == {WorkState.ESCALATED, WorkState.OVERDUE}
    assert state_of(late, NOW) is WorkState.ESCALATED
    assert overdue_by(late, NOW) == 3 * HOUR


def test_at_its_due_second_it_is_not_overdue_and_at_its_opening_it_is_due() -> None:
    assert state_of(work("x", due=0), NOW) is WorkState.DUE
    assert state_of(work("x", opens=0), NOW) is WorkState.DUE
    assert state_of(work("x", due=-1 / 3600), NOW) is WorkState.OVERDUE
    assert overdue_by(work("x", due=None), NOW) is None


def test_an_hour_that_comes_twice_is_not_overdue_in_its_second_half() -> None:
    """01:30 comes twice on 1 November 2026: due at the second one, it is not overdue at the first."""
    due = datetime(2026, 11, 1, 1, 15, tzinfo=NEW_YORK, fold=1)
    first = datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK, fold=0)
    assert state_of(Waiting("x", Level.ROUTINE, None, due), first) is WorkState.DUE


@given(works, moments)
def test_everything_stands_in_one_state_of_time_and_in_the_group_it_is_listed_under(
    item: Waiting, now: datetime
) -> None:
    states = states_of(item, now)
    assert len(states - {WorkState.ESCALATED}) == 1
    assert (WorkState.ESCALATED in states) == (item.level > Level.ROUTINE)
    group, due, id_ = place_of(item, now)
    assert id_ == item.id
    assert 0 <= group < GROUPS
    assert due <= NEVER
    starts = {first_group(each): each for each in WorkState}
    assert starts[max(start for start in starts if start <= group)] is state_of(item, now)


@given(st.lists(works, unique_by=lambda each: each.id), st.integers(1, 5), st.none() | works)
def test_the_earliest_are_the_first_of_all_whatever_the_order_they_come_in(
    items: list[Waiting], size: int, after: Waiting | None
) -> None:
    places = [place_of(each, NOW) for each in items]
    start = place_of(after, NOW) if after else None
    kept: Earliest[str] = Earliest(size, start)
    for place in [*places, *places]:
        kept.offer(place, place[2])
    wanted = sorted(each for each in places if start is None or each > start)[:size]
    assert list(kept) == [(each, each[2]) for each in wanted]
    assert all(kept.wants(each) for each in places if len(wanted) < size)


# --- the next try ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wanted", "expires", "due"),
    [
        ("2026-09-16T16:00-04:00", None, "2026-09-16T16:00-04:00"),
        ("2026-09-16T20:00-04:00", None, "2026-09-17T09:00-04:00"),
        ("2026-09-18T18:00-04:00", None, "2026-09-21T09:00-04:00"),  # the second of closing on a Friday
        ("2026-09-16T20:00-04:00", "2026-09-17T12:00-04:00", "2026-09-17T09:00-04:00"),
        ("2026-09-17T12:00-04:00", "2026-09-17T12:00-04:00", "2026-09-17T12:00-04:00"),
        ("2026-09-17T13:00-04:00", "2026-09-17T12:00-04:00", "2026-09-17T12:00-04:00"),
        ("2026-09-16T20:00-04:00", "2026-09-17T07:00-04:00", "2026-09-16T18:00-04:00"),
        ("2026-09-16T20:00-04:00", "2026-09-16T14:00-04:00", "2026-09-16T14:00-04:00"),  # expired already
        ("2026-10-31T12:00-04:00", None, "2026-11-02T09:00-05:00"),  # over the weekend the clocks change
        ("2026-11-26T10:00-05:00", None, "2026-11-27T09:00-05:00"),  # a holiday
    ],
)
def test_a_call_is_due_again_when_the_clinic_is_open_and_before_it_expires(
    wanted: str, expires: str | None, due: str
) -> None:
    last = datetime.fromisoformat(expires) if expires else None
    found = next_try(datetime.fromisoformat(wanted), NOW, HOURS, last)
    assert found == datetime.fromisoformat(due)
    assert found.tzinfo is NEW_YORK


def test_a_clinic_that_never_opens_keeps_the_time_it_was_given() -> None:
    wanted = NOW + 7 * HOUR
    assert next_try(wanted, NOW, NEVER_OPEN, None) == wanted
    assert next_try(wanted, NOW, NEVER_OPEN, NOW + HOUR) == NOW + HOUR


@given(moments, st.timedeltas(timedelta(minutes=1), timedelta(days=20)), st.none() | moments)
def test_the_next_try_is_never_past_the_expiry_and_never_in_closed_hours(
    now: datetime, later: timedelta, expires: datetime | None
) -> None:
    found = next_try(now + later, now, HOURS, expires)
    if expires is not None:
        assert found <= expires
    if expires is None or expires > now:
        assert found > now
        before = found - timedelta(seconds=1)
        assert HOURS.is_open(found) or HOURS.is_open(before) or not HOURS.open_time(now, expires or found)


@pytest.mark.parametrize("wanted", [NOW, NOW - HOUR])
def test_the_next_try_is_in_the_future(wanted: datetime) -> None:
    with pytest.raises(InvalidInput) as refused:
        next_try(wanted, NOW, HOURS, None)
    assert refused.value.where == ("next_try",)


def test_a_next_try_without_a_zone_is_refused() -> None:
    with pytest.raises(MissingZone):
        next_try((NOW + HOUR).replace(tzinfo=None), NOW, HOURS, None)


# --- not reached -----------------------------------------------------------------------------------------------------
def test_the_third_unanswered_attempt_is_the_last_unless_the_clinic_says_otherwise() -> None:
    assert [is_last_try(n, Policy()) for n in (0, 1, 2, 3, 4)] == [False, False, False, True, True]
    assert is_last_try(1, replace(Policy(), call_attempts_max=1))


@pytest.mark.parametrize(
    ("now", "deadline"),
    [
        ("2026-09-16T14:30-04:00", "2026-09-17T18:00-04:00"),
        ("2026-09-18T14:30-04:00", "2026-09-21T18:00-04:00"),  # Friday: Monday
        ("2026-11-25T14:30-05:00", "2026-11-27T18:00-05:00"),  # the day before a holiday
    ],
)
def test_a_call_that_was_not_reached_is_urgent_for_the_next_business_day(now: str, deadline: str) -> None:
    reason = unreachable("Telephone follow-up", 3, datetime.fromisoformat(now), Policy(), HOURS)
    assert (reason.key, reason.level) == ("call-unreachable", Level.URGENT)
    assert reason.deadline == datetime.fromisoformat(deadline)
    assert "Telephone follow-up: not reached in 3 attempts." in reason.text
    assert "clinical §2.5" in reason.text


@pytest.mark.parametrize(("unanswered", "words"), [(0, "Call: not reached."), (1, "Call: not reached in 1 attempt.")])
def test_the_words_fit_the_number_of_attempts(unanswered: int, words: str) -> None:
    assert words in unreachable("Call", unanswered, NOW, Policy(), HOURS).text
