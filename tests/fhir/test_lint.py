"""Lint: the shipped protocol is clean, each rule finds a protocol that breaks it, and all findings come at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, time
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_aftercare.care import reading_grade
from fhir_aftercare.care.timing import OpenHours
from fhir_aftercare.fhir import lint as lint_module
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.lint import RULES, Finding, Severity, is_clean, lint
from fhir_aftercare.fhir.loading import load_protocol
from fhir_aftercare.protocol_files import read_protocol_files
from world import NEW_YORK, make_clinic

if TYPE_CHECKING:
    from fhir_aftercare.care.clinic import Clinic

Resource = dict[str, Any]
Change = Callable[[Resource], object]

INFUSION = "PlanDefinition-ketamine-infusion-aftercare.json"
COURSE = "PlanDefinition-ketamine-course-monitoring.json"
CALL = "ActivityDefinition-follow-up-call.json"
ALCOHOL = "ActivityDefinition-no-alcohol-sedatives-decisions.json"
NO_DRIVING = "ActivityDefinition-no-driving.json"
TEACH_BACK = "ActivityDefinition-teach-back.json"
CHECK_IN = "Questionnaire-day-1-check-in.json"
PHQ9 = "Questionnaire-phq-9.json"
EVERYTHING = read_protocol_files(None)
KNOWN = {f"{each['url']}|{each['version']}" for each in EVERYTHING.values()}
SHIPPED = {
    name: each
    for name, each in EVERYTHING.items()
    if each["resourceType"] in {"PlanDefinition", "ActivityDefinition", "Questionnaire"}
}
SINCE = date(2026, 1, 1)
CLINIC = make_clinic("Organization/1")


def linted(files: dict[str, Resource], clinic: Clinic = CLINIC) -> list[Finding]:
    return lint(files, clinic, since=SINCE, known=KNOWN)


def mend_worthy(files: dict[str, Resource], clinic: Clinic = CLINIC) -> list[Finding]:
    return [each for each in linted(files, clinic) if each.severity is not Severity.INFO]


def with_changed(file: str, change: Change, **more: Resource) -> dict[str, Resource]:
    resource = copy.deepcopy(SHIPPED[file])
    change(resource)
    return {**SHIPPED, file: resource, **more}


def action_of(plan: Resource, name: str) -> Resource:
    found: Resource = next(each for each in plan["action"] if each["id"] == name)
    return found


def on(name: str, change: Change) -> Change:
    return lambda plan: change(action_of(plan, name))


def put(**values: Any) -> Change:
    return lambda element: element.update(values)


def drop(name: str) -> Change:
    return lambda element: element.pop(name)


def condition(*texts: str) -> Change:
    return put(
        condition=[
            {"kind": "applicability", "expression": {"language": "text/fhirpath", "expression": text}} for text in texts
        ]
    )


def duration(value: float, code: str, at: str | None = None) -> Resource:
    found: Resource = {"value": value, "system": terms.UCUM, "code": code}
    return {**found, "extension": [{"url": terms.EXT_AT_LOCAL_TIME, "valueTime": at}]} if at else found


def window(low: Resource, target: Resource, high: Resource, expiry: Resource) -> Change:
    return put(
        relatedAction=[
            {
                "extension": [
                    {"url": terms.EXT_ACCEPTABLE_OFFSET, "valueRange": {"low": low, "high": high}},
                    {"url": terms.EXT_EXPIRY_OFFSET, "valueDuration": expiry},
                ],
                "actionId": "infusion",
                "relationship": "after-end",
                "offsetDuration": target,
            }
        ]
    )


def item(form: Resource, link: str) -> Resource:
    found: Resource = next(each for each in form["item"] if each["linkId"] == link)
    return found


def second_weight_is_three(form: Resource) -> None:
    option = item(form, f"/{terms.PHQ9_ITEMS[3].code}")["answerOption"][1]
    option["extension"][0]["valueDecimal"] = Decimal(3)


def long_sentence(form: Resource) -> None:
    item(form, "unsafe")["text"] = "Do you " + "at any time of the day or the night " * 3 + "feel unsafe?"


def long_point(activity: Resource) -> None:
    part = next(each for each in activity["extension"][3]["extension"] if each["url"] == "text")
    part["valueString"] = "Go to bed early and " + "then again on the next night " * 3 + "too."


def hard_words(activity: Resource) -> None:
    expression = activity["dynamicValue"][0]["expression"]
    expression["expression"] = "'Avoid intoxicating substances, sedative medication and consequential decisions.'"


def only_in_english(form: Resource) -> None:
    item(form, "unsafe").pop("_text")


def one_language_less(activity: Resource) -> None:
    inputs = [each for each in activity["extension"] if each["url"] == terms.EXT_TASK_INPUT]
    activity["extension"].remove(inputs[-1])


def depends_on_being_ready(plan: Resource) -> None:
    for each in plan["action"]:
        if each.get("requiredBehavior") == "must" and each["id"] not in {"escort-home", "course"}:
            condition("%patientHasLeft = true and %readinessMet = true and %escort = 'present'")(each)


def contains_itself(plan: Resource) -> None:
    plan["action"].append({"id": "again", "title": "Again", "definitionCanonical": f"{terms.PLAN_INFUSION}|1.0.0"})


def about_each_other(plan: Resource) -> None:
    action_of(plan, "no-driving").setdefault("extension", []).append(
        {"url": terms.EXT_CONCERNS, "valueId": "teach-back"}
    )


# Rule, what is broken, severity, the path named, a part of why.
ACTION = r"PlanDefinition.action"
BROKEN: dict[str, tuple[str, str, Change, Severity, str, str]] = {
    "an element that is not understood": (
        "definition", INFUSION, on("no-driving", put(selectionBehavior="any")), Severity.ERROR,
        "PlanDefinition.action[4].selectionBehavior", "Not supported here",
    ),
    "a plan without a name": (
        "definition", INFUSION, drop("name"), Severity.ERROR, "PlanDefinition.name", "`name` is missing",
    ),
    "a definition without a status": (
        "definition", CALL, drop("status"), Severity.ERROR, "ActivityDefinition.status", "`status` is missing",
    ),
    "a goal without a target": (
        "definition", COURSE, lambda plan: plan["goal"][1].pop("target"), Severity.ERROR,
        "PlanDefinition.goal[1]", "one target",
    ),
    "a Task nobody does": (
        "definition", CALL, drop("extension"), Severity.ERROR, "ActivityDefinition.extension", "Nobody does",
    ),
    "a restriction that does not say so": (
        "definition", ALCOHOL, lambda each: each["code"].update(text="Alcohol"), Severity.ERROR,
        "ActivityDefinition.code", "must be a restriction",
    ),
    "an item without linkId": (
        "definition", CHECK_IN, lambda form: form["item"][2].pop("linkId"), Severity.ERROR,
        "Questionnaire.item[2]", "`linkId` is missing",
    ),
    "an action that defines nothing": (
        "definition", INFUSION, on("follow-up-call", drop("definitionCanonical")), Severity.ERROR,
        "PlanDefinition.action[7]", "defines nothing",
    ),
    "one id for two actions": (
        "duplicate", INFUSION, on("day-3-check-in", put(id="day-1-check-in")), Severity.ERROR,
        "PlanDefinition.action[9]", "there twice",
    ),
    "one linkId for two items": (
        "duplicate", CHECK_IN, lambda form: form["item"][2].update(linkId="unsafe"), Severity.ERROR,
        "Questionnaire.item[2]", "there twice",
    ),
    "a condition of a wrong type": (
        "expression", INFUSION, on("no-driving", condition("%patientHasLeft = true", "%escort > 1")),
        Severity.ERROR, "PlanDefinition.action[4].condition[1]", "cannot compare string with integer",
    ),
    "a word the escort never is": (
        "expression", INFUSION, on("same-evening-call", condition("%escort = 'left_alone'")),
        Severity.ERROR, "PlanDefinition.action[11].condition[0]", "is never",
    ),
    "text after the end of an expression": (
        "expression", NO_DRIVING, lambda each: each["dynamicValue"][0]["expression"].update(
            expression="%releaseText or garbage"
        ), Severity.ERROR, "ActivityDefinition.dynamicValue[0]", "garbage",
    ),
    "a window that closes before it opens": (
        "window-order", INFUSION,
        on("follow-up-call", window(duration(40, "h"), duration(24, "h"), duration(36, "h"), duration(48, "h"))),
        Severity.ERROR, "PlanDefinition.action[7].relatedAction[0]", "out of order",
    ),
    "a window that closes before it opens at some hours": (
        "window-order", INFUSION,
        on("follow-up-call", window(
            duration(20, "h"), duration(1, "d", "18:00:00"), duration(1, "d", "18:00:00"), duration(3, "d"),
        )),
        Severity.ERROR, "PlanDefinition.action[7].relatedAction[0]", "depending on the time of day",
    ),
    "a window that expires too early at some hours": (
        "window-order", INFUSION,
        on("follow-up-call", window(
            duration(18, "h"), duration(24, "h"), duration(36, "h"), duration(1, "d", "23:00:00")
        )),
        Severity.WARNING, "PlanDefinition.action[7].relatedAction", "it expires before it is due",
    ),
    "a window whose best time is outside at some hours": (
        "window-order", INFUSION,
        on("follow-up-call", window(
            duration(18, "h"), duration(1, "d", "09:00:00"), duration(36, "h"), duration(48, "h")
        )),
        Severity.WARNING, "PlanDefinition.action[7].relatedAction", "outside the window",
    ),
    "an offset to no date": (
        "window-order", INFUSION,
        on("follow-up-call", window(duration(1, "h"), duration(2, "h"), duration(3, "h"), duration(99999999, "d"))),
        Severity.ERROR, "PlanDefinition.action[7].relatedAction", "no date",
    ),
    "a time that hangs on no anchor": (
        "anchor", INFUSION, on("no-driving", lambda each: each["relatedAction"][1].update(actionId="teach-back")),
        Severity.ERROR, "PlanDefinition.action[4].relatedAction[1].actionId", "teach-back is no anchor",
    ),
    "a plan without its anchor": (
        "anchor", COURSE, on("last-infusion", drop("code")), Severity.ERROR, "PlanDefinition", "2 anchor(s)",
    ),
    "a definition that is not there": (
        "canonical", INFUSION, on("follow-up-call", put(definitionCanonical=f"{terms.ACTIVITY_DEFINITION}/call")),
        Severity.ERROR, "PlanDefinition.action[7].definitionCanonical", "has no",
    ),
    "a version that is not there": (
        "canonical", INFUSION,
        on("follow-up-call", put(definitionCanonical=f"{terms.ACTIVITY_DEFINITION}/follow-up-call|2.0.0")),
        Severity.ERROR, "PlanDefinition.action[7].definitionCanonical", "has no",
    ),
    "a draft in an active plan": (
        "canonical", CALL, put(status="draft"), Severity.ERROR,
        "PlanDefinition.action[7].definitionCanonical", "is draft",
    ),
    "an address of ours that leads nowhere": (
        "canonical", CALL, put(profile=f"{terms.BASE}/StructureDefinition/aftercare-tasks"), Severity.ERROR,
        "ActivityDefinition.profile", "is not there",
    ),
    "a goal that is not there": (
        "id", COURSE, on("phq-9-weekly", put(goalId=["phq9-response", "phq9-cure"])), Severity.ERROR,
        "PlanDefinition.action[2].goalId[1]", "phq9-cure",
    ),
    "an action about nothing": (
        "id", INFUSION, on("teach-back", put(extension=[{"url": terms.EXT_CONCERNS, "valueId": "driving"}])),
        Severity.ERROR, "PlanDefinition.action[6].extension", "driving",
    ),
    "a plan that contains itself": (
        "cycle", INFUSION, contains_itself, Severity.ERROR,
        "PlanDefinition.action[15].definitionCanonical", "contains itself",
    ),
    "actions about each other": (
        "cycle", INFUSION, about_each_other, Severity.ERROR, "PlanDefinition.action[4].extension", "about each other",
    ),
    "something owed that can never apply": (
        "reachable", INFUSION,
        on("same-evening-call", condition("%escort = 'left-alone'", "%escort = 'not-recorded'")),
        Severity.ERROR, "PlanDefinition.action[11].condition", "can never hold",
    ),
    "something optional that can never apply": (
        "reachable", INFUSION, on("integration-session", condition("%infusionNumber > 3 and %infusionNumber < 2")),
        Severity.WARNING, "PlanDefinition.action[13].condition", "can never apply",
    ),
    "nothing owed to some patients": (
        "nothing-owed", INFUSION, depends_on_being_ready, Severity.ERROR, ACTION, "%readinessMet = false",
    ),
    "a fact that is not always known": (
        "unknown-value", INFUSION, on("day-1-check-in", condition("%patientHasLeft = true and %ageYears >= 18")),
        Severity.WARNING, "PlanDefinition.action[8].condition[0]", "%ageYears",
    ),
    "a weight that differs": (
        "scoring", PHQ9, second_weight_is_three, Severity.ERROR, "Questionnaire.item[4].answerOption", "weights",
    ),
    "answers in another order": (
        "scoring", PHQ9, lambda form: form["item"][1]["answerOption"].reverse(), Severity.ERROR,
        "Questionnaire.item[1].answerOption", "not those it is scored by",
    ),
    "items in another order": (
        "scoring", PHQ9, lambda form: form["item"].insert(1, form["item"].pop(3)), Severity.ERROR,
        "Questionnaire.item", "not in their order",
    ),
    "a total that can be typed in": (
        "scoring", PHQ9, lambda form: item(form, f"/{terms.PHQ9_TOTAL.code}").pop("readOnly"), Severity.ERROR,
        "Questionnaire.item[11]", "typed in",
    ),
    "severities without weights": (
        "scoring", CHECK_IN, lambda form: item(form, "nausea")["answerOption"][0].pop("extension"), Severity.ERROR,
        "Questionnaire.item[8].answerOption", "weights",
    ),
    "a question nobody reads": (
        "unread-item", CHECK_IN, lambda form: item(form, "wants-call").update(linkId="colour"), Severity.WARNING,
        "Questionnaire.item[18]", "reads no answer to colour",
    ),
    "a question only in English": (
        "wording", CHECK_IN, only_in_english, Severity.WARNING, "Questionnaire.item[1].text", "not there in es",
    ),
    "a title only in English": (
        "wording", INFUSION, drop("_title"), Severity.WARNING, "PlanDefinition.title", "not there in es",
    ),
    "a point that is taught in one language": (
        "wording", TEACH_BACK, one_language_less, Severity.ERROR, "ActivityDefinition.extension", "same points",
    ),
    "words that are hard to read": (
        "reading-grade", ALCOHOL, hard_words, Severity.ERROR, "ActivityDefinition", "years of school",
    ),
    "a point that is too long": (
        "sentence-length",
        TEACH_BACK,
        long_point,
        Severity.ERROR,
        "ActivityDefinition.extension[3]",
        "words, not 15",
    ),
    "a sentence that is too long": (
        "sentence-length", CHECK_IN, long_sentence, Severity.ERROR, "Questionnaire.item[1].text", "words, not 15",
    ),
}  # fmt: skip


# --- the shipped protocol --------------------------------------------------------------------------------------------
def test_the_shipped_protocol_is_clean() -> None:
    found = lint(EVERYTHING, CLINIC, since=SINCE)
    assert [each for each in found if each.severity is not Severity.INFO] == []
    assert is_clean(found)
    assert found == linted(SHIPPED)


# --- each rule -------------------------------------------------------------------------------------------------------
@cache
def found_in(name: str) -> tuple[Finding, ...]:
    """Give what is to be mended in a broken protocol; a year is dated only where time is what is broken."""
    rule, file, change, *_ = BROKEN[name]
    with pytest.MonkeyPatch.context() as patch:
        if rule != "window-order":
            patch.setattr(lint_module, "times", lambda _: [])
        return tuple(mend_worthy(with_changed(file, change)))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_protocol_is_found_with_its_place_and_remedy(name: str) -> None:
    rule, file, _, severity, path, why = BROKEN[name]
    (one,) = [each for each in found_in(name) if (each.rule, each.path) == (rule, path) and why in each.why]
    assert one.severity is severity
    assert one.file == (INFUSION if name == "a draft in an active plan" else file)
    assert one.remedy


SEVERAL = {"a plan without its anchor", "actions about each other"}


@pytest.mark.parametrize("name", BROKEN.keys() - SEVERAL)
def test_one_fault_is_one_finding(name: str) -> None:
    assert len(found_in(name)) == 1


def test_every_rule_is_tried() -> None:
    elsewhere = {"required", "no-open-hour"}
    assert {rule for rule, *_ in BROKEN.values()} | elsewhere == RULES.keys()


@pytest.mark.parametrize("name", BROKEN)
def test_lint_is_never_kinder_than_loading(name: str) -> None:
    _, file, change, *_ = BROKEN[name]
    assert_as_strict_as_loading(with_changed(file, change), found_in(name))


def assert_as_strict_as_loading(files: dict[str, Resource], found: Sequence[Finding]) -> None:
    if any(each.severity is Severity.ERROR for each in found):
        return
    load_protocol(files)


def test_everything_the_software_asks_for_itself_is_named() -> None:
    gone = {"ActivityDefinition-clinical-review.json", "ActivityDefinition-inform-patient.json"}
    found = mend_worthy({name: each for name, each in SHIPPED.items() if name not in gone})
    assert [(each.rule, each.file) for each in found] == [("required", ""), ("required", "")]
    assert "clinical-review" in found[0].why
    assert "inform-patient" in found[1].why


def test_two_files_with_one_canonical_are_named() -> None:
    (found,) = mend_worthy({**SHIPPED, "z.json": SHIPPED[CALL]})
    assert (found.rule, found.file, found.path) == ("duplicate", "z.json", "url")


# --- all at once -----------------------------------------------------------------------------------------------------
def test_all_faults_are_found_at_once() -> None:
    def change(plan: Resource) -> None:
        BROKEN["an element that is not understood"][2](plan)
        condition("%escort > 1", "%pateintHasLeft = true")(action_of(plan, "follow-up-call"))
        BROKEN["an action about nothing"][2](plan)
        action_of(plan, "day-1-check-in")["relatedAction"][0]["actionId"] = "infusoin"
        action_of(plan, "day-3-check-in")["definitionCanonical"] += "1"
        plan.pop("_title")

    files = {**with_changed(INFUSION, change), CHECK_IN: with_changed(CHECK_IN, only_in_english)[CHECK_IN]}
    found = [(each.rule, each.path) for each in mend_worthy(files)]
    assert found == [
        ("definition", "PlanDefinition.action[4].selectionBehavior"),
        ("expression", "PlanDefinition.action[7].condition[0]"),
        ("expression", "PlanDefinition.action[7].condition[1]"),
        ("id", "PlanDefinition.action[6].extension"),
        ("anchor", "PlanDefinition.action[8].relatedAction[0].actionId"),
        ("canonical", "PlanDefinition.action[9].definitionCanonical"),
        ("wording", "PlanDefinition.title"),
        ("wording", "Questionnaire.item[1].text"),
    ]


def test_faults_of_linking_are_found_in_every_action() -> None:
    def change(plan: Resource) -> None:
        action_of(plan, "follow-up-call").pop("definitionCanonical")
        action_of(plan, "day-1-check-in")["relatedAction"][0]["extension"].pop(1)
        action_of(plan, "no-driving")["extension"] = [{"url": terms.EXT_STAFF_HOURS, "valueBoolean": True}]

    found = mend_worthy(with_changed(INFUSION, change))
    assert {(each.rule, each.path) for each in found} == {
        ("definition", "PlanDefinition.action[4]"),
        ("definition", "PlanDefinition.action[7]"),
        ("definition", "PlanDefinition.action[8]"),
    }


def test_parts_that_are_sound_alone_and_not_together_are_found() -> None:
    twice = [{"url": terms.EXT_STAFF_HOURS, "valueBoolean": True}] * 2
    (found,) = mend_worthy(with_changed(INFUSION, on("follow-up-call", put(extension=twice))))
    assert (found.rule, found.path) == ("definition", "PlanDefinition.action[7]")
    assert "2 times" in found.why
    hours = window(duration(1, "h"), duration(2, "h"), duration(3, "h"), duration(4, "h"))

    def weekly_by_hours(action: Resource) -> None:
        hours(action)
        action["relatedAction"][0].update(actionId="course-start", relationship="after-start")

    (found,) = mend_worthy(with_changed(COURSE, on("phq-9-weekly", weekly_by_hours)))
    assert (found.rule, found.path) == ("definition", "PlanDefinition.action[2]")
    assert "period of a repetition" in found.why


def test_the_gravest_come_first() -> None:
    def change(plan: Resource) -> None:
        plan.pop("_title")
        condition("%escort > 1")(action_of(plan, "follow-up-call"))

    ranks = [each.severity for each in linted(with_changed(INFUSION, change))]
    assert ranks == [Severity.ERROR, Severity.WARNING]


# --- a year of dates -------------------------------------------------------------------------------------------------
def test_a_window_that_is_wrong_only_when_the_clocks_go_forward_is_found() -> None:
    change = on("follow-up-call", window(duration(1, "h"), duration(2, "h"), duration(24, "h"), duration(1, "d")))
    (found,) = mend_worthy(with_changed(INFUSION, change))
    assert found.rule == "window-order"
    assert "it expires before it is due, such as infusion at 07-Mar-2026 03:00 EST" in found.why
    phoenix = make_clinic("Organization/1", zone=ZoneInfo("America/Phoenix"))
    assert mend_worthy(with_changed(INFUSION, change), phoenix) == []


def test_months_are_tried_on_every_day_of_the_year() -> None:
    change = on("follow-up-call", window(duration(1, "d"), duration(2, "d"), duration(29, "d"), duration(1, "mo")))
    (found,) = mend_worthy(with_changed(INFUSION, change))
    assert "28 days" not in found.why
    assert "it expires before it is due, such as infusion at " in found.why
    assert "-Jan-2026" in found.why or "Feb-2026" in found.why


def test_closed_hours_that_are_mended_are_told_and_are_no_fault() -> None:
    found = [each for each in linted(SHIPPED) if each.rule == "no-open-hour"]
    (call,) = found
    assert call.severity is Severity.INFO
    assert call.path == "PlanDefinition.action[7].relatedAction"
    assert "Infusions ending Fri 0-24 h, Sat 0-22 h" in call.why
    assert "less than one open call hour" in call.why
    assert "After 02-Jan-2026 12:00 the work opens 05-Jan-2026 09:00 and is due 05-Jan-2026 18:00" in call.why


def test_holidays_are_told_apart_from_the_week() -> None:
    hours = OpenHours(CLINIC.call_hours.weekly, frozenset({date(2026, 11, 26)}), NEW_YORK)
    (call,) = linted(SHIPPED, make_clinic("Organization/1", call_hours=hours))
    # One evening is the end of daylight saving, the others are those before Thanksgiving.
    assert "Sat 0-22 h and 23 further hours of the year (the first 31-Oct-2026 22:00)" in call.why


def test_a_clinic_that_is_always_open_moves_nothing() -> None:
    hours = OpenHours({day: ((time(0), time(0)),) for day in range(7)}, frozenset(), NEW_YORK)
    assert linted(SHIPPED, make_clinic("Organization/1", call_hours=hours)) == []


def test_work_that_no_open_hour_ever_comes_for_is_an_error() -> None:
    hours = OpenHours({0: ((time(9), time(9, 1)),)}, frozenset(date(2026, 1, 1 + day) for day in range(20)), NEW_YORK)
    never = OpenHours({}, frozenset(), NEW_YORK)
    for given_hours in (never, OpenHours({}, hours.holidays, NEW_YORK)):
        (found,) = mend_worthy(SHIPPED, make_clinic("Organization/1", call_hours=given_hours))
        assert (found.rule, found.severity) == ("no-open-hour", Severity.ERROR)
        assert "no open call hour within a year" in found.why


def test_what_a_clinic_does_not_offer_is_not_dated() -> None:
    offering = replace(CLINIC, policy=replace(CLINIC.policy, integration_session=True))
    dated = {each.path for each in linted(SHIPPED, offering) if each.rule == "no-open-hour"}
    assert dated == {f"PlanDefinition.action[{index}].relatedAction" for index in (7, 13)}


# --- what must not be found ------------------------------------------------------------------------------------------
def own(form: str, **changes: Any) -> Resource:
    """Give a clinic's own copy of a form."""
    return {**copy.deepcopy(SHIPPED[form]), "url": f"https://clinic.example.com/{form}", **changes}


def test_a_clinics_own_copy_of_an_instrument_is_clean() -> None:
    assert mend_worthy({**SHIPPED, "own.json": own(PHQ9)}) == []


def test_a_clinics_own_copy_with_an_item_missing_is_not() -> None:
    items = [each for each in SHIPPED[PHQ9]["item"] if each["linkId"] != f"/{terms.PHQ9_ITEMS[8].code}"]
    (found,) = mend_worthy({**SHIPPED, "own.json": own(PHQ9, item=items)})
    assert (found.file, found.path, found.rule) == ("own.json", "Questionnaire.item", "scoring")
    assert "Item 9 of the phq-9" in found.why


def test_published_words_are_not_graded() -> None:
    words = [each["text"] for each in SHIPPED[PHQ9]["item"]]
    assert reading_grade.grade(words) > reading_grade.MAX_GRADE
    assert not [each for each in linted(SHIPPED) if each.file == PHQ9]


def test_a_phq_2_is_known_by_its_two_items() -> None:
    kept = {f"/{code.code}" for code in terms.PHQ9_ITEMS[:2]} | {"stem"}
    items = [each for each in SHIPPED[PHQ9]["item"] if each["linkId"] in kept]
    assert mend_worthy({**SHIPPED, "own.json": own(PHQ9, item=items)}) == []


def test_what_every_installation_has_need_not_be_among_the_files() -> None:
    assert {each.rule for each in lint(SHIPPED, CLINIC, since=SINCE)} == {"canonical", "no-open-hour"}
    assert {each.rule for each in linted(SHIPPED)} == {"no-open-hour"}


# --- anything else ---------------------------------------------------------------------------------------------------
def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for key, each in inner for way in [(*path, key), *places(each, (*path, key))]]


PLACES = [
    (file, way) for file in (INFUSION, COURSE, ALCOHOL, TEACH_BACK, CALL, CHECK_IN) for way in places(SHIPPED[file])
]
JUNK = st.sampled_from(
    [None, "", "junk", 0, -1, True, [], {}, ["junk"], {"junk": "junk"}, [[]], [None], "%escort = 'x'"]
)


@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK, st.booleans()), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_lint_reports_and_is_as_strict_as_loading(
    monkeypatch: pytest.MonkeyPatch, changes: list[tuple[tuple[str, tuple[Any, ...]], Any, bool]]
) -> None:
    monkeypatch.setattr(lint_module, "times", lambda _: [])
    files = copy.deepcopy(SHIPPED)
    for (file, way), junk, gone in changes:
        at: Any = files[file]
        try:
            for step in way[:-1]:
                at = at[step]
            if gone:
                del at[way[-1]]
            else:
                at[way[-1]] = junk
        except (KeyError, IndexError, TypeError):
            continue
    assert_as_strict_as_loading(files, linted(files))


# --- reading grade ---------------------------------------------------------------------------------------------------
def test_syllables_are_counted_by_groups_of_vowels() -> None:
    counted = {word: reading_grade.syllables(word) for word in ("wine", "table", "the", "drowsy", "medication", "tea")}
    assert counted == {"wine": 1, "table": 2, "the": 1, "drowsy": 2, "medication": 4, "tea": 1}


def test_a_colon_ends_a_sentence_and_numbers_are_words() -> None:
    assert reading_grade.sentences("For 24 hours: no alcohol. Don't drive!") == [
        ["For", "24", "hours"], ["no", "alcohol"], ["Don't", "drive"],
    ]  # fmt: skip


def test_the_grade_rises_with_longer_sentences_and_words() -> None:
    easy, hard = "Do not drive. Call us.", "Refrain from operating machinery until medical personnel authorise it."
    assert reading_grade.grade([easy]) < 3
    assert reading_grade.grade([hard]) > 12
    assert reading_grade.grade([]) == reading_grade.grade(["", "..."]) == 0


def test_only_sentences_over_fifteen_words_are_too_long() -> None:
    fifteen = " ".join(["go"] * 15)
    assert reading_grade.too_long(f"{fifteen}. {fifteen} on.") == [f"{fifteen} on"]
