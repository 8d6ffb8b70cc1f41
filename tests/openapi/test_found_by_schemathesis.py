"""What schemathesis found once, each told in a few lines: what was a 500, or no FHIR, is an answer that helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from api.service import problem_of
from fhir_aftercare.api import examples
from world import END, START

if TYPE_CHECKING:
    from api.service import Service

Body = dict[str, Any]


async def infusion(service: Service, patient: str, encounter: str | None = None, **more: Any) -> Body:
    service.world.clock.move_to(END)
    given = {"patient": patient, "encounter": encounter} if encounter else {"patient": patient, "infusion": "7"}
    return {**given, "status": "completed", "start": START.isoformat(), "end": END.isoformat(), **more}


async def test_an_id_of_an_infusion_that_another_patient_has_is_refused(service: Service) -> None:
    ana, ben = await service.world.patient("Rivera"), await service.world.patient("Okoro")
    assert (await service.post("/infusions", await infusion(service, ana))).status_code == 201
    problem_of(await service.post("/infusions", await infusion(service, ben)), 422, "wrong-subject")
    left = {"patient": ben, "infusion": "7", "left_at": END.isoformat()}
    problem_of(await service.post("/discharges/happened", left), 422, "wrong-subject")


async def test_a_preview_of_nothing_is_a_bundle_without_entries(service: Service) -> None:
    body = await infusion(service, await service.world.patient())
    assert (await service.post("/infusions", body)).status_code == 201
    preview = await service.post("/infusions/preview", body)
    assert preview.json() == {"resourceType": "Bundle", "type": "transaction"}


async def test_an_observation_that_is_not_there_is_not_found(service: Service) -> None:
    body = {"patient": await service.world.patient(), "reference": "Observation/is-not-there"}
    problem_of(await service.post("/responses/stored", body), 404, "not-found")


@pytest.mark.parametrize("item", [{"linkId": {}}, {"linkId": "/44250-9", "answer": [None]}, "44250-9"])
async def test_answers_that_are_no_fhir_are_refused_with_their_place(service: Service, item: Any) -> None:
    answers = examples.RESPONSE["phq-9"]["value"]
    body = {**answers, "subject": {"reference": await service.world.patient()}, "item": [item]}
    problem = problem_of(await service.post("/responses/preview", body), 400, "invalid-input")
    assert "response.item" in str(problem["where"])


async def test_a_start_after_the_end_that_is_recorded_asks_for_the_end(service: Service) -> None:
    patient = await service.world.patient()
    encounter = await service.world.encounter(patient)
    assert (await service.post("/infusions", await infusion(service, patient, encounter))).status_code == 201
    service.world.clock.move_to(END.replace(hour=15))
    later = {"patient": patient, "encounter": encounter, "status": "stopped", "start": END.replace(minute=50)}
    body = {**later, "start": later["start"].isoformat()}
    problem = problem_of(await service.post("/infusions", body), 400, "invalid-input")
    assert problem["where"] == ["end"]


async def test_a_role_may_override_although_fhir_has_no_reference_to_it_there(service: Service) -> None:
    patient = await service.world.patient()
    encounter = await service.world.encounter(patient)
    await service.post("/infusions", await infusion(service, patient, encounter))
    nurse = {"reference": service.world.nurse}
    role = await service.world.server.client().create({"resourceType": "PractitionerRole", "practitioner": nurse})
    by = f"PractitionerRole/{role['id']}"
    override = {"by": by, "by_name": "Ngozi Okafor", "at": END.isoformat(), "reason": "Seen by the prescriber."}
    body = {"patient": patient, "encounter": encounter, "left_at": END.isoformat(), "override": override}
    answer = await service.post("/discharges/ask", body)
    assert answer.status_code == 201, answer.text
    written = await service.of(patient)
    notes = written[answer.json()["readiness_observation"]]["note"]
    assert f"Ngozi Okafor ({by})" in [each.get("authorString") for each in notes]


@pytest.mark.parametrize("id_", [".", ".."])
async def test_an_id_that_would_climb_out_of_its_folder_is_refused(service: Service, id_: str) -> None:
    left = {"patient": f"Patient/{id_}", "infusion": "1", "left_at": END.isoformat()}
    problem_of(await service.post("/discharges/happened", left), 422, "invalid-request")
    answers = {**examples.RESPONSE["phq-9"]["value"], "subject": {"reference": f"Patient/{id_}"}}
    problem_of(await service.post("/responses", answers), 400, "invalid-input")


async def test_a_worklist_of_an_owner_that_owns_no_task_is_refused_here(service: Service) -> None:
    answer = await service.get("/worklist", params={"owner": "Binary/1"})
    problem_of(answer, 422, "invalid-request")
