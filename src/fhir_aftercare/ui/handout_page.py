"""The handout: what the patient takes home on paper, and the same for the escort (ui §4.6, design §5.7).

Of a plan that is not signed staff see a draft; the patient is told that it is not ready.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fhir_aftercare.flows.open_handout import open_handout
from fhir_aftercare.ui import people
from fhir_aftercare.ui.desk import Desk, new_router, view
from fhir_aftercare.ui.handout import asked, handout

if TYPE_CHECKING:
    from starlette.responses import Response

router: Final = new_router()


@view(router, "handout")
async def show(desk: Desk) -> Response:
    """Show the handout. The escort's copy is handed out by staff."""
    context, wanted = desk.context, asked(desk.query)
    if not desk.is_staff:
        wanted = replace(wanted, copy="patient")
    found = await open_handout(context, desk.patient, desk.place.visit, language=wanted.language, drafts=desk.is_staff)
    return desk.at(found.encounter).page(
        "handout.html",
        banner=people.banner(found.patient, found.as_of, desk.zone),
        view_name="handout",
        view=handout(found, wanted, context.clinic, staff=desk.is_staff),
    )
