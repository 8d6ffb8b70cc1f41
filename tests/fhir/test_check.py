"""Nothing is sent that a FHIR server should not be given: each rule breaks alone, on an otherwise good transaction."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.errors import CheckFailed
from fhir_aftercare.fhir import exact_json, terms
from fhir_aftercare.fhir.check import WRITTEN, check_bundle, faults_of
from fhir_aftercare.fhir.identifiers import token_query
from fhir_aftercare.fhir.required_codes import unknown_codes

if TYPE_CHECKING:
    from collections.abc import Callable

Resource = dict[str, Any]

EXAMPLES = Path(__file__).parents[2] / "profiles" / "examples"
CREATED = (
    "Task-follow-up-call", "Task-phq-9", "CarePlan-infusion-1", "CarePlan-course-1", "ServiceRequest-no-driving",
    "Goal-phq9-remission", "Observation-blood-pressure", "Observation-phq-9-total", "Provenance-infusion-plan",
    "Device-fhir-aftercare", "QuestionnaireResponse-phq-9", "MedicationAdministration-infusion-1",
    "Procedure-infusion-1", "Observation-readiness",
)  # fmt: skip


def example(name: str) -> Resource:
    return exact_json.loads((EXAMPLES / f"{name}.json").read_bytes())


@dataclass
class Sent:
    """A transaction: every example created, and an update of a Task, a CarePlan and a restriction."""

    entries: list[Resource] = field(default_factory=list)
    existing: dict[str, Resource] = field(default_factory=dict)
    at: dict[str, int] = field(default_factory=dict)

    def create(self, name: str, resource: Resource) -> None:
        resource.pop("id", None)
        type_ = resource["resourceType"]
        request = {"method": "POST", "url": type_, "ifNoneExist": condition(resource)}
        self._add(name, {"fullUrl": urn(name), "resource": resource, "request": request})

    def update(self, name: str, resource: Resource, before: Resource) -> None:
        reference = f"{resource['resourceType']}/{resource['id']}"
        version = before.setdefault("meta", {}).setdefault("versionId", "7")
        self.existing[reference] = before
        self._add(
            name, {"resource": resource, "request": {"method": "PUT", "url": reference, "ifMatch": f'W/"{version}"'}}
        )

    def _add(self, name: str, entry: Resource) -> None:
        self.at[name] = len(self.entries)
        self.entries.append(entry)

    def __getitem__(self, name: str) -> Resource:
        """Give the resource of that name."""
        found: Resource = self.entries[self.at[name]]["resource"]
        return found

    def entry(self, name: str) -> Resource:
        return self.entries[self.at[name]]

    def check(self) -> None:
        check_bundle({"resourceType": "Bundle", "type": "transaction", "entry": self.entries}, self.existing)

    def refused(self) -> CheckFailed:
        with pytest.raises(CheckFailed) as refused:
            self.check()
        return refused.value


def condition(resource: Resource) -> str:
    identifier = resource.get("identifier")
    if identifier is None:
        return token_query("_tag", resource["meta"]["tag"][0]) if "meta" in resource else "identifier=x|y"
    return token_query("identifier", identifier[0] if isinstance(identifier, list) else identifier)


def urn(name: str) -> str:
    return f"urn:uuid:{uuid5(NAMESPACE_URL, name)}"


@pytest.fixture
def sent() -> Sent:
    return good()


def good() -> Sent:
    found = Sent()
    for name in CREATED:
        found.create(name, example(name))
    found["Task-follow-up-call"]["basedOn"] = [{"reference": urn("CarePlan-infusion-1")}]
    found["Observation-blood-pressure"]["contained"] = [
        {"resourceType": "Device", "id": "cuff", "status": "active"}, {"resourceType": "Patient", "id": "p"},
    ]  # fmt: skip
    found["Observation-blood-pressure"]["device"] = {"reference": "#cuff"}
    for name, kept, status in (
        ("Task-follow-up-call", "task", "accepted"),
        ("CarePlan-infusion-1", "plan", "completed"),
    ):
        before = {**example(name), "id": kept}
        before["status"] = "requested" if kept == "task" else "active"
        for extra in ("executionPeriod", "output", "statusReason"):
            before.pop(extra, None)
        found.update(kept, {**copy.deepcopy(before), "status": status}, before)
    before = {**example("ServiceRequest-no-driving"), "id": "restriction", "status": "active"}
    found.update("restriction", {**copy.deepcopy(before), "status": "completed"}, before)
    return found


def test_a_good_transaction_passes(sent: Sent) -> None:
    before = copy.deepcopy((sent.entries, sent.existing))
    sent.check()
    assert (sent.entries, sent.existing) == before, "it looks and changes nothing"


def test_every_type_we_write_is_in_the_good_transaction() -> None:
    assert set(WRITTEN) - {"Communication"} == {each["resource"]["resourceType"] for each in good().entries}


def put(path: str, value: Any) -> Callable[[Resource], None]:
    """Give a change that sets the element at ``path``; ``...`` takes it away."""

    def change(node: Any) -> None:
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        for step in steps:
            node = node[step]
        if value is ...:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)

    return change


TASK, FORM, PLAN, BP, SCORE = (
    "Task-follow-up-call", "Task-phq-9", "CarePlan-infusion-1", "Observation-blood-pressure", "Observation-phq-9-total",
)  # fmt: skip
CALL = "Task-follow-up-call"
DRIVING, GOAL, GIVEN = "ServiceRequest-no-driving", "Goal-phq9-remission", "MedicationAdministration-infusion-1"
WHEN = "2026-09-16T15:10:00-04:00"
EXPIRED = [{"url": terms.EXT_TASK_EXPIRY, "valueDateTime": WHEN}]

# name, change of the resource, place (below "entry[n].") and words of the one fault it makes
BROKEN: dict[str, tuple[str, Callable[[Resource], None], str, str]] = {
    # what the models find
    "a required element is missing": (PLAN, put("subject", ...), "CarePlan.subject", "is required"),
    "a required code is missing": (PLAN, put("intent", ...), "CarePlan.intent", "is required"),
    "an element R4 does not have": (CALL, put("vendor", "x"), "Task.vendor", "no element of R4"),
    "an element of R5": (CALL, put("doNotPerform", True), "Task.doNotPerform", "no element of R4"),
    "a time without a zone": (CALL, put("authoredOn", "2026-09-16T15:10:00"), "Task.authoredOn", "shape"),
    "two values at once": (FORM, put("input.0.valueBoolean", True), "Task.input[0]", "shape"),
    "a list where one is": (PLAN, put("period", [{"start": WHEN}]), "CarePlan.period", "shape"),
    # what they let pass: codes
    "a status that does not exist": (CALL, put("status", "bogus"), "Task.status", "no code"),
    "a priority that does not exist": (CALL, put("priority", "high"), "Task.priority", "no code"),
    "a code deep inside": (CALL, put("identifier.0.use", "mine"), "Task.identifier[0].use", "no code"),
    "a comparator that does not exist": (GOAL, put("target.0.detailQuantity.comparator", "~"),
                                         "Goal.target[0].detailQuantity.comparator", "no code"),
    "a code in what is contained": (BP, put("contained.1.gender", "x"), "Observation.contained[1].gender", "no code"),
    # shape of JSON
    "an empty list": (CALL, put("note", []), "Task.note", "is empty"),
    "an empty object": (PLAN, put("note", [{"text": "x", "extension": [{"url": "a:b", "valuePeriod": {}}]}]),
                        "CarePlan.note[0].extension[0].valuePeriod", "is empty"),
    "an empty string": (CALL, put("description", " "), "Task.description", "is empty"),
    "nothing where something is": (CALL, put("description", None), "Task.description", "JSON"),
    "a number in quotes": (BP, put("component.0.valueQuantity.value", "128"),
                           "Observation.component[0].valueQuantity.value", "JSON"),
    "a boolean in quotes": (DRIVING, put("doNotPerform", "true"), "ServiceRequest.doNotPerform", "JSON"),
    "a number for yes": (DRIVING, put("doNotPerform", 1), "ServiceRequest.doNotPerform", "JSON"),
    "yes for a number": (BP, put("component.0.valueQuantity.value", True),
                         "Observation.component[0].valueQuantity.value", "JSON"),
    "a time that is no text": (CALL, put("authoredOn", datetime(2026, 9, 16, tzinfo=UTC)), "Task.authoredOn", "JSON"),
    "a gap in a list": (PLAN, put("instantiatesCanonical", [None, "a:b"]), "CarePlan.instantiatesCanonical[0]", "JSON"),
    # what R4 servers do not know
    "a value only R4B has": (CALL, put("extension", [{"url": "a:b", "valueRatioRange": {"denominator": {"value": 1}}}]),
                             "Task.extension[0].valueRatioRange", "not in R4"),
    "comments of DSTU2": (CALL, put("fhir_comments", "x"), "Task.fhir_comments", "not in R4"),
    "an Observation about an Organization": (BP, put("subject", {"reference": "Organization/clinic"}),
                                             "Observation.subject", "refers to a Organization"),
    # ids and references
    "an id of 65 characters": (BP, put("contained.1.id", "x" * 65), "Observation.contained[1].id", "no id"),
    "a reference to no entry": (CALL, put("basedOn.0.reference", urn("nobody")), "Task.basedOn[0]", "no entry"),
    "a reference to no type": (CALL, put("encounter", {"reference": "Visit/1"}), "Task.encounter", "nothing"),
    "a reference to a search": (CALL, put("owner", {"reference": "Patient?identifier=1"}), "Task.owner", "nothing"),
    "a reference to what is not contained": (BP, put("device.reference", "#other"), "Observation.device", "nothing"),
    "a reference to a wrong type": (CALL, put("encounter", {"reference": "Patient/ana"}),
                                    "Task.encounter", "a Patient"),
    "a reference to an entry of a wrong type": (CALL, put("encounter", {"reference": urn(PLAN)}),
                                                "Task.encounter", "a CarePlan"),
    "an address that is a wrong type": (CALL, put("owner", {"reference": "https://ehr.example.com/fhir/Encounter/1"}),
                                        "Task.owner", "a Encounter"),
    "a contained reference to a wrong type": (BP, put("device.reference", "#p"), "Observation.device", "a Patient"),
    "an entry's name where it stays": (CALL, put("description", urn(PLAN)), "Task.description", "no server"),
    # data types
    "a code without a system": (CALL, put("code.coding.0.system", ...), "Task.code.coding[0]", "no system"),
    "a display alone": (CALL, put("code.coding", [{"display": "Call"}]), "Task.code.coding[0]", "no system"),
    "a unit without its system": (BP, put("component.1.valueQuantity.system", ...),
                                  "Observation.component[1].valueQuantity", "without its system"),
    "a unit without a number": (BP, put("component.1.valueQuantity.value", ...),
                                "Observation.component[1].valueQuantity", "no value"),
    "an extension of nothing": (CALL, put("extension.0.valueDateTime", ...), "Task.extension[0]", "neither"),
    "an extension of two minds": (CALL, put("extension.0.extension", [{"url": "a:b", "valueString": "x"}]),
                                  "Task.extension[0]", "neither"),
    "a period that ends before it starts": (PLAN, put("period", {"start": "2026-09-17", "end": "2026-09-16"}),
                                            "CarePlan.period", "ends before"),
    "a window that closes before it opens": (CALL, put("restriction.period", {"start": "2026-09-17T09:00:00-04:00",
                                                                               "end": "2026-09-17T08:59:59-04:00"}),
                                             "Task.restriction.period", "ends before"),
    # Task
    "nobody it is for": (CALL, put("for", ...), "Task.for", "is required"),
    "no time of writing": (CALL, put("authoredOn", ...), "Task.authoredOn", "is required"),
    "nobody who asked": (CALL, put("requester", ...), "Task.requester", "is required"),
    "no due date": (CALL, put("restriction.period.end", ...), "Task.restriction.period.end", "due"),
    "no restriction at all": (CALL, put("restriction", ...), "Task.restriction.period.end", "due"),
    "changed before it was written": (CALL, put("lastModified", "2020-01-01T00:00:00Z"), "Task.lastModified", "before"),
    "expiry before the due date": (CALL, put("extension", EXPIRED),
                                   "Task.extension", "expires"),
    "a form Task with focus": (FORM, put("focus", {"reference": "Patient/ana"}), "Task.focus", "questionnaire"),
    "a form Task without its form": (FORM, put("input", ...), "Task.input", "does not name"),
    "a completed form Task without answers": (FORM, put("output", ...), "Task.output", "does not point"),
    # CarePlan
    "an activity in words": (PLAN, put("activity.0", {"detail": {"status": "scheduled"}}),
                             "CarePlan.activity[0]", "by reference"),
    "an activity twice told": (PLAN, put("activity.0.detail", {"status": "scheduled"}),
                               "CarePlan.activity[0]", "by reference"),
    "an active plan without a start": (PLAN, put("period.start", ...), "CarePlan.period.start", "is required"),
    # the others
    "a restriction without an end": (DRIVING, put("occurrencePeriod.end", ...),
                                     "ServiceRequest.occurrencePeriod", "end"),
    "a restriction that orders": (DRIVING, put("doNotPerform", ...), "ServiceRequest.doNotPerform", "true"),
    "a restriction that may be driven": (DRIVING, put("doNotPerform", False), "ServiceRequest.doNotPerform", "true"),
    "an Observation about nobody": (BP, put("subject", ...), "Observation.subject", "is required"),
    "answers of nobody": ("QuestionnaireResponse-phq-9", put("subject", ...),
                          "QuestionnaireResponse.subject", "is required"),
    "an Observation of nothing": (BP, put("component", ...), "Observation.value", "is required"),
    "a value that is absent": (SCORE, put("dataAbsentReason", {"text": "x"}),
                               "Observation.dataAbsentReason", "no value"),
    "a part of nothing": (BP, put("component.0.valueQuantity", ...), "Observation.component[0].value", "is required"),
    "a part that is absent": (BP, put("component.0.dataAbsentReason", {"text": "x"}),
                              "Observation.component[0].dataAbsentReason", "no value"),
    "a target without a measure": (GOAL, put("target.0.measure", ...), "Goal.target[0].measure", "is required"),
    "a dosage without a dose": (GIVEN, put("dosage.dose", ...), "MedicationAdministration.dosage", "dose"),
    "a finished infusion without an end": (GIVEN, put("effectivePeriod.end", ...),
                                           "MedicationAdministration.effectivePeriod.end", "is required"),
    "a finished procedure without an end": ("Procedure-infusion-1", put("performedPeriod.end", ...),
                                            "Procedure.performedPeriod.end", "is required"),
    "a versioned target": ("Provenance-infusion-plan", put("target.0.reference", "Task/1/_history/1"),
                           "Provenance.target[0]", "versioned"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_it_is_refused_with_its_place(sent: Sent, what: str) -> None:
    name, change, place, words = BROKEN[what]
    change(sent[name])
    error = sent.refused()
    assert error.where == (f"entry[{sent.at[name]}].{place}",)
    assert words in error.message


@pytest.mark.parametrize("status", ["cancelled", "failed", "rejected"])
def test_a_task_that_ended_undone_says_why(sent: Sent, status: str) -> None:
    task = sent["task"]
    task["status"] = status
    assert sent.refused().where == (f"entry[{sent.at['task']}].Task.statusReason",)
    task["statusReason"] = terms.STATUS_REASONS["missed"].concept()
    sent.check()


@pytest.mark.parametrize("status", ["requested", "ready"])
def test_a_task_nobody_acted_on_was_not_carried_out(sent: Sent, status: str) -> None:
    sent["task"].update({"status": status, "executionPeriod": {"start": WHEN}})
    assert sent.refused().where == (f"entry[{sent.at['task']}].Task.executionPeriod",)


@pytest.mark.parametrize("status", ["draft", "entered-in-error"])
def test_a_draft_plan_needs_no_start(sent: Sent, status: str) -> None:
    sent[PLAN]["status"] = status
    del sent[PLAN]["period"]
    sent.check()


def test_subject_canonical_is_not_in_r4() -> None:
    definition = exact_json.loads((EXAMPLES.parent / "ActivityDefinition-no-driving.json").read_bytes())
    definition["subjectCanonical"] = "https://example.org/x"
    assert ("ActivityDefinition.subjectCanonical", "is not in R4") in faults_of(definition)


# --- requests --------------------------------------------------------------------------------------------------------
REQUESTS: dict[str, tuple[str, Callable[[Resource], None], str]] = {
    "a create without condition": (CALL, put("request.ifNoneExist", ...), "request.ifNoneExist"),
    "a create with an empty condition": (CALL, put("request.ifNoneExist", ""), "request.ifNoneExist"),
    "a create under another's identifier": (CALL, put("request.ifNoneExist", "identifier=a|b"), "request.ifNoneExist"),
    "a create that would not find itself": (CALL, put("resource.identifier.0.value", "other"), "request.ifNoneExist"),
    "a create elsewhere": (CALL, put("request.url", "Goal"), "request.url"),
    "a create with a version": (CALL, put("request.ifMatch", 'W/"1"'), "request"),
    "a create without a name of its own": (DRIVING, put("fullUrl", ...), "fullUrl"),
    "a create under an address": (DRIVING, put("fullUrl", "https://ehr.example.com/fhir/Task/1"), "fullUrl"),
    "an update without a version": ("task", put("request.ifMatch", ...), "request.ifMatch"),
    "an update of another version": ("task", put("request.ifMatch", 'W/"6"'), "request.ifMatch"),
    "an update with a bare version": ("task", put("request.ifMatch", "7"), "request.ifMatch"),
    "an update under another name": ("task", put("fullUrl", urn("x")), "fullUrl"),
    "an update that is conditional": ("task", put("request.ifNoneExist", "identifier=1"), "request"),
    "an update of another resource": ("task", put("resource.id", "other"), "request.url"),
    "a deletion": ("task", put("request.method", "DELETE"), "request.method"),
    "a read": ("task", put("request.method", "GET"), "request.method"),
    "something beside it": (CALL, put("search", {"mode": "match"}), "request"),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_is_refused_with_its_place(sent: Sent, what: str) -> None:
    name, change, place = REQUESTS[what]
    change(sent.entry(name))
    assert sent.refused().where == (f"entry[{sent.at[name]}].{place}",)


def test_an_update_of_what_was_not_read_is_refused(sent: Sent) -> None:
    del sent.existing["Task/task"]
    error = sent.refused()
    assert error.where == (f"entry[{sent.at['task']}].request.url",)
    assert "not read" in error.message


def test_two_entries_are_never_one(sent: Sent) -> None:
    sent.entry(FORM)["fullUrl"] = sent.entry(GOAL)["fullUrl"]
    assert sent.refused().where == tuple(f"entry[{at}].fullUrl" for at in sorted((sent.at[FORM], sent.at[GOAL])))


def test_two_creates_are_never_of_one_identifier(sent: Sent) -> None:
    sent[FORM]["identifier"] = sent[CALL]["identifier"]
    sent.entry(FORM)["request"]["ifNoneExist"] = sent.entry(CALL)["request"]["ifNoneExist"]
    assert sent.refused().where == tuple(f"entry[{at}].request" for at in sorted((sent.at[FORM], sent.at[CALL])))


def test_nothing_is_updated_twice(sent: Sent) -> None:
    sent.entries.append(copy.deepcopy(sent.entry("task")))
    assert sent.refused().where == tuple(f"entry[{at}].request" for at in (sent.at["task"], len(sent.entries) - 1))


@pytest.mark.parametrize("other", ["Patient/ben", "https://ehr.example.com/fhir/Patient/ben"])
@pytest.mark.parametrize(("name", "element"), [(FORM, "Task.for"), (SCORE, "Observation.subject")])
def test_a_transaction_is_about_one_patient(sent: Sent, name: str, element: str, other: str) -> None:
    sent[name][element.partition(".")[2]] = {"reference": other}
    error = sent.refused()
    assert error.where == (f"entry[{sent.at[name]}].{element}",)
    assert "ben" not in error.message


def test_the_same_patient_may_be_named_by_address(sent: Sent) -> None:
    sent[FORM]["for"] = {"reference": "https://ehr.example.com/fhir/Patient/ana"}
    sent.check()


def test_an_update_never_changes_whose_it_is() -> None:
    sent = Sent()
    before = {**example("ServiceRequest-no-driving"), "id": "1"}
    sent.update("restriction", {**before, "subject": {"reference": "Patient/ben"}}, before)
    assert sent.refused().where == ("entry[0].ServiceRequest.subject",)


@pytest.mark.parametrize(
    "bundle",
    [{}, {"resourceType": "Bundle", "type": "batch", "entry": []}, {"resourceType": "Bundle", "type": "transaction"}],
)
def test_only_a_transaction_is_sent(bundle: Resource) -> None:
    with pytest.raises(CheckFailed) as refused:
        check_bundle(bundle, {})
    assert refused.value.where == ("Bundle.type",)


@pytest.mark.parametrize("entry", ["x", {}, {"resource": {}}, {"request": {}}, {"resource": [], "request": {}}])
def test_every_entry_has_a_resource_and_a_request(sent: Sent, entry: Any) -> None:
    sent.entries.append(entry)
    assert sent.refused().where == ("Bundle.entry",)


@pytest.mark.parametrize("type_", ["Visit", "Coding", None, 3])
def test_a_type_r4_does_not_have_is_refused(type_: Any) -> None:
    sent = Sent()
    sent.create("x", {"resourceType": type_})
    assert "entry[0].resource" in sent.refused().where


@pytest.mark.parametrize("change", [put("resourceType", "Visit"), put("resourceType", ...)])
def test_a_type_r4_does_not_have_is_refused_inside_too(sent: Sent, change: Callable[[Resource], None]) -> None:
    change(sent[BP]["contained"][1])
    assert f"entry[{sent.at[BP]}].Observation.contained[1]" in sent.refused().where


# --- moves -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "before", "after", "legal"),
    [
        ("task", "accepted", "requested", "in-progress"),
        ("task", "completed", "in-progress", "entered-in-error"),
        ("plan", "completed", "active", "entered-in-error"),
        ("plan", "active", "draft", "on-hold"),
        ("restriction", "revoked", "active", "entered-in-error"),
    ],
)
def test_no_status_moves_where_it_may_not(sent: Sent, name: str, before: str, after: str, legal: str) -> None:
    reference = sent.entry(name)["request"]["url"]
    sent.existing[reference]["status"] = before
    sent[name]["status"] = after
    error = sent.refused()
    assert error.where == (f"entry[{sent.at[name]}].{reference.partition('/')[0]}.status",)
    assert legal in error.message


def test_what_ended_may_get_a_late_answer(sent: Sent) -> None:
    for task in (sent["task"], sent.existing["Task/task"]):
        task |= {"status": "failed", "statusReason": {"text": "x"}}
    sent["task"]["output"] = [{"type": {"text": "x"}, "valueString": "y"}]
    sent.check()


# --- what others wrote -----------------------------------------------------------------------------------------------
OLD_FAULTS: list[Resource] = [
    {"vendor": "x"},
    {"statusReason": None},
    {"encounter": {"reference": "Patient/ana"}},
    {"code": {"coding": [{"display": "Call"}]}},
    {"restriction": {"period": {"start": WHEN}}},
    {"meta": {"versionId": "7", "lastUpdated": "2026-09-16T15:10:00Z", "profile": []}},
]


@pytest.mark.parametrize("fault", OLD_FAULTS, ids=lambda fault: next(iter(fault)))
def test_a_fault_that_was_there_before_is_not_ours_to_refuse(sent: Sent, fault: Resource) -> None:
    sent.existing["Task/task"] |= copy.deepcopy(fault)
    sent["task"].update(copy.deepcopy(fault))
    sent.check()
    sent["task"]["priority"] = "high"
    assert sent.refused().where == (f"entry[{sent.at['task']}].Task.priority",)


def test_a_task_the_ehr_cancelled_without_saying_why_still_takes_the_answer(sent: Sent) -> None:
    sent.existing["Task/task"]["status"] = "cancelled"
    sent["task"].update({"status": "cancelled", "output": [{"type": {"text": "x"}, "valueString": "y"}]})
    sent.check()


def test_answers_are_kept_as_the_patient_gave_them(sent: Sent) -> None:
    answers = sent["QuestionnaireResponse-phq-9"]
    answers["item"].append({"linkId": "open", "answer": [{"valueCoding": {"display": "something else"}}]})
    sent.check()


@pytest.mark.parametrize(
    "period",
    [
        {"start": "2026-09", "end": "2026-09-16T08:00:00Z"},
        {"start": "2026-09-16T23:00:00-04:00", "end": "2026-09-17T03:00:00.000Z"},
        {"start": "2026-09-16", "end": "2026-09-16"},
        {"start": "2026"},
    ],
)
def test_of_partial_dates_only_what_both_say_is_compared(sent: Sent, period: Resource) -> None:
    sent[PLAN]["period"] = period
    sent.check()


def test_gaps_beside_extensions_of_primitives_are_fine(sent: Sent) -> None:
    reason = {"extension": [{"url": "https://example.org/x", "valueString": "y"}]}
    sent[PLAN]["instantiatesCanonical"] = ["https://example.org/a|1", None]
    sent[PLAN]["_instantiatesCanonical"] = [None, reason]
    sent[PLAN]["_title"] = reason
    sent.check()


@pytest.mark.parametrize(
    "reference",
    [
        {"reference": "Encounter/1/_history/3"},
        {"reference": "https://ehr.example.com/fhir/Encounter/1"},
        {"reference": "https://ehr.example.com/visits?id=1"},
        {"display": "the visit"},
        {"identifier": {"system": "https://ehr.example.com", "value": "1"}},
    ],
)
def test_references_that_r4_allows_pass(sent: Sent, reference: Resource) -> None:
    sent[CALL]["encounter"] = reference
    sent.check()


def test_contained_resources_may_refer_to_what_holds_them(sent: Sent) -> None:
    sent[BP]["contained"][0]["patient"] = {"reference": "#p"}
    sent[BP]["hasMember"] = [{"reference": "#"}]
    sent.check()


# --- the error itself ------------------------------------------------------------------------------------------------
def test_every_fault_is_named_at_once(sent: Sent) -> None:
    put("status", "bogus")(sent[CALL])
    put("lastModified", "2020-01-01T00:00:00Z")(sent[CALL])
    put("period.start", ...)(sent[PLAN])
    put("request.ifMatch", ...)(sent.entry("task"))
    call, plan, task = (sent.at[name] for name in (CALL, PLAN, "task"))
    assert set(sent.refused().where) == {
        f"entry[{call}].Task.status", f"entry[{call}].Task.lastModified", f"entry[{plan}].CarePlan.period.start",
        f"entry[{task}].request.ifMatch",
    }  # fmt: skip


def test_errors_hold_no_values(sent: Sent) -> None:
    secret = "Ana-Lopez-1971"
    for change in (
        put("authoredOn", secret), put("status", secret), put("priority", [secret]), put("identifier.0.use", secret),
        put("owner", {"reference": secret}), put("code.coding.0", {"display": secret}),
        put("restriction.period.start", secret), put("contained", [{"resourceType": secret}]),
    ):  # fmt: skip
        change(sent[CALL])
    sent.entry("task")["request"]["ifMatch"] = secret
    error = sent.refused()
    assert len(error.where) > 6
    assert secret not in repr((str(error), error.message, error.where, error.remedy))


JUNK = [None, "", "x", "urn:uuid:1", 1, Decimal("1.50"), True, [], {}, [None], [{}], {"x": 1}, {"reference": 1}, [[]]]


def places(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(found for step, each in steps for found in places(each, (*path, step)))]


PLACES = [each for each in places(good().entries) if each]


@given(place=st.sampled_from(PLACES), junk=st.sampled_from(JUNK))
def test_whatever_was_built_it_passes_or_is_refused_with_its_entry(place: tuple[str | int, ...], junk: Any) -> None:
    sent = good()
    node: Any = sent.entries
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = copy.deepcopy(junk)
    where = places_refused(sent)
    assert where is None or all(each.startswith(("entry[", "Bundle.entry")) for each in where)
    if where is not None and place[1:2] == ("resource",) and len(place) > 3:  # deep in a resource it is about that one
        assert {each.partition(".")[0] for each in where} == {f"entry[{place[0]}]"}


def places_refused(sent: Sent) -> tuple[str, ...] | None:
    try:
        sent.check()
    except CheckFailed as refused:
        return refused.where
    return None


# --- models ----------------------------------------------------------------------------------------------------------
def test_every_example_of_the_profiles_is_without_fault() -> None:
    for path in sorted(EXAMPLES.glob("*.json")):
        assert faults_of(exact_json.loads(path.read_bytes())) == [], path.name


def test_a_warm_check_imports_nothing_more() -> None:
    script = (
        "import json, sys; from fhir_aftercare.fhir.check import check_bundle, warm; warm(); known = set(sys.modules);"
        "check_bundle(json.load(sys.stdin), {}); print(sorted(set(sys.modules) - known))"
    )
    sent = Sent()
    for name in CREATED:
        sent.create(name, example(name))
    bundle = exact_json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": sent.entries})
    ran = subprocess.run([sys.executable, "-c", script], input=bundle, capture_output=True, check=False)
    assert (ran.stdout.strip(), ran.stderr) == (b"[]", b"")


def test_unknown_codes_are_found_anywhere() -> None:
    task = {"resourceType": "Task", "status": "bogus", "intent": "order", "identifier": [{"use": "mine"}]}
    contained = {"resourceType": "Patient", "gender": "x", "contact": [{"gender": "y"}]}
    assert list(unknown_codes(task)) == ["Task.status", "Task.identifier.use"]
    assert list(unknown_codes({"resourceType": "Basic", "contained": [contained]})) == [
        "Basic.contained.gender",
        "Basic.contained.contact.gender",
    ]
    assert list(unknown_codes({"resourceType": "Visit", "status": "bogus"})) == []


@pytest.mark.parametrize(
    ("type_", "status"),
    [
        ("Task", "entered-in-error"),
        ("Observation", "corrected"),
        ("Encounter", "finished"),
        ("DiagnosticReport", "final"),
    ],
)
def test_lists_that_the_models_cut_short_are_whole_here(type_: str, status: str) -> None:
    assert list(unknown_codes({"resourceType": type_, "status": status})) == []
    assert list(unknown_codes({"resourceType": type_, "status": "bogus"})) == [f"{type_}.status"]
