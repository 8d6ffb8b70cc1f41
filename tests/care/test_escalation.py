"""Which answers somebody must act on, how pressing it is, and by when."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care import escalation_rules
from fhir_aftercare.care.escalation import SEVERITIES, CheckIn, History, Reason, business_deadline, decide
from fhir_aftercare.care.escalation_rules import Level
from fhir_aftercare.care.instruments import GAD7, PHQ2, PHQ9, Answers, Instrument, Score, score
from fhir_aftercare.care.outcome import Point
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.timing import OpenHours, zone_of
from fhir_aftercare.errors import MissingZone, OutOfRange

if TYPE_CHECKING:
    from collections.abc import Sequence

NEW_YORK = zone_of("America/New_York")
POLICY = Policy()
NINE_TO_FIVE = ((time(9), time(17)),)
HOURS = OpenHours(dict.fromkeys(range(5), NINE_TO_FIVE), holidays=frozenset({date(2026, 11, 26)}), zone=NEW_YORK)
CLOSED = OpenHours({}, frozenset(), NEW_YORK)
END = datetime(2026, 9, 16, 14, tzinfo=NEW_YORK)  # a Wednesday
DAY_7 = END + timedelta(days=7)
AFTER = History(last_infusion_end=END, first_plan_at=END)


def phq9(total: int = 0, item9: int | None = 0) -> Score:
    """Give a PHQ-9 with this total; without item 9 it has none."""
    rest = total - (item9 or 0)
    items = [min(3, max(0, rest - 3 * at)) for at in range(8)]
    return score(Answers(PHQ9, (*items, item9)))


def of(
    *,
    scored: Score | None = None,
    check_in: CheckIn | None = None,
    at: datetime = DAY_7,
    now: datetime | None = None,
    history: History = AFTER,
    hours: OpenHours = HOURS,
    policy: Policy = POLICY,
) -> list[Reason]:
    return decide(
        score=scored, check_in=check_in, at=at, now=now or at, history=history, policy=policy, hours=hours
    )  # fmt: skip


def keys(reasons: Sequence[Reason]) -> list[str]:
    return [each.key for each in reasons]


def only(reasons: Sequence[Reason]) -> Reason:
    (one,) = reasons
    return one


def points(*totals: tuple[int, int], **more: Any) -> tuple[Point, ...]:
    """Give PHQ-9 totals by the days after the infusion on which they were answered."""
    return tuple(Point(END + timedelta(days=day), total, "phq-9", None, **more) for day, total in totals)


# --- item 9 ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("item9", "key", "level", "within"),
    [
        (3, "phq9-item9-high", Level.STAT, timedelta(hours=1)),
        (2, "phq9-item9-high", Level.STAT, timedelta(hours=1)),
        (1, "phq9-item9-low", Level.ASAP, timedelta(hours=24)),
        (None, "phq9-item9-unknown", Level.URGENT, timedelta(hours=24)),
    ],
)
def test_item_9_is_acted_on(item9: int | None, key: str, level: Level, within: timedelta) -> None:
    reason = only(of(scored=phq9(4, item9)))
    assert (reason.key, reason.level, reason.deadline) == (key, level, DAY_7 + within)


def test_an_item_9_of_0_raises_nothing() -> None:
    assert of(scored=phq9(4, 0)) == []


def test_a_bare_total_says_nothing_of_item_9_so_somebody_asks() -> None:
    bare = score(Answers(PHQ9, (None,) * 9, stated_total=12))
    assert keys(of(scored=bare)) == ["phq9-item9-unknown"]


@pytest.mark.parametrize("instrument", [GAD7, PHQ2])
def test_forms_without_item_9_leave_nothing_unknown(instrument: Instrument) -> None:
    assert of(scored=score(Answers(instrument, (3,) * len(instrument.items)))) == []


@given(item9=st.sampled_from([None, 1, 2, 3]), days=st.integers(0, 3000), late=st.integers(0, 3000))
def test_every_response_is_escalated_however_old_it_is(item9: int | None, days: int, late: int) -> None:
    at = END + timedelta(days=days)
    reasons = of(scored=phq9(4, item9), at=at, now=at + timedelta(days=late))
    assert reasons
    assert all(each.deadline >= at + timedelta(days=late) for each in reasons)


# --- scores from before ----------------------------------------------------------------------------------------------
def test_scores_from_before_the_first_plan_raise_nothing() -> None:
    before = END - timedelta(seconds=1)
    assert of(scored=phq9(27, 3), at=before, now=DAY_7) == []
    assert keys(of(scored=phq9(27, 3), at=END, now=DAY_7)) == ["phq9-item9-high"]


def test_without_any_plan_a_score_is_not_taken_for_an_old_one() -> None:
    assert keys(of(scored=phq9(3, 3), history=History())) == ["phq9-item9-high"]


def test_before_is_before_also_when_the_clocks_change_between() -> None:
    first = datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK, fold=0)
    later = datetime(2026, 11, 1, 1, 15, tzinfo=NEW_YORK, fold=1)
    assert of(scored=phq9(3, 3), at=later, history=History(first_plan_at=first))


# --- worsening -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("total", "item9", "history", "worse"),
    [
        (15, 0, History(baseline=10), True),
        (14, 0, History(baseline=10), False),
        (15, 0, History(previous=points((-3, 10))), True),
        (14, 0, History(previous=points((-3, 10))), False),
        (14, 0, History(previous=points((-20, 5), (-3, 10))), False),
        (14, 0, History(previous=points((-3, 10), (-20, 5))), False),
        (10, 1, History(baseline=9), True),  # a band up, and item 9 is not 0
        (10, 0, History(baseline=9), False),
        (14, 1, History(baseline=10), False),
        (20, 0, History(), False),
        (15, 0, History(previous=points((40, 5))), False),  # what came later is no "before"
    ],
)
def test_worse_than_the_baseline_or_the_one_before(total: int, item9: int, history: History, worse: bool) -> None:
    reasons = [each for each in of(scored=phq9(total, item9), history=history) if "item9" not in each.key]
    assert keys(reasons) == (["phq9-worsening"] if worse else [])
    assert all((each.level, each.deadline) == (Level.URGENT, DAY_7.replace(day=24, hour=17)) for each in reasons)


@pytest.mark.parametrize(("day", "worse"), [(0, True), (1, False), (2, True), (3, False), (4, True)])
def test_a_phq9_of_day_1_or_3_tells_no_change(day: int, worse: bool) -> None:
    at = END + timedelta(days=day, hours=1)
    history = History(baseline=5, last_infusion_end=END, previous=points((-2, 5)))
    assert keys(of(scored=phq9(20), at=at, history=history)) == (["phq9-worsening"] if worse else [])


def test_a_score_that_tells_no_change_does_not_bring_up_an_earlier_one() -> None:
    history = History(baseline=5, last_infusion_end=END, previous=points((-9, 5), (-2, 20)))
    assert of(scored=phq9(5), at=END + timedelta(days=1), history=history) == []


def test_two_answers_of_one_day_are_compared_with_the_day_before() -> None:
    history = History(previous=points((5, 5), (7, 12)))
    assert keys(of(scored=phq9(10), at=DAY_7 + timedelta(hours=2), history=history)) == ["phq9-worsening"]


def test_without_a_total_there_is_nothing_to_compare() -> None:
    half = score(Answers(PHQ9, (3, 3, 3, 3, None, None, None, None, 0)))
    assert of(scored=half, history=History(baseline=0)) == []


# --- check-ins -------------------------------------------------------------------------------------------------------
MATRIX = [
    ("emergency_symptoms", "emergency-symptoms", Level.STAT, timedelta(minutes=15)),
    ("unsafe", "unsafe", Level.STAT, timedelta(hours=1)),
    ("drove", "drove", Level.ASAP, timedelta(hours=24)),
    ("alcohol", "alcohol", Level.ASAP, timedelta(hours=24)),
    ("vomiting_3_or_no_fluids", "vomiting", Level.URGENT, timedelta(hours=24)),
    ("elevated_mood", "elevated-mood", Level.URGENT, timedelta(hours=24)),
    ("blood_in_urine", "blood-in-urine", Level.URGENT, timedelta(hours=24)),
    ("feels_worse", "feels-worse", Level.URGENT, timedelta(hours=27)),  # to 17:00 of the next day
    ("urinary", "urinary", Level.ROUTINE, timedelta(days=7)),
    ("wants_call", "wants-call", Level.ROUTINE, timedelta(hours=27)),
]


@pytest.mark.parametrize(("field", "key", "level", "within"), MATRIX)
def test_a_yes_is_acted_on(field: str, key: str, level: Level, within: timedelta) -> None:
    reason = only(of(check_in=CheckIn(**{field: True})))
    assert (reason.key, reason.level, reason.deadline) == (key, level, DAY_7 + within)


@pytest.mark.parametrize("field", [row[0] for row in MATRIX])
@pytest.mark.parametrize("answer", [False, None])
def test_a_no_or_no_answer_is_not(field: str, answer: bool | None) -> None:
    assert of(check_in=CheckIn(**{field: answer})) == []


@pytest.mark.parametrize("name", ["dissociation", "confusion"])
@pytest.mark.parametrize(
    ("severity", "after", "raised"),
    [
        (2, timedelta(hours=4), False),
        (2, timedelta(hours=4, seconds=1), True),
        (3, timedelta(days=1), True),
        (1, timedelta(days=1), False),
        (0, timedelta(days=1), False),
    ],
)
def test_dissociation_or_confusion_at_home(name: str, severity: int, after: timedelta, raised: bool) -> None:
    at = END + after
    reasons = of(check_in=CheckIn(**{name: severity}), at=at)
    assert keys(reasons) == (["dissociation-at-home"] if raised else [])
    assert all((each.level, each.deadline) == (Level.ASAP, at + timedelta(hours=2)) for each in reasons)


def test_without_a_known_infusion_dissociation_is_not_taken_for_expected() -> None:
    assert keys(of(check_in=CheckIn(dissociation=2), history=History())) == ["dissociation-at-home"]


def test_hours_are_counted_as_elapsed_also_when_the_clocks_change() -> None:
    end = datetime(2026, 11, 1, 0, 30, tzinfo=NEW_YORK)
    at = datetime(2026, 11, 1, 4, 15, tzinfo=NEW_YORK)  # 4.75 h later
    assert of(check_in=CheckIn(confusion=2), at=at, history=History(last_infusion_end=end))


SIDE_EFFECTS = ("nausea", "dizziness", "fatigue", "drowsiness")


@pytest.mark.parametrize("name", [*SIDE_EFFECTS, "headache"])
def test_usual_side_effects_are_expected_for_two_days(name: str) -> None:
    for severity in (0, 1, 2):
        assert of(check_in=CheckIn(**{name: severity}), at=END + timedelta(days=2)) == []
    reason = only(of(check_in=CheckIn(**{name: 2}), at=END + timedelta(days=2, seconds=1)))
    assert (reason.key, reason.level) == ("side-effects", Level.ROUTINE)
    assert of(check_in=CheckIn(**{name: 1}), at=DAY_7) == []


@pytest.mark.parametrize("name", SIDE_EFFECTS)
def test_strong_side_effects_are_followed_up_at_any_time(name: str) -> None:
    assert keys(of(check_in=CheckIn(**{name: 3}), at=END + timedelta(days=1))) == ["side-effects"]
    assert keys(of(check_in=CheckIn(**{name: 3}), history=History())) == ["side-effects"]


@pytest.mark.parametrize("also", [None, False])
def test_a_strong_headache_at_home_is_an_emergency(also: bool | None) -> None:
    reason = only(of(check_in=CheckIn(headache=3, emergency_symptoms=also), at=END + timedelta(days=1)))
    assert (reason.key, reason.level) == ("severe-headache", Level.STAT)
    both = of(check_in=CheckIn(headache=3, emergency_symptoms=True), at=END + timedelta(days=1))
    assert keys(both) == ["emergency-symptoms"]


@pytest.mark.parametrize("doubt", [{"slept": False}, {"feels_clear": False}, {"slept": False, "feels_clear": True}])
def test_a_doubt_about_driving_is_a_nurses_to_decide(doubt: dict[str, bool]) -> None:
    reason = only(of(check_in=CheckIn(**doubt)))
    assert (reason.key, reason.level, reason.deadline) == (
        "driving-doubtful",
        Level.URGENT,
        DAY_7 + timedelta(hours=24),
    )
    assert of(check_in=CheckIn(slept=True, feels_clear=True)) == []


@pytest.mark.parametrize("mood", [0, 5, 10])
def test_mood_is_for_the_trend(mood: int) -> None:
    assert of(check_in=CheckIn(mood=mood)) == []


def test_a_check_in_counts_even_from_before_the_first_plan() -> None:
    assert keys(of(check_in=CheckIn(unsafe=True), at=END - timedelta(days=1))) == ["unsafe"]


def test_the_most_pressing_comes_first() -> None:
    check_in = CheckIn(
        wants_call=True, urinary=True, feels_worse=True, drove=True, unsafe=True, emergency_symptoms=True
    )
    reasons = of(scored=phq9(9, 1), check_in=check_in)
    assert keys(reasons) == [
        "emergency-symptoms", "unsafe", "drove", "phq9-item9-low", "feels-worse", "wants-call", "urinary",
    ]  # fmt: skip
    assert sorted(reasons, key=lambda each: -each.level) == reasons


@pytest.mark.parametrize(
    ("answers", "where"),
    [({"nausea": 4}, ("nausea",)), ({"mood": 11, "fatigue": -1}, ("fatigue", "mood"))],
)
def test_answers_outside_their_scale_are_refused_and_named(answers: dict[str, int], where: tuple[str, ...]) -> None:
    with pytest.raises(OutOfRange) as refused:
        CheckIn(**answers)
    assert set(refused.value.where) == set(where)
    assert not any(str(value) in refused.value.message for value in answers.values())


# --- deadlines -------------------------------------------------------------------------------------------------------
def local(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("at", "days", "deadline"),
    [
        (local(9, 23, 10), 1, local(9, 24, 17)),  # Wednesday → Thursday
        (local(9, 23, 20), 1, local(9, 24, 17)),
        (local(9, 23, 5), 1, local(9, 23, 17)),  # before opening: today is the next day it opens
        (local(9, 23, 9), 1, local(9, 23, 17)),
        (local(9, 25, 16), 1, local(9, 28, 17)),  # Friday → Monday
        (local(9, 26, 3), 1, local(9, 28, 17)),  # Saturday → Monday
        (local(9, 25, 16), 2, local(9, 29, 17)),
        (local(11, 25, 10), 1, local(11, 27, 17)),  # Thanksgiving is closed
        (local(10, 30, 10), 1, local(11, 2, 17)),  # the clocks change in between
    ],
)
def test_business_days_end_when_the_clinic_closes(at: datetime, days: int, deadline: datetime) -> None:
    assert business_deadline(at, days, HOURS) == deadline
    assert business_deadline(at.astimezone(UTC), days, HOURS) == deadline


def test_a_day_with_a_break_ends_with_its_last_hour() -> None:
    halves = ((time(9), time(12)), (time(13), time(17)))
    hours = OpenHours(dict.fromkeys(range(7), halves), frozenset(), NEW_YORK)
    assert business_deadline(local(9, 23, 12, 30), 1, hours) == local(9, 24, 17)


def test_a_clinic_that_never_opens_still_has_a_deadline() -> None:
    reason = only(of(check_in=CheckIn(wants_call=True), hours=CLOSED))
    assert reason.deadline == DAY_7 + timedelta(days=1)


def test_a_late_answer_is_due_now_and_not_in_the_past() -> None:
    now = DAY_7 + timedelta(days=30)
    assert {each.deadline for each in of(scored=phq9(9, 3), check_in=CheckIn(feels_worse=True), now=now)} == {now}


def test_an_answer_that_claims_to_be_of_the_future_is_not_put_off() -> None:
    reason = only(of(scored=phq9(4, 3), at=DAY_7 + timedelta(days=90), now=DAY_7))
    assert reason.deadline == DAY_7 + timedelta(hours=1)


def test_deadlines_are_the_clinics() -> None:
    slower = Policy(item9_high=timedelta(minutes=45), worse_business_days=3)
    high, worse = of(scored=phq9(4, 3), check_in=CheckIn(feels_worse=True), policy=slower, now=DAY_7.astimezone(UTC))
    assert high.deadline == DAY_7 + timedelta(minutes=45)
    assert worse.deadline == local(9, 28, 17)
    assert {each.deadline.tzinfo for each in (high, worse)} == {NEW_YORK}


def test_a_time_without_an_offset_is_refused() -> None:
    naive = DAY_7.replace(tzinfo=None)
    with pytest.raises(MissingZone):
        of(scored=phq9(4, 3), at=naive, now=DAY_7)
    with pytest.raises(MissingZone):
        of(check_in=CheckIn(unsafe=True), now=naive)


# --- words and rules -------------------------------------------------------------------------------------------------
CHECK_INS = st.builds(
    CheckIn,
    **{
        each.name: st.none()
        | (st.integers(0, 3 if each.name != "mood" else 10) if each.name in {*SEVERITIES, "mood"} else st.booleans())
        for each in fields(CheckIn)
    },
)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given a zone


@given(check_in=CHECK_INS, item9=st.none() | st.integers(0, 3), total=st.integers(3, 24), at=MOMENTS, now=MOMENTS)
def test_whatever_is_answered_has_reasons_with_deadline_text_and_source(
    check_in: CheckIn, item9: int | None, total: int, at: datetime, now: datetime
) -> None:
    reasons = of(scored=phq9(total, item9), check_in=check_in, at=at, now=now, history=History(baseline=5))
    assert len(set(keys(reasons))) == len(reasons)
    for each in reasons:
        assert now <= each.deadline <= max(now, at) + timedelta(days=7)
        assert each.source in each.text
        assert each.key == each.key.lower().replace("_", "-")
    assert reasons == sorted(reasons, key=lambda each: (-each.level, each.deadline, each.key))
    assert reasons == of(scored=phq9(total, item9), check_in=check_in, at=at, now=now, history=History(baseline=5))


@given(check_in=CHECK_INS, at=MOMENTS)
def test_words_do_not_depend_on_when_somebody_looks(check_in: CheckIn, at: datetime) -> None:
    first, again = (of(check_in=check_in, at=at, now=at + timedelta(days=days)) for days in (0, 400))
    assert {(each.key, each.level, each.text) for each in first} == {
        (each.key, each.level, each.text) for each in again
    }


@given(check_in=CHECK_INS, at=MOMENTS)
def test_who_feels_unsafe_is_called_at_once_whatever_else_is_answered(check_in: CheckIn, at: datetime) -> None:
    reasons = of(check_in=check_in, at=at)
    assert ("unsafe" in keys(reasons)) == (check_in.unsafe is True)
    if check_in.unsafe:
        assert reasons[0].level is Level.STAT


def test_every_rule_has_a_deadline_in_the_policy_and_a_key_of_its_own() -> None:
    rules = [
        *escalation_rules.YES.values(),
        *(each for each in vars(escalation_rules).values() if isinstance(each, escalation_rules.Rule)),
    ]
    assert len(rules) == 18
    assert len({each.key for each in rules}) == len(rules)
    for each in rules:
        assert isinstance(getattr(POLICY, each.deadline), int | timedelta)


def test_levels_are_ranked_as_fhir_ranks_them() -> None:
    assert [each.priority for each in sorted(Level)] == ["routine", "urgent", "asap", "stat"]
