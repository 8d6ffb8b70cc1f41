"""What EHRs, monitors and we ourselves write is read for what it says, and never for more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fhir_aftercare.care.clinic import Clinic
from fhir_aftercare.care.infusion import Dissociation, InfusionStatus, Measure
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.readiness import BloodPressure
from fhir_aftercare.care.timing import OpenHours
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.findings import read_administrations, read_findings

Resource = dict[str, Any]
AT = "2026-09-16T14:40:00-04:00"
NEW_YORK = ZoneInfo("America/New_York")
CLINIC = Clinic(
    id="harbor",
    name="Harbor Clinic",
    zone=NEW_YORK,
    organization="Organization/clinic",
    phone="+1 555 0100",
    policy=Policy(),
    call_hours=OpenHours({}, frozenset(), NEW_YORK),
)


def observation(code: terms.Code, **more: Any) -> Resource:
    """Give an Observation as an EHR might write it: no category, no profile, no identifier."""
    found = {
        "resourceType": "Observation",
        "id": "1",
        "status": "final",
        "code": code.concept(),
        "effectiveDateTime": AT,
        **more,
    }
    return {name: value for name, value in found.items() if value is not None}


def quantity(value: Any, unit: str | None = None, code: str | None = None) -> Resource:
    parts = {"value": value, "unit": unit, "code": code, "system": terms.UCUM if code else None}
    return {"valueQuantity": {name: each for name, each in parts.items() if each is not None}}


def values(*observations: Resource) -> list[tuple[Measure, Any]]:
    return [(each.measure, each.value) for each in read_findings(observations)]


def value(*observations: Resource) -> Any:
    (found,) = values(*observations)
    return found[1]


# --- which Observations count ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", ["final", "amended", "corrected", "preliminary"])
def test_a_result_counts(status: str) -> None:
    assert value(observation(terms.SPO2_ARTERIAL, status=status, **quantity(97, code="%"))) == 97


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled", "registered", "unknown", None])
def test_what_was_taken_back_or_is_not_there_yet_does_not_count(status: str | None) -> None:
    assert values(observation(terms.SPO2_ARTERIAL, status=status, **quantity(97, code="%"))) == []


@pytest.mark.parametrize(
    "when",
    [
        {"effectiveDateTime": AT},
        {"effectiveDateTime": "2026-09-16T18:40:00Z"},
        {"effectiveDateTime": "2026-09-16T18:40:00.000+00:00"},
        {"effectiveInstant": AT},
        {"effectivePeriod": {"start": "2026-09-16T14:30:00-04:00", "end": AT}},
        {"effectivePeriod": {"start": AT}},
    ],
)
def test_the_instant_is_read_in_each_form_it_may_have(when: Resource) -> None:
    found = observation(terms.HEART_RATE, **{"effectiveDateTime": None, **when}, **quantity(72, code="/min"))
    (finding,) = read_findings([found])
    assert finding.at == datetime(2026, 9, 16, 18, 40, tzinfo=UTC)
    assert finding.source == "Observation/1"


@pytest.mark.parametrize("when", [None, "2026-09-16", "2026-09", "2026-09-16T14:40:00", "yesterday"])
def test_without_an_instant_there_is_no_finding(when: str | None) -> None:
    assert values(observation(terms.HEART_RATE, effectiveDateTime=when, **quantity(72, code="/min"))) == []


def test_what_was_not_measured_is_no_finding() -> None:
    absent = {"dataAbsentReason": {"text": "refused"}}
    assert values(observation(terms.HEART_RATE, **absent)) == []


def test_what_is_about_something_else_is_left_out() -> None:
    assert values(observation(terms.PHQ9_TOTAL, **quantity(12, code="{score}")), {"resourceType": "Observation"}) == []


def test_findings_come_oldest_first() -> None:
    times = ["2026-09-16T14:40:00-04:00", "2026-09-16T18:10:00Z", "2026-09-16T20:30:00+02:00"]
    found = read_findings(
        [observation(terms.HEART_RATE, effectiveDateTime=each, **quantity(70, code="/min")) for each in times]
    )
    assert [each.at.astimezone(UTC).strftime("%H:%M") for each in found] == ["18:10", "18:30", "18:40"]


# --- saturation, oxygen, other numbers -------------------------------------------------------------------------------
@pytest.mark.parametrize("code", [terms.SPO2_PULSE_OX, terms.SPO2_ARTERIAL])
def test_either_code_of_the_saturation_is_read_once(code: terms.Code) -> None:
    assert values(observation(code, **quantity(97, code="%"))) == [(Measure.SPO2, 97)]
    both = terms.SPO2_PULSE_OX.concept(terms.SPO2_ARTERIAL)
    assert values({**observation(code, **quantity(97, code="%")), "code": both}) == [(Measure.SPO2, 97)]


def test_a_code_is_found_among_the_ehrs_own() -> None:
    own = {"coding": [{"system": "http://ehr.example.org", "code": "5"}, terms.HEART_RATE.coding()]}
    assert value({**observation(terms.HEART_RATE, **quantity(72, code="/min")), "code": own}) == 72


def test_components_of_any_panel_are_read() -> None:
    component = [
        {"code": terms.HEART_RATE.concept(), **quantity(72, "bpm")},
        {"code": terms.RESPIRATORY_RATE.concept(), **quantity(14, "breaths/min")},
        {"code": terms.O2_FLOW.concept(), **quantity(2, "L/min", "L/min")},
        {"code": {"text": "Remark"}, "valueString": "asleep"},
    ]
    found = values(observation(terms.local("vitals", "Vitals"), component=component))
    assert found == [(Measure.HEART_RATE, 72), (Measure.RESPIRATORY_RATE, 14), (Measure.OXYGEN_FLOW, 2)]


@pytest.mark.parametrize(
    ("code", "given", "expected"),
    [
        (terms.HEART_RATE, quantity(72, code="/min"), 72),
        (terms.HEART_RATE, quantity(72, code="{beats}/min"), 72),
        (terms.HEART_RATE, quantity(72, unit="BPM"), 72),
        (terms.HEART_RATE, quantity(72), 72),
        (terms.HEART_RATE, quantity(Decimal("72.0"), code="/min"), 72),
        (terms.HEART_RATE, {"valueInteger": 72}, 72),
        (terms.HEART_RATE, {"valueString": " 72 "}, 72),
        (terms.SPO2_ARTERIAL, quantity(Decimal("97.5"), unit="%"), Decimal("97.5")),
        (terms.TEMPERATURE, quantity(Decimal("36.80"), code="Cel"), Decimal("36.80")),
        (terms.TEMPERATURE, quantity(Decimal("98.6"), code="[degF]"), Decimal("37.00")),
        (terms.WEIGHT, quantity(Decimal("70.5"), code="kg"), Decimal("70.5")),
        (terms.WEIGHT, quantity(70500, code="g"), Decimal("70.50")),
        (terms.WEIGHT, quantity(154, code="[lb_av]"), Decimal("69.85")),
        (terms.WEIGHT, quantity(154, unit="lbs", code="pound"), Decimal("69.85")),
        (terms.MOAA_S, {"valueInteger": 4}, 4),
        (terms.MOAA_S, quantity(4, unit="points"), 4),
        (terms.NAUSEA, {"valueInteger": 3}, 3),
        (terms.NAUSEA, {"valueCodeableConcept": terms.ABSENT.concept()}, 0),
        (terms.VOMITING, {"valueInteger": 2}, 2),
    ],
)
def test_a_number_is_read_in_the_forms_and_units_ehrs_use(code: terms.Code, given: Resource, expected: Any) -> None:
    found = value(observation(code, **given))
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("code", "given"),
    [
        (terms.HEART_RATE, quantity(1.2, code="Hz")),
        (terms.HEART_RATE, quantity(400, code="/min")),
        (terms.SPO2_ARTERIAL, quantity(0, code="%")),
        (terms.SPO2_ARTERIAL, quantity(Decimal("0.97"), code="1")),
        (terms.SPO2_ARTERIAL, {"valueQuantity": {"value": 90, "comparator": "<", "code": "%"}}),
        (terms.SPO2_ARTERIAL, {"valueQuantity": {"unit": "%"}}),
        (terms.SPO2_ARTERIAL, {"valueString": "good"}),
        (terms.SPO2_ARTERIAL, {"valueString": "NaN"}),
        (terms.SPO2_ARTERIAL, {"valueBoolean": True}),
        (terms.WEIGHT, quantity(154)),
        (terms.TEMPERATURE, quantity(Decimal("98.6"))),
        (terms.MOAA_S, {"valueInteger": 6}),
        (terms.NAUSEA, {"valueCodeableConcept": terms.SEVERE.concept()}),
        (terms.ORIENTED, {"valueString": "yes"}),
        (terms.ORIENTED, {"valueInteger": 1}),
        (terms.DISSOCIATION, {"valueString": "floating"}),
        (terms.DISSOCIATION, {"valueInteger": 1}),
        (terms.SPO2_ARTERIAL, {"valueAttachment": {"contentType": "image/png"}}),  # a type of value from after R4
    ],
)
def test_what_cannot_be_read_or_cannot_be_real_is_a_finding_without_value(code: terms.Code, given: Resource) -> None:
    assert value(observation(code, **given)) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"valueCodeableConcept": terms.MODERATE.concept()}, Dissociation.MODERATE),
        ({"valueCodeableConcept": {"coding": [terms.SEVERE.coding()]}}, Dissociation.SEVERE),
        ({"valueCodeableConcept": {"text": "Mild"}}, Dissociation.MILD),
        ({"valueString": "absent"}, Dissociation.ABSENT),
    ],
)
def test_a_level_of_dissociation_is_read_by_code_or_word(given: Resource, expected: Dissociation) -> None:
    assert value(observation(terms.DISSOCIATION, **given)) is expected


@pytest.mark.parametrize("answer", [True, False])
def test_a_yes_or_no_is_read(answer: bool) -> None:
    assert value(observation(terms.ESCORT_PRESENT, valueBoolean=answer)) is answer


# --- blood pressure --------------------------------------------------------------------------------------------------
def pressure(code: terms.Code, amount: Any, **more: Any) -> Resource:
    return observation(code, **{**quantity(amount, "mmHg", "mm[Hg]"), **more})


def panel(systolic: Any, diastolic: Any, **more: Any) -> Resource:
    parts = [(terms.SYSTOLIC, systolic), (terms.DIASTOLIC, diastolic)]
    component = [{"code": code.concept(), **quantity(each, "mm Hg")} for code, each in parts if each is not None]
    return observation(terms.BP_PANEL, component=component, **more)


def test_a_panel_is_one_blood_pressure() -> None:
    assert values(panel(128, 80)) == [(Measure.BLOOD_PRESSURE, BloodPressure(128, 80))]


def test_lone_values_of_one_instant_are_one_blood_pressure_whatever_their_order_and_zone() -> None:
    systolic = pressure(terms.SYSTOLIC, 128, id="s")
    diastolic = pressure(terms.DIASTOLIC, 80, id="d", effectiveDateTime="2026-09-16T18:40:00Z")
    for order in ([systolic, diastolic], [diastolic, systolic]):
        assert value(*order) == BloodPressure(128, 80)


def test_lone_values_of_different_instants_are_no_pair() -> None:
    later = "2026-09-16T14:45:00-04:00"
    found = values(pressure(terms.SYSTOLIC, 128), pressure(terms.DIASTOLIC, 80, effectiveDateTime=later))
    assert found == [(Measure.BLOOD_PRESSURE, None), (Measure.BLOOD_PRESSURE, None)]


def test_a_lone_value_that_repeats_the_panel_of_its_instant_adds_nothing() -> None:
    assert values(panel(128, 80), pressure(terms.SYSTOLIC, 128)) == [(Measure.BLOOD_PRESSURE, BloodPressure(128, 80))]


def test_a_lone_value_that_differs_from_the_panel_of_its_instant_is_not_lost() -> None:
    found = values(panel(128, 80), pressure(terms.SYSTOLIC, 190))
    assert found == [(Measure.BLOOD_PRESSURE, BloodPressure(128, 80)), (Measure.BLOOD_PRESSURE, None)]


def test_of_lone_values_of_both_arms_the_higher_count() -> None:
    found = [pressure(terms.SYSTOLIC, each) for each in (128, 150)] + [
        pressure(terms.DIASTOLIC, each) for each in (80, 75)
    ]
    assert value(*found) == BloodPressure(150, 80)


@pytest.mark.parametrize(
    "half",
    [
        panel(128, None),
        panel(None, 80),
        panel(80, 80),
        panel(80, 120),
        panel(400, 80),
        observation(
            terms.BP_PANEL,
            component=[
                {"code": terms.SYSTOLIC.concept(), **quantity(128, "mmHg")},
                {"code": terms.DIASTOLIC.concept(), "dataAbsentReason": {"text": "error"}},
            ],
        ),
        observation(
            terms.BP_PANEL,
            component=[
                {"code": terms.SYSTOLIC.concept(), **quantity(17, code="kPa")},
                {"code": terms.DIASTOLIC.concept(), **quantity(11, code="kPa")},
            ],
        ),
    ],
)
def test_half_a_pressure_or_one_that_cannot_be_is_a_finding_without_value(half: Resource) -> None:
    assert values(half) == [(Measure.BLOOD_PRESSURE, None)]


# --- records of the drug ---------------------------------------------------------------------------------------------
START, END = "2026-09-16T13:00:00-04:00", "2026-09-16T13:40:00-04:00"
PERIOD = {"start": START, "end": END}


def administration(**more: Any) -> Resource:
    found = {
        "resourceType": "MedicationAdministration",
        "id": "7",
        "status": "completed",
        "medicationCodeableConcept": terms.KETAMINE_RXNORM.concept(),
        "effectivePeriod": PERIOD,
        **more,
    }
    return {name: value for name, value in found.items() if value is not None}


def procedure(**more: Any) -> Resource:
    found = {
        "resourceType": "Procedure",
        "id": "8",
        "status": "completed",
        "code": terms.KETAMINE_INFUSION.concept(),
        "performedPeriod": PERIOD,
        **more,
    }
    return {name: value for name, value in found.items() if value is not None}


def test_an_administration_and_a_procedure_are_read() -> None:
    for resource, reference in ((administration(), "MedicationAdministration/7"), (procedure(), "Procedure/8")):
        (found,) = read_administrations([resource], CLINIC)
        assert found.reference == reference
        assert found.end is not None
        assert found.end - found.start == timedelta(minutes=40)
        assert found.status is InfusionStatus.COMPLETED
        assert found.resource is resource


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("in-progress", InfusionStatus.IN_PROGRESS),
        ("on-hold", InfusionStatus.IN_PROGRESS),
        ("completed", InfusionStatus.COMPLETED),
        ("stopped", InfusionStatus.STOPPED),
        ("not-done", InfusionStatus.NOT_DONE),
        ("unknown", InfusionStatus.STOPPED),
        ("entered-in-error", None),
        ("preparation", None),
    ],
)
def test_each_status_is_read_for_what_it_means(status: str, expected: InfusionStatus | None) -> None:
    for resource in (administration(status=status), procedure(status=status)):
        assert [each.status for each in read_administrations([resource], CLINIC)] == ([expected] if expected else [])


def test_an_infusion_still_running_has_no_end_whatever_was_planned() -> None:
    (found,) = read_administrations([administration(status="in-progress")], CLINIC)
    assert found.end is None


@pytest.mark.parametrize(
    "drug",
    [
        {"medicationCodeableConcept": terms.KETAMINE_SNOMED.concept()},
        {
            "medicationCodeableConcept": None,
            "medicationReference": {"reference": "#k"},
            "contained": [{"resourceType": "Medication", "id": "k", "code": terms.KETAMINE_RXNORM.concept()}],
        },
    ],
)
def test_ketamine_is_known_by_its_standard_codes_wherever_they_stand(drug: Resource) -> None:
    assert len(read_administrations([administration(**drug)], CLINIC)) == 1


def test_ketamine_is_known_by_a_medication_that_was_read_too() -> None:
    medication = {"resourceType": "Medication", "id": "k", "code": terms.KETAMINE_RXNORM.concept()}
    given = administration(medicationCodeableConcept=None, medicationReference={"reference": "Medication/k"})
    assert len(read_administrations([given, medication], CLINIC)) == 1
    assert read_administrations([given], CLINIC) == []


def test_ketamine_used_in_a_procedure_of_another_code_is_known() -> None:
    other = procedure(code={"text": "Infusion"}, usedCode=[terms.KETAMINE_SNOMED.concept()])
    assert len(read_administrations([other], CLINIC)) == 1


def test_the_clinics_own_codes_count_and_only_there() -> None:
    own = administration(medicationCodeableConcept={"coding": [{"system": "http://ehr.example.org", "code": "K50"}]})
    clinic = replace(CLINIC, ketamine_codes=frozenset({("http://ehr.example.org", "K50")}))
    assert read_administrations([own], CLINIC) == []
    assert len(read_administrations([own], clinic)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"medicationCodeableConcept": {"text": "Ketamine"}},
        {"medicationCodeableConcept": {"coding": [{"system": terms.RXNORM, "code": "1"}]}},
        {"medicationCodeableConcept": {"coding": [{"code": terms.KETAMINE_RXNORM.code}]}},
    ],
)
def test_another_drug_or_a_mere_word_is_no_infusion(other: Resource) -> None:
    assert read_administrations([administration(**other)], CLINIC) == []


@pytest.mark.parametrize(
    ("when", "start", "end"),
    [
        ({"effectivePeriod": {"start": START}}, START, None),
        ({"effectivePeriod": {"end": END}}, END, END),
        ({"effectivePeriod": {"start": END, "end": START}}, END, None),
        ({"effectivePeriod": None, "effectiveDateTime": START}, START, None),
    ],
)
def test_times_are_read_in_each_form_and_never_invented(when: Resource, start: str, end: str | None) -> None:
    (found,) = read_administrations([administration(**when)], CLINIC)
    assert found.start == datetime.fromisoformat(start)
    assert found.end == (datetime.fromisoformat(end) if end else None)


@pytest.mark.parametrize("when", [None, {"start": "2026-09-16"}, {"start": "2026-09-16T13:00:00"}])
def test_a_record_without_any_instant_is_left_out(when: Resource | None) -> None:
    assert read_administrations([administration(effectivePeriod=when)], CLINIC) == []


def test_administrations_come_oldest_first_and_nothing_else_is_taken_for_one() -> None:
    later = {"start": "2026-09-16T18:00:00Z", "end": "2026-09-16T18:40:00Z"}
    found = read_administrations(
        [administration(id="b", effectivePeriod=later), procedure(id="a"), {"resourceType": "Observation", "id": "1"}],
        CLINIC,
    )
    assert [each.reference for each in found] == ["Procedure/a", "MedicationAdministration/b"]
