"""Everything the flows write passes a real server's $validate and the official HL7 validator, with our profiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.plan import CallWish
from fhir_aftercare.flows.countersign import countersign
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import check, check_in, leaving, phq9, record, recording, visit
from hapi_validation import faults
from world import END, START, make_world

if TYPE_CHECKING:
    from fhir_aftercare.care.clinic import DrugRecord
    from servers import Server
    from validator import OfficialValidator
    from world import World

pytestmark = pytest.mark.hapi

OURS = (
    "Observation", "MedicationAdministration", "Procedure", "CarePlan", "Task", "ServiceRequest", "Goal",
    "QuestionnaireResponse",
)  # fmt: skip


async def written(world: World, patient: str) -> list[dict[str, Any]]:
    """Give every version of everything that was written for a patient, with who wrote it."""
    client = world.server.client()
    found = []
    for type_ in OURS:
        for each in (await client.search_all(type_, {"patient": patient})).matches:
            found += await client.history(type_, each["id"])
            found += (await client.search_all("Provenance", {"target": f"{type_}/{each['id']}"})).matches
    devices = await client.search_all("Device", {"identifier": f"{world.context.identifiers.system('device')}|"})
    return [*{f"{each['id']}/{each['meta'].get('versionId')}": each for each in [*found, *devices.matches]}.values()]


@pytest.fixture
def both(validator: Server, official_validator: OfficialValidator) -> Both:
    return Both(validator, official_validator)


@dataclass(frozen=True)
class Both:
    """HAPI's $validate and the official HL7 validator: each notices what the other does not."""

    hapi: Server
    official: OfficialValidator

    async def find_nothing_wrong(self, world: World, patient: str) -> None:
        everything = await written(world, patient)
        assert len({each["resourceType"] for each in everything}) >= 6
        wrong = {f"{each['resourceType']}: {fault}" for each in everything for fault in await faults(self.hapi, each)}
        for each, issues in zip(everything, self.official.validate(everything), strict=True):
            wrong |= {
                f"{each['resourceType']}: {issue.location}: {issue.message}" for issue in issues if issue.is_error
            }
        assert wrong == set()


@pytest.mark.parametrize("drug", ["medication-administration", "procedure"])
async def test_a_whole_case(both: Both, drug: DrugRecord) -> None:
    world = await make_world(both.hapi)
    context = replace(world.context, clinic=replace(world.context.clinic, drug_record=drug))
    patient, encounter = await visit(world)
    everything = check(
        END + timedelta(minutes=5),
        weight=Decimal("71.50"),
        temperature=Decimal("36.8"),
        respiratory_rate=14,
        mean_pressure=95,
        oxygen_flow=Decimal(2),
        oxygen_concentration=Decimal(28),
        cadss_total=12,
        cadss_6=3,
        nausea=2,
        vomiting=0,
        oriented=False,
    )
    sheet = record(recorded_by=world.nurse)
    sheet = replace(sheet, checks=(*sheet.checks, everything))
    await record_infusion(context, recording(world, patient, encounter, record=sheet))
    corrected = replace(sheet, checks=(replace(sheet.checks[0], systolic=131), *sheet.checks[1:]))
    await record_infusion(context, recording(world, patient, encounter, record=corrected))
    await discharge(
        context,
        leaving(
            world,
            patient,
            encounter,
            escort="left-alone",
            language="es",
            sedatives_given=True,
            call=CallWish(phone="1"),
        ),
    )
    day_7 = START + timedelta(days=7)
    world.clock.move_to(day_7)
    worse = phq9(day_7, (2, 3, 3, 3, 2, 3, 2, 2, 1), author={"reference": patient}, source={"reference": patient})
    await receive_response(context, ResponseRequest(patient, worse))
    amended = phq9(day_7, (2, 3, 3, 3, 2, 3, 2, 2, None), author={"reference": patient}, source={"reference": patient})
    await receive_response(context, ResponseRequest(patient, amended))
    await receive_response(context, ResponseRequest(patient, check_in(day_7, {"unsafe": {"valueBoolean": True}})))
    await both.find_nothing_wrong(world, patient)


async def test_a_discharge_nobody_was_ready_for(both: Both) -> None:
    world = await make_world(both.hapi)
    patient, encounter = await visit(world)
    done = await discharge(world.context, leaving(world, patient, encounter, escort=None, start=START))
    await countersign(world.context, patient, str(done.plan), world.nurse)
    await both.find_nothing_wrong(world, patient)
