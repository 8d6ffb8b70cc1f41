"""Who may see a launch: the browser that launched it, while it is in use; and whose form is taken (integration §1.4).

An unknown launch, another's and one that is over are answered alike. Nothing is fetched, refreshed or kept alive for
somebody it does not belong to.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import httpx

from fhir_aftercare.errors import InvalidInput, NotFound
from fhir_aftercare.smart import addresses
from fhir_aftercare.smart.faults import SessionOver
from fhir_aftercare.smart.session import digest
from fhir_aftercare.ui import cookie
from fhir_aftercare.ui.door import LONGEST
from fhir_aftercare.ui.faults import ForeignForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from fhir_aftercare.smart.session import LaunchSession
    from fhir_aftercare.store.browsers import Browser
    from fhir_aftercare.ui.door import ClinicPages, Door

FORM_FIELD: Final = "form"
HANDLE: Final = "handle"
_CLINIC: Final = "clinic"
# A whole paper sheet in one grid.
_MOST_FIELDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that may see a launch. ``secret`` is the name and value of the hidden field its forms carry, ``form``
    what else was posted.
    """

    door: Door
    session: LaunchSession
    pages: ClinicPages
    secret: tuple[str, str] = field(repr=False)
    browser: Browser | None = None
    form: Mapping[str, str] = field(default_factory=dict, repr=False)


def door_of(request: Request) -> Door:
    """Give the door. Raises ``NotFound`` where no clinic can be launched."""
    found: Door | None = getattr(request.app.state, "door", None)
    if found is None:
        raise NotFound(
            "No EHR can launch this service.", where="clinic", remedy="Give a clinic's file a [smart] table."
        )
    return found


def is_of(request: Request, clinic: str | None) -> None:
    """Note which clinic a request is about: its EHR may frame the answer, also if that is an error."""
    setattr(request.state, _CLINIC, clinic)


def clinic_of(request: Request) -> str | None:
    """Give the clinic that was noted."""
    return getattr(request.state, _CLINIC, None)


async def visit(request: Request, launch_id: str) -> Visit:
    """Give the launch to the browser it belongs to. Raises ``SessionOver`` to everybody else, and when it was idle."""
    door = door_of(request)
    found = await door.visitors.at(
        launch_id, cookie.readable(cookie.given(request)), idle=partial(_idle, door), longest=LONGEST
    )
    browser, session = found.browser, found.session
    if browser is not None and browser.clinic in door.pages:
        is_of(request, browser.clinic)
    if browser is None or session is None or not session.belongs_to(browser.id):
        raise _over()
    pages = await _in_use(request, door, session, noted=found.in_use)
    return Visit(door, session, pages, (FORM_FIELD, _form_token(browser, launch_id)), browser)


async def posted(request: Request, launch_id: str) -> Visit:
    """Give the launch to a form of one of its own pages. Raises ``ForeignForm`` for any other, and as ``visit`` does.

    A launch that was finished without a cookie is opened by the handle in its form.
    """
    door, form = door_of(request), await _form(request)
    if HANDLE in form:
        return replace(await _by_handle(request, door, launch_id, form[HANDLE]), form=_typed(form))
    found = await visit(request, launch_id)
    check_origin(request, found.pages)
    if not hmac.compare_digest(form.get(FORM_FIELD, "").encode(), found.secret[1].encode()):
        raise ForeignForm("The form is not one of this page.", where=FORM_FIELD)
    return replace(found, form=_typed(form))


def _typed(form: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in form.items() if name not in {FORM_FIELD, HANDLE}}


async def _by_handle(request: Request, door: Door, launch_id: str, handle: str) -> Visit:
    session = await door.kept.by_handle(launch_id, digest(handle))
    if session is None:
        raise _over()
    noted = await door.kept.used(launch_id, idle=_idle(door, session.clinic), longest=LONGEST)
    pages = await _in_use(request, door, session, noted=noted)
    check_origin(request, pages)
    return Visit(door, session, pages, (HANDLE, handle))


def _idle(door: Door, clinic: str) -> timedelta:
    """Give how long a launch of a clinic may be unused; of a clinic that is gone none may be seen."""
    pages = door.pages.get(clinic)
    return pages.idle if pages is not None else timedelta(0)


async def _in_use(request: Request, door: Door, session: LaunchSession, *, noted: bool) -> ClinicPages:
    """Give the clinic's pages if the use could be noted. Else the session is over: ends it, raises ``SessionOver``."""
    pages = door.pages.get(session.clinic)
    if pages is None:
        raise _over()
    is_of(request, pages.id)
    if not noted:
        await door.sign_out(session.launch_id, session.clinic, why="idle")
        minutes = round(pages.idle.total_seconds() / 60)
        raise SessionOver(f"You were signed out: the page was not used for {minutes} minutes, or for too long.")
    return pages


def _over() -> SessionOver:
    return SessionOver("You are signed out of this page, or were never signed in here.")


def check_origin(request: Request, pages: ClinicPages) -> None:
    """Refuse a form that another site sent. Raises ``ForeignForm``.

    With ``Referrer-Policy: no-referrer`` a browser's Origin is "null" even for our own forms: then Sec-Fetch-Site says
    it, and for browsers too old for both the form's token alone decides.
    """
    site = request.headers.get("sec-fetch-site")
    if site not in {None, "same-origin", "none"}:  # none: by the user's own hand, as a reload
        raise ForeignForm("The form was sent from another site.", where="Sec-Fetch-Site")
    origin = request.headers.get("origin")
    if origin in {None, "null"}:
        return
    try:
        same = addresses.origin(str(origin)) == addresses.origin(pages.registration.redirect_uri or "")
    except httpx.InvalidURL:
        same = False
    if not same:
        raise ForeignForm("The form was sent from another site.", where="Origin")


async def _form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidInput("A form is sent as application/x-www-form-urlencoded.", where="Content-Type")
    try:
        pairs = parse_qsl((await request.body()).decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InvalidInput("The form cannot be read.", where="body") from None
    if len(dict(pairs)) != len(pairs):
        raise InvalidInput("A field of the form is given twice.", where="body")
    return dict(pairs)


def _form_token(browser: Browser, launch_id: str) -> str:
    """Give what a form of this launch carries: known to nobody but this service, the same after the cookie changed."""
    made = hmac.new(browser.id.encode(), f"form:{launch_id}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()
