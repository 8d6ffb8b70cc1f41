"""What the shipped protocol promises: nothing owed is forgotten, forms score as published, words a patient can read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care import reading_grade
from fhir_aftercare.fhir import terms
from profiles.lock import read

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = read()
PLANS = {each["url"]: each for each in FILES.values() if each["resourceType"] == "PlanDefinition"}
ACTIVITIES = {each["url"]: each for each in FILES.values() if each["resourceType"] == "ActivityDefinition"}
FORMS = {each["url"]: each for each in FILES.values() if each["resourceType"] == "Questionnaire"}
INFUSION = {action["id"]: action for action in PLANS[terms.PLAN_INFUSION]["action"]}
COURSE = {action["id"]: action for action in PLANS[terms.PLAN_COURSE]["action"]}
ACTIONS = [*INFUSION.values(), *COURSE.values()]
SCORED = [terms.QUESTIONNAIRE_PHQ9, terms.QUESTIONNAIRE_GAD7]
CHECK_INS = [url for url in FORMS if url not in SCORED]
# Made by the software when answers or records call for them, not by a plan.
RAISED = {
    "clinical-review",
    "booster-review",
    "inform-patient",
    "confirm-infusion-end",
    "confirm-discharge",
    "unanswered-form-call",
}


def extensions(element: dict[str, Any], url: str) -> list[dict[str, Any]]:
    return [each for each in element.get("extension", []) if each["url"] == url]


def definition(action: dict[str, Any]) -> str:
    return str(action.get("definitionCanonical", "")).partition("|")[0]


def is_anchor(action: dict[str, Any]) -> bool:
    return any(coding["code"] == terms.ANCHOR.code for code in action.get("code", []) for coding in code["coding"])


# --- plans -----------------------------------------------------------------------------------------------------------
def test_the_actions_owed_after_an_infusion() -> None:
    must = {key for key, action in INFUSION.items() if action.get("requiredBehavior") == "must"}
    assert must >= {"escort-home", "no-driving", "teach-back", "follow-up-call", "discharged-not-ready"}
    assert must >= {"confirm-arrived-home", "same-evening-call", "no-alcohol-sedatives-decisions"}
    assert "condition" not in INFUSION["escort-home"]


@pytest.mark.parametrize("plan", PLANS)
def test_actions_hang_on_anchors_of_their_own_plan(plan: str) -> None:
    actions = {action["id"]: action for action in PLANS[plan]["action"]}
    assert len(actions) == len(PLANS[plan]["action"])
    for action in actions.values():
        if is_anchor(action) or definition(action).startswith(f"{terms.BASE}/PlanDefinition/"):
            continue
        assert action["relatedAction"], action["id"]
        assert all(is_anchor(actions[related["actionId"]]) for related in action["relatedAction"])
        for concern in extensions(action, terms.EXT_CONCERNS):
            assert concern["valueId"] in actions
    goals = {goal["id"] for goal in PLANS[plan].get("goal", [])}
    assert {each for action in actions.values() for each in action.get("goalId", [])} <= goals


def test_every_task_states_when_it_opens_is_due_and_expires() -> None:
    for action in ACTIONS:
        activity = ACTIVITIES.get(definition(action), {"kind": "Task"})
        if is_anchor(action) or activity["kind"] != "Task" or definition(action) in PLANS:
            continue
        for related in action["relatedAction"]:
            (window,) = extensions(related, terms.EXT_ACCEPTABLE_OFFSET)
            (expiry,) = extensions(related, terms.EXT_EXPIRY_OFFSET)
            low, high = window["valueRange"]["low"], window["valueRange"]["high"]
            assert hours(low) <= hours(related["offsetDuration"]) <= hours(high) < hours(expiry["valueDuration"])


def hours(duration: dict[str, Any]) -> float:
    """Give an offset as hours, to compare; days end with the wall-clock time they land on."""
    days = {"h": 1 / 24, "d": 1.0, "wk": 7.0}[duration["code"]] * duration["value"]
    clock = extensions(duration, terms.EXT_AT_LOCAL_TIME)
    return days * 24 + (int(clock[0]["valueTime"][:2]) if clock else 0)


def test_driving_waits_for_the_next_morning_and_twelve_hours() -> None:
    elapsed, morning = INFUSION["no-driving"]["relatedAction"]
    assert (elapsed["offsetDuration"]["value"], elapsed["offsetDuration"]["code"]) == (12, "h")
    assert (morning["offsetDuration"]["value"], morning["offsetDuration"]["code"]) == (1, "d")
    assert extensions(morning, terms.EXT_AT_LOCAL_TIME)[0]["valueTime"] == "07:00:00"
    assert ACTIVITIES[f"{terms.ACTIVITY_DEFINITION}/no-driving"]["doNotPerform"] is True


def test_every_activity_is_used_and_has_an_owner() -> None:
    planned = {definition(action) for action in ACTIONS} & ACTIVITIES.keys()
    assert {ACTIVITIES[url]["id"] for url in ACTIVITIES.keys() - planned} == RAISED
    for activity in ACTIVITIES.values():
        roles = [each["valueCode"] for each in extensions(activity, terms.EXT_OWNER_ROLE)]
        assert set(roles) <= terms.OWNER_ROLES.keys()
        assert len(roles) == (1 if activity["kind"] == "Task" else 0)


@pytest.mark.parametrize("url", [each for each, activity in ACTIVITIES.items() if activity.get("doNotPerform")])
def test_a_restriction_says_so_to_a_reader_that_ignores_the_modifier(url: str) -> None:
    assert ACTIVITIES[url]["code"]["text"].startswith("Do not ")
    assert "patientInstruction" in {each["path"] for each in ACTIVITIES[url]["dynamicValue"]}


def test_the_goals_have_the_targets_of_the_clinical_reference() -> None:
    goals = {goal["id"]: goal["target"][0] for goal in PLANS[terms.PLAN_COURSE]["goal"]}
    assert goals.keys() == {"phq9-response", "phq9-remission", "gad7"}
    below = {key: goal["detailQuantity"]["value"] for key, goal in goals.items() if "detailQuantity" in goal}
    assert below == {"phq9-remission": 5, "gad7": 10}
    assert {goal["measure"]["coding"][0]["code"] for goal in goals.values()} == {
        terms.PHQ9_TOTAL.code,
        terms.GAD7_TOTAL.code,
    }


# --- forms -----------------------------------------------------------------------------------------------------------
def items(url: str) -> dict[str, dict[str, Any]]:
    return {item["linkId"]: item for item in FORMS[url]["item"]}


def weights(item: dict[str, Any]) -> list[tuple[float, float]]:
    return [
        (
            extensions(option, terms.EXT_ORDINAL)[0]["valueDecimal"],
            extensions(option["valueCoding"], terms.EXT_ITEM_WEIGHT)[0]["valueDecimal"],
        )
        for option in item["answerOption"]
    ]


@pytest.mark.parametrize(
    ("url", "codes", "total"),
    [
        (terms.QUESTIONNAIRE_PHQ9, terms.PHQ9_ITEMS, terms.PHQ9_TOTAL),
        (terms.QUESTIONNAIRE_GAD7, terms.GAD7_ITEMS, terms.GAD7_TOTAL),
    ],
)
def test_a_scored_form_carries_its_codes_and_weights(
    url: str, codes: tuple[terms.Code, ...], total: terms.Code
) -> None:
    form = items(url)
    scored = [f"/{code.code}" for code in codes]
    assert [link for link in form if link in scored] == scored
    for link, code in zip(scored, codes, strict=True):
        assert form[link]["code"] == [code.coding()]
        answers = [option["valueCoding"]["code"] for option in form[link]["answerOption"]]
        assert answers == [answer.code for answer in terms.FREQUENCY_ANSWERS]
        assert weights(form[link]) == [(score, score) for score in range(4)]
    assert form[f"/{total.code}"]["readOnly"] is True


@pytest.mark.parametrize("url", SCORED)
def test_a_scored_form_carries_its_notices(url: str) -> None:
    assert "No permission required to reproduce, translate, display or distribute" in FORMS[url]["copyright"]
    assert "LOINC" in FORMS[url]["copyright"]


@pytest.mark.parametrize("url", CHECK_INS)
def test_a_check_in_asks_what_the_software_understands(url: str) -> None:
    asked = {link: item for link, item in items(url).items() if item["type"] != "display"}
    assert asked.keys() <= terms.CHECK_IN_ITEMS.keys()
    for link, item in asked.items():
        assert item["code"] == [terms.CHECK_IN_ITEMS[link].coding()]
        if item["type"] == "choice":
            assert [each["valueCoding"]["code"] for each in item["answerOption"]] == [
                answer.code for answer in terms.SEVERITY_ANSWERS
            ]
            assert weights(item) == [(score, score) for score in range(4)]


@pytest.mark.parametrize("url", CHECK_INS)
def test_no_answer_is_forced(url: str) -> None:
    assert not any(item.get("required") for item in FORMS[url]["item"])


# --- words -----------------------------------------------------------------------------------------------------------
def spanish(element: dict[str, Any], name: str) -> str | None:
    for each in extensions(element.get(f"_{name}", {}), terms.EXT_TRANSLATION):
        parts = {part["url"]: part for part in each["extension"]}
        if parts["lang"]["valueCode"] == "es":
            return str(parts["content"]["valueString"])
    return None


@pytest.mark.parametrize("url", FORMS)
def test_a_form_is_there_in_spanish(url: str) -> None:
    assert spanish(FORMS[url], "title")
    for item in FORMS[url]["item"]:
        assert spanish(item, "text"), item["linkId"]
        for option in item.get("answerOption", []):
            assert spanish(option["valueCoding"], "display"), item["linkId"]


def taught() -> list[tuple[str, str, str]]:
    """Give what the teach-back teaches: kind, language, words."""
    found = []
    for each in extensions(ACTIVITIES[f"{terms.ACTIVITY_DEFINITION}/teach-back"], terms.EXT_TASK_INPUT):
        parts = {part["url"]: part for part in each["extension"]}
        kind = parts["type"]["valueCodeableConcept"]["coding"][0]["code"]
        found.append((kind, parts["language"]["valueCode"], parts["text"]["valueString"]))
    return found


def test_the_same_points_are_taught_in_both_languages() -> None:
    kinds = {
        language: [kind for kind, spoken, _ in taught() if spoken == language]
        for language in {spoken for _, spoken, _ in taught()}
    }
    assert kinds["en"] == kinds["es"]
    assert kinds["en"].count(terms.INPUT_SELF_CARE.code) == 5
    assert terms.INPUT_RESTRICTION.code in kinds["en"]
    assert terms.INPUT_WARNING_SIGN.code in kinds["en"]


def english() -> Iterator[str]:
    for _, language, text in taught():
        if language == "en":
            yield text
    for url in CHECK_INS:
        for item in FORMS[url]["item"]:
            yield item["text"]
    for activity in ACTIVITIES.values():
        for each in activity.get("dynamicValue", []):
            if each["path"] == "patientInstruction" and each["expression"]["expression"].startswith("'"):
                yield each["expression"]["expression"].strip("'")


def test_what_a_restriction_tells_the_patient_is_there_in_spanish() -> None:
    for activity in ACTIVITIES.values():
        for each in activity.get("dynamicValue", []):
            if each["path"] == "patientInstruction" and each["expression"]["expression"].startswith("'"):
                assert spanish(each["expression"], "expression"), activity["id"]


@pytest.mark.parametrize("text", sorted(set(english())))
def test_no_sentence_for_patients_is_longer_than_fifteen_words(text: str) -> None:
    assert reading_grade.too_long(text) == []


def test_the_words_for_patients_need_no_more_than_six_years_of_school() -> None:
    assert reading_grade.grade(set(english())) <= reading_grade.MAX_GRADE


def test_nothing_claims_that_water_washes_the_drug_out() -> None:
    assert not re.search(r"flush|wash(es)? out|elimin", str(FILES), re.IGNORECASE)
