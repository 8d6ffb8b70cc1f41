"""The overview: one patient's aftercare as it stands, from one batch read with the user's token (design §4.4, §9.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fhir_aftercare.flows.open_chart import open_chart
from fhir_aftercare.ui import people
from fhir_aftercare.ui.desk import Desk, new_router, view
from fhir_aftercare.ui.overview import Reader, overview

if TYPE_CHECKING:
    from starlette.responses import Response

router: Final = new_router()

WHOLE: Final = "whole"


@view(router, "overview")
async def show(desk: Desk) -> Response:
    """Show the patient of a launch. ``?drawn=whole`` draws all scores there are, not those of the newest course."""
    context = desk.context
    found = await open_chart(context, desk.patient)
    reader = Reader(
        staff=desk.is_staff,
        person=desk.person,
        missing=desk.missing,
        answers=lambda source: _answers(desk, source),
        linked=not desk.cookieless,
        whole=desk.query.get("drawn") == WHOLE,
    )
    return desk.page(
        "overview.html",
        banner=people.banner(found.patient, found.as_of, desk.zone),
        view_name="overview",
        view=overview(found, context.clinic.policy, desk.zone, reader),
        whole=reader.whole,
    )


def _answers(desk: Desk, source: str) -> str:
    """Give where a score's answers are shown. With a hundred scores the address is most of the page: it is short."""
    id_ = source.rpartition("/")[2]
    return desk.place.at("answers", of=id_) if desk.cookieless else desk.place.beside("answers", of=id_)
