"""Where the patient stands by the scores, in words and as a picture with its table (ui §4.5, clinical §2.4).

Wording and order only: bands are ``care.instruments``', response and relapse ``care.outcome``'s to say. What cannot be
said is said to be so; item 9 is always named, also where it is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.instruments import INSTRUMENTS
from fhir_aftercare.care.outcome import response_line
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.fhir import terms
from fhir_aftercare.ui.trend import Shown, asked_from, draw, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.outcome import Outcome, Point
    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.flows.course_events import MissedForm
    from fhir_aftercare.flows.open_chart import ChartView, Trend
    from fhir_aftercare.ui.trend import Drawing

    Address = Callable[[str], str]

NEWEST: Final = 6  # rows of a table that are open to the eye; the others are folded
_BY_KEY: Final = {each.key: each for each in INSTRUMENTS}
# What is said of the newest score, the most pressing first, with how it is marked.
_LABELS: Final = (("relapse", "worse"), ("worsening", "worse"), ("remission", "better"), ("response", "better"))


@dataclass(frozen=True, slots=True)
class Item9:
    """What the newest PHQ-9 says to item 9: ``shape`` is drawn before it, empty if the answer is 0 or not known."""

    words: str
    shape: str


@dataclass(frozen=True, slots=True)
class Standing:
    """One instrument's newest score in words. ``labels`` are (kind, word); ``address`` leads to its answers."""

    name: str
    said: str
    band: str
    change: str
    labels: tuple[tuple[str, str], ...]
    item9: Item9 | None
    address: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: a score with its band and notes, or a form that was not answered."""

    day: str
    total: str
    note: str
    address: str | None


@dataclass(frozen=True, slots=True)
class Figure:
    """One instrument's picture and table. ``undrawn`` counts the scores that stand in the table only."""

    name: str
    summary: str
    drawing: Drawing
    newest: tuple[Row, ...]
    earlier: tuple[Row, ...]
    undrawn: int


def standing(trend: Trend, view: ChartView, zone: ZoneInfo, address: Address, *, known: bool) -> Standing:
    """Give the newest score that counts in words; if none counts, the newest. ``known``: the plans could be read."""
    counted = [each for each in trend.points if not each.recall_mismatch]
    newest = (counted or trend.points)[-1]
    return Standing(
        name=trend.instrument.upper(),
        said=_said(newest, zone),
        band=_BY_KEY[newest.instrument].band(newest.total).name,
        change=_change(trend, newest, view, zone) if known else "infusions not known: no change can be told",
        labels=tuple(_labels(trend.outcome, newest)),
        item9=_item9(trend.points[-1]),
        address=address(newest.source) if newest.source else None,
    )


def figure(
    trend: Trend, view: ChartView, policy: Policy, zone: ZoneInfo, *, whole: bool, address: Address, linked: bool
) -> Figure:
    """Give the picture and the table. Drawn is the newest course with the weeks before it, or the ``whole`` history.

    With ``linked`` the scores in the picture lead to their answers; those in the table always do.
    """
    since = None if whole else _since(trend, view, policy)
    drawn = [each for each in trend.points if since is None or utc(each.at) >= since]
    missed = [each for each in view.missed if each.instrument == trend.instrument]
    shown = Shown(
        instrument=_BY_KEY[drawn[-1].instrument],
        points=drawn,
        infusions=[each for each in view.infusions if since is None or utc(each.end) >= since],
        missed=[each for each in missed if since is None or utc(each.due) >= since],
        baseline=trend.baseline,
        response=response_line(trend.baseline, policy) if trend.baseline else None,
    )

    def leads(point: Point) -> str | None:
        return address(point.source) if linked and point.source else None

    rows = [(utc(each.at), _row(each, trend, zone, address)) for each in trend.points]
    rows += [
        (utc(each.due), Row(_day(each.due, zone), "not answered", asked_from(each, zone), None)) for each in missed
    ]
    table = [row for _, row in sorted(rows, key=lambda each: each[0], reverse=True)]
    return Figure(
        name=trend.instrument.upper(),
        summary=_said(trend.points[-1], zone),
        drawing=draw(shown, view.as_of, zone, address=leads),
        newest=tuple(table[:NEWEST]),
        earlier=tuple(table[NEWEST:]),
        undrawn=len(trend.points) - len(drawn),
    )


def explained(policy: Policy) -> tuple[tuple[str, str], ...]:
    """Say what the labels mean, with the clinic's own numbers."""
    best = f"{policy.relapse_above_best} or more above the best"
    worse = f"PHQ-9 at least {policy.worsening_points} or GAD-7 at least {policy.gad7_change} above the baseline"
    relapse = f"PHQ-9 of {policy.relapse_at_least} or more and {best}, twice {policy.relapse_confirm.days} days apart"
    return (
        ("Response", f"PHQ-9 at least {policy.response_percent} % below the baseline."),
        ("Remission", f"PHQ-9 below {policy.remission_below}."),
        ("Worsening", f"{worse} or the score before; or PHQ-9 in a higher band with item 9 above 0."),
        ("Relapse", f"After response or remission: {relapse}; once if item 9 is above 0."),
        ("Baseline", f"The last score of the {policy.baseline_max_age.days} days before the first infusion."),
    )


def _since(trend: Trend, view: ChartView, policy: Policy) -> datetime | None:
    """Give from when on scores are drawn: the newest course, with some weeks before it; all, if none is of that time.

    What was before it by years would press the course against the edge.
    """
    if view.began is None:
        return None
    since = utc(view.began) - 4 * policy.baseline_max_age
    return since if utc(trend.points[-1].at) >= since else None


def _said(point: Point, zone: ZoneInfo) -> str:
    return f"{point.total} on {wording.short_text(point.at, zone)}"


def _day(moment: datetime, zone: ZoneInfo) -> str:
    return wording.short_date(local(moment, zone).date())


def _change(trend: Trend, newest: Point, view: ChartView, zone: ZoneInfo) -> str:
    if newest.recall_mismatch:
        return "not counted: day 1 or 3 after an infusion"
    if trend.baseline is None:
        return "no infusion yet" if view.began is None else "no baseline: no change can be told"
    if newest is trend.baseline:
        return "the baseline"
    change = newest.total - trend.baseline.total
    moved = f"{'down' if change < 0 else 'up'} {abs(change)}" if change else "unchanged"
    return f"{moved} from the baseline, {trend.baseline.total} on {_day(trend.baseline.at, zone)}"


def _labels(outcome: Outcome | None, newest: Point) -> Sequence[tuple[str, str]]:
    if outcome is None or newest.recall_mismatch:
        return ()
    found = [(kind, word.capitalize()) for word, kind in _LABELS if getattr(outcome, word)]
    if outcome.response is False and not found:
        found.append(("open", "No response"))
    return found


def _item9(newest: Point) -> Item9 | None:
    if _BY_KEY[newest.instrument].safety_item is None:
        return None
    if newest.item9 is None:
        return Item9("Item 9 not known", "")
    often = str(terms.FREQUENCY_ANSWERS[newest.item9].display).lower()
    words = f"Item 9 answered {newest.item9} of 3, {often}"
    return Item9(words, shape_of(newest) if newest.item9 else "")


def _row(point: Point, trend: Trend, zone: ZoneInfo, address: Address) -> Row:
    instrument = _BY_KEY[point.instrument]
    notes = [
        "baseline" if point is trend.baseline else "",
        f"item 9: {point.item9}" if point.item9 else "",
        "item 9 not known" if instrument.safety_item and point.item9 is None else "",
        "not counted" if point.recall_mismatch else "",
    ]
    return Row(
        day=_day(point.at, zone),
        total=f"{point.total} {instrument.band(point.total).name}",
        note=", ".join(each for each in notes if each),
        address=address(point.source) if point.source else None,
    )


def _unanswered(missed: MissedForm, zone: ZoneInfo) -> Row:
    return Row(_day(missed.due, zone), f"not answered, {asked_from(missed, zone)}", "", None)
