"""When an infusion's checks are due and what is asked at each (clinical §1.2); how they are recorded is not known here.

Before the drug; 15, 30 and 40 minutes after its start and every 15 minutes while it runs longer; at its end; and 15,
30, 60 and 120 minutes after that. A check answers a point if it is made a little before it or at any time until the
next one opens; a point that was missed is not made up for once the next is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.infusion import Measure
from fhir_aftercare.care.timing import utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.care.policy import Policy

_MINUTE: Final = timedelta(minutes=1)
_BEFORE: Final = 30 * _MINUTE
_EARLY: Final = 5 * _MINUTE
_RUNNING: Final = (15, 30)
_PEAK: Final = 40
_EVERY: Final = 15 * _MINUTE
_AFTER: Final = (15, 30, 60)
_LAST: Final = 120

_VITAL: Final = (Measure.BLOOD_PRESSURE, Measure.HEART_RATE, Measure.SPO2, Measure.RESPIRATORY_RATE)
_STATE: Final = (Measure.DISSOCIATION, Measure.MOAA_S)


@dataclass(frozen=True, slots=True)
class Point:
    """One check of the schedule: it may be made from ``opens`` on, and is late after ``due``."""

    name: str
    due: datetime
    opens: datetime
    asks: tuple[Measure, ...]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is due. ``open`` is the point whose time has come, ``missing`` what it asks and nobody recorded since it
    opened; ``next`` is the one after it. None where there is none.
    """

    open: Point | None
    missing: tuple[Measure, ...]
    next: Point | None


def is_asked(measure: Measure, policy: Policy) -> bool:
    """Tell whether the clinic wants a measure at its checks at all."""
    switches = {Measure.RESPIRATORY_RATE: policy.ask_respiratory_rate, Measure.MOAA_S: policy.ask_sedation}
    return switches.get(measure, True)


def schedule(
    start: datetime, end: datetime | None, policy: Policy, *, running_at: datetime | None = None
) -> list[Point]:
    """Give the points of an infusion, in order; two that fall together are one.

    ``end`` is None while nobody knows it; ``running_at`` is the present of an infusion that still runs: its checks go
    on every 15 minutes until they reach beyond it. Raises ``MissingZone``.
    """
    found: list[Point] = []
    for point in sorted(_points(start, end, policy, running_at), key=lambda each: utc(each.due)):
        if found and utc(point.due) - utc(found[-1].due) <= _EARLY:
            found[-1] = _together(found[-1], point)
        else:
            found.append(point)
    return found


def outlook(points: Sequence[Point], made: Mapping[Measure, Iterable[datetime]], now: datetime) -> Outlook:
    """Say what is due ``now``; ``made`` tells when each thing was measured, whoever recorded it (design §9.19)."""
    opened = [each for each in points if utc(each.opens) <= utc(now)]
    current = opened[-1] if opened else None
    following = points[len(opened)] if len(opened) < len(points) else None
    if current is None:
        return Outlook(None, (), following)
    missing = [
        measure for measure in current.asks if not any(utc(at) >= utc(current.opens) for at in made.get(measure, ()))
    ]
    return Outlook(current, tuple(missing), following)


def _points(start: datetime, end: datetime | None, policy: Policy, running_at: datetime | None) -> Iterator[Point]:
    first, last = utc(start), utc(end) if end is not None else None
    nausea = (Measure.NAUSEA,)
    yield _point("Before the start", first, policy, (*_STATE, *nausea), opens=first - _BEFORE)
    for minutes in _RUNNING:
        at = first + minutes * _MINUTE
        if last is None or at < last:
            yield _point(f"{minutes} min after the start", at, policy, (Measure.MOAA_S,))
    yield _point(f"{_PEAK} min after the start", first + _PEAK * _MINUTE, policy, _STATE, required=True)
    if last is None and running_at is not None:
        at = first + _PEAK * _MINUTE
        while at - _EARLY <= utc(running_at):
            at += _EVERY
            yield _point(f"{round((at - first) / _MINUTE)} min after the start", at, policy, (Measure.MOAA_S,))
    if last is None:
        return
    yield _point("At the end", last, policy, (*_STATE, *nausea))
    for minutes in (*_AFTER, _LAST):
        name, required = f"{minutes} min after the end", minutes == _LAST
        yield _point(name, last + minutes * _MINUTE, policy, (*_STATE, *nausea), required=required)


def _point(
    name: str,
    due: datetime,
    policy: Policy,
    more: Iterable[Measure],
    *,
    required: bool = False,
    opens: datetime | None = None,
) -> Point:
    asks = tuple(each for each in (*_VITAL, *more) if is_asked(each, policy))
    return Point(name, due, opens or due - _EARLY, asks, required)


def _together(first: Point, second: Point) -> Point:
    asks = tuple(dict.fromkeys((*first.asks, *second.asks)))
    required = first.required or second.required
    return Point(f"{first.name}, {second.name[0].lower()}{second.name[1:]}", first.due, first.opens, asks, required)
