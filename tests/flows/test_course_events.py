"""What happened beside the scores: infusions numbered in their course, forms nobody answered, calls."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.flows.open_chart import open_chart
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.flows.tend_plans import tend_plans
from flows.cases import LEFT, leaving, of_patient, only, phq9, record, recording, visit
from world import END, START

if TYPE_CHECKING:
    from world import World

WEEK = timedelta(days=7)


async def treated(world: World, *days: int) -> str:
    """Make a patient with an infusion on each of these days after the first."""
    patient, encounter = await visit(world)
    for day in days:
        later = timedelta(days=day)
        if day:
            encounter = await world.encounter(patient, period={"start": tasks.instant(START + later)})
        world.clock.move_to(LEFT + later)
        await record_infusion(
            world.context,
            recording(world, patient, encounter, record=record(START + later, recorded_by=world.nurse)),
        )
        await discharge(world.context, leaving(world, patient, encounter, left_at=LEFT + later))
    return patient


async def test_infusions_are_numbered_in_their_course(world: World) -> None:
    patient = await treated(world, 0, 3, 7)
    view = await open_chart(world.context, patient)
    assert [(each.number, each.end) for each in view.infusions] == [
        (1, END),
        (2, END + timedelta(days=3)),
        (3, END + WEEK),
    ]
    assert view.began == START


async def test_a_form_is_missed_as_soon_as_its_time_is_over_whether_swept_or_not(world: World) -> None:
    patient = await treated(world, 0)
    world.clock.move_to(START + timedelta(days=13))
    before = await open_chart(world.context, patient)
    weekly = [each for each in before.missed if each.opens > START]
    assert {each.instrument for each in weekly} == {"phq-9", "gad-7"}
    await tend_plans(world.context, patient)
    after = await open_chart(world.context, patient)
    assert after.missed == before.missed


async def test_a_form_that_was_answered_is_not_missed_nor_is_one_still_open(world: World) -> None:
    patient = await treated(world, 0)
    at = START + WEEK
    world.clock.move_to(at)
    await receive_response(world.context, ResponseRequest(patient, phq9(at, (1,) * 9, source={"reference": patient})))
    world.clock.move_to(START + timedelta(days=11))
    view = await open_chart(world.context, patient)
    assert [each for each in view.missed if each.opens > START and each.instrument == "phq-9"] == []
    assert [each for each in view.missed if each.opens > START] == []  # the GAD-7 may be answered until day 12


async def test_calls_are_told_with_who_made_them_newest_first(world: World) -> None:
    patient = await treated(world, 0)
    found = await of_patient(world, "Task", patient)
    call = f"Task/{only([each for each in found if tasks.has_code(each, terms.FOLLOW_UP_CALL)])['id']}"
    for hours, outcome in ((21, "no-answer"), (23, "reached")):
        world.clock.move_to(START + timedelta(hours=hours))
        await move_task(world.context, MoveRequest(call, "attempt", person=world.nurse, outcome=outcome))
    world.round_trips()
    view = await open_chart(world.context, patient)
    assert world.round_trips() == ["batch"]
    assert [(each.task, each.reached, each.by) for each in view.calls] == [
        (call, True, world.nurse),
        (call, False, world.nurse),
    ]
    assert view.calls[0].what == "Telephone follow-up"
    assert view.people[world.nurse]["name"][0]["family"] == "Okafor"
