"""Follow a merge of two patient records: what we wrote on the old one goes to the one that stands.

    Patient.link replaced-by → everything of ours that still names the old record → one transaction

Only what carries our identifiers, and only where the server has not done it itself (fhir-model §1.6). What others wrote
is theirs to move. Done again, it finds nothing.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import structlog

from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.errors import FhirGone, FhirNotFound, WrongSubject
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.chart import Section, patient_section
from fhir_aftercare.flows.draft import Draft
from fhir_aftercare.flows.settle import settle

if TYPE_CHECKING:
    from fhir_aftercare.fhir.identifiers import Identifiers
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

# Where each type names its patient.
_SUBJECT: Final = {
    "CarePlan": "subject",
    "Task": "for",
    "ServiceRequest": "subject",
    "Goal": "subject",
    "Observation": "subject",
    "QuestionnaireResponse": "subject",
    "Communication": "subject",
    "MedicationAdministration": "subject",
    "Procedure": "subject",
}
# A record that was merged, whose target was merged again, and so on.
_LONGEST_CHAIN: Final = 10

log = structlog.get_logger(__name__)


async def follow_merge(context: ClinicContext, patient: str) -> bool:
    """Move what is ours from ``patient`` (``Patient/7``) to the record that replaced it; tells whether anything moved.

    False if nothing replaced it. Raises ``WrongSubject`` if records replace each other in a circle, and what reading
    and writing raise.
    """
    target = await standing_record(context, patient)
    if target == patient:
        return False
    parts = [patient_section(patient), *_ours(patient)]
    settled = await settle(context, patient, parts, lambda chart: decide(context, chart, patient, target))
    log.info("merge followed", clinic=context.clinic.id, count=len(settled.references))
    return settled.wrote


async def standing_record(context: ClinicContext, patient: str) -> str:
    """Give the record that replaced a patient's, at the end of the chain; the patient itself if none did."""
    seen: list[str] = []
    while len(seen) < _LONGEST_CHAIN:
        seen.append(patient)
        try:
            resource = await context.fhir.read("Patient", patient.partition("/")[2])
        except (FhirNotFound, FhirGone):
            return patient
        replaced = [each for each in resource.get("link") or () if each.get("type") == "replaced-by"]
        place = location_of((replaced[0].get("other") or {}).get("reference")) if replaced else None
        if place is None or place.type != "Patient":
            return patient
        patient = place.reference
        if patient in seen:
            break
    raise WrongSubject("The patient's record is replaced by one that it replaces.", where="Patient.link")


def decide(context: ClinicContext, chart: Chart, patient: str, target: str) -> Draft:
    """Compare: whatever of ours names the old record is to name the new one. Pure."""
    draft = Draft(context, chart, patient)
    draft.transaction.merged[patient] = target
    for type_, element in _SUBJECT.items():
        for each in chart.of(type_):
            if is_ours(each, context.identifiers) and refers_to(each.get(element), chart.patient):
                moved = copy.deepcopy(each)
                moved[element] = {**moved[element], "reference": target}
                draft.transaction.update(moved, each)
    draft.sign([context.protocol.infusion.canonical], person=None, reason="The patient's records were merged.")
    return draft


def is_ours(resource: Resource, identifiers: Identifiers) -> bool:
    """Tell whether a resource carries one of our business identifiers."""
    given = resource.get("identifier") or []
    listed = given if isinstance(given, list) else [given]
    return any(str(each.get("system", "")).startswith(f"{identifiers.base}/id/") for each in listed)


def _ours(patient: str) -> list[Section]:
    return [Section(f"merged {type_}", type_, f"{type_}?patient={patient}&_count=200") for type_ in _SUBJECT]
