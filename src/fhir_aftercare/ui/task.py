"""One Task in words: what, for whom, by when and why; what was tried and noted; and which moves there are.

Wording only; which moves are legal is ``flows.task_facts``' to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.timing import local, same_local_day, utc
from fhir_aftercare.fhir import tasks
from fhir_aftercare.flows.behind_tasks import reasons_of
from fhir_aftercare.flows.move_request import FAIL_REASONS
from fhir_aftercare.flows.task_facts import is_claimed, is_form, is_review, owner_of, patient_of
from fhir_aftercare.ui import people
from fhir_aftercare.ui.work_lines import CallLine, Names, call_line, ends_of, joined, notes_of, title
from fhir_aftercare.ui.worklist import offered, phone_for, reason_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.flows.open_task import TaskView
    from fhir_aftercare.ui.worklist import ReasonLine

Resource = dict[str, Any]

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
_WHY: Final = {"missed": "Not done in time", "unreachable": "Patient not reached", "superseded": "No longer needed"}


@dataclass(frozen=True, slots=True)
class TaskPage:
    """The page. ``owners`` and ``fail_reasons`` are pairs of what a form sends and what people read.

    ``done`` is what was tried, noted and decided, newest first; ``gap``: scores behind it could not be read, and
    ``tried_gap`` the same of calls. ``last_try``: the next unanswered attempt is the last, and somebody else is asked.
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
    reasons: tuple[ReasonLine, ...]
    done: tuple[CallLine, ...]
    moves: frozenset[str]
    review: bool
    last_try: bool
    owners: tuple[tuple[str, str], ...]
    fail_reasons: tuple[tuple[str, str], ...]
    gap: bool
    tried_gap: bool


def task_of(view: TaskView, clinic: Clinic, zone: ZoneInfo, *, me: str | None) -> TaskPage:
    """Give the page of a Task; times in ``zone``, ``me`` is who reads it."""
    task, names = view.task, Names(me, view.known)
    claimed = " (claimed)" if is_claimed(task) else ""
    done = [(utc(each.at), call_line(each, zone, names)) for each in view.calls]
    return TaskPage(
        id=str(task["id"]),
        version=view.version or "",
        what=title(task),
        how="" if is_form(task) else str(task.get("description") or ""),
        name=people.name_of(view.patient),
        phone=phone_for(task, view.patient),
        due=wording.short_text(view.due, zone, with_zone=True) if view.due else "no time set",
        late=tasks.is_overdue(task, utc(view.as_of)),
        status=_status(task),
        owner=f"{names.of(owner_of(task), (task.get('owner') or {}).get('display')) or 'Nobody'}{claimed}",
        priority=str(task.get("priority") or "routine"),
        reasons=tuple(reason_line(each, patient_of(task), view.behind, zone) for each in reasons_of(task)),
        done=joined([*done, *notes_of(task, zone, names), *ends_of(task, zone, names)]),
        moves=frozenset(offered(view.legal_moves, me)),
        review=is_review(task),
        last_try=view.is_last_try(clinic.policy),
        owners=tuple(_owners(clinic, me, owner_of(task))),
        fail_reasons=tuple((each, _WHY[each]) for each in FAIL_REASONS if each != "unreachable" or not is_form(task)),
        gap=view.behind.gap,
        tried_gap=view.gap is not None,
    )


def meanwhile(view: TaskView, zone: ZoneInfo, me: str | None) -> str:
    """Say why nothing was saved: what somebody else did with the Task since it was looked at."""
    task = view.task
    at = tasks.moment(task.get("lastModified"))
    when = ""
    if at is not None:
        same = same_local_day(at, view.as_of, zone)
        when = f" at {local(at, zone):%H:%M}" if same else f" on {wording.short_text(at, zone)}"
    if not tasks.is_open(task):
        return f"Nothing was saved: this was closed{when} ({_status(task)})."
    if is_claimed(task):
        who = Names(me, view.known).of(owner_of(task), (task.get("owner") or {}).get("display"))
        return f"Nothing was saved: {who} took this{when}."
    return f"Nothing was saved: this was changed{when}."


def _status(task: Resource) -> str:
    return _STATUS.get(str(task.get("status")), str(task.get("status")))


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
