"""The overview: one patient's aftercare as it stands, from one batch read with the user's token (design §4.4, §9.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fhir_aftercare.flows.open_chart import open_chart
from fhir_aftercare.ui import people
from fhir_aftercare.ui.desk import Desk, new_router, view
from fhir_aftercare.ui.overview import overview

if TYPE_CHECKING:
    from starlette.responses import Response

router: Final = new_router()


@view(router, "overview")
async def show(desk: Desk) -> Response:
    """Show the patient of a launch."""
    context = desk.context
    found = await open_chart(context, desk.patient)
    return desk.page(
        "overview.html",
        banner=people.banner(found.patient, found.as_of, desk.zone),
        view_name="overview",
        view=overview(found, zone=desk.zone, missing=desk.missing, staff=desk.is_staff),
    )
