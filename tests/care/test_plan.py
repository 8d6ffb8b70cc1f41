"""The episode an infusion is, when it ended, what is still to be done if somebody looks late, which forms are asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fhir_aftercare.care.plan import (
    Anchor,
    CallWish,
    Episode,
    Occurrence,
    episode_number,
    estimate_end,
    made_possible,
    select_forms,
)
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.timing import OpenHours, Window, in_staff_hours, local, utc, wall_clock
from fhir_aftercare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
POLICY = Policy()
START = datetime(2026, 9, 16, 13, 0, tzinfo=NEW_YORK)  # a Wednesday
END = START + timedelta(minutes=40)
NINE_TO_SIX = ((time(9), time(18)),)
WEEKDAYS = OpenHours(dict.fromkeys(range(5), NINE_TO_SIX), frozenset(), NEW_YORK)
HOUR = timedelta(hours=1)


# --- the episode -----------------------------------------------------------------------------------------------------
def test_an_episode_is_the_encounters_however_it_is_referred_to() -> None:
    references = ["Encounter/e1", "https://ehr.example.com/fhir/Encounter/e1", "Encounter/e1/_history/7"]
    assert {Episode.of("harbor", each, "inf-1").key for each in references} == {("harbor", "e1", "1")}


def test_without_an_encounter_the_callers_infusion_is_needed_and_is_no_encounter() -> None:
    with pytest.raises(InvalidInput) as refused:
        Episode.of("harbor", None, None)
    assert refused.value.where == ("infusion",)
    assert Episode.of("harbor", None, "e1").key != Episode.of("harbor", "Encounter/e1", None).key


def test_a_new_generation_has_another_plan_of_the_same_infusion() -> None:
    first, second = Episode("harbor", "e1"), Episode("harbor", "e1", generation=2)
    assert first.key != second.key
    assert first.infusion_key == second.infusion_key


hours_of_infusions = st.lists(st.integers(0, 200), min_size=1, max_size=6, unique=True)


@given(hours_of_infusions)
def test_infusions_at_most_twelve_hours_apart_are_one_episode(hours: list[int]) -> None:
    times = [START + timedelta(hours=each) for each in sorted(hours)]
    numbers = [episode_number(times, each, POLICY.episode_gap) for each in times]
    assert numbers[0] == 1
    for (before, number), (after, next_number) in pairwise(zip(times, numbers, strict=True)):
        assert next_number == number + (after - before > POLICY.episode_gap)


@given(hours_of_infusions, st.randoms(use_true_random=False))
def test_the_number_of_an_episode_depends_on_what_came_before_and_on_no_order(hours: list[int], random: object) -> None:
    times = [START + timedelta(hours=each) for each in hours]
    shuffled = [times[index] for index in sorted(range(len(times)), key=lambda _: random.random())]  # type: ignore[attr-defined]
    for each in times:
        known = [other for other in times if other <= each]
        assert episode_number(shuffled, each, POLICY.episode_gap) == episode_number(known, each, POLICY.episode_gap)


# --- the end (design §10.7) ------------------------------------------------------------------------------------------
def test_10_7_the_encounters_end_is_believed_on_the_same_day_within_eight_hours() -> None:
    left = START + timedelta(hours=3)
    believed = START + timedelta(hours=2)
    assert estimate_end(START, believed, left, NEW_YORK, POLICY) == (believed, True)


@pytest.mark.parametrize(
    ("start", "encounter_end"),
    [
        (START, None),
        (START, START - timedelta(minutes=1)),
        (START, START + timedelta(hours=8)),
        (START.replace(hour=22), START.replace(hour=22) + timedelta(hours=3)),  # the next day
        (START, START + timedelta(days=3)),
    ],
)
def test_10_7_otherwise_nothing_counts_from_before_the_patient_left(
    start: datetime, encounter_end: datetime | None
) -> None:
    left = start + timedelta(hours=4)
    assert estimate_end(start, encounter_end, left, NEW_YORK, POLICY) == (left, False)


def test_10_7_the_same_day_is_that_of_the_zone() -> None:
    start = datetime(2026, 9, 16, 23, 30, tzinfo=UTC)  # 19:30 in New York
    ended, left = start + HOUR, start + 2 * HOUR
    assert estimate_end(start, ended, left, NEW_YORK, POLICY) == (ended, True)
    assert estimate_end(start, ended, left, BERLIN, POLICY) == (ended, True)
    assert estimate_end(start, ended, left, ZoneInfo("UTC"), POLICY) == (left, False)


# --- looked at late (design §10.7) -----------------------------------------------------------------------------------
FORM = Window(END + 24 * HOUR, END + 24 * HOUR, END + 36 * HOUR, END + 48 * HOUR)
RESTRICTION = Window(END, END + 18 * HOUR, None, None)
instants = st.integers(0, 40 * 24 * 60).map(lambda minutes: END + timedelta(minutes=minutes))


@given(instants)
def test_10_7_what_a_patient_is_asked_or_must_not_do_is_left_out_when_it_is_over(now: datetime) -> None:
    for window, over in ((FORM, FORM.expires), (RESTRICTION, RESTRICTION.target)):
        assert over is not None
        assert made_possible(window, now) == (window if now < over else None)


@given(instants)
def test_10_7_staffs_work_that_was_due_is_due_now_in_the_same_time(now: datetime) -> None:
    window = Window(END, END + 2 * HOUR, END + 2 * HOUR, END + 14 * HOUR)
    found = made_possible(window, now, staff=True)
    if now < END + 2 * HOUR:
        assert found == window
    elif now < END + 14 * HOUR:
        assert found is not None
        assert (found.opens, found.due) == (END, utc(now) + 2 * HOUR)
        assert found.expires is not None
        assert found.expires >= END + 14 * HOUR
    else:
        assert found is None


@given(instants)
def test_10_7_urgent_work_is_never_lost_by_being_late(now: datetime) -> None:
    window = Window(END, END + 2 * HOUR, END + 2 * HOUR, END + 14 * HOUR)
    found = made_possible(window, now, staff=True, lapses=False)
    assert found is not None
    assert found.due is not None
    assert utc(found.due) > utc(now)
    assert found.expires is not None
    assert found.expires >= found.due


spans = st.lists(st.integers(0, 47), min_size=2, max_size=6, unique=True).map(
    lambda halves: tuple(
        (time(a // 2, a % 2 * 30), time(b // 2, b % 2 * 30))
        for a, b in zip(sorted(halves)[::2], sorted(halves)[1::2], strict=False)
    )
)
weeks = st.dictionaries(st.integers(0, 6), spans, min_size=1, max_size=7)
holidays = st.frozensets(st.integers(0, 30).map(lambda days: date(2026, 9, 10) + timedelta(days=days)), max_size=8)


@given(weeks, holidays, st.integers(0, 14 * 24 * 60), st.integers(0, 20 * 24 * 60))
def test_a_call_always_has_an_open_hour_left_whenever_it_is_looked_at(
    weekly: Mapping[int, tuple[tuple[time, time], ...]], closed: frozenset[date], ended: int, late: int
) -> None:
    hours = OpenHours(weekly, closed, NEW_YORK)
    end = local(utc(END) + timedelta(minutes=ended), NEW_YORK)
    now = utc(end) + timedelta(minutes=late)
    said = Window(*(utc(end) + each * HOUR for each in (18, 24, 36, 48)))
    found = made_possible(in_staff_hours(said, hours), now, hours)
    assert found is not None
    assert found.opens is not None
    assert found.due is not None
    assert hours.open_time(max(utc(found.opens), utc(now)), found.due) >= HOUR
    assert utc(found.opens) <= utc(found.target) <= utc(found.due)
    assert found.expires is not None
    assert utc(found.expires) >= utc(found.due)


def test_a_call_with_minutes_left_before_closing_goes_on_the_next_morning() -> None:
    monday = Window(*(datetime(2026, 9, 21, hour, tzinfo=NEW_YORK) for hour in (9, 13, 18, 18)))
    found = made_possible(monday, datetime(2026, 9, 21, 17, 50, tzinfo=NEW_YORK), WEEKDAYS)
    assert found is not None
    assert found.due == datetime(2026, 9, 22, 9, 50, tzinfo=NEW_YORK)


def test_a_clinic_that_never_opens_still_gets_the_call() -> None:
    closed = OpenHours({}, frozenset(), NEW_YORK)
    window = Window(*(END + each * HOUR for each in (18, 24, 36, 48)))
    assert made_possible(window, END, closed) == window
    assert made_possible(window, END + 60 * HOUR, closed) is not None


# --- which forms are asked (clinical §2.3, design §9.3) --------------------------------------------------------------
def at_nine(day: datetime, days: int) -> datetime:
    return wall_clock(day.date() + timedelta(days=days), time(9), NEW_YORK)


def occurrences(start: datetime, last: datetime, family: str = "phq-9") -> list[Occurrence[str]]:
    """Give what the shipped course says: weekly from its start, 4 weekly after the last infusion, then monthly ones."""

    def occurrence(action: str, number: int, at: datetime) -> Occurrence[str]:
        window = Window(at, at, at + timedelta(days=3), at + timedelta(days=5))
        return Occurrence(action, number, window, family, action == "weekly")

    return [
        *(occurrence("weekly", n, at_nine(start, 7 * (n + 1))) for n in range(26)),
        *(occurrence("tail", n, at_nine(last, 7 * (n + 1))) for n in range(4)),
        *(occurrence("monthly", n, at_nine(last, 56 + 28 * n)) for n in range(5)),
    ]


courses = st.lists(st.integers(60, 21 * 24 * 60), max_size=7).map(
    lambda gaps: [local(utc(END) + timedelta(minutes=sum(gaps[:count])), NEW_YORK) for count in range(len(gaps) + 1)]
)


def days_of(chosen: Sequence[Occurrence[str]]) -> list[date]:
    return [local(each.window.target, NEW_YORK).date() for each in chosen]


@given(courses)
def test_two_forms_of_one_kind_are_never_less_than_five_days_apart(ends: list[datetime]) -> None:
    chosen = select_forms(occurrences(ends[0], ends[-1]), ends[-1], 5, NEW_YORK)
    assert all((after - before).days >= 5 for before, after in pairwise(days_of(chosen)))
    assert len({(each.action, each.number) for each in chosen}) == len(chosen)


@given(courses)
def test_the_course_clock_goes_on_until_the_tail_which_hangs_on_the_last_infusion(ends: list[datetime]) -> None:
    last = ends[-1]
    chosen = select_forms(occurrences(ends[0], last), last, 5, NEW_YORK)
    weekly = [each for each in chosen if each.action == "weekly"]
    assert all(last < each.window.target <= at_nine(last, 7) for each in weekly)
    assert len(weekly) <= 2
    tail = [each for each in chosen if each.action == "tail"]
    # Only the first may give way to a weekly form, which then is less than five days before it.
    assert [each.number for each in tail] in ([0, 1, 2, 3], [1, 2, 3])
    assert [each.number for each in chosen if each.action == "monthly"] == [0, 1, 2, 3, 4]


@given(courses)
def test_after_the_last_infusion_no_gap_is_longer_than_eleven_days_until_the_tail_ends(ends: list[datetime]) -> None:
    last = ends[-1]
    days = days_of(select_forms(occurrences(ends[0], last), last, 5, NEW_YORK))
    weeks_of_tail = [day for day in days if (day - last.date()).days <= 28]
    assert (weeks_of_tail[0] - last.date()).days <= 11
    assert (weeks_of_tail[-1] - last.date()).days == 28
    assert all((after - before).days <= 11 for before, after in pairwise(weeks_of_tail))


def test_one_infusion_is_followed_weekly_for_four_weeks_then_monthly_for_half_a_year() -> None:
    days = days_of(select_forms(occurrences(END, END), END, 5, NEW_YORK))
    assert [(day - END.date()).days for day in days] == [7, 14, 21, 28, 56, 84, 112, 140, 168]


def test_what_was_to_come_before_the_last_infusion_is_asked_only_if_it_is_known_not_to_have_been() -> None:
    last = END + timedelta(days=10)
    known, unknown = (days_of(select_forms(occurrences(END, last), last, 5, NEW_YORK, asked)) for asked in ({}, None))
    assert known[0] == END.date() + timedelta(days=7)
    assert unknown == known[1:]


def test_what_an_earlier_tail_asked_keeps_its_distance() -> None:
    last = END + timedelta(days=13)  # the tail of day 5 asked on day 12, the course clock would on day 14
    asked = {"phq-9": [at_nine(END, 12)]}
    days = days_of(select_forms(occurrences(END, last), last, 5, NEW_YORK, asked))
    assert [(day - END.date()).days for day in days[:3]] == [7, 20, 27]


def test_each_kind_of_form_counts_for_itself() -> None:
    last = END + timedelta(days=3)
    both = [*occurrences(END, last), *occurrences(END, last, "gad-7")]
    chosen = select_forms(both, last, 5, NEW_YORK, {"gad-7": [at_nine(END, 4)]})
    first = {each.family: local(each.window.target, NEW_YORK).date() for each in reversed(chosen)}
    assert first == {"phq-9": END.date() + timedelta(days=7), "gad-7": END.date() + timedelta(days=10)}


@given(courses, st.randoms(use_true_random=False))
def test_the_order_in_which_the_protocol_names_them_changes_nothing(ends: list[datetime], random: object) -> None:
    given_ = occurrences(ends[0], ends[-1])
    shuffled = sorted(given_, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert select_forms(shuffled, ends[-1], 5, NEW_YORK) == select_forms(given_, ends[-1], 5, NEW_YORK)


@given(courses, st.integers(1, 28))
def test_the_distance_is_the_clinics(ends: list[datetime], apart: int) -> None:
    chosen = select_forms(occurrences(ends[0], ends[-1]), ends[-1], apart, NEW_YORK)
    assume(len(chosen) > 1)
    assert all((after - before).days >= apart for before, after in pairwise(days_of(chosen)))


def test_an_anchor_is_recorded_unless_somebody_says_otherwise() -> None:
    anchor = Anchor(START, END)
    assert anchor.known
    assert not anchor.estimated
    assert replace(anchor, estimated=True) != anchor


# The call as it was agreed with the patient

THURSDAY = START.replace(day=17)
CALL = Window(THURSDAY.replace(hour=9), THURSDAY.replace(hour=13), THURSDAY.replace(hour=18), END + 48 * HOUR)


def test_a_call_is_made_when_it_was_agreed_on() -> None:
    agreed = CallWish(THURSDAY.replace(hour=15), THURSDAY.replace(hour=17)).within(CALL, WEEKDAYS)
    assert (agreed.opens, agreed.target, agreed.due) == (
        THURSDAY.replace(hour=15), THURSDAY.replace(hour=15), THURSDAY.replace(hour=17)
    )  # fmt: skip
    assert agreed.expires == CALL.expires


def test_what_was_not_agreed_on_stays_as_the_protocol_says() -> None:
    assert CallWish(phone="+1 555 0101").within(CALL, WEEKDAYS) == CALL
    assert CallWish(due=THURSDAY.replace(hour=12)).within(CALL, WEEKDAYS).opens == CALL.opens


@pytest.mark.parametrize(
    ("opens", "due", "where"),
    [
        (THURSDAY.replace(hour=8), None, ("call.opens",)),
        (None, THURSDAY.replace(hour=19), ("call.due",)),
        (THURSDAY.replace(hour=15), THURSDAY.replace(hour=15), ("call.due",)),
        (THURSDAY.replace(hour=17), THURSDAY.replace(hour=10), ("call.due",)),
    ],
)
def test_a_call_at_no_time_that_the_protocol_allows_is_refused(
    opens: datetime | None, due: datetime | None, where: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        CallWish(opens, due).within(CALL, WEEKDAYS)
    assert refused.value.where == where


def test_a_call_when_nobody_works_is_refused() -> None:
    open_early = OpenHours({3: ((time(9), time(12)),)}, frozenset(), NEW_YORK)
    with pytest.raises(InvalidInput) as refused:
        CallWish(THURSDAY.replace(hour=13), THURSDAY.replace(hour=15)).within(CALL, open_early)
    assert refused.value.where == ("call.opens", "call.due")
