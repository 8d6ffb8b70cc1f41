"""The answers behind one score: ``answers?of=<id of the Observation>``, for staff (ui §4.5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fhir_aftercare.errors import NotFound
from fhir_aftercare.flows.open_answers import open_answers
from fhir_aftercare.ui import people
from fhir_aftercare.ui.desk import Desk, new_router, view
from fhir_aftercare.ui.score_answers import score_answers
from fhir_aftercare.ui.work_lines import Names

if TYPE_CHECKING:
    from starlette.responses import Response

router: Final = new_router()

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


@view(router, "answers")
async def show(desk: Desk) -> Response:
    """Show what was asked and answered, and what it comes to."""
    desk.staff_only()
    of = desk.query.get("of", "")
    if not _ID.fullmatch(of):
        raise NotFound("There is no such score here.", where="of")
    found = await open_answers(desk.context, desk.patient, f"Observation/{of}")
    return desk.page(
        "answers.html",
        banner=people.banner(found.patient, desk.now, desk.zone),
        view_name="overview",
        view=score_answers(found, desk.zone, Names(desk.person, {})),
    )
