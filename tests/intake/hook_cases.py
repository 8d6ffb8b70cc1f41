"""The subscription doors as an application of their own, and what FHIR servers send to them.

The notifications are those that HAPI 8.8 was seen to send, with other ids, and those of the backport's examples.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import httpx
from fastapi import FastAPI

from fhir_aftercare.bootstrap import shipped_protocol
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.flows.context import ClinicContext, Clinics
from fhir_aftercare.intake import backport, subscription
from fhir_aftercare.intake.settings import SubscriptionSettings
from world import make_clinic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from intake.inboxes import RecordingInbox

Resource = dict[str, Any]

FHIR = "application/fhir+json"
BASE = "https://fhir.example.com/r4"
SECRET = "a-secret-of-the-clinic-0001"
BEFORE = "a-secret-of-the-clinic-0000"
SETTINGS = SubscriptionSettings((SECRET, BEFORE))
ENCOUNTER: Resource = {
    "resourceType": "Encounter",
    "id": "e1",
    "meta": {"versionId": "3", "lastUpdated": "2026-09-16T19:10:00.123+00:00", "source": "#kd4nTeXC"},
    "status": "finished",
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
    "subject": {"reference": "Patient/p1", "display": "Ana Rivera"},
}
PROCEDURE: Resource = {
    "resourceType": "Procedure",
    "id": "d1",
    "meta": {"versionId": "1"},
    "status": "completed",
    "subject": {"reference": "Patient/p1"},
}


@dataclass
class Counts:
    """Event numbers, kept in memory."""

    numbers: dict[tuple[str, str], int] = field(default_factory=dict)

    async def last(self, clinic: str, subscription: str) -> int | None:
        return self.numbers.get((clinic, subscription))

    async def note(self, clinic: str, subscription: str, number: int, *, restarted: bool = False) -> None:
        before = 0 if restarted else self.numbers.get((clinic, subscription), 0)
        self.numbers[clinic, subscription] = max(number, before)


def hooks_app(inbox: Any, settings: SubscriptionSettings = SETTINGS, base_url: str = BASE) -> FastAPI:
    """Give the doors of the clinic ``harbor``; ``bay`` runs too, and takes no notifications."""
    harbor, bay = (
        ClinicContext(
            clinic=make_clinic("Organization/1", id=name),
            fhir=FhirClient(base_url, httpx.AsyncClient()),
            protocol=shipped_protocol(),
            identifiers=Identifiers("https://fhir-aftercare.example.org"),
        )
        for name in ("harbor", "bay")
    )
    app = FastAPI()
    app.include_router(subscription.router)
    app.include_router(backport.router)
    app.state.clinics = Clinics({"harbor": harbor, "bay": bay})
    app.state.subscriptions = {"harbor": settings}
    app.state.inbox, app.state.subscription_events = inbox, Counts()
    return app


@dataclass
class Hooks:
    """The doors, and what went through them."""

    app: FastAPI
    http: httpx.AsyncClient
    inbox: RecordingInbox

    @classmethod
    @asynccontextmanager
    async def open(cls, app: FastAPI, inbox: RecordingInbox) -> AsyncIterator[Self]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://hooks.localhost") as http:
            yield cls(app, http, inbox)

    def change(self, **settings: Any) -> None:
        """Change settings of the clinic."""
        self.app.state.subscriptions = {"harbor": replace(SETTINGS, **settings)}

    async def put(self, resource: Any, path: str | None = None, **headers: str) -> httpx.Response:
        """Tell of a resource as HAPI does: PUT, with type and id in the address."""
        path = path if path is not None else f"/{resource['resourceType']}/{resource['id']}"
        return await self.send("PUT", f"/hooks/harbor/subscription{path}", resource, **headers)

    async def topic(self, bundle: Any, **headers: str) -> httpx.Response:
        """Tell of events of a topic."""
        return await self.send("POST", "/hooks/harbor/topic", bundle, **headers)

    async def send(self, method: str, path: str, body: Any, **headers: str) -> httpx.Response:
        """Send JSON (bytes as they are) with the secret; a header is named with underscores, and empty left out."""
        named = {"x_aftercare_secret": SECRET, "content_type": f"{FHIR}; charset=UTF-8", "accept": FHIR, **headers}
        given = {name.replace("_", "-"): value for name, value in named.items() if value}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.request(method, path, content=content, headers=given)


def signed(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def taken(answer: httpx.Response, kind: str = "OperationOutcome") -> None:
    """Assert that a FHIR server would believe that its notification arrived."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, FHIR), answer.text
    assert answer.json()["resourceType"] == kind


def refused(answer: httpx.Response, status: int, code: str, issue: str) -> str:
    """Assert that the answer is an OperationOutcome that says why and what to do, and give its words."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, FHIR), answer.text
    body = answer.json()
    (one,) = body["issue"]
    assert (body["resourceType"], one["severity"], one["code"]) == ("OperationOutcome", "error", issue)
    assert one["details"]["coding"][0]["code"] == code
    assert one["diagnostics"]
    return f"{one['details']['text']} {one['diagnostics']}"


def event(number: int | None = 1, focus: str | None = "Encounter/e1", **more: Any) -> Resource:
    """Give an event in the names of a SubscriptionStatus."""
    found: Resource = {"timestamp": "2026-09-16", **more}
    if number is not None:
        found["eventNumber"] = str(number)
    if focus is not None:
        found["focus"] = {"reference": focus}
    return found


def r4b(type_: str = "event-notification", *events: Resource, total: int | None = None, **more: Any) -> Resource:
    """Give a notification whose status is a SubscriptionStatus (R4B, athena)."""
    given = more.pop("entries", [])
    status = {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": type_,
        "subscription": {"reference": "https://fhir.example.com/r4/Subscription/s1"},
        "topic": "https://fhir-aftercare.example.org/SubscriptionTopic/aftercare",
        "notificationEvent": list(events),
        **more,
    }
    if total is not None:
        status["eventsSinceSubscriptionStart"] = str(total)
    return {"resourceType": "Bundle", "id": "b1", "type": "history", "entry": [{"resource": status}, *given]}


def r4(type_: str = "event-notification", *events: Resource, total: int | None = None, **more: Any) -> Resource:
    """Give the same with Parameters, as HAPI and the backport on R4 send it."""
    bundle = r4b(type_, *events, total=total, **more)
    status = bundle["entry"][0]["resource"]
    values = {"status": "valueCode", "type": "valueCode", "subscription": "valueReference", "topic": "valueCanonical"}
    found = [{"name": name, kind: status[name]} for name, kind in values.items()]
    if total is not None:
        found.append({"name": "events-since-subscription-start", "valueString": str(total)})
    names = {"eventNumber": ("event-number", "valueString"), "timestamp": ("timestamp", "valueDate")}
    for each in copy.deepcopy(status["notificationEvent"]):
        around = each.pop("additionalContext", [])
        focus = each.pop("focus", None)
        part: list[Resource] = [{"name": names[key][0], names[key][1]: value} for key, value in each.items()]
        part += [{"name": "focus", "valueReference": focus}] if focus else []
        part += [{"name": "additional-context", "valueReference": one} for one in around]
        found.append({"name": "notification-event", "part": part})
    bundle["entry"][0] = {
        "fullUrl": "Parameters/q1",
        "resource": {"resourceType": "Parameters", "id": "q1", "parameter": found},
    }
    return bundle
