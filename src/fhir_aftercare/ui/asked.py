"""What the pages ask an EHR for when they are launched, and what each thing they can do needs of it: one table.

Written as v2 or v1 scopes by ``smart.scopes``. What is not granted is named on the page and not offered (integration
§1.2). Each decision is read and written with one token: so what an action needs is what its whole Bundle may hold
(design §9.8).
"""

from __future__ import annotations

from typing import Final, Literal

from fhir_aftercare.smart.scopes import Access, Granted, ScopeTable

Action = Literal["record", "plan", "tasks"]

_READ: Final = {
    **dict.fromkeys(("Patient", "Encounter", "Condition", "QuestionnaireResponse"), "rs"),
    # Medication is included with the administrations that refer to one; persons are read by their id.
    **dict.fromkeys(("Medication", "Practitioner", "PractitionerRole"), "r"),
}
_WRITE: Final = {
    **dict.fromkeys(("MedicationAdministration", "Procedure", "Observation", "CarePlan", "Goal"), "crus"),
    **dict.fromkeys(("ServiceRequest", "Task", "Communication"), "crus"),
    # They say that this software wrote something, for whom and why; who stands for a plan is shown.
    "Provenance": "crs",
    "Device": "c",
}
# What the transaction of an action may create or change.
_NEEDS: Final[dict[Action, tuple[str, ...]]] = {
    "record": ("MedicationAdministration", "Procedure", "Observation", "CarePlan", "ServiceRequest", "Task"),
    "plan": ("Observation", "CarePlan", "Goal", "ServiceRequest", "Task"),
    "tasks": ("Task", "Communication", "CarePlan"),
}

PAGE_SCOPES: Final = ScopeTable(
    access=tuple(Access("user", type_, can) for type_, can in {**_READ, **_WRITE}.items()),
    context=("patient",),
    refresh="online_access",
)


def lacking(action: Action, granted: Granted) -> tuple[str, ...]:
    """Give the scopes that a user's token lacks for an action, as v2 scopes; none: its Bundle is covered."""
    types = dict.fromkeys((*_NEEDS[action], "Provenance", "Device"))
    found = []
    for type_ in types:
        letters = "".join(each for each in _WRITE[type_] if each in "cu" and not granted.allows(type_, each))
        if letters:
            found.append(f"user/{type_}.{letters}")
    return tuple(found)


def for_everybody(granted: Granted) -> tuple[str, ...]:
    """Give the scopes that a token lacks to look for Tasks and infusions of all patients, and not of one."""
    types = ("Patient", "Task", "Encounter", "MedicationAdministration")
    return tuple(f"user/{type_}.s" for type_ in types if not granted.allows(type_, "s", levels=("user", "system")))
