"""Correct the infusion itself: its times, its dose, that it was stopped early, not done, or entered in error.

What hangs on it moves with it (``flows.correct``). Only our own record of the drug: the EHR's is corrected there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.correction import Change
from fhir_aftercare.care.infusion import InfusionStatus, Route
from fhir_aftercare.errors import AftercareError, InvalidInput
from fhir_aftercare.flows.correct import CorrectionRequest, correct_infusion
from fhir_aftercare.flows.open_visit import Stage
from fhir_aftercare.flows.record_infusion import RecordRequest, record_infusion
from fhir_aftercare.ui import people
from fhir_aftercare.ui.desk import Desk, action, new_router, view
from fhir_aftercare.ui.record import is_ours, record
from fhir_aftercare.ui.record_desk import Refused, known_as_ours, not_saved, opened
from fhir_aftercare.ui.record_form import Reading, faults_in
from fhir_aftercare.ui.typed import clock_text, day_text, typed_moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from starlette.responses import Response

    from fhir_aftercare.care.infusion import InfusionRecord
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.open_visit import VisitView
    from fhir_aftercare.ui.record_form import Fault

router: Final = new_router()

KINDS: Final = (
    (Change.END_MOVED.value, "It started or ended at another time"),
    (Change.STOPPED.value, "It was stopped early"),
    (Change.NOT_DONE.value, "It was not done: no drug was given"),
    (Change.ENTERED_IN_ERROR.value, "It was entered in error: there never was such an infusion of this patient"),
)


@dataclass(frozen=True, slots=True)
class _Recording:
    """The infusion as it should be, of a form, with the reason and what is wrong with it."""

    form: str
    record: InfusionRecord
    reason: str | None
    faults: Sequence[Fault]


@view(router, "record/infusion")
async def show(desk: Desk) -> Response:
    """Show what can be corrected."""
    desk.staff_only()
    found = await opened(desk, desk.context)
    return draw(desk, found) if found.encounter else await desk.done("record")


@action(router, "record/infusion/save")
async def save(desk: Desk) -> Response:
    """Write what became of the infusion, or its right times."""
    context = desk.writer("record")
    found = await opened(desk, context)
    recorded, given = known_as_ours(found, context), Reading(desk.form)
    reason = given.reason()
    kind = _kind(desk, given)
    times = {name: _time(desk, given, name, getattr(recorded, name)) for name in ("start", "end")}
    if given.faults or kind is None or reason is None:
        return draw(desk, found, Refused("infusion", given.faults))
    if recorded.status is InfusionStatus.IN_PROGRESS and kind is Change.END_MOVED:  # nothing hangs on its end yet
        wanted = replace(recorded, start=times["start"] or recorded.start)
        return await _record(
            desk, context, found, _Recording("infusion", wanted, reason, faults_in(wanted, [], desk.now))
        )
    asked = CorrectionRequest(
        patient=desk.patient,
        encounter=found.encounter,
        infusion=recorded.infusion,
        kind=kind,
        reason=reason,
        start=None if kind.retracts else times["start"],
        end=None if kind.retracts else times["end"],
        agreed_by=_agrees(desk),
        person=desk.person,
    )
    try:
        done = await correct_infusion(context, asked)
    except InvalidInput as fault:
        told = [(each, fault.message) for each in fault.where] or [("", fault.message)]
        return draw(desk, found, Refused("infusion", told))
    except AftercareError as fault:
        return draw(desk, found, not_saved(desk, "infusion", fault))
    said = "awaiting" if done.awaiting else "corrected" if done.changed else "unchanged"
    return await _told(desk, found, said)


@action(router, "record/infusion/dose")
async def dose(desk: Desk) -> Response:
    """Write the right dose and route."""
    context = desk.writer("record")
    found = await opened(desk, context)
    recorded, given = known_as_ours(found, context), Reading(desk.form)
    reason, amount = given.reason("dose_reason"), given.dose()
    if amount is None and not given.faults:
        given.faults.append(("dose_mg", "Dose must be given."))
    wanted = replace(recorded, dose_mg=amount, route=given.route() or recorded.route)
    wrong = [*given.faults, *faults_in(wanted, [], desk.now)]
    return await _record(desk, context, found, _Recording("dose", wanted, reason, wrong))


async def _record(desk: Desk, context: ClinicContext, found: VisitView, recording: _Recording) -> Response:
    """Write what is corrected by recording it again, if nothing is wrong with it."""
    if recording.faults:
        return draw(desk, found, Refused(recording.form, recording.faults))
    request = RecordRequest(
        desk.patient, found.encounter, recording.record, reason=recording.reason, person=desk.person
    )
    try:
        done = await record_infusion(context, request)
    except AftercareError as fault:
        return draw(desk, found, not_saved(desk, recording.form, fault))
    return await _told(desk, found, "corrected" if done.changed else "unchanged")


def _kind(desk: Desk, given: Reading) -> Change | None:
    chosen = desk.form.get("kind", "")
    if chosen in {value for value, _ in KINDS}:
        return Change(chosen)
    given.faults.append(("kind", "Choose what is wrong."))
    return None


def _time(desk: Desk, given: Reading, name: str, recorded: datetime | None) -> datetime | None:
    """Give another time than is recorded; None if it stays."""
    day, clock = desk.form.get(f"{name}_day", ""), desk.form.get(name, "").strip()
    if not clock or (recorded and (day, clock) == (day_text(recorded, desk.zone), clock_text(recorded, desk.zone))):
        return None
    return given.moment(name, lambda: typed_moment(day, clock, desk.zone, name))


def _agrees(desk: Desk) -> str | None:
    """Give the clinician who agrees that restrictions end earlier than the patient was told."""
    may = desk.person is not None and desk.person.startswith("Practitioner/")
    return desk.person if may and desk.form.get("agrees") == "yes" else None


async def _told(desk: Desk, found: VisitView, said: str) -> Response:
    return await desk.at(found.encounter).done("record", said=said)


def draw(desk: Desk, found: VisitView, refused: Refused | None = None) -> Response:
    """Give the page with what was typed where it was refused."""
    zone, context = desk.zone, desk.context
    latest = found.given[-1] if found.given else None
    shown = record(found, context, zone)
    held = {"dose_mg": shown.dose}
    for name in ("start", "end"):
        moment = getattr(latest, name) if latest else None
        held |= {f"{name}_day": day_text(moment or desk.now, zone), name: clock_text(moment, zone) if moment else ""}
    recorded = found.record(context.identifiers)
    return desk.at(found.encounter).page(
        "record_infusion.html",
        status=refused.status if refused else 200,
        banner=people.banner(found.patient, found.as_of, zone),
        view_name="record",
        view=shown,
        ours=latest is not None and is_ours(latest, context),
        left=found.stage is Stage.LEFT,
        may_agree=(desk.person or "").startswith("Practitioner/"),
        kinds=KINDS,
        routes=[(each.value, each.value) for each in Route],
        route=recorded.route.value if recorded and recorded.route else Route.INTRAVENOUS.value,
        typed={**held, **desk.form},
        refused=refused or Refused(),
        why=desk.why_not("record"),
    )
