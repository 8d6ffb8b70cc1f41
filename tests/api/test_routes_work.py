"""Tasks, worklist and corrections through the REST API."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from api.bodies import body_of_discharge, body_of_infusion
from fhir_aftercare.fhir import tasks, terms
from flows.cases import LEFT, of_patient, only, visit, with_code
from world import END

if TYPE_CHECKING:
    from api.service import Service

Resource = dict[str, Any]


async def discharged(service: Service) -> tuple[str, str, Resource]:
    """Give a patient, the encounter, and the open follow-up call."""
    world = service.world
    patient, encounter = await visit(world)
    await service.post("/infusions", body_of_infusion(world, patient, encounter))
    done = await service.post("/discharges/happened", body_of_discharge(world, patient, encounter))
    assert done.status_code in {200, 201}, done.text
    call = only(with_code(await of_patient(world, "Task", patient), terms.FOLLOW_UP_CALL))
    opens = tasks.window_of(call)[0]
    assert opens is not None
    world.clock.move_to(opens + timedelta(minutes=30))
    return patient, encounter, call


async def move(service: Service, task: str, version: str, **body: Any) -> Any:
    return await service.post(f"/tasks/{task}/moves", body, If_Match=f'W/"{version}"')


async def test_a_task_is_read_with_its_etag_and_not_sent_twice(service: Service) -> None:
    _, _, call = await discharged(service)
    first = await service.get(f"/tasks/{call['id']}")
    assert (first.status_code, first.json()["resourceType"]) == (200, "Task")
    again = await service.get(f"/tasks/{call['id']}", If_None_Match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


async def test_a_call_is_claimed_attempted_and_done(service: Service) -> None:
    patient, _, call = await discharged(service)
    nurse = service.world.nurse
    listed = (await service.get(f"/patients/{patient.partition('/')[2]}/tasks")).json()["items"]
    row = next(each for each in listed if each["task"] == f"Task/{call['id']}")
    assert "claim" in row["legal_moves"]
    claimed = await move(service, call["id"], row["version"], move="claim", person=nurse)
    assert (claimed.status_code, claimed.json()["status"]) == (200, "accepted"), claimed.text
    version = await newest(service, call["id"])
    tried = await move(service, call["id"], version, move="attempt", person=nurse, outcome="no-answer")
    assert (tried.json()["status"], tried.json()["business_status"]) == ("in-progress", "attempt-1")
    assert tried.json()["attempt"].startswith("Communication/")
    version = await newest(service, call["id"])
    done = await move(service, call["id"], version, move="attempt", person=nurse, outcome="reached")
    assert (done.json()["status"], done.json()["legal_moves"]) == ("completed", [])


async def newest(service: Service, task: str) -> str:
    answer = await service.get(f"/tasks/{task}")
    return str(answer.json()["meta"]["versionId"])


async def test_an_illegal_move_names_the_legal_ones(service: Service) -> None:
    _, _, call = await discharged(service)
    refused = await move(service, call["id"], call["meta"]["versionId"], move="release")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal-move")
    assert "claim" in refused.json()["legal"]


async def test_a_move_names_the_version_that_was_looked_at(service: Service) -> None:
    _, _, call = await discharged(service)
    without = await service.post(f"/tasks/{call['id']}/moves", {"move": "claim", "person": service.world.nurse})
    assert (without.status_code, without.json()["code"]) == (428, "precondition-required")
    version = call["meta"]["versionId"]
    other = await service.world.server.client().create({"resourceType": "Practitioner"})
    await move(service, call["id"], version, move="claim", person=service.world.nurse)
    late = await move(service, call["id"], version, move="claim", person=f"Practitioner/{other['id']}")
    assert (late.status_code, late.json()["code"]) == (412, "stale")


async def test_a_task_of_somebody_else_is_not_moved(service: Service) -> None:
    patient, _, _ = await discharged(service)
    theirs = await service.world.server.client().create(
        {"resourceType": "Task", "status": "requested", "intent": "order", "for": {"reference": patient}}
    )
    refused = await move(service, theirs["id"], theirs["meta"]["versionId"], move="claim", person=service.world.nurse)
    assert (refused.status_code, refused.json()["code"]) == (422, "wrong-subject")


async def test_the_worklist_shows_what_presses_page_by_page(service: Service) -> None:
    await discharged(service)
    _, _, call = await discharged(service)
    seen: list[Resource] = []
    path: str | None = "/worklist?limit=1&state=due&state=overdue&state=escalated"
    while path:
        page = await service.get(path)
        assert page.status_code == 200, page.text
        seen += page.json()["items"]
        following = page.json()["next"]
        assert ("link" in page.headers) == (following is not None)
        path = f"/worklist?limit=1&state=due&state=overdue&state=escalated&cursor={following}" if following else None
    assert len({each["task"] for each in seen}) == len(seen)
    mine = next(each for each in seen if each["task"] == f"Task/{call['id']}")
    assert (mine["state"], mine["patient_name"]) == ("due", "Ana Rivera")


@pytest.mark.parametrize("query", ["cursor=nonsense", "limit=0", "state=later", "owner=Nobody"])
async def test_a_worklist_that_cannot_be_is_refused(small_service: Service, query: str) -> None:
    refused = await small_service.get(f"/worklist?{query}")
    assert refused.status_code in {400, 422}
    assert refused.headers["content-type"] == "application/problem+json"


async def test_a_later_end_moves_the_release_and_somebody_tells_the_patient(service: Service) -> None:
    world = service.world
    patient, encounter, _ = await discharged(service)
    world.clock.move_to(LEFT + timedelta(hours=1))
    body = {
        "patient": patient,
        "encounter": encounter,
        "kind": "end-moved",
        "end": tasks.instant(END + timedelta(hours=7)),
        "reason": "The pump log",
        "recorded_by": world.nurse,
    }
    world.clock.move_to(END + timedelta(hours=8))
    preview = await service.post("/infusions/corrections/preview", body)
    assert (preview.status_code, preview.json()["type"]) == (200, "transaction"), preview.text
    corrected = await service.post("/infusions/corrections", body)
    assert (corrected.status_code, corrected.json()["changed"]) == (200, True), corrected.text
    assert corrected.json()["inform"].startswith("Task/")
    again = await service.post("/infusions/corrections", body)
    assert again.json()["changed"] is False


async def test_a_retraction_takes_the_plan_back_and_says_why(service: Service) -> None:
    patient, encounter, _ = await discharged(service)
    body = {"patient": patient, "encounter": encounter, "kind": "wrong-patient", "reason": "Wrong chart"}
    corrected = await service.post("/infusions/corrections", body)
    assert corrected.status_code == 200, corrected.text
    plans = await of_patient(service.world, "CarePlan", patient)
    assert "active" not in {each["status"] for each in plans if f"CarePlan/{each['id']}" == corrected.json()["plan"]}
    unreasoned = await service.post("/infusions/corrections", {**body, "reason": " "})
    assert (unreasoned.status_code, unreasoned.json()["where"]) == (422, ["reason"])


async def test_one_observation_is_retracted(service: Service) -> None:
    patient, _, _ = await discharged(service)
    observation = (await of_patient(service.world, "Observation", patient))[0]
    path = f"/observations/{observation['id']}/retraction"
    done = await service.post(path, {"patient": patient, "reason": "Another room's monitor"})
    assert (done.status_code, done.json()["changed"]) == (200, True), done.text
    now = await service.world.server.client().read("Observation", observation["id"])
    assert now["status"] == "entered-in-error"
