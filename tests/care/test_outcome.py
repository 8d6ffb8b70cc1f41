"""Outcomes of a course: the definitions of clinical practice at their limits, and what must never change them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.instruments import GAD7, PHQ9, InstrumentKey
from fhir_aftercare.care.outcome import (
    Outcome,
    Point,
    assess,
    baseline,
    newest_per_day,
    recall_mismatch,
    tag_recall,
)
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.errors import InvalidInput

NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 9, 16, 13, 0, tzinfo=NEW_YORK)
POLICY = Policy()


def point(
    days: float, total: int, *, instrument: InstrumentKey = "phq-9", item9: int | None = 0, mismatch: bool = False
) -> Point:
    """A score some days after the start of the course (before it: below 0)."""
    return Point(START + timedelta(days=days), total, instrument, f"Observation/{days}-{total}", mismatch, item9)


def after(*points: Point, before: Point | None = None, policy: Policy = POLICY) -> Outcome:
    return assess(points, before, policy, since=START)


BASE = point(-1, 20)

# --- baseline --------------------------------------------------------------------------------------------------------


def test_the_baseline_is_the_last_score_before_the_drug_was_started() -> None:
    points = [point(-1, 18), point(-6, 21), point(0.01, 3), point(7, 9)]
    assert baseline(points, START, POLICY) == points[0]


@pytest.mark.parametrize(
    ("days", "counts"),
    [(-7, True), (-7.01, False), (0, True), (0.001, False)],
    ids=["7 d", "older", "at start", "after"],
)
def test_the_baseline_is_at_most_seven_days_old_and_never_after_the_start(days: float, counts: bool) -> None:
    assert (baseline([point(days, 18)], START, POLICY) is not None) == counts


def test_without_an_early_score_there_is_no_baseline() -> None:
    assert baseline([], START, POLICY) is None


def test_a_score_whose_recall_does_not_match_is_no_baseline() -> None:
    assert baseline([point(-1, 18, mismatch=True), point(-3, 20)], START, POLICY) == point(-3, 20)


def test_seven_days_are_seven_times_24_hours_also_when_the_clocks_change() -> None:
    start = datetime(2026, 11, 4, 13, 0, tzinfo=NEW_YORK)
    same_clock = Point(datetime(2026, 10, 28, 13, 0, tzinfo=NEW_YORK), 18, "phq-9", None)
    assert baseline([same_clock], start, POLICY) is None
    assert baseline([replace(same_clock, at=same_clock.at + timedelta(hours=1))], start, POLICY) is not None


def test_scores_of_two_instruments_are_not_mixed_up() -> None:
    mixed = [point(-1, 18), point(-1, 12, instrument="gad-7")]
    with pytest.raises(InvalidInput):
        baseline(mixed, START, POLICY)
    with pytest.raises(InvalidInput):
        after(point(7, 3), before=point(-1, 12, instrument="gad-7"))


# --- response, remission, change -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "responds"), [(10, True), (11, False), (0, True), (27, False)])
def test_half_of_the_baseline_is_a_response(total: int, responds: bool) -> None:
    found = after(point(7, total), before=BASE)
    assert found.response is responds
    assert found.change == total - 20
    assert found.baseline == BASE


@given(st.integers(1, 27), st.integers(0, 27))
def test_a_response_is_never_rounded(before: int, now: int) -> None:
    found = after(point(7, now), before=point(-1, before))
    assert found.response == (before - now >= before / 2)


@pytest.mark.parametrize(("total", "remits"), [(4, True), (5, False)])
def test_remission_is_below_five_with_or_without_a_baseline(total: int, remits: bool) -> None:
    assert after(point(7, total), before=BASE).remission is remits
    assert after(point(7, total)).remission is remits


def test_without_a_baseline_neither_response_nor_relapse_is_claimed() -> None:
    found = after(point(7, 3), point(14, 20), point(21, 20))
    assert (found.response, found.relapse, found.change, found.baseline) == (None, None, None, None)


def test_a_baseline_of_nothing_has_no_half() -> None:
    assert after(point(7, 0), before=point(-1, 0)).response is None


def test_before_any_later_score_nothing_is_said() -> None:
    assert after(point(-1, 3), point(-3, 20), before=BASE) == Outcome(None, None, None, None, None, BASE)


def test_the_course_begins_at_its_baseline_unless_told_otherwise() -> None:
    points = [point(-3, 2), BASE, point(7, 10)]
    assert assess(points, BASE, POLICY) == after(*points, before=BASE)
    assert assess([BASE, point(-0.5, 3)], BASE, POLICY, since=START).remission is None


def test_a_clinic_may_define_response_its_own_way() -> None:
    strict = replace(POLICY, response_percent=60)
    assert after(point(7, 9), before=BASE, policy=strict).response is False
    assert after(point(7, 8), before=BASE, policy=strict).response is True


def test_the_newest_score_decides_in_whatever_order_they_come() -> None:
    points = [point(7, 15), point(14, 3), point(21, 12)]
    assert after(*points, before=BASE) == after(*reversed(points), before=BASE)
    assert after(*points, before=BASE).change == -8


def test_a_score_of_day_1_or_3_is_kept_out() -> None:
    found = after(point(7, 15), point(8, 2, mismatch=True), before=BASE)
    assert (found.response, found.remission, found.change) == (False, False, -5)


# --- worsening -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("totals", "worse"),
    [([19], False), ([24], False), ([25], True), ([8, 12], False), ([8, 13], True), ([20, 24], False)],
)
def test_five_points_above_baseline_or_above_the_previous_score_is_worse(totals: list[int], worse: bool) -> None:
    points = [point(7 * (at + 1), total) for at, total in enumerate(totals)]
    assert after(*points, before=BASE).worsening is worse


@pytest.mark.parametrize(("item9", "total", "worse"), [(1, 10, True), (0, 10, False), (None, 10, False), (1, 9, False)])
def test_a_band_up_with_thoughts_of_death_is_worse(item9: int | None, total: int, worse: bool) -> None:
    assert after(point(7, 8), point(14, total, item9=item9), before=BASE).worsening is worse


def test_without_anything_to_compare_with_worsening_is_not_known() -> None:
    assert after(point(7, 25)).worsening is None


@pytest.mark.parametrize(("total", "worse"), [(13, False), (14, True)])
def test_anxiety_is_worse_by_its_own_smaller_step_and_has_no_response(total: int, worse: bool) -> None:
    found = after(point(7, total, instrument="gad-7"), before=point(-1, 10, instrument="gad-7"))
    assert found.worsening is worse
    assert (found.response, found.remission, found.relapse, found.change) == (None, None, None, total - 10)


# --- relapse ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "relapsed"),
    [
        ([(7, 4), (14, 12)], False),  # one high score alone
        ([(7, 4), (14, 12), (20.9, 12)], False),  # not yet a week apart
        ([(7, 4), (14, 12), (21, 12)], True),
        ([(7, 4), (14, 12), (17, 11), (21, 12)], True),
        ([(7, 4), (14, 12), (17, 9), (21, 12)], False),  # lower in between
        ([(7, 4), (14, 9), (21, 9)], False),  # below ten
        ([(7, 8), (14, 12), (21, 12)], False),  # less than five above the best
        ([(7, 8), (14, 13), (21, 13)], True),
        ([(7, 12), (14, 18), (21, 18)], False),  # never better, so nothing to fall back from
        ([(7, 4), (14, 12), (21, 12), (28, 3)], False),  # well again
        ([(7, 4), (14, 12), (21, 12), (22, 12)], True),
    ],
)
def test_relapse_is_two_high_scores_a_week_apart(scores: list[tuple[float, int]], relapsed: bool) -> None:
    assert after(*(point(day, total) for day, total in scores), before=BASE).relapse is relapsed


@pytest.mark.parametrize(("item9", "relapsed"), [(1, True), (0, False), (None, False)])
def test_with_thoughts_of_death_one_high_score_is_a_relapse(item9: int | None, relapsed: bool) -> None:
    assert after(point(7, 4), point(14, 12, item9=item9), before=BASE).relapse is relapsed


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 27), st.sampled_from([None, 0, 1])), max_size=12))
def test_relapse_follows_improvement_and_a_high_newest_score(scores: list[tuple[int, int, int | None]]) -> None:
    points = newest_per_day([point(day, total, item9=item9) for day, total, item9 in scores], NEW_YORK)
    found = after(*points, before=BASE)
    if found.relapse:
        totals = [each.total for each in points]
        assert totals[-1] >= 10
        assert min(totals[:-1]) <= 10
        assert totals[-1] >= min(totals) + 5
        assert not found.response or totals[-1] == 10


# --- days ------------------------------------------------------------------------------------------------------------

EVENING = datetime(2026, 9, 16, 23, 30, tzinfo=NEW_YORK)


@pytest.mark.parametrize(("day", "mismatch"), [(0, False), (1, True), (2, False), (3, True), (4, False), (7, False)])
def test_only_days_1_and_3_after_an_infusion_do_not_match_the_recall(day: int, mismatch: bool) -> None:
    at = datetime(2026, 9, 16 + day, 10, 0, tzinfo=NEW_YORK)
    assert recall_mismatch(at, [START], NEW_YORK) is mismatch


def test_the_day_is_the_patients_own() -> None:
    next_utc_day = EVENING.astimezone(UTC)
    assert not recall_mismatch(next_utc_day, [START], NEW_YORK)
    assert recall_mismatch(next_utc_day, [START], ZoneInfo("UTC"))


def test_any_infusion_of_the_course_can_be_the_one_before() -> None:
    ends = [START, START + timedelta(days=4)]
    tagged = tag_recall([point(2, 9), point(5, 9), point(9, 9), point(8, 9, mismatch=True)], ends, NEW_YORK)
    assert [each.recall_mismatch for each in tagged] == [False, True, False, True]


def test_the_newest_of_a_day_is_shown_and_days_are_the_patients() -> None:
    morning, late = replace(point(0, 12), at=EVENING - timedelta(hours=14)), replace(point(0, 9), at=EVENING)
    next_day = replace(point(0, 8), at=EVENING + timedelta(hours=1))
    assert newest_per_day([next_day, late, morning], NEW_YORK) == [late, next_day]
    assert newest_per_day([next_day, late, morning], ZoneInfo("Asia/Tokyo")) == [morning, next_day]


def test_depression_and_anxiety_of_one_day_are_both_kept() -> None:
    points = [point(7, 9), point(7, 5, instrument="gad-7")]
    assert newest_per_day(points, NEW_YORK) == points


def test_of_two_scores_of_one_instant_the_later_given_is_kept() -> None:
    assert newest_per_day([point(7, 9), point(7, 10)], NEW_YORK) == [point(7, 10)]


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 27), st.sampled_from([PHQ9.key, GAD7.key])), max_size=20))
def test_the_trend_has_one_point_a_day_of_each_instrument_oldest_first(
    scores: list[tuple[float, int, InstrumentKey]],
) -> None:
    points = [point(days, total, instrument=key) for days, total, key in scores]
    trend = newest_per_day(points, NEW_YORK)
    slots = [(each.instrument, each.at.astimezone(NEW_YORK).date()) for each in trend]
    assert len(slots) == len(set(slots))
    assert set(slots) == {(each.instrument, each.at.astimezone(NEW_YORK).date()) for each in points}
    assert [each.at for each in trend] == sorted(each.at for each in trend)
    assert newest_per_day(trend, NEW_YORK) == trend
