"""Sweeps over real servers: every finished encounter and every record of the drug that came later, once."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import DischargeRequest, discharge
from fhir_aftercare.flows.sweep import SweepSettings, Watermark, sweep
from fhir_aftercare.flows.sweep_listing import time_of
from flows.cases import LEFT
from flows.course_cases import infusion
from world import END, START

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.flows.signal import DischargeSignal
    from world import World

Resource = dict[str, Any]

PAGES_OF_20 = SweepSettings(page=20, overlap=timedelta(seconds=1))


class Inbox:
    """Remembers signals by the name of their work; of other tests' patients on the same server it does not tell."""

    def __init__(self) -> None:
        self.work: dict[str, DischargeSignal] = {}
        self.asked: list[DischargeSignal] = []

    async def take(self, signal: DischargeSignal) -> bool:
        self.asked.append(signal)
        new = signal.work_id not in self.work
        self.work.setdefault(signal.work_id, signal)
        return new

    def of(self, patients: Sequence[str]) -> list[DischargeSignal]:
        return [each for each in self.work.values() if each.patient in patients]

    def times_asked(self, patients: Sequence[str]) -> int:
        return sum(each.patient in patients for each in self.asked)


async def now_there(world: World) -> Watermark:
    """Give a watermark of this moment, by the server's clock."""
    at = time_of(await world.server.client().search_bundle("Encounter", {"_id": "none"}))
    return Watermark(at or datetime.now(UTC))


async def leave(world: World, patient: str, count: int, **more: Any) -> list[str]:
    """Create finished encounters of one patient in one transaction, as an EHR that was down for long would."""
    entries = []
    for _ in range(count):
        resource = {
            "resourceType": "Encounter",
            "identifier": [{"system": "urn:test:sweep", "value": str(uuid.uuid4())}],
            "status": "finished",
            "class": terms.AMBULATORY.coding(),
            "subject": {"reference": patient},
            "period": {"start": tasks.instant(START), "end": tasks.instant(END)},
            **more,
        }
        query = f"identifier=urn:test:sweep|{resource['identifier'][0]['value']}"
        entries.append({"resource": resource, "request": {"method": "POST", "url": "Encounter", "ifNoneExist": query}})
    answer = await world.server.client().transaction({"entry": entries})
    return [each.location.reference for each in answer if each.location]


async def drug_record(world: World, patient: str, encounter: str | None, **more: Any) -> Resource:
    return await world.server.client().create(
        {
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationCodeableConcept": terms.KETAMINE_RXNORM.concept(),
            "subject": {"reference": patient},
            "effectivePeriod": {"start": tasks.instant(START), "end": tasks.instant(END)},
            **({"context": {"reference": encounter}} if encounter else {}),
            **more,
        }
    )


async def test_300_encounters_by_twenties_are_300_signals_and_then_known(world: World) -> None:
    mark, inbox = await now_there(world), Inbox()
    patient = await world.patient()
    encounters = [each for _ in range(6) for each in await leave(world, patient, 50)]
    first = await sweep(world.context, mark, inbox.take, settings=PAGES_OF_20)
    found = inbox.of([patient])
    assert sorted(str(each.encounter) for each in found) == sorted(encounters)
    assert inbox.times_asked([patient]) == 300
    assert {each.kind for each in found} == {"finished"}
    assert first.new >= 300
    assert first.watermark.at > mark.at
    assert (first.by["Encounter"], first.population, first.looked_again) == ("changed", True, False)
    again = await sweep(world.context, mark, inbox.take, settings=PAGES_OF_20)
    assert again.seen >= 300
    assert len(inbox.of([patient])) == 300
    assert {call.kind for call in world.calls} <= {"search", "page"}


async def test_the_next_sweep_finds_what_changed_since_and_nothing_else(world: World) -> None:
    mark, inbox = await now_there(world), Inbox()
    patient = await world.patient()
    (encounter,) = await leave(world, patient, 1)
    first = await sweep(world.context, mark, inbox.take, settings=PAGES_OF_20)
    assert [each.encounter for each in inbox.of([patient])] == [encounter]
    client = world.server.client()
    resource = await client.read(*encounter.split("/"))
    await client.update({**resource, "status": "cancelled"}, if_match=resource["meta"]["versionId"])
    (later,) = await leave(world, patient, 1)
    await sweep(world.context, first.watermark, inbox.take, settings=PAGES_OF_20)
    signals = inbox.of([patient])[1:]
    assert sorted((str(each.encounter), each.kind) for each in signals) == sorted(
        [(encounter, "cancelled"), (later, "finished")]
    )


async def test_a_record_of_the_drug_that_comes_later_brings_its_encounter_back(world: World) -> None:
    """Until then the discharge was that of no infusion (design §9.1)."""
    inbox, patient = Inbox(), await world.patient()
    (encounter,) = await leave(world, patient, 1)
    mark = (await sweep(world.context, None, Inbox().take, settings=PAGES_OF_20)).watermark
    await drug_record(world, patient, encounter)
    other = {"coding": [{"system": terms.RXNORM, "code": "161"}]}
    await drug_record(world, patient, encounter, medicationCodeableConcept=other)
    await sweep(world.context, replace(mark, at=mark.at + timedelta(seconds=1)), inbox.take, settings=PAGES_OF_20)
    found = [each for each in inbox.of([patient]) if each.kind == "changed"]
    assert [each.encounter for each in found] == [encounter]


async def test_a_record_without_an_encounter_is_a_signal_of_its_patient(world: World) -> None:
    mark, inbox, patient = await now_there(world), Inbox(), await world.patient()
    await drug_record(world, patient, None)
    await sweep(world.context, mark, inbox.take, settings=PAGES_OF_20)
    assert [(each.encounter, each.kind) for each in inbox.of([patient])] == [(None, "changed")]


async def test_an_encounter_that_goes_on_is_no_signal(world: World) -> None:
    mark, inbox, patient = await now_there(world), Inbox(), await world.patient()
    await world.encounter(patient)
    await sweep(world.context, mark, inbox.take, settings=PAGES_OF_20)
    assert inbox.of([patient]) == []


async def test_known_patients_are_those_with_a_plan_and_those_given(world: World) -> None:
    mark, inbox = await now_there(world), Inbox()
    with_plan, given, other = [await world.patient() for _ in range(3)]
    await infusion(world, with_plan)
    for patient in (with_plan, given, other):
        await leave(world, patient, 1)
    settings = replace(PAGES_OF_20, population=False)
    found = await sweep(world.context, mark, inbox.take, patients=[given], settings=settings)
    assert not found.population
    assert {each.patient for each in inbox.of([with_plan, given, other])} == {with_plan, given}
    assert await sweep(world.context, mark, inbox.take, patients=[given], settings=settings)
    assert inbox.times_asked([given]) == 2


async def test_a_restored_server_is_looked_at_again(world: World) -> None:
    """The encounter that bears witness is not there any more."""
    mark, inbox, patient = await now_there(world), Inbox(), await world.patient()
    (encounter,) = await leave(world, patient, 1)
    first = await sweep(world.context, mark, inbox.take, settings=PAGES_OF_20)
    assert first.watermark.witness is not None
    lost = replace(first.watermark, witness=f"Encounter/{uuid.uuid4()}")
    settings = replace(PAGES_OF_20, max_lookback=timedelta(minutes=1))
    again = await sweep(world.context, lost, inbox.take, settings=settings)
    assert again.looked_again
    assert [each.encounter for each in inbox.of([patient])] == [encounter, encounter]
    calm = await sweep(world.context, again.watermark, inbox.take, settings=settings)
    assert not calm.looked_again
    assert len(inbox.of([patient])) == 2


async def test_a_witness_that_is_there_is_known(world: World) -> None:
    mark, patient = await now_there(world), await world.patient()
    await leave(world, patient, 1)
    first = await sweep(world.context, mark, Inbox().take, settings=PAGES_OF_20)
    again = await sweep(world.context, first.watermark, Inbox().take, settings=PAGES_OF_20)
    assert not again.looked_again


async def test_a_sweep_writes_nothing_to_the_fhir_server(small_world: World) -> None:
    world = small_world
    await leave(world, await world.patient(), 1)
    await sweep(world.context, None, Inbox().take, settings=PAGES_OF_20)
    assert {call.method for call in world.calls} == {"GET"}


async def test_an_encounter_whose_plan_is_there_is_written_no_second_time(world: World) -> None:
    mark, patient = await now_there(world), await world.patient()
    (encounter,) = await leave(world, patient, 1)
    await drug_record(world, patient, encounter)
    world.clock.move_to(LEFT)
    changed: list[bool] = []

    async def follow(signal: DischargeSignal) -> bool:
        """Follow a signal at once, as the work it becomes would."""
        if signal.encounter == encounter:
            done = await discharge(world.context, DischargeRequest(patient, encounter, signal.occurred_at or LEFT))
            changed.append(done.changed)
        return True

    first = await sweep(world.context, mark, follow, settings=PAGES_OF_20)
    again = replace(first.watermark, at=mark.at)
    await sweep(world.context, again, follow, settings=PAGES_OF_20)
    assert changed == [True, False, False, False]
    plans = await world.server.client().search_all("CarePlan", {"encounter": encounter})
    assert len(plans.matches) == 1
