"""The pages of a launch: the overview it lands on, and the way out.

The launch stands in the address, so tabs and patients never mix; whose it is and whether it lives is ``entry``'s to
say. What the overview shows comes from one batch, read with the user's token (design §4.4, §9.8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from fhir_aftercare.flows.open_chart import open_chart
from fhir_aftercare.ui import cookie
from fhir_aftercare.ui.answers import STYLE, STYLE_VERSION, PageRoute, page, redirect, set_cookie
from fhir_aftercare.ui.entry import door_of, is_of, posted, visit
from fhir_aftercare.ui.faults import NoPatient
from fhir_aftercare.ui.launching import Clinic, address_of
from fhir_aftercare.ui.overview import overview

if TYPE_CHECKING:
    from fhir_aftercare.ui.entry import Visit

router: Final = APIRouter(route_class=PageRoute, include_in_schema=False)

_STAFF: Final = frozenset({"Practitioner", "PractitionerRole"})

LaunchId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{16,64}$")]


@router.get("/app/l/{launch_id}/")
async def open_overview(request: Request, launch_id: LaunchId) -> Response:
    """Show the patient of a launch."""
    return await _overview(request, await visit(request, launch_id))


@router.post("/app/l/{launch_id}/")
async def post_overview(request: Request, launch_id: LaunchId) -> Response:
    """Show it to a browser that keeps no cookie, and carries the launch's handle from form to form."""
    return await _overview(request, await posted(request, launch_id))


@router.post("/app/l/{launch_id}/sign-out")
async def sign_out(request: Request, launch_id: LaunchId) -> Response:
    """End this launch, and the browser's session if it was the last."""
    found = await posted(request, launch_id)
    await found.door.sign_out(launch_id, found.pages.id, why="asked")
    if found.browser is not None and not await found.door.kept.of_browser(found.browser.digest):
        await found.door.browsers.forget(found.browser)
        set_cookie(request, cookie.dropping())
    answer = redirect(f"/app/signed-out/{found.pages.id}")
    answer.headers.append("set-cookie", cookie.leaving())
    return answer


@router.get("/app/signed-out/{clinic}")
async def signed_out(request: Request, clinic: Clinic) -> Response:
    """Say that nobody is signed in."""
    pages = door_of(request).of_clinic(clinic)
    is_of(request, pages.id)
    return page(request, "signed_out.html")


@router.get("/app/static/aftercare.css")
async def style(request: Request) -> Response:
    """Give the style sheet: for ever under the address that names its content."""
    lasting = request.query_params.get("v") == STYLE_VERSION
    kept = "public, max-age=31536000, immutable" if lasting else "no-cache"
    headers = {"cache-control": kept, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
    return Response(STYLE, headers=headers, media_type="text/css")


async def _overview(request: Request, found: Visit) -> Response:
    session, context = found.session, found.door.charts(found.session)
    if session.context.patient is None:
        raise NoPatient("The launch names no patient.")
    view = await open_chart(context, f"Patient/{session.context.patient}")
    shown = overview(
        view,
        clinic=context.clinic.name,
        zone=context.clinic.zone,
        missing=session.tokens.granted.missing(found.pages.registration.scopes),
        # In a window of its own no EHR stands around it that says whose the page is.
        banner=session.context.need_patient_banner or request.headers.get("sec-fetch-dest") == "document",
        staff=_is_staff(found),
    )
    return page(
        request,
        "overview.html",
        view=shown,
        address=address_of(session.launch_id),
        secret=found.secret,
        cookieless=found.browser is None,
        idle=round(found.pages.idle.total_seconds() / 60),
    )


def _is_staff(found: Visit) -> bool:
    """Tell whether the EHR named a member of staff. Whom it does not name sees what a patient may see, unless the
    clinic asks for nobody's name.
    """
    if found.session.user is None:
        return not found.pages.registration.scopes.identity
    return found.session.user.type in _STAFF
