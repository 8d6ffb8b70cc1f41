"""When checks are due and what is asked at each (clinical §1.2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from fhir_aftercare.care.infusion import Measure
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.schedule import Outlook, outlook, schedule
from fhir_aftercare.errors import MissingZone

START = datetime(2026, 9, 16, 17, 0, tzinfo=UTC)
POLICY = Policy()
VITALS = (Measure.BLOOD_PRESSURE, Measure.HEART_RATE, Measure.SPO2, Measure.RESPIRATORY_RATE)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def dues(end: float | None, running_at: float | None = None) -> list[tuple[float, bool]]:
    points = schedule(
        START,
        at(end) if end is not None else None,
        POLICY,
        running_at=at(running_at) if running_at is not None else None,
    )
    return [((each.due - START) / timedelta(minutes=1), each.required) for each in points]


def look(now: float, *made: float, end: float | None = None, measures: tuple[Measure, ...] = tuple(Measure)) -> Outlook:
    points = schedule(START, at(end) if end is not None else None, POLICY, running_at=at(now) if end is None else None)
    return outlook(points, {each: [at(minutes) for minutes in made] for each in measures}, at(now))


def test_the_default_schedule_is_that_of_the_clinical_reference() -> None:
    assert dues(end=45) == [
        *((0, False), (15, False), (30, False), (40, True)),
        *((60, False), (75, False), (105, False), (165, True)),
    ]


def test_the_peak_and_the_end_at_one_time_are_one_check_that_asks_for_both() -> None:
    points = schedule(START, at(40), POLICY)
    together = next(each for each in points if each.due == at(40))
    assert (together.name, together.required) == ("40 min after the start, at the end", True)
    assert together.asks == (*VITALS, Measure.DISSOCIATION, Measure.MOAA_S, Measure.NAUSEA)


def test_an_infusion_that_was_stopped_early_is_not_checked_as_if_it_ran_on() -> None:
    assert [minutes for minutes, _ in dues(end=10)] == [0, 10, 25, 40, 70, 130]


def test_an_infusion_that_runs_longer_is_checked_every_quarter_of_an_hour() -> None:
    assert [minutes for minutes, _ in dues(None, running_at=34)][-1] == 40
    assert [minutes for minutes, _ in dues(None, running_at=36)][-1] == 55
    assert [minutes for minutes, _ in dues(None, running_at=66)][-2:] == [70, 85]


def test_what_the_clinic_does_not_want_is_asked_nowhere() -> None:
    silent = replace(POLICY, ask_respiratory_rate=False, ask_sedation=False)
    asked = {measure for point in schedule(START, at(40), silent) for measure in point.asks}
    assert asked == {
        *(Measure.BLOOD_PRESSURE, Measure.HEART_RATE, Measure.SPO2),
        *(Measure.DISSOCIATION, Measure.NAUSEA),
    }


def test_before_the_start_the_check_may_be_half_an_hour_old() -> None:
    assert look(0, -30).missing == ()
    assert look(0, -31).missing == (*VITALS, Measure.DISSOCIATION, Measure.MOAA_S, Measure.NAUSEA)


@pytest.mark.parametrize(
    ("now", "made", "next_due", "missing"),
    [
        (3, (-10,), 15, False),
        (10, (-10,), 30, True),  # the check of 15 may be made from 10 on
        (12, (-10, 11), 30, False),
        (16, (-10, 9), 30, True),  # made before it opened, it was another's
        (29, (-10, 28), 40, False),
        (31, (-10,), 40, True),  # the one of 15 was missed, and is not made up for
    ],
)
def test_a_check_answers_a_point_from_a_little_before_it_on(
    now: float, made: tuple[float, ...], next_due: float, missing: bool
) -> None:
    found = look(now, *made)
    assert found.next is not None
    assert (found.next.due, bool(found.missing)) == (at(next_due), missing)


def test_only_what_nobody_recorded_is_missing() -> None:
    found = look(41, 41, end=40, measures=(Measure.BLOOD_PRESSURE, Measure.HEART_RATE))
    assert found.open is not None
    assert found.missing == (
        *(Measure.SPO2, Measure.RESPIRATORY_RATE),
        *(Measure.DISSOCIATION, Measure.MOAA_S, Measure.NAUSEA),
    )


def test_after_the_last_check_nothing_is_due() -> None:
    found = look(170, 161, end=40)
    assert (found.missing, found.next) == ((), None)


def test_before_the_first_point_opens_it_is_what_comes_next() -> None:
    found = look(-45)
    assert found.open is None
    assert found.next is not None
    assert found.next.name == "Before the start"


def test_minutes_are_elapsed_time_when_the_clocks_change() -> None:
    new_york = ZoneInfo("America/New_York")
    start = datetime(2026, 11, 1, 1, 30, tzinfo=new_york)  # EDT: half an hour later the clocks show 01:00 EST
    end = (start.astimezone(UTC) + timedelta(minutes=40)).astimezone(new_york)
    elapsed = [each.due.astimezone(UTC) - start.astimezone(UTC) for each in schedule(start, end, POLICY)]
    assert elapsed[3:5] == [timedelta(minutes=40), timedelta(minutes=55)]


def test_a_time_without_offset_is_refused() -> None:
    with pytest.raises(MissingZone):
        schedule(START.replace(tzinfo=None), None, POLICY)
