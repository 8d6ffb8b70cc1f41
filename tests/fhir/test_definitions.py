"""Loading a protocol: the shipped one says what was meant, and a faulty one is refused with file, action and remedy."""

from __future__ import annotations

import copy
import json
from datetime import datetime, time
from decimal import Decimal
from time import perf_counter
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_aftercare.care.timing import Offset, latest
from fhir_aftercare.care.timing import Window as When
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.definitions import Repeat
from fhir_aftercare.fhir.expression import Type
from fhir_aftercare.fhir.loading import load_protocol
from fhir_aftercare.protocol_files import read_protocol_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.fhir.definitions import Action, Protocol

Resource = dict[str, Any]

INFUSION = "PlanDefinition-ketamine-infusion-aftercare.json"
COURSE = "PlanDefinition-ketamine-course-monitoring.json"
NO_DRIVING = "ActivityDefinition-no-driving.json"
TEACH_BACK = "ActivityDefinition-teach-back.json"
CALL = "ActivityDefinition-follow-up-call.json"
NOT_READY = "ActivityDefinition-discharged-not-ready.json"
PHQ9 = "Questionnaire-phq-9.json"
SHIPPED = read_protocol_files(None)
PROTOCOL = load_protocol(SHIPPED)


def activity(name: str) -> str:
    return f"{terms.ACTIVITY_DEFINITION}/{name}"


def action_of(plan: Resource, name: str) -> Resource:
    found: Resource = next(each for each in plan["action"] if each["id"] == name)
    return found


def loaded(file: str, change: Callable[[Resource], object], **more: Resource) -> Protocol:
    """Load the shipped protocol with one file changed, and further files."""
    resource = copy.deepcopy(SHIPPED[file])
    change(resource)
    return load_protocol({**SHIPPED, file: resource, **more})


def infusion_with(name: str, change: Callable[[Resource], object]) -> Protocol:
    return loaded(INFUSION, lambda plan: change(action_of(plan, name)))


def the(protocol: Protocol, name: str) -> Action:
    return next(action for action in protocol.infusion.actions if action.id == name)


def duration(value: float, code: str, at: str | None = None) -> Resource:
    found: Resource = {"value": value, "system": terms.UCUM, "code": code}
    if at:
        found["extension"] = [{"url": terms.EXT_AT_LOCAL_TIME, "valueTime": at}]
    return found


def window(low: Resource, high: Resource) -> Resource:
    return {"url": terms.EXT_ACCEPTABLE_OFFSET, "valueRange": {"low": low, "high": high}}


def expiry(offset: Resource) -> Resource:
    return {"url": terms.EXT_EXPIRY_OFFSET, "valueDuration": offset}


def related(
    target: Resource,
    *extensions: Resource,
    relationship: str = "after-end",
    anchor: str = "infusion",
) -> Resource:
    return {
        "extension": list(extensions),
        "actionId": anchor,
        "relationship": relationship,
        "offsetDuration": target,
    }


def condition(text: str) -> Resource:
    return {"kind": "applicability", "expression": {"language": "text/fhirpath", "expression": text}}


# --- the shipped protocol --------------------------------------------------------------------------------------------
def test_the_shipped_protocol_is_read_and_checked_in_less_than_a_tenth_of_a_second() -> None:
    def once() -> float:
        start = perf_counter()
        load_protocol(read_protocol_files(None))
        return perf_counter() - start

    assert min(once() for _ in range(3)) < 0.1


def test_every_action_of_the_files_is_there_in_their_order() -> None:
    for plan, file in ((PROTOCOL.infusion, INFUSION), (PROTOCOL.course, COURSE)):
        assert [action.id for action in plan.actions] == [each["id"] for each in SHIPPED[file]["action"]]
        assert plan.canonical == f"{SHIPPED[file]['url']}|1.0.0"
        assert plan.file == file
    assert PROTOCOL.infusion.anchors == ("infusion",)
    assert PROTOCOL.course.anchors == ("course-start", "last-infusion")


def test_a_follow_up_call_is_read_whole() -> None:
    call = the(PROTOCOL, "follow-up-call")
    assert (call.must, call.staff_hours, call.concerns, call.is_anchor) == (True, True, None, False)
    assert call.titles == {"en": "Follow-up call"}
    assert [each.text for each in call.conditions] == ["%patientHasLeft = true"]
    (when,) = call.related
    assert (when.anchor, when.relationship) == ("infusion", "after-end")
    assert [(part.value, part.unit, part.at) for part in when.parts] == [
        (18, "h", None), (24, "h", None), (36, "h", None), (48, "h", None),
    ]  # fmt: skip
    work = PROTOCOL.activity(call.definition or "")
    assert (work.kind, work.owner_role, work.priority) == ("Task", "nurse", "routine")
    assert work.titles["es"] == "Llamada de seguimiento"


def test_a_time_of_day_on_a_whole_window_holds_for_each_part_without_its_own() -> None:
    (when,) = the(PROTOCOL, "day-1-check-in").related
    assert [part.at for part in when.parts] == [time(9), time(9), time(21), time(21)]
    (when,) = the(PROTOCOL, "day-3-check-in").related
    assert {part.at for part in when.parts} == {time(9)}


@pytest.mark.parametrize(
    ("end", "release"),
    [
        ("2026-03-07T18:30:00-05:00", "2026-03-08T07:30:00-04:00"),
        ("2026-03-07T21:00:00-05:00", "2026-03-08T10:00:00-04:00"),
        ("2026-10-31T20:30:00-04:00", "2026-11-01T07:30:00-05:00"),
        ("2026-09-16T14:00:00-04:00", "2026-09-17T07:00:00-04:00"),
    ],
)
def test_driving_is_released_when_the_file_says(end: str, release: str) -> None:
    zone = ZoneInfo("America/New_York")
    anchor = datetime.fromisoformat(end)
    ends = [each.target.after(anchor, zone) for each in the(PROTOCOL, "no-driving").related]
    assert latest([When(None, each, None, None) for each in ends]).target == datetime.fromisoformat(release)


def test_a_restriction_only_opens_and_ends() -> None:
    for name in ("no-driving", "no-alcohol-sedatives-decisions"):
        action = the(PROTOCOL, name)
        assert all(each.high is None and each.expiry is None and each.low for each in action.related)
        assert PROTOCOL.activity(action.definition or "").do_not_perform


def test_the_teach_back_is_about_driving_and_says_the_same_in_both_languages() -> None:
    assert the(PROTOCOL, "teach-back").concerns == "no-driving"
    inputs = PROTOCOL.activity(activity("teach-back")).inputs
    assert len(inputs) * 2 == len([e for e in SHIPPED[TEACH_BACK]["extension"] if e["url"] == terms.EXT_TASK_INPUT])
    assert all(each.texts.keys() == {"en", "es"} for each in inputs)
    assert inputs[0].type["coding"][0]["code"] == terms.INPUT_SELF_CARE.code
    assert inputs[0].texts["es"].startswith("Acuéstese temprano")


def test_what_a_patient_is_told_of_a_restriction_is_there_in_spanish() -> None:
    (instruction,) = PROTOCOL.activity(activity("no-alcohol-sedatives-decisions")).dynamic
    assert instruction.path == "patientInstruction"
    assert str(instruction.expressions["es"].evaluate({})).startswith("Durante 24 horas")
    (instruction,) = PROTOCOL.activity(activity("no-driving")).dynamic
    assert instruction.expressions["en"].names == {"releaseText"}


def test_the_forms_of_a_course_are_repeated() -> None:
    actions = {action.id: action for action in PROTOCOL.course.actions}
    assert actions["phq-9-weekly"].repeat == Repeat(26, 1, "wk")
    assert actions["gad-7-monthly"].repeat == Repeat(5, 4, "wk")
    assert actions["phq-9-tail"].goals == ("phq9-response", "phq9-remission")


def test_the_goals_of_a_course_have_a_target_and_a_time() -> None:
    response, remission, anxiety = PROTOCOL.course.goals
    assert (response.id, remission.id, anxiety.id) == ("phq9-response", "phq9-remission", "gad7")
    assert list(response.detail) == ["detailCodeableConcept"]
    assert remission.detail["detailQuantity"]["value"] == 5
    assert anxiety.due == Offset(Decimal(4), "wk")
    assert anxiety.measure["coding"][0]["code"] == terms.GAD7_TOTAL.code


# --- finding by canonical --------------------------------------------------------------------------------------------
def test_every_action_names_the_exact_version_it_was_resolved_to() -> None:
    def unpin(plan: Resource) -> None:
        for each in plan["action"]:
            if "definitionCanonical" in each:
                each["definitionCanonical"] = each["definitionCanonical"].partition("|")[0]

    assert loaded(INFUSION, unpin).infusion.actions == PROTOCOL.infusion.actions


def test_without_a_version_the_highest_active_one_is_meant() -> None:
    versions = {"1.9.0": "active", "1.10.0": "active", "1.11.0": "retired", "2.0.0": "draft", "1.10.0-beta": "active"}
    more = {
        f"{version}.json": {**SHIPPED[CALL], "version": version, "status": status}
        for version, status in versions.items()
    }
    protocol = load_protocol({**SHIPPED, **more})
    assert protocol.activity(activity("follow-up-call")).version == "1.10.0"
    for version in versions:
        assert protocol.activity(f"{activity('follow-up-call')}|{version}").version == version
    assert the(protocol, "follow-up-call").definition == f"{activity('follow-up-call')}|1.0.0"


@pytest.mark.parametrize("canonical", ["", "https://example.org/none", f"{terms.PLAN_INFUSION}|9.0.0"])
def test_what_is_not_there_is_a_fault(canonical: str) -> None:
    for find in (PROTOCOL.plan, PROTOCOL.activity, PROTOCOL.form):
        with pytest.raises(ProtocolFault, match="The protocol has no"):
            find(canonical)


def test_kinds_of_definitions_are_told_apart() -> None:
    for canonical in (terms.QUESTIONNAIRE_PHQ9, f"{terms.QUESTIONNAIRE_PHQ9}|1.0.0"):
        assert PROTOCOL.is_form(canonical)
        assert not PROTOCOL.is_plan(canonical)
        assert not PROTOCOL.is_activity(canonical)
    assert PROTOCOL.is_plan(terms.PLAN_COURSE)
    assert PROTOCOL.is_activity(activity("teach-back"))
    assert not PROTOCOL.is_form(f"{terms.QUESTIONNAIRE_PHQ9}|2.0.0")
    assert PROTOCOL.form_resources()[f"{terms.QUESTIONNAIRE_PHQ9}|1.0.0"] == SHIPPED[PHQ9]


# --- what a clinic may write -----------------------------------------------------------------------------------------
def test_several_conditions_must_all_hold() -> None:
    protocol = infusion_with("no-driving", lambda action: action["condition"].append(condition("%ageYears > 17")))
    assert [each.text for each in the(protocol, "no-driving").conditions] == [
        "%patientHasLeft = true", "%ageYears > 17",
    ]  # fmt: skip


def test_before_the_start_is_turned_to_lie_before_the_anchor() -> None:
    def change(action: Resource) -> None:
        action["relatedAction"] = [
            related(
                duration(2, "d", "09:00:00"),
                window(duration(1, "d", "09:00:00"), duration(7, "d", "09:00:00")),
                expiry(duration(-12, "h")),
                relationship="before-start",
            )
        ]

    (when,) = the(infusion_with("baseline-phq-9", change), "baseline-phq-9").related
    assert [(part.value, part.unit, part.at) for part in when.parts] == [
        (-7, "d", time(9)), (-2, "d", time(9)), (-1, "d", time(9)), (12, "h", None),
    ]  # fmt: skip


def test_must_unless_documented_is_a_must() -> None:
    protocol = infusion_with("day-1-check-in", lambda a: a.update(requiredBehavior="must-unless-documented"))
    assert the(protocol, "day-1-check-in").must
    assert not the(PROTOCOL, "day-1-check-in").must


def test_numbers_may_have_been_read_as_floats() -> None:
    files = {name: json.loads(json.dumps(each, default=float)) for name, each in SHIPPED.items()}
    action_of(files[INFUSION], "no-driving")["relatedAction"][0]["offsetDuration"]["value"] = 12.5
    assert the(load_protocol(files), "no-driving").related[0].target == Offset(Decimal("12.5"), "h")


def test_extensions_of_others_and_resources_of_other_types_are_left_aside() -> None:
    foreign = {"url": "https://vendor.example.com/colour", "valueCode": "red"}
    protocol = infusion_with("follow-up-call", lambda action: action["extension"].append(foreign))
    assert the(protocol, "follow-up-call") == the(PROTOCOL, "follow-up-call")
    assert load_protocol({**SHIPPED, "Library-x.json": {"resourceType": "Library", "url": "x"}}) == PROTOCOL


def test_a_draft_plan_may_name_drafts() -> None:
    draft = {**SHIPPED[CALL], "version": "2.0.0", "status": "draft"}
    plan = copy.deepcopy(SHIPPED[INFUSION])
    plan.update(version="2.0.0", status="draft")
    action_of(plan, "follow-up-call")["definitionCanonical"] = f"{activity('follow-up-call')}|2.0.0"
    protocol = load_protocol({**SHIPPED, "call-2.json": draft, "plan-2.json": plan})
    assert protocol.infusion.version == "1.0.0"
    assert protocol.plan(f"{terms.PLAN_INFUSION}|2.0.0").status == "draft"


# --- faults: of a plan -----------------------------------------------------------------------------------------------
def drop(name: str) -> Callable[[Resource], object]:
    return lambda element: element.pop(name)


def put(**values: Any) -> Callable[[Resource], object]:
    return lambda element: element.update(values)


def first_related(**values: Any) -> Callable[[Resource], object]:
    return lambda action: action["relatedAction"][0].update(values)


def without_extension(url: str) -> Callable[[Resource], object]:
    def change(action: Resource) -> None:
        when = action["relatedAction"][0]
        when["extension"] = [each for each in when["extension"] if each["url"] != url]

    return change


def timed(*relateds: Resource) -> Callable[[Resource], object]:
    return put(relatedAction=list(relateds))


def expressed(text: str, language: str = "text/fhirpath", **more: Any) -> Callable[[Resource], object]:
    expression = {"language": language, "expression": text, **more}
    return put(condition=[{"kind": "applicability", "expression": expression}])


HOURS = (window(duration(18, "h"), duration(36, "h")), expiry(duration(48, "h")))
UNKNOWN_EXTENSION = {"url": f"{terms.BASE}/StructureDefinition/at-lokal-time", "valueTime": "07:00:00"}
EMPTY_TIMING: Resource = {"repeat": {"count": 3, "frequency": 1, "period": 1, "periodUnit": "d"}}
ACTION_FAULTS: dict[str, tuple[str, Callable[[Resource], object], str, str]] = {
    "unknown anchor": ("no-driving", first_related(actionId="infusoin"), "infusoin is no anchor", "infusion"),
    "an action that is no anchor": ("no-driving", first_related(actionId="teach-back"), "no anchor", "infusion"),
    "itself as anchor": ("no-driving", first_related(actionId="no-driving"), "no anchor", "infusion"),
    "unknown relationship": ("no-driving", first_related(relationship="concurrent"), "`relationship`", "after-end"),
    "no relationship": ("no-driving", lambda a: a["relatedAction"][0].pop("relationship"), "relationship", "Add"),
    "an offset range": ("no-driving", first_related(offsetRange={"low": {}}), "`offsetRange`", "offsetDuration"),
    "unknown unit": ("no-driving", first_related(offsetDuration=duration(12, "hour")), "unknown: hour", "min"),
    "unit not from UCUM": ("no-driving", first_related(offsetDuration={"value": 1, "code": "h"}), "`system`", "Add"),
    "a system of units that is none": (
        "no-driving", first_related(offsetDuration={**duration(12, "h"), "system": "http://x"}), "UCUM", terms.UCUM,
    ),
    "no value": ("no-driving", first_related(offsetDuration={**duration(1, "h"), "value": "12"}), "number", "quotes"),
    "half a day": ("no-driving", first_related(offsetDuration=duration(0.5, "d")), "whole", "whole d"),
    "at least": ("no-driving", first_related(offsetDuration={**duration(1, "h"), "comparator": ">"}), "exact", "Leave"),
    "clock time of hours": (
        "no-driving", first_related(offsetDuration=duration(12, "h", "07:00:00")), "wall clock", "at-local-time",
    ),
    "clock time that changes nothing": (
        "follow-up-call",
        lambda a: a["relatedAction"][0]["extension"].append({"url": terms.EXT_AT_LOCAL_TIME, "valueTime": "07:00:00"}),
        "changes nothing",
        "elapsed",
    ),
    "no time of day": ("no-driving", first_related(offsetDuration=duration(1, "d", "7 am")), "time of day", "07:00:00"),
    "misspelt extension": (
        "no-driving",
        first_related(offsetDuration={**duration(1, "d"), "extension": [UNKNOWN_EXTENSION]}),
        "at-lokal-time",
        "url",
    ),
    "misplaced extension": (
        "no-driving",
        put(extension=[{"url": terms.EXT_AT_LOCAL_TIME, "valueTime": "07:00:00"}]),
        "means nothing here",
        "move",
    ),
    "window out of order": (
        "follow-up-call",
        timed(related(duration(40, "h"), *HOURS)),
        "out of order",
        "low ≤ offsetDuration ≤ high ≤ expiry-offset",
    ),
    "expiry before due": (
        "follow-up-call",
        timed(related(duration(24, "h"), HOURS[0], expiry(duration(30, "h")))),
        "out of order",
        "≤",
    ),
    "order of different units": (
        "follow-up-call",
        timed(related(duration(24, "h"), HOURS[0], expiry(duration(1, "d", "08:00:00")))),
        "out of order",
        "≤",
    ),
    "order of times of day": (
        "follow-up-call",
        timed(
            related(
                duration(1, "d", "12:00:00"),
                window(duration(1, "d", "09:00:00"), duration(1, "d", "11:00:00")),
                expiry(duration(1, "wk")),
            )
        ),
        "out of order",
        "≤",
    ),
    "a window that ends before it opens after an evening": (
        "follow-up-call",
        timed(
            related(
                duration(12, "h"), window(duration(12, "h"), duration(1, "d", "08:00:00")), expiry(duration(2, "d"))
            )
        ),
        "depending on the time of day",
        "one unit",
    ),
    "no window": ("follow-up-call", without_extension(terms.EXT_ACCEPTABLE_OFFSET), "opens", "AcceptableOffsetRange"),
    "no expiry": ("follow-up-call", without_extension(terms.EXT_EXPIRY_OFFSET), "expires", "expiry-offset"),
    "no expiry of a form": ("day-1-check-in", without_extension(terms.EXT_EXPIRY_OFFSET), "expires", "expiry-offset"),
    "half a window": (
        "follow-up-call",
        lambda a: a["relatedAction"][0]["extension"][0]["valueRange"].pop("low"),
        "opens",
        "low and high",
    ),
    "two windows": (
        "follow-up-call",
        lambda a: a["relatedAction"][0]["extension"].append(a["relatedAction"][0]["extension"][0]),
        "2 times",
        "Keep one",
    ),
    "no time at all": ("follow-up-call", drop("relatedAction"), "no time", "relatedAction"),
    "a restriction that is due": ("no-driving", timed(related(duration(24, "h"), HOURS[0])), "only ends", "high"),
    "a restriction that expires": (
        "no-driving", timed(related(duration(12, "h"), expiry(duration(24, "h")))), "only ends", "expiry-offset",
    ),
    "a restriction of open hours": (
        "no-driving", put(extension=[{"url": terms.EXT_STAFF_HOURS, "valueBoolean": True}]), "closed", "staff-hours",
    ),
    "staff hours of nothing": (
        "follow-up-call", put(extension=[{"url": terms.EXT_STAFF_HOURS}]), "staff-hours is empty", "valueBoolean",
    ),
    "nothing to do": ("follow-up-call", drop("definitionCanonical"), "nothing to do", "definitionCanonical"),
    "unresolvable canonical": (
        "follow-up-call", put(definitionCanonical=f"{activity('follow-up-call')}|1.0.1"), "has no", "version",
    ),
    "unresolvable canonical without version": (
        "follow-up-call", put(definitionCanonical=activity("follow-upcall")), "has no", "Add the file",
    ),
    "definition by uri": ("follow-up-call", put(definitionUri="urn:x"), "`definitionUri`", "Leave it out"),
    "actions within": ("follow-up-call", put(action=[{"id": "x"}]), "`action`", "flat"),
    "text in the action": ("follow-up-call", put(dynamicValue=[{"path": "x"}]), "`dynamicValue`", "ActivityDefinition"),
    "a modifier": ("follow-up-call", put(modifierExtension=[{"url": "x"}]), "`modifierExtension`", "Leave"),
    "a fixed date": ("follow-up-call", put(timingDateTime="2026-01-01"), "`timingDateTime`", "Leave"),
    "repeated outside a course": ("follow-up-call", put(timingTiming=EMPTY_TIMING), "cannot be added", "period"),
    "repeated days outside a course": ("day-1-check-in", put(timingTiming=EMPTY_TIMING), "Only the forms", "timing"),
    "expression that is not over": ("no-driving", expressed("%patientHasLeft = true or x"), "x at", "literals"),
    "expression that names nothing": ("no-driving", expressed("%patientLeft"), "%patientLeft is no parameter", "Use"),
    "condition that is text": ("no-driving", expressed("%escort"), "string, not boolean", "Compare"),
    "condition on words not yet made": ("no-driving", expressed("%releaseText = 'x'"), "%releaseText", "Leave"),
    "condition in CQL": ("no-driving", expressed("true", "text/cql"), "`language`", "text/fhirpath"),
    "condition elsewhere": ("no-driving", expressed("true", reference="http://x"), "`reference`", "expression"),
    "condition of no kind": ("no-driving", lambda a: a["condition"][0].pop("kind"), "no kind", "applicability"),
    "condition of stopping": ("no-driving", lambda a: a["condition"][0].update(kind="stop"), "`kind`", "applicability"),
    "condition without expression": ("no-driving", lambda a: a["condition"][0].pop("expression"), "missing", "Add"),
    "concerns nothing": (
        "teach-back", put(extension=[{"url": terms.EXT_CONCERNS, "valueId": "no-drivng"}]), "no-drivng", "Name",
    ),
    "concerns an anchor": (
        "teach-back", put(extension=[{"url": terms.EXT_CONCERNS, "valueId": "infusion"}]), "nothing to do", "Name",
    ),
    "unknown goal": ("no-driving", put(goalId=["phq9"]), "no goal phq9", "goalId"),
    "goal that is no array": ("no-driving", put(goalId="phq9"), "`goalId`", "brackets"),
    "unknown priority": ("no-driving", put(priority="high"), "`priority`", "urgent"),
    "unknown behavior": ("no-driving", put(requiredBehavior="should"), "`requiredBehavior`", "must"),
    "no title": ("no-driving", drop("title"), "`title` is missing", "Add"),
    "empty title": ("no-driving", put(title=" "), "must be text", "string"),
    "times of a plan within": ("course", timed(related(duration(24, "h"), *HOURS)), "times of its own", "Leave only"),
    "work of an anchor": ("infusion", put(definitionCanonical=activity("teach-back")), "does nothing", "Leave only"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ACTION_FAULTS)
def test_a_faulty_action_is_refused_with_file_action_and_remedy(fault: str) -> None:
    name, change, said, remedy = ACTION_FAULTS[fault]
    with pytest.raises(ProtocolFault) as refused:
        infusion_with(name, change)
    assert (refused.value.file, refused.value.action) == (INFUSION, name)
    assert said in refused.value.message
    assert remedy in refused.value.remedy


def test_a_faulty_expression_is_named_as_it_is_written() -> None:
    with pytest.raises(ProtocolFault) as refused:
        infusion_with("no-driving", expressed("true or garbage"))
    assert refused.value.expression == "true or garbage"
    assert refused.value.where == (f"file: {INFUSION}", "action: no-driving", "expression: true or garbage")


@pytest.mark.parametrize(
    ("change", "action", "said"),
    [
        (lambda plan: plan["action"].append(plan["action"][3]), "escort-home", "there twice"),
        (lambda plan: plan["action"][3].pop("id"), "", "`id` is missing"),
        (lambda plan: plan.update(action={}), "", "must be an array"),
        (lambda plan: plan.update(action=[None]), "", "must be an object"),
        (lambda plan: plan["action"].pop(0), "", "needs 1 anchor"),
        (lambda plan: plan["action"].append({**plan["action"][0], "id": "second"}), "", "needs 1 anchor"),
        (lambda plan: plan.update(url=f"{plan['url']}|1"), "", "cannot be used"),
        (lambda plan: plan.update(version="one"), "", "cannot be used"),
        (drop("version"), "", "`version` is missing"),
        (drop("status"), "", "`status` is missing"),
        (put(status="live"), "", "`status` is unknown"),
        (put(language="es"), "", "not in English"),
        (put(implicitRules="http://x"), "", "modifier"),
        (put(extension=[{"url": terms.EXT_STAFF_HOURS, "valueBoolean": True}]), "", "means nothing here"),
        (drop("name"), "", "`name` is missing"),
    ],
)
def test_a_faulty_plan_is_refused(change: Callable[[Resource], object], action: str, said: str) -> None:
    with pytest.raises(ProtocolFault) as refused:
        loaded(INFUSION, change)
    assert (refused.value.file, refused.value.action) == (INFUSION, action)
    assert said in refused.value.message
    assert refused.value.remedy != ProtocolFault.default_remedy


def weekly(change: Callable[[Resource], object]) -> Callable[[Resource], object]:
    return lambda plan: change(action_of(plan, "phq-9-weekly"))


def repeated(**values: Any) -> Callable[[Resource], object]:
    return weekly(lambda action: action["timingTiming"]["repeat"].update(values))


@pytest.mark.parametrize(
    ("change", "action", "said"),
    [
        (repeated(count=0), "phq-9-weekly", "above 0"),
        (repeated(count=True), "phq-9-weekly", "above 0"),
        (repeated(frequency=2), "phq-9-weekly", "not complete"),
        (repeated(periodUnit="h"), "phq-9-weekly", "`periodUnit`"),
        (repeated(periodUnit="mo"), "phq-9-weekly", "cannot be added"),
        (repeated(dayOfWeek=["mon"]), "phq-9-weekly", "`dayOfWeek`"),
        (weekly(put(timingTiming={"event": ["2026-01-01"]})), "phq-9-weekly", "`event`"),
        (weekly(put(definitionCanonical=activity("follow-up-call"))), "phq-9-weekly", "asks forms only"),
        (lambda plan: plan["action"].pop(0), "", "needs 2 anchor"),
        (lambda plan: plan["goal"].append(plan["goal"][0]), "phq9-response", "there twice"),
        (lambda plan: plan["goal"][0].pop("target"), "phq9-response", "one target"),
        (lambda plan: plan["goal"][0]["target"][0].pop("due"), "phq9-response", "not complete"),
        (lambda plan: plan["goal"][0]["target"][0].update(detailInteger=5), "phq9-response", "`detailInteger`"),
        (lambda plan: plan["goal"][0]["target"][0]["due"].update(code="weeks"), "phq9-response", "unknown: weeks"),
        (lambda plan: plan["goal"][0].update(description={}), "phq9-response", "must be an object"),
        (lambda plan: plan["goal"][0].update(description={"coding": []}), "phq9-response", "says nothing"),
    ],
)
def test_a_faulty_course_is_refused(change: Callable[[Resource], object], action: str, said: str) -> None:
    with pytest.raises(ProtocolFault) as refused:
        loaded(COURSE, change)
    assert (refused.value.file, refused.value.action) == (COURSE, action)
    assert said in refused.value.message
    assert refused.value.remedy != ProtocolFault.default_remedy


def nested(url: str, calls: str) -> Resource:
    return {
        "resourceType": "PlanDefinition", "url": url, "version": "1.0.0", "name": "Nested", "title": "Nested",
        "status": "active", "action": [{"id": "again", "title": "Again", "definitionCanonical": calls}],
    }  # fmt: skip


@pytest.mark.parametrize("length", [1, 2, 5])
def test_plans_that_contain_each_other_are_refused(length: int) -> None:
    urls = [f"https://example.org/PlanDefinition/{number}" for number in range(length)]
    more = {f"nested-{number}.json": nested(url, urls[(number + 1) % length]) for number, url in enumerate(urls)}
    with pytest.raises(ProtocolFault, match="contains itself") as refused:
        load_protocol({**SHIPPED, **more})
    assert refused.value.file in more
    assert refused.value.action == "again"


def test_a_plan_may_be_called_for_twice() -> None:
    both = nested("https://example.org/PlanDefinition/both", f"{terms.PLAN_COURSE}|1.0.0")
    both["action"].append({**both["action"][0], "id": "once-more"})
    assert len(load_protocol({**SHIPPED, "both.json": both}).plans) == 3


# --- faults: of activities, forms, and of all together ---------------------------------------------------------------
def said_in(text: str, **more: Any) -> Callable[[Resource], object]:
    expression = {"language": "text/fhirpath", "expression": text, **more}
    return put(dynamicValue=[{"path": "description", "expression": expression}])


def spanish(text: str) -> Resource:
    parts = [{"url": "lang", "valueCode": "es"}, {"url": "content", "valueString": text}]
    return {"extension": [{"url": terms.EXT_TRANSLATION, "extension": parts}]}


def second_path(name: str) -> Callable[[Resource], object]:
    return lambda work: work["dynamicValue"].append({**work["dynamicValue"][0], "path": name})


def only_inputs(work: Resource, language: str) -> None:
    """Leave out the last input of a language."""
    last = [
        each for each in work["extension"]
        if each["url"] == terms.EXT_TASK_INPUT and each["extension"][2]["valueCode"] == language
    ][-1]  # fmt: skip
    work["extension"].remove(last)


ACTIVITY_FAULTS: dict[str, tuple[str, Callable[[Resource], object], str, str]] = {
    "unknown kind": (CALL, put(kind="CommunicationRequest"), "`kind` is unknown", "ServiceRequest, Task"),
    "no kind": (CALL, drop("kind"), "`kind` is missing", "Task"),
    "another intent": (CALL, put(intent="proposal"), "`intent`", "order"),
    "no code": (CALL, drop("code"), "`code` has no coding", "system and code"),
    "code that is words only": (CALL, put(code={"text": "Call"}), "`code` has no coding", "system and code"),
    "half a code": (CALL, put(code={"coding": [{"code": "x"}]}), "`system` is missing", "Add"),
    "no description": (CALL, drop("description"), "`description` is missing", "Add"),
    "nobody's work": (CALL, put(extension=[]), "Nobody does", "owner-role"),
    "unknown role": (CALL, put(extension=[{"url": terms.EXT_OWNER_ROLE, "valueCode": "doctor"}]), "doctor", "nurse"),
    "a Task that forbids": (CALL, put(doNotPerform=True), "cannot forbid", "ServiceRequest"),
    "flag in quotes": (NO_DRIVING, put(doNotPerform="true"), "must be a boolean", "quotes"),
    "a restriction that forbids nothing": (NO_DRIVING, drop("doNotPerform"), "restriction", "doNotPerform"),
    "a restriction that does not say so": (
        NO_DRIVING, lambda work: work["code"].update(text="Driving"), "says so", "Do not ",
    ),
    "a restriction nobody tells": (NO_DRIVING, drop("dynamicValue"), "not told", "patientInstruction"),
    "a time of its own": (CALL, put(timingTiming={}), "timingTiming", "Leave it out"),
    "a transform": (CALL, put(transform="http://x"), "transform", "Leave it out"),
    "path not allowed": (NOT_READY, second_path("owner"), "`path` is unknown here: owner", "description, priority"),
    "path of the other kind": (NO_DRIVING, second_path("description"), "`path`", "patientInstruction"),
    "path that is no element": (NOT_READY, second_path("title"), "`path`", "description"),
    "path twice": (NOT_READY, second_path("description"), "one path", "Keep one"),
    "no path": (NOT_READY, lambda work: work["dynamicValue"][0].pop("path"), "no path", "description"),
    "words that are not": (NOT_READY, said_in("%readinessMet"), "is text, and the expression is boolean", "string"),
    "words with a number": (NOT_READY, said_in("'Nr ' & %infusionNumber"), "joins strings", "number"),
    "words not over": (NOT_READY, said_in("'a' 'b'"), "follows", "literals"),
    "a translation that is not over": (
        NOT_READY, said_in("'a'", _expression=spanish("'b' c")), "c follows", "literals",
    ),
    "a translation of another type": (NOT_READY, said_in("'a'", _expression=spanish("1 = 1")), "in es", "same type"),
    "half a translation": (
        NOT_READY,
        said_in("'a'", _expression={"extension": [{"url": terms.EXT_TRANSLATION, "extension": []}]}),
        "not complete",
        "`content`",
    ),
    "a translation twice": (
        NOT_READY,
        said_in("'a'", _expression={"extension": [*spanish("'b'")["extension"], *spanish("'c'")["extension"]]}),
        "twice in es",
        "Keep one",
    ),
    "points not taught in Spanish": (TEACH_BACK, lambda work: only_inputs(work, "es"), "same points", "each language"),
    "points not taught in English": (TEACH_BACK, lambda work: only_inputs(work, "en"), "same points", "English"),
    "half an input": (
        TEACH_BACK, lambda work: work["extension"][1]["extension"].pop(), "task-input is not complete", "`language`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", ACTIVITY_FAULTS)
def test_a_faulty_activity_is_refused_with_file_id_and_remedy(fault: str) -> None:
    file, change, said, remedy = ACTIVITY_FAULTS[fault]
    with pytest.raises(ProtocolFault) as refused:
        loaded(file, change)
    assert (refused.value.file, refused.value.action) == (file, SHIPPED[file]["id"])
    assert said in refused.value.message
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(item=[]), "asks nothing"),
        (lambda form: form["item"].append(form["item"][0]), "there twice"),
        (lambda form: form["item"][1].update(item=[form["item"][0]]), "there twice"),
        (lambda form: form["item"][0].pop("linkId"), "`linkId` is missing"),
        (drop("title"), "`title` is missing"),
    ],
)
def test_a_faulty_form_is_refused(change: Callable[[Resource], object], said: str) -> None:
    with pytest.raises(ProtocolFault) as refused:
        loaded(PHQ9, change)
    assert refused.value.file == PHQ9
    assert said in refused.value.message


def test_one_version_is_defined_once() -> None:
    with pytest.raises(ProtocolFault, match=f"also defined by {CALL}") as refused:
        load_protocol({**SHIPPED, "Copy.json": SHIPPED[CALL]})
    assert refused.value.file == "Copy.json"
    assert "another version" in refused.value.remedy


@pytest.mark.parametrize("status", ["draft", "unknown"])
def test_an_active_plan_names_nothing_that_is_not_approved(status: str) -> None:
    with pytest.raises(ProtocolFault, match=f"is {status}") as refused:
        loaded(CALL, put(status=status))
    assert (refused.value.file, refused.value.action) == (INFUSION, "follow-up-call")


@pytest.mark.parametrize(
    "file",
    [INFUSION, COURSE, *(f"ActivityDefinition-{each.code}.json" for each in (
        terms.CLINICAL_REVIEW, terms.BOOSTER_REVIEW, terms.INFORM_PATIENT, terms.CONFIRM_END, terms.UNANSWERED_FORM_CALL
    ))],
)  # fmt: skip
def test_what_the_software_itself_asks_for_must_be_there_and_active(file: str) -> None:
    with pytest.raises(ProtocolFault, match="The protocol has no"):
        load_protocol({name: each for name, each in SHIPPED.items() if name != file})
    with pytest.raises(ProtocolFault):
        loaded(file, put(status="retired", version="0.9.0"))


# --- whatever a file holds -------------------------------------------------------------------------------------------
def places(value: Any) -> list[tuple[Any, Any]]:
    """Give every (container, key) of a JSON document."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


JUNK = st.sampled_from([None, True, 0, -1, 1.5, "", "x", "%", [], {}, [None], [[]], {"x": 1}, [{}], ["x"], "2026"])


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from([INFUSION, COURSE, NO_DRIVING, TEACH_BACK, NOT_READY, PHQ9]))
def test_a_file_with_anything_in_any_place_is_loaded_or_refused_as_a_fault(data: st.DataObject, file: str) -> None:
    resource = copy.deepcopy(SHIPPED[file])
    container, key = data.draw(st.sampled_from(places(resource)))
    if isinstance(container, dict) and data.draw(st.booleans()):
        del container[key]
    else:
        container[key] = data.draw(JUNK)
    try:
        protocol = load_protocol({**SHIPPED, file: resource})
    except ProtocolFault:
        return
    assert all(each.type is Type.BOOLEAN for action in protocol.infusion.actions for each in action.conditions)
