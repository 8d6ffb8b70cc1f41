"""``make chaos``: exactly one right plan for each discharge, whatever dies meanwhile.

    make chaos ARGS="--report tests/chaos/REPORT.md"                         everything, as the last report says
    make chaos ARGS="--database postgresql --encounters 20 --kills 3"        one small run

Each encounter is told of three times, by roads taken at random, in random order, with duplicates and delays. Two
service processes share a PostgreSQL; services and the FHIR server are killed (SIGKILL) and started again, and the
services' clocks jump. At the end everything on the FHIR server is looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from chaos.catch_up import CaughtUp, catch_up
from chaos.clinic import clinic_file
from chaos.hospital import Verdict, admit, judge
from chaos.roads import CLINIC, ROADS, SECRET, Sender
from chaos.stage import DurableHapi, ServiceProcess
from fhir_aftercare.ehr.client import FhirClient
from postgres import running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chaos.hospital import Visit

TELLINGS: Final = 3
AT_ONCE: Final = 12
# The judge reads everything at once, from a server that has just been through all this.
PATIENT: Final = 300.0
DRAIN_SECONDS: Final = 1_800.0
_JUMPS: Final = (-3_600, -60, 0, 90, 7_200)


@dataclass
class Outcome:
    """What happened, for the report."""

    encounters: int
    database: str
    kills: dict[str, int] = field(default_factory=dict)
    jumps: int = 0
    tries: int = 0
    acknowledged: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    verdict: Verdict | None = None
    unfinished: int = 0

    @property
    def right(self) -> bool:
        """Whether exactly the plans that must be there are, each whole, and no work is left."""
        return self.verdict is not None and not self.verdict.faults and not self.unfinished


@dataclass
class Stage:
    """Everything that runs."""

    hapi: DurableHapi
    services: list[ServiceProcess]
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def kill(self, what: str) -> None:
        """Kill one, wait a moment, start it again and wait until it is ready."""
        victim = self.hapi if what == "hapi" else random.choice(self.services)  # noqa: S311
        await asyncio.to_thread(victim.kill)
        await asyncio.sleep(random.uniform(0.2, 3))  # noqa: S311
        if isinstance(victim, ServiceProcess):
            await asyncio.to_thread(victim.start)
            await asyncio.to_thread(victim.wait)
        else:
            await asyncio.to_thread(victim.start_again)


@contextmanager
def stage(folder: Path, database: str) -> Iterator[Stage]:
    """Start PostgreSQL and HAPI (on ``postgresql`` or ``h2``); the services are started once the clinic is known."""
    with running_postgres() as url:
        for name in ("hapi", "aftercare"):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}_chaos"')
        at = url.rpartition("/")[0].rpartition("@")[2]
        settings = {
            "postgresql": {"HAPI_DB_URL": f"jdbc:postgresql://{at}/hapi_chaos", "HAPI_DB_USER": "postgres"}
            | {"HAPI_DB_DIALECT": "Postgres"},
            "h2": {"HAPI_DB_URL": f"jdbc:h2:file:{folder / 'h2'};WRITE_DELAY=0"},
        }[database]
        hapi = DurableHapi(folder / "hapi.log", settings)
        hapi.start()
        environment = {
            "AFTERCARE_CLINICS": str(folder / "clinics"),
            "AFTERCARE_DATABASE_URL": f"{url.rpartition('/')[0]}/aftercare_chaos",
            f"AFTERCARE_SUBSCRIPTION_SECRET_{CLINIC.upper()}": SECRET,
        }
        services = [ServiceProcess(number, folder / f"service-{number}.log", environment) for number in (1, 2)]
        try:
            yield Stage(hapi, services)
        finally:
            for service in services:
                service.stop()
            hapi.stop()


@dataclass
class Play:
    """One run on a stage: everything that is needed to tell, to kill and to wait."""

    running: Stage
    http: httpx.AsyncClient
    fhir: FhirClient
    bars: Progress
    outcome: Outcome

    async def run(self, folder: Path, kills: int) -> None:
        """Admit, tell while things die, wait until all is worked off, and judge."""
        organization = await self.fhir.create({"resourceType": "Organization", "name": "Harbor Clinic"})
        reference = f"Organization/{organization['id']}"
        clinic_file(folder / "clinics", CLINIC, self.running.hapi.base_url, reference)
        count = self.outcome.encounters
        bar = self.bars.add_task("admitted", total=count)
        visits = await admit(self.fhir, reference, count, lambda done: self.bars.update(bar, completed=done))
        for service in self.running.services:
            service.start()
        for service in self.running.services:
            await asyncio.to_thread(service.wait)
        began = time.monotonic()
        await self._storm(visits, kills)
        self.outcome.unfinished = await self._drained()
        self.outcome.seconds = time.monotonic() - began
        self.outcome.verdict = await judge(self.fhir, visits)

    async def _storm(self, visits: Sequence[Visit], kills: int) -> None:
        sender = Sender(self.running.services, self.http)
        tellings = [(road, visit) for visit in visits for road in random.choices(list(ROADS), k=TELLINGS)]  # noqa: S311
        random.shuffle(tellings)
        bar = self.bars.add_task("told", total=len(tellings))
        places = asyncio.Semaphore(AT_ONCE)
        # Kills are spread over the telling: each has its share of the signals before it.
        due = {round(len(tellings) * (number + 0.5) / kills): number for number in range(kills)}
        deaths: list[asyncio.Task[None]] = []

        async def tell(road: str, visit: Visit) -> None:
            async with places:
                if random.random() < 0.1:  # noqa: S311
                    await asyncio.sleep(random.uniform(0, 2))  # noqa: S311
                await sender.deliver(road, visit)
            self.bars.advance(bar)
            number = due.pop(sum(sender.acknowledged.values()), None)
            if number is not None:
                deaths.append(asyncio.create_task(self._death(number)))

        await asyncio.gather(*(tell(road, visit) for road, visit in tellings))
        await asyncio.gather(*deaths)
        for service in self.running.services:
            service.jump(0)
        self.outcome.tries, self.outcome.acknowledged = sender.tries, sender.acknowledged

    async def _death(self, number: int) -> None:
        what = "hapi" if number % 3 == 2 else "service"
        async with self.running.one_at_a_time:
            await self.running.kill(what)
        self.outcome.kills[what] = self.outcome.kills.get(what, 0) + 1
        random.choice(self.running.services).jump(random.choice(_JUMPS))  # noqa: S311
        self.outcome.jumps += 1

    async def _drained(self) -> int:
        """Wait until no work waits or runs, and give how much of it is left or was given up."""
        bar = self.bars.add_task("worked off", total=self.outcome.encounters)
        deadline = time.monotonic() + DRAIN_SECONDS
        url = f"{self.running.services[0].url}/v1/clinics/{CLINIC}/work"
        while True:
            counts = (await self.http.get(url)).json()
            plans = await self.fhir.search_bundle("CarePlan", {"_summary": "count", "status": "active"})
            self.bars.update(bar, completed=min(self.outcome.encounters, int(plans.get("total", 0)) // 2))
            left = int(counts["waiting"]) + int(counts["running"])
            if not left:
                return int(counts["refused"])
            if time.monotonic() > deadline:
                return left
            await asyncio.sleep(1)


async def play(folder: Path, database: str, encounters: int, kills: int, console: Console) -> Outcome:
    """Run the whole thing, and give how it ended."""
    outcome = Outcome(encounters, database)
    with stage(folder, database) as running, _bars(console) as bars:
        async with httpx.AsyncClient(timeout=60) as http:
            fhir = FhirClient(running.hapi.base_url, http, timeout=httpx.Timeout(PATIENT))
            await Play(running, http, fhir, bars, outcome).run(folder, kills)
    return outcome


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        yield bars


def table(outcome: Outcome) -> str:
    """Give how a run ended, as Markdown."""
    verdict = outcome.verdict
    assert verdict is not None
    told = sum(outcome.acknowledged.values())
    kills = ", ".join(f"{count} of {what}" for what, count in sorted(outcome.kills.items())) or "none"
    roads = ", ".join(f"{road} {count:,}" for road, count in sorted(outcome.acknowledged.items()))
    lines = [
        f"HAPI FHIR 8.8 on {outcome.database}, two service processes on one PostgreSQL.",
        "",
        "| | |",
        "|---|---|",
        f"| encounters | {outcome.encounters:,} |",
        f"| signals acknowledged | {told:,} ({roads}) |",
        f"| tries it took to deliver them | {outcome.tries:,} |",
        f"| processes killed with SIGKILL | {kills} |",
        f"| clock jumps of −1 h to +2 h | {outcome.jumps} |",
        f"| from the first signal to the last plan | {outcome.seconds:,.0f} s |",
        f"| work left or given up | {outcome.unfinished} |",
        f"| plans of an infusion at the end | {verdict.plans:,} |",
        f"| Tasks at the end | {verdict.tasks:,} |",
        f"| plans missing, doubled, incomplete; resources twice or without a plan | {len(verdict.faults)} |",
        "",
    ]
    return "\n".join([*lines, *(f"- {fault}" for fault in verdict.faults[:50]), ""]).rstrip() + "\n"


def caught_up_table(done: CaughtUp) -> str:
    """Give how a catch-up ended, as Markdown."""
    return (
        "| | |\n|---|---|\n"
        f"| visits that ended while nobody listened | {done.encounters:,} |\n"
        f"| plans after one sweep, missing, twice | {done.plans:,}, {done.encounters - done.plans}, {done.twice} |\n"
        f"| work given up | {done.refused} |\n"
        f"| time, and the most memory | {done.seconds:,.0f} s ({done.encounters / done.seconds:.0f}/s), "
        f"{done.megabytes:.0f} MB |\n"
    )


def head() -> str:
    """Give the head of a report."""
    command = f'make chaos ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else "make chaos"
    return (
        "# Nothing is lost, and nothing is there twice\n\n"
        f"`{command}`, {datetime.now(UTC):%d-%b-%Y}, {os.cpu_count()} cores, Python {platform.python_version()}. Each "
        "encounter is told of three times, by roads taken at random, in random order, with delays.\n\n"
    )


def whole(given: argparse.Namespace, console: Console) -> tuple[str, bool]:
    """Run everything: both databases, the catch-up, the sweep of many; give the report and whether all was right."""
    parts, right = [head()], True
    for database in ("postgresql", "h2"):
        outcome = in_a_folder(database, given.encounters, given.kills, console)
        parts += [f"## Signals, kills and clock jumps ({database})\n\n", table(outcome), "\n"]
        right = right and outcome.right
    with tempfile.TemporaryDirectory(prefix="aftercare-chaos-") as folder, _bars(console) as bars:
        bar = bars.add_task("caught up", total=given.catch_up)
        done = asyncio.run(catch_up(Path(folder), given.catch_up, lambda plans: bars.update(bar, completed=plans)))
    parts += ["## After an outage, with a FHIR server that answers at once\n\n", caught_up_table(done), "\n"]
    swept = subprocess.run(
        [sys.executable, "-m", "bench.sweep", str(given.swept)], capture_output=True, text=True, check=False
    )
    parts += ["## A sweep's memory\n\n", "```\n", swept.stdout, "```\n"]
    return "".join(parts), right and done.right and not swept.returncode


def in_a_folder(database: str, encounters: int, kills: int, console: Console) -> Outcome:
    """Run one play in a folder of its own; the ends of the logs are shown if it was not right."""
    with tempfile.TemporaryDirectory(prefix="aftercare-chaos-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        outcome = asyncio.run(play(place, database, encounters, kills, console))
        if not outcome.right:
            for log in sorted(place.glob("*.log")):
                console.print(f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-15:], sep="\n")
    return outcome


def main() -> None:
    """Run it from the command line. Exit code 1 if the end is not right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encounters", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--database", choices=("postgresql", "h2"), default=None, help="one run on this; else all")
    parser.add_argument("--catch-up", type=int, default=10_000)
    parser.add_argument("--swept", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--report", type=Path, default=None)
    given = parser.parse_args()
    random.seed(given.seed)
    console = Console(stderr=True)
    if given.database is None:
        text, right = whole(given, console)
    else:
        outcome = in_a_folder(given.database, given.encounters, given.kills, console)
        text, right = head() + table(outcome), outcome.right
    print(text)
    if given.report:
        given.report.write_text(text)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
