"""The EHR's style as one of our own sheets: for the browser of the launch alone, its version in the address."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from fhir_aftercare.ui.answers import PageRoute
from fhir_aftercare.ui.desk import LaunchId  # noqa: TC001 (FastAPI reads it)
from fhir_aftercare.ui.entry import visit

router: Final = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/app/l/{launch_id}/theme.css")
async def theme(request: Request, launch_id: LaunchId) -> Response:
    """Give the sheet; an empty one if the EHR names no style, or its style cannot be used."""
    found = await visit(request, launch_id)
    url = found.session.context.smart_style_url
    text = await found.door.styles.of(url, found.session.clinic) if url else ""
    headers = {
        # What the EHR looks like is nobody's secret, but whose launch it was is; what failed is asked again.
        "cache-control": "private, max-age=600" if text else "no-store",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
    }
    return Response(text, headers=headers, media_type="text/css")
