"""The two ways of a benchmark: one discharge through us, and the same Bundles from a bare client."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from bench import instant
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.fhir import exact_json
from fhir_aftercare.fhir.tasks import instant as text_of
from fhir_aftercare.flows.chart import read_chart
from fhir_aftercare.flows.discharge import DischargeRequest, decide, sections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from world import World

# An infusion of this very day: of one long ago the service would ask less than what the bare client sends.
LEFT = datetime.now(UTC).replace(second=0, microsecond=0)
END = LEFT - timedelta(minutes=90)
START = END - timedelta(minutes=40)
FHIR = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json", "Cache-Control": "no-cache"}


@dataclass
class Case:
    """One patient who leaves, and the two Bundles a bare client would send for it."""

    request: DischargeRequest
    batch: bytes = b""
    transaction: bytes = b""
    posts: Sequence[tuple[str, bytes]] = ()


async def make_case(world: World) -> Case:
    patient = await world.patient()
    encounter = await world.encounter(patient, period={"start": text_of(START)})
    request = DischargeRequest(patient, encounter, LEFT, start=START, end=END, escort="present")
    return Case(request)


async def with_bundles(world: World, case: Case) -> Case:
    """Work out what our service would send, so that a bare client can send the same.

    The server is not asked for it: whoever reads the same chart a second time would find other caches.
    """
    wanted = sections(world.context, case.request)
    reads = [{"request": {"method": "GET", "url": each.query}} for each in wanted]
    case.batch = exact_json.dumps({"resourceType": "Bundle", "type": "batch", "entry": reads})
    async with from_memory() as fhir:
        bundle = decide(world.context, case.request, await read_chart(fhir, wanted)).transaction.bundle()
    case.transaction = exact_json.dumps(bundle)
    case.posts = [(each["resource"]["resourceType"], exact_json.dumps(each["resource"])) for each in bundle["entry"]]
    return case


@asynccontextmanager
async def from_memory() -> AsyncIterator[FhirClient]:
    """Give a client whose server is ``instant``, in this process."""
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=instant.answer(request.content)))
    async with httpx.AsyncClient(transport=transport) as http:
        yield FhirClient("http://instant.localhost/fhir", http)


async def bare(http: httpx.AsyncClient, base: str, case: Case) -> None:
    for content in (case.batch, case.transaction):
        answer = await http.post(base, content=content, headers=FHIR)
        answer.raise_for_status()
        answer.json()


async def through_us(http: httpx.AsyncClient, service: str, case: Case, tasks: int | None = None) -> None:
    """Report a discharge; ``tasks`` is how many Tasks the bare client's transaction has, so must ours."""
    sent = case.request
    body = {
        "patient": sent.patient,
        "encounter": sent.encounter,
        "left_at": text_of(sent.left_at),
        "start": text_of(START),
        "end": text_of(END),
        "escort": "present",
    }
    answer = await http.post(f"{service}/discharges/happened", json=body)
    assert answer.status_code == 201, answer.text
    assert tasks is None or len(answer.json()["tasks"]) == tasks, "the two ways do not write the same"


def request_for(url: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> dict[str, Any]:
    """Give a GET of an absolute address as a server hands it to an ASGI application."""
    parts = httpx.URL(url)
    path, _, query = parts.raw_path.partition(b"?")
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": parts.scheme,
        "path": parts.path, "raw_path": path, "query_string": query, "root_path": "",
        "headers": [(b"host", parts.netloc), *headers], "client": None, "server": (parts.host, parts.port),
    }  # fmt: skip


async def answered(app: Callable[..., Awaitable[None]], scope: Mapping[str, Any]) -> int:
    """Have an ASGI application answer a request to the last byte, without a server in between; give the status."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app({**scope, "state": {}}, receive, send)
    return statuses[0]


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000
