"""The room board in words: each chair with the next check, the escort, and whether the patient may leave.

Wording and order only: what is due is ``care.schedule``'s to say, how a visit stands ``flows.open_visit``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.readiness import State
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.open_visit import Stage
from fhir_aftercare.ui import people
from fhir_aftercare.ui.ready import escort
from fhir_aftercare.ui.record import record

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.open_visit import VisitView
    from fhir_aftercare.flows.room_board import Room
    from fhir_aftercare.ui.record import FlagLine

_NEVER: Final = "9999"


@dataclass(frozen=True, slots=True)
class Chair:
    """One patient of the room. ``patient`` and ``encounter`` are references, ``ready_state`` the key of its mark."""

    name: str
    born: str
    patient: str
    encounter: str
    place: str
    since: str
    next: str
    clock: str
    iso: str
    left: str
    late: bool
    flags: tuple[FlagLine, ...]
    urgent: bool
    escort: str
    ready: str
    ready_state: str


@dataclass(frozen=True, slots=True)
class BoardView:
    """The page: running infusions by their next check, then who has ended and is still here, then who has left."""

    running: tuple[Chair, ...]
    ended: tuple[Chair, ...]
    left: tuple[Chair, ...]
    more: int
    gaps: tuple[str, ...]
    as_of: str


def board(room: Room, context: ClinicContext, zone: ZoneInfo) -> BoardView:
    """Give the page; times in ``zone``."""
    chairs = [(each.stage, _chair(each, room, context, zone)) for each in room.visits]

    def of(*stages: Stage) -> tuple[Chair, ...]:
        found = [chair for stage, chair in chairs if stage in stages]
        return tuple(sorted(found, key=lambda chair: (chair.iso or _NEVER, chair.name)))

    return BoardView(
        running=of(Stage.RUNNING),
        ended=of(Stage.ENDED),
        left=of(Stage.LEFT),
        more=room.more,
        gaps=tuple(room.gaps),
        as_of=wording.short_text(room.as_of, zone, with_zone=True),
    )


def _chair(view: VisitView, room: Room, context: ClinicContext, zone: ZoneInfo) -> Chair:
    shown = record(view, context, zone)
    due = shown.due or shown.following
    flags = shown.rows[-1].flags if shown.rows else ()
    banner = people.banner(view.patient, view.as_of, zone)
    ready, state = _readiness(view)
    encounter = view.encounter or ""
    return Chair(
        name=banner.name,
        born=banner.born,
        patient=reference_of(view.patient),
        encounter=encounter,
        place=room.places.get(encounter, ""),
        since=_since(view, zone),
        next=f"Next check: {due.name}," if due else "",
        clock=due.clock if due else "",
        iso=due.iso if due else "",
        left=due.left if due else "",
        late=due.late if due else False,
        flags=flags,
        urgent=any(each.level == "urgent" for each in flags),
        escort=_escort(view),
        ready=ready,
        ready_state=state,
    )


def _since(view: VisitView, zone: ZoneInfo) -> str:
    if view.anchor is None:
        return "start not known"
    minutes = int((utc(view.as_of) - utc(view.anchor.start)).total_seconds() // 60)
    started = f"started {local(view.anchor.start, zone):%H:%M}, {minutes} min ago"
    end = view.anchor.end if view.anchor.known else None
    return f"{started}, ended {local(end, zone):%H:%M}" if end is not None else started


def _escort(view: VisitView) -> str:
    known = escort(view.escort)
    named = ", ".join(part for part in (known.name, known.phone) if part)
    if known.state:
        return f"{known.state}: {named}" if named else known.state
    return named or "not named yet"


def _readiness(view: VisitView) -> tuple[str, str]:
    if view.stage is Stage.LEFT:
        return "Left, plan in force", "met"
    if view.panel is None:
        return "Nothing to judge yet", "not-recorded"
    if view.panel.ready:
        return "Ready to leave", "met"
    met = sum(each.state is State.MET for each in view.panel.judged)
    return f"Not ready: {met} of {len(view.panel.judged)} met", "not-recorded"
