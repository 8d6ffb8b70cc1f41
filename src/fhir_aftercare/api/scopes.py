"""The one table of scopes: what each permission is for, and which scopes of an access token give it.

A permission is named as the scope that gives it. SMART v2 ``system/`` scopes are aliases: who may do all of that on
the clinic's FHIR server itself may do through this service what comes to the same (integration §3, Scopes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Permission:
    """One line: the scope, what it is for, the wider scopes that hold it, and the SMART scopes that together do."""

    scope: str
    says: str
    within: tuple[str, ...] = ()
    smart: tuple[str, ...] = ()

    def ways(self) -> tuple[frozenset[str], ...]:
        """Give the sets of scopes of which one must be granted whole."""
        own = tuple(frozenset({scope}) for scope in (self.scope, *self.within))
        return (*own, frozenset(self.smart)) if self.smart else own


PLANS_READ: Final = "aftercare/plans.read"
PLANS_WRITE: Final = "aftercare/plans.write"
EVENTS_WRITE: Final = "aftercare/events.write"
ADMIN: Final = "aftercare/admin"

# What these routes show: plans, Tasks, scores, and the patient's name on the worklist.
_SHOWN: Final = ("CarePlan.rs", "Task.rs", "Observation.rs", "QuestionnaireResponse.rs", "Patient.rs")
# What they write. Nothing is ever deleted.
_WRITTEN: Final = ("CarePlan.cu", "Task.cu", "ServiceRequest.cu", "Observation.cu", "QuestionnaireResponse.cu")

PERMISSIONS: Final = (
    Permission(
        PLANS_READ,
        "See plans, Tasks, scores and the worklist; preview what a call would write.",
        smart=tuple(f"system/{each}" for each in _SHOWN),
    ),
    Permission(
        PLANS_WRITE,
        "Record infusions and answers, discharge, move Tasks, correct.",
        smart=tuple(f"system/{each}" for each in (*_SHOWN, *_WRITTEN)),
    ),
    Permission(
        EVENTS_WRITE,
        "Report what happened elsewhere: a patient has left, answers are on the clinic's server.",
        within=(PLANS_WRITE,),
        smart=("system/CarePlan.cu", "system/Task.cu", "system/Encounter.rs"),
    ),
    # No SMART scope comes to the same.
    Permission(ADMIN, "See and repeat the service's own work."),
)
WAYS: Final[Mapping[str, tuple[frozenset[str], ...]]] = {each.scope: each.ways() for each in PERMISSIONS}
