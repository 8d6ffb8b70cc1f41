"""What a Task of ours tells of itself to who wants to move it: whose it is, where it stands, which moves are legal.

Looks only; ``move_task`` moves, ``worklist`` lists. A status never goes back (design §5.3): what somebody claimed and
released stays accepted, by the clinic. A clinical review ends with a disposition and in no other way, and a form is
answered by the patient (``receive_response``): staff only close it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from fhir_aftercare.care.status import TASK_MOVES
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.fhir import tasks, terms

if TYPE_CHECKING:
    from fhir_aftercare.fhir.identifiers import Identifiers

Resource = dict[str, Any]
Move = Literal["claim", "release", "attempt", "complete", "fail", "decline", "reassign"]

# Done face to face: there is no call to attempt.
_IN_PERSON: Final = (terms.ESCORT_HOME, terms.TEACH_BACK)


def legal_moves(task: Resource) -> tuple[Move, ...]:
    """Give the moves that a person may make with a Task as it is now; none if it has ended."""
    if not tasks.is_open(task):
        return ()
    status = str(task["status"])
    after = TASK_MOVES[status] | {status}
    form, review, claimed = is_form(task), is_review(task), is_claimed(task)
    in_person = any(tasks.has_code(task, code) for code in _IN_PERSON)
    possible: dict[Move, bool] = {
        "claim": not form and not claimed and "accepted" in after,
        "release": not form and claimed,
        "attempt": not form and not in_person and "in-progress" in after,
        "complete": not form and "completed" in after,
        "fail": not review and "failed" in after,
        "decline": not review and not after.isdisjoint({"rejected", "cancelled"}),
        "reassign": not form,
    }
    return tuple(move for move, legal in possible.items() if legal)


def is_ours(task: Resource, identifiers: Identifiers) -> bool:
    """Tell whether a Task is this clinic's: it has an identifier under the clinic's identifier base."""
    return task_key(task, identifiers) is not None


def task_key(task: Resource, identifiers: Identifiers) -> str | None:
    """Give the value of the business identifier under the clinic's identifier base."""
    system = identifiers.system("activity")
    found = (each for each in task.get("identifier") or () if each.get("system") == system)
    return next((str(each["value"]) for each in found if each.get("value")), None)


def patient_of(task: Resource) -> str | None:
    """Give the reference of the patient a Task is for, ``Patient/id``; None if it is for none."""
    place = location_of((task.get("for") or {}).get("reference"))
    return place.reference if place is not None and place.type == "Patient" else None


def owner_of(task: Resource) -> str | None:
    """Give the reference of the owner, ``Type/id``; None if there is none."""
    place = location_of((task.get("owner") or {}).get("reference"))
    return place.reference if place else None


def attempts_of(task: Resource) -> tuple[str, ...]:
    """Give the Communications of the attempts made so far, the first one first: each is an output of the Task."""
    outputs = [location_of((each.get("valueReference") or {}).get("reference")) for each in task.get("output") or ()]
    return tuple(each.reference for each in outputs if each is not None and each.type == "Communication")


def version_in(resource: Resource) -> str | None:
    """Give the version a resource was read in."""
    version = (resource.get("meta") or {}).get("versionId")
    return str(version) if version else None


def is_form(task: Resource) -> bool:
    """Tell whether it asks the patient for answers."""
    return tasks.asks_for(task) is not None or tasks.has_code(task, terms.COMPLETE_QUESTIONNAIRE)


def is_review(task: Resource) -> bool:
    """Tell whether it is the clinical review of a patient (design §9.20)."""
    return tasks.has_code(task, terms.CLINICAL_REVIEW)


def is_claimed(task: Resource) -> bool:
    """Tell whether a person said "I do this" and has not begun."""
    return task.get("status") == "accepted" and business_of(task) == "claimed"


def business_of(task: Resource) -> str:
    """Give the businessStatus as a key of ``terms.BUSINESS_STATUSES``; one that is none of ours counts as scheduled."""
    codings = (task.get("businessStatus") or {}).get("coding") or ()
    found = (str(each.get("code")) for each in codings if each.get("system") == terms.BUSINESS_STATUS)
    return next((each for each in found if each in terms.BUSINESS_STATUSES), "scheduled")


def title_of(task: Resource) -> str:
    """Give the words for what is to be done."""
    return str((task.get("code") or {}).get("text") or "Call")
