"""Record of an infusion → Observations, one for each thing measured in each check; and corrections of what exists.

Shapes are those of profiles/StructureDefinition-aftercare-clinic-observation and the R4 vital-signs profiles; US Core's
further rules are met too (both SpO2 codings, the blood pressure panel). Reading is ``findings``'.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.infusion import Dissociation, Measure
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.setting import SOFTWARE
from fhir_aftercare.fhir.tasks import instant, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fhir_aftercare.care.infusion import Check, InfusionRecord
    from fhir_aftercare.fhir.setting import Setting

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as people write it, and its UCUM code."""

    text: str
    ucum: str

    def quantity(self, value: int | Decimal) -> Resource:
        """Give a FHIR Quantity."""
        return {"value": value, "unit": self.text, "system": terms.UCUM, "code": self.ucum}


MMHG: Final = Unit("mmHg", "mm[Hg]")
PER_MINUTE: Final = Unit("/min", "/min")
PERCENT: Final = Unit("%", "%")
LITRES_PER_MINUTE: Final = Unit("L/min", "L/min")
KILOGRAM: Final = Unit("kg", "kg")
CELSIUS: Final = Unit("°C", "Cel")
SCORE: Final = Unit("{score}", "{score}")
TIMES: Final = Unit("times", "1")


@dataclass(frozen=True, slots=True)
class Form:
    """How a measure is written: its code as CodeableConcept, its category, the unit of its numbers, HL7's profile."""

    code: Resource
    category: terms.Code
    unit: Unit = SCORE
    profile: str | None = None


_R4: Final = "http://hl7.org/fhir/StructureDefinition"
# No code is confirmed for the mean pressure (clinical §1.3, mark M), so it is known by its text.
MEAN_PRESSURE_TEXT: Final = "Mean arterial pressure"
LATE_ENTRY: Final = "Late entry: typed afterwards from paper."

FORMS: Final[Mapping[Measure, Form]] = {
    Measure.BLOOD_PRESSURE: Form(terms.BP_PANEL.concept(), terms.VITAL_SIGNS, MMHG, f"{_R4}/bp"),
    Measure.MEAN_PRESSURE: Form({"text": MEAN_PRESSURE_TEXT}, terms.VITAL_SIGNS, MMHG),
    Measure.HEART_RATE: Form(terms.HEART_RATE.concept(), terms.VITAL_SIGNS, PER_MINUTE, f"{_R4}/heartrate"),
    Measure.RESPIRATORY_RATE: Form(terms.RESPIRATORY_RATE.concept(), terms.VITAL_SIGNS, PER_MINUTE, f"{_R4}/resprate"),
    Measure.SPO2: Form(
        terms.SPO2_PULSE_OX.concept(terms.SPO2_ARTERIAL), terms.VITAL_SIGNS, PERCENT, f"{_R4}/oxygensat"
    ),
    Measure.OXYGEN_FLOW: Form(terms.O2_FLOW.concept(), terms.VITAL_SIGNS, LITRES_PER_MINUTE),
    Measure.OXYGEN_CONCENTRATION: Form(terms.O2_CONCENTRATION.concept(), terms.VITAL_SIGNS, PERCENT),
    Measure.WEIGHT: Form(terms.WEIGHT.concept(), terms.VITAL_SIGNS, KILOGRAM, f"{_R4}/bodyweight"),
    Measure.TEMPERATURE: Form(terms.TEMPERATURE.concept(), terms.VITAL_SIGNS, CELSIUS, f"{_R4}/bodytemp"),
    Measure.DISSOCIATION: Form(terms.DISSOCIATION.concept(), terms.EXAM),
    Measure.CADSS_TOTAL: Form(terms.CADSS_TOTAL.concept(), terms.EXAM),
    Measure.CADSS_6: Form(terms.CADSS_6.concept(), terms.EXAM),
    Measure.MOAA_S: Form(terms.MOAA_S.concept(), terms.EXAM),
    Measure.NAUSEA: Form(terms.NAUSEA.concept(), terms.EXAM),
    Measure.VOMITING: Form(terms.VOMITING.concept(), terms.EXAM, TIMES),
    Measure.ORIENTED: Form(terms.ORIENTED.concept(), terms.EXAM),
    Measure.WALKS_UNAIDED: Form(terms.WALKS_UNAIDED.concept(), terms.EXAM),
    Measure.NO_ACUTE_SUICIDAL_INTENT: Form(terms.NO_SUICIDAL_INTENT.concept(), terms.EXAM),
    Measure.ESCORT_PRESENT: Form(terms.ESCORT_PRESENT.concept(), terms.EXAM),
    Measure.WRITTEN_INSTRUCTIONS: Form(terms.WRITTEN_INSTRUCTIONS.concept(), terms.EXAM),
    Measure.EMERGENCY_CONTACT: Form(terms.EMERGENCY_CONTACT.concept(), terms.EXAM),
}
DISSOCIATION_LEVELS: Final[Mapping[Dissociation, terms.Code]] = {
    Dissociation.ABSENT: terms.ABSENT,
    Dissociation.MILD: terms.MILD,
    Dissociation.MODERATE: terms.MODERATE,
    Dissociation.SEVERE: terms.SEVERE,
}


def from_record(record: InfusionRecord, setting: Setting) -> list[Resource]:
    """Give one final Observation for each thing measured in each check, in the order of the checks.

    The identifier's key is ``setting.key``, the check's row and the name of the measure: a corrected value is the same
    Observation. ``performer`` is who recorded the check, else the record, else ``setting``'s (design §9.6).
    """
    note = {"note": [{"authorString": SOFTWARE, "text": LATE_ENTRY}]} if record.late else {}
    return [
        observation(
            measure,
            {**value, **note},
            setting,
            key=(check.row, measure.value),
            at=instant(check.at),
            performer=check.recorded_by or record.recorded_by or setting.performer,
        )
        for check in record.checks
        for measure, value in measured(check)
    ]


def is_late_entry(observation: Resource) -> bool:
    """Tell whether an Observation was typed afterwards, from paper."""
    return any(each.get("text") == LATE_ENTRY for each in observation.get("note") or ())


def observation(
    measure: Measure, value: Resource, setting: Setting, *, key: Sequence[str], at: str, performer: str
) -> Resource:
    """Give the Observation of one measure. ``value`` holds its value or components, ``at`` is a FHIR dateTime."""
    form = FORMS[measure]
    return {
        **frame(form.code, form.category, setting, key=key, at=at, performer=performer),
        "meta": {"profile": [terms.PROFILE_CLINIC_OBSERVATION, *([form.profile] if form.profile else [])]},
        **value,
    }


def frame(
    code: Resource, category: terms.Code, setting: Setting, *, key: Sequence[str], at: str, performer: str
) -> Resource:
    """Give what every Observation of an infusion has: all but ``meta`` and what was found."""
    found: Resource = {
        "resourceType": "Observation",
        "meta": {},
        "identifier": [setting.identifiers.identifier("observation", *setting.key, *key)],
    }
    if setting.drug_record:
        found["partOf"] = [{"reference": setting.drug_record}]
    found |= {"status": "final", "category": [category.concept()], "code": copy.deepcopy(code)}
    found["subject"] = {"reference": setting.patient}
    if setting.encounter:
        found["encounter"] = {"reference": setting.encounter}
    found |= {"effectiveDateTime": at, "performer": [{"reference": performer}]}
    return found


def measured(check: Check) -> Iterator[tuple[Measure, Resource]]:
    """Give what a check holds: each measure with the elements of its value.

    Oxygen given is an Observation of its own, not a component of the saturation: HL7's vital signs profile, which
    validators apply by the saturation's code, allows no L/min in a component.
    """
    if check.systolic is not None and check.diastolic is not None:
        both = [(terms.SYSTOLIC, check.systolic), (terms.DIASTOLIC, check.diastolic)]
        parts = [{"code": code.concept(), "valueQuantity": MMHG.quantity(value)} for code, value in both]
        yield Measure.BLOOD_PRESSURE, {"component": parts}
    for measure in FORMS:
        value = None if measure is Measure.BLOOD_PRESSURE else getattr(check, measure.value)
        if value is not None:
            yield measure, _value(measure, value)


def _value(measure: Measure, value: bool | int | Decimal | Dissociation) -> Resource:
    if isinstance(value, Dissociation):
        return {"valueCodeableConcept": DISSOCIATION_LEVELS[value].concept()}
    if isinstance(value, bool):
        return {"valueBoolean": value}
    return {"valueQuantity": FORMS[measure].unit.quantity(value)}


# --- corrections -----------------------------------------------------------------------------------------------------
# Whoever recorded a value stays its performer when the same record is sent again by somebody else.
_NOT_COMPARED: Final = frozenset({"resourceType", "id", "meta", "text", "status", "performer"})
_TAKEN_BACK: Final = frozenset({"entered-in-error", "cancelled"})
_SETTLED: Final = frozenset({"final", "amended", "corrected"})
_ENDED: Final = frozenset({"completed", "stopped"})
# Elements of which R4 allows one of several: writing one takes the others away.
_CHOICES: Final = (
    ("effectiveDateTime", "effectivePeriod", "effectiveInstant", "effectiveTiming"),
    ("performedPeriod", "performedDateTime", "performedString", "performedAge", "performedRange"),
    (
        "valueQuantity", "valueCodeableConcept", "valueBoolean", "valueInteger", "valueString", "valueRange",
        "valueRatio", "valueSampledData", "valueTime", "valueDateTime", "valuePeriod", "dataAbsentReason",
    ),
    ("value", "comparator"),
)  # fmt: skip
# Owned as a whole: what stood there belongs to the value that is corrected.
_WHOLE: Final = frozenset({"valueCodeableConcept", "derivedFrom"})


def amended(existing: Resource, wanted: Resource) -> Resource | None:
    """Give ``existing`` with what ``wanted`` says instead; None if it says all of that already.

    Only what ``wanted`` holds is compared: elements that others added survive. A corrected Observation becomes
    ``amended``. What people took back (entered in error, cancelled) stays taken back, and a message that an infusion is
    in progress comes too late once it has ended.
    """
    before = existing.get("status")
    if before in _TAKEN_BACK or (before in _ENDED and wanted["status"] == "in-progress"):
        return None
    owned = {name: value for name, value in wanted.items() if name not in _NOT_COMPARED}
    same = _covers(existing, owned)
    status = _amended_status(existing, wanted, same)
    if same and status == before:
        return None
    found = copy.deepcopy(existing)
    _merge(found, owned)
    found["status"] = status
    performer = wanted.get("performer")
    if performer and not (found.get("performer") and "Organization/" in str(performer)):
        found["performer"] = copy.deepcopy(performer)
    return found


def _amended_status(existing: Resource, wanted: Resource, same: bool) -> Any:
    before, after = existing.get("status"), wanted["status"]
    if wanted["resourceType"] == "Observation" and before in _SETTLED:
        return before if same else "amended"
    return after


def _covers(have: Any, want: Any, name: str = "") -> bool:
    """Tell whether ``have`` says all that ``want`` says."""
    if isinstance(want, dict):
        return (
            isinstance(have, dict)
            and not _rivals(have, want)
            and all(key in have and _covers(have[key], value, key) for key, value in _meaning(want).items())
        )
    if isinstance(want, list):
        return (
            isinstance(have, list)
            and not (name in _WHOLE and len(have) != len(want))
            and all(any(_covers(each, wish) for each in have) for wish in want)
        )
    return _same(have, want, name)


def _meaning(want: Resource) -> Resource:
    """Leave out the words beside a code: our own wording may change from release to release."""
    beside = {"display", "unit"} if "code" in want else {"text"} if "coding" in want else set()
    return {key: value for key, value in want.items() if key not in beside}


def _same(have: Any, want: Any, name: str) -> bool:
    if isinstance(have, bool) or isinstance(want, bool):
        return have is want
    if isinstance(have, int | float | Decimal) and isinstance(want, int | float | Decimal):
        return Decimal(str(have)) == Decimal(str(want))
    if name == "reference":
        target = str(have).split("/_history/")[0]
        return target == want or target.endswith(f"/{want}")
    first, second = moment(have), moment(want)
    return first == second if first is not None and second is not None else bool(have == want)


def _rivals(have: Resource, want: Resource) -> list[str]:
    return [
        other
        for choice in _CHOICES
        if any(name in want for name in choice)
        for other in choice
        if other in have.keys() - want
    ]


def _merge(have: Resource, want: Resource) -> None:
    for name in _rivals(have, want):
        del have[name]
    for name, value in want.items():
        there = have.get(name)
        if _covers(there, value, name):
            continue
        if name not in _WHOLE and isinstance(there, dict) and isinstance(value, dict):
            _merge(there, value)
        elif name not in _WHOLE and isinstance(there, list) and isinstance(value, list):
            _merge_list(there, value)
        else:
            have[name] = copy.deepcopy(value)


def _merge_list(have: list[Any], want: list[Any]) -> None:
    for wish in want:
        if any(_covers(each, wish) for each in have):
            continue
        mate = next((each for each in have if _slots(each) & _slots(wish)), None)
        if mate is None:
            have.append(copy.deepcopy(wish))
        else:
            _merge(mate, wish)


def _slots(element: Any) -> set[tuple[str, str]]:
    """Say of which thing an element of a list speaks: a component of its code, an annotation of its author."""
    if not isinstance(element, dict):
        return set()
    code = element.get("code")
    if isinstance(code, dict):
        return {(str(each.get("system")), str(each.get("code"))) for each in code.get("coding") or ()}
    author = element.get("authorString") or (element.get("authorReference") or {}).get("reference")
    return {("author", author)} if author else set()
