"""Scoring against a specification written another way: in fractions, over every way of leaving items out."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fhir_aftercare.care.instruments import GAD7, INSTRUMENTS, PHQ2, PHQ9, Answers, Instrument, score
from fhir_aftercare.errors import InvalidInput, OutOfRange

ANSWER = st.integers(0, 3)
MAYBE = st.none() | ANSWER
PRORATED = (PHQ9, GAD7)


def answered(instrument: Instrument) -> st.SearchStrategy[list[int]]:
    return st.lists(ANSWER, min_size=len(instrument.items), max_size=len(instrument.items))


def partly(instrument: Instrument) -> st.SearchStrategy[list[int | None]]:
    return st.lists(MAYBE, min_size=len(instrument.items), max_size=len(instrument.items))


def of(instrument: Instrument, items: list[int | None] | list[int], **more: int | None) -> Answers:
    return Answers(instrument, tuple(items), **more)


def expected_total(instrument: Instrument, items: list[int | None]) -> int | None:
    """The rule in other words: the mean of what is there, times the number of items, a half rounded up."""
    there = [Fraction(each) for each in items if each is not None]
    allowed = 0 if instrument is PHQ2 else 2
    if len(items) - len(there) > allowed or (instrument is PHQ9 and items[8] is None):
        return None
    return math.floor(sum(there) / len(there) * len(items) + Fraction(1, 2))


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda each: each.key)
def test_the_bands_cover_every_total_once_and_in_order(instrument: Instrument) -> None:
    totals = [total for band in instrument.bands for total in range(band.low, band.high + 1)]
    assert totals == list(range(instrument.max_total + 1))
    assert instrument.max_total == len(instrument.items) * instrument.max_answer
    assert all(instrument.band(total) in instrument.bands for total in totals)
    with pytest.raises(OutOfRange):
        instrument.band(instrument.max_total + 1)


@pytest.mark.parametrize(
    ("instrument", "total", "name"),
    [
        (PHQ9, 4, "minimal"), (PHQ9, 5, "mild"), (PHQ9, 10, "moderate"), (PHQ9, 15, "moderately severe"),
        (PHQ9, 19, "moderately severe"), (PHQ9, 20, "severe"), (GAD7, 9, "mild"), (GAD7, 10, "moderate"),
        (GAD7, 15, "severe"), (PHQ2, 2, "negative"), (PHQ2, 3, "positive"),
    ],
)  # fmt: skip
def test_a_band_begins_where_the_manual_says(instrument: Instrument, total: int, name: str) -> None:
    assert instrument.band(total).name == name


@given(st.data(), st.sampled_from(INSTRUMENTS))
def test_a_whole_form_scores_the_sum_of_its_answers(data: st.DataObject, instrument: Instrument) -> None:
    items = data.draw(answered(instrument))
    found = score(of(instrument, items))
    assert found.total == sum(items)
    assert (found.prorated, found.missing, found.incomplete_reason, found.item9_known) == (False, (), None, True)
    assert found.band is not None
    assert found.band.low <= sum(items) <= found.band.high


@given(st.data(), st.sampled_from(INSTRUMENTS))
def test_scoring_equals_the_specification_whatever_is_left_out(data: st.DataObject, instrument: Instrument) -> None:
    items = data.draw(partly(instrument))
    found = score(of(instrument, items))
    assert found.total == expected_total(instrument, items)
    assert found.missing == tuple(at + 1 for at, each in enumerate(items) if each is None)
    assert (found.total is None) == (found.incomplete_reason is not None) == (found.band is None)
    assert found.prorated == (found.total is not None and None in items)


@given(st.data(), st.sampled_from([PHQ9, GAD7, PHQ2]))
def test_the_order_of_the_items_does_not_matter_but_for_item_9(data: st.DataObject, instrument: Instrument) -> None:
    items = data.draw(partly(instrument))
    free = items[:8] if instrument is PHQ9 else items
    shuffled = [*data.draw(st.permutations(free)), *items[len(free) :]]
    one, other = score(of(instrument, items)), score(of(instrument, shuffled))
    assert (one.total, one.prorated, one.item9) == (other.total, other.prorated, other.item9)


@given(st.data())
def test_item_9_is_what_was_answered_and_never_imputed(data: st.DataObject) -> None:
    items = data.draw(partly(PHQ9))
    found = score(of(PHQ9, items))
    assert found.item9 == items[8]
    assert found.item9_known == (items[8] is not None)
    if items[8] is None:
        assert found.total is None


def test_a_form_that_lacks_only_item_9_has_no_total_and_says_why() -> None:
    found = score(of(PHQ9, [1] * 8 + [None]))
    assert (found.total, found.item9, found.item9_known, found.missing) == (None, None, False, (9,))
    assert found.incomplete_reason == "item 9 was not answered and is never imputed"


@pytest.mark.parametrize("instrument", PRORATED, ids=lambda each: each.key)
@pytest.mark.parametrize("left_out", [1, 2, 3])
def test_one_or_two_missing_are_prorated_three_are_not(instrument: Instrument, left_out: int) -> None:
    free = [at for at in range(len(instrument.items)) if at + 1 != instrument.safety_item]
    for gone in combinations(free, left_out):
        items = [None if at in gone else 2 for at in range(len(instrument.items))]
        found = score(of(instrument, items))
        assert found.total == (2 * len(instrument.items) if left_out < 3 else None)
        assert found.prorated == (left_out < 3)


@pytest.mark.parametrize(
    ("instrument", "items", "total"),
    [
        (PHQ9, [1, 1, 1, 1, 0, 0, 0, None, 0], 5),  # 4 / 8 x 9 = 4.5: the half goes up
        (PHQ9, [None, 0, 0, 0, 0, 0, 0, 0, 1], 1),  # 1.125
        (PHQ9, [None, None, 3, 3, 3, 3, 3, 3, 2], 26),  # 25.71
        (GAD7, [None, 3, 0, 0, 0, 0, 0], 4),  # 3 / 6 x 7 = 3.5
        (GAD7, [None, None, 1, 1, 1, 0, 0], 4),  # 4.2
    ],
)
def test_prorating_rounds_half_up(instrument: Instrument, items: list[int | None], total: int) -> None:
    assert score(of(instrument, items)).total == total


@given(st.data(), st.sampled_from(PRORATED))
def test_an_unanswered_item_is_not_a_zero(data: st.DataObject, instrument: Instrument) -> None:
    items = data.draw(st.lists(st.integers(1, 3), min_size=len(instrument.items), max_size=len(instrument.items)))
    gone = data.draw(st.integers(0, 6))
    as_zero = [0 if at == gone else each for at, each in enumerate(items)]
    as_missing = [None if at == gone else each for at, each in enumerate(items)]
    prorated, zero = score(of(instrument, as_missing)).total, score(of(instrument, as_zero)).total
    assert prorated is not None
    assert zero is not None
    assert prorated > zero


@pytest.mark.parametrize("items", [[1, None], [None, None]])
def test_the_short_form_is_never_prorated(items: list[int | None]) -> None:
    assert score(of(PHQ2, items)).total is None


@given(st.integers(0, 27))
def test_a_bare_phq9_total_stands_and_leaves_item_9_unknown(total: int) -> None:
    found = score(of(PHQ9, [None] * 9, stated_total=total))
    assert (found.total, found.prorated, found.incomplete_reason) == (total, False, None)
    assert (found.item9, found.item9_known, found.stated_total_differs) == (None, False, False)
    assert found.band is not None
    assert found.missing == tuple(range(1, 10))


@pytest.mark.parametrize("instrument", [GAD7, PHQ2], ids=lambda each: each.key)
def test_what_does_not_ask_item_9_leaves_nothing_unknown(instrument: Instrument) -> None:
    found = score(of(instrument, [None] * len(instrument.items), stated_total=3))
    assert (found.item9, found.item9_known) == (None, True)


def test_an_empty_form_has_no_total() -> None:
    found = score(of(PHQ9, [None] * 9))
    assert (found.total, found.incomplete_reason, found.item9_known) == (None, "no item was answered", False)


@given(st.data(), st.sampled_from(INSTRUMENTS))
def test_our_total_wins_over_a_stated_one_and_the_difference_is_told(
    data: st.DataObject, instrument: Instrument
) -> None:
    items = data.draw(answered(instrument))
    stated = data.draw(st.integers(0, instrument.max_total))
    found = score(of(instrument, items, stated_total=stated))
    assert found.total == sum(items)
    assert found.stated_total_differs == (stated != sum(items))


@given(st.data())
def test_without_a_total_of_ours_only_an_impossible_stated_total_differs(data: st.DataObject) -> None:
    items = data.draw(partly(PHQ9))
    assume(any(each is not None for each in items))
    stated = data.draw(st.integers(0, 27))
    found = score(of(PHQ9, items, stated_total=stated))
    if found.total is None:
        low = sum(each or 0 for each in items)
        high = sum(3 if each is None else each for each in items)
        assert found.stated_total_differs == (not low <= stated <= high)


def test_every_value_out_of_range_is_named_and_none_is_quoted() -> None:
    with pytest.raises(OutOfRange) as caught:
        score(of(PHQ9, [4, 0, -1, 0, 0, 0, 0, 0, 41], difficulty=57, stated_total=280))
    assert caught.value.where == ("items[0]", "items[2]", "items[8]", "difficulty", "stated_total")
    assert not any(value in caught.value.message for value in ("41", "57", "280"))


@pytest.mark.parametrize("count", [0, 8, 10])
def test_a_form_with_another_number_of_items_is_refused(count: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        score(of(PHQ9, [1] * count))
    assert caught.value.where == ("items",)


def test_difficulty_does_not_score() -> None:
    assert score(of(PHQ9, [1] * 9, difficulty=3)).total == 9
