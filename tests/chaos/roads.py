"""The roads on which a chaos run tells of a discharge, each with its real protocol, and a sender that repeats itself.

A sender counts a signal as delivered only when it was told so; what it was told is what must be true at the end.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import httpx
import orjson
from hl7.mllp import open_hl7_connection

from chaos.hospital import MRN_SYSTEM, VISIT_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from chaos.hospital import Visit
    from chaos.stage import ServiceProcess

CLINIC: Final = "harbor"
SECRET: Final = "a-secret-of-the-chaos-run-only"
FHIR: Final = {"Content-Type": "application/fhir+json"}
PATIENCE: Final = 0.3  # seconds between two tries


@dataclass
class Sender:
    """Sends to whichever service answers. ``acknowledged`` counts what was accepted, by road."""

    services: Sequence[ServiceProcess]
    http: httpx.AsyncClient
    acknowledged: dict[str, int] = field(default_factory=dict)
    tries: int = 0

    async def deliver(self, road: str, visit: Visit) -> None:
        """Repeat one signal until it is acknowledged."""
        while True:
            self.tries += 1
            service = random.choice(self.services)  # noqa: S311 - chaos, not a secret
            try:
                if await ROADS[road](self.http, service, visit):
                    self.acknowledged[road] = self.acknowledged.get(road, 0) + 1
                    return
            except (httpx.HTTPError, OSError, TimeoutError, asyncio.IncompleteReadError):
                pass  # not acknowledged: sent again
            await asyncio.sleep(PATIENCE * random.uniform(0.5, 2))  # noqa: S311


async def by_rest(http: httpx.AsyncClient, service: ServiceProcess, visit: Visit) -> bool:
    """Our own API."""
    body = {"encounter": visit.encounter, "event": f"rest-{visit.number}", "occurred_at": visit.left_at.isoformat()}
    answer = await http.post(f"{service.url}/v1/clinics/{CLINIC}/signals", json=body)
    return answer.status_code == 202


async def by_subscription(http: httpx.AsyncClient, service: ServiceProcess, visit: Visit) -> bool:
    """A FHIR R4 rest-hook, as HAPI sends it."""
    resource = {
        "resourceType": "Encounter",
        "id": visit.encounter.partition("/")[2],
        "meta": {"versionId": "1"},
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": visit.patient},
    }
    url = f"{service.url}/hooks/{CLINIC}/subscription/{visit.encounter}"
    answer = await http.put(url, json=resource, headers={**FHIR, "X-Aftercare-Secret": SECRET})
    return answer.status_code == 200


async def by_topic(http: httpx.AsyncClient, service: ServiceProcess, visit: Visit) -> bool:
    """A notification Bundle of the R5 backport, signed."""
    status: dict[str, Any] = {
        "resourceType": "Parameters",
        "id": str(uuid.uuid4()),
        "parameter": [
            {"name": "subscription", "valueReference": {"reference": "Subscription/chaos"}},
            {"name": "status", "valueCode": "active"},
            {"name": "type", "valueCode": "event-notification"},
            {"name": "events-since-subscription-start", "valueString": str(visit.number + 1)},
            {
                "name": "notification-event",
                "part": [
                    {"name": "event-number", "valueString": str(visit.number + 1)},
                    {"name": "focus", "valueReference": {"reference": visit.encounter}},
                ],
            },
        ],
    }
    bundle = {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}
    content = orjson.dumps(bundle)
    signature = hmac.new(SECRET.encode(), content, hashlib.sha256).hexdigest()
    headers = {**FHIR, "X-Hub-Signature": f"sha256={signature}", "X-Aftercare-Secret": SECRET}
    answer = await http.post(f"{service.url}/hooks/{CLINIC}/topic", content=content, headers=headers)
    return answer.status_code == 200


async def by_hl7v2(_: httpx.AsyncClient, service: ServiceProcess, visit: Visit) -> bool:
    """An ADT A03 over MLLP."""
    at = visit.left_at.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
    now = datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000")
    message = "\r".join(
        (
            f"MSH|^~\\&|CHAOS|HARBOR|AFTERCARE|HARBOR|{now}||ADT^A03^ADT_A03|chaos-{visit.number}|P|2.5.1",
            f"EVN|A03|{now}|||{at}",
            f"PID|1||{visit.mrn}^^^{MRN_SYSTEM}||Chaos^Test",
            f"PV1|1|O|||||||||||||||||{visit.visit_number}^^^{VISIT_SYSTEM}" + "|" * 26 + at,
            "",
        )
    )
    async with asyncio.timeout(20):
        reader, writer = await open_hl7_connection("127.0.0.1", service.mllp_port)
        try:
            writer.writemessage(message)
            await writer.drain()
            answer = await reader.readmessage()
        finally:
            writer.close()
    return str(answer.segment("MSA")[1]) == "AA"


ROADS: Final[dict[str, Callable[[httpx.AsyncClient, ServiceProcess, Visit], Awaitable[bool]]]] = {
    "rest": by_rest,
    "subscription": by_subscription,
    "topic": by_topic,
    "hl7v2": by_hl7v2,
}
