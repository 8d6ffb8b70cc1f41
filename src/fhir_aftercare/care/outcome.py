"""What the scores say about the course: baseline, response, remission, worsening, relapse (clinical §2.4).

Computed on read, never stored, and shown to people with its inputs. Without a baseline nothing is said about response
or relapse (design §9.11). Who must act on a single answer is ``escalation``, which looks at every one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from fhir_aftercare.care.instruments import GAD7, PHQ9, InstrumentKey
from fhir_aftercare.care.timing import local
from fhir_aftercare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.policy import Policy

# The PHQ-9 asks about two weeks: what it says on these days after an infusion is no change (clinical §2.3).
MISMATCHED_DAYS = frozenset({1, 3})


@dataclass(frozen=True, slots=True)
class Point:
    """One total. ``at`` is when it was answered, ``source`` the FHIR reference of the Observation that says so.

    ``recall_mismatch``: answered too soon after an infusion to tell a change. ``item9`` (PHQ-9 only) where it is known.
    """

    at: datetime
    total: int
    instrument: InstrumentKey
    source: str | None
    recall_mismatch: bool = False
    item9: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the patient stands by the newest score. None: it cannot be said, and pages say that.

    ``change`` is the newest total minus the baseline's: below 0 is better.
    """

    response: bool | None
    remission: bool | None
    worsening: bool | None
    relapse: bool | None
    change: int | None
    baseline: Point | None


def recall_mismatch(at: datetime, infusion_ends: Iterable[datetime], zone: ZoneInfo) -> bool:
    """Tell whether a score of this instant was answered on day 1 or 3 after an infusion, on the patient's calendar."""
    day = local(at, zone).date()
    return any((day - local(end, zone).date()).days in MISMATCHED_DAYS for end in infusion_ends)


def tag_recall(points: Iterable[Point], infusion_ends: Sequence[datetime], zone: ZoneInfo) -> list[Point]:
    """Give the points with ``recall_mismatch`` set where ``infusion_ends`` say so; a tag that is there stays."""
    return [
        replace(each, recall_mismatch=each.recall_mismatch or recall_mismatch(each.at, infusion_ends, zone))
        for each in points
    ]


def newest_per_day(points: Iterable[Point], zone: ZoneInfo) -> list[Point]:
    """Give the trend: of each instrument the newest point of each of the patient's days, oldest first (clinical §3.5).

    Of two at the same instant the one given later wins. For the trend only: every response is escalated (design §10.9).
    """
    newest: dict[tuple[InstrumentKey, date], Point] = {}
    for each in points:
        slot = (each.instrument, local(each.at, zone).date())
        if slot not in newest or _instant(newest[slot]) <= _instant(each):
            newest[slot] = each
    return sorted(newest.values(), key=_instant)


def baseline(points: Sequence[Point], first_start: datetime, policy: Policy) -> Point | None:
    """Give the baseline of a course: the last point of the seven days before its first drug was started (design §9.11).

    ``points`` are of one instrument, in any order; one after the start is never a baseline, one whose recall does not
    match neither. Raises ``InvalidInput`` if the points are of several instruments.
    """
    _instrument_of(points)
    able = [
        each
        for each in points
        if not each.recall_mismatch
        and timedelta(0) <= first_start.astimezone(UTC) - _instant(each) <= policy.baseline_max_age
    ]
    return max(able, key=_instant, default=None)


def assess(points: Sequence[Point], before: Point | None, policy: Policy, *, since: datetime | None = None) -> Outcome:
    """Say where the patient stands by the newest point after ``since``, the start of the course's first infusion.

    ``points`` are of one instrument, in any order, one for each day (``newest_per_day``); those whose recall does not
    match are left out. ``before`` is the course's baseline; it is also where the course begins if ``since`` is not
    given. Remission, response and relapse are defined for the PHQ-9 only; worsening for the GAD-7 is its own smaller
    change. Raises ``InvalidInput`` if the instruments differ.
    """
    instrument = _instrument_of([*points, *([before] if before else [])])
    began = since or (before.at if before else None)
    after = sorted((each for each in points if not each.recall_mismatch and _is_after(each, began)), key=_instant)
    if not after:
        return Outcome(None, None, None, None, None, before)
    newest = after[-1]
    previous = after[-2] if len(after) > 1 else None
    phq9 = instrument == PHQ9.key
    return Outcome(
        response=_responds(newest, before, policy) if phq9 else None,
        remission=_remits(newest, policy) if phq9 else None,
        worsening=_worse(newest, [each for each in (before, previous) if each is not None], policy),
        relapse=_relapsed(after, before, policy) if phq9 and before else None,
        change=newest.total - before.total if before else None,
        baseline=before,
    )


def response_line(before: Point, policy: Policy) -> float | None:
    """Give the total at or below which a PHQ-9 is a response: half of the baseline; None where none can be."""
    if before.instrument != PHQ9.key or before.total == 0:
        return None
    return before.total * (100 - policy.response_percent) / 100


def _instrument_of(points: Sequence[Point]) -> InstrumentKey | None:
    kinds = {each.instrument for each in points}
    if len(kinds) > 1:
        raise InvalidInput("Scores of several instruments cannot be compared.", where="points")
    return next(iter(kinds), None)


def _instant(point: Point) -> datetime:
    """When it was, in UTC: between two times of one zone Python compares and counts on the wall clock."""
    return point.at.astimezone(UTC)


def _is_after(point: Point, moment: datetime | None) -> bool:
    return moment is None or _instant(point) > moment.astimezone(UTC)


def _responds(point: Point, before: Point | None, policy: Policy) -> bool | None:
    if before is None or before.total == 0:  # half of nothing is no response
        return None
    return (before.total - point.total) * 100 >= policy.response_percent * before.total


def _remits(point: Point, policy: Policy) -> bool:
    return point.total < policy.remission_below


def _worse(point: Point, references: Sequence[Point], policy: Policy) -> bool | None:
    if not references:
        return None
    if point.instrument == GAD7.key:
        return any(point.total - each.total >= policy.gad7_change for each in references)
    by_points = any(point.total - each.total >= policy.worsening_points for each in references)
    if point.instrument != PHQ9.key or not point.item9:
        return by_points
    band = PHQ9.band(point.total)
    return by_points or any(band.low > PHQ9.band(each.total).low for each in references)


def _relapsed(after: Sequence[Point], before: Point, policy: Policy) -> bool:
    """Relapse is confirmed by a second high score a week later, without a lower one between; item 9 needs no second."""
    best: int | None = None  # best total so far
    had_improved = False
    first_high: Point | None = None
    relapsed = False
    for each in after:
        limit = max(policy.relapse_at_least, (best or 0) + policy.relapse_above_best)
        if not had_improved or each.total < limit:
            first_high, relapsed = None, False
        else:
            first_high = first_high or each
            confirmed = _instant(each) - _instant(first_high) >= policy.relapse_confirm
            relapsed = relapsed or confirmed or bool(each.item9)
        had_improved = had_improved or _remits(each, policy) or bool(_responds(each, before, policy))
        best = each.total if best is None else min(best, each.total)
    return relapsed
