"""What a plan hangs on: the episode it belongs to, its anchor, and which of many possible forms are really asked.

Pure rules; which actions there are and when they are due is said by the protocol (``fhir.definitions``), and making
resources of them is ``fhir.apply``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from fhir_aftercare.care.timing import Window, in_staff_hours, local, require_aware, same_local_day, utc
from fhir_aftercare.care.wording import short_text
from fhir_aftercare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.care.timing import OpenHours

EscortState = Literal["named", "present", "not-recorded", "left-alone"]

# Staff work that is due must have been possible for this long (design §9.18).
_ONE_OPEN_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Episode:
    """One infusion with its aftercare: the anchor key of every identifier (design §9.2).

    ``visit`` is the encounter's id, or the caller's infusion id where there is no encounter. ``number`` counts the
    episodes of one encounter; a plan that was revoked or entered in error counts as absent: the next one is of the next
    ``generation``. Neither dates nor the protocol's version are part of it.
    """

    clinic: str
    visit: str
    number: int = 1
    generation: int = 1

    @classmethod
    def of(cls, clinic: str, encounter: str | None, infusion: str | None, number: int = 1) -> Episode:
        """Give the episode of an encounter reference, or of an infusion id; ``InvalidInput`` if both are missing."""
        if encounter:
            return cls(clinic, encounter.partition("/_history/")[0].rsplit("/", 1)[-1], number)
        if infusion:
            return cls(clinic, f"infusion:{infusion}", number)
        raise InvalidInput("Without an encounter the infusion needs an id of its own.", where="infusion")

    @property
    def key(self) -> tuple[str, ...]:
        """The parts every identifier of this plan begins with."""
        generation = (f"g{self.generation}",) if self.generation > 1 else ()
        return (self.clinic, self.visit, str(self.number), *generation)

    @property
    def infusion_key(self) -> tuple[str, ...]:
        """The parts the record of the infusion begins with: it is the same for every generation of its plan."""
        return (self.clinic, self.visit, str(self.number))


@dataclass(frozen=True, slots=True)
class Anchor:
    """What all times of a plan hang on: the infusion's start and its end E (design §5.2).

    ``estimated`` tells that E was not recorded but taken from the encounter's end; ``known`` is False if not even that
    could be: E is then the time the patient left, and people must confirm it (design §10.7).
    """

    start: datetime
    end: datetime | None
    source: str | None = None
    estimated: bool = False
    known: bool = True


def estimate_end(
    start: datetime, encounter_end: datetime | None, left_at: datetime, zone: ZoneInfo, policy: Policy
) -> tuple[datetime, bool]:
    """Give E where nobody recorded it, and whether it can be believed (design §10.7).

    Believed: the encounter's end, on the same local day and less than ``estimated_end_max`` (8 h) after the start.
    Otherwise the time of leaving, which no instruction may be shorter than.
    """
    if (
        encounter_end is not None
        and utc(start) <= utc(encounter_end) < utc(start) + policy.estimated_end_max
        and same_local_day(start, encounter_end, zone)
    ):
        return encounter_end, True
    return max(left_at, start, key=utc), False


def episode_number(earlier: Iterable[datetime], at: datetime, gap: timedelta) -> int:
    """Give the number of the episode the infusion of ``at`` belongs to, from the times of the encounter's infusions.

    All of them are starts, or all are ends. Infusions at most ``gap`` apart are one episode (two administrations before
    the patient leaves, design §9.2).
    """
    times = sorted(utc(each) for each in earlier)
    row = [*(each for each in times if each <= utc(at)), utc(at)]
    return 1 + sum(later - before > gap for before, later in pairwise(row))


@dataclass(frozen=True, slots=True)
class CallWish:
    """What was agreed with the patient about the follow-up call: between when and when, and under which number.

    None: what the protocol and the chart say. Times are aware.
    """

    opens: datetime | None = None
    due: datetime | None = None
    phone: str | None = None

    def within(self, window: Window, hours: OpenHours) -> Window:
        """Give the part of a call's window that was agreed on.

        Raises ``InvalidInput`` if it is not within what the protocol allows, or if nobody works in it: naming the field
        (``call.opens``, ``call.due``). Raises ``MissingZone``.
        """
        first, last = window.opens or window.target, window.due or window.target
        opens = require_aware(self.opens, "call.opens") if self.opens is not None else first
        due = require_aware(self.due, "call.due") if self.due is not None else last
        wrong = [
            name
            for name, chosen in (("call.opens", opens), ("call.due", due))
            if not utc(first) <= utc(chosen) <= utc(last)
        ]
        if wrong:
            ends = " to ".join(short_text(each, hours.zone) for each in (first, last))
            raise InvalidInput(f"The protocol allows the call from {ends}.", where=wrong)
        if utc(opens) >= utc(due):
            raise InvalidInput("The time for the call ends before it begins.", where="call.due")
        if not hours.open_time(opens, due):
            raise InvalidInput("Nobody works at the time for the call.", where=("call.opens", "call.due"))
        target = min(max(window.target, opens, key=utc), due, key=utc)
        return replace(window, opens=opens, target=target, due=due)


def made_possible(
    window: Window, now: datetime, hours: OpenHours | None = None, *, staff: bool = False, lapses: bool = True
) -> Window | None:
    """Give the window of an action that is looked at late, or None if nothing is left to do (design §10.7).

    What a patient is asked, or must not do, stays until it is over and is then left out: never an instruction of the
    past. ``staff`` is work of people: once it was due it is due now, in as much time as it would have had. With
    ``hours`` it is theirs too, and falls into these open hours: with less than one of them left it is due anew, for
    nothing fails before one open hour has passed (design §9.18). Other work of staff is left out when it has expired,
    unless it does not ``lapse``.
    """
    last = window.due or window.target
    if hours is None and utc(window.expires or last) <= utc(now) and (lapses or not staff):
        return None
    if hours is not None:
        return window if _enough_left(window, last, now, hours) else in_staff_hours(_due_now(window, last, now), hours)
    if not staff or utc(last) > utc(now):
        return window
    late = _due_now(window, last, now)
    return replace(late, opens=window.opens, expires=_later(window.expires, late.expires))


def _enough_left(window: Window, last: datetime, now: datetime, hours: OpenHours) -> bool:
    """Tell whether staff can still do it in one open hour; what has not begun was given its hours already."""
    if utc(now) <= utc(window.opens or window.target):
        return True
    return utc(last) > utc(now) and hours.open_time(now, last) >= _ONE_OPEN_HOUR


def _due_now(window: Window, last: datetime, now: datetime) -> Window:
    due = utc(now) + max(utc(last) - utc(window.opens or window.target), _ONE_OPEN_HOUR)
    grace = utc(window.expires) - utc(last) if window.expires else None
    return Window(opens=now, target=now, due=due, expires=due + grace if grace is not None else None)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((each for each in (one, other) if each is not None), key=utc, default=None)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Occurrence(Generic[T]):
    """One possible occurrence of a repeated form. ``family`` is what must not come too often (the form's address)."""

    action: T
    number: int
    window: Window
    family: str
    on_course_clock: bool


def select_forms(
    occurrences: Sequence[Occurrence[T]],
    last_infusion: datetime,
    days_apart: int,
    zone: ZoneInfo,
    asked: Mapping[str, Sequence[datetime]] | None = None,
) -> list[Occurrence[T]]:
    """Give the occurrences that are asked, in order of time (clinical §2.3, design §9.3).

    The weekly forms on the course clock run until the tail takes over, seven days after the last infusion; two forms of
    one family are never less than ``days_apart`` calendar days apart, and the earlier one wins. ``asked`` is what was
    asked under earlier infusions' tails (times by family) and keeps its distance too; None if that is not known: then
    what was to come before the last infusion is not asked again. Give all occurrences, also those that are over.
    """
    tails: dict[str, datetime] = {}
    for each in occurrences:
        if not each.on_course_clock:
            tails[each.family] = min(tails.get(each.family, each.window.target), each.window.target, key=utc)
    days = {family: [local(at, zone).date() for at in times] for family, times in (asked or {}).items()}
    kept: list[Occurrence[T]] = []
    for each in sorted(occurrences, key=lambda one: (utc(one.window.target), not one.on_course_clock, one.number)):
        target, tail, taken = each.window.target, tails.get(each.family), days.setdefault(each.family, [])
        if each.on_course_clock and tail is not None and utc(target) > utc(tail):
            continue
        day = local(target, zone).date()
        if any(abs((day - other).days) < days_apart for other in taken):
            continue
        taken.append(day)
        if asked is not None or utc(target) > utc(last_infusion):
            kept.append(each)
    return kept
