"""JSON in and out without losing a digit: routes of ``JsonRoute`` read numbers as ``Decimal`` (``fhir.exact_json``).

Use ``APIRouter(route_class=JsonRoute)``. A body that is not JSON by its content type is refused before it is read.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from fhir_aftercare.api.faults import MalformedBody, UnsupportedBody
from fhir_aftercare.fhir import exact_json


class FhirResponse(Response):
    """A FHIR resource, its decimals written as they are."""

    media_type = "application/fhir+json"

    def render(self, content: Any) -> bytes:
        """Give the bytes."""
        return exact_json.dumps(content)


class JsonRoute(APIRoute):
    """A route whose body is read exactly, or refused as ``MalformedBody`` or ``UnsupportedBody``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler, so that it reads the body with our parser."""
        handle = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            if _has_body(request) and not _is_json(request.headers.get("content-type", "")):
                raise UnsupportedBody("The body is not JSON by its Content-Type.", where="Content-Type")
            return await handle(_ExactRequest(request.scope, request.receive))

        return handle_exactly


class _ExactRequest(Request):
    async def json(self) -> Any:
        body = await self.body()
        try:
            return exact_json.loads(body)
        except json.JSONDecodeError:  # FastAPI gives its place to the caller
            raise
        except ValueError as fault:
            raise MalformedBody("The body is not JSON that FHIR allows.", where="body") from fault


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind in {"application/json", "application/fhir+json"} or (
        kind.startswith("application/") and kind.endswith("+json")
    )
