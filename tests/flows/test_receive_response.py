"""What a patient reports is kept, scored, answers its Task, and reaches somebody who must act."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.errors import InvalidInput, WrongSubject
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.open_chart import open_chart
from fhir_aftercare.flows.receive_observation import receive_observation
from fhir_aftercare.flows.receive_response import ResponseRequest, preview_response, receive_response
from flows.cases import check_in, leaving, of_patient, only, phq9, visit, with_code
from world import END, START

if TYPE_CHECKING:
    from world import World

WELL = (1, 1, 1, 1, 1, 1, 1, 0, 0)
WORSE = (2, 3, 3, 3, 2, 3, 2, 2, 1)
DAY_7 = START + timedelta(days=7)


@pytest.fixture
async def discharged(world: World) -> tuple[World, str]:
    """A patient one week after an infusion, with the PHQ-9 of day 7 open."""
    patient, encounter = await visit(world)
    await discharge(world.context, leaving(world, patient, encounter, start=START, end=END))
    world.clock.move_to(DAY_7)
    world.round_trips()
    return world, patient


async def form_task(world: World, patient: str, form: str = terms.QUESTIONNAIRE_PHQ9) -> dict[str, Any]:
    asked = [each for each in await of_patient(world, "Task", patient) if tasks.asks_for(each) == form]
    return min(asked, key=lambda each: str(tasks.window_of(each)[1]))


async def reviews(world: World, patient: str) -> list[dict[str, Any]]:
    return with_code(await of_patient(world, "Task", patient), terms.CLINICAL_REVIEW)


async def test_answers_are_kept_scored_and_complete_their_task(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    received = await receive_response(
        world.context, ResponseRequest(patient, phq9(DAY_7, WELL, source={"reference": patient}))
    )
    assert world.round_trips() == ["batch", "transaction"]
    assert (received.score.total, received.score.band.name) == (7, "mild")  # type: ignore[union-attr]
    task = await form_task(world, patient)
    assert (task["status"], task["businessStatus"]["coding"][0]["code"]) == ("completed", "answered")
    outputs = [each["valueReference"]["reference"] for each in task["output"]]
    assert outputs == [received.response, *received.observations]
    scores = await of_patient(world, "Observation", patient)
    total = only([each for each in scores if tasks.has_code(each, terms.PHQ9_TOTAL)])
    assert total["valueQuantity"]["value"] == 7
    assert total["derivedFrom"] == [{"reference": received.response}]
    assert total["performer"] == [{"reference": patient}]
    assert (received.reasons, received.review) == ((), None)


async def test_the_same_answers_again_change_nothing(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    request = ResponseRequest(patient, phq9(DAY_7, WORSE))
    first = await receive_response(world.context, request)
    again = await receive_response(world.another_process(), request)
    assert (again.response, again.observations, again.review, again.changed) == (
        first.response, first.observations, first.review, False,
    )  # fmt: skip
    assert len(await of_patient(world, "QuestionnaireResponse", patient)) == 1
    assert len(await reviews(world, patient)) == 1


async def test_twenty_at_once_are_one(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    request = ResponseRequest(patient, phq9(DAY_7, WORSE))
    results = await asyncio.gather(*(receive_response(world.another_process(), request) for _ in range(20)))
    assert len({(each.response, each.review) for each in results}) == 1
    assert len(await of_patient(world, "QuestionnaireResponse", patient)) == 1
    assert len(await reviews(world, patient)) == 1
    assert (await form_task(world, patient))["status"] == "completed"


async def test_item_9_reaches_the_prescriber_within_a_day_and_its_words_are_not_repeated(
    discharged: tuple[World, str],
) -> None:
    world, patient = discharged
    received = await receive_response(world.context, ResponseRequest(patient, phq9(DAY_7, WORSE)))
    review = only(await reviews(world, patient))
    assert f"Task/{review['id']}" == received.review
    assert (review["status"], review["priority"]) == ("requested", "asap")
    assert tasks.window_of(review)[1] <= DAY_7 + timedelta(hours=24)  # type: ignore[operator]
    assert {each.key for each in received.reasons} >= {"phq9-item9-low"}
    assert review["reasonReference"]["reference"] == received.response


async def test_a_severe_item_9_is_stat_within_the_hour(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    await receive_response(world.context, ResponseRequest(patient, phq9(DAY_7, (*WELL[:8], 3))))
    review = only(await reviews(world, patient))
    assert review["priority"] == "stat"
    assert tasks.window_of(review)[1] <= DAY_7 + timedelta(hours=1)  # type: ignore[operator]


async def test_an_unanswered_item_9_is_never_zero(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    received = await receive_response(world.context, ResponseRequest(patient, phq9(DAY_7, (*WELL[:8], None))))
    assert received.score.total is None  # type: ignore[union-attr]
    scores = await of_patient(world, "Observation", patient)
    assert "valueQuantity" not in only([each for each in scores if tasks.has_code(each, terms.PHQ9_TOTAL)])
    assert only(await reviews(world, patient))["priority"] == "urgent"


async def test_other_content_under_the_same_submission_amends_it(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    task = await form_task(world, patient)
    named = {"identifier": task["identifier"][0]}
    first = await receive_response(world.context, ResponseRequest(patient, phq9(DAY_7, WORSE, **named)))
    again = await receive_response(world.context, ResponseRequest(patient, phq9(DAY_7, WELL, **named)))
    assert again.response == first.response
    stored = await world.server.client().read("QuestionnaireResponse", first.response.partition("/")[2])
    assert stored["status"] == "amended"
    total = only(
        [each for each in await of_patient(world, "Observation", patient) if tasks.has_code(each, terms.PHQ9_TOTAL)]
    )
    assert (total["status"], total["valueQuantity"]["value"]) == ("amended", 7)
    assert only(await reviews(world, patient))["status"] == "requested", "a correction never withdraws the review"


async def test_further_reasons_join_the_open_review_and_only_raise_it(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    await receive_response(
        world.context, ResponseRequest(patient, check_in(DAY_7, {"feels-worse": {"valueBoolean": True}}))
    )
    before = only(await reviews(world, patient))
    await receive_response(world.context, ResponseRequest(patient, phq9(DAY_7, (*WELL[:8], 2))))
    after = only(await reviews(world, patient))
    assert (before["priority"], after["priority"]) == ("urgent", "stat")
    assert len(after["input"]) > len(before["input"])
    assert tasks.window_of(after)[1] <= tasks.window_of(before)[1]  # type: ignore[operator]


async def test_i_feel_worse_is_for_the_next_business_day(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    answers = check_in(DAY_7, {"feels-worse": {"valueBoolean": True}})
    received = await receive_response(world.context, ResponseRequest(patient, answers))
    review = only(await reviews(world, patient))
    assert review["priority"] == "urgent"
    due = tasks.window_of(review)[1]
    assert DAY_7 < due <= DAY_7 + timedelta(days=2)  # type: ignore[operator]
    assert received.score is None


async def test_a_draft_is_looked_at_for_item_9_and_never_scored(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    draft = phq9(DAY_7, (None,) * 8 + (2,), status="in-progress")
    received = await receive_response(world.context, ResponseRequest(patient, draft))
    assert (received.score, received.observations) == (None, ())
    assert only(await reviews(world, patient))["priority"] == "stat"
    assert (await form_task(world, patient))["status"] == "requested"
    final = {**draft, **phq9(DAY_7, (*WELL[:8], 2))}
    done = await receive_response(world.context, ResponseRequest(patient, final))
    assert done.response == received.response
    assert done.score is not None
    assert len(await reviews(world, patient)) == 1


async def test_a_late_answer_is_attached_to_the_task_that_was_missed(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    task = await form_task(world, patient)
    missed = tasks.moved(task, "cancelled", "missed", at=DAY_7 + timedelta(days=6), reason="missed")
    await world.server.client().update(missed, if_match=task["meta"]["versionId"])
    late = DAY_7 + timedelta(days=7)
    world.clock.move_to(late)
    named = phq9(late, WELL, identifier=task["identifier"][0])
    received = await receive_response(world.context, ResponseRequest(patient, named))
    now = await world.server.client().read("Task", task["id"])
    assert (now["status"], now["businessStatus"]["coding"][0]["code"]) == ("cancelled", "answered-late")
    assert received.response in [each["valueReference"]["reference"] for each in now["output"]]


async def test_answers_of_a_form_engine_on_the_server_are_not_written_again(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    stored = await world.server.client().create({**phq9(DAY_7, WORSE), "subject": {"reference": patient}})
    request = ResponseRequest(patient, stored, stored=True)
    received = await receive_response(world.context, request)
    assert received.response == f"QuestionnaireResponse/{stored['id']}"
    assert len(await of_patient(world, "QuestionnaireResponse", patient)) == 1
    assert received.observations
    assert (await form_task(world, patient))["status"] == "completed"
    again = await receive_response(world.another_process(), request)
    assert (again.changed, again.observations) == (False, received.observations)


async def test_a_bare_total_of_the_ehr_says_nothing_of_item_9_so_somebody_asks(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    total = await world.server.client().create(
        {
            "resourceType": "Observation",
            "status": "final",
            "category": [{"coding": [terms.SURVEY.coding()]}],
            "code": {"coding": [terms.PHQ9_TOTAL.coding()]},
            "subject": {"reference": patient},
            "effectiveDateTime": tasks.instant(DAY_7),
            "valueString": "12",
        }
    )
    received = await receive_observation(world.context, patient, f"Observation/{total['id']}")
    assert received.score.total == 12
    assert only(await reviews(world, patient))["priority"] == "urgent"
    again = await receive_observation(world.another_process(), patient, f"Observation/{total['id']}")
    assert (again.review, again.changed) == (received.review, False)
    assert (await form_task(world, patient))["businessStatus"]["coding"][0]["code"] == "superseded"


async def test_scores_from_before_the_first_plan_raise_nothing(world: World) -> None:
    patient, encounter = await visit(world)
    await discharge(world.context, leaving(world, patient, encounter, start=START, end=END))
    before = START - timedelta(days=20)
    received = await receive_response(world.context, ResponseRequest(patient, phq9(before, WORSE)))
    assert (received.reasons, received.review) == ((), None)
    assert received.score is not None


async def test_the_chart_shows_it_all_in_one_round_trip(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    await receive_response(world.context, ResponseRequest(patient, phq9(DAY_7, WORSE)))
    world.round_trips()
    view = await open_chart(world.context, patient)
    assert world.round_trips() == ["batch"]
    assert view.gaps == {}
    assert [len(view.courses), len(view.infusion_plans), len(view.goals)] == [1, 1, 3]
    assert tasks.has_code(view.open_tasks[0].resource, terms.CLINICAL_REVIEW)
    phq = next(each for each in view.trends if each.instrument == "phq-9")
    assert [point.total for point in phq.points] == [21]
    assert phq.baseline is None
    assert "overdue" in {each.state for each in view.open_tasks}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"status": "entered-in-error"}, "response.status"),
        ({"authored": "2026-09-23T13:00:00"}, "authored"),
        ({"authored": None}, "authored"),
        ({"resourceType": "Observation"}, "resourceType"),
        ({"item": [{"linkId": "/44250-9", "bogus": 1}]}, "item"),
        ({"item": []}, "item"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_its_place(
    small_world: World, change: dict[str, Any], where: str
) -> None:
    patient, _ = await visit(small_world)
    small_world.clock.move_to(DAY_7)
    answers = {name: value for name, value in {**phq9(DAY_7, WELL), **change}.items() if value is not None}
    with pytest.raises(InvalidInput) as refused:
        await receive_response(small_world.context, ResponseRequest(patient, answers))
    assert any(where in each for each in refused.value.where), refused.value.where


async def test_another_patients_answers_are_refused(world: World) -> None:
    patient, _ = await visit(world)
    other = await world.patient("Chen")
    world.clock.move_to(DAY_7)
    with pytest.raises(WrongSubject):
        await receive_response(world.context, ResponseRequest(patient, phq9(DAY_7, WELL, subject={"reference": other})))
    assert await of_patient(world, "QuestionnaireResponse", patient) == []


async def test_a_preview_writes_nothing(discharged: tuple[World, str]) -> None:
    world, patient = discharged
    bundle = await preview_response(world.context, ResponseRequest(patient, phq9(DAY_7, WORSE)))
    assert {each["resource"]["resourceType"] for each in bundle["entry"]} >= {
        "QuestionnaireResponse",
        "Observation",
        "Task",
    }
    assert await of_patient(world, "QuestionnaireResponse", patient) == []
