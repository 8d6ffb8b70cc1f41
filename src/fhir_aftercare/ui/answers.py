"""What a browser is sent: pages, redirects, and every error as a plain page with a reference number.

Each answer carries the policy of a page that may hold patient data: not stored, no referrer, framed by the clinic's EHR
alone, scripts of ours only, nothing from elsewhere (integration §1.4, ui "Rules of the frame").
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import Response

from fhir_aftercare.ehr.context import outgoing_headers
from fhir_aftercare.errors import AftercareError, FhirServerError, NotFound
from fhir_aftercare.observe.redaction import describe
from fhir_aftercare.smart import faults as smart
from fhir_aftercare.ui.entry import clinic_of
from fhir_aftercare.ui.faults import ForeignForm, NoCookie, NoPatient, NotGranted, StaffOnly
from fhir_aftercare.ui.statics import ADDRESSES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Request

_HERE: Final = Path(__file__).parent
_CODE: Final = "aftercare.code"
_PENDING_COOKIE: Final = "set_cookie"
_HEADERS: Final = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
_HEADINGS: Final[tuple[tuple[type[AftercareError], str], ...]] = (
    (smart.UnknownIssuer, "This EHR is not registered here"),
    (smart.StateUsed, "Already launched"),
    (smart.LaunchExpired, "The sign-in took too long"),
    (smart.NotAuthorized, "The EHR did not sign you in"),
    (smart.SessionOver, "Signed out"),
    (smart.WrongSession, "Opened in another session"),
    (smart.LaunchRefused, "The launch could not be finished"),
    (smart.SmartFault, "The EHR could not sign you in"),
    (NoCookie, "Cookies are blocked here"),
    (NoPatient, "No patient is open"),
    (ForeignForm, "Nothing was done"),
    (StaffOnly, "For the clinic's staff"),
    (NotGranted, "Not granted by the EHR"),
    (FhirServerError, "The chart could not be read"),
    (NotFound, "Not found"),
)

log = structlog.get_logger(__name__)
_environment: Final = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_environment.globals["static"] = ADDRESSES


class PageRoute(APIRoute):
    """A route whose errors are pages, whatever the caller says it accepts."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()

        async def answering(request: Request) -> Response:
            try:
                answer = await handle(request)
            except AftercareError as fault:
                answer = _error(request, fault)
            except (HTTPException, RequestValidationError):
                answer = _error(request, NotFound("There is no such page here."))
            except Exception as fault:  # noqa: BLE001  (told to the user as a page, to us with its place)
                log.error("unexpected error", fault=describe(fault))  # noqa: TRY400
                answer = _error(request, AftercareError("Something went wrong that nobody foresaw."))
            pending = getattr(request.state, _PENDING_COOKIE, None)
            if pending is not None:
                answer.headers.append("set-cookie", pending)
            return answer

        return answering


def set_cookie(request: Request, header: str) -> None:
    """Send a ``Set-Cookie`` header with the answer, whatever that will be."""
    setattr(request.state, _PENDING_COOKIE, header)


def page(
    request: Request,
    template: str,
    *,
    status: int = 200,
    posts_elsewhere: bool = False,
    scripted: bool = False,
    **values: Any,
) -> Response:
    """Give a page. ``posts_elsewhere``: it holds the form that takes the browser to the EHR. ``scripted``: it has the
    scripts that spare people some clicks; no other may run any.
    """
    text = _environment.get_template(template).render(scripted=scripted, **values)
    policy = {
        "content-security-policy": _policy(request, posts_elsewhere=posts_elsewhere, scripted=scripted),
    }
    return Response(text, status, {**_HEADERS, **policy}, "text/html")


def redirect(address: str) -> Response:
    """Send the browser on, with GET."""
    return Response(status_code=303, headers={**_HEADERS, "location": address})


def reference() -> str:
    """Give the number under which the log tells of this request."""
    return outgoing_headers.get().get("x-request-id", "none")


def _policy(request: Request, *, posts_elsewhere: bool, scripted: bool) -> str:
    door, clinic = getattr(request.app.state, "door", None), clinic_of(request)
    pages = door.pages.get(clinic) if door is not None and clinic is not None else None
    ancestors = " ".join(pages.frame_ancestors) if pages is not None and pages.frame_ancestors else "'none'"
    rules = ["default-src 'none'", "style-src 'self'", "img-src 'self'", "base-uri 'none'"]
    if scripted:
        rules += ["script-src 'self'", "connect-src 'self'"]
    if not posts_elsewhere:  # form-action also judges every redirect after the form, and where an EHR sends one is its
        rules.append("form-action 'self'")
    return "; ".join([*rules, f"frame-ancestors {ancestors}"])


def _error(request: Request, fault: AftercareError) -> Response:
    request.scope[_CODE] = fault.code
    clinic = clinic_of(request)
    named = {"clinic": clinic} if clinic is not None else {}
    say = log.warning if fault.status >= 500 else log.info
    say("page refused", code=fault.code, status=fault.status, error=type(fault).__name__, **named)
    heading = next((text for kind, text in _HEADINGS if isinstance(fault, kind)), "This page cannot be shown")
    answer = page(
        request,
        "error.html",
        status=fault.status,
        heading=heading,
        message=fault.message,
        remedy=fault.remedy,
        reference=reference(),
        window=fault.address if isinstance(fault, NoCookie) else None,
    )
    if fault.issue == "transient":
        answer.headers["retry-after"] = "5"
    return answer
