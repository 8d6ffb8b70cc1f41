"""What this service notes about a request in its ASGI scope, so that middleware, handlers and routes agree on it.

Holds nothing of the request's content. ``route_template`` is the only form in which an address may be logged, counted
or traced: paths hold ids of patients.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]

REQUEST_ID: Final = "aftercare.request_id"
CLIENT: Final = "aftercare.client"
CODE: Final = "aftercare.code"
OTHER_ROUTE: Final = "(other)"
ANONYMOUS: Final = "anonymous"


def request_id(scope: Scope) -> str:
    """Give the request's id; empty outside the middleware that makes it."""
    return str(scope.get(REQUEST_ID, ""))


def client(scope: Scope) -> str:
    """Give who calls, as ``identify`` noted it, or ``anonymous``."""
    return str(scope.get(CLIENT, ANONYMOUS))


def identify(scope: Scope, name: str) -> None:
    """Note which client calls (its registered id, never a person); the check of its credentials does this."""
    scope[CLIENT] = name


def route_template(scope: Scope) -> str:
    """Give the address with names instead of values, such as ``/v1/clinics/{clinic}/tasks/{task}``."""
    # A route of an included router knows its own path only; the whole one is in the context FastAPI keeps beside it.
    route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return getattr(route, "path_format", None) or OTHER_ROUTE
