"""One Task in words: what, for whom, by when and why; what was tried and noted; and which moves there are.

Wording only; which moves are legal is ``flows.task_facts``' to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.timing import utc
from fhir_aftercare.fhir import tasks
from fhir_aftercare.flows.task_facts import business_of, is_form, is_review, owner_of
from fhir_aftercare.ui import people
from fhir_aftercare.ui.work_lines import CallLine, Names, call_line, notes_of, reasons_of, title
from fhir_aftercare.ui.worklist import phone_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.flows.open_task import TaskView

# What clinicians decide most often after a review; any other words do as well.
DISPOSITIONS: Final = (
    "Spoke with the patient; no change of the plan",
    "Spoke with the patient; seen in the clinic today",
    "Spoke with the patient; next visit moved earlier",
    "Referred to the emergency department",
    "Crisis line and safety plan gone through with the patient",
    "Could not be reached; second contact informed",
)
_STATUS: Final = {
    "requested": "open",
    "received": "open",
    "ready": "open",
    "accepted": "open",
    "in-progress": "begun",
    "on-hold": "on hold",
    "completed": "done",
    "failed": "not done",
    "cancelled": "closed",
    "rejected": "declined",
    "entered-in-error": "entered in error",
}


@dataclass(frozen=True, slots=True)
class TaskPage:
    """The page. ``owners`` are pairs of a reference and a name, ``answers`` the id of the Observation that raised it.

    ``last_try``: the next unanswered attempt is the last, and somebody else will be asked.
    """

    id: str
    version: str
    what: str
    how: str
    name: str
    phone: str
    due: str
    late: bool
    status: str
    owner: str
    priority: str
    reasons: tuple[str, ...]
    tried: tuple[CallLine, ...]
    notes: tuple[CallLine, ...]
    moves: frozenset[str]
    review: bool
    form: bool
    last_try: bool
    owners: tuple[tuple[str, str], ...]
    answers: str
    tried_gap: bool


def task_of(view: TaskView, clinic: Clinic, zone: ZoneInfo, *, me: str | None) -> TaskPage:
    """Give the page of a Task; times in ``zone``, ``me`` is who reads it."""
    task, names = view.task, Names(me, view.known)
    claimed = " (claimed)" if business_of(task) == "claimed" else ""
    return TaskPage(
        id=str(task["id"]),
        version=view.version or "",
        what=title(task),
        how="" if is_form(task) else str(task.get("description") or ""),
        name=people.name_of(view.patient),
        phone=phone_for(task, view.patient),
        due=wording.short_text(view.due, zone, with_zone=True) if view.due else "no time set",
        late=tasks.is_overdue(task, utc(view.as_of)),
        status=_STATUS.get(str(task.get("status")), str(task.get("status"))),
        owner=f"{names.of(owner_of(task), (task.get('owner') or {}).get('display')) or 'Nobody'}{claimed}",
        priority=str(task.get("priority") or "routine"),
        reasons=tuple(reasons_of(task)),
        tried=tuple(call_line(each, zone, names) for each in view.calls),
        notes=tuple(line for _, line in notes_of(task, zone, names)),
        moves=frozenset(view.legal_moves),
        review=is_review(task),
        form=is_form(task),
        last_try=view.is_last_try(clinic.policy),
        owners=tuple(_owners(clinic, me, owner_of(task))),
        answers=_answers(str((task.get("reasonReference") or {}).get("reference") or "")),
        tried_gap=view.gap is not None,
    )


def _owners(clinic: Clinic, me: str | None, now: str | None) -> Iterator[tuple[str, str]]:
    """Give whom a Task can be handed to: once each, and not to whom it belongs already."""
    owners = clinic.owners
    known = (
        (me, "Me"),
        (owners.nurse, "Nurse"),
        (owners.prescriber, "Prescriber"),
        (owners.care_team, "Care team"),
        (owners.on_call, "On call"),
        (clinic.organization, "The clinic"),
    )
    found: dict[str, str] = {}
    for reference, name in known:
        if reference is not None and reference != now:
            found.setdefault(reference, name)
    return iter(found.items())


def _answers(reference: str) -> str:
    type_, _, id_ = reference.rpartition("/")
    return id_ if type_.endswith("Observation") else ""
