"""What is to be done across patients: the list with its filters in the address, and taking a Task with one press.

A token that sees one patient only has no list: the page says so, and what to ask for (ui §4.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fhir_aftercare.errors import FhirStale, IllegalMove, InvalidInput, Stale
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.flows.worklist import WorklistRequest, worklist
from fhir_aftercare.ui.asked import for_everybody
from fhir_aftercare.ui.desk import Desk, action, new_router, view
from fhir_aftercare.ui.worklist import OWNERS, STATES, unpacked, worklist_view

if TYPE_CHECKING:
    from starlette.responses import Response

router: Final = new_router()

ROWS: Final = 50
FILTERS: Final = ("state", "owner")


@view(router, "worklist")
async def show(desk: Desk) -> Response:
    """Show what is due, as the filters say."""
    desk.staff_only()
    if not desk.sees_everybody:
        lacking = for_everybody(desk.found.session.tokens.granted)
        return desk.page("across_refused.html", view_name="worklist", title="Worklist", lacking=lacking)
    return await _list(desk)


@action(router, "worklist/claim")
async def claim(desk: Desk) -> Response:
    """Take a Task: the list then says who does it."""
    context = desk.writer("tasks")
    chosen = filters(desk)
    request = MoveRequest(
        f"Task/{desk.form.get('task', '')}", "claim", person=desk.person, if_match=desk.form.get("version") or None
    )
    try:
        await move_task(context, request)
    except (Stale, FhirStale, IllegalMove) as fault:
        return await _list(desk, status=422, chosen=chosen, fault=f"{fault.message} The list is as it is now.")
    except InvalidInput as fault:
        return await _list(desk, status=422, chosen=chosen, fault=fault.message)
    return await desk.go(desk.place.of_nobody, "worklist", said="claimed", **chosen)


def filters(desk: Desk) -> dict[str, str]:
    """Give the filters of a form or an address; what is none of them is the usual one."""
    given = {name: desk.form.get(name) or desk.query.get(name, "") for name in FILTERS}
    state = given["state"] if given["state"] in STATES else "now"
    owner = given["owner"] if given["owner"] in OWNERS and desk.person is not None else "all"
    return {"state": state, "owner": owner}


async def _list(
    desk: Desk, *, status: int = 200, chosen: dict[str, str] | None = None, fault: str | None = None
) -> Response:
    chosen = chosen or filters(desk)
    cursor = desk.query.get("after", "")
    page = await worklist(
        desk.context,
        WorklistRequest(
            states=STATES[chosen["state"]],
            owner=desk.person if chosen["owner"] == "mine" else None,
            cursor=unpacked(cursor),
            limit=ROWS,
        ),
    )
    shown = worklist_view(page, desk.context.clinic, desk.zone, **chosen, me=desk.person, cursor=cursor)
    return desk.page(
        "worklist.html",
        status=status,
        view_name="worklist",
        view=shown,
        filters=chosen,
        faults=[("", fault)] if fault else [],
        why=desk.why_not("tasks"),
    )
