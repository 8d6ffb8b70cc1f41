"""Where one record is written: which clinic, patient, encounter and infusion its resources belong to.

Only what every resource of the record has in common; what was observed is ``care.infusion``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.fhir.identifiers import Identifiers

# Author of the notes that this software writes: by it they are known again and replaced.
SOFTWARE: Final = "fhir-aftercare"


@dataclass(frozen=True, slots=True)
class Setting:
    """The common parts. ``patient`` and ``encounter`` are FHIR references (``Patient/1``).

    ``key`` is the anchor key, with which every identifier's key begins (design §9.2). ``drug_record`` is what the
    Observations are ``partOf``: ``MedicationAdministration/1``, or ``urn:uuid:…`` within one transaction.
    ``recorded_by`` is the person the call names.
    """

    clinic: Clinic
    identifiers: Identifiers
    patient: str
    encounter: str | None
    key: tuple[str, ...]
    drug_record: str | None = None
    recorded_by: str | None = None

    @property
    def performer(self) -> str:
        """Give who is responsible: the person named, else the clinic's Organization, never a Device (design §9.6)."""
        return self.recorded_by or self.clinic.organization
