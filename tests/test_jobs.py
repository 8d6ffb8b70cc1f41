"""The jobs of durable work, each done over a real FHIR store; how work is kept is tested with ``work``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.door_settings import DoorSettings
from fhir_aftercare.errors import NotFound
from fhir_aftercare.fhir import terms
from fhir_aftercare.flows.context import Clinics
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.flows.signal import DischargeSignal
from fhir_aftercare.jobs import ANSWERS, SIGNAL, SWEEP, TEND, DurableInbox, Jobs
from fhir_aftercare.observe.metrics import Metrics
from fhir_aftercare.store.database import Database
from fhir_aftercare.store.watermarks import Watermarks
from flows.cases import LEFT, of_patient, only, phq9, recording, visit, with_code
from world import START, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from servers import Server
    from world import World

CLINIC = "harbor"


class Kept:
    """Work that is kept in a list, and done when told."""

    def __init__(self) -> None:
        self.work: dict[str, tuple[str, str, Mapping[str, str]]] = {}
        self.delays: list[timedelta] = []

    async def submit(
        self, job: str, clinic: str, work_id: str, ids: Mapping[str, str], *, delay: timedelta | None = None
    ) -> bool:
        self.delays += [delay] if delay else []
        new = work_id not in self.work
        self.work.setdefault(work_id, (job, clinic, ids))
        return new

    def of(self, job: str) -> list[Mapping[str, str]]:
        return [ids for name, _, ids in self.work.values() if name == job]


class House:
    """A clinic's jobs on a server."""

    def __init__(self, world: World, watermarks: Watermarks) -> None:
        self.world, self.kept, self.metrics = world, Kept(), Metrics()
        clinics = Clinics({CLINIC: world.context})
        self.jobs = Jobs(clinics, {CLINIC: DoorSettings()}, watermarks, self.metrics)
        self.inbox = DurableInbox(self.kept)

    async def do(self, job: str, ids: Mapping[str, str] | None = None) -> str:
        return await self.jobs.all(self.kept)[job](CLINIC, ids or {})


@pytest.fixture
async def house(sandbox: Server, tmp_path: Path) -> AsyncIterator[House]:
    database = Database(f"sqlite:///{tmp_path / 'aftercare.db'}")
    await database.upgrade()
    yield House(await make_world(sandbox), Watermarks(database))
    await database.close()


async def finished(world: World) -> tuple[str, str]:
    patient, encounter = await visit(world)
    await record_infusion(world.context, recording(world, patient, encounter))
    client = world.server.client()
    there = await client.read(*encounter.split("/"))
    ended = {**there, "status": "finished", "period": {"start": START.isoformat(), "end": LEFT.isoformat()}}
    await client.update(ended, if_match=there["meta"]["versionId"])
    return patient, encounter


async def plans(world: World, patient: str) -> list[dict[str, Any]]:
    category = f"{terms.INFUSION_PLAN.system}|{terms.INFUSION_PLAN.code}"
    return await of_patient(world, "CarePlan", patient, category=category)


async def test_a_signal_is_kept_as_ids_and_done_as_often_as_it_is_repeated(house: House) -> None:
    patient, encounter = await finished(house.world)
    signal = DischargeSignal(CLINIC, "rest", "adt-1", encounter, patient, occurred_at=LEFT)
    assert await house.inbox.take(signal)
    assert not await house.inbox.take(signal)
    (ids,) = house.kept.of(SIGNAL)
    assert await house.do(SIGNAL, ids) == "plan"
    assert await house.do(SIGNAL, ids) == "unchanged"
    assert only(await plans(house.world, patient))["status"] == "active"
    assert 'aftercare_plans_total{outcome="activated"} 1.0' in house.metrics.text()


async def test_work_for_a_clinic_that_does_not_run_says_so(house: House) -> None:
    with pytest.raises(NotFound):
        await house.jobs.signal("elsewhere", {"source": "rest", "event": "1", "encounter": "Encounter/1"})


async def test_what_no_signal_told_a_sweep_finds_and_tends(house: House) -> None:
    patient, encounter = await finished(house.world)
    assert await house.do(SWEEP) == "swept"
    found = [ids for ids in house.kept.of(SIGNAL) if ids.get("encounter") == encounter]
    assert found
    for ids in found:
        await house.do(SIGNAL, ids)
    assert only(await plans(house.world, patient))["status"] == "active"
    await house.do(SWEEP)
    assert {"patient": patient} in house.kept.of(TEND)
    assert await house.do(TEND, {"patient": patient}) == "unchanged"


async def test_a_visit_that_was_reopened_is_found_by_tending_alone(house: House) -> None:
    world = house.world
    patient, encounter = await finished(world)
    await house.do(SIGNAL, DischargeSignal(CLINIC, "rest", "1", encounter).as_ids())
    client = world.server.client()
    there = await client.read(*encounter.split("/"))
    await client.update({**there, "status": "in-progress"}, if_match=there["meta"]["versionId"])
    assert await house.do(TEND, {"patient": patient}) == "changed"
    assert only(await plans(world, patient))["status"] == "on-hold"
    assert only(with_code(await of_patient(world, "Task", patient), terms.CONFIRM_DISCHARGE))["status"] == "requested"


async def test_answers_that_the_ehr_wrote_are_found_and_scored(house: House) -> None:
    world = house.world
    patient, encounter = await finished(world)
    await house.do(SIGNAL, DischargeSignal(CLINIC, "rest", "1", encounter).as_ids())
    world.clock.move_to(LEFT + timedelta(days=1))
    answers = phq9(LEFT + timedelta(hours=20), [3, 3, 2, 2, 1, 1, 1, 1, 2], subject={"reference": patient})
    stored = await world.server.client().create(answers)
    await house.do(SWEEP)
    ids = {"response": f"QuestionnaireResponse/{stored['id']}"}
    assert ids in house.kept.of(ANSWERS)
    assert await house.do(ANSWERS, ids) == "changed"
    assert await house.do(ANSWERS, ids) == "unchanged"
    assert 'aftercare_answers_total{instrument="phq-9",outcome="scored"} 1.0' in house.metrics.text()
    assert 'aftercare_escalations_total{level="stat"} 1.0' in house.metrics.text()


async def test_many_notifications_without_a_name_are_one_sweep_that_begins_later(house: House) -> None:
    told = [await house.inbox.look(CLINIC) for _ in range(20)]
    assert told[0]
    assert sum(told) <= 2  # the time may pass from one slot to the next meanwhile
    assert min(house.kept.delays) >= timedelta(seconds=5)


async def test_a_scheduled_sweep_is_one_for_all_processes_and_one_on_starting_is_always_new(house: House) -> None:
    every = timedelta(days=1)
    assert await house.inbox.sweep(CLINIC, every)
    assert not await house.inbox.sweep(CLINIC, every)
    assert await house.inbox.sweep(CLINIC)
    assert await house.inbox.sweep(CLINIC)
