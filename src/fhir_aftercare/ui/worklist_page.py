"""What is to be done across patients: the list with its filters in the address, and taking a Task with one press.

A token that sees one patient only has no list: the page says so, and what to ask for (ui §4.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.worklist import WorkState
from fhir_aftercare.errors import FhirStale, IllegalMove, InvalidInput, Stale
from fhir_aftercare.flows.behind_tasks import behind
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.flows.open_task import open_task
from fhir_aftercare.flows.worklist import WorklistRequest, worklist
from fhir_aftercare.ui.desk import Desk, action, new_router, view
from fhir_aftercare.ui.task import meanwhile
from fhir_aftercare.ui.worklist import OWNERS, STATES, VERSION, Filters, unpacked, worklist_view

if TYPE_CHECKING:
    from starlette.responses import Response

    from fhir_aftercare.flows.worklist import WorklistRow

router: Final = new_router()

ROWS: Final = 30
# Who has more open Tasks than rows, some of them still to come, is read in one round trip all the same.
_AHEAD: Final = 170
# Where what follows is told if nothing is there now.
_TELLS_NEXT: Final = ("now", "due")


@view(router, "worklist")
async def show(desk: Desk) -> Response:
    """Show what is due, as the filters say."""
    desk.staff_only()
    if not desk.sees_everybody:
        return desk.one_patient_only("worklist", "Worklist")
    return await _list(desk)


@action(router, "worklist/claim")
async def claim(desk: Desk) -> Response:
    """Take a Task: the list then says who does it."""
    desk.everybody_only("there is no list to take a Task from")
    context = desk.writer("tasks")
    id_, _, version = desk.form.get("task", "").partition(VERSION)
    request = MoveRequest(f"Task/{id_}", "claim", person=desk.person, if_match=version or None)
    try:
        await move_task(context, request)
    except (Stale, FhirStale, IllegalMove):
        told = meanwhile(await open_task(desk.context, id_), desk.zone, desk.person)
        return await _list(desk, status=422, fault=f"{told} The list is as it is now.")
    except InvalidInput as fault:
        return await _list(desk, status=422, fault=fault.message)
    return await desk.of_nobody.done("worklist", said="claimed", **filters(desk).query)


def filters(desk: Desk) -> Filters:
    """Give the filters of the address; what is none of them is the usual one."""
    state, owner = desk.query.get("state", ""), desk.query.get("owner", "")
    return Filters(
        state if state in STATES else "now",
        owner if owner in OWNERS and desk.person is not None else "all",
        desk.query.get("after", ""),
    )


async def _list(desk: Desk, *, status: int = 200, fault: str | None = None) -> Response:
    chosen, context = filters(desk), desk.context
    owner = desk.person if chosen.owner == "mine" else None
    page = await worklist(context, WorklistRequest(STATES[chosen.state], owner, unpacked(chosen.after), ROWS, _AHEAD))
    coming = await _next(desk, owner) if not page.rows and chosen.state in _TELLS_NEXT else None
    shown = worklist_view(
        page,
        await behind(context, [each.resource for each in page.rows], known={desk.person or ""}),
        context.clinic,
        filters=chosen,
        me=desk.person,
        coming=coming,
    )
    return desk.page(
        "worklist.html",
        status=status,
        view_name="worklist",
        view=shown,
        filters=chosen,
        faults=[("", fault)] if fault else [],
        why=desk.why_not("tasks"),
    )


async def _next(desk: Desk, owner: str | None) -> WorklistRow | None:
    """Give what is due next where nothing is now."""
    page = await worklist(desk.context, WorklistRequest(frozenset({WorkState.COMING}), owner, limit=1))
    return page.rows[0] if page.rows else None
