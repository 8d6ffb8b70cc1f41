"""A record becomes Observations that meet their profiles; a correction changes only what is ours to change."""

from __future__ import annotations

import copy
import functools
import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fhir.resources.R4B import get_fhir_model_class
from fhirpathpy import compile as compile_path
from fhirpathpy.models import models
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.clinic import Clinic
from fhir_aftercare.care.infusion import (
    DECIMALS,
    LIMITS,
    Check,
    Dissociation,
    InfusionRecord,
    InfusionStatus,
)
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.readiness import BloodPressure, Criterion, Finding, Judged, Override, Panel, State
from fhir_aftercare.care.readiness_rules import judge
from fhir_aftercare.care.record_check import check_record
from fhir_aftercare.care.timing import OpenHours
from fhir_aftercare.fhir import exact_json, terms
from fhir_aftercare.fhir.findings import read_findings
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.fhir.observations import amended, from_record
from fhir_aftercare.fhir.readiness import readiness_observation
from fhir_aftercare.fhir.setting import Setting
from profiles.lock import EXAMPLES, read

Resource = dict[str, Any]
NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 9, 16, 13, 0, tzinfo=NEW_YORK)
END = START + timedelta(minutes=40)
CLINIC = Clinic(
    id="harbor",
    name="Harbor Clinic",
    zone=NEW_YORK,
    organization="Organization/clinic",
    phone="+1 555 0100",
    policy=Policy(),
    call_hours=OpenHours({}, frozenset(), NEW_YORK),
)
SETTING = Setting(
    clinic=CLINIC,
    identifiers=Identifiers("https://clinic.example.com"),
    patient="Patient/ana",
    encounter="Encounter/infusion-1",
    key=("harbor", "infusion-1", "1"),
    drug_record="MedicationAdministration/infusion-1",
    recorded_by="Practitioner/nurse",
)
GOOD = read(EXAMPLES)
PROFILES = {each["url"]: each for each in read().values() if each["resourceType"] == "StructureDefinition"}


def record(*checks: Check, **values: Any) -> InfusionRecord:
    return InfusionRecord(start=START, end=END, status=InfusionStatus.COMPLETED, checks=checks, **values)


def written(*checks: Check, setting: Setting = SETTING, **values: Any) -> list[Resource]:
    return from_record(record(*checks, **values), setting)


@functools.cache
def rule(expression: str) -> Any:
    return compile_path(expression, models["r4"])


def broken_rules(resource: Resource) -> list[str]:
    """Give what the resource breaks of its own profiles: cardinalities and constraints of the differentials."""
    plain = json.loads(exact_json.dumps(resource))
    found = []
    for url in set(resource["meta"]["profile"]) & PROFILES.keys():
        for element in PROFILES[url]["differential"]["element"]:
            path = element["path"].partition(".")[2].replace("[x]", "")
            present = rule(path)(plain) if path else [plain]
            most = element.get("max", "*")
            if len(present) < element.get("min", 0) or (most != "*" and len(present) > int(most)):
                found.append(f"{path}: {len(present)}")
            constraints = element.get("constraint", ())
            found += [each["key"] for each in constraints if rule(each["expression"])(plain) != [True]]
    return found


def fits_the_model(resource: Resource) -> None:
    get_fhir_model_class(resource["resourceType"]).model_validate_json(exact_json.dumps(resource))


def meets_its_profile(resource: Resource) -> None:
    fits_the_model(resource)
    assert broken_rules(resource) == []


# --- any record a clinic may send ------------------------------------------------------------------------------------
def _values(name: str) -> st.SearchStrategy[Any]:
    if name == "dissociation":
        return st.sampled_from(Dissociation)
    if name in DECIMALS:
        return st.decimals(LIMITS[name].low, LIMITS[name].high, places=1)
    if name in LIMITS:
        return st.integers(int(LIMITS[name].low), int(LIMITS[name].high))
    return st.booleans()


NAMES = [each.name for each in fields(Check) if each.name not in {"at", "id", "recorded_by", "systolic", "diastolic"}]


@st.composite
def checks(draw: st.DrawFn) -> tuple[Check, ...]:
    """Give rows that ``check_record`` accepts, at different minutes."""
    found = []
    for minute in draw(st.lists(st.integers(-60, 180), min_size=1, max_size=4, unique=True)):
        names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
        values = {name: draw(_values(name)) for name in names}
        if draw(st.booleans()):
            diastolic = draw(st.integers(20, 200))
            values |= {"diastolic": diastolic, "systolic": draw(st.integers(max(40, diastolic + 1), 300))}
        row = draw(st.sampled_from([None, f"row-{minute}"]))
        found.append(Check(at=START + timedelta(minutes=minute), id=row, **values))
    return tuple(found)


def expected(check: Check) -> set[tuple[Any, ...]]:
    at = check.at.replace(microsecond=0).astimezone(UTC)
    found = {(name, at, value) for name in NAMES if (value := getattr(check, name)) is not None}
    if check.systolic is not None and check.diastolic is not None:
        found.add(("blood_pressure", at, BloodPressure(check.systolic, check.diastolic)))
    return found


@given(checks())
def test_every_value_recorded_is_read_back_as_it_was(rows: tuple[Check, ...]) -> None:
    check_record(record(*rows), START + timedelta(days=1))
    stored = [exact_json.loads(exact_json.dumps(each)) for each in written(*rows)]
    back = read_findings(stored)
    assert {(each.measure.value, each.at.astimezone(UTC), each.value) for each in back} == {
        each for row in rows for each in expected(row)
    }
    assert len(back) == sum(len(expected(row)) for row in rows)
    for each in back:
        assert type(each.value) is not Decimal or each.measure.value in DECIMALS


@given(checks())
def test_whatever_is_recorded_meets_its_profile_and_has_an_identifier_of_its_own(rows: tuple[Check, ...]) -> None:
    found = written(*rows)
    for each in found:
        meets_its_profile(each)
    values = [each["identifier"][0]["value"] for each in found]
    assert len(set(values)) == len(values)


@given(checks())
def test_the_same_record_is_the_same_resources(rows: tuple[Check, ...]) -> None:
    assert written(*rows) == written(*rows)


# --- shapes ----------------------------------------------------------------------------------------------------------
def test_a_blood_pressure_looks_like_the_example_of_its_profile() -> None:
    example = copy.deepcopy(GOOD["Observation-blood-pressure.json"])
    (found,) = written(Check(at=START + timedelta(minutes=100), systolic=128, diastolic=80))
    del example["id"], example["identifier"][0]["value"], found["identifier"][0]["value"]
    assert found == example


def test_a_saturation_has_both_codes() -> None:
    (found,) = written(Check(at=END, spo2=95))
    assert [each["code"] for each in found["code"]["coding"]] == [terms.SPO2_PULSE_OX.code, terms.SPO2_ARTERIAL.code]
    assert found["valueQuantity"] == {"value": 95, "unit": "%", "system": terms.UCUM, "code": "%"}


def test_oxygen_given_is_an_observation_of_its_own_beside_the_saturation() -> None:
    saturation, flow = written(Check(at=END, spo2=95, oxygen_flow=Decimal(2)))
    assert "component" not in saturation
    assert flow["code"]["coding"][0]["code"] == terms.O2_FLOW.code
    assert flow["effectiveDateTime"] == saturation["effectiveDateTime"]


def test_a_decimal_keeps_its_digits() -> None:
    (found,) = written(Check(at=END, weight=Decimal("70.50")))
    assert b"70.50" in exact_json.dumps(found)


def test_a_moderate_level_has_words_though_its_display_is_not_known() -> None:
    (found,) = written(Check(at=END, dissociation=Dissociation.MODERATE))
    assert found["valueCodeableConcept"] == terms.MODERATE.concept()
    assert found["valueCodeableConcept"]["text"] == "Moderate"


def test_the_time_keeps_its_offset() -> None:
    (found,) = written(Check(at=END, spo2=95))
    assert found["effectiveDateTime"] == "2026-09-16T13:40:00-04:00"


@pytest.mark.parametrize(
    ("of_check", "of_record", "of_setting", "performer"),
    [
        ("Practitioner/1", "Practitioner/2", "Practitioner/3", "Practitioner/1"),
        (None, "Practitioner/2", "Practitioner/3", "Practitioner/2"),
        (None, None, "Practitioner/3", "Practitioner/3"),
        (None, None, None, "Organization/clinic"),
    ],
)
def test_the_performer_is_the_person_nearest_to_the_value_else_the_clinic(
    of_check: str | None, of_record: str | None, of_setting: str | None, performer: str
) -> None:
    setting = replace(SETTING, recorded_by=of_setting)
    (found,) = written(Check(at=END, spo2=95, recorded_by=of_check), setting=setting, recorded_by=of_record)
    assert found["performer"] == [{"reference": performer}]


def test_without_encounter_or_record_of_the_drug_neither_is_named() -> None:
    (found,) = written(Check(at=END, spo2=95), setting=replace(SETTING, encounter=None, drug_record=None))
    assert {"encounter", "partOf"}.isdisjoint(found)
    meets_its_profile(found)


def test_a_row_with_an_id_stays_the_same_observation_when_its_time_is_corrected() -> None:
    before, after, other = (
        written(Check(at=END + timedelta(minutes=minutes), id=row, spo2=95))[0]["identifier"]
        for minutes, row in ((0, "r1"), (5, "r1"), (0, "r2"))
    )
    assert before == after != other


# --- corrections -----------------------------------------------------------------------------------------------------
def stored(resource: Resource, **more: Any) -> Resource:
    """Give a resource as a server would have it."""
    return {**exact_json.loads(exact_json.dumps(resource)), "id": "1", **more}


def corrected(spo2: int, **more: Any) -> tuple[Resource, Resource]:
    """Give a stored Observation, and the one wanted once its saturation of 95 is corrected."""
    row = Check(at=END, id="r1", spo2=95)
    return stored(written(row)[0], **more), written(replace(row, spo2=spo2))[0]


@given(checks())
def test_what_says_the_same_needs_no_amendment(rows: tuple[Check, ...]) -> None:
    for wanted in written(*rows):
        assert amended(wanted, wanted) is None
        assert amended(stored(wanted, meta={"versionId": "3", "profile": ["http://example.org/x"]}), wanted) is None


def test_a_corrected_value_amends_and_then_there_is_nothing_left_to_do() -> None:
    existing, wanted = corrected(97)
    found = amended(existing, wanted)
    assert found is not None
    assert (found["status"], found["valueQuantity"]["value"], found["id"]) == ("amended", 97, "1")
    assert amended(found, wanted) is None
    assert existing["valueQuantity"]["value"] == 95


@given(checks(), checks())
def test_an_amended_observation_says_what_was_wanted_and_stays(
    before: tuple[Check, ...], after: tuple[Check, ...]
) -> None:
    first = {each["code"]["text"]: each for each in written(*before)}
    second = {each["code"]["text"]: each for each in written(*after)}
    for name in first.keys() & second.keys():
        wanted = second[name]
        existing = stored(first[name], note=[{"text": "by a doctor"}], device={"reference": "Device/9"})
        found = amended(existing, wanted)
        if found is None:
            found = existing
        else:
            assert found["status"] == "amended"
        assert amended(found, wanted) is None
        assert (found["note"], found["device"], found["id"]) == (existing["note"], existing["device"], "1")
        meets_its_profile(found)
        told = {(each.measure, each.value) for each in read_findings([wanted])}
        assert told <= {(each.measure, each.value) for each in read_findings([found])}


FOREIGN: Resource = {
    "id": "42",
    "meta": {"versionId": "7", "tag": [{"code": "theirs"}]},
    "text": {"status": "generated", "div": "<div>theirs</div>"},
    "note": [{"text": "after a walk"}],
    "interpretation": [{"text": "Low"}],
    "extension": [{"url": "http://example.org/theirs", "valueString": "kept"}],
}


def with_their_additions(resource: Resource) -> Resource:
    found = {**stored(resource), **copy.deepcopy(FOREIGN)}
    found["identifier"].insert(0, {"system": "http://ehr.example.org", "value": "8"})
    found["category"].append({"coding": [{"system": "http://ehr.example.org", "code": "flowsheet"}]})
    found["code"]["coding"].insert(0, {"system": "http://ehr.example.org", "code": "spo2"})
    found["subject"] = {"reference": "https://ehr.example.org/fhir/Patient/ana", "display": "their words"}
    found["encounter"] = {"reference": "Encounter/infusion-1/_history/3"}
    found["effectiveDateTime"] = "2026-09-16T17:40:00.000Z"
    return found


def test_what_the_server_added_or_writes_in_another_way_is_no_difference() -> None:
    (wanted,) = written(Check(at=END, spo2=95))
    existing = with_their_additions(wanted)
    existing["valueQuantity"] |= {"value": Decimal("95.0"), "unit": "percent"}
    existing["code"]["text"] = "SpO2"
    assert amended(existing, wanted) is None


def test_what_others_added_survives_a_correction() -> None:
    (wanted,) = written(Check(at=END, spo2=97))
    existing = with_their_additions(written(Check(at=END, spo2=95))[0])
    found = amended(existing, wanted)
    assert found is not None
    for name, value in FOREIGN.items():
        assert found[name] == value
    assert found["identifier"] == existing["identifier"]
    assert found["category"] == existing["category"]
    assert found["code"] == existing["code"]
    assert found["valueQuantity"]["value"] == 97


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_what_people_took_back_stays_taken_back(status: str) -> None:
    existing, wanted = corrected(97, status=status)
    assert amended(existing, wanted) is None


@pytest.mark.parametrize(
    ("status", "after"),
    [("final", "amended"), ("amended", "amended"), ("corrected", "amended"), ("preliminary", "final")],
)
def test_a_correction_moves_the_status(status: str, after: str) -> None:
    existing, wanted = corrected(97, status=status)
    found = amended(existing, wanted)
    assert found is not None
    assert found["status"] == after
    assert amended(found, wanted) is None


@pytest.mark.parametrize("status", ["final", "amended", "corrected"])
def test_an_amended_observation_that_says_the_same_is_left_alone(status: str) -> None:
    (wanted,) = written(Check(at=END, spo2=95))
    assert amended(stored(wanted, status=status), wanted) is None


def test_the_same_record_sent_by_somebody_else_changes_nothing() -> None:
    (mine,) = written(Check(at=END, spo2=95))
    (theirs,) = written(Check(at=END, spo2=95), setting=replace(SETTING, recorded_by="Practitioner/other"))
    assert amended(stored(mine), theirs) is None


@pytest.mark.parametrize(
    ("by", "performer"), [("Practitioner/other", "Practitioner/other"), (None, "Practitioner/nurse")]
)
def test_who_corrects_a_value_answers_for_it_if_it_is_a_person(by: str | None, performer: str) -> None:
    (mine,) = written(Check(at=END, spo2=95))
    (theirs,) = written(Check(at=END, spo2=97), setting=replace(SETTING, recorded_by=by))
    found = amended(stored(mine), theirs)
    assert found is not None
    assert found["performer"] == [{"reference": performer}]


def test_a_corrected_component_replaces_its_own_and_no_other() -> None:
    (before,) = written(Check(at=END, systolic=128, diastolic=80))
    (wanted,) = written(Check(at=END, systolic=118, diastolic=80))
    existing = stored(before)
    existing["component"].append({"code": {"text": "Cuff"}, "valueString": "left arm"})
    found = amended(existing, wanted)
    assert found is not None
    values = [each.get("valueQuantity", {}).get("value") for each in found["component"]]
    assert values == [118, 80, None]
    assert amended(found, wanted) is None


def test_a_corrected_level_takes_the_old_codes_away() -> None:
    (before,) = written(Check(at=END, dissociation=Dissociation.MILD))
    (wanted,) = written(Check(at=END, dissociation=Dissociation.SEVERE))
    existing = stored(before)
    existing["valueCodeableConcept"]["coding"].append({"system": "http://ehr.example.org", "code": "mild"})
    found = amended(existing, wanted)
    assert found is not None
    assert found["valueCodeableConcept"] == terms.SEVERE.concept()


def test_a_value_takes_the_place_of_its_absence_and_of_a_bound() -> None:
    (wanted,) = written(Check(at=END, spo2=95))
    absent = stored({**wanted, "dataAbsentReason": {"text": "refused"}})
    del absent["valueQuantity"]
    bound = stored(wanted)
    bound["valueQuantity"]["comparator"] = "<"
    for existing in (absent, bound):
        found = amended(existing, wanted)
        assert found is not None
        assert "dataAbsentReason" not in found
        assert found["valueQuantity"] == wanted["valueQuantity"]
        assert amended(found, wanted) is None


def test_a_corrected_time_amends() -> None:
    (before,) = written(Check(at=END, id="r1", spo2=95))
    (wanted,) = written(Check(at=END + timedelta(minutes=5), id="r1", spo2=95))
    found = amended(stored(before), wanted)
    assert found is not None
    assert found["effectiveDateTime"] == "2026-09-16T13:45:00-04:00"


# --- readiness -------------------------------------------------------------------------------------------------------
LEFT = END + timedelta(minutes=90)
FINE = Check(
    at=END + timedelta(minutes=80),
    systolic=124,
    diastolic=78,
    spo2=98,
    moaa_s=5,
    dissociation=Dissociation.ABSENT,
    oriented=True,
    walks_unaided=True,
    nausea=0,
    no_acute_suicidal_intent=True,
    escort_present=True,
    written_instructions=True,
)


def judged_from(*rows: Check, **more: Any) -> Panel:
    found = [{**each, "id": f"o{index}"} for index, each in enumerate(written(*rows))]
    return judge(read_findings(found), start=START, end=END, left_at=LEFT, escort=None, policy=CLINIC.policy, **more)


def test_a_panel_becomes_an_observation_like_the_example_of_its_profile() -> None:
    found = readiness_observation(judged_from(FINE), SETTING, START + timedelta(minutes=130))
    meets_its_profile(found)
    example = GOOD["Observation-readiness.json"]
    assert found["component"] == example["component"]
    for name in (
        "meta",
        "partOf",
        "status",
        "category",
        "code",
        "subject",
        "encounter",
        "effectiveDateTime",
        "performer",
    ):
        assert found[name] == example[name]


def test_each_criterion_is_true_false_or_absent() -> None:
    found = readiness_observation(judged_from(replace(FINE, moaa_s=3, spo2=None)), SETTING, LEFT)
    meets_its_profile(found)
    said = {each["code"]["coding"][0]["code"]: each.get("valueBoolean") for each in found["component"]}
    assert said[terms.SEDATION_RESOLVED.code] is False
    assert said[terms.SPO2_ACCEPTABLE.code] is None
    assert said[terms.ORIENTED.code] is True
    assert len(said) == 12


def test_the_reasons_and_what_they_rest_on_are_told() -> None:
    found = readiness_observation(judged_from(replace(FINE, moaa_s=3)), SETTING, LEFT)
    assert "MOAA/S" in found["note"][0]["text"]
    assert len(found["derivedFrom"]) == 10
    assert all(each["reference"].startswith("Observation/") for each in found["derivedFrom"])


def test_an_override_is_told_with_name_time_and_reason() -> None:
    override = Override("Practitioner/1", LEFT, "Lives next door", "Dr. Okafor")
    found = readiness_observation(judged_from(override=override), SETTING, LEFT)
    meets_its_profile(found)
    assert found["note"][1] == {
        "authorReference": {"reference": "Practitioner/1", "display": "Dr. Okafor"},
        "time": "2026-09-16T15:10:00-04:00",
        "text": "Lives next door",
    }


@given(
    st.lists(st.sampled_from(State), min_size=12, max_size=12),
    st.lists(st.sampled_from(State), min_size=12, max_size=12),
)
def test_a_panel_judged_anew_amends_the_same_observation(first: list[State], second: list[State]) -> None:
    before, after = (
        readiness_observation(
            Panel(
                tuple(Judged(each, state, f"{each}: {state}.") for each, state in zip(Criterion, states, strict=True))
            ),
            SETTING,
            LEFT,
        )
        for states in (first, second)
    )
    assert before["identifier"] == after["identifier"]
    found = amended(stored(before), after)
    assert (found is None) is (first == second)
    if found is not None:
        meets_its_profile(found)
        assert found["component"] == after["component"]
        assert found["note"] == after["note"]
        assert amended(found, after) is None


def test_a_panel_is_no_finding() -> None:
    found = readiness_observation(judged_from(FINE), SETTING, LEFT)
    assert read_findings([stored(found)]) == []


def test_the_readiness_observation_is_derived_from_observations_only() -> None:
    panel = judge(
        [Finding(each.measure, each.at, each.value, "DocumentReference/1") for each in read_findings(written(FINE))],
        start=START,
        end=END,
        left_at=LEFT,
        escort=True,
        policy=CLINIC.policy,
    )
    found = readiness_observation(panel, SETTING, LEFT)
    assert "derivedFrom" not in found
    meets_its_profile(found)
