"""The official HL7 validator finds every file of profiles/ sound, and every rule of every profile enforced.

It is stricter than a server's $validate: it knows the core vital-sign profiles, and holds resources to them unasked.
The broken rules are those which the server must refuse too.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.fhir import terms
from profiles.lock import read
from profiles.test_validate_on_hapi import ARTEFACTS, CASES, GOOD, PLACES, VALUES, Change, carrying, changed
from validator import VALIDATOR_DIR

if TYPE_CHECKING:
    from validator import OfficialValidator

pytestmark = pytest.mark.hapi

FOREIGN = read(VALIDATOR_DIR / "definitions")


@pytest.mark.parametrize("name", ARTEFACTS)
def test_an_artefact_is_valid(official_validator: OfficialValidator, name: str) -> None:
    assert official_validator.faults(ARTEFACTS[name]) == []


@pytest.mark.parametrize("name", GOOD)
def test_a_good_example_is_valid(official_validator: OfficialValidator, name: str) -> None:
    assert official_validator.faults(GOOD[name]) == []


@pytest.mark.parametrize(("name", "change", "rule"), CASES)
def test_a_broken_rule_is_refused(official_validator: OfficialValidator, name: str, change: Change, rule: str) -> None:
    found = official_validator.faults(changed(GOOD[name], change))
    assert any(rule in fault for fault in found), found


@pytest.mark.parametrize("url", VALUES)
def test_an_extension_takes_what_it_is_for(official_validator: OfficialValidator, url: str) -> None:
    right, wrong = VALUES[url]
    assert official_validator.faults(carrying(PLACES[url], {"url": url, **right})) == []
    assert official_validator.faults(carrying(PLACES[url], {"url": url, **wrong})) != []
    elsewhere = {"resourceType": "Patient", "extension": [{"url": url, **right}]}
    assert any("not allowed" in fault for fault in official_validator.faults(elsewhere))


# --- extensions of other guides: deploy/validator/definitions says what they are --------------------------------------
@pytest.mark.parametrize("name", FOREIGN)
def test_a_definition_of_another_guide_is_valid(official_validator: OfficialValidator, name: str) -> None:
    assert official_validator.faults(FOREIGN[name]) == []


def test_a_window_is_a_range_of_a_related_action(official_validator: OfficialValidator) -> None:
    words = {"url": terms.EXT_ACCEPTABLE_OFFSET, "valueString": "a day or two"}
    window = {"url": terms.EXT_ACCEPTABLE_OFFSET, "valueRange": {"low": {"value": 1}, "high": {"value": 2}}}
    assert official_validator.faults(carrying("PlanDefinition.action.relatedAction", window)) == []
    assert official_validator.faults(carrying("PlanDefinition.action.relatedAction", words)) != []
    assert official_validator.faults(carrying("PlanDefinition.action", window)) != []


def test_an_items_weight_is_a_number(official_validator: OfficialValidator) -> None:
    form = copy.deepcopy(ARTEFACTS["Questionnaire-phq-9.json"])
    options = next(item["answerOption"] for item in form["item"] if "answerOption" in item)
    options[0]["valueCoding"]["extension"] = [{"url": terms.EXT_ITEM_WEIGHT, "valueString": "none"}]
    assert any("allows for the types [decimal]" in fault for fault in official_validator.faults(form))


# --- what no profile has to be claimed for ---------------------------------------------------------------------------
def test_an_answer_to_a_question_nobody_asked_is_refused(official_validator: OfficialValidator) -> None:
    response = copy.deepcopy(GOOD["QuestionnaireResponse-phq-9.json"])
    response["item"][0]["linkId"] = "no-such-item"
    assert any("no-such-item" in fault for fault in official_validator.faults(response))


def test_a_systolic_pressure_by_itself_is_no_blood_pressure(official_validator: OfficialValidator) -> None:
    lone = copy.deepcopy(GOOD["Observation-blood-pressure.json"])
    systolic = lone.pop("component")[0]
    del lone["meta"]
    lone |= {"code": systolic["code"], "valueQuantity": systolic["valueQuantity"]}
    assert any("DiastolicBP" in fault for fault in official_validator.faults(lone))


def test_an_unknown_code_of_our_own_is_refused_and_one_of_loinc_is_not(official_validator: OfficialValidator) -> None:
    request = copy.deepcopy(GOOD["ServiceRequest-no-driving.json"])
    request["code"]["coding"][0]["code"] = "no-such-code"
    assert any("no-such-code" in fault for fault in official_validator.faults(request))
    request["code"]["coding"][0] = {"system": terms.LOINC, "code": "8480-6"}
    assert official_validator.faults(request) == []


@pytest.mark.parametrize("nonsense", [{}, {"resourceType": "Nonsense"}, {"resourceType": "Patient", "shoeSize": 43}])
def test_what_is_no_resource_is_refused(official_validator: OfficialValidator, nonsense: dict[str, Any]) -> None:
    assert official_validator.faults(nonsense) != []


def test_an_answer_does_not_depend_on_what_was_asked_before(official_validator: OfficialValidator) -> None:
    good = GOOD["Task-phq-9.json"]
    bad = {name: value for name, value in good.items() if name != "intent"}
    first, second, third, fourth = official_validator.validate([good, bad, good, bad])
    assert first == third
    assert second == fourth
    assert not any(issue.is_error for issue in first)
    assert any(issue.is_error for issue in second)
