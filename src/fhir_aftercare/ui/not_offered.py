"""What an EHR did not grant, in words: what cannot be read here, what cannot be written, and what else is lacking.

Each with the very scope, for whoever registers the app at the EHR (integration §1.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fhir_aftercare.smart import scopes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TYPES: Final = {
    "CarePlan": "plans",
    "Communication": "calls",
    "Condition": "diagnoses",
    "Device": "this app's own entry",
    "Encounter": "visits",
    "Goal": "goals",
    "Medication": "drugs",
    "MedicationAdministration": "drug records",
    "Observation": "scores and vital signs",
    "Patient": "the patient's details",
    "Practitioner": "names of staff",
    "PractitionerRole": "roles of staff",
    "Procedure": "procedures",
    "Provenance": "who wrote what",
    "QuestionnaireResponse": "answers",
    "ServiceRequest": "restrictions",
    "Task": "tasks",
}
_STAYING: Final = "staying signed in: when the sign-in runs out, open the app again"
_OTHERS: Final = {
    "openid": "who you are",
    "fhirUser": "who you are in the chart",
    "online_access": _STAYING,
    "offline_access": _STAYING,
}
_READ, _WRITE = "rs", "cud"


@dataclass(frozen=True, slots=True)
class NotOffered:
    """What is lacking, each in words with its scope in brackets."""

    reading: tuple[str, ...] = ()
    writing: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether anything is lacking."""
        return bool(self.reading or self.writing or self.others)


def not_offered(missing: Sequence[str]) -> NotOffered:
    """Say what scopes that were asked for and not granted would have allowed."""
    others = (f"{_OTHERS.get(each, each)} ({each})" for each in missing if not scopes.parse(each).access)
    return NotOffered(tuple(_lacking(missing, _READ)), tuple(_lacking(missing, _WRITE)), tuple(dict.fromkeys(others)))


def unreadable(missing: Sequence[str]) -> frozenset[str]:
    """Give the types that may not be read."""
    return frozenset(line.type for line in _lines(missing) if set(line.can) & set(_READ))


def _lacking(missing: Sequence[str], letters: str) -> Iterator[str]:
    for line in _lines(missing):
        can = "".join(each for each in line.can if each in letters)
        if can:
            yield f"{_TYPES.get(line.type, line.type)} ({line.level}/{line.type}.{can})"


def _lines(missing: Sequence[str]) -> Iterator[scopes.Access]:
    for each in missing:
        yield from scopes.parse(each).access
