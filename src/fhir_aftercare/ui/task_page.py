"""One Task and everything that may be done with it: take it, call, decide, hand it on, close it (ui §4.3).

Which moves are legal is ``flows.task_facts``' to say; here each is a form. A Task of the launch's own patient opens in
any launch, others' only where the token sees across patients.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, get_args

from fhir_aftercare.care.timing import utc
from fhir_aftercare.errors import FhirStale, IllegalMove, InvalidInput, NotFound, Stale
from fhir_aftercare.flows.move_task import NO_ANSWER, REACHED, Move, MoveRequest, move_task
from fhir_aftercare.flows.open_task import TaskView, open_task
from fhir_aftercare.flows.task_facts import patient_of
from fhir_aftercare.ui import people
from fhir_aftercare.ui.desk import Desk, action, new_router, view
from fhir_aftercare.ui.task import DISPOSITIONS, meanwhile, task_of
from fhir_aftercare.ui.typed import clock_text, day_text, typed_moment
from fhir_aftercare.ui.worklist_page import filters

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.responses import Response

    from fhir_aftercare.care.timing import OpenHours

router: Final = new_router()

_LONGEST: Final = 2000
# A call that was not answered is tried again after this, at the next time when somebody works.
_AGAIN_AFTER: Final = timedelta(hours=2)
_FIELDS: Final = {"next_try": "at", "outcome": "outcome", "owner": "to-whom", "reason": "reason"}
_SAID: Final = {
    "claim": "claimed",
    "release": "released",
    "reassign": "reassigned",
    "complete": "completed",
    "decline": "closed",
    "fail": "closed",
}


@view(router, "worklist/task")
async def show(desk: Desk) -> Response:
    """Show a Task with what may be done."""
    desk.staff_only()
    return _page(desk, await _open(desk, desk.query.get("task", "")))


@action(router, "worklist/move")
async def move(desk: Desk) -> Response:
    """Make a move, and go back to the list."""
    context, id_ = desk.writer("tasks"), desk.form.get("task", "")
    found = await _open(desk, id_)
    try:
        request = _request(desk, found)
        done = await move_task(context, request)
    except InvalidInput as fault:
        faults = [(_FIELDS.get(each, ""), fault.message) for each in fault.where] or [("", fault.message)]
        return _page(desk, found, status=422, faults=faults)
    except (Stale, FhirStale, IllegalMove):
        now = await _open(desk, id_)
        told = f"{meanwhile(now, desk.zone, desk.person)} The page shows it as it is now."
        return _page(desk, now, status=422, faults=[("", told)])
    said = _SAID.get(request.move) or ("reached" if request.outcome == REACHED else "no-answer")
    if said == "no-answer" and done.review is not None:
        said = "escalated"
    if desk.sees_everybody:
        return await desk.of_nobody.done("worklist", said=said, **filters(desk).query)
    return await desk.of_nobody.done("worklist/task", said=said, task=id_)


def _request(desk: Desk, found: TaskView) -> MoveRequest:
    form = {name: value.strip()[:_LONGEST] for name, value in desk.form.items()}
    named = form.get("move", "")
    if named not in get_args(Move):
        raise InvalidInput("Choose what is to be done.", where="move")
    kind: Move = named  # type: ignore[assignment]
    outcome = form.get("outcome") or None
    again = None
    if kind == "attempt" and outcome == NO_ANSWER and not found.is_last_try(desk.context.clinic.policy):
        again = typed_moment(form.get("day", ""), form.get("at", ""), desk.zone, "next_try")
        if utc(again) <= utc(desk.now):
            raise InvalidInput("The next try must be in the future.", where="next_try")
    return MoveRequest(
        found.reference,
        kind,
        person=desk.person,
        outcome=outcome,
        reason=form.get("reason") or None,
        note=form.get("note") or None,
        next_try=again,
        owner=(form.get("owner") or None) if kind == "reassign" else None,
        if_match=form.get("version") or None,
    )


async def _open(desk: Desk, id_: str) -> TaskView:
    if not id_:
        raise NotFound("There is no such Task.", where="task")
    found = await open_task(desk.context, id_)
    if patient_of(found.task) != desk.launched:
        desk.everybody_only()
    return found


def _page(desk: Desk, found: TaskView, *, status: int = 200, faults: list[tuple[str, str]] | None = None) -> Response:
    clinic, zone = desk.context.clinic, desk.zone
    again = next_open(clinic.call_hours, desk.now)
    typed = {"day": day_text(again, zone), "at": clock_text(again, zone), **desk.form}
    patient = patient_of(found.task) or ""
    return desk.page(
        "task.html",
        status=status,
        banner=people.banner(found.patient, found.as_of, zone),
        whose=desk.place.of(patient, launched=desk.launched),
        view_name="worklist",
        view=task_of(found, clinic, zone, me=desk.person),
        typed=typed,
        filters=filters(desk),
        dispositions=DISPOSITIONS,
        faults=faults or [],
        why=desk.why_not("tasks"),
        chosen=_chosen(desk),
    )


def _chosen(desk: Desk) -> str:
    """Give which form is open: the one that was sent, else the one that the list's button asked for."""
    move = desk.form.get("move", "")
    return desk.form.get("outcome", "") if move == "attempt" else move or desk.query.get("do", "")


def next_open(hours: OpenHours, now: datetime) -> datetime:
    """Give when a call is tried again if nobody says otherwise: in two hours, at the next time when somebody works."""
    wanted = (utc(now) + _AGAIN_AFTER).replace(second=0, microsecond=0)
    span = hours.next_open(wanted)
    return span[0] if span else wanted
