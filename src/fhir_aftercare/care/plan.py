"""What a plan hangs on: the episode it belongs to, its anchor, and which of many possible forms are really asked.

Pure rules; which actions there are and when they are due is said by the protocol (``fhir.definitions``), and making
resources of them is ``fhir.apply``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from fhir_aftercare.care.timing import Window, in_staff_hours, same_local_day, utc
from fhir_aftercare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.care.timing import OpenHours

EscortState = Literal["named", "present", "not-recorded", "left-alone"]


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
            return cls(clinic, encounter.rsplit("/", 1)[-1], number)
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
    if encounter_end is not None and utc(start) <= utc(encounter_end) < utc(start) + policy.estimated_end_max:
        return encounter_end, same_local_day(start, encounter_end, zone)
    return max(left_at, start, key=utc), False


def episode_number(earlier_ends: Iterable[datetime], start: datetime, gap: timedelta) -> int:
    """Give the number of the episode that begins at or includes ``start``, from the ends of the encounter's infusions.

    Infusions less than ``gap`` apart are one episode (two administrations before the patient leaves, design §9.2).
    """
    begins = utc(start)
    number, last = 1, None
    for end in sorted(utc(each) for each in earlier_ends):
        if end > begins:
            break
        if last is not None and end - last > gap:
            number += 1
        last = end
    if last is not None and begins - last > gap:
        number += 1
    return number


def made_possible(window: Window, now: datetime, hours: OpenHours | None) -> Window | None:
    """Give the window of an action that is looked at late, or None if nothing is left to do (design §10.7).

    A window that is still open stays. One that has passed is never an instruction of the past: staff's work (``hours``
    given) becomes due now, in the next open hours; anything else is left out.
    """
    if utc(window.expires or window.due or window.target) > utc(now):
        return window
    if hours is None:
        return None
    last = utc(window.due or window.target)
    length = last - utc(window.opens or window.target)
    grace = utc(window.expires) - last if window.expires else timedelta(0)
    due = utc(now) + max(length, timedelta(hours=1))
    return in_staff_hours(Window(opens=now, target=now, due=due, expires=due + grace), hours)


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
    occurrences: Sequence[Occurrence[T]], last_infusion: datetime, days_apart: int, zone: ZoneInfo
) -> list[Occurrence[T]]:
    """Give the occurrences that are asked, in order of time (clinical §2.3, design §9.3).

    The weekly forms on the course clock run until the tail takes over, seven days after the last infusion; two forms of
    one family are never less than ``days_apart`` calendar days apart, and the earlier one wins.
    """
    tails: dict[str, datetime] = {}
    for each in occurrences:
        if not each.on_course_clock:
            tails[each.family] = min(tails.get(each.family, each.window.target), each.window.target)
    kept: list[Occurrence[T]] = []
    last: dict[str, datetime] = {}
    for each in sorted(occurrences, key=lambda one: (utc(one.window.target), not one.on_course_clock, one.number)):
        if each.on_course_clock and each.family in tails and each.window.target > tails[each.family]:
            continue
        before = last.get(each.family)
        if before is not None and _days_between(before, each.window.target, zone) < days_apart:
            continue
        if not each.on_course_clock and each.window.target <= last_infusion:
            continue
        last[each.family] = each.window.target
        kept.append(each)
    return kept


def _days_between(earlier: datetime, later: datetime, zone: ZoneInfo) -> int:
    return (later.astimezone(zone).date() - earlier.astimezone(zone).date()).days
