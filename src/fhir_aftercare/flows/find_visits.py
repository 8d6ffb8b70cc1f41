"""Which visits a signal is about, and whose they are: read from the FHIR server, whatever the sender says.

    Encounter id → read;  identifier → POST _search;  only a patient → that patient's recent visits

Looks only. Identifiers that name a person stand in no URL (integration §2.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.timing import utc
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.errors import FhirGone, FhirNotFound
from fhir_aftercare.fhir import tasks
from fhir_aftercare.fhir.identifiers import escaped
from fhir_aftercare.work.faults import NotYet

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.signal import DischargeSignal, Identifier

Resource = dict[str, Any]

# Whoever names only the patient means a visit of these days.
_RECENT: Final = timedelta(days=7)
_PAGE: Final = "50"


@dataclass(frozen=True, slots=True)
class Visit:
    """One encounter (``Encounter/12``) of a patient (``Patient/7``). ``left_at`` is aware: when the patient left."""

    patient: str
    encounter: str
    left_at: datetime

    @classmethod
    def of(cls, encounter: Resource, told: datetime | None, now: datetime) -> Visit | None:
        """Give the visit of an Encounter; None if it is no patient's. What it says counts more than what was told."""
        patient = location_of((encounter.get("subject") or {}).get("reference"))
        if patient is None or patient.type != "Patient":
            return None
        ended = tasks.moment((encounter.get("period") or {}).get("end")) or told or now
        return cls(patient.reference, f"Encounter/{encounter['id']}", min(ended, now, key=utc))

    def as_read(self, encounter: Resource, now: datetime) -> Visit:
        """Give the visit with the time of leaving that the Encounter has, if it has one."""
        ended = tasks.moment((encounter.get("period") or {}).get("end"))
        return replace(self, left_at=min(ended, now, key=utc)) if ended else self


async def find_visits(context: ClinicContext, signal: DischargeSignal) -> list[Visit]:
    """Give the visits, none if the encounter was deleted or is no patient's.

    Raises ``NotYet`` if an identifier leads nowhere so far (the FHIR server may learn of it later than the sender), and
    what failures of the FHIR server become.
    """
    now = context.clock()
    if signal.encounter is not None:
        if signal.patient is not None and signal.occurred_at is not None:
            return [Visit(signal.patient, signal.encounter, min(signal.occurred_at, now, key=utc))]
        try:
            encounters = [await context.fhir.read("Encounter", signal.encounter.partition("/")[2])]
        except (FhirNotFound, FhirGone):
            return []
    elif signal.encounter_identifier is not None:
        encounters = await _identified(context, "Encounter", signal.encounter_identifier)
    else:
        encounters = await _recent(context, signal, now)
    visits = (Visit.of(each, signal.occurred_at, now) for each in encounters)
    return [each for each in visits if each is not None]


async def find_patients(context: ClinicContext, signal: DischargeSignal) -> list[str]:
    """Give the patients a signal names (``Patient/7``). Raises as ``find_visits``."""
    if signal.patient is not None:
        return [signal.patient]
    if signal.patient_identifier is None:
        return []
    found = await _identified(context, "Patient", signal.patient_identifier)
    return [f"Patient/{each['id']}" for each in found]


async def _recent(context: ClinicContext, signal: DischargeSignal, now: datetime) -> list[Resource]:
    since = (signal.occurred_at or now) - _RECENT
    found: list[Resource] = []
    for patient in await find_patients(context, signal):
        query = {"patient": patient, "date": f"ge{utc(since):%Y-%m-%d}", "_count": _PAGE}
        found += (await context.fhir.search_all("Encounter", query, limit=int(_PAGE))).matches
    return found


async def _identified(context: ClinicContext, type_: str, identifier: Identifier) -> list[Resource]:
    token = "|".join(escaped(part) for part in identifier) if identifier[0] else escaped(identifier[1])
    found = await context.fhir.find(type_, {"identifier": token, "_count": _PAGE})
    if not found:
        raise NotYet(f"The FHIR server has no {type_} with the identifier that was sent.", where=type_)
    return found
