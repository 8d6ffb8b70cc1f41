"""What a sweep finds, as signals: "look at this encounter", each under an id that is the same whenever it is found.

Ids only. The id of an event is the version of the resource that was found: the same version is the same work, and a
further version, or a server that was restored, is new work (design §6).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.fhir import exact_json, tasks, terms
from fhir_aftercare.fhir.identifiers import escaped
from fhir_aftercare.flows.signal import DischargeSignal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.flows.signal import Kind

Resource = dict[str, Any]

SOURCE: Final = "sweep"
# An encounter that was cancelled, or never was, may have a plan that must be held (design §4.6).
_KINDS: Final[Mapping[str, Kind]] = {"finished": "finished", "cancelled": "cancelled", "entered-in-error": "cancelled"}
ENCOUNTERS: Final[Mapping[str, str]] = {"status": ",".join(_KINDS)}


def drug_codes(clinic: Clinic) -> str:
    """Give the token search for ketamine: the standard codes, ours, and the clinic's (design §9.1)."""
    known = [(each.system, each.code) for each in (terms.KETAMINE_RXNORM, terms.KETAMINE_SNOMED)]
    known += [(terms.KETAMINE_INFUSION.system, terms.KETAMINE_INFUSION.code), *sorted(clinic.ketamine_codes)]
    return ",".join("|".join(map(escaped, each)) for each in dict.fromkeys(known))


def signal_of(clinic: str, resource: Resource, again: str = "") -> DischargeSignal | None:
    """Give the signal of an Encounter or of a record of the drug; None if it names neither encounter nor patient.

    ``again`` makes it new work: what was known is to be looked at once more.
    """
    own = resource["resourceType"] == "Encounter"
    encounter = f"Encounter/{resource['id']}" if own else _reference(resource, "Encounter", "context", "encounter")
    patient = _reference(resource, "Patient", "subject")
    if encounter is None and patient is None:
        return None
    left = tasks.moment((resource.get("period") or {}).get("end")) if own else None
    return DischargeSignal(
        clinic=clinic,
        source=SOURCE,
        event=event_of(resource, again),
        encounter=encounter,
        patient=patient,
        kind=_KINDS.get(str(resource.get("status")), "changed") if own else "changed",
        occurred_at=left,
    )


def event_of(resource: Resource, again: str = "") -> str:
    """Give the id of a version of a resource. After a restored backup a version number may come twice, with another
    time; a server that tells neither is known by what it says.
    """
    meta = resource.get("meta") or {}
    version, changed = meta.get("versionId"), meta.get("lastUpdated")
    if not version and not changed:
        version = hashlib.sha256(exact_json.dumps(resource)).hexdigest()
    parts = (f"{resource['resourceType']}/{resource['id']}", f"_history/{version or ''}", str(changed or ""), again)
    return "/".join(parts).rstrip("/")


def _reference(resource: Resource, type_: str, *elements: str) -> str | None:
    for each in elements:
        place = location_of((resource.get(each) or {}).get("reference"))
        if place is not None and place.type == type_:
            return place.reference
    return None
