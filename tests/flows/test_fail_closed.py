"""If the protocol cannot be applied, nothing of it is written, and a person is told (design §2.4, §10.8)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.loading import load_protocol
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.protocol_files import read_protocol_files
from flows.cases import leaving, of_patient, only, recording, visit, with_code
from world import END, START

if TYPE_CHECKING:
    from fhir_aftercare.flows.context import ClinicContext
    from world import World


def with_broken_condition(context: ClinicContext) -> ClinicContext:
    """A condition that asks for the age, which this chart does not tell: it can only fail when it is evaluated."""
    files = read_protocol_files(None)
    plan = files["PlanDefinition-ketamine-infusion-aftercare.json"]
    action = next(each for each in plan["action"] if each["id"] == "no-driving")
    action["condition"][0]["expression"]["expression"] = "%ageYears > 17"
    return replace(context, protocol=load_protocol(files))


async def test_a_discharge_writes_nothing_of_the_plan_and_raises_one_asap_task(world: World) -> None:
    patient, encounter = await visit(world)
    client = world.server.client()
    stored = await client.read("Patient", patient.partition("/")[2])
    await client.update({k: v for k, v in stored.items() if k != "birthDate"}, if_match=stored["meta"]["versionId"])
    broken = with_broken_condition(world.context)
    request = leaving(world, patient, encounter, start=START, end=END)
    for _ in range(2):
        with pytest.raises(ProtocolFault) as refused:
            await discharge(broken, request)
        assert refused.value.action == "no-driving"
        assert refused.value.expression == "%ageYears > 17"
        assert refused.value.file
    assert await of_patient(world, "CarePlan", patient) == []
    assert await of_patient(world, "ServiceRequest", patient) == []
    task = only(await of_patient(world, "Task", patient))
    assert task["code"]["coding"][0]["code"] == terms.AFTERCARE_FAILED.code
    assert task["priority"] == "asap"
    assert "no-driving" in task["description"]
    mended = await discharge(world.context, request)
    assert mended.plan
    assert len(with_code(await of_patient(world, "Task", patient), terms.FOLLOW_UP_CALL)) == 1


async def test_a_record_keeps_what_was_measured(world: World) -> None:
    patient, encounter = await visit(world)
    client = world.server.client()
    stored = await client.read("Patient", patient.partition("/")[2])
    await client.update({k: v for k, v in stored.items() if k != "birthDate"}, if_match=stored["meta"]["versionId"])
    recorded = await record_infusion(with_broken_condition(world.context), recording(world, patient, encounter))
    assert recorded.fault is not None
    assert recorded.fault.action == "no-driving"
    assert recorded.plan is None
    assert len(await of_patient(world, "Observation", patient)) == len(recorded.observations)
    assert only(await of_patient(world, "Task", patient))["priority"] == "asap"
