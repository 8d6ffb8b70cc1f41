"""``make bench``: what our work costs, as ratios within one run, on a real HAPI FHIR server.

Each figure of ours stands beside the same bytes sent by a bare client to the same server, taken in turn, so that the
machine's mood touches both. Writes tests/bench/RESULTS.md and prints it.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from bench import instant
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.fhir import exact_json
from fhir_aftercare.fhir.tasks import instant as text_of
from fhir_aftercare.flows.chart import read_chart
from fhir_aftercare.flows.discharge import DischargeRequest, decide, discharge, sections
from servers import HapiServer, Server, free_port
from world import make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from world import World

HERE = Path(__file__).resolve().parent
# An infusion of this very day: of one long ago the service would ask less than what the bare client sends.
LEFT = datetime.now(UTC).replace(second=0, microsecond=0)
END = LEFT - timedelta(minutes=90)
START = END - timedelta(minutes=40)
PAIRS = 40
AT_ONCE = 16
ROUNDS = 6
DISCHARGES = 2_000
FHIR = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json", "Cache-Control": "no-cache"}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    aim: str = ""


@dataclass
class Case:
    """One patient who leaves, and the two Bundles a bare client would send for it."""

    request: DischargeRequest
    batch: bytes = b""
    transaction: bytes = b""
    posts: Sequence[tuple[str, bytes]] = ()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- the two ways ----------------------------------------------------------------------------------------------------
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


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


async def in_turn(world: World, http: httpx.AsyncClient, service: str) -> list[Row]:
    ours, theirs = [], []
    for number in range(PAIRS + 5):
        one, other = await make_case(world), await with_bundles(world, await make_case(world))
        tasks = sum(type_ == "Task" for type_, _ in other.posts)
        ways = [
            (lambda case=one, tasks=tasks: through_us(http, service, case, tasks)),
            (lambda case=other: bare(http, world.server.base_url, case)),
        ]
        # Whoever comes second meets a server that still tidies up after the first: so they take turns at that, too.
        first = number % 2
        took = {first: await timed(ways[first])}
        took[1 - first] = await timed(ways[1 - first])
        a, b = took[0], took[1]
        if number >= 5:  # the first ones warm both ways up
            ours.append(a)
            theirs.append(b)
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    median = statistics.median(ratios)
    say(f"  {PAIRS} pairs")
    return [
        Row("a discharge through us, median", f"{statistics.median(ours):.1f} ms"),
        Row("the same batch and transaction from a bare client, median", f"{statistics.median(theirs):.1f} ms"),
        Row(
            "**ratio, median of pairs** (p25, p75)", f"**{median:.2f}** ({_q(ratios, 25)}, {_q(ratios, 75)})", "≤ 1.15"
        ),
    ]


def _q(values: Sequence[float], percent: int) -> str:
    return f"{values[len(values) * percent // 100]:.2f}"


async def one_post_each(world: World, http: httpx.AsyncClient, service: str) -> list[Row]:
    rows = []
    for latency in (0.0, 0.020):
        ours, theirs = [], []
        for _ in range(10):
            one, other = await make_case(world), await with_bundles(world, await make_case(world))

            async def posts(case: Case = other, wait: float = latency) -> None:
                # References between them are dropped: only the number of round trips matters here.
                for type_, _ in case.posts:
                    await asyncio.sleep(wait)
                    plain = {"resourceType": "Basic", "code": {"text": type_}}
                    (await http.post(f"{world.server.base_url}/Basic", json=plain, headers=FHIR)).raise_for_status()

            async def ours_(case: Case = one, wait: float = latency) -> None:
                await asyncio.sleep(2 * wait)  # two round trips
                await through_us(http, service, case)

            ours.append(await timed(ours_))
            theirs.append(await timed(posts))
        ratio = statistics.median(ours) / statistics.median(theirs)
        what = f"a discharge : one POST per resource ({len(other.posts)}), {latency * 1000:.0f} ms added latency"
        rows.append(Row(what, f"{ratio:.2f}"))
    return rows


async def at_once(world: World, http: httpx.AsyncClient, service: str) -> list[Row]:
    ours, theirs = [], []
    base = world.server.base_url
    for _ in range(ROUNDS):
        mine = [await make_case(world) for _ in range(AT_ONCE)]
        others = [await with_bundles(world, await make_case(world)) for _ in range(AT_ONCE)]
        ours.append(
            await timed(lambda cases=mine: asyncio.gather(*(through_us(http, service, each) for each in cases)))
        )
        theirs.append(await timed(lambda cases=others: asyncio.gather(*(bare(http, base, each) for each in cases))))
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    per_second = AT_ONCE / statistics.median(ours) * 1000
    return [
        Row(
            f"{AT_ONCE} discharges at once: throughput : the bare client's",
            f"{ratio:.2f} ({per_second:.0f}/s)",
            "≥ 0.9",
        )
    ]


# --- without a server that takes time --------------------------------------------------------------------------------
async def cpu(world: World) -> list[Row]:
    """CPU of the flow alone: reading, deciding, checking, writing JSON; the server's answers come from memory."""
    async with from_memory() as fhir:
        ours = replace(world.context, fhir=fhir)
        costs = []
        for number in range(260):
            request = DischargeRequest(f"Patient/p{number}", f"Encounter/e{number}", LEFT, start=START, end=END)
            began = time.process_time()
            await discharge(ours, request)
            costs.append((time.process_time() - began) * 1000)
    return [
        Row("CPU of one discharge with an instant server, median", f"{statistics.median(costs[60:]):.1f} ms", "≤ 8 ms")
    ]


def rss(pid: int) -> float:
    """Resident memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def instant_server() -> Iterator[str]:
    """Run ``bench.instant`` as a process of its own, and give its FHIR base."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.instant:app", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(HERE.parent)})
    try:
        yield f"http://127.0.0.1:{port}/fhir"
    finally:
        process.terminate()
        process.wait()


async def memory(folder: Path, organization: str) -> list[Row]:
    with instant_server() as base:
        async with httpx.AsyncClient(timeout=60) as http:
            await _answers(http, base)
            with service(folder / "memory", base, organization) as (url, pid):
                await _answers(http, f"{url}/readyz")
                at_rest, seen = rss(pid), []
                for number in range(DISCHARGES):
                    request = DischargeRequest(f"Patient/p{number}", f"Encounter/e{number}", LEFT)
                    await through_us(http, f"{url}/v1/clinics/bench", Case(request))
                    if number in {199, 999, DISCHARGES - 1}:
                        seen.append(rss(pid))
                        say(f"  {number + 1} discharges: {seen[-1]:.0f} MB")
    return [
        Row("memory at rest", f"{at_rest:.0f} MB", "≤ 150 MB"),
        Row(
            f"memory after 200, 1,000 and {DISCHARGES:,} discharges",
            ", ".join(f"{each:.0f}" for each in seen) + " MB",
            "≤ 150 MB, flat",
        ),
    ]


async def start_up(folder: Path, base: str, organization: str) -> list[Row]:
    times = []
    async with httpx.AsyncClient() as http:
        for number in range(5):
            began = time.perf_counter()
            with service(folder / f"start{number}", base, organization) as (url, _):
                await _answers(http, f"{url}/readyz", 0.01)
                times.append(time.perf_counter() - began)
    return [Row("start to ready, median of 5", f"{statistics.median(times):.2f} s", "≤ 2 s")]


async def _answers(http: httpx.AsyncClient, url: str, every: float = 0.05) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if (await http.get(url)).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(every)
    raise TimeoutError(url)


@contextmanager
def service(folder: Path, base: str, organization: str) -> Iterator[tuple[str, int]]:
    """Run ``fhir-aftercare serve`` as a process of its own, and give its address and process id."""
    clinics = folder / "clinics"
    clinics.mkdir(parents=True)
    (clinics / "bench.toml").write_text(
        f'name = "Bench"\nfhir_base_url = "{base}"\nidentifier_base = "https://bench-{time.time_ns()}.example.org"\n'
        f'zone = "America/New_York"\norganization = "{organization}"\nphone = "+1 555 0100"\n'
        "[call_hours]\n" + "".join(f'{day} = "09:00-18:00"\n' for day in ("mon", "tue", "wed", "thu", "fri"))
    )
    port = free_port()
    environment = {
        **os.environ,
        "AFTERCARE_CLINICS": str(clinics),
        "AFTERCARE_PORT": str(port),
        "AFTERCARE_METRICS_PORT": "0",
        "AFTERCARE_DATABASE_URL": f"sqlite:///{folder / 'own.db'}",
        "AFTERCARE_LOG_LEVEL": "warning",
    }
    process = subprocess.Popen([Path(sys.executable).parent / "fhir-aftercare", "serve"], env=environment)
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def reached(base: str) -> AsyncIterator[Server]:
    async with Server.reached("hapi", base) as server:
        yield server


async def measure(base: str, folder: Path) -> list[Row]:
    rows: list[Row] = []
    async with reached(base) as server, httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=64)) as http:
        world = await make_world(server, now=LEFT)
        with service(folder / "main", base, world.organization) as (url, _):
            await _answers(http, f"{url}/readyz")
            clinic = f"{url}/v1/clinics/bench"
            for what, part in (("in turn", in_turn), ("one POST each", one_post_each), ("at once", at_once)):
                say(what)
                rows += await part(world, http, clinic)
        say("CPU")
        rows += await cpu(world)
        say("start")
        rows += await start_up(folder, base, world.organization)
        say("memory")
        rows += await memory(folder, world.organization)
    return rows


def report(rows: Sequence[Row]) -> str:
    lines = [f"| {row.what} | {row.figure} | {row.aim} |" for row in rows]
    return (
        "# What our work costs\n\n"
        f"`make bench`, {datetime.now(UTC):%d-%b-%Y}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        "HAPI FHIR 8.8 (H2 in memory) on the same machine. Ratios are taken within one run, in turn; milliseconds only "
        "say how large a step is here.\n\n| | | aim |\n|---|---|---|\n" + "\n".join(lines) + "\n"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="aftercare-bench-") as folder:
        given = os.environ.get("FHIR_BASE_URL_HAPI")
        if given:
            rows = asyncio.run(measure(given, Path(folder)))
        else:
            hapi = HapiServer(Path(folder) / "hapi.log")
            hapi.start()
            try:
                rows = asyncio.run(measure(hapi.base_url, Path(folder)))
            finally:
                hapi.stop()
    text = report(rows)
    (HERE / "RESULTS.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
