"""What durable work costs: how soon a signal is acknowledged, and how much is done in a time, against a bare client."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg

from bench.processes import answers, instant_server, service
from bench.ways import END, LEFT, START, Case, bare, make_case, with_bundles
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.tasks import instant as text_of
from postgres import running_postgres
from servers import HapiServer, Server
from world import make_world

if TYPE_CHECKING:
    from world import World

RATE, SECONDS = 50, 12
SUSTAINED = 160
AT_ONCE = 16
SHARED = 240
# So much at once that the server is kept busy, as the bare client keeps it.
WORK = f"[work]\nconcurrency = {AT_ONCE}\n"

Figure = tuple[str, str, str]


async def acknowledged(folder: Path) -> list[Figure]:
    """Send 50 signals a second while the FHIR server takes two seconds for each answer."""
    took: list[float] = []
    with instant_server(INSTANT_LATENCY="2000", INSTANT_FINISHED="1") as base:
        async with httpx.AsyncClient(timeout=30) as http:
            await answers(http, base)
            with service(folder / "acknowledged", base, "Organization/1") as (url, _):
                await answers(http, f"{url}/readyz")
                await asyncio.sleep(2)
                began = time.perf_counter()

                async def one(number: int) -> None:
                    await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
                    sent = time.perf_counter()
                    await _send(http, url, f"p{number}", f"e{number}")
                    took.append((time.perf_counter() - sent) * 1000)

                await asyncio.gather(*(one(number) for number in range(RATE * SECONDS)))
    took.sort()
    what = f"a signal acknowledged, {RATE} a second with a FHIR server of 2 s: median, p99"
    return [(what, f"{took[len(took) // 2]:.1f} ms, {took[len(took) * 99 // 100]:.1f} ms", "p99 ≤ 50 ms")]


async def sustained(world: World, folder: Path) -> list[Figure]:
    """Discharges by signal, one after the other as fast as they go, and the same Bundles from a bare client."""
    base = world.server.base_url
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=64)) as http:
        theirs = [await with_bundles(world, await make_case(world)) for _ in range(SUSTAINED)]
        ours = [await _ended(world) for _ in range(SUSTAINED)]
        await bare(http, base, await with_bundles(world, await make_case(world)))  # what all share is made once
        places = asyncio.Semaphore(AT_ONCE)

        async def one(case: Case) -> None:
            async with places:
                await bare(http, base, case)

        began = time.perf_counter()
        await asyncio.gather(*(one(case) for case in theirs))
        bare_took = time.perf_counter() - began
        with service(folder / "sustained", base, world.organization, more=WORK) as (url, _):
            await answers(http, f"{url}/readyz")
            await _idle(http, url)
            began = time.perf_counter()
            await asyncio.gather(*(_send(http, url, patient, encounter) for patient, encounter in ours))
            await _idle(http, url)
            our_took = time.perf_counter() - began
    return [
        (
            f"{SUSTAINED} discharges by signal: throughput : the bare client's",
            f"{bare_took / our_took:.2f} ({SUSTAINED / our_took:.0f}/s)",
            "≥ 0.9",
        )
    ]


async def shared(folder: Path) -> list[Figure]:
    """Do the same work with one process and with two, on one PostgreSQL, with a FHIR server 100 ms away."""
    took: dict[int, float] = {}
    with instant_server(INSTANT_LATENCY="100", INSTANT_FINISHED="1") as base, running_postgres() as postgres:
        for processes in (1, 2):
            name = f"bench_{processes}_{time.time_ns()}"
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}"')
            database = f"{postgres.rpartition('/')[0]}/{name}"
            async with httpx.AsyncClient(timeout=60) as http:
                await answers(http, base)
                with ExitStack() as stack:
                    urls = []
                    for number in range(processes):
                        place = folder / f"shared-{processes}-{number}"
                        url, _ = stack.enter_context(service(place, base, "Organization/1", database=database))
                        await answers(http, f"{url}/readyz")
                        urls.append(url)
                    await asyncio.sleep(2)
                    began = time.perf_counter()
                    sent = (
                        _send(http, urls[number % processes], f"s{number}", f"t{number}") for number in range(SHARED)
                    )
                    await asyncio.gather(*sent)
                    await _idle(http, urls[0])
                    took[processes] = time.perf_counter() - began
    return [
        (
            "two processes on PostgreSQL : one, with a FHIR server of 100 ms",
            f"{took[1] / took[2]:.2f} ({SHARED / took[1]:.0f}/s, {SHARED / took[2]:.0f}/s)",
            "≥ 1.7",
        )
    ]


async def _send(http: httpx.AsyncClient, url: str, patient: str, encounter: str) -> None:
    body = {
        "event": f"{encounter}-{LEFT:%H%M%S}",
        "patient": f"Patient/{patient.rpartition('/')[2]}",
        "encounter": f"Encounter/{encounter.rpartition('/')[2]}",
        "occurred_at": text_of(LEFT),
    }
    answer = await http.post(f"{url}/v1/clinics/bench/signals", json=body)
    assert answer.status_code == 202, answer.text


async def _idle(http: httpx.AsyncClient, url: str) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        counts = (await http.get(f"{url}/v1/clinics/bench/work")).json()
        assert not counts["refused"], counts
        if not counts["waiting"] and not counts["running"]:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the work was not done")


async def _ended(world: World) -> tuple[str, str]:
    """Make a patient whose infusion and visit have ended."""
    patient = await world.patient()
    period = {"start": text_of(START), "end": text_of(LEFT)}
    encounter = await world.encounter(patient, status="finished", period=period)
    await world.server.client().create(
        {
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationCodeableConcept": {"coding": [terms.KETAMINE_RXNORM.coding()]},
            "subject": {"reference": patient},
            "context": {"reference": encounter},
            "effectivePeriod": {"start": text_of(START), "end": text_of(END)},
        }
    )
    return patient, encounter


async def alone(folder: Path, base: str) -> list[Figure]:
    """Measure all of it on a FHIR server that holds nothing else."""
    async with Server.reached("hapi", base) as server:
        done = await sustained(await make_world(server, now=LEFT), folder)
    return [*await acknowledged(folder), *done, *await shared(folder)]


def main() -> None:
    """Print the lines of a table: ``PYTHONPATH=tests python -m bench.signals``."""
    with tempfile.TemporaryDirectory(prefix="aftercare-bench-") as folder:
        hapi = HapiServer(Path(folder) / "hapi.log")
        hapi.start()
        try:
            rows = asyncio.run(alone(Path(folder), hapi.base_url))
        finally:
            hapi.stop()
    print("\n".join(f"| {what} | {figure} | {aim} |" for what, figure, aim in rows))


if __name__ == "__main__":
    main()
