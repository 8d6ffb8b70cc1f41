"""The pretend EHR as one ASGI application: which address is answered by which part.

    ehr = create_ehr(EhrSettings(origin="http://ehr.localhost:8001", …), FhirStore(url, httpx.ASGITransport(store)))

For this machine only: any ``Host`` but its own is refused, and nothing of it is fit for patients' data.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
from fastapi import FastAPI
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from fhir_aftercare.errors import AftercareError, InvalidInput
from fhir_aftercare.sandbox.ehr import fault_form, wellknown
from fhir_aftercare.sandbox.ehr.authorization import AuthorizationEndpoint
from fhir_aftercare.sandbox.ehr.charts import Charts
from fhir_aftercare.sandbox.ehr.client_gate import ClientGate
from fhir_aftercare.sandbox.ehr.guard import Guard
from fhir_aftercare.sandbox.ehr.html import STYLE_PATH, page, tag
from fhir_aftercare.sandbox.ehr.names import LocalNames
from fhir_aftercare.sandbox.ehr.pages import Pages
from fhir_aftercare.sandbox.ehr.proxy import FhirProxy
from fhir_aftercare.sandbox.ehr.requests import Refused, body_of, read_form
from fhir_aftercare.sandbox.ehr.sign_in_page import DECIDE_PATH
from fhir_aftercare.sandbox.ehr.state import PretendEhr
from fhir_aftercare.sandbox.ehr.token_endpoint import TokenEndpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from fhir_aftercare.sandbox.ehr.settings import EhrSettings, FhirStore

_FHIR_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_MOST_FAULTS: Final = 64_000


def create_ehr(
    settings: EhrSettings,
    store: FhirStore,
    *,
    apps: httpx.AsyncBaseTransport | None = None,
    now: Callable[[], float] = time.time,
) -> FastAPI:
    """Give the application. ``app.state.ehr`` is its ``PretendEhr``.

    ``apps`` reaches the registered apps' JWKS URLs: the network, names under ``localhost`` included, if None. ``now``
    gives seconds since 1970. The lifespan closes the connections to the store and to the apps.
    """
    ehr = PretendEhr(settings, now)
    to_store = httpx.AsyncClient(transport=store.transport)
    to_apps = httpx.AsyncClient(transport=apps or LocalNames())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with to_store, to_apps:
            yield

    store_base = store.base_url.rstrip("/")
    charts = Charts(to_store, store_base)
    app = FastAPI(
        title=settings.name,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        routes=[
            *_page_routes(Pages(ehr, charts), ehr),
            *_login_routes(ehr, charts, ClientGate(settings, to_apps, now)),
            *_fhir_routes(ehr, FhirProxy(ehr, to_store, store_base)),
        ],
        exception_handlers={Refused: _refused, AftercareError: _told},
    )
    app.add_middleware(Guard, origin=settings.origin)
    app.state.ehr = ehr
    return app


def _page_routes(pages: Pages, ehr: PretendEhr) -> list[Route]:
    here = Path(__file__).parent
    style, smart_style = (here / "ehr.css").read_bytes(), (here / "style.json").read_bytes()

    async def css(_: Request) -> Response:
        return Response(style, media_type="text/css")

    async def style_document(_: Request) -> Response:
        return Response(smart_style, media_type="application/json")

    async def faults(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(ehr.faults.as_json())
        is_form = "form" in request.headers.get("content-type", "")
        if is_form:
            changes, action = fault_form.of_form(await read_form(request))
        else:
            changes, action = fault_form.of_json(await body_of(request, _MOST_FAULTS) or b"")
        ehr.faults.set(changes)
        if action:
            ehr.act(action)
        return RedirectResponse("/", status_code=303) if is_form else JSONResponse(ehr.faults.as_json())

    return [
        Route("/", pages.start),
        Route("/chart", pages.chart),
        Route("/portal", pages.portal),
        Route(STYLE_PATH, css),
        Route("/style.json", style_document),
        Route(fault_form.FAULTS_PATH, faults, methods=["GET", "POST"]),
    ]


def _login_routes(ehr: PretendEhr, charts: Charts, gate: ClientGate) -> list[Route]:
    authorization, tokens = AuthorizationEndpoint(ehr, charts), TokenEndpoint(ehr, gate)
    return [
        Route("/auth/authorize", authorization.authorize, methods=["GET", "POST"]),
        Route(DECIDE_PATH, authorization.decide, methods=["POST"]),
        Route("/auth/token", tokens.token, methods=["POST"]),
        Route("/auth/revoke", tokens.revoke, methods=["POST"]),
        Route("/auth/introspect", tokens.introspect, methods=["POST"]),
        Route("/auth/jwks", _document(ehr.signer.jwks)),
        Route("/auth/.well-known/openid-configuration", _document(lambda: wellknown.openid_configuration(ehr))),
    ]


def _fhir_routes(ehr: PretendEhr, proxy: FhirProxy) -> list[Route]:
    return [
        Route("/fhir/.well-known/smart-configuration", _document(lambda: wellknown.smart_configuration(ehr))),
        Route("/fhir", proxy.answer, methods=_FHIR_METHODS),
        Route("/fhir/{path:path}", proxy.answer, methods=_FHIR_METHODS),
    ]


def _document(content: Callable[[], dict[str, Any]]) -> Callable[[Request], Any]:
    async def answer(_: Request) -> Response:
        return JSONResponse(content())

    return answer


async def _refused(_: Request, refusal: Exception) -> Response:
    """Give an OAuth error (RFC 6749 §5.2)."""
    if not isinstance(refusal, Refused):
        raise refusal
    headers = {"WWW-Authenticate": 'Basic realm="clients"'} if refusal.status == 401 else {}
    body = {"error": refusal.error, "error_description": refusal.why}
    return JSONResponse(body, refusal.status, headers)


async def _told(request: Request, error: Exception) -> Response:
    """Give an error of this project as a page, or as JSON to who sent JSON."""
    if not isinstance(error, AftercareError):
        raise error
    if isinstance(error, InvalidInput) and "json" in request.headers.get("content-type", ""):
        return JSONResponse({"message": error.message, "where": list(error.where)}, error.status)
    return page(
        "Not possible",
        tag("h1", "Not possible"),
        tag("p", error.message, *(f" ({where})" for where in error.where)),
        tag("p", tag("a", "Back to all patients", href="/")),
        status=error.status,
        framed_by="'self'",
    )
