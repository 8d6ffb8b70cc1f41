"""The room board in words: each chair with the next check, the escort, and whether the patient may leave.

Wording and order only: what is due is ``care.schedule``'s to say, how a visit stands ``flows.open_visit``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.infusion import Measure
from fhir_aftercare.care.readiness import State
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.open_visit import Stage
from fhir_aftercare.ui import people
from fhir_aftercare.ui.ready import NAMES, escort
from fhir_aftercare.ui.record import at_a_glance, is_forgotten
from fhir_aftercare.ui.record_rows import COLUMNS

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.open_visit import VisitView
    from fhir_aftercare.flows.room_board import Room
    from fhir_aftercare.ui.record import FlagLine, RowLine

_NEVER: Final = "9999"
_WATCHED: Final = (
    Measure.BLOOD_PRESSURE, Measure.HEART_RATE, Measure.SPO2, Measure.DISSOCIATION, Measure.MOAA_S
)  # fmt: skip
_MOST_OPEN: Final = 3  # as much as can be read at a glance


@dataclass(frozen=True, slots=True)
class Chair:
    """One patient of the room. ``patient`` and ``encounter`` are references, ``ready_state`` the key of its mark.

    ``last`` is what was found at the last check, ``open`` names what keeps the patient here, ``plan`` how the plan
    stands; each is empty where it says nothing.
    """

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
    last: str
    flags: tuple[FlagLine, ...]
    urgent: bool
    escort: str
    ready: str
    ready_state: str
    open: str
    plan: str


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
    due, latest = at_a_glance(view, context, zone)
    flags = latest.flags if latest else ()
    ready, state = _readiness(view)
    encounter = view.encounter or ""
    return Chair(
        name=people.name_of(view.patient),
        born=people.born_of(view.patient, view.as_of, zone),
        patient=reference_of(view.patient),
        encounter=encounter,
        place=room.places.get(encounter, ""),
        since=_since(view, zone),
        next=f"Next check: {due.name}," if due else "",
        clock=due.clock if due else "",
        iso=due.iso if due else "",
        left=due.left if due else "",
        late=due.late if due else False,
        last=_last(latest) if latest else "Nothing found yet",
        flags=flags,
        urgent=any(each.level == "urgent" for each in flags),
        escort=_escort(view),
        ready=ready,
        ready_state=state,
        open=_open(view),
        plan="Plan not signed yet" if view.stage is Stage.ENDED else "",
    )


def _since(view: VisitView, zone: ZoneInfo) -> str:
    if view.anchor is None:
        return "start not known"
    if is_forgotten(view):
        return f"started {wording.short_text(view.anchor.start, zone)}, no end is recorded"
    started, end = local(view.anchor.start, zone), view.anchor.end
    if end is not None and view.anchor.known and view.stage is not Stage.RUNNING:
        return f"{started:%H:%M} to {local(end, zone):%H:%M}, ended {_ago(end, view)}"
    return f"started {started:%H:%M}, {_ago(view.anchor.start, view)}"


def _ago(moment: datetime, view: VisitView) -> str:
    minutes = max(0, int((utc(view.as_of) - utc(moment)).total_seconds() // 60))
    return f"{minutes} min ago" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min ago"


def _last(row: RowLine) -> str:
    """Give what was found last of what is watched from afar, without units."""
    found = {measure: each.values[0][0] for measure, each in zip(COLUMNS, row.cells, strict=True) if each.values}
    said = [f"{COLUMNS[measure]} {found[measure]}" for measure in _WATCHED if measure in found]
    return f"{row.clock} {', '.join(said)}" if said else row.clock


def _open(view: VisitView) -> str:
    """Name what is not met, once the infusion is over; the page of readiness says why."""
    if view.panel is None or view.stage is not Stage.ENDED:
        return ""
    missing = [NAMES[each.criterion] for each in view.panel.judged if each.state is not State.MET]
    further = len(missing) - _MOST_OPEN
    return ", ".join(missing[:_MOST_OPEN]) + (f" and {further} more" if further > 0 else "")


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
