"""``make bench``: what our work costs, as ratios within one run, on a real HAPI FHIR server.

Each figure of ours stands beside the same bytes sent by a bare client to the same server, taken in turn, so that the
machine's mood touches both. Writes tests/bench/RESULTS.md and prints it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import structlog

from bench import auth, launch, pages, signals
from bench.processes import HERE, answers, command, instant_server, rss, service
from bench.ways import END, FHIR, LEFT, START, Case, bare, from_memory, make_case, through_us, timed, with_bundles
from fhir_aftercare.flows.chart import read_chart
from fhir_aftercare.flows.discharge import DischargeRequest, decide, discharge, sections
from servers import HapiServer, Server
from world import make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from world import World

PAIRS = 40
AT_ONCE = 16
ROUNDS = 6
DISCHARGES = 2_000


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    aim: str = ""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- the two ways ----------------------------------------------------------------------------------------------------


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


async def protocol(world: World) -> list[Row]:
    """What the protocol costs: a decision without checks and JSON, and the commands as a user runs them."""
    costs = []
    async with from_memory() as fhir:
        for number in range(120):
            request = DischargeRequest(f"Patient/p{number}", f"Encounter/e{number}", LEFT, start=START, end=END)
            chart = await read_chart(fhir, sections(world.context, request))
            began = time.process_time()
            decide(world.context, request, chart)
            costs.append((time.process_time() - began) * 1000)
    lint = command("protocol", "lint", str(HERE.parents[1] / "profiles"))
    when = ("--date", "2026-03-07T15:45", "--zone", "America/New_York", "--infusions", "6", "--every", "3d")
    simulate = command("protocol", "simulate", *when, "--json")
    return [
        Row(
            "CPU of applying the protocol and the difference, median",
            f"{statistics.median(costs[20:]):.1f} ms",
            "≤ 5 ms",
        ),
        Row("`protocol lint profiles`, the whole command, median of 5", f"{lint:.2f} s", "≤ 2 s"),
        Row("`protocol simulate` of six infusions, the whole command, median of 5", f"{simulate:.2f} s", "≤ 1 s"),
    ]


async def memory(folder: Path, organization: str, *, work: bool) -> list[Row]:
    with instant_server() as base:
        async with httpx.AsyncClient(timeout=60) as http:
            await answers(http, base)
            with service(folder / f"memory-{work}", base, organization, work=work) as (url, pid):
                await answers(http, f"{url}/readyz")
                at_rest, seen = rss(pid), []
                for number in range(DISCHARGES):
                    request = DischargeRequest(f"Patient/p{number}", f"Encounter/e{number}", LEFT)
                    await through_us(http, f"{url}/v1/clinics/bench", Case(request))
                    if number in {199, 999, DISCHARGES - 1}:
                        seen.append(rss(pid))
                        say(f"  {number + 1} discharges: {seen[-1]:.0f} MB")
    which = "with durable work and sweeps" if work else "answering calls only"
    return [
        Row(f"memory at rest, {which}", f"{at_rest:.0f} MB", "≤ 150 MB"),
        Row(
            f"memory after 200, 1,000 and {DISCHARGES:,} discharges, {which}",
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
                await answers(http, f"{url}/readyz", 0.01)
                times.append(time.perf_counter() - began)
    return [Row("start to ready, median of 5", f"{statistics.median(times):.2f} s", "≤ 2 s")]


@asynccontextmanager
async def reached(base: str) -> AsyncIterator[Server]:
    async with Server.reached("hapi", base) as server:
        yield server


async def measure(base: str, folder: Path) -> list[Row]:
    rows: list[Row] = []
    async with reached(base) as server, httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=64)) as http:
        world = await make_world(server, now=LEFT)
        with service(folder / "main", base, world.organization) as (url, _):
            await answers(http, f"{url}/readyz")
            clinic = f"{url}/v1/clinics/bench"
            for what, part in (("in turn", in_turn), ("one POST each", one_post_each), ("at once", at_once)):
                say(what)
                rows += await part(world, http, clinic)
        say("signals: sustained")
        rows += [Row(*each) for each in await signals.sustained(world, folder)]
        say("pages")
        rows += [Row(*each) for each in await pages.rows(server, folder)]
        say("CPU")
        rows += await cpu(world)
        say("protocol")
        rows += await protocol(world)
        say("start")
        rows += await start_up(folder, base, world.organization)
        say("memory")
        for work in (False, True):
            rows += await memory(folder, world.organization, work=work)
    say("signals: acknowledged")
    rows += [Row(*each) for each in await signals.acknowledged(folder)]
    say("signals: two processes")
    rows += [Row(*each) for each in await signals.shared(folder)]
    say("tokens")
    rows += [Row(*each) for each in await auth.rows()]
    say("launch")
    rows += [Row(*each) for each in await launch.rows()]
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
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
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
