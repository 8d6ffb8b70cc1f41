"""One Observation of ours is taken back; what others wrote is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.errors import InvalidInput, NotFound, WrongSubject
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.flows.retract_observation import retract_observation
from flows.cases import of_patient, recording, visit, with_code
from world import START

if TYPE_CHECKING:
    from world import World

WHY = "The monitor was on another patient"


async def heart_rate(world: World) -> tuple[str, str]:
    patient, encounter = await visit(world)
    await record_infusion(world.context, recording(world, patient, encounter))
    found = with_code(await of_patient(world, "Observation", patient), terms.HEART_RATE)
    return patient, f"Observation/{found[0]['id']}"


async def test_it_stays_as_entered_in_error_with_who_and_why(world: World) -> None:
    patient, observation = await heart_rate(world)
    before = {each["id"]: each["status"] for each in await of_patient(world, "Observation", patient)}
    world.round_trips()
    assert await retract_observation(world.context, patient, observation, WHY, world.nurse)
    assert world.round_trips() == ["batch", "transaction"]
    after = {each["id"]: each["status"] for each in await of_patient(world, "Observation", patient)}
    assert after == {**before, observation.partition("/")[2]: "entered-in-error"}
    found = await world.server.client().search_all("Provenance", {"target": observation})
    retraction = next(each for each in found.matches if each["activity"]["coding"][0]["code"] == "NULLIFY")
    assert retraction["reason"] == [{"text": WHY}]
    assert world.nurse in {agent["who"]["reference"] for agent in retraction["agent"]}


async def test_again_it_changes_nothing(world: World) -> None:
    patient, observation = await heart_rate(world)
    await retract_observation(world.context, patient, observation, WHY, world.nurse)
    assert not await retract_observation(world.another_process(), patient, observation, "Once more", None)
    found = await world.server.client().search_all("Provenance", {"target": observation})
    assert len(found.matches) == 2


async def test_a_value_taken_back_stays_taken_back_when_its_sheet_is_sent_again(world: World) -> None:
    patient, encounter = await visit(world)
    request = recording(world, patient, encounter)
    recorded = await record_infusion(world.context, request)
    await retract_observation(world.context, patient, recorded.observations[0], WHY, world.nurse)
    assert not (await record_infusion(world.context, request)).changed


async def test_what_others_wrote_is_theirs_to_correct(world: World) -> None:
    patient, _ = await heart_rate(world)
    theirs = await world.server.client().create(
        {
            "resourceType": "Observation",
            "status": "final",
            "code": terms.HEART_RATE.concept(),
            "subject": {"reference": patient},
            "effectiveDateTime": tasks.instant(START),
            "valueQuantity": {"value": 80, "unit": "/min", "system": terms.UCUM, "code": "/min"},
        }
    )
    with pytest.raises(InvalidInput) as refused:
        await retract_observation(world.context, patient, f"Observation/{theirs['id']}", WHY, world.nurse)
    assert refused.value.where == ("observation",)
    assert (await world.server.client().read("Observation", theirs["id"]))["status"] == "final"


async def test_another_patients_is_refused(world: World) -> None:
    _, observation = await heart_rate(world)
    other = await world.patient("Reyes")
    with pytest.raises(WrongSubject):
        await retract_observation(world.context, other, observation, WHY, world.nurse)


async def test_it_needs_a_reason_and_must_be_there(small_world: World) -> None:
    patient, observation = await heart_rate(small_world)
    with pytest.raises(InvalidInput) as refused:
        await retract_observation(small_world.context, patient, observation, " ", small_world.nurse)
    assert refused.value.where == ("reason",)
    with pytest.raises(NotFound):
        await retract_observation(small_world.context, patient, "Observation/nobody-here", WHY, small_world.nurse)
