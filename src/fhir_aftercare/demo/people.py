"""Who the demo is about: one clinic, one nurse, one patient. Invented, and marked as test data."""

from __future__ import annotations

from datetime import time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from fhir_aftercare.care.clinic import Clinic
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.timing import OpenHours
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.tasks import instant

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.fhir.identifiers import Identifiers

Resource = dict[str, Any]

ZONE = ZoneInfo("America/New_York")
NAME = "Harbor Clinic (TEST DATA)"


async def create_clinic(fhir: FhirClient, identifiers: Identifiers) -> Clinic:
    """Create the clinic's Organization, if it is not there, and give the clinic."""
    organization: Resource = {
        "resourceType": "Organization",
        "identifier": [identifiers.identifier("demo", "organization")],
        "active": True,
        "name": NAME,
    }
    stored = await fhir.create(organization, if_none_exist=_query(organization))
    weekdays = {day: ((time(9), time(18)),) for day in range(5)}
    return Clinic(
        id="demo",
        name=NAME,
        zone=ZONE,
        organization=f"Organization/{stored['id']}",
        phone="+1 555 0100",
        policy=Policy(),
        call_hours=OpenHours({**weekdays, 5: ((time(10), time(14)),)}, frozenset(), ZONE),
    )


async def create_nurse(fhir: FhirClient, identifiers: Identifiers) -> str:
    """Create the nurse, if she is not there, and give the reference."""
    nurse: Resource = {
        "resourceType": "Practitioner",
        "identifier": [identifiers.identifier("demo", "nurse")],
        "name": [{"family": "Okafor", "given": ["Ngozi"]}],
    }
    stored = await fhir.create(nurse, if_none_exist=_query(nurse))
    return f"Practitioner/{stored['id']}"


async def create_patient(fhir: FhirClient, identifiers: Identifiers, run: str) -> str:
    """Create the patient of this run and give the reference: every run has its own."""
    patient: Resource = {
        "resourceType": "Patient",
        "identifier": [identifiers.identifier("demo", "patient", run)],
        "name": [{"family": "Rivera", "given": ["Ana"], "text": "Ana Rivera (TEST DATA)"}],
        "gender": "female",
        "birthDate": "1988-03-04",
    }
    stored = await fhir.create(patient, if_none_exist=_query(patient))
    return f"Patient/{stored['id']}"


async def create_encounter(
    fhir: FhirClient, identifiers: Identifiers, of: tuple[str, str, str], start: datetime
) -> str:
    """Create the ambulatory encounter of the infusion and give the reference. ``of``: run, patient, organization."""
    run, patient, organization = of
    encounter: Resource = {
        "resourceType": "Encounter",
        "identifier": [identifiers.identifier("demo", "encounter", run)],
        "status": "in-progress",
        "class": terms.AMBULATORY.coding(),
        "subject": {"reference": patient},
        "serviceProvider": {"reference": organization},
        "period": {"start": instant(start)},
    }
    stored = await fhir.create(encounter, if_none_exist=_query(encounter))
    return f"Encounter/{stored['id']}"


def _query(resource: Resource) -> str:
    identifier = resource["identifier"][0]
    return f"identifier={identifier['system']}|{identifier['value']}"
