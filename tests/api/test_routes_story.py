"""The main job through the REST API, from the infusion to the summary; each call says what it did and what is there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from api.bodies import body_of_answers, body_of_discharge, body_of_infusion
from api.service import problem_of
from fhir_aftercare.fhir import tasks, terms
from flows.cases import LEFT, check_in, code_of, of_patient, only, phq9, visit, with_code

if TYPE_CHECKING:
    from api.service import Service

Resource = dict[str, Any]


async def recorded(service: Service, **more: Any) -> tuple[str, str]:
    """Give a patient and the encounter of a recorded infusion."""
    patient, encounter = await visit(service.world)
    answer = await service.post("/infusions", body_of_infusion(service.world, patient, encounter, **more))
    assert answer.status_code == 201, answer.text
    return patient, encounter


async def test_an_infusion_ends_in_a_call_back_to_the_patient_who_feels_worse(service: Service) -> None:
    world = service.world
    patient, encounter = await visit(world)

    infusion = await service.post("/infusions", body_of_infusion(world, patient, encounter))
    assert infusion.status_code == 201
    there = await service.of(patient)
    made = infusion.json()
    assert {made["drug_record"], made["plan"], *made["observations"], *made["tasks"]} <= there.keys()
    assert there[made["plan"]]["status"] == "draft"

    leaving = body_of_discharge(world, patient, encounter)
    panel = (await service.post("/readiness", leaving)).json()
    assert (panel["ready"], panel["may_leave"], panel["overridden"]) == (True, True, False)
    assert len(panel["criteria"]) == 12
    assert {each["state"] for each in panel["criteria"]} == {"met"}
    assert {each for criterion in panel["criteria"] for each in criterion["rests_on"]} <= set(made["observations"])

    asked = await service.post("/discharges/ask", leaving)
    assert asked.status_code == 201
    plan = asked.json()
    assert plan["plan"] == made["plan"]
    there = await service.of(patient)
    assert {there[plan["plan"]]["status"], there[plan["course"]]["status"]} == {"active"}
    assert set(plan["tasks"]) == {each for each in there if each.startswith("Task/")}

    happened = await service.post("/discharges/happened", leaving)
    assert happened.status_code == 200
    assert happened.json() == {**plan, "changed": False}

    world.clock.move_to(LEFT + timedelta(days=7))
    answers = await service.post("/responses", body_of_answers(phq9(world.clock(), (2,) * 8 + (1,)), patient))
    assert answers.status_code == 201, answers.text
    said = answers.json()
    assert [(each["instrument"], each["total"], each["item9"]) for each in said["scores"]] == [("phq-9", 17, 1)]
    assert "phq9-item9-low" in {each["key"] for each in said["reasons"]}
    review = only(with_code(await of_patient(world, "Task", patient), terms.CLINICAL_REVIEW))
    assert said["review"] == f"Task/{review['id']}"

    summary = (await service.get(f"/{patient.replace('Patient', 'patients')}/aftercare")).json()
    assert summary["patient"] == patient
    assert [each["reference"] for each in summary["courses"]] == [plan["course"]]
    assert [each["reference"] for each in summary["infusions"]] == [plan["plan"]]
    assert summary["open_tasks"][0]["reference"] == said["review"]
    assert summary["open_tasks"][0]["priority"] == review["priority"]
    assert [each["total"] for each in summary["trends"][0]["points"]] == [17]
    assert summary["gaps"] == []


async def test_who_is_not_ready_is_refused_with_all_that_is_unmet_and_may_leave_all_the_same(service: Service) -> None:
    patient, encounter = await recorded(service, ready=False)
    leaving = body_of_discharge(service.world, patient, encounter)
    before = await service.state(patient)
    panel = (await service.post("/readiness", leaving)).json()
    unmet = [each["criterion"] for each in panel["criteria"] if each["state"] != "met"]
    refused = problem_of(await service.post("/discharges/ask", leaving), 409, "not-ready")
    assert refused["unmet"] == unmet == refused["where"]
    assert {"sedation-resolved", "oriented"} <= set(unmet)
    assert await service.state(patient) == before

    left = await service.post("/discharges/happened", leaving)
    assert left.status_code == 201
    assert left.json()["readiness"]["ready"] is False
    task = only(with_code(await of_patient(service.world, "Task", patient), terms.DISCHARGED_NOT_READY))
    assert f"Task/{task['id']}" in left.json()["tasks"]
    assert (await service.post("/discharges/happened", leaving)).status_code == 200


async def test_an_override_with_name_time_and_reason_lets_a_patient_leave(service: Service) -> None:
    patient, encounter = await recorded(service, ready=False)
    override = {
        "by": service.world.nurse, "by_name": "Ngozi Okafor", "at": LEFT.isoformat(), "reason": "Two adults are there",
    }  # fmt: skip
    leaving = body_of_discharge(service.world, patient, encounter, override=override)
    asked = await service.post("/discharges/ask", leaving)
    assert asked.status_code == 201
    assert (asked.json()["readiness"]["ready"], asked.json()["readiness"]["overridden"]) == (False, True)
    partly = body_of_discharge(service.world, patient, encounter, override={**override, "reason": ""})
    assert (
        "override.reason" in problem_of(await service.post("/discharges/ask", partly), 422, "invalid-request")["where"]
    )


# --- previews --------------------------------------------------------------------------------------------------------
async def test_the_preview_of_an_infusion_gives_what_would_be_sent_and_writes_nothing(service: Service) -> None:
    patient, encounter = await visit(service.world)
    body = body_of_infusion(service.world, patient, encounter)
    await previewed(service, "/infusions/preview", body, patient, "MedicationAdministration")


@pytest.mark.parametrize("mode", ["ask", "happened"])
async def test_the_preview_of_a_discharge_gives_what_would_be_sent_and_writes_nothing(
    service: Service, mode: str
) -> None:
    patient, encounter = await recorded(service)
    body = body_of_discharge(service.world, patient, encounter)
    await previewed(service, f"/discharges/{mode}/preview", body, patient, "ServiceRequest")


async def test_the_preview_of_answers_gives_what_would_be_sent_and_writes_nothing(service: Service) -> None:
    patient, _ = await visit(service.world)
    body = body_of_answers(phq9(LEFT, (1,) * 9), patient)
    await previewed(service, "/responses/preview", body, patient, "QuestionnaireResponse")


async def previewed(service: Service, path: str, body: Any, patient: str, type_: str) -> None:
    before = await service.of(patient)
    service.wire.sent.clear()
    answer = await service.post(path, body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/fhir+json"), answer.text
    bundle = answer.json()
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "transaction")
    assert type_ in {each["resource"]["resourceType"] for each in bundle["entry"]}
    assert set(service.wire.kinds()) == {"batch"}
    assert await service.of(patient) == before
    # It is no sketch: a FHIR server takes it as it is, and then nothing is left to do.
    await service.world.server.client().transaction(bundle)
    again = await service.post(path.removesuffix("/preview"), body)
    assert (again.status_code, again.json()["changed"]) == (200, False), again.text


async def test_a_preview_refuses_what_the_call_itself_refuses(service: Service) -> None:
    patient, encounter = await recorded(service, ready=False)
    leaving = body_of_discharge(service.world, patient, encounter)
    asked = problem_of(await service.post("/discharges/ask", leaving), 409, "not-ready")
    assert (
        problem_of(await service.post("/discharges/ask/preview", leaving), 409, "not-ready")["unmet"] == asked["unmet"]
    )


# --- many at once ----------------------------------------------------------------------------------------------------
async def test_a_batch_tells_of_each_item_and_a_bad_one_stops_no_other(service: Service) -> None:
    world = service.world
    first, second = [await recorded(service) for _ in range(2)]
    stranger, its_encounter = await visit(world)
    good = [body_of_discharge(world, *each) for each in (first, second)]
    bad = {
        "of another patient": body_of_discharge(world, stranger, first[1]),
        "no infusion": body_of_discharge(world, stranger, its_encounter),
        "in the future": body_of_discharge(world, *first, left_at=(LEFT + timedelta(days=1)).isoformat()),
        "no zone": body_of_discharge(world, *first, left_at=LEFT.replace(tzinfo=None).isoformat()),
        "nobody": body_of_discharge(world, "Patient/is-not-there", first[1]),
    }
    answer = await service.post("/discharges/batch", {"discharges": [good[0], *bad.values(), good[1]]})
    assert answer.status_code == 200, answer.text
    items = answer.json()["items"]
    assert answer.json()["failed"] == len(bad)
    assert [each["status"] for each in items] == [201, 422, 422, 400, 422, 404, 201]
    codes = [each["problem"]["code"] for each in items if each["problem"]]
    assert codes == ["wrong-subject", "not-an-infusion", "invalid-input", "missing-zone", "not-found"]
    for item in items:
        assert (item["discharge"] is None) == (item["problem"] is not None)
        if item["problem"]:
            assert item["problem"]["request_id"] == answer.headers["x-request-id"]
            assert item["problem"]["status"] == item["status"]
            assert item["problem"]["remedy"]
    for patient, _ in (first, second):
        assert {each["status"] for each in await of_patient(world, "CarePlan", patient)} == {"active"}
    assert await service.state(stranger) == {}


async def test_a_batch_sent_again_repeats_only_what_failed(service: Service) -> None:
    world = service.world
    known, unknown = await recorded(service), await visit(world)
    batch = {"discharges": [body_of_discharge(world, *each) for each in (known, unknown)]}
    first = (await service.post("/discharges/batch", batch, idempotency_key="night-run-1")).json()
    assert [each["status"] for each in first["items"]] == [201, 422]
    await service.post("/infusions", body_of_infusion(world, *unknown))
    again = await service.post("/discharges/batch", batch, idempotency_key="night-run-1")
    assert [each["status"] for each in again.json()["items"]] == [200, 201]
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_batch_that_does_not_fit_the_schema_is_refused_as_a_whole_with_the_place(
    small_service: Service,
) -> None:
    world = small_service.world
    patient, encounter = await recorded(small_service)
    before = await small_service.state(patient)
    good = body_of_discharge(world, patient, encounter)
    for bad, place in (({**good, "escort": "nobody"}, "discharges[1].escort"), ({**good, "x": 1}, "discharges[1].x")):
        refused = await small_service.post("/discharges/batch", {"discharges": [good, bad]})
        assert problem_of(refused, 422, "invalid-request")["where"] == [place]
    problem_of(await small_service.post("/discharges/batch", {"discharges": []}), 422, "invalid-request")
    assert await small_service.state(patient) == before


async def test_twenty_equal_discharges_at_once_leave_one_plan(service: Service) -> None:
    patient, encounter = await recorded(service)
    leaving = body_of_discharge(service.world, patient, encounter)
    answers = await asyncio.gather(*(service.post("/discharges/happened", leaving) for _ in range(20)))
    assert sorted(each.status_code for each in answers) == [200] * 19 + [201]
    assert len({each.json()["plan"] for each in answers}) == 1
    assert len(await of_patient(service.world, "CarePlan", patient)) == 2


# --- answers ---------------------------------------------------------------------------------------------------------
async def test_answers_that_name_their_task_complete_it(service: Service) -> None:
    world = service.world
    patient, encounter = await recorded(service)
    await service.post("/discharges/happened", body_of_discharge(world, patient, encounter))
    asked = next(
        each for each in await of_patient(world, "Task", patient)
        if tasks.asks_for(each) == terms.QUESTIONNAIRE_CHECK_IN
    )  # fmt: skip
    world.clock.move_to(LEFT + timedelta(days=1))
    answers = check_in(world.clock(), {"feels-worse": {"valueBoolean": True}})
    named = {**body_of_answers(answers, patient), "identifier": asked["identifier"][0]}
    answer = await service.post("/responses", named)
    assert answer.json()["task"] == f"Task/{asked['id']}"
    assert answer.json()["review"]
    done = await world.server.client().read("Task", asked["id"])
    assert done["status"] == "completed"


async def test_the_same_submission_with_other_answers_amends(service: Service) -> None:
    patient, _ = await visit(service.world)
    answers = body_of_answers(phq9(LEFT, (1,) * 8 + (0,)), patient)
    params = {"submission": "form-17"}
    first = (await service.post("/responses", answers, params=params)).json()
    changed = body_of_answers(phq9(LEFT, (2,) * 8 + (0,)), patient)
    second = await service.post("/responses", changed, params=params)
    assert second.status_code == 201
    assert second.json()["response"] == first["response"]
    assert second.json()["scores"][0]["total"] == 16
    stored = only(await of_patient(service.world, "QuestionnaireResponse", patient))
    assert stored["status"] == "amended"


async def test_what_the_portal_wrote_is_scored_and_not_written_again(service: Service) -> None:
    world = service.world
    patient, _ = await visit(world)
    stored = await world.server.client().create(body_of_answers(phq9(LEFT, (3,) * 9), patient))
    reference = f"QuestionnaireResponse/{stored['id']}"
    body = {"patient": patient, "reference": reference}
    first = await service.post("/responses/stored", body)
    assert (first.status_code, first.json()["changed"]) == (200, True)
    assert first.json()["scores"][0]["total"] == 27
    assert "stat" in {each["priority"] for each in first.json()["reasons"]}
    again = await service.post("/responses/stored", body)
    assert again.json() == {**first.json(), "changed": False}
    assert len(await of_patient(world, "QuestionnaireResponse", patient)) == 1
    observation = {
        "resourceType": "Observation", "status": "final", "code": terms.PHQ9_TOTAL.concept(),
        "subject": {"reference": patient}, "effectiveDateTime": tasks.instant(LEFT + timedelta(minutes=1)),
        "valueInteger": 21,
    }  # fmt: skip
    world.clock.advance(timedelta(minutes=5))
    total = await world.server.client().create(observation)
    seen = await service.post("/responses/stored", {"patient": patient, "reference": f"Observation/{total['id']}"})
    assert seen.json()["scores"][0] | {"missing": []} == first.json()["scores"][0] | {
        "total": 21, "item9": None, "item9_known": False, "missing": [], "band": seen.json()["scores"][0]["band"],
    }  # fmt: skip


# --- the summary -----------------------------------------------------------------------------------------------------
async def test_the_summary_of_a_patient_without_aftercare_is_empty_and_complete(service: Service) -> None:
    patient, _ = await visit(service.world)
    summary = (await service.get(f"/patients/{patient.partition('/')[2]}/aftercare")).json()
    assert (summary["courses"], summary["infusions"], summary["open_tasks"], summary["gaps"]) == ([], [], [], [])
    assert [each["points"] for each in summary["trends"]] == [[], []]
    assert (summary["restricted_until"], summary["next_due"]) == (None, None)


@pytest.mark.parametrize("days", [0, 1, 8])
async def test_the_summary_tells_what_is_due_from_the_clock(service: Service, days: int) -> None:
    patient, encounter = await recorded(service)
    await service.post("/discharges/happened", body_of_discharge(service.world, patient, encounter))
    service.world.clock.move_to(LEFT + timedelta(days=days))
    summary = (await service.get(f"/patients/{patient.partition('/')[2]}/aftercare")).json()
    by_code = {f"Task/{each['id']}": code_of(each) for each in await of_patient(service.world, "Task", patient)}
    call = next(each for each in summary["open_tasks"] if by_code[each["reference"]] == terms.FOLLOW_UP_CALL.code)
    assert call["state"] == {0: "coming", 1: "due", 8: "overdue"}[days]
    assert (summary["restricted_until"] is not None) == (days == 0)
