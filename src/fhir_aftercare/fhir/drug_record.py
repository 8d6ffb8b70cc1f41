"""The record of the drug: an infusion as MedicationAdministration or Procedure, as the clinic decided (design §9.4).

Shapes are those of profiles/StructureDefinition-aftercare-infusion and -infusion-procedure. What was observed is
``observations``'; reading such records back, whoever wrote them, is ``findings``'.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.infusion import InfusionStatus, Route
from fhir_aftercare.care.timing import utc
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.setting import SOFTWARE
from fhir_aftercare.fhir.tasks import period

if TYPE_CHECKING:
    from fhir_aftercare.care.infusion import InfusionRecord
    from fhir_aftercare.fhir.setting import Setting

Resource = dict[str, Any]

# Whom R4 lets perform each; the Organization is no actor of a MedicationAdministration.
_ACTORS = {
    "MedicationAdministration": ("Practitioner", "PractitionerRole", "Patient", "RelatedPerson"),
    "Procedure": ("Practitioner", "PractitionerRole", "Organization", "Patient", "RelatedPerson"),
}


def drug_record(record: InfusionRecord, setting: Setting) -> Resource | None:
    """Give the MedicationAdministration or Procedure of an infusion; None if the clinic's policy is to write neither.

    The identifier's key is ``setting.key`` and the caller's id of the infusion.
    """
    if setting.clinic.drug_record == "medication-administration":
        return _medication_administration(record, setting)
    if setting.clinic.drug_record == "procedure":
        return _procedure(record, setting)
    return None


def dose_of(resource: Resource) -> Decimal | None:
    """Give the dose in mg that a record of the drug tells, whoever wrote it; None if it tells none, or in another unit.

    A Procedure has no place for one: there our own note says it.
    """
    dose = (resource.get("dosage") or {}).get("dose") or {}
    if "mg" in {dose.get("code"), dose.get("unit")}:
        return Decimal(str(dose["value"])) if "value" in dose else None
    said = re.match(r"Ketamine ([0-9.]+) mg\b", _own_note(resource))
    return Decimal(said[1]) if said else None


def route_of(resource: Resource) -> Route | None:
    """Give the route that a record of the drug tells in our words; None if it tells none."""
    text = str(((resource.get("dosage") or {}).get("route") or {}).get("text") or "")
    words = {text, *_own_note(resource).split()}
    return next((each for each in Route if each.value in words), None)


def _own_note(resource: Resource) -> str:
    notes = (each for each in resource.get("note") or () if each.get("authorString") == SOFTWARE)
    return next((str(each.get("text", "")) for each in notes), "")


def _medication_administration(record: InfusionRecord, setting: Setting) -> Resource:
    return _without_gaps(
        {
            "resourceType": "MedicationAdministration",
            "meta": {"profile": [terms.PROFILE_INFUSION]},
            "identifier": [setting.identifiers.identifier("drug-record", *setting.key, record.infusion)],
            "status": record.status.value,
            "medicationCodeableConcept": terms.KETAMINE_RXNORM.concept(),
            "subject": {"reference": setting.patient},
            "context": _reference(setting.encounter),
            "effectivePeriod": period(record.start, record.end),
            "performer": _performers("MedicationAdministration", record, setting),
            "dosage": _dosage(record),
            "note": _note(record) if record.dose_mg is None else None,
        }
    )


def _procedure(record: InfusionRecord, setting: Setting) -> Resource:
    """R4 has no place for a dose here: it is said in a note."""
    return _without_gaps(
        {
            "resourceType": "Procedure",
            "meta": {"profile": [terms.PROFILE_INFUSION_PROCEDURE]},
            "identifier": [setting.identifiers.identifier("drug-record", *setting.key, record.infusion)],
            "status": record.status.value,
            "code": terms.KETAMINE_INFUSION.concept(),
            "subject": {"reference": setting.patient},
            "encounter": _reference(setting.encounter),
            "performedPeriod": period(record.start, record.end),
            "performer": _performers("Procedure", record, setting),
            "note": _note(record),
        }
    )


def _dosage(record: InfusionRecord) -> Resource | None:
    """R4 wants a dose or a rate in a dosage (mad-1): without a dose there is none, and the route is said in a note."""
    if record.dose_mg is None or record.status is InfusionStatus.NOT_DONE:
        return None
    return _without_gaps(
        {
            "text": _words(record),
            "route": {"text": record.route.value} if record.route else None,
            "dose": {"value": record.dose_mg, "unit": "mg", "system": terms.UCUM, "code": "mg"},
        }
    )


def _note(record: InfusionRecord) -> list[Resource]:
    words = None if record.status is InfusionStatus.NOT_DONE else _words(record)
    return [{"authorString": SOFTWARE, "text": f"Ketamine {words}"}] if words else []


def _words(record: InfusionRecord) -> str | None:
    """Say dose, route and duration as far as they are known: ``35 mg intravenous over 40 minutes``."""
    parts = []
    if record.dose_mg is not None:
        parts.append(f"{record.dose_mg:f} mg")
    if record.route is not None:
        parts.append(record.route.value)
    if parts and record.end is not None:
        minutes = round((utc(record.end) - utc(record.start)).total_seconds() / 60)
        parts.append(f"over {minutes} {'minute' if minutes == 1 else 'minutes'}")
    return " ".join(parts) or None


def _performers(type_: str, record: InfusionRecord, setting: Setting) -> list[Resource]:
    performer = record.recorded_by or setting.performer
    type_of_performer = performer.rsplit("/", 2)[-2] if "/" in performer else ""
    return [{"actor": {"reference": performer}}] if type_of_performer in _ACTORS[type_] else []


def _reference(reference: str | None) -> Resource | None:
    return {"reference": reference} if reference else None


def _without_gaps(parts: Resource) -> Resource:
    return {name: value for name, value in parts.items() if value not in (None, [], {})}
