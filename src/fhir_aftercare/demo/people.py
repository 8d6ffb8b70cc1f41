"""Who the demo is about: one clinic and its staff, one patient. Invented, and marked as test data."""

from __future__ import annotations

import json
from datetime import time
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from fhir_aftercare.care.clinic import Clinic
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.timing import OpenHours
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.tasks import instant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.fhir.identifiers import Identifiers

Resource = dict[str, Any]

ZONE = ZoneInfo("America/New_York")
NAME = "Harbor Clinic (TEST DATA)"
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


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


def clinic_file(clinic: Clinic, identifier_base: str, of_server: Mapping[str, Any]) -> str:
    """Give the clinic as the text of its TOML file; ``of_server`` are the entries and tables about its FHIR server."""
    hours = {_DAYS[day]: [f"{opens:%H:%M}-{closes:%H:%M}" for opens, closes in spans]
             for day, spans in clinic.call_hours.weekly.items()}  # fmt: skip
    known = {
        "name": clinic.name,
        "identifier_base": identifier_base,
        "zone": clinic.zone.key,
        "organization": clinic.organization,
        "phone": clinic.phone,
        "call_hours": hours,
    }
    return _toml({**known, **of_server})


async def create_nurse(fhir: FhirClient, identifiers: Identifiers) -> str:
    """Create the nurse, if she is not there, and give the reference."""
    return await _create_practitioner(fhir, identifiers.identifier("demo", "nurse"), "Okafor", "Ngozi")


async def create_prescriber(fhir: FhirClient, identifiers: Identifiers) -> str:
    """Create the prescriber, if she is not there, and give the reference."""
    return await _create_practitioner(fhir, identifiers.identifier("demo", "prescriber"), "Grey", "Ida")


async def _create_practitioner(fhir: FhirClient, identifier: dict[str, Any], family: str, given: str) -> str:
    practitioner: Resource = {
        "resourceType": "Practitioner",
        "identifier": [identifier],
        "name": [{"family": family, "given": [given]}],
    }
    stored = await fhir.create(practitioner, if_none_exist=_query(practitioner))
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


def _toml(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Write texts, lists of texts and tables of them: JSON's texts are TOML's."""
    lines = [f"[{'.'.join(path)}]"] if path else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)]
    tables = [_toml(value, (*path, key)) for key, value in values.items() if isinstance(value, dict)]
    return "\n".join([*lines, "", *tables])
