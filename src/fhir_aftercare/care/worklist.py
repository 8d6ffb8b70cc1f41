"""The clinic's worklist: what comes first, when a call is tried again, and when it counts as not reached.

Escalated by level, then overdue by age, then due, then coming (design §4.5). All of it is computed from the clock and
never stored (design §9.12). Which Tasks there are is ``flows/``'s to say, what they look like in the chart ``fhir/``'s.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from fhir_aftercare.care.escalation import Reason, business_deadline
from fhir_aftercare.care.escalation_rules import Level
from fhir_aftercare.care.timing import local, require_aware, utc
from fhir_aftercare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.care.timing import OpenHours


class WorkState(StrEnum):
    """Why something stands on the worklist, the most pressing first.

    Escalated is what is urgent or above; the others say where it stands in time, and each thing is one of them.
    """

    ESCALATED = "escalated"
    OVERDUE = "overdue"
    DUE = "due"
    COMING = "coming"


@dataclass(frozen=True, slots=True)
class Waiting:
    """One piece of open work: its id, how pressing it is, when its window opens and when it is due (None: not said)."""

    id: str
    level: Level
    opens: datetime | None
    due: datetime | None


UNREACHABLE: Final = "call-unreachable"  # the key of the reason that a call was not reached

# Where it stands: the group (the levels above routine, then the times), the due second, the id. No two are alike.
Place = tuple[int, int, str]

_ESCALATED: Final = {Level.STAT: 0, Level.ASAP: 1, Level.URGENT: 2}
_TIMES: Final = {WorkState.OVERDUE: 3, WorkState.DUE: 4, WorkState.COMING: 5}
GROUPS: Final = len(_ESCALATED) + len(_TIMES)
# Work that is due some time, nobody said when, comes after all that is.
NEVER: Final = int(datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp())


def first_group(state: WorkState) -> int:
    """Give the first of the groups that are listed under a state: escalated has one for each level."""
    return _TIMES.get(state, 0)


def states_of(work: Waiting, now: datetime) -> frozenset[WorkState]:
    """Give all that is true of it: one of overdue, due (its window is open) and coming; and escalated, if it is."""
    if overdue_by(work, now) is not None:
        time = WorkState.OVERDUE
    elif work.opens is not None and utc(work.opens) > utc(now):
        time = WorkState.COMING
    else:
        time = WorkState.DUE
    return frozenset({time, WorkState.ESCALATED} if work.level > Level.ROUTINE else {time})


def state_of(work: Waiting, now: datetime) -> WorkState:
    """Give the one state it is listed under: escalated, else where it stands in time."""
    states = states_of(work, now)
    return next(each for each in WorkState if each in states)


def place_of(work: Waiting, now: datetime) -> Place:
    """Give where it stands in the list; places are compared as tuples. Within a group the longest due is first."""
    state = state_of(work, now)
    group = _ESCALATED[work.level] if state is WorkState.ESCALATED else _TIMES[state]
    due = NEVER if work.due is None else int(utc(work.due).timestamp())
    return group, due, work.id


def overdue_by(work: Waiting, now: datetime) -> timedelta | None:
    """Give for how long it has been overdue; None if it is not."""
    late = None if work.due is None else utc(now) - utc(work.due)
    return late if late is not None and late > timedelta() else None


T = TypeVar("T")


class Earliest(Generic[T]):
    """The first ``size`` of any number of things, offered in any order, that stand after a place. Holds no more.

    What is offered again under the same id is kept as it was first.
    """

    def __init__(self, size: int, after: Place | None = None) -> None:
        self._size, self._after = size, after
        self._kept: list[tuple[Place, T]] = []
        self._ids: set[str] = set()

    def offer(self, place: Place, thing: T) -> None:
        """Keep it if it is among the first."""
        if place[2] in self._ids or (self._after is not None and place <= self._after) or not self.wants(place):
            return
        insort(self._kept, (place, thing), key=lambda each: each[0])
        self._ids.add(place[2])
        if len(self._kept) > self._size:
            self._ids.remove(self._kept.pop()[0][2])

    def wants(self, place: Place) -> bool:
        """Tell whether anything at ``place`` could still be among the first."""
        return len(self._kept) < self._size or place < self._kept[-1][0]

    def __iter__(self) -> Iterator[tuple[Place, T]]:
        return iter(self._kept)


def next_try(wanted: datetime, now: datetime, hours: OpenHours, expires: datetime | None) -> datetime:
    """Give when a call is due again: as wanted, in open hours, never past its expiry. In the clinic's zone.

    A time in closed hours becomes the next opening. What would be past the expiry is due when the clinic closes for the
    last time before it, or at the expiry itself if it does not open until then (design §9.18).
    Raises ``MissingZone``; ``InvalidInput`` if the wanted time is not in the future.
    """
    if utc(require_aware(wanted, "next_try")) <= utc(now):
        raise InvalidInput("The next try must be in the future.", where="next_try")
    span = hours.next_open(wanted)
    found = span[0] if span else wanted
    if expires is not None and utc(found) > utc(expires):
        closings = [closes for _, closes in hours.spans(now, expires)] if utc(now) < utc(expires) else []
        found = max(closings, key=utc, default=expires)
    return local(found, hours.zone)


def is_last_try(unanswered: int, policy: Policy) -> bool:
    """Tell whether so many unanswered attempts are all there are to be (clinical §2.2 row 11: three)."""
    return unanswered >= policy.call_attempts_max


def unreachable(what: str, unanswered: int, now: datetime, policy: Policy, hours: OpenHours) -> Reason:
    """Give the reason for the named clinician to look: a call that was not reached is urgent (design §10.4).

    ``what`` names the call, without patient data. Due by the end of the next business day (clinical §2.5).
    """
    source = "clinical §2.5, design §10.4"
    times = f" in {unanswered} attempt{'s' if unanswered > 1 else ''}" if unanswered else ""
    return Reason(
        key=UNREACHABLE,
        level=Level.URGENT,
        deadline=business_deadline(now, policy.unreached_business_days, hours),
        text=f"{what}: not reached{times}. Try the second contact, and decide what is to be done. [{source}]",
        source=source,
    )
