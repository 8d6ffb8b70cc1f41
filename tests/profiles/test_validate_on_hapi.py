"""A real FHIR server finds the profiles sound, every good example good, and every rule of every profile enforced.

A server accepts a profile whose differential it only half understands and then enforces half of it: so each rule has an
example that breaks that rule alone and must be refused.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.fhir import terms
from hapi_validation import faults
from profiles.lock import EXAMPLES, read

if TYPE_CHECKING:
    from servers import Server

pytestmark = pytest.mark.hapi

ARTEFACTS = read()
GOOD = read(EXAMPLES)
LOINC_CODING = {"system": terms.LOINC, "code": "8480-6"}
GONE = object()
GROUP = {"reference": "Group/1", "type": "Group"}

Change = dict[str, Any]


def changed(resource: dict[str, Any], change: Change) -> dict[str, Any]:
    """Give a copy with the elements at dotted paths set, or taken away (GONE)."""
    found = copy.deepcopy(resource)
    for path, value in change.items():
        *way, last = path.split(".")
        inner: Any = found
        for step in way:
            inner = inner[int(step)] if isinstance(inner, list) else inner[step]
        key = int(last) if isinstance(inner, list) else last
        if value is GONE:
            del inner[key]
        else:
            inner[key] = value
    return found


@pytest.mark.parametrize("name", ARTEFACTS)
async def test_an_artefact_is_valid(validator: Server, name: str) -> None:
    assert await faults(validator, ARTEFACTS[name]) == []


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_example_is_valid(validator: Server, name: str) -> None:
    assert await faults(validator, GOOD[name]) == []


ZONE = {"url": terms.EXT_PLAN_TIMEZONE, "valueString": "America/New_York"}
ESTIMATED = {"url": terms.EXT_ANCHOR_ESTIMATED, "valueBoolean": True}
HASH = {"url": terms.EXT_POLICY_HASH, "valueString": "9f86d081"}
EXPIRY = {"url": terms.EXT_TASK_EXPIRY, "valueDateTime": "2026-09-18T13:40:00-04:00"}
FORM = GOOD["Task-phq-9.json"]["input"][0]
PLAN = [
    ({"text": GONE}, "CarePlan.text"),
    ({"extension": GONE}, "planTimezone"),
    ({"identifier": GONE}, "CarePlan.identifier"),
    ({"instantiatesCanonical": GONE}, "CarePlan.instantiatesCanonical"),
    ({"intent": "order"}, "CarePlan.intent"),
    ({"category": [terms.ASSESS_PLAN.concept(), terms.INPUT_REASON.concept()]}, "kind"),
    ({"category.0": terms.INPUT_REASON.concept()}, "assessPlan"),
    ({"subject": GROUP}, "CarePlan.subject"),
    ({"period": GONE}, "ac-plan-1"),
    (
        {"activity": [{"detail": {"status": "scheduled", "description": "Call"}}]},
        "CarePlan.activity.detail",
    ),
]
SCORE = {"value": 28, "system": terms.UCUM, "code": "{score}"}
RULES: dict[str, list[tuple[Change, str]]] = {
    "CarePlan-course-1.json": PLAN,
    "CarePlan-infusion-1.json": [
        *PLAN,
        ({"partOf": [{"reference": "CarePlan/a"}, {"reference": "CarePlan/b"}]}, "CarePlan.partOf"),
        ({"extension": [ZONE, ZONE]}, "planTimezone"),
        ({"extension": [ZONE, ESTIMATED, ESTIMATED]}, "anchorEstimated"),
        ({"extension": [ZONE, HASH, HASH]}, "policyHash"),
    ],
    "ServiceRequest-no-driving.json": [
        ({"identifier": GONE}, "ServiceRequest.identifier"),
        ({"instantiatesCanonical": GONE}, "ServiceRequest.instantiatesCanonical"),
        ({"basedOn": GONE}, "ServiceRequest.basedOn"),
        ({"intent": "plan"}, "ServiceRequest.intent"),
        ({"doNotPerform": GONE}, "ServiceRequest.doNotPerform"),
        ({"doNotPerform": False}, "ServiceRequest.doNotPerform"),
        ({"code": GONE}, "ServiceRequest.code"),
        ({"code.text": GONE}, "ServiceRequest.code.text"),
        ({"code.text": "Driving"}, "ac-restriction-1"),
        ({"subject": GROUP}, "ServiceRequest.subject"),
        ({"occurrencePeriod": GONE}, "ServiceRequest.occurrence"),
        ({"occurrencePeriod": GONE, "occurrenceDateTime": "2026-09-17"}, "ServiceRequest.occurrence"),
        ({"occurrencePeriod.start": GONE}, "start"),
        ({"occurrencePeriod.end": GONE}, "end"),
        ({"occurrencePeriod.end": "2026-09-16T13:00:00-04:00"}, "ac-restriction-2"),
        ({"authoredOn": GONE}, "ServiceRequest.authoredOn"),
        ({"requester": GONE}, "ServiceRequest.requester"),
        ({"patientInstruction": GONE}, "ServiceRequest.patientInstruction"),
    ],
    "Task-follow-up-call.json": [
        ({"identifier": GONE}, "Task.identifier"),
        ({"businessStatus": terms.INPUT_REASON.concept()}, "Task.businessStatus"),
        ({"intent": "plan"}, "Task.intent"),
        ({"priority": GONE}, "Task.priority"),
        ({"code": GONE}, "Task.code"),
        ({"for": GONE}, "Task.for"),
        ({"for": GROUP}, "Task.for"),
        ({"authoredOn": GONE}, "Task.authoredOn"),
        ({"requester": GONE}, "Task.requester"),
        ({"restriction": GONE}, "Task.restriction"),
        ({"restriction.period": GONE}, "Task.restriction.period"),
        ({"restriction.period.end": GONE}, "Task.restriction.period.end"),
        ({"restriction.period.start": "2026-09-18T09:00:00-04:00"}, "ac-task-4"),
        ({"extension.0.valueDateTime": "2026-09-17T12:00:00-04:00"}, "ac-task-3"),
        ({"extension.0": {"url": terms.EXT_TASK_EXPIRY, "valueString": "tomorrow"}}, "Extension"),
        ({"extension": [EXPIRY, EXPIRY]}, "taskExpiry"),
        ({"status": "cancelled"}, "ac-task-1"),
        ({"executionPeriod": {"start": "2026-09-17T09:00:00-04:00"}}, "ac-task-2"),
    ],
    "Task-phq-9.json": [
        ({"priority": GONE}, "Task.priority"),
        ({"code": terms.COMPLETE_QUESTIONNAIRE.concept()}, "Task.code"),
        ({"focus": {"reference": "CarePlan/course-1"}}, "Task.focus"),
        ({"owner": GONE}, "Task.owner"),
        ({"input": GONE}, "Task.input"),
        ({"input": [FORM, FORM]}, "questionnaire"),
        ({"input.0.type": terms.INPUT_REASON.concept()}, "questionnaire"),
        ({"input.0.valueCanonical": GONE, "input.0.valueString": "phq-9"}, "Task.input"),
        ({"output": GONE}, "ac-pro-task-1"),
    ],
    "Observation-blood-pressure.json": [
        ({"identifier": GONE}, "Observation.identifier"),
        ({"category": GONE}, "Observation.category"),
        ({"subject": GONE}, "Observation.subject"),
        ({"effectiveDateTime": GONE}, "Observation.effective"),
        ({"effectiveDateTime": GONE, "effectivePeriod": {"start": "2026-09-16T13:00:00-04:00"}}, "effective"),
        ({"performer": GONE}, "Observation.performer"),
        ({"component": GONE}, "ac-obs-1"),
        ({"code": {"coding": [LOINC_CODING]}}, "ac-obs-2"),
    ],
    "Observation-readiness.json": [
        ({"identifier": GONE}, "Observation.identifier"),
        ({"category": GONE}, "Observation.category"),
        ({"code": terms.MOAA_S.concept()}, "Observation.code"),
        ({"subject": GONE}, "Observation.subject"),
        ({"effectiveDateTime": GONE}, "Observation.effective"),
        ({"performer": GONE}, "Observation.performer"),
        ({"valueBoolean": True}, "Observation.value"),
        ({"component.0": GONE}, "Observation.component"),
        ({"component.0.code": terms.MOAA_S.concept()}, "component[0].code"),
        ({"component.0.code": terms.ESCORT_PRESENT.concept()}, "ac-ready-1"),
        ({"component.0.valueBoolean": GONE}, "ac-ready-2"),
        ({"component.0.valueBoolean": GONE, "component.0.valueInteger": 1}, "component[0].value"),
    ],
    "Observation-phq-9-total.json": [
        ({"identifier": GONE}, "Observation.identifier"),
        ({"category": [terms.EXAM.concept()]}, "survey"),
        ({"code": {"coding": [LOINC_CODING]}}, "ac-score-2"),
        ({"subject": GONE}, "Observation.subject"),
        ({"effectiveDateTime": GONE}, "Observation.effective"),
        ({"performer": GONE}, "Observation.performer"),
        ({"valueQuantity": GONE}, "ac-score-1"),
        ({"valueQuantity": GONE, "valueString": "7"}, "valueString"),
        ({"valueQuantity": SCORE}, "ac-score-4"),
        ({"valueQuantity": SCORE, "code": terms.PHQ9_ITEM9.concept()}, "ac-score-3"),
        ({"valueQuantity": SCORE, "code": terms.GAD7_TOTAL.concept()}, "ac-score-5"),
        ({"derivedFrom": GONE}, "Observation.derivedFrom"),
    ],
    "Provenance-infusion-plan.json": [
        ({"meta.tag": GONE}, "Provenance.meta.tag"),
        ({"policy": GONE}, "Provenance.policy"),
        ({"activity": GONE}, "Provenance.activity"),
        ({"target.0.reference": "CarePlan/infusion-1/_history/1"}, "ac-prov-1"),
    ],
    "Goal-phq9-remission.json": [
        ({"identifier": GONE}, "Goal.identifier"),
        ({"subject": GROUP}, "Goal.subject"),
        ({"target": GONE}, "Goal.target"),
        ({"target.0.measure": GONE}, "Goal.target"),
        ({"target.0.detailQuantity": GONE}, "Goal.target"),
        ({"target.0.dueDate": GONE}, "Goal.target"),
    ],
    "MedicationAdministration-infusion-1.json": [
        ({"identifier": GONE}, "MedicationAdministration.identifier"),
        (
            {"medicationCodeableConcept": GONE, "medicationReference": {"reference": "Medication/1"}},
            "MedicationAdministration.medication",
        ),
        ({"subject": GROUP}, "MedicationAdministration.subject"),
        ({"effectivePeriod": GONE, "effectiveDateTime": "2026-09-16"}, "MedicationAdministration.effective"),
        ({"effectivePeriod.start": GONE}, "start"),
        ({"effectivePeriod.end": GONE}, "ac-infusion-1"),
        ({"effectivePeriod.end": "2026-09-16T12:00:00-04:00"}, "ac-infusion-2"),
    ],
    "Procedure-infusion-1.json": [
        ({"identifier": GONE}, "Procedure.identifier"),
        ({"code": terms.TEACH_BACK.concept()}, "Procedure.code"),
        ({"subject": GROUP}, "Procedure.subject"),
        ({"performedPeriod": GONE}, "Procedure.performed"),
        ({"performedPeriod": GONE, "performedDateTime": "2026-09-16"}, "Procedure.performed"),
        ({"performedPeriod.start": GONE}, "start"),
        ({"performedPeriod.end": GONE}, "ac-infusion-1"),
        ({"performedPeriod.end": "2026-09-16T12:00:00-04:00"}, "ac-infusion-2"),
    ],
}
CASES = [
    pytest.param(name, change, rule, id=f"{name.removesuffix('.json')}-{'+'.join(change)}-{rule}")
    for name, rules in RULES.items()
    for change, rule in rules
]


@pytest.mark.parametrize(("name", "change", "rule"), CASES)
async def test_a_broken_rule_is_refused(validator: Server, name: str, change: Change, rule: str) -> None:
    found = await faults(validator, changed(GOOD[name], change))
    assert any(rule in fault for fault in found), found


def test_each_profile_has_rules_that_are_tried() -> None:
    profiled = {name for name, each in GOOD.items() if each.get("meta", {}).get("profile")}
    assert profiled == RULES.keys()
    constraints = {
        constraint["key"]
        for each in ARTEFACTS.values()
        if each["resourceType"] == "StructureDefinition"
        for element in each["differential"]["element"]
        for constraint in element.get("constraint", [])
    }
    tried = {rule for rules in RULES.values() for _, rule in rules}
    assert constraints - tried <= {"ac-plan-2"}, "text.div is required by FHIR itself"


# --- extensions: right value, wrong value, wrong place ---------------------------------------------------------------
HOURS = {"value": 48, "unit": "h", "system": terms.UCUM, "code": "h"}
INPUT = [
    {"url": "type", "valueCodeableConcept": terms.INPUT_SELF_CARE.concept()},
    {"url": "text", "valueString": "Rest today."},
    {"url": "language", "valueCode": "en"},
]
VALUES: dict[str, tuple[Change, Change]] = {
    terms.EXT_EXPIRY_OFFSET: ({"valueDuration": HOURS}, {"valueString": "48 h"}),
    terms.EXT_AT_LOCAL_TIME: ({"valueTime": "07:00:00"}, {"valueString": "07:00"}),
    terms.EXT_STAFF_HOURS: ({"valueBoolean": True}, {"valueString": "yes"}),
    terms.EXT_CONCERNS: ({"valueId": "no-driving"}, {"valueString": "no driving"}),
    terms.EXT_OWNER_ROLE: ({"valueCode": "nurse"}, {"valueCode": "porter"}),
    terms.EXT_TASK_INPUT: ({"extension": INPUT}, {"extension": INPUT[:2]}),
    terms.EXT_TASK_EXPIRY: ({"valueDateTime": "2026-09-18T13:40:00-04:00"}, {"valueString": "tomorrow"}),
    terms.EXT_PLAN_TIMEZONE: ({"valueString": "America/New_York"}, {"valueBoolean": True}),
    terms.EXT_ANCHOR_ESTIMATED: ({"valueBoolean": True}, {"valueString": "yes"}),
    terms.EXT_POLICY_HASH: ({"valueString": "9f86d081"}, {"valueInteger": 1}),
}
PLACES = {each["url"]: each["context"][0]["expression"] for each in ARTEFACTS.values() if each.get("context")}


def carrying(place: str, extension: dict[str, Any]) -> dict[str, Any]:
    """Give a resource that is good but for the extension it carries at the place."""
    plan = {"resourceType": "PlanDefinition", "status": "active"}
    related = {"actionId": "a", "relationship": "after-end", "extension": [extension]}
    if place == "PlanDefinition.action.relatedAction":
        return {**plan, "action": [{"id": "a", "title": "A"}, {"title": "B", "relatedAction": [related]}]}
    if place == "PlanDefinition.action":
        return {**plan, "action": [{"title": "A", "extension": [extension]}]}
    if place == "ActivityDefinition":
        return {"resourceType": place, "status": "active", "extension": [extension]}
    good = {"Task": "Task-follow-up-call.json", "CarePlan": "CarePlan-infusion-1.json"}[place]
    others = [each for each in GOOD[good]["extension"] if each["url"] != extension["url"]]
    return {**GOOD[good], "extension": [*others, extension]}


@pytest.mark.parametrize("url", VALUES)
async def test_an_extension_takes_what_it_is_for(validator: Server, url: str) -> None:
    right, wrong = VALUES[url]
    assert await faults(validator, carrying(PLACES[url], {"url": url, **right})) == []
    assert await faults(validator, carrying(PLACES[url], {"url": url, **wrong})) != []
    elsewhere = {"resourceType": "Patient", "extension": [{"url": url, **right}]}
    assert any("not allowed" in fault for fault in await faults(validator, elsewhere))


def test_every_extension_is_tried() -> None:
    assert VALUES.keys() == PLACES.keys()
