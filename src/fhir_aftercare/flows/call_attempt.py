"""One attempt to reach a patient: the fact of it, and what it makes of the Task (design §10.3, §10.4, clinical §2.2).

Reached: the call is done. No answer: it is due again at the next try; after the last attempt it has failed, and the
named clinician gets an urgent review. A review itself is not ended by calls: it stays open until somebody decides, and
its deadline is never put off (design §9.20). A step of ``move_task``, not a door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.timing import utc
from fhir_aftercare.care.worklist import UNREACHABLE, is_last_try, next_try, unreachable
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.review import add_review
from fhir_aftercare.flows.settle import TornChart
from fhir_aftercare.flows.task_facts import attempts_of, is_review, task_key, title_of

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.care.escalation import Reason
    from fhir_aftercare.flows.draft import Draft

Resource = dict[str, Any]

REACHED: Final = "reached"
NO_ANSWER: Final = "no-answer"
_COUNTED: Final = 3  # so many attempts have a businessStatus of their own; later ones keep the last


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt as it was made: by whom (a reference), with or without an answer, and when it is to be tried again."""

    sender: str
    reached: bool
    next_try: datetime | None


@dataclass(frozen=True, slots=True)
class Attempted:
    """The Task as it will be, the Communication (``urn:uuid``), and the review of a call that was not reached."""

    task: Resource
    communication: str
    review: str | None


def attempted(draft: Draft, task: Resource, attempt: Attempt) -> Attempted:
    """Add the Communication, and the review if this was the last try; the Task itself is the caller's to add."""
    context, now = draft.context, draft.now
    urn = _add_fact(draft, task, attempt)
    unanswered = _unanswered(draft, task) + (not attempt.reached)
    business = REACHED if attempt.reached else f"attempt-{min(unanswered, _COUNTED)}"
    outputs = [{"type": terms.OUTPUT_OUTCOME.concept(), "valueReference": {"reference": urn}}]
    found = tasks.moved(task, "in-progress", business, at=now, outputs=outputs)
    last = not attempt.reached and is_last_try(unanswered, context.clinic.policy)
    review = None
    if is_review(task):
        _hasten(draft, found, attempt)
        if last:
            found = _raise(draft, found, unanswered)
            review = reference_of(task)
    elif attempt.reached:
        found = tasks.moved(found, "completed", business, at=now)
    elif last:
        found = tasks.moved(found, "failed", "unreachable", at=now, reason="unreachable")
        review = raise_review(draft, task, unanswered)
    elif attempt.next_try is not None:
        expires = tasks.window_of(task)[2]
        _due_at(found, next_try(attempt.next_try, now, context.clinic.call_hours, expires))
    return Attempted(found, urn, review)


def raise_review(draft: Draft, task: Resource, unanswered: int) -> str | None:
    """Add the urgent review of a call that was not reached, or this reason to the open one; give its reference."""
    return add_review(draft, [_reason(draft, task, unanswered)], reference_of(task), draft.now)


def made_since(draft: Draft, task: Resource, number: int, attempt: Attempt) -> str | None:
    """Give the Communication of this same attempt if it was recorded as the one of ``number`` or later.

    Raises ``TornChart`` if the attempts were read at another moment than the Task.
    """
    status = _status(attempt)
    facts = {reference_of(each): each for each in draft.chart.of("Communication")}
    for reference in attempts_of(task)[number - 1 :]:
        if reference not in facts:
            raise TornChart("An attempt the Task tells of was not read with it.")
        fact = facts[reference]
        if fact.get("status") == status and (fact.get("sender") or {}).get("reference") == attempt.sender:
            return reference
    return None


def review_of(draft: Draft) -> str | None:
    """Give the patient's review that already holds the reason that a call was not reached."""
    for task in draft.chart.of("Task"):
        said = [str(each.get("valueString")) for each in task.get("input") or ()]
        if is_review(task) and any(UNREACHABLE in each for each in said):
            return reference_of(task)
    return None


def _reason(draft: Draft, task: Resource, unanswered: int) -> Reason:
    clinic = draft.context.clinic
    return unreachable(title_of(task), unanswered, draft.now, clinic.policy, clinic.call_hours)


def _unanswered(draft: Draft, task: Resource) -> int:
    facts = draft.chart.of("Communication")
    own = [each for each in facts if any(refers_to(part, task) for part in each.get("partOf") or ())]
    return sum(each.get("status") == "not-done" for each in own)


def _status(attempt: Attempt) -> str:
    return "completed" if attempt.reached else "not-done"


def _add_fact(draft: Draft, task: Resource, attempt: Attempt) -> str:
    """Add the Communication: that a call was made, by whom and when, and whether the patient was reached."""
    identifiers, at = draft.context.identifiers, tasks.instant(draft.now)
    number = len(attempts_of(task)) + 1
    key = (draft.context.clinic.id, str(task_key(task, identifiers)), "attempt", str(number))
    fact: Resource = {
        "resourceType": "Communication",
        "identifier": [identifiers.identifier("activity", *key)],
        "basedOn": task.get("basedOn"),
        "partOf": [{"reference": reference_of(task)}],
        "status": _status(attempt),
        "statusReason": None if attempt.reached else {"text": "No answer"},
        "category": [{"text": title_of(task)}],
        "medium": [{"text": "Telephone call"}],
        "subject": {"reference": draft.patient},
        "about": [task["reasonReference"]] if "reasonReference" in task else None,
        "sent": at,
        "received": at if attempt.reached else None,
        "recipient": [{"reference": draft.patient}],
        "sender": {"reference": attempt.sender},
    }
    resource = {name: value for name, value in fact.items() if value}
    return draft.transaction.create(resource, identifiers.full_url("activity", *key))


def _hasten(draft: Draft, review: Resource, attempt: Attempt) -> None:
    """Make a review due earlier if a try is wanted earlier; a later one does not put it off."""
    due = tasks.window_of(review)[1]
    if attempt.next_try is not None:
        wanted = next_try(attempt.next_try, draft.now, draft.context.clinic.call_hours, None)
        if due is None or utc(wanted) < utc(due):
            _due_at(review, wanted)


def _raise(draft: Draft, review: Resource, unanswered: int) -> Resource:
    """Add the reason to the very review the calls were for; its level only rises (design §9.20)."""
    reason = _reason(draft, review, unanswered)
    words = f"{reason.text} ({tasks.instant(draft.now)}; {reason.key})"
    inputs = [tasks.text_input(terms.INPUT_REASON, words)]
    return (
        tasks.raised(review, priority=reason.level.priority, due=reason.deadline, inputs=inputs, at=draft.now) or review
    )


def _due_at(task: Resource, due: datetime) -> None:
    dates = task.setdefault("restriction", {}).setdefault("period", {})
    opens = tasks.moment(dates.get("start"))
    if opens is not None and utc(opens) > utc(due):
        dates["start"] = tasks.instant(due)
    dates["end"] = tasks.instant(due)
