"""After an outage: ten thousand visits ended and nobody told. One sweep finds them, and each gets exactly one plan.

The FHIR server is arithmetic and answers at once (``flows.sweep_server`` for searches, ``bench.instant`` for Bundles);
the engine is the real one, on SQLite.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import orjson

from facts import CLINIC, IDENTIFIERS, PROTOCOL
from fhir_aftercare.door_settings import DoorSettings
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.flows.context import ClinicContext, Clinics
from fhir_aftercare.flows.sweep_since import SweepSettings
from fhir_aftercare.jobs import DurableInbox, Jobs, Later
from fhir_aftercare.observe.metrics import Metrics
from fhir_aftercare.store.database import Database
from fhir_aftercare.store.watermarks import Watermarks
from fhir_aftercare.work.engine import Engine, Limits, Pace
from flows.sweep_server import BASE, Many

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AT_ONCE = 32
_LOOK = 0.5


@dataclass
class Hospital:
    """Everybody's visit has ended. ``plans`` counts the infusion plans written, by encounter."""

    many: Many
    plans: Counter[str] = field(default_factory=Counter)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a search, or a Bundle."""
        if request.method == "GET":
            return self.many.answer(request)
        from bench import instant  # noqa: PLC0415  (it reads the environment)

        for entry in orjson.loads(request.content)["entry"]:
            written = entry.get("resource") or {}
            if written.get("resourceType") == "CarePlan" and "encounter" in written:
                self.plans[written["encounter"]["reference"]] += 1
        return httpx.Response(200, content=instant.answer(request.content))


@dataclass(frozen=True)
class CaughtUp:
    """How it ended: ``right`` if every visit has one plan and no work is left."""

    encounters: int
    seconds: float
    plans: int
    twice: int
    refused: int
    megabytes: float

    @property
    def right(self) -> bool:
        """Whether exactly the plans that must be there are."""
        return self.plans == self.encounters and not self.twice and not self.refused


async def catch_up(folder: Path, encounters: int, told: Callable[[int], None]) -> CaughtUp:
    """Sweep and work it all off; ``told`` is given how many plans there are."""
    os.environ["INSTANT_FINISHED"] = "1"
    from bench import instant  # noqa: PLC0415

    first = instant.ENDED - timedelta(seconds=encounters)
    hospital = Hospital(Many(encounters, instant.ENDED, first=first, keep_asked=False))
    url = f"sqlite:///{folder / 'catch-up.db'}"
    database = Database(url)
    await database.upgrade()
    async with httpx.AsyncClient(transport=httpx.MockTransport(hospital.answer)) as http:
        context = ClinicContext(
            CLINIC, FhirClient(BASE, http), PROTOCOL, IDENTIFIERS, SettableClock(instant.ENDED + timedelta(minutes=5))
        )
        sweep = SweepSettings(max_lookback=timedelta(days=7))
        doors = {CLINIC.id: DoorSettings(sweep=sweep)}
        taker = Later()
        jobs = Jobs(Clinics({CLINIC.id: context}), doors, Watermarks(database), Metrics()).all(taker)
        pace, began = Pace(poll=timedelta(milliseconds=50)), time.monotonic()
        async with Engine.running(url, jobs, {CLINIC.id: Limits(AT_ONCE)}, pace=pace) as engine:
            taker.engine = engine
            await DurableInbox(engine).sweep(CLINIC.id)
            counts = await engine.counts()
            while counts["waiting"] or counts["running"]:
                told(len(hospital.plans))
                await asyncio.sleep(_LOOK)
                counts = await engine.counts()
            seconds = time.monotonic() - began
    await database.close()
    told(len(hospital.plans))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    twice = sum(count > 1 for count in hospital.plans.values())
    return CaughtUp(encounters, seconds, len(hospital.plans), twice, counts["refused"], peak)
