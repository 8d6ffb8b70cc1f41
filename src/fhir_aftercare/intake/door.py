"""What the subscription doors work with: the clinic, its settings and the inbox, from the application's state.

``app.state`` holds ``clinics``, ``inbox`` (``flows.inbox.Inbox``), ``subscriptions`` (the settings by clinic; a clinic
that is not in it takes no notifications) and ``subscription_events`` (the ``EventCounter``). A process without an inbox
takes nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import NotFound
from fhir_aftercare.fhir import exact_json
from fhir_aftercare.intake.hook_faults import HookClosed, HookLate, HookMalformed, HookTooLarge, HookUnsupported

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.inbox import Inbox
    from fhir_aftercare.intake.settings import SubscriptionSettings

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Door:
    """One clinic's side of a notification."""

    context: ClinicContext
    settings: SubscriptionSettings
    inbox: Inbox

    @property
    def clinic(self) -> str:
        """The clinic's id."""
        return self.context.clinic.id


def door_of(request: Request) -> Door:
    """Give what the clinic in the path has.

    Raises ``NotFound`` if there is none, or it takes no notifications; ``HookClosed`` if this process takes none.
    """
    state = request.app.state
    if getattr(state, "inbox", None) is None:
        raise HookClosed("This process takes no notifications.")
    context = state.clinics.of(request.path_params["clinic"])
    settings = state.subscriptions.get(context.clinic.id)
    if settings is None:
        raise NotFound(
            "This clinic takes no notifications of subscriptions.",
            where="clinic",
            remedy="Add [subscription] to the clinic's file, and its secret to the environment.",
        )
    return Door(context, settings, state.inbox)


async def read_body(request: Request, largest: int) -> bytes:
    """Give the body, of ``largest`` bytes at most. Raises ``HookTooLarge``; ``HookUnsupported`` if it is packed."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise HookUnsupported("The notification comes packed.", where="Content-Encoding", remedy="Send it unpacked.")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > largest:
            raise HookTooLarge(f"The notification is larger than {largest} bytes.", where="body")
        chunks.append(chunk)
    return b"".join(chunks)


def resource_of(request: Request, body: bytes) -> Resource:
    """Give the FHIR resource of a body. Raises ``HookUnsupported``, ``HookMalformed``."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith(("+json", "json+fhir"))):
        raise HookUnsupported("The notification is not JSON by its Content-Type.", where="Content-Type")
    try:
        found = exact_json.loads(body)
    except ValueError:
        raise HookMalformed("The notification is not JSON.", where="body") from None
    if not isinstance(found, dict) or not isinstance(found.get("resourceType"), str):
        raise HookMalformed("The notification is not a FHIR resource.", where="resourceType")
    return found


@asynccontextmanager
async def in_time(settings: SubscriptionSettings) -> AsyncIterator[None]:
    """Bound the storing: a server that waits longer gives up (integration §2.3). Raises ``HookLate``."""
    timer = asyncio.timeout(settings.seconds)
    try:
        async with timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise
        raise HookLate(f"The notification was not stored within {settings.seconds:g} seconds.") from None
