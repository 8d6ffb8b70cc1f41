"""A plan is reviewed on the chart it would be signed on, and one that made itself is signed later, once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.care.plan import CallWish
from fhir_aftercare.errors import IllegalMove, InvalidInput, NotFound, WrongSubject
from fhir_aftercare.fhir.provenance import SIGNATURE
from fhir_aftercare.flows.countersign import countersign, signatures
from fhir_aftercare.flows.discharge import discharge, preview_discharge
from fhir_aftercare.flows.open_visit import Stage, find_encounter, open_visit
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.flows.review_plan import review_plan
from flows.cases import leaving, of_patient, record, recording, visit
from world import END, START

if TYPE_CHECKING:
    from world import World


async def recorded(world: World, **more: object) -> tuple[str, str]:
    patient, encounter = await visit(world)
    await record_infusion(world.context, recording(world, patient, encounter, record=record(**more)))
    world.round_trips()
    return patient, encounter


async def test_the_review_is_what_signing_sends_and_writes_nothing(world: World) -> None:
    patient, encounter = await recorded(world)
    request = leaving(world, patient, encounter, mode="ask")
    found = await review_plan(world.context, request)
    assert world.round_trips() == ["batch"]
    assert found.decision is not None
    assert found.visit.stage is Stage.ENDED
    said = await preview_discharge(world.context, request)
    reviewed = found.decision.transaction.bundle()
    kinds = [[each["resource"]["resourceType"] for each in bundle["entry"]] for bundle in (reviewed, said)]
    assert kinds[0] == kinds[1]
    assert [each["status"] for each in await of_patient(world, "CarePlan", patient)] == ["draft"]


async def test_a_review_tells_when_the_protocol_lets_the_call_be_made(world: World) -> None:
    patient, encounter = await recorded(world)
    tomorrow = END + timedelta(days=1)
    wish = CallWish(tomorrow.replace(hour=15, minute=0), tomorrow.replace(hour=17, minute=0))
    found = await review_plan(world.context, leaving(world, patient, encounter, call=wish))
    assert found.call is not None
    assert [each.hour for each in found.call] == [9, 18]
    bad = await review_plan(world.context, leaving(world, patient, encounter, call=CallWish(due=END)))
    assert isinstance(bad.fault, InvalidInput)


async def test_a_visit_shows_where_it_stands(world: World) -> None:
    patient, encounter = await visit(world)
    assert (await open_visit(world.context, patient, encounter)).stage is Stage.NOT_STARTED
    running = replace(record(ready=False), end=None, status=InfusionStatus.IN_PROGRESS, checks=())
    await record_infusion(world.context, recording(world, patient, encounter, record=running))
    assert (await open_visit(world.context, patient, encounter)).stage is Stage.RUNNING
    await record_infusion(world.context, recording(world, patient, encounter, record=record()))
    ended = await open_visit(world.context, patient, encounter)
    assert ended.stage is Stage.ENDED
    assert ended.panel is not None
    assert ended.panel.ready
    again = ended.record(world.context.identifiers)
    assert again is not None
    assert (again.start, again.end, again.dose_mg, again.route) == (START, END, record().dose_mg, record().route)
    world.round_trips()
    await record_infusion(world.context, recording(world, patient, encounter, record=again))
    assert world.round_trips() == ["batch"]  # what is sent again as it is recorded changes nothing
    await discharge(world.context, leaving(world, patient, encounter))
    assert (await open_visit(world.context, patient, encounter)).stage is Stage.LEFT


async def test_the_visit_that_matters_now_is_found(world: World) -> None:
    patient, encounter = await visit(world)
    other = await world.encounter(patient)
    await record_infusion(world.context, recording(world, patient, encounter, record=record()))
    assert await find_encounter(world.context, patient) == encounter
    assert other != encounter
    assert await find_encounter(world.context, await world.patient("Nobody")) is None


async def test_who_signs_later_stands_for_the_plan_once(world: World) -> None:
    patient, encounter = await recorded(world)
    done = await discharge(world.context, leaving(world, patient, encounter, person=None))
    assert done.plan is not None
    await asyncio.gather(*(countersign(world.context, patient, done.plan, world.nurse) for _ in range(4)))
    found = await signatures(world.context, done.plan)
    assert {each.reference for each in found} == {world.nurse}
    assert all(each.person is not None for each in found)
    signed = (await world.server.client().search_all("Provenance", {"target": done.plan})).matches
    assert [each.get("reason") for each in signed].count([{"text": SIGNATURE}]) == 1
    plan = await world.context.fhir.read("CarePlan", done.plan.partition("/")[2])
    assert plan["status"] == "active"


async def test_what_cannot_be_signed_is_refused(world: World) -> None:
    patient, encounter = await recorded(world)
    draft = f"CarePlan/{(await of_patient(world, 'CarePlan', patient))[0]['id']}"
    with pytest.raises(IllegalMove):
        await countersign(world.context, patient, draft, world.nurse)
    done = await discharge(world.context, leaving(world, patient, encounter))
    assert done.plan is not None
    with pytest.raises(InvalidInput):
        await countersign(world.context, patient, done.plan, None)
    with pytest.raises(WrongSubject):
        await countersign(world.context, await world.patient("Chen"), done.plan, world.nurse)
    with pytest.raises(NotFound):
        await countersign(world.context, patient, "CarePlan/nobody", world.nurse)
