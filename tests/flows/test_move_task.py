"""Staff move Tasks: claimed, called, done, given up, each with who and when; never backwards, never twice."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.clinic import Owners
from fhir_aftercare.care.timing import Window
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import (
    AftercareError,
    FhirTimeout,
    IllegalMove,
    InvalidInput,
    MissingZone,
    NotFound,
    Stale,
    WrongSubject,
)
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.bundles import Transaction
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.move_request import check_request
from fhir_aftercare.flows.move_task import FAIL_REASONS, Moved, MoveRequest, legal_moves, move_task
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from flows.cases import check_in, leaving, of_patient, only, visit, with_code
from hapi_validation import faults
from world import END, START, make_world

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fhir_aftercare.ehr.answers import TransactionAnswer
    from fhir_aftercare.flows.context import ClinicContext
    from servers import Server
    from validator import OfficialValidator
    from world import World

Resource = dict[str, Any]

# The day after the infusion, a Thursday: the clinic calls from 9 to 18.
MORNING = START + timedelta(hours=21)
LATER = MORNING + timedelta(hours=2)
OPENS = MORNING - timedelta(hours=1)


class Case:
    """A patient the day after an infusion, and what staff do with one Task."""

    def __init__(self, world: World, patient: str, colleague: str) -> None:
        self.world, self.patient, self.colleague = world, patient, colleague
        self.nurse = world.nurse

    async def task(self, code: terms.Code = terms.FOLLOW_UP_CALL) -> Resource:
        return only(with_code(await of_patient(self.world, "Task", self.patient), code))

    async def reviews(self) -> list[Resource]:
        return with_code(await of_patient(self.world, "Task", self.patient), terms.CLINICAL_REVIEW)

    async def calls(self) -> list[Resource]:
        found = await of_patient(self.world, "Communication", self.patient)
        return sorted(found, key=lambda each: str(each["sent"]))

    async def move(self, move: str, code: terms.Code = terms.FOLLOW_UP_CALL, **more: Any) -> Moved:
        task = await self.task(code)
        self.world.round_trips()
        return await self.move_of(task, move, **more)

    async def move_of(self, task: Resource, move: str, *, context: ClinicContext | None = None, **more: Any) -> Moved:
        values = {"person": self.nurse, **more}
        return await move_task(context or self.world.context, MoveRequest(f"Task/{task['id']}", move, **values))  # type: ignore[arg-type]

    async def no_answers(self, times: int) -> Moved:
        for _ in range(times):
            found = await self.move("attempt", outcome="no-answer", next_try=self.world.clock() + timedelta(hours=2))
            self.world.clock.advance(timedelta(minutes=90))
        return found

    async def who_signed(self, reference: str) -> list[str]:
        signed = await self.world.server.client().search_all("Provenance", {"target": reference})
        return [agent["who"]["reference"] for each in signed.matches for agent in each["agent"]]


async def make_case(world: World) -> Case:
    """Give a case with a plan as a discharge leaves it, as far as staff's work goes: made at once, to be quick."""
    patient = await world.patient()
    colleague = await world.server.client().create({"resourceType": "Practitioner", "name": [{"family": "Lind"}]})
    draft = Transaction()
    identifiers, key = world.context.identifiers, uuid.uuid4().hex
    plan = {
        "resourceType": "CarePlan",
        "identifier": [identifiers.identifier("plan", key)],
        "status": "active",
        "intent": "plan",
        "category": [terms.INFUSION_PLAN.concept()],
        "subject": {"reference": patient},
        "period": tasks.period(END, None),
    }
    urn = draft.create(plan, identifiers.full_url("plan", key))
    for name in ("follow-up-call", "teach-back"):
        activity = world.context.protocol.activity(f"{terms.ACTIVITY_DEFINITION}/{name}")
        work = work_of(world, patient, (key, name), code=activity.code, canonical=activity.canonical, based_on=(urn,))
        draft.create(tasks.make(work), identifiers.full_url("activity", key, name))
    asked = [tasks.form_input(terms.QUESTIONNAIRE_CHECK_IN)]
    form = work_of(world, patient, (key, "form"), code=terms.COMPLETE_QUESTIONNAIRE.concept(), inputs=asked)
    draft.create(tasks.make(form), identifiers.full_url("activity", key, "form"))
    await world.server.client().transaction(draft.bundle())
    world.clock.move_to(MORNING)
    return Case(world, patient, f"Practitioner/{colleague['id']}")


def work_of(world: World, patient: str, key: tuple[str, ...], **more: Any) -> tasks.Work:
    values: dict[str, Any] = {
        "identifier": world.context.identifiers.identifier("activity", *key),
        "priority": "routine",
        "description": None,
        "patient": patient,
        "requester": world.organization,
        "owner": world.organization,
        "authored_on": END,
        "window": Window(OPENS, OPENS + timedelta(hours=4), OPENS + timedelta(hours=9), OPENS + timedelta(hours=21)),
        **more,
    }
    return tasks.Work(**values)


@pytest.fixture
async def case(world: World) -> Case:
    return await make_case(world)


@pytest.fixture
async def small_case(small_world: World) -> Case:
    """A case on the sandbox alone, for what is decided before the server is asked."""
    return await make_case(small_world)


@pytest.fixture
async def reviewed(case: Case) -> Case:
    return await with_review(case)


@pytest.fixture
async def small_reviewed(small_case: Case) -> Case:
    return await with_review(small_case)


async def with_review(case: Case) -> Case:
    """Give the case an open clinical review: the patient feels unsafe."""
    answers = check_in(MORNING, {"unsafe": {"valueBoolean": True}})
    await receive_response(case.world.context, ResponseRequest(case.patient, answers))
    case.world.clock.advance(timedelta(minutes=5))
    return case


def business(task: Resource) -> str:
    return str(task["businessStatus"]["coding"][0]["code"])


def standing(task: Resource) -> tuple[str, str, str]:
    return task["status"], business(task), task["owner"]["reference"]


# --- who does it -----------------------------------------------------------------------------------------------------
async def test_a_claim_says_who_and_when_in_three_round_trips(case: Case) -> None:
    moved = await case.move("claim", note="Calling at eleven")
    assert case.world.round_trips() == ["read", "batch", "transaction"]
    task = await case.task()
    assert standing(task) == ("accepted", "claimed", case.nurse)
    assert tasks.moment(task["lastModified"]) == MORNING
    assert task["note"] == [
        {"authorReference": {"reference": case.nurse}, "time": task["lastModified"], "text": "Calling at eleven"}
    ]
    assert "executionPeriod" not in task, "nobody has called yet"
    assert case.nurse in await case.who_signed(moved.task)
    assert moved.changed
    assert moved.legal_moves == legal_moves(task)


async def test_the_same_claim_again_changes_nothing(case: Case) -> None:
    await case.move("claim", note="Mine")
    before = await case.task()
    again = await case.move("claim", note="Mine")
    assert not again.changed
    assert case.world.round_trips() == ["read", "batch"]
    assert await case.task() == before


async def test_what_somebody_has_claimed_nobody_else_can_claim(case: Case) -> None:
    await case.move("claim")
    with pytest.raises(IllegalMove) as refused:
        await case.move("claim", person=case.colleague)
    assert refused.value.legal == ("release", "attempt", "complete", "fail", "decline", "reassign")
    assert (await case.task())["owner"]["reference"] == case.nurse


async def test_two_who_claim_at_once_are_not_both_told_yes(case: Case) -> None:
    task = await case.task()
    results = await asyncio.gather(
        *(
            case.move_of(task, "claim", person=person, context=case.world.another_process())
            for person in (case.nurse, case.colleague) * 4
        ),
        return_exceptions=True,
    )
    owner = (await case.task())["owner"]["reference"]
    winners = [case.nurse, case.colleague].index(owner)
    for index, result in enumerate(results):
        if index % 2 == winners:
            assert isinstance(result, Moved)
        else:
            assert isinstance(result, IllegalMove | Stale)


async def test_what_is_released_is_the_clinics_again_and_can_be_claimed_by_another(case: Case) -> None:
    before = await case.task()
    await case.move("claim")
    assert (await case.move("release")).changed
    task = await case.task()
    assert standing(task) == ("accepted", "due", before["owner"]["reference"])
    assert not (await case.move("release")).changed
    assert (await case.move("claim", person=case.colleague)).changed
    assert standing(await case.task()) == ("accepted", "claimed", case.colleague)


async def test_work_is_given_to_a_colleague_who_has_not_claimed_it_yet(small_case: Case) -> None:
    await small_case.move("claim")
    await small_case.move("reassign", owner=small_case.colleague)
    assert standing(await small_case.task()) == ("accepted", "due", small_case.colleague)
    assert not (await small_case.move("reassign", owner=small_case.colleague)).changed
    await small_case.move("claim", person=small_case.colleague)
    assert not (await small_case.move("reassign", owner=small_case.colleague)).changed, "the claim stands"
    assert standing(await small_case.task()) == ("accepted", "claimed", small_case.colleague)


# --- the call --------------------------------------------------------------------------------------------------------
async def test_a_call_that_is_answered_is_done(case: Case) -> None:
    before = await case.task()
    moved = await case.move("attempt", outcome="reached", note="Slept well, no headache")
    task = await case.task()
    assert standing(task) == ("completed", "reached", case.nurse)
    assert [tasks.moment(task["executionPeriod"][each]) for each in ("start", "end")] == [MORNING, MORNING]
    call = only(await case.calls())
    assert moved.attempt == f"Communication/{call['id']}"
    assert (call["status"], call["sender"]["reference"]) == ("completed", case.nurse)
    assert call["partOf"] == [{"reference": f"Task/{task['id']}"}]
    assert call["basedOn"] == before["basedOn"]
    assert [tasks.moment(call[each]) for each in ("sent", "received")] == [MORNING, MORNING]
    assert task["output"] == [{"type": terms.OUTPUT_OUTCOME.concept(), "valueReference": {"reference": moved.attempt}}]
    assert moved.resource["output"] == task["output"]
    assert case.nurse in await case.who_signed(moved.attempt)
    assert await case.reviews() == []
    assert moved.legal_moves == ()


async def test_a_call_not_answered_is_due_again_at_the_next_try(case: Case) -> None:
    moved = await case.move("attempt", outcome="no-answer", next_try=LATER)
    assert case.world.round_trips() == ["read", "batch", "transaction"]
    task = await case.task()
    assert standing(task) == ("in-progress", "attempt-1", case.nurse)
    assert tasks.window_of(task)[1] == LATER
    assert "end" not in task["executionPeriod"]
    call = only(await case.calls())
    assert (call["status"], call["statusReason"]["text"]) == ("not-done", "No answer")
    assert "received" not in call
    assert moved.review is None
    assert set(moved.legal_moves) == {"attempt", "complete", "fail", "decline", "reassign"}


async def test_the_next_try_is_moved_into_open_hours_but_not_past_the_expiry(small_case: Case) -> None:
    expires = tasks.window_of(await small_case.task())[2]
    assert expires is not None
    await small_case.move("attempt", outcome="no-answer", next_try=MORNING + timedelta(days=30))
    task = await small_case.task()
    due = tasks.window_of(task)[1]
    assert due is not None
    assert MORNING < due <= expires
    assert small_case.world.context.clinic.call_hours.is_open(due - timedelta(seconds=1))


async def test_without_a_next_try_it_is_due_when_it_was(small_case: Case) -> None:
    before = await small_case.task()
    await small_case.move("attempt", outcome="no-answer")
    assert (await small_case.task())["restriction"] == before["restriction"]


async def test_a_call_before_its_window_can_be_due_again_before_it_opens(small_case: Case) -> None:
    small_case.world.clock.move_to(START + timedelta(hours=3))
    opens = tasks.window_of(await small_case.task())[0]
    assert opens is not None
    assert opens > small_case.world.clock()
    await small_case.move("attempt", outcome="no-answer", next_try=START + timedelta(hours=4))
    assert tasks.window_of(await small_case.task())[:2] == (START + timedelta(hours=4),) * 2


async def test_the_third_unanswered_attempt_fails_and_reaches_the_named_clinician(server: Server) -> None:
    world = await make_world(server)
    prescriber = await server.client().create({"resourceType": "Practitioner", "name": [{"family": "Sato"}]})
    owners = Owners(prescriber=f"Practitioner/{prescriber['id']}")
    world.context = replace(world.context, clinic=replace(world.context.clinic, owners=owners))
    case = await make_case(world)
    await case.no_answers(2)
    assert await case.reviews() == []
    moved = await case.move("attempt", outcome="no-answer", next_try=world.clock() + timedelta(hours=1))
    task = await case.task()
    assert standing(task) == ("failed", "unreachable", case.nurse)
    assert task["statusReason"]["coding"][0]["code"] == "unreachable"
    assert tasks.moment(task["executionPeriod"]["start"]) == MORNING
    assert tasks.moment(task["executionPeriod"]["end"]) == world.clock()
    assert [each["status"] for each in await case.calls()] == ["not-done"] * 3
    review = only(await case.reviews())
    assert moved.review == f"Task/{review['id']}"
    assert (review["status"], review["priority"]) == ("requested", "urgent")
    assert review["owner"]["reference"] == owners.prescriber
    assert tasks.window_of(review)[1] == MORNING.replace(hour=18) + timedelta(days=1), "the next business day"
    assert "not reached in 3 attempts" in only(review["input"])["valueString"]
    assert review["reasonReference"]["reference"] == f"Task/{task['id']}"


async def test_the_clinic_says_how_many_attempts_there_are(small_world: World) -> None:
    policy = replace(small_world.context.clinic.policy, call_attempts_max=1)
    small_world.context = replace(small_world.context, clinic=replace(small_world.context.clinic, policy=policy))
    case = await make_case(small_world)
    moved = await case.move("attempt", outcome="no-answer")
    task = await case.task()
    assert standing(task)[:2] == ("failed", "unreachable")
    assert task["executionPeriod"].keys() == {"start", "end"}
    assert moved.review


async def test_a_fourth_attempt_is_still_counted_where_the_clinic_allows_five(small_world: World) -> None:
    policy = replace(small_world.context.clinic.policy, call_attempts_max=5)
    small_world.context = replace(small_world.context, clinic=replace(small_world.context.clinic, policy=policy))
    case = await make_case(small_world)
    await case.no_answers(4)
    assert standing(await case.task())[:2] == ("in-progress", "attempt-3")
    assert len(await case.calls()) == 4
    await case.no_answers(1)
    assert standing(await case.task())[:2] == ("failed", "unreachable")


async def test_who_gives_up_before_the_third_attempt_has_the_clinician_look_too(small_case: Case) -> None:
    await small_case.no_answers(1)
    moved = await small_case.move("fail", reason="unreachable", note="Number does not exist")
    assert standing(await small_case.task())[:2] == ("failed", "unreachable")
    review = only(await small_case.reviews())
    assert moved.review == f"Task/{review['id']}"
    assert review["priority"] == "urgent"
    again = await small_case.move("fail", reason="unreachable", note="Number does not exist")
    assert (again.changed, again.review) == (False, moved.review)


async def test_a_call_not_reached_joins_the_review_that_is_open_already(small_reviewed: Case) -> None:
    before = only(await small_reviewed.reviews())
    await small_reviewed.no_answers(3)
    after = only(await small_reviewed.reviews())
    assert after["priority"] == before["priority"] == "stat", "it only rises"
    assert len(after["input"]) == len(before["input"]) + 1
    assert tasks.window_of(after)[1] == tasks.window_of(before)[1]


async def test_a_named_owner_keeps_the_work_that_a_colleague_helps_with(small_case: Case) -> None:
    await small_case.move("reassign", owner=small_case.colleague)
    await small_case.move("attempt", outcome="no-answer")
    assert standing(await small_case.task())[2] == small_case.colleague
    assert only(await small_case.calls())["sender"]["reference"] == small_case.nurse


async def test_the_call_that_a_discharge_asks_for_is_made(world: World) -> None:
    patient, encounter = await visit(world)
    await discharge(world.context, leaving(world, patient, encounter, start=START, end=END))
    world.clock.move_to(MORNING)
    case = Case(world, patient, world.nurse)
    assert legal_moves(await case.task()) == ("claim", "attempt", "complete", "fail", "decline", "reassign")
    assert "attempt" not in legal_moves(await case.task(terms.TEACH_BACK)), "that is taught face to face"
    await case.move("claim")
    await case.no_answers(3)
    assert standing(await case.task()) == ("failed", "unreachable", world.nurse)
    review = only(await case.reviews())
    assert review["basedOn"][0]["reference"].startswith("CarePlan/"), "it belongs to the course"


# --- the review ------------------------------------------------------------------------------------------------------
async def test_a_review_ends_with_a_disposition_and_not_without(reviewed: Case) -> None:
    with pytest.raises(InvalidInput) as refused:
        await reviewed.move("complete", terms.CLINICAL_REVIEW)
    assert refused.value.where == ("outcome",)
    done = await reviewed.move("complete", terms.CLINICAL_REVIEW, outcome="Spoke with her; safety plan agreed.")
    review = only(await reviewed.reviews())
    assert standing(review)[:2] == ("completed", "confirmed")
    assert review["output"] == [terms_output("Spoke with her; safety plan agreed.")]
    assert reviewed.nurse in await reviewed.who_signed(done.task)
    again = await reviewed.move("complete", terms.CLINICAL_REVIEW, outcome="Spoke with her; safety plan agreed.")
    assert not again.changed
    with pytest.raises(IllegalMove) as ended:
        await reviewed.move("complete", terms.CLINICAL_REVIEW, outcome="Something else.")
    assert ended.value.legal == ()


def terms_output(words: str) -> Resource:
    return tasks.text_input(terms.OUTPUT_OUTCOME, words)


@pytest.mark.parametrize(("move", "more"), [("fail", {"reason": "missed"}), ("decline", {})])
async def test_a_review_cannot_be_given_up(small_reviewed: Case, move: str, more: Mapping[str, Any]) -> None:
    with pytest.raises(IllegalMove) as refused:
        await small_reviewed.move(move, terms.CLINICAL_REVIEW, **more)
    assert refused.value.legal == ("claim", "attempt", "complete", "reassign")


async def test_calls_neither_end_a_review_nor_put_it_off(reviewed: Case) -> None:
    before = only(await reviewed.reviews())
    for _ in range(3):
        next_try = reviewed.world.clock() + timedelta(hours=5)
        moved = await reviewed.move("attempt", terms.CLINICAL_REVIEW, outcome="no-answer", next_try=next_try)
        reviewed.world.clock.advance(timedelta(minutes=5))
    review = only(await reviewed.reviews())
    assert standing(review)[:2] == ("in-progress", "attempt-3")
    assert tasks.window_of(review)[1] == tasks.window_of(before)[1], "its deadline is not put off"
    assert review["priority"] == "stat"
    assert [each for each in review["input"] if "call-unreachable" in each["valueString"]] != []
    assert moved.review == f"Task/{review['id']}"
    await reviewed.move("attempt", terms.CLINICAL_REVIEW, outcome="reached")
    assert standing(only(await reviewed.reviews()))[:2] == ("in-progress", "reached")
    await reviewed.move("complete", terms.CLINICAL_REVIEW, outcome="Safe; seen tomorrow.")
    assert standing(only(await reviewed.reviews()))[:2] == ("completed", "reached")


async def test_a_try_wanted_earlier_makes_a_review_due_earlier(small_reviewed: Case) -> None:
    sooner = small_reviewed.world.clock() + timedelta(minutes=10)
    await small_reviewed.move("attempt", terms.CLINICAL_REVIEW, outcome="no-answer", next_try=sooner)
    assert tasks.window_of(only(await small_reviewed.reviews()))[1] == sooner


# --- other ends ------------------------------------------------------------------------------------------------------
async def test_other_work_is_completed_with_or_without_words(small_case: Case) -> None:
    await small_case.move("complete", terms.TEACH_BACK, outcome="Repeated all five points.")
    task = await small_case.task(terms.TEACH_BACK)
    assert standing(task)[:2] == ("completed", "confirmed")
    assert terms_output("Repeated all five points.") in task["output"]
    await small_case.move("complete")
    assert standing(await small_case.task())[:2] == ("completed", "confirmed")
    assert not (await small_case.move("complete")).changed


async def test_a_patient_who_does_not_want_the_call_has_declined(small_case: Case) -> None:
    await small_case.move("decline", note="Asked not to be called")
    task = await small_case.task()
    assert (standing(task)[:2], task["statusReason"]["coding"][0]["code"]) == (
        ("rejected", "declined"), "declined-by-patient",
    )  # fmt: skip
    assert not (await small_case.move("decline", note="Asked not to be called")).changed


async def test_a_call_that_was_begun_is_cancelled_when_it_is_declined(small_case: Case) -> None:
    await small_case.no_answers(1)
    await small_case.move("decline")
    assert standing(await small_case.task())[:2] == ("cancelled", "declined")


@pytest.mark.parametrize("reason", FAIL_REASONS)
async def test_what_is_not_done_says_why(small_case: Case, reason: str) -> None:
    await small_case.move("fail", reason=reason)
    task = await small_case.task()
    assert standing(task)[:2] == FAIL_REASONS[reason]
    assert task["statusReason"]["coding"][0]["code"] == reason
    assert not (await small_case.move("fail", reason=reason)).changed


async def test_a_form_can_only_be_closed_by_staff_and_then_was_missed(small_case: Case) -> None:
    asked = await of_patient(small_case.world, "Task", small_case.patient)
    form = next(each for each in asked if tasks.asks_for(each) == terms.QUESTIONNAIRE_CHECK_IN)
    assert legal_moves(form) == ("fail", "decline")
    for move, more in (("claim", {}), ("complete", {}), ("attempt", {"outcome": "reached"})):
        with pytest.raises(IllegalMove):
            await small_case.move_of(form, move, **more)
    with pytest.raises(InvalidInput):
        await small_case.move_of(form, "fail", reason="unreachable")
    moved = await small_case.move_of(form, "fail", reason="missed")
    assert (moved.resource["status"], business(moved.resource)) == ("cancelled", "missed")


# --- twice, at once, out of date -------------------------------------------------------------------------------------
async def test_who_looked_at_an_older_version_is_told_to_look_again(case: Case) -> None:
    seen = await case.task()
    await case.move("claim", person=case.colleague)
    with pytest.raises(Stale) as refused:
        await case.move("attempt", outcome="no-answer", if_match=seen["meta"]["versionId"])
    assert refused.value.where == ("if_match",)
    assert "Read it again" in refused.value.remedy
    assert await case.calls() == []


@pytest.mark.parametrize("form", ['W/"{}"', '"{}"', "{}"])
async def test_an_etag_is_understood_however_it_is_written(small_case: Case, form: str) -> None:
    version = (await small_case.task())["meta"]["versionId"]
    assert (await small_case.move("claim", if_match=form.format(version))).changed


async def test_an_attempt_reported_again_is_one_attempt(case: Case) -> None:
    """A caller that heard nothing sends it again, with the version it had seen."""
    seen = (await case.task())["meta"]["versionId"]
    first = await case.move("attempt", outcome="no-answer", if_match=seen, next_try=LATER)
    again = await case.move("attempt", outcome="no-answer", if_match=seen, next_try=LATER)
    assert (again.attempt, again.changed) == (first.attempt, False)
    with pytest.raises(Stale):
        await case.move("attempt", outcome="reached", if_match=seen)
    with pytest.raises(Stale):
        await case.move("attempt", outcome="no-answer", if_match=seen, person=case.colleague)
    assert len(await case.calls()) == 1
    assert standing(await case.task())[:2] == ("in-progress", "attempt-1")


async def test_the_last_attempt_reported_again_is_one_attempt_and_one_review(case: Case) -> None:
    await case.no_answers(2)
    seen = (await case.task())["meta"]["versionId"]
    first = await case.move("attempt", outcome="no-answer", if_match=seen)
    again = await case.move("attempt", outcome="no-answer", if_match=seen)
    assert (again.attempt, again.review, again.changed) == (first.attempt, first.review, False)
    assert len(await case.reviews()) == 1


async def test_the_same_attempt_twelve_times_at_once_is_one_attempt(case: Case) -> None:
    task = await case.task()
    version = task["meta"]["versionId"]
    results = await asyncio.gather(
        *(
            case.move_of(task, "attempt", outcome="no-answer", if_match=version, context=case.world.another_process())
            for _ in range(12)
        )
    )
    assert len({each.attempt for each in results}) == 1
    assert len(await case.calls()) == 1
    assert standing(await case.task())[:2] == ("in-progress", "attempt-1")


class Deaf(FhirClient):
    """Does not hear the answer to its first transaction, which was written all the same."""

    heard = 0

    async def transaction(self, bundle: Mapping[str, Any]) -> TransactionAnswer:
        answer = await super().transaction(bundle)
        self.heard += 1
        if self.heard == 1:
            raise FhirTimeout("The connection was cut.")
        return answer


@pytest.mark.parametrize("if_match", [True, False])
async def test_an_attempt_whose_answer_was_lost_is_not_counted_twice(case: Case, *, if_match: bool) -> None:
    await case.no_answers(2)
    task = await case.task()
    server = case.world.server
    context = replace(case.world.context, fhir=Deaf(server.base_url, server.http))
    more = {"if_match": task["meta"]["versionId"]} if if_match else {}
    moved = await case.move_of(task, "attempt", outcome="no-answer", context=context, **more)
    assert len(await case.calls()) == 3
    assert moved.attempt == f"Communication/{(await case.calls())[-1]['id']}"
    assert moved.review == f"Task/{only(await case.reviews())['id']}"
    assert standing(moved.resource)[:2] == ("failed", "unreachable")


# --- what is refused -------------------------------------------------------------------------------------------------
async def test_a_task_of_another_clinic_on_the_same_server_is_refused(case: Case) -> None:
    other = await make_world(case.world.server, now=MORNING)
    task = await case.task()
    with pytest.raises(WrongSubject) as refused:
        await move_task(other.context, MoveRequest(f"Task/{task['id']}", "claim", person=other.nurse))
    assert refused.value.where == ("task",)
    assert await case.task() == task


async def test_a_task_that_is_not_the_named_patients_is_refused(case: Case) -> None:
    with pytest.raises(WrongSubject) as refused:
        await case.move("claim", patient="Patient/somebody-else")
    assert refused.value.where == ("patient",)
    assert (await case.move("claim", patient=case.patient)).changed


async def test_a_task_that_is_not_there_is_named_as_such(case: Case) -> None:
    with pytest.raises(NotFound) as refused:
        await move_task(case.world.context, MoveRequest("Task/no-such-task", "claim", person=case.nurse))
    assert refused.value.where == ("task",)


@pytest.mark.parametrize(
    ("move", "more", "where"),
    [
        ("jump", {}, {"move"}),
        ("claim", {"person": None}, {"person"}),
        ("claim", {"person": "Okafor"}, {"person"}),
        ("claim", {"task": "Task/../Patient/1"}, {"task"}),
        ("claim", {"reason": "missed", "owner": "Practitioner/1"}, {"reason", "owner"}),
        ("attempt", {}, {"outcome"}),
        ("attempt", {"outcome": "busy"}, {"outcome"}),
        ("attempt", {"outcome": "reached", "next_try": LATER}, {"next_try"}),
        ("attempt", {"outcome": "no-answer", "next_try": MORNING}, {"next_try"}),
        ("complete", {"outcome": "  ", "note": ""}, {"outcome", "note"}),
        ("complete", {"next_try": LATER}, {"next_try"}),
        ("fail", {}, {"reason"}),
        ("fail", {"reason": "bored"}, {"reason"}),
        ("fail", {"reason": "left-alone"}, {"reason"}),
        ("reassign", {}, {"owner"}),
        ("reassign", {"owner": "Patient/1"}, {"owner"}),
    ],
)
def test_what_cannot_be_meant_is_refused_with_every_field_named(
    move: str, more: Mapping[str, Any], where: set[str]
) -> None:
    values = {"task": "Task/1", "person": "Practitioner/1", **more}
    with pytest.raises(InvalidInput) as refused:
        check_request(MoveRequest(move=move, **values), MORNING)  # type: ignore[arg-type]
    assert set(refused.value.where) == where


async def test_what_cannot_be_meant_is_refused_before_anything_is_asked(small_world: World) -> None:
    with pytest.raises(MissingZone):
        await move_task(
            small_world.context,
            MoveRequest("Task/1", "attempt", outcome="no-answer", next_try=LATER.replace(tzinfo=None)),
        )
    assert small_world.round_trips() == []


async def test_no_message_holds_what_was_written_about_the_patient(small_case: Case) -> None:
    secret = "Ana cries at night"
    await small_case.move("decline")
    caught: list[AftercareError] = []
    for move, more in (("complete", {"outcome": secret}), ("claim", {"reason": secret}), ("decline", {"note": secret})):
        with pytest.raises(AftercareError) as refused:
            await small_case.move(move, **more)
        caught.append(refused.value)
    assert not any(secret in f"{each} {each.where} {each.remedy}" for each in caught)


# --- what is written -------------------------------------------------------------------------------------------------
@pytest.mark.hapi
async def test_everything_a_move_writes_is_valid(validator: Server, official_validator: OfficialValidator) -> None:
    case = await make_case(await make_world(validator))
    await case.move("claim", note="Mine")
    await case.move("release")
    await case.move("reassign", owner=case.colleague)
    await case.no_answers(3)
    await case.move("attempt", terms.CLINICAL_REVIEW, outcome="reached", note="Well")
    await case.move("complete", terms.CLINICAL_REVIEW, outcome="Nothing to do.")
    await case.move("decline", terms.TEACH_BACK)
    client = validator.client()
    written = await case.calls()
    for task in await of_patient(case.world, "Task", case.patient):
        written += await client.history("Task", task["id"])
        written += (await client.search_all("Provenance", {"target": f"Task/{task['id']}"})).matches
    wrong = {f"{each['resourceType']}: {fault}" for each in written for fault in await faults(validator, each)}
    wrong |= {str(issue) for issues in official_validator.validate(written) for issue in issues if issue.is_error}
    assert wrong == set()
