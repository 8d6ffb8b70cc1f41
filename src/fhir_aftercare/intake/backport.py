"""The door for topic subscriptions on R4: notification Bundles of the R5 Subscriptions Backport.

    POST /hooks/{clinic}/topic   handshake, heartbeat, event-notification, query-status, query-event

Each event becomes a signal; events that do not say what changed, and events that did not arrive, become one sweep. The
server is told yes only when all of that is durable, and within two seconds (integration §2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response  # noqa: TC002 (FastAPI needs it)

from fhir_aftercare.intake.answering import HookRoute, accepted_bundle
from fhir_aftercare.intake.backport_bundle import notification_of
from fhir_aftercare.intake.door import door_of, in_time, read_body, resource_of
from fhir_aftercare.intake.event_counts import Count, count
from fhir_aftercare.intake.verify import check_header, check_signature

if TYPE_CHECKING:
    from fhir_aftercare.intake.backport_bundle import Notification
    from fhir_aftercare.intake.door import Door
    from fhir_aftercare.intake.event_counts import EventCounter

SOURCE: Final = "subscription-topic"
# More than this would not be stored in time; a sweep finds them all.
MOST_SIGNALS: Final = 50

router = APIRouter(prefix="/hooks/{clinic}/topic", route_class=HookRoute, include_in_schema=False)

log = structlog.get_logger(__name__)


@router.post("", response_model=None)
async def notified(request: Request) -> Response:
    """Take a notification Bundle."""
    door = door_of(request)
    signed = door.settings.topic_check == "signature"
    if not signed:
        check_header(door.settings, request.headers)
    body = await read_body(request, door.settings.max_body)
    if signed:
        check_signature(door.settings, request.headers, body)
    told = notification_of(resource_of(request, body), door.context.fhir.base_url)
    async with in_time(door.settings):
        await _follow(door, told, request.app.state.subscription_events)
    return accepted_bundle()


async def _follow(door: Door, told: Notification, counter: EventCounter) -> None:
    """Make everything durable that a notification means. The number is noted last: what fails before is told again."""
    found = [each.signal(door.clinic, SOURCE) for each in told.notified]
    signals = [each for each in found if each is not None]
    sweep = bool(told.unnamed) or len(signals) < len(found) or len(signals) > MOST_SIGNALS
    new = sweep
    for signal in signals if len(signals) <= MOST_SIGNALS else ():
        new = await door.inbox.take(signal) or new
    counted = Count(None)
    if door.settings.topic_counters:
        counted = count(await counter.last(door.clinic, told.subscription), told, new=new)
    if counted.sweep:
        log.warning("events may be lost", clinic=door.clinic, count=counted.missing, outcome=_word(told.status))
    if sweep or counted.sweep:
        await door.inbox.look(door.clinic)
    if counted.number is not None:
        await counter.note(door.clinic, told.subscription, counted.number, restarted=counted.restarted)
    log.info("notification taken", clinic=door.clinic, kind=told.type, count=len(signals))


def _word(status: str) -> str:
    """What a sender wrote goes into no log as it is."""
    return status if status in {"requested", "active", "error", "off", "entered-in-error"} else "other"
