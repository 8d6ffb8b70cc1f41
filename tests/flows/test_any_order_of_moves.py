"""In whatever order people move a Task: it never goes back, an end stays an end, and what is called legal is done."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fhir_aftercare.bootstrap import shipped_protocol
from fhir_aftercare.care.status import TASK_MOVES
from fhir_aftercare.care.timing import Window
from fhir_aftercare.errors import IllegalMove, InvalidInput
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.check import check_bundle
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.flows.chart import Chart
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.flows.move_request import FAIL_REASONS, MoveRequest, check_request
from fhir_aftercare.flows.move_task import decide
from fhir_aftercare.flows.task_facts import attempts_of, is_claimed, is_form, is_review, legal_moves
from world import START, make_clinic

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.fhir.bundles import Transaction

Resource = dict[str, Any]

MORNING = START + timedelta(hours=21)
PATIENT = "Patient/p"
TASK = "Task/t"
PROTOCOL = shipped_protocol()
# How far a Task has come; ends come last.
ORDER = ("draft", "requested", "received", "ready", "on-hold", "accepted", "in-progress")
PEOPLE = ("Practitioner/okafor", "Practitioner/lind", None)
PERSON = st.sampled_from(PEOPLE)
NOTE = st.sampled_from([None, None, "rang twice", "will be late"])
OWNERS = ("Practitioner/okafor", "Practitioner/lind", "CareTeam/night")


class Store:
    """What a FHIR server keeps, as far as transactions of a move go."""

    def __init__(self) -> None:
        self.held: dict[str, Resource] = {PATIENT: {"resourceType": "Patient", "id": "p"}}

    def put(self, resource: Resource) -> None:
        reference = f"{resource['resourceType']}/{resource['id']}"
        version = int(self.held.get(reference, {}).get("meta", {}).get("versionId", 0)) + 1
        self.held[reference] = {**resource, "meta": {**resource.get("meta", {}), "versionId": str(version)}}

    def chart(self) -> Chart:
        by_type: dict[str, list[Resource]] = {}
        for each in copy.deepcopy(list(self.held.values())):
            by_type.setdefault(each["resourceType"], []).append(each)
        return Chart(self.held[PATIENT], None, by_type)

    def write(self, transaction: Transaction) -> None:
        bundle = transaction.bundle()
        check_bundle(bundle, transaction.existing)
        urns = {}
        for number, entry in enumerate(bundle["entry"]):
            resource = entry["resource"]
            if entry["request"]["method"] == "POST":
                resource["id"] = f"n{len(self.held)}-{number}"
                urns[entry["fullUrl"]] = f"{resource['resourceType']}/{resource['id']}"
        for entry in bundle["entry"]:
            self.put(replaced(entry["resource"], urns))


def replaced(value: Any, urns: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: replaced(each, urns) for name, each in value.items()}
    if isinstance(value, list):
        return [replaced(each, urns) for each in value]
    return urns.get(value, value) if isinstance(value, str) else value


def first_task(identifiers: Identifiers, kind: str, status: str) -> Resource:
    """Give a Task as the flows make it: a call, a lesson, a form or a review."""
    inputs = [tasks.form_input(terms.QUESTIONNAIRE_CHECK_IN)] if kind == "form" else []
    codes = {"call": terms.FOLLOW_UP_CALL, "lesson": terms.TEACH_BACK, "review": terms.CLINICAL_REVIEW}
    expires = None if kind == "review" else MORNING + timedelta(hours=30)
    window = Window(MORNING, MORNING, MORNING + timedelta(hours=8), expires)
    work = tasks.Work(
        identifier=identifiers.identifier("activity", kind),
        code=codes.get(kind, terms.COMPLETE_QUESTIONNAIRE).concept(),
        priority="stat" if kind == "review" else "routine",
        description=None,
        patient=PATIENT,
        requester="Organization/clinic",
        owner=PATIENT if kind == "form" else "Organization/clinic",
        authored_on=START,
        window=window,
        inputs=inputs,
    )
    return {**tasks.make(work), "id": "t", "status": status}


class Moves(RuleBasedStateMachine):
    """People who move one Task, in any order, and a clock."""

    @initialize(
        kind=st.sampled_from(["call", "review", "call", "form", "lesson"]),
        status=st.sampled_from(["requested", "received", "ready", "on-hold"]),
    )
    def begin(self, kind: str, status: str) -> None:
        self.clock = SettableClock(MORNING)
        self.context = ClinicContext(
            make_clinic("Organization/clinic"),
            cast("FhirClient", None),  # what is decided asks no server
            PROTOCOL,
            Identifiers("https://fhir-aftercare.example.org/test/moves"),
            self.clock,
        )
        self.store = Store()
        self.store.put(first_task(self.context.identifiers, kind, status))
        self.calls = 0

    @property
    def task(self) -> Resource:
        return self.store.held[TASK]

    @rule(person=PERSON, hours=st.none() | st.integers(1, 60), note=NOTE)
    def call_in_vain(self, person: str | None, hours: int | None, note: str | None) -> None:
        again = None if hours is None else self.clock() + timedelta(hours=hours)
        self.try_to(MoveRequest(TASK, "attempt", person, outcome="no-answer", next_try=again, note=note))

    @rule(person=PERSON, note=NOTE)
    def call_and_reach(self, person: str | None, note: str | None) -> None:
        self.try_to(MoveRequest(TASK, "attempt", person, outcome="reached", note=note))

    @rule(person=st.sampled_from(PEOPLE[:2]), note=NOTE)
    def claim(self, person: str, note: str | None) -> None:
        self.try_to(MoveRequest(TASK, "claim", person, note=note))

    @rule(person=PERSON, owner=st.none() | st.sampled_from(OWNERS))
    def hand_over(self, person: str | None, owner: str | None) -> None:
        self.try_to(MoveRequest(TASK, "reassign" if owner else "release", person, owner=owner))

    @rule(person=PERSON, words=st.none() | st.sampled_from(["done", "nothing to do"]), note=NOTE)
    def complete(self, person: str | None, words: str | None, note: str | None) -> None:
        self.try_to(MoveRequest(TASK, "complete", person, outcome=words, note=note))

    @rule(person=PERSON, reason=st.none() | st.sampled_from(sorted(FAIL_REASONS)), note=NOTE)
    def give_up(self, person: str | None, reason: str | None, note: str | None) -> None:
        self.try_to(MoveRequest(TASK, "fail" if reason else "decline", person, reason=reason, note=note))

    def try_to(self, request: MoveRequest) -> None:
        check_request(request, self.clock())
        before, legal = copy.deepcopy(self.task), legal_moves(self.task)
        number = len(attempts_of(before)) + 1
        try:
            decision = decide(self.context, request, self.store.chart(), number)
        except (IllegalMove, InvalidInput) as error:
            self.look_at_refusal(request, before, error)
            return
        if decision.transaction.empty:
            assert decision.task == before, "a move that was made already changes nothing"
            return
        assert request.move in legal, "what is done was called legal"
        self.calls += request.move == "attempt"
        self.store.write(decision.transaction)
        self.look_at(before, self.task)
        if is_claimed(before) and request.move == "claim":
            raise AssertionError("what somebody has claimed was claimed by another")
        self.clock.advance(timedelta(minutes=1))
        repeated = decide(self.context, request, self.store.chart(), number)
        assert repeated.transaction.empty, "the same move again changes nothing"

    def look_at_refusal(self, request: MoveRequest, before: Resource, refused: IllegalMove | InvalidInput) -> None:
        legal = legal_moves(before)
        assert (request.move in legal) == isinstance(refused, InvalidInput)
        if isinstance(refused, IllegalMove):
            assert refused.legal == legal
            return
        without_words = is_review(before) and request.outcome is None
        assert without_words or (is_form(before) and request.reason == "unreachable")

    def look_at(self, before: Resource, after: Resource) -> None:
        assert after["status"] == before["status"] or after["status"] in TASK_MOVES[before["status"]]
        if before["status"] in ORDER and after["status"] in ORDER:
            assert ORDER.index(after["status"]) >= ORDER.index(before["status"]), "never backwards"
        assert tasks.is_open(before), "an end stays an end"
        assert tasks.LEVELS.index(after["priority"]) >= tasks.LEVELS.index(before["priority"])
        assert after.get("input", [])[: len(before.get("input", []))] == before.get("input", [])
        assert after.get("note", [])[: len(before.get("note", []))] == before.get("note", [])
        assert after["lastModified"] == tasks.instant(self.clock().astimezone(self.context.clinic.zone))
        if is_review(before):
            assert self.due(after) <= self.due(before), "the deadline of a review is not put off"
            assert after["status"] not in {"failed", "cancelled", "rejected"}

    @rule(minutes=st.sampled_from([1, 45, 400, 3000]))
    def time_passes(self, minutes: int) -> None:
        self.clock.advance(timedelta(minutes=minutes))

    @precondition(lambda self: tasks.is_open(self.task))
    @rule()
    def somebody_else_holds_it(self) -> None:
        if "on-hold" in TASK_MOVES[self.task["status"]]:
            self.store.put({**self.task, "status": "on-hold"})

    def due(self, task: Resource) -> datetime:
        found = tasks.window_of(task)[1]
        assert found is not None
        return found

    @invariant()
    def every_call_is_a_fact_of_its_own(self) -> None:
        if not hasattr(self, "store"):
            return
        facts = [each for each in self.store.held.values() if each["resourceType"] == "Communication"]
        assert len(facts) == self.calls == len(set(attempts_of(self.task)))
        assert len({each["identifier"][0]["value"] for each in facts}) == self.calls

    @invariant()
    def it_is_due_before_it_expires(self) -> None:
        if hasattr(self, "store"):
            expires = tasks.window_of(self.task)[2]
            assert expires is None or self.due(self.task) <= expires

    @invariant()
    def a_call_that_was_not_reached_has_its_review(self) -> None:
        if not hasattr(self, "store") or is_review(self.task):
            return
        reviews = [each for each in self.store.held.values() if each["resourceType"] == "Task" and is_review(each)]
        unreachable = self.task["businessStatus"]["coding"][0]["code"] == "unreachable"
        assert len(reviews) == int(unreachable)
        assert not tasks.is_open(self.task) or legal_moves(self.task), "open work is never stuck"


TestMoves = Moves.TestCase
TestMoves.settings = settings(max_examples=250, stateful_step_count=14, deadline=None)
