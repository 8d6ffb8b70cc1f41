"""Task resources: made whole, moved legally, read back.

Shapes are those of profiles/StructureDefinition-aftercare-task and -pro-task; which Tasks there are is the protocol's
to say. ``restriction.period`` is the window (its end is the due date), ``executionPeriod`` only what was really done.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.status import check_move
from fhir_aftercare.fhir import terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fhir_aftercare.care.timing import Window

Resource = dict[str, Any]

OPEN = frozenset({"draft", "requested", "received", "accepted", "ready", "in-progress", "on-hold"})
LEVELS = ("routine", "urgent", "asap", "stat")


def instant(moment: datetime) -> str:
    """Give a FHIR dateTime with offset, to the second."""
    return moment.isoformat(timespec="seconds")


def period(start: datetime | None, end: datetime | None) -> Resource:
    """Give a FHIR Period."""
    found = {}
    if start is not None:
        found["start"] = instant(start)
    if end is not None:
        found["end"] = instant(end)
    return found


def moment(text: Any) -> datetime | None:
    """Give the instant of a FHIR dateTime with time and offset; None for a bare date or anything else."""
    if not isinstance(text, str) or "T" not in text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


@dataclass(frozen=True, slots=True)
class Work:
    """What a new Task says. References are ``Type/id`` or ``urn:uuid``; ``window`` in the zone it is shown in."""

    identifier: Resource
    code: Resource
    priority: str
    description: str | None
    patient: str
    requester: str
    owner: str
    authored_on: datetime
    window: Window
    canonical: str | None = None
    encounter: str | None = None
    based_on: Sequence[str] = ()
    group: Resource | None = None
    inputs: Sequence[Resource] = ()
    reason: str | None = None
    about: str | None = None
    profile: str = terms.PROFILE_TASK
    extra: Resource = field(default_factory=dict)


def make(work: Work) -> Resource:
    """Give the Task: requested, scheduled, owned."""
    due = work.window.due or work.window.target
    task: Resource = {
        "resourceType": "Task",
        "meta": {"profile": [work.profile]},
        "extension": _expiry(work.window),
        "identifier": [work.identifier],
        "instantiatesCanonical": work.canonical,
        "basedOn": [{"reference": reference} for reference in work.based_on],
        "groupIdentifier": work.group,
        "status": "requested",
        "businessStatus": terms.BUSINESS_STATUSES["scheduled"].concept(),
        "intent": "order",
        "priority": work.priority,
        "code": work.code,
        "description": work.description,
        "for": {"reference": work.patient},
        "encounter": {"reference": work.encounter} if work.encounter else None,
        "authoredOn": instant(work.authored_on),
        "requester": {"reference": work.requester},
        "owner": {"reference": work.owner},
        "reasonCode": {"text": work.reason} if work.reason else None,
        "reasonReference": {"reference": work.about} if work.about else None,
        "restriction": {"period": period(work.window.opens, due)},
        "input": list(work.inputs),
        **work.extra,
    }
    return {name: value for name, value in task.items() if value not in (None, [])}


def _expiry(window: Window) -> list[Resource]:
    if window.expires is None:  # what somebody must look at does not go away by itself
        return []
    return [{"url": terms.EXT_TASK_EXPIRY, "valueDateTime": instant(window.expires)}]


def text_input(code: terms.Code, text: str) -> Resource:
    """Give a Task.input (or output) that holds words."""
    return {"type": code.concept(), "valueString": text}


def texts(parts: Iterable[Resource] | None, code: terms.Code) -> list[str]:
    """Give the words that the inputs (or outputs) of a Task hold under a code."""
    return [
        str(each["valueString"])
        for each in parts or ()
        if each.get("valueString") and has_code({"code": each.get("type")}, code)
    ]


def form_input(canonical: str) -> Resource:
    """Give the input that names the Questionnaire, in SDC's and CPG's coding (design §10.13)."""
    return {"type": terms.SDC_QUESTIONNAIRE.concept(terms.COLLECT_INFORMATION), "valueCanonical": canonical}


def answer_output(reference: str) -> Resource:
    """Give the output that points to the answers."""
    return {
        "type": terms.SDC_RESPONSE.concept(terms.COLLECT_INFORMATION),
        "valueReference": {"reference": reference},
    }


def score_output(reference: str) -> Resource:
    """Give the output that points to a score."""
    return {"type": terms.OUTPUT_SCORE.concept(), "valueReference": {"reference": reference}}


def is_open(task: Resource) -> bool:
    """Tell whether somebody may still act on it."""
    return task.get("status") in OPEN


def window_of(task: Resource) -> tuple[datetime | None, datetime | None, datetime | None]:
    """Give when it opens, is due, and expires."""
    dates = (task.get("restriction") or {}).get("period") or {}
    expiry = next(
        (each.get("valueDateTime") for each in task.get("extension") or () if each.get("url") == terms.EXT_TASK_EXPIRY),
        None,
    )
    return moment(dates.get("start")), moment(dates.get("end")), moment(expiry)


def is_overdue(task: Resource, now: datetime) -> bool:
    """Tell whether it is open and past its due date: computed, never stored (design §9.12)."""
    due = window_of(task)[1]
    return is_open(task) and due is not None and due < now


def is_in_window(task: Resource, at: datetime) -> bool:
    """Tell whether an instant lies between the opening of the window and its expiry."""
    opens, due, expires = window_of(task)
    last = expires or due
    return (opens is None or opens <= at) and (last is None or at <= last)


def has_code(task: Resource, code: terms.Code) -> bool:
    """Tell whether ``Task.code`` is this code."""
    return any(
        each.get("system") == code.system and each.get("code") == code.code
        for each in (task.get("code") or {}).get("coding") or ()
    )


def asks_for(task: Resource) -> str | None:
    """Give the Questionnaire a Task asks for, without version; None if it asks for none."""
    for each in task.get("input") or ():
        if isinstance(each.get("valueCanonical"), str):
            return str(each["valueCanonical"]).partition("|")[0]
    return None


def moved(
    task: Resource,
    status: str,
    business: str,
    *,
    at: datetime,
    reason: str | None = None,
    outputs: Iterable[Resource] = (),
) -> Resource:
    """Give the Task with a new status, everything else kept. Raises ``IllegalMove`` (fhir-model §1.5).

    ``reason`` is a key of ``terms.STATUS_REASONS``; outputs that are there already are not added again.
    """
    moves = task["status"] != status
    if moves:
        check_move("Task", task["status"], status)
    found = copy.deepcopy(task)
    found["status"] = status
    found["businessStatus"] = terms.BUSINESS_STATUSES[business].concept()
    if reason:
        found["statusReason"] = terms.STATUS_REASONS[reason].concept()
    if moves and (status in {"in-progress", "completed"} or (status == "failed" and "executionPeriod" in found)):
        found["executionPeriod"] = _executed(found.get("executionPeriod") or {}, at, ended=status != "in-progress")
    found["lastModified"] = _not_before(at, task.get("authoredOn"), task.get("lastModified"))
    for output in outputs:
        if output not in found.setdefault("output", []):
            found["output"].append(output)
    return found


def _executed(before: Resource, at: datetime, *, ended: bool) -> Resource:
    """Give the time in which it was really done: begun once, ended when it ended."""
    start = before.get("start") or instant(at)
    return {**before, "start": start, "end": _not_before(at, start)} if ended else {**before, "start": start}


def _not_before(at: datetime, *others: Any) -> str:
    """Give an instant, or a later one of others: two machines' clocks may differ, and R4 wants order (Task inv-1)."""
    known = [(moment(each), each) for each in others]
    late = max(((each, text) for each, text in known if each is not None), default=None)
    return instant(at) if late is None or late[0] <= at.replace(microsecond=0) else str(late[1])


def raised(
    task: Resource, *, priority: str, due: datetime, inputs: Sequence[Resource], at: datetime
) -> Resource | None:
    """Give the Task with further reasons, its level only higher and its due date only earlier (design §9.20).

    None if it says all of that already.
    """
    found = copy.deepcopy(task)
    for each in inputs:
        if each not in found.setdefault("input", []):
            found["input"].append(each)
    if _level(priority) > _level(found.get("priority")):
        found["priority"] = priority
    dates = found.setdefault("restriction", {}).setdefault("period", {})
    before = moment(dates.get("end"))
    if before is None or due < before:
        dates["end"] = instant(due)
        start = moment(dates.get("start"))
        if start is not None and start > due:
            dates["start"] = instant(due)
    if found == task:
        return None
    found["lastModified"] = _not_before(at, task.get("authoredOn"), task.get("lastModified"))
    return found


def _level(priority: Any) -> int:
    """R4: a Task without a priority is routine."""
    return LEVELS.index(priority) if priority in LEVELS else 0
