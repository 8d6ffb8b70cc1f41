"""The addresses of the CDS Hooks door, with and without a clinic in the path, and who may call them from a browser.

``app.state.cds_hooks`` serves them (a ``CdsHooks``); where there is none, nothing is found here.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.intake.cds_answers import Refused, json_answer, of_error, of_refused
from fhir_aftercare.intake.cds_hooks import SERVICE, Call, CdsHooks

DISCOVERY: Final = "cds-services"
CARDS: Final = f"{DISCOVERY}/{SERVICE}"
FEEDBACK: Final = f"{CARDS}/feedback"
_BASES: Final = ("/", "/cds/{clinic}/")
_ALLOWED: Final = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "600",
}


class CdsRoute(APIRoute):
    """A route whose faults are answered as CDS Hooks has them, and whose answers known web origins may read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()

        async def handle_openly(request: Request) -> Response:
            try:
                response = await handle(request)
            except Refused as refused:
                response = of_refused(refused)
            except AftercareError as error:
                response = of_error(error)
            origin, hooks = request.headers.get("origin"), _hooks_or_none(request)
            response.headers.add_vary_header("Origin")
            if hooks and origin in hooks.origins(request.path_params.get("clinic")):
                response.headers["access-control-allow-origin"] = origin
            return response

        return handle_openly


def cds_router() -> APIRouter:
    """Give the routes. They are in no OpenAPI file: CDS Hooks describes itself by its discovery document."""
    router = APIRouter(route_class=CdsRoute, include_in_schema=False)
    for base in _BASES:
        router.add_api_route(base + DISCOVERY, _discovery, methods=["GET"])
        router.add_api_route(base + CARDS, _cards, methods=["POST"])
        router.add_api_route(base + FEEDBACK, _feedback, methods=["POST"])
        for path in (DISCOVERY, CARDS, FEEDBACK):
            router.add_api_route(base + path, _preflight, methods=["OPTIONS"])
    return router


async def _discovery(request: Request) -> Response:
    call = _call(request, DISCOVERY)
    if call.clinic is None and _hooks_or_none(request) is None:
        return json_answer({"services": []})
    return json_answer(await _hooks(request).discovery(call, request.app.state.clinics))


async def _cards(request: Request) -> Response:
    hooks, call = _hooks(request), _call(request, CARDS)
    return json_answer(await hooks.cards(call, await _json(request), request.app.state.clinics))


async def _feedback(request: Request) -> Response:
    hooks, call = _hooks(request), _call(request, FEEDBACK)
    await hooks.feedback(call, await _json(request), request.app.state.clinics)
    return json_answer({})


async def _preflight() -> Response:
    """Say what a browser may send; whether it may is told by the origin's header."""
    return Response(status_code=204, headers=_ALLOWED)


def _hooks_or_none(request: Request) -> CdsHooks | None:
    found: CdsHooks | None = getattr(request.app.state, "cds_hooks", None)
    return found


def _hooks(request: Request) -> CdsHooks:
    found = _hooks_or_none(request)
    if found is None:
        raise Refused(404, "not-found", "There are no CDS services here.", "Set up [cds_hooks] for a clinic.")
    return found


def _call(request: Request, path: str) -> Call:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else ""
    return Call(request.path_params.get("clinic"), path, given or None)


async def _json(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "not-supported", "The body is not JSON by its Content-Type.", "Send application/json.")
    return await request.body()
