"""May this patient leave? The criteria as they stand, and what a nurse can say of them here (design §4.2, ui §4.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.infusion import Check
from fhir_aftercare.errors import InvalidInput, NotAnInfusion
from fhir_aftercare.flows.open_visit import open_visit
from fhir_aftercare.flows.record_infusion import RecordRequest, record_infusion
from fhir_aftercare.ui import people
from fhir_aftercare.ui.desk import Desk, action, new_router, view
from fhir_aftercare.ui.ready import ASKED, ready
from fhir_aftercare.ui.record_form import Reading
from fhir_aftercare.ui.typed import clock_text, day_text, typed_moment

if TYPE_CHECKING:
    from starlette.responses import Response

    from fhir_aftercare.care.infusion import Escort
    from fhir_aftercare.flows.open_visit import VisitView

router: Final = new_router()

_ANSWERS: Final = {"yes": True, "no": False}


@view(router, "ready")
async def show(desk: Desk) -> Response:
    """Show how the criteria stand."""
    desk.staff_only()
    return _page(desk, await open_visit(desk.context, desk.patient, desk.place.visit))


@action(router, "ready/check")
async def check(desk: Desk) -> Response:
    """Record what a nurse found, and who takes the patient home."""
    context = desk.writer("record")
    found = await open_visit(context, desk.patient, desk.place.visit)
    record = found.record(context.identifiers)
    if record is None:
        raise NotAnInfusion("No infusion is recorded for this visit.", where="visit")
    try:
        made, escort = _typed(desk)
        done = await record_infusion(
            context,
            RecordRequest(
                desk.patient,
                found.encounter,
                replace(record, checks=() if made.is_empty else (made,), escort=escort, recorded_by=desk.person),
                person=desk.person,
            ),
        )
    except InvalidInput as fault:
        return _page(desk, found, status=422, faults=_faults(fault))
    return await desk.at(found.encounter).done("ready", said="checked" if done.changed else "unchanged")


def _typed(desk: Desk) -> tuple[Check, Escort | None]:
    """Read the form. Raises ``InvalidInput`` naming the field."""
    form = desk.form
    at = typed_moment(form.get("day", ""), form.get("at", ""), desk.zone, "at")
    said: dict[str, Any] = {name: _ANSWERS[form[name]] for name in ASKED if form.get(name) in _ANSWERS}
    escort = Reading(form).escort()
    if not said and escort is None:
        raise InvalidInput("Nothing was said: choose yes or no, or name the escort.", where="answers")
    return replace(Check(at=at, recorded_by=desk.person), **said), escort


def _faults(fault: InvalidInput) -> list[tuple[str, str]]:
    """Give each field at fault with the sentence; a row's field is known by its last part (``checks[0].at``)."""
    return [(each.rpartition(".")[2], fault.message) for each in fault.where] or [("", fault.message)]


def _page(desk: Desk, found: VisitView, *, status: int = 200, faults: list[tuple[str, str]] | None = None) -> Response:
    typed: dict[str, Any] = {"day": day_text(desk.now, desk.zone), "at": clock_text(desk.now, desk.zone), **desk.form}
    return desk.at(found.encounter).page(
        "ready.html",
        status=status,
        banner=people.banner(found.patient, found.as_of, desk.zone),
        view_name="ready",
        view=ready(found, desk.zone),
        typed=typed,
        faults=faults or [],
        why=desk.why_not("record"),
    )
