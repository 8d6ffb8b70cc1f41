"""The lines a trend is drawn with: where the disorder becomes likely, and from where on down it is a response."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.instruments import GAD7, INSTRUMENTS, PHQ9
from fhir_aftercare.care.outcome import Point, assess, response_line
from fhir_aftercare.care.policy import Policy

if TYPE_CHECKING:
    from fhir_aftercare.care.instruments import Instrument

BEFORE = datetime(2026, 9, 14, 13, tzinfo=UTC)
AFTER = datetime(2026, 9, 23, 13, tzinfo=UTC)


@pytest.mark.parametrize("instrument", [PHQ9, GAD7])
def test_from_the_cut_off_on_a_total_is_at_least_moderate(instrument: Instrument) -> None:
    assert instrument.cutoff is not None
    assert instrument.band(instrument.cutoff).name == "moderate"
    assert instrument.band(instrument.cutoff - 1).name == "mild"


def test_bands_hold_every_total_once() -> None:
    for instrument in INSTRUMENTS:
        held = [total for band in instrument.bands for total in range(band.low, band.high + 1)]
        assert held == list(range(instrument.max_total + 1))


@given(st.integers(1, 27), st.integers(0, 27), st.integers(1, 100))
def test_the_line_is_where_a_response_begins(before: int, after: int, percent: int) -> None:
    policy = Policy(response_percent=percent)
    baseline = Point(BEFORE, before, "phq-9", None)
    line = response_line(baseline, policy)
    assert line is not None
    outcome = assess([Point(AFTER, after, "phq-9", None)], baseline, policy)
    assert outcome.response == (after <= line)


@pytest.mark.parametrize("baseline", [Point(BEFORE, 0, "phq-9", None), Point(BEFORE, 18, "gad-7", None)])
def test_where_no_response_is_defined_there_is_no_line(baseline: Point) -> None:
    assert response_line(baseline, Policy()) is None
