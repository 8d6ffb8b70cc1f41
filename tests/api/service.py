"""The real application for a world, reached without a network, on the way to a FHIR server that a test can break.

    service.post("/infusions", body)         →  the whole service  →  ``wire``  →  the FHIR server of the test
    service.wire.breaks(answers(429, …))         every answer of the server from now on
    service.wire.breaks(cut_after(), on="transaction", times=1)

``service.wire.sent`` are the requests that reached the wire, ``service.naps`` the waits between repeats (not waited).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import httpx

from fhir_aftercare.config import Settings
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.flows.context import Clinics, PatientLocks
from fhir_aftercare.observe.tracing import both
from fhir_aftercare.service import create_app
from intake.inboxes import KeptWork
from world import make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.observe.metrics import Metrics
    from fhir_aftercare.observe.tracing import Tracing
    from fhir_aftercare.service import OnCall
    from servers import Server
    from world import World

    Fault = Callable[["Wire", httpx.Request], Awaitable[httpx.Response]]

Resource = dict[str, Any]
Kind = Literal["any", "batch", "transaction"]

FHIR = "application/fhir+json"
API = "http://api.localhost"
# What hangs on a patient; besides, the Provenance of all of it.
OF_PATIENT = (
    "CarePlan", "Communication", "Goal", "MedicationAdministration", "Observation", "Procedure",
    "QuestionnaireResponse", "ServiceRequest", "Task",
)  # fmt: skip


# --- the way to the FHIR server --------------------------------------------------------------------------------------
@dataclass
class _Rule:
    fault: Fault
    on: Kind
    left: int | None


class Wire(httpx.AsyncBaseTransport):
    """Passes requests on to a FHIR server, keeps them, and breaks as it is told."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rules: list[_Rule] = []
        self.sent: list[httpx.Request] = []

    def breaks(self, fault: Fault, *, on: Kind = "any", times: int | None = None) -> None:
        """From now on, ``times`` requests of a kind (all, if None) meet the fault; the first rule that fits counts."""
        self._rules.append(_Rule(fault, on, times))

    def mend(self) -> None:
        """Forget the faults and what was sent."""
        self._rules.clear()
        self.sent.clear()

    def kinds(self) -> Counter[str]:
        """Count what was sent: batch, transaction, or the method."""
        return Counter(kind_of(each) for each in self.sent)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.sent.append(request)
        for rule in self._rules:
            if rule.left != 0 and rule.on in {"any", kind_of(request)}:
                rule.left = None if rule.left is None else rule.left - 1
                return await rule.fault(self, request)
        return await self.forward(request)

    async def forward(self, request: httpx.Request, content: bytes | None = None) -> httpx.Response:
        """Have the server answer; ``content`` instead of what was sent."""
        headers = {k: v for k, v in request.headers.items() if k not in {"host", "content-length"}}
        body = request.content if content is None else content
        answer = await self._server.http.request(request.method, request.url, headers=headers, content=body)
        kept = {k: v for k, v in answer.headers.items() if k not in {"content-encoding", "transfer-encoding"}}
        return httpx.Response(answer.status_code, headers=kept, content=answer.content)


def kind_of(request: httpx.Request) -> str:
    return str(json.loads(request.content)["type"]) if request.method == "POST" else request.method


def down() -> Fault:
    """Nobody listens."""

    async def fault(_: Wire, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    return fault


def slow(seconds: float) -> Fault:
    """The server does it, and answers too late."""

    async def fault(wire: Wire, request: httpx.Request) -> httpx.Response:
        answer = await wire.forward(request)
        await asyncio.sleep(seconds)
        return answer

    return fault


class Held:
    """The server does it, and answers when it is let: ``arrived`` tells that it did, ``release`` lets it."""

    def __init__(self) -> None:
        self.arrived, self.release = asyncio.Event(), asyncio.Event()

    async def __call__(self, wire: Wire, request: httpx.Request) -> httpx.Response:
        answer = await wire.forward(request)
        self.arrived.set()
        await self.release.wait()
        return answer


def answers(status: int, *, headers: dict[str, str] | None = None, **content: Any) -> Fault:
    """Something in front of the server answers; ``html``, ``json`` or ``content`` as httpx takes them."""

    async def fault(_: Wire, request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=headers, request=request, **content)

    return fault


def cut_before() -> Fault:
    """The connection is cut before the server saw the request."""

    async def fault(_: Wire, request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut", request=request)

    return fault


def cut_after() -> Fault:
    """The server does it, and the connection is cut before the answer arrives."""

    async def fault(wire: Wire, request: httpx.Request) -> httpx.Response:
        answer = await wire.forward(request)
        assert answer.status_code < 300, answer.text
        raise httpx.RemoteProtocolError("cut", request=request)

    return fault


def done_but_answers(status: int, *, headers: dict[str, str] | None = None, **content: Any) -> Fault:
    """The server does it, and something in front of it answers otherwise."""

    async def fault(wire: Wire, request: httpx.Request) -> httpx.Response:
        answer = await wire.forward(request)
        assert answer.status_code < 300, answer.text
        return httpx.Response(status, headers=headers, request=request, **content)

    return fault


def fails_within(status: int = 500, **content: Any) -> Fault:
    """The server fails in the middle of the transaction, when it has written most of it: its last entry cannot be."""
    nowhere: Resource = {
        "resource": {
            "resourceType": "Task",
            "status": "requested",
            "intent": "plan",
            "for": {"reference": "Patient/is-not-there"},
        },
        "request": {"method": "POST", "url": "Task"},
    }

    async def fault(wire: Wire, request: httpx.Request) -> httpx.Response:
        bundle = json.loads(request.content)
        bundle["entry"].append(nowhere)
        answer = await wire.forward(request, json.dumps(bundle).encode())
        assert answer.status_code >= 400, answer.text
        return httpx.Response(status, request=request, **content)

    return fault


# --- the service -----------------------------------------------------------------------------------------------------
@dataclass
class Service:
    """A running service with the clinic ``harbor`` of a world. Paths are those below the clinic."""

    world: World
    app: FastAPI
    http: httpx.AsyncClient
    wire: Wire
    naps: list[float] = field(default_factory=list)

    @property
    def metrics(self) -> Metrics:
        found: Metrics = self.app.state.metrics
        return found

    def url(self, path: str, clinic: str | None = None) -> str:
        return f"/v1/clinics/{clinic or self.world.context.clinic.id}{path}"

    async def post(
        self,
        path: str,
        body: Any = None,
        *,
        clinic: str | None = None,
        params: Any = None,
        headers: dict[str, str] | None = None,
        **named: str,
    ) -> httpx.Response:
        """Send a body as JSON (bytes as they are); headers may also be ``named``, with underscores."""
        given = {"content-type": "application/json", **(headers or {}), **_headers(named)}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post(self.url(path, clinic), content=content, headers=given, params=params)

    async def get(
        self,
        path: str,
        *,
        clinic: str | None = None,
        params: Any = None,
        headers: dict[str, str] | None = None,
        **named: str,
    ) -> httpx.Response:
        """Get a path; headers as for ``post``."""
        given = {**(headers or {}), **_headers(named)}
        return await self.http.get(self.url(path, clinic), headers=given, params=params)

    async def put(self, resource: Resource) -> str:
        """Put a resource with an id of its own on the FHIR server, past the service, and give its reference."""
        reference = f"{resource['resourceType']}/{resource['id']}"
        url = f"{self.world.server.base_url}/{reference}"
        answer = await self.world.server.http.put(url, json=resource, headers={"content-type": FHIR})
        assert answer.status_code in {200, 201}, answer.text
        return reference

    async def of(self, patient: str) -> dict[str, Resource]:
        """Give all that hangs on a patient, as the FHIR server has it now, by reference."""
        client = self.world.server.client()
        found: dict[str, Resource] = {}
        answers = await client.batch([f"{type_}?patient={patient}&_count=200" for type_ in OF_PATIENT])
        for type_, answer in zip(OF_PATIENT, answers, strict=True):
            result = await client.collect(type_, answer.unwrap())
            found |= {f"{type_}/{each['id']}": each for each in result.matches}
        for some in _groups(sorted(found), 40):
            signed = await client.search_all("Provenance", {"target": ",".join(some)})
            found |= {f"Provenance/{each['id']}": each for each in signed.matches}
        return found

    async def state(self, patient: str) -> Counter[tuple[str, ...]]:
        """Give what hangs on a patient without ids and times: two patients treated alike have the same."""
        return Counter(_gist(each) for each in (await self.of(patient)).values())


def _groups(values: list[str], size: int) -> Iterator[list[str]]:
    yield from (values[at : at + size] for at in range(0, len(values), size))


def _headers(given: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in given.items()}


def _gist(resource: Resource) -> tuple[str, ...]:
    concept = resource.get("code") or next(iter(resource.get("category") or ()), None) or resource.get("activity") or {}
    codes = sorted(str(each.get("code")) for each in concept.get("coding") or ())
    business = (resource.get("businessStatus") or {}).get("coding") or [{}]
    said = [resource.get("status") or resource.get("lifecycleStatus") or "", *codes, str(business[0].get("code", ""))]
    size = [str(len(resource.get(name) or ())) for name in ("activity", "input", "output", "target", "basedOn")]
    return (resource["resourceType"], *map(str, said), *size)


@asynccontextmanager
async def running(
    server: Server,
    folder: Path,
    *,
    world: World | None = None,
    tracing: Tracing | None = None,
    settings: dict[str, Any] | None = None,
    fhir: dict[str, Any] | None = None,
    others: dict[str, ClinicContext] | None = None,
) -> AsyncIterator[Service]:
    """Run the service for a world (a fresh one) on a server.

    ``settings`` are those of the service, ``fhir`` options of its FhirClient, ``others`` further clinics by id.
    """
    world = world or await make_world(server)
    wire, naps = Wire(server), list[float]()

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    @asynccontextmanager
    async def opening(on_call: OnCall) -> AsyncIterator[Clinics]:
        async with httpx.AsyncClient(transport=wire) as http:
            told = both(on_call, world.calls.append)
            client = FhirClient(server.base_url, http, **{"on_call": told, "sleep": nap, **(fhir or {})})
            own = replace(world.context, fhir=client, locks=PatientLocks())
            yield Clinics({own.clinic.id: own, **(others or {})})

    given = {
        "database_url": f"sqlite:///{folder / 'aftercare.db'}",
        "metrics_port": 0,
        "work": False,
        **(settings or {}),
    }
    app = create_app(Settings(**given), tracing=tracing, clock=world.clock, opening=opening)
    if not given["work"]:
        app.state.inbox = app.state.work = KeptWork()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app, raise_app_exceptions=False), base_url=API) as http,
    ):
        yield Service(world, app, http, wire, naps)


def problem_of(answer: httpx.Response, status: int, code: str) -> Resource:
    """Give a problem document, when it is one with this status and code, a remedy and the request's id."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body: Resource = answer.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"].endswith(f"/problems/{code}")
    assert body["title"]
    assert body["detail"]
    assert body["remedy"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body
