"""The pages of a launch that are no page of their own: where it lands, that it is still in use, and the way out."""

from __future__ import annotations

from typing import Final

from fastapi import Request  # noqa: TC002 (FastAPI reads it)
from starlette.responses import Response

from fhir_aftercare.flows.open_visit import open_visit
from fhir_aftercare.ui import cookie
from fhir_aftercare.ui.answers import page, redirect, set_cookie
from fhir_aftercare.ui.desk import Desk, action, new_router, view
from fhir_aftercare.ui.entry import door_of, is_of
from fhir_aftercare.ui.landing import OVERVIEW, intended, landing
from fhir_aftercare.ui.launching import Clinic  # noqa: TC001 (FastAPI reads it)

router: Final = new_router()


@view(router, "")
async def land(desk: Desk) -> Response:
    """Go to what this person needs now."""
    named = intended(desk.found.session.context.intent, staff=desk.is_staff)
    if named is not None or not desk.is_staff:
        return await desk.done(named or OVERVIEW)
    if desk.person in desk.found.pages.prescribers:
        return await desk.done(OVERVIEW)
    seen = await open_visit(desk.context, desk.patient, desk.place.visit)
    return await desk.at(seen.encounter).done(landing(seen))


@action(router, "alive")
async def alive(desk: Desk) -> Response:
    """Note that somebody is still here: they said so."""
    del desk
    return Response(status_code=204, headers={"cache-control": "no-store"})


@action(router, "sign-out")
async def sign_out(desk: Desk) -> Response:
    """End this launch, and the browser's session if it was the last."""
    found = desk.found
    await found.door.sign_out(desk.place.launch_id, found.pages.id, why="asked")
    if found.browser is not None and not await found.door.kept.of_browser(found.browser.digest):
        await found.door.browsers.forget(found.browser)
        set_cookie(desk.request, cookie.dropping())
    answer = redirect(f"/app/signed-out/{found.pages.id}")
    answer.headers.append("set-cookie", cookie.leaving())
    return answer


@router.get("/app/signed-out/{clinic}")
async def signed_out(request: Request, clinic: Clinic) -> Response:
    """Say that nobody is signed in."""
    pages = door_of(request).of_clinic(clinic)
    is_of(request, pages.id)
    return page(request, "signed_out.html")
