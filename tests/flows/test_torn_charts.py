"""A batch is no snapshot: while it is read another process may write. What is decided then is still sound."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.fhir.check import check_bundle
from fhir_aftercare.flows import discharge as leaving_flow
from fhir_aftercare.flows import record_infusion as recording_flow
from fhir_aftercare.flows.chart import read_chart
from fhir_aftercare.flows.settle import TornChart
from flows.cases import leaving, recording, visit
from world import END, START

if TYPE_CHECKING:
    from fhir_aftercare.flows.chart import Chart
    from world import World

WRITTEN = ("CarePlan", "Task", "ServiceRequest", "Goal", "Observation", "MedicationAdministration")


def without(chart: Chart, type_: str) -> Chart:
    return replace(chart, resources={name: of for name, of in chart.resources.items() if name != type_})


def with_one_less(chart: Chart, type_: str) -> list[Chart]:
    of = chart.of(type_)
    return [
        replace(chart, resources={**chart.resources, type_: [*of[:index], *of[index + 1 :]]})
        for index in range(len(of))
    ]


@pytest.mark.parametrize("type_", WRITTEN)
async def test_what_is_recorded_again_on_a_torn_chart_is_a_sound_bundle(small_world: World, type_: str) -> None:
    world = small_world
    patient, encounter = await visit(world)
    request = recording(world, patient, encounter)
    await recording_flow.record_infusion(world.context, request)
    whole = await read_chart(world.context.fhir, recording_flow.sections(world.context, request))
    for torn in [without(whole, type_), *with_one_less(whole, type_)]:
        try:
            transaction = recording_flow.decide(world.context, request, torn).transaction
        except TornChart:
            continue
        check_bundle(transaction.bundle(), transaction.existing)


@pytest.mark.parametrize("type_", WRITTEN)
async def test_a_discharge_on_a_torn_chart_is_a_sound_bundle(small_world: World, type_: str) -> None:
    world = small_world
    patient, encounter = await visit(world)
    await recording_flow.record_infusion(world.context, recording(world, patient, encounter))
    request = leaving(world, patient, encounter, start=START, end=END)
    await leaving_flow.discharge(world.context, request)
    whole = await read_chart(world.context.fhir, leaving_flow.sections(world.context, request))
    for torn in [without(whole, type_), *with_one_less(whole, type_)]:
        try:
            transaction = leaving_flow.decide(world.context, request, torn).transaction
        except TornChart:
            continue
        if not transaction.empty:
            check_bundle(transaction.bundle(), transaction.existing)


async def test_a_plan_in_force_names_its_course_though_a_torn_chart_does_not_show_it(small_world: World) -> None:
    world = small_world
    patient, encounter = await visit(world)
    request = leaving(world, patient, encounter, start=START, end=END)
    done = await leaving_flow.discharge(world.context, request)
    whole = await read_chart(world.context.fhir, leaving_flow.sections(world.context, request))
    courses = [each for each in whole.of("CarePlan") if f"CarePlan/{each['id']}" == done.course]
    torn = replace(
        whole, resources={**whole.resources, "CarePlan": [e for e in whole.of("CarePlan") if e not in courses]}
    )
    assert courses
    assert leaving_flow.decide(world.context, request, torn).activation.course == done.course
