"""The clinic: the unit of configuration. What its medical director decides, and whom its work belongs to.

Only facts and their meaning; reading them from a file, and all the faults a file can have, is ``clinic_file``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.care.timing import OpenHours

Role = Literal["patient", "nurse", "prescriber", "care-team"]
DrugRecord = Literal["medication-administration", "procedure", "none"]


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns the staff's work: FHIR references (``Practitioner/…``, ``PractitionerRole/…``, ``Organization/…``).

    ``on_call`` is whom it passes to when nobody took it, or when the clinic is closed (clinical §2.5, design §9.18).
    """

    nurse: str | None = None
    prescriber: str | None = None
    care_team: str | None = None
    on_call: str | None = None


@dataclass(frozen=True, slots=True)
class Clinic:
    """One clinic. ``zone`` is where it stands; a patient may sleep in another.

    ``organization`` is its FHIR reference. ``phone`` stands in patients' texts; ``language`` is theirs unless the
    patient's chart or the call names another. ``call_hours`` is when staff make and answer calls. ``drug_record`` is
    what is written where nobody else records the drug (design §9.4). ``ketamine_codes`` and ``infusion_encounters`` are
    (system, code) pairs beyond the standard codes: by them an encounter is known to be an infusion (design §9.1).
    ``organizations`` are those whose visits are this clinic's, where it shares a FHIR server; empty: all of them.
    ``policy_hash`` tells under which settings something was written.
    """

    id: str
    name: str
    zone: ZoneInfo
    organization: str
    phone: str
    policy: Policy
    call_hours: OpenHours
    language: str = "en"
    after_hours_phone: str | None = None
    owners: Owners = field(default_factory=Owners)
    drug_record: DrugRecord = "medication-administration"
    ketamine_codes: frozenset[tuple[str, str]] = frozenset()
    infusion_encounters: frozenset[tuple[str, str]] = frozenset()
    organizations: frozenset[str] = frozenset()
    policy_hash: str = ""

    def owner(self, role: Role, patient: str) -> str:
        """Give the reference a Task of ``role`` belongs to: the patient, whom the clinic names, else the clinic."""
        named = {
            "patient": patient,
            "nurse": self.owners.nurse or self.owners.care_team,
            "prescriber": self.owners.prescriber or self.owners.care_team,
            "care-team": self.owners.care_team,
        }[role]
        return named or self.organization
