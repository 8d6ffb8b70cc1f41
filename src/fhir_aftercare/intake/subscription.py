"""The door for R4 Subscriptions of type rest-hook, as HAPI really sends them (integration §2.2, fhir-servers §5).

    PUT  /hooks/{clinic}/subscription/{type}/{id}   with the resource  → one signal
    POST /hooks/{clinic}/subscription               with the resource  → one signal
    POST /hooks/{clinic}/subscription               without payload    → something changed: sweep the clinic soon

Either method is taken at either address. The server is told yes only when the signal is durable; else 503, and it sends
again for a while (HAPI 8.8, measured: after 30 seconds of outage all was told, after 100 nothing, and its Subscription
stays active). What it gives up on, or sends without saying whose it is, the sweep finds.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response  # noqa: TC002 (FastAPI needs it)

from fhir_aftercare.intake.answering import HookRoute, accepted
from fhir_aftercare.intake.door import door_of, in_time, read_body, resource_of
from fhir_aftercare.intake.hook_faults import HookMalformed
from fhir_aftercare.intake.notified import UNDERSTOOD, notified_of
from fhir_aftercare.intake.verify import check_header

if TYPE_CHECKING:
    from fhir_aftercare.intake.door import Door

SOURCE: Final = "subscription"

router = APIRouter(prefix="/hooks/{clinic}/subscription", route_class=HookRoute, include_in_schema=False)

log = structlog.get_logger(__name__)


@router.api_route("", methods=["POST", "PUT"], response_model=None)
async def something_changed(request: Request) -> Response:
    """Take a notification that names its resource in the body, or nothing at all."""
    return await _received(request, None)


@router.api_route("/{type_}/{id_}", methods=["PUT", "POST"], response_model=None)
async def resource_changed(request: Request, type_: str, id_: str) -> Response:
    """Take a notification that names its resource in the address too."""
    return await _received(request, f"{type_}/{id_}")


async def _received(request: Request, named: str | None) -> Response:
    door = door_of(request)
    check_header(door.settings, request.headers)
    body = await read_body(request, door.settings.max_body)
    if not body.strip():
        return await _sweep(door)
    resource = resource_of(request, body)
    type_ = resource["resourceType"]
    if named is not None and named.partition("/")[0] != type_:
        raise HookMalformed("The notification's resource is of another type than its address.", where="resourceType")
    if type_ not in UNDERSTOOD:
        return accepted("Nothing here depends on resources of this type; it was ignored.")
    found = notified_of(resource, door.context.fhir.base_url, f"sha256-{hashlib.sha256(body).hexdigest()[:32]}")
    if named is not None and found.reference != named:
        raise HookMalformed("The notification's resource has another id than its address.", where=f"{type_}.id")
    signal = found.signal(door.clinic, SOURCE)
    if signal is None:
        return await _sweep(door)
    async with in_time(door.settings):
        new = await door.inbox.take(signal)
    log.info("notification taken", clinic=door.clinic, resource_type=type_, outcome="new" if new else "known")
    return accepted("Taken.")


async def _sweep(door: Door) -> Response:
    async with in_time(door.settings):
        await door.inbox.look(door.clinic)
    log.info("notification taken", clinic=door.clinic, outcome="sweep")
    return accepted("Taken: the clinic's records will be looked through.")
