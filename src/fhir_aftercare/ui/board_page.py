"""The room of a nurse with three chairs: who is given what, whose check is due, who may leave (ui §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fhir_aftercare.flows.room_board import room_board
from fhir_aftercare.ui.board import board
from fhir_aftercare.ui.desk import Desk, new_router, view

if TYPE_CHECKING:
    from starlette.responses import Response

router: Final = new_router()


@view(router, "board")
async def show(desk: Desk) -> Response:
    """Show the room, or why it is not offered here."""
    desk.staff_only()
    if not desk.sees_everybody:
        return desk.one_patient_only("board", "Room board")
    context = desk.context
    return desk.page("board.html", view_name="board", view=board(await room_board(context), context, desk.zone))
