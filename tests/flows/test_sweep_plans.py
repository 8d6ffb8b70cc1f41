"""Patients whose plans go on are found and tended; answers that nobody scored are found and scored."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.errors import FhirUnauthorized, InvalidInput, NotFound
from fhir_aftercare.fhir import terms
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.sweep import SweepSettings
from fhir_aftercare.flows.sweep_answers import receive_stored, sweep_answers
from fhir_aftercare.flows.sweep_plans import tend_all, tend_patient
from fhir_aftercare.flows.sweep_run import Recent, known_patients
from flows.cases import check_in, of_patient, only, phq9, with_code
from flows.course_cases import after, infusion, plan_of
from flows.sweep_server import FIRST, Many, reached
from flows.test_reconcile import torn_plan
from flows.test_sweep import now_there
from flows.test_sweep_listing import context

if TYPE_CHECKING:
    from world import World

Resource = dict[str, Any]

WORRIED = (2, 2, 2, 2, 2, 2, 2, 1, 3)
# Others on the same server wrote answers shortly before.
SETTINGS = SweepSettings(page=5, overlap=timedelta(milliseconds=1))


class Hand:
    """Takes what is found, once."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self._known: set[tuple[str, ...]] = set()

    async def __call__(self, *given: str) -> bool:
        new = given not in self._known
        self._known.add(given)
        if new:
            self.given.append(given[0])
        return new


# --- plans ----------------------------------------------------------------------------------------------------------
async def test_each_patient_with_a_plan_that_goes_on_is_found(world: World) -> None:
    running, none = await world.patient(), await world.patient()
    await infusion(world, running)
    hand = Hand()
    found = await tend_all(world.context, hand, page=5)
    assert running in hand.given
    assert none not in hand.given
    assert found.new == len(hand.given) <= found.patients
    given = Hand()
    await tend_all(world.context, given, patients=[none], page=5)
    assert given.given[0] == none


async def test_a_patient_whose_plans_have_ended_is_left_in_peace(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    await infusion(world, patient)
    client = world.server.client()
    for plan in await of_patient(world, "CarePlan", patient):
        await client.update({**plan, "status": "completed"}, if_match=plan["meta"]["versionId"])
    hand = Hand()
    await tend_all(world.context, hand)
    assert patient not in hand.given


async def test_a_patient_with_pressing_work_and_no_plan_is_found(world: World) -> None:
    patient, taken = await world.patient(), await world.patient()
    for each, status in ((patient, "requested"), (taken, "in-progress")):
        await world.server.client().create(
            {
                "resourceType": "Task",
                "identifier": [world.context.identifiers.identifier("activity", each, "failed")],
                "status": status,
                "intent": "order",
                "priority": "asap",
                "code": terms.AFTERCARE_FAILED.concept(),
                "for": {"reference": each},
            }
        )
    hand = Hand()
    await tend_all(world.context, hand, page=5)
    assert patient in hand.given
    assert taken not in hand.given


async def test_finding_writes_nothing(small_world: World) -> None:
    world = small_world
    await infusion(world, await world.patient())
    world.round_trips()
    await tend_all(world.context, Hand())
    assert {call.method for call in world.calls} == {"GET"}


async def test_a_plan_that_lacks_its_last_open_child_is_completed_before_it_is_tended(small_world: World) -> None:
    """Tended first, it would have ended: all that was left in it had."""
    world = small_world
    patient = await torn_plan(world, terms.FOLLOW_UP_CALL)
    client = world.server.client()
    plan = only([each for each in await of_patient(world, "CarePlan", patient) if each.get("encounter")])
    for type_ in ("Task", "ServiceRequest"):
        for each in await of_patient(world, type_, patient):
            if each["basedOn"][0]["reference"] == f"CarePlan/{plan['id']}" and each["status"] != "completed":
                await client.update({**each, "status": "completed"}, if_match=each["meta"]["versionId"])
    done = await tend_patient(world.context, patient)
    assert len(done.reconciled.made) == 1
    assert (done.tended.completed, done.outcome) == ((), "changed")
    assert (await plan_of(world, f"CarePlan/{plan['id']}"))["status"] == "active"
    assert (await tend_patient(world.context, patient)).outcome == "unchanged"


async def test_the_search_of_plans_may_be_refused_where_patients_are_given() -> None:
    many = Many(10, FIRST, refused=lambda type_, _: 403 if type_ == "CarePlan" else None)
    async with reached(many) as fhir:
        known = [each async for each in known_patients(context(fhir), ["Patient/p1", "Patient/p1"], 100)]
        assert known == ["Patient/p1"]
        with pytest.raises(FhirUnauthorized):
            [each async for each in known_patients(context(fhir), None, 100)]


async def test_the_search_of_pressing_tasks_may_be_refused() -> None:
    many = Many(10, FIRST, refused=lambda type_, _: 400 if type_ == "Task" else None)
    hand = Hand()
    async with reached(many) as fhir:
        await tend_all(context(fhir), hand, patients=["Patient/p1"])
    assert hand.given == ["Patient/p1"]


def test_only_the_last_ones_are_remembered() -> None:
    recent = Recent(2)
    assert [recent.is_new(each) for each in ("a", "b", "a", "c", "b", "a")] == [True, True, False, True, True, True]


# --- answers --------------------------------------------------------------------------------------------------------
async def written_by_the_portal(world: World, patient: str, answers: Resource) -> Resource:
    return await world.server.client().create({**answers, "subject": {"reference": patient}})


async def test_answers_that_a_portal_wrote_are_found_once_and_scored(world: World) -> None:
    patient, at = await world.patient(), after(7, 10)
    await infusion(world, patient)
    mark = await now_there(world)
    world.clock.move_to(at)
    theirs = await written_by_the_portal(world, patient, phq9(at, WORRIED))
    with_version = await written_by_the_portal(
        world, patient, {**phq9(at, WORRIED), "questionnaire": f"{terms.QUESTIONNAIRE_PHQ9}|1.0.0"}
    )
    ours = await receive_response(world.context, ResponseRequest(patient, phq9(at, WORRIED)))
    hand = Hand()
    await sweep_answers(world.context, mark, hand, settings=SETTINGS)
    mine = f"QuestionnaireResponse/{theirs['id']}"
    assert {mine, f"QuestionnaireResponse/{with_version['id']}"} <= set(hand.given)
    assert ours.response not in hand.given
    received = await receive_stored(world.context, mine)
    assert received.score is not None
    assert (received.score.total, received.response, received.changed) == (18, mine, True)
    assert received.review is not None
    scores = await world.server.client().search_all("Observation", {"derived-from": mine})
    assert {code_of(each) for each in scores.matches} >= {terms.PHQ9_TOTAL.code, terms.PHQ9_ITEM9.code}
    assert not (await receive_stored(world.context, mine)).changed
    seen = len(hand.given)
    await sweep_answers(world.context, mark, hand, settings=SETTINGS)
    assert [each for each in hand.given[seen:] if each == mine] == []


async def test_check_ins_are_looked_at_though_they_have_no_score(small_world: World) -> None:
    world = small_world
    patient, at = await world.patient(), after(1, 10)
    await infusion(world, patient)
    mark = await now_there(world)
    world.clock.move_to(at)
    theirs = await written_by_the_portal(world, patient, check_in(at, {"unsafe": {"valueBoolean": True}}))
    hand = Hand()
    await sweep_answers(world.context, mark, hand, settings=SETTINGS)
    assert f"QuestionnaireResponse/{theirs['id']}" in hand.given
    await receive_stored(world.context, f"QuestionnaireResponse/{theirs['id']}")
    review = only(with_code(await of_patient(world, "Task", patient), terms.CLINICAL_REVIEW))
    assert review["priority"] == "stat"


async def test_answers_to_other_forms_and_those_taken_back_are_none_of_ours(small_world: World) -> None:
    world = small_world
    patient, at = await world.patient(), after(7, 10)
    mark = await now_there(world)
    for change in ({"questionnaire": "https://example.org/other"}, {"status": "entered-in-error"}):
        await written_by_the_portal(world, patient, {**phq9(at, WORRIED), **change})
    nobody = await world.server.client().create(phq9(at, WORRIED))
    hand = Hand()
    found = await sweep_answers(world.context, mark, hand, settings=SETTINGS)
    assert (hand.given, found.unnamed) == ([], 1)
    with pytest.raises(InvalidInput):
        await receive_stored(world.context, f"QuestionnaireResponse/{nobody['id']}")
    with pytest.raises(NotFound):
        await receive_stored(world.context, "QuestionnaireResponse/nothing")


async def test_changed_answers_are_found_again(small_world: World) -> None:
    world = small_world
    patient, at = await world.patient(), after(7, 10)
    await infusion(world, patient)
    mark, hand = await now_there(world), Hand()
    world.clock.move_to(at)
    theirs = await written_by_the_portal(world, patient, phq9(at, WORRIED))
    first = await sweep_answers(world.context, mark, hand, settings=SETTINGS)
    amended = {**phq9(at, (0,) * 9), "id": theirs["id"], "status": "amended", "subject": {"reference": patient}}
    await world.server.client().update(amended, if_match=theirs["meta"]["versionId"])
    await sweep_answers(world.context, first.watermark, hand, settings=SETTINGS)
    assert hand.given == [f"QuestionnaireResponse/{theirs['id']}"] * 2


async def test_where_all_answers_cannot_be_asked_for_those_of_known_patients_are(small_world: World) -> None:
    world = small_world
    known, other, at = await world.patient(), await world.patient(), after(7, 10)
    await infusion(world, known)
    mark, hand = await now_there(world), Hand()
    theirs = await written_by_the_portal(world, known, phq9(at, WORRIED))
    await written_by_the_portal(world, other, phq9(at, WORRIED))
    await sweep_answers(world.context, mark, hand, settings=replace(SETTINGS, population=False))
    assert hand.given == [f"QuestionnaireResponse/{theirs['id']}"]


def code_of(observation: Resource) -> str:
    return str(observation["code"]["coding"][0]["code"])
