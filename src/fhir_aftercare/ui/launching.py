"""From an EHR's chart, or by itself, to a signed-in page: where a launch begins and where it comes back.

Which EHRs may launch is decided before anything is fetched; what comes back is checked by ``smart.launch``. Addresses
the browser is sent to are our own paths or the registered EHR's: never one that the request names.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from fhir_aftercare.smart import callback as parameters
from fhir_aftercare.smart.faults import StateUsed, WrongSession
from fhir_aftercare.smart.session import digest
from fhir_aftercare.ui import cookie
from fhir_aftercare.ui.answers import PageRoute, page, redirect, set_cookie
from fhir_aftercare.ui.entry import HANDLE, door_of, is_of
from fhir_aftercare.ui.faults import NoCookie
from fhir_aftercare.ui.place import address_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.smart.launch import Departure
    from fhir_aftercare.smart.registration import ClientRegistration
    from fhir_aftercare.smart.session import LaunchSession
    from fhir_aftercare.store.browsers import Browser
    from fhir_aftercare.ui.door import Door

CALLBACK: Final = "/callback"
# In the address of the second look: by then the cookie has come back, or will not.
_LOOKED: Final = "looked"

router: Final = APIRouter(route_class=PageRoute, include_in_schema=False)
log = structlog.get_logger(__name__)

Clinic = Annotated[str, Path(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]


@router.get("/launch")
async def launch(request: Request) -> Response:
    """An EHR opens the app in a patient's chart."""
    return await _from_ehr(request, None)


@router.get("/launch/{clinic}")
async def launch_clinic(request: Request, clinic: Clinic) -> Response:
    """The same for one of several clinics of an EHR; without ``iss`` the app is opened outside the EHR."""
    if "iss" in request.query_params:
        return await _from_ehr(request, clinic)
    door = door_of(request)
    registration = door.registrations.of_clinic(clinic)
    session = await _session(request, door, registration, ())
    if isinstance(session, Response):
        return session
    return _gone(request, await door.launcher.standalone(clinic, session=session), "standalone")


async def _from_ehr(request: Request, clinic: str | None) -> Response:
    door, pairs = door_of(request), request.query_params.multi_items()
    given = parameters.once(pairs, ("iss", "launch"))
    registration = door.registrations.launched_by(given.get("iss"), clinic)  # nothing is fetched or kept before this
    session = await _session(request, door, registration, tuple(given.items()))
    if isinstance(session, Response):
        return session
    return _gone(request, await door.launcher.from_ehr(pairs, session=session, clinic=registration.clinic), "ehr")


async def _session(
    request: Request, door: Door, registration: ClientRegistration, again: Sequence[tuple[str, str]]
) -> str | Response:
    """Give the browser session a launch belongs to, or the answer that comes before it.

    A browser without a cookie of ours gets one and comes straight back: so it shows whether cookies work here while the
    EHR's launch is still unused and can be repeated in a window of its own.
    """
    is_of(request, registration.clinic)
    browser = await door.browsers.of(cookie.readable(cookie.given(request)))
    if browser is not None:
        await door.browsers.launching(browser, registration.clinic)
        return browser.id
    if _LOOKED not in request.query_params:
        set_cookie(request, cookie.setting(await door.browsers.begin(registration.clinic)))
        return redirect(_own(request, [*again, (_LOOKED, "1")]))
    if registration.allow_cookieless_callback:
        return secrets.token_urlsafe(32)  # nobody will know it: the clinic lets state and PKCE alone bind the launch
    raise NoCookie(_own(request, again))


def _own(request: Request, query: Sequence[tuple[str, str]]) -> str:
    return request.url.path + (f"?{urlencode(query)}" if query else "")


def _gone(request: Request, departure: Departure, kind: str) -> Response:
    log.info("launch began", clinic=departure.clinic, kind=kind)
    if departure.method == "GET":
        return redirect(departure.url)
    return page(request, "depart.html", posts_elsewhere=True, address=departure.url, fields=departure.form)


@router.get(CALLBACK)
async def callback(request: Request) -> Response:
    """The EHR sends the browser back: with a code, or with an error."""
    door, pairs = door_of(request), request.query_params.multi_items()
    given = cookie.given(request)
    browser = await door.browsers.of(cookie.readable(given))
    clinic = await door.launches.clinic_of(digest(request.query_params.get("state", "")))
    is_of(request, clinic or (browser.clinic if browser else None))
    # A cookie that is none of ours is another session, not the lack of one.
    session = browser.id if browser is not None else given
    try:
        arrived = await door.launcher.finish(pairs, session=session)
    except StateUsed as fault:
        if browser is None or fault.launch_id is None or await door.kept.get(fault.launch_id) is None:
            raise
        log.info("launch resumed", clinic=clinic)
        return await _landed(request, door, browser, fault.launch_id)
    except WrongSession as fault:
        if session is None and clinic is not None:
            raise NoCookie(f"/launch/{clinic}") from fault
        raise
    log.info("launch finished", clinic=arrived.clinic, kind="cookieless" if browser is None else "cookie")
    if browser is None:
        return await _handed(request, door, arrived)
    return await _landed(request, door, browser, arrived.launch_id)


async def _landed(request: Request, door: Door, browser: Browser, launch_id: str) -> Response:
    """Send the browser to the page, with a new value of its cookie: one planted before the sign-in opens nothing."""
    value, generation = await door.browsers.renamed(browser)
    await door.kept.bind(launch_id, generation)
    set_cookie(request, cookie.setting(value))
    return redirect(address_of(launch_id))


async def _handed(request: Request, door: Door, arrived: LaunchSession) -> Response:
    """Give the page its handle in a form: never in an address, of use for this launch alone, and only while in use."""
    handle = secrets.token_urlsafe(32)
    await door.kept.give_handle(arrived.launch_id, digest(handle))
    return page(request, "go_on.html", address=address_of(arrived.launch_id), field=(HANDLE, handle))
