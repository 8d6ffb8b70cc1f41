"""Everything a correction leaves behind passes a real server's $validate and the official HL7 validator."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.care.correction import Change
from fhir_aftercare.flows.correct import CorrectionRequest, correct_infusion
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import leaving, recording, visit
from flows.test_correct import LATE, second_infusion
from flows.test_everything_written_is_valid import Both
from world import END, START, make_world

if TYPE_CHECKING:
    from fhir_aftercare.care.clinic import DrugRecord
    from servers import Server
    from validator import OfficialValidator

pytestmark = pytest.mark.hapi


@pytest.fixture
def both(validator: Server, official_validator: OfficialValidator) -> Both:
    return Both(validator, official_validator)


@pytest.mark.parametrize(
    ("drug", "last"), [("medication-administration", Change.ENTERED_IN_ERROR), ("procedure", Change.NOT_DONE)]
)
async def test_moved_agreed_stopped_and_taken_back(both: Both, drug: DrugRecord, last: Change) -> None:
    world = await make_world(both.hapi)
    context = replace(world.context, clinic=replace(world.context.clinic, drug_record=drug))
    patient, encounter = await visit(world)
    await record_infusion(context, recording(world, patient, encounter))
    await discharge(context, leaving(world, patient, encounter))
    world.clock.move_to(LATE + timedelta(hours=1))
    request = CorrectionRequest(patient, encounter, None, Change.END_MOVED, "Misread", end=LATE, person=world.nurse)
    await correct_infusion(context, request)
    await correct_infusion(context, replace(request, end=END, agreed_by=world.nurse))
    await correct_infusion(context, replace(request, kind=Change.STOPPED, end=END - timedelta(minutes=10)))
    later, _ = await second_infusion(world, patient)
    await correct_infusion(context, replace(request, encounter=later, kind=Change.WRONG_PATIENT, end=None))
    await correct_infusion(context, replace(request, kind=last, end=None))
    await both.find_nothing_wrong(world, patient)


async def test_a_restriction_anew_and_an_end_confirmed(both: Both) -> None:
    world = await make_world(both.hapi)
    patient, encounter = await visit(world)
    left = await discharge(world.context, leaving(world, patient, encounter, escort=None, start=START))
    world.clock.move_to(LATE + timedelta(hours=11))
    client = world.server.client()
    for reference in left.service_requests:
        restriction = await client.read("ServiceRequest", reference.partition("/")[2])
        await client.update({**restriction, "status": "completed"}, if_match=restriction["meta"]["versionId"])
    request = CorrectionRequest(patient, encounter, None, Change.END_MOVED, "Read from the pump", end=LATE)
    assert (await correct_infusion(world.context, request)).inform
    await both.find_nothing_wrong(world, patient)
