"""The picture of a trend: what stands where, for any scores; and the very drawings for 1, 2, 12 and 60 of them.

The drawings lie in ``tests/ui/trends``. After a change that is meant: look at pages, and write them anew with

    DRAW=1 pytest tests/ui/test_trend.py
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.instruments import GAD7, PHQ9
from fhir_aftercare.care.outcome import Point
from fhir_aftercare.flows.course_events import GivenInfusion, MissedForm
from fhir_aftercare.ui import answers
from fhir_aftercare.ui.trend import STEP, TOP, Drawing, Shown, draw

NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 9, 16, 13, tzinfo=NEW_YORK)
DAY = timedelta(days=1)
FOLDER = Path(__file__).parent / "trends"


def point(day: float, total: int, item9: int | None = 0, *, mismatch: bool = False) -> Point:
    at = START.astimezone(UTC) + day * DAY
    return Point(at, total, "phq-9", f"Observation/{day:g}", mismatch, item9)


def infusion(number: int, day: int) -> GivenInfusion:
    return GivenInfusion(number, START + day * DAY, f"CarePlan/{number}")


def missed(day: int) -> MissedForm:
    return MissedForm("phq-9", START + (day - 2) * DAY, START + day * DAY)


def drawn(shown: Shown, now: datetime, *, linked: bool = True) -> Drawing:
    return draw(shown, now, NEW_YORK, address=lambda each: f"answers?of={each.source}" if linked else None)


def svg(drawing: Drawing) -> str:
    """Give the picture as the page prints it."""
    return str(answers._environment.get_template("trend.svg.html").module.picture(drawing)).strip()  # type: ignore[attr-defined]


# --- any scores ------------------------------------------------------------------------------------------------------
days = st.integers(-2000, 2000)
points = st.dictionaries(
    days,
    st.tuples(st.integers(0, 27), st.sampled_from([None, 0, 1, 2, 3]), st.booleans()),
    min_size=1,
    max_size=80,
).map(lambda found: [point(day, total, item9, mismatch=odd) for day, (total, item9, odd) in sorted(found.items())])


@given(points, st.lists(days, max_size=30), st.lists(days, max_size=10), st.integers(0, 400))
def test_whatever_there_is_stands_inside_the_picture_in_its_order(
    scores: list[Point], infusions: list[int], forms: list[int], later: int
) -> None:
    shown = Shown(
        PHQ9,
        scores,
        [infusion(number, day) for number, day in enumerate(sorted(infusions), start=1)],
        [missed(day) for day in sorted(forms)],
    )
    found = drawn(shown, scores[-1].at + later * DAY)
    places = [float(each.x) for each in found.marks]
    assert len(places) == len(scores)
    assert places == sorted(places)
    ticks = [(float(x), number) for x, number, _ in found.infusions]
    assert all(0 <= x <= 100 for x in [*places, *(x for x, _ in ticks), *(float(x) for x, _ in found.missed)])
    assert all(TOP <= each.y <= TOP + 27 * STEP for each in found.marks)
    assert [each.y for each in found.marks] == [TOP + (27 - each.total) * STEP for each in scores]
    labelled = [x for x, number in ticks if number]
    assert all(after - before >= 4.9 for before, after in pairwise(labelled))
    assert len(found.days) <= 4
    ET.fromstring(svg(found))  # noqa: S314  (our own)


@given(points, st.lists(days, max_size=10))
def test_the_line_joins_scores_that_count_unless_a_form_between_them_was_missed(
    scores: list[Point], forms: list[int]
) -> None:
    gaps = [missed(day) for day in forms]
    found = drawn(Shown(PHQ9, scores, missed=gaps), scores[-1].at)
    counted = [each for each in scores if not each.recall_mismatch]
    assert len(re.findall("[ML]", found.path)) == len(counted)
    expected = [not any(before.at < gap.due <= after.at for gap in gaps) for before, after in pairwise(counted)]
    assert [each == "L" for each in re.findall("[ML]", found.path)[1:]] == expected


@given(points)
def test_shapes_tell_item_9_and_what_does_not_count_and_the_legend_names_them(scores: list[Point]) -> None:
    found = drawn(Shown(PHQ9, scores), scores[-1].at)
    for score, mark in zip(scores, found.marks, strict=True):
        assert (mark.shape in {"diamond", "lozenge"}) == bool(score.item9)
        assert (mark.shape in {"ring", "lozenge"}) == score.recall_mismatch
        assert ("item 9 answered" in mark.words) == bool(score.item9)
        assert ("not counted" in mark.words) == score.recall_mismatch
    assert {each.shape for each in found.marks} <= {shape for shape, _ in found.legend}


@given(points)
def test_a_target_never_reaches_over_its_neighbours(scores: list[Point]) -> None:
    widths = {"l": 8.2, "m": 3.0}
    found = drawn(Shown(PHQ9, scores), scores[-1].at).marks
    for before, after in pairwise(found):
        reach = (widths.get(before.target, 0) + widths.get(after.target, 0)) / 2
        assert float(after.x) - float(before.x) >= reach - 0.11


# --- what it says ----------------------------------------------------------------------------------------------------
def test_one_score_alone_stands_in_the_middle_and_can_be_pressed() -> None:
    found = drawn(Shown(PHQ9, [point(0, 21, 1)]), START)
    (mark,) = found.marks
    assert 45 < float(mark.x) < 55
    assert (mark.shape, mark.target, mark.number) == ("diamond", "l", "21")
    assert mark.words == "21 on 16-Sep-2026, severe, item 9 answered 1"
    assert found.title == "PHQ-9, 1 score over time"


def test_bands_are_named_and_lines_stand_at_the_cut_off_and_half_of_the_baseline() -> None:
    baseline = point(-2, 20)
    shown = Shown(PHQ9, [baseline, point(7, 9)], baseline=baseline, response=10.0)
    found = drawn(shown, START + 7 * DAY)
    assert [each.name for each in found.bands] == ["minimal", "mild", "moderate", "moderately severe", "severe"]
    assert [number for _, number in found.axis] == [0, 5, 10, 15, 20, 27]
    assert found.rules == ((TOP + 17 * STEP, "cutoff"), (TOP + 17 * STEP, "half"))
    assert ("half", "half of the baseline, 10") in found.legend
    assert "20 on 14-Sep-2026, severe, baseline" in [each.words for each in found.marks]


def test_the_gad7_has_its_own_axis_and_bands() -> None:
    found = drawn(Shown(GAD7, [Point(START, 21, "gad-7", None)]), START)
    assert [each.name for each in found.bands] == ["minimal", "mild", "moderate", "severe"]
    assert found.marks[0].y == TOP
    assert sum(each.height for each in found.bands) == 21 * STEP


def test_without_links_it_is_one_image_and_with_them_a_group_of_links() -> None:
    shown = Shown(PHQ9, [point(0, 21), point(7, 9)])
    image, group = (svg(drawn(shown, START + 7 * DAY, linked=linked)) for linked in (False, True))
    assert 'role="img"' in image
    assert "<a " not in image
    assert 'role="group"' in group
    assert group.count("<a href=") == 2
    for each in (image, group):
        assert "21 on 16-Sep-2026, severe" in each
        assert "style=" not in each


# --- the very drawings -----------------------------------------------------------------------------------------------
def case(count: int) -> tuple[Shown, datetime]:
    """Give a course as it may go: a baseline, six infusions in three weeks, weekly scores, one form missed."""
    scores = [point(-2, 21, 1)]
    scores += [point(7 * week, max(4, 19 - 2 * week) + week % 3, int(week < 3)) for week in range(1, count)]
    if count > 2:
        scores[2] = point(11, 15, 1, mismatch=True)
    ends = [infusion(number, day) for number, day in enumerate((0, 2, 7, 9, 14, 16), start=1)]
    gaps = [missed(32)] if count > 2 else []
    now = max(scores[-1].at, START.astimezone(UTC)) + DAY
    return Shown(PHQ9, scores, ends[: count * 3], gaps, scores[0], 10.5), now


@pytest.mark.parametrize("count", [1, 2, 12, 60])
def test_the_drawing_is_as_it_was_looked_at(count: int) -> None:
    found = svg(drawn(*case(count))) + "\n"
    file = FOLDER / f"{count}.svg"
    if os.environ.get("DRAW"):
        file.write_text(found, "utf-8")
    assert found == file.read_text("utf-8")
