"""Move one Task on: claim, release, attempt a call, complete, fail, decline, reassign (design §4.5, fhir-model §1.5).

    Task and patient → one batch → legal? → one transaction: Task (If-Match) + the attempt's Communication
    + the review of a call that was not reached + Provenance

The same move again changes nothing. Which moves are legal is ``task_facts``' to say, what an attempt makes of the Task
``call_attempt``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.timing import utc
from fhir_aftercare.ehr.answers import location_of, version_of
from fhir_aftercare.errors import (
    FhirGone,
    FhirNotFound,
    FhirRejected,
    IllegalMove,
    InvalidInput,
    NotFound,
    ProtocolFault,
    Stale,
    WrongSubject,
)
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.notes import written_by
from fhir_aftercare.flows.call_attempt import (
    NO_ANSWER,
    REACHED,
    Attempt,
    attempted,
    made_since,
    raise_review,
    review_of,
)
from fhir_aftercare.flows.chart import Section, patient_section, plan_sections, review_section
from fhir_aftercare.flows.draft import Draft, reference_of
from fhir_aftercare.flows.hold_plan import go_on, is_confirmation
from fhir_aftercare.flows.move_request import FAIL_REASONS, MoveRequest, check_request
from fhir_aftercare.flows.settle import settle
from fhir_aftercare.flows.situation import children
from fhir_aftercare.flows.task_facts import (
    Move,
    attempts_of,
    business_of,
    is_claimed,
    is_form,
    is_ours,
    is_review,
    legal_moves,
    owner_of,
    patient_of,
    version_in,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

__all__ = ["FAIL_REASONS", "NO_ANSWER", "REACHED", "Move", "MoveRequest", "Moved", "legal_moves", "move_task"]

Resource = dict[str, Any]

# Owners that are nobody in particular: who acts takes the work over. Whoever is named keeps it, and stays asked.
_NOBODY: Final = frozenset({"Organization", "CareTeam", "HealthcareService"})


@dataclass(frozen=True, slots=True)
class MoveDecision:
    """The difference to write, and the Task as it will be. References may be ``urn:uuid``."""

    transaction: Transaction
    task: Resource
    attempt: str | None = None
    review: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """The Task as it is now (after a change without its new version), what was written beside it, and what may follow.

    ``attempt`` is the Communication, ``review`` the Task of whoever must look at a call that was not reached.
    """

    task: str
    resource: Resource
    attempt: str | None
    review: str | None
    legal_moves: tuple[Move, ...]
    changed: bool


async def move_task(context: ClinicContext, request: MoveRequest) -> Moved:
    """Make the move, or find it made: then nothing is written.

    Raises ``InvalidInput`` naming every faulty field, ``NotFound``, ``WrongSubject`` (a Task that is not this clinic's
    or this patient's), ``IllegalMove`` with the legal ones, ``Stale`` if ``if_match`` is not the newest version, and
    what failures of the FHIR server become.
    """
    check_request(request, context.clock())
    task, patient = await _read(context, request)
    attempt = len(attempts_of(await _as_seen(context, request, task))) + 1
    settled = await settle(
        context, patient, sections(request, task, patient), lambda chart: decide(context, request, chart, attempt)
    )
    decision, at = settled.decision, settled.reference
    return Moved(
        task=request.task,
        resource=_placed(decision.task, settled.references),
        attempt=at(decision.attempt) if decision.attempt else None,
        review=at(decision.review) if decision.review else None,
        legal_moves=legal_moves(decision.task),
        changed=settled.wrote,
    )


async def _read(context: ClinicContext, request: MoveRequest) -> tuple[Resource, str]:
    """Give the Task, if it may be moved from here, and the patient it is for."""
    try:
        task = await context.fhir.read("Task", request.task.partition("/")[2])
    except (FhirNotFound, FhirGone) as missing:
        raise NotFound("There is no such Task.", where="task") from missing
    if not is_ours(task, context.identifiers):
        raise WrongSubject("The Task is not this clinic's.", where="task")
    patient = patient_of(task)
    if patient is None:
        raise WrongSubject("The Task is for no patient.", where="task")
    if request.patient is not None and request.patient != patient:
        raise WrongSubject("The Task is another patient's.", where="patient")
    return task, patient


async def _as_seen(context: ClinicContext, request: MoveRequest, task: Resource) -> Resource:
    """Give the Task as the caller saw it: only that tells an attempt reported again from a further one.

    A server that does not keep old versions has none to show; then the caller is told to look again.
    """
    seen = version_of(request.if_match)
    if request.move != "attempt" or seen is None or seen == version_in(task):
        return task
    try:
        return await context.fhir.vread("Task", task["id"], seen)
    except (FhirNotFound, FhirGone, FhirRejected):
        return task


def sections(request: MoveRequest, task: Resource, patient: str) -> list[Section]:
    """Give what is read for it, in one batch."""
    found = [patient_section(patient), Section("task", "Task", request.task)]
    if request.move == "attempt":
        found.append(Section("attempts", "Communication", f"Communication?part-of={request.task}&_count=200"))
    if request.outcome == NO_ANSWER or request.reason == "unreachable":
        found += [*plan_sections(patient), review_section(patient)]
    elif request.move == "complete" and is_confirmation(task):
        found += plan_sections(patient)
    return found


def decide(context: ClinicContext, request: MoveRequest, chart: Chart, attempt: int) -> MoveDecision:
    """Compare the Task with what the move asks for. Pure. An attempt is the one of number ``attempt``, or a later one.

    Raises ``IllegalMove``, ``Stale``, ``InvalidInput``.
    """
    task = next(each for each in chart.of("Task") if reference_of(each) == request.task)
    patient = reference_of(chart.patient)
    if patient_of(task) != patient:
        raise Stale("The Task was given to another patient meanwhile.", where="task")
    draft = Draft(context, chart, patient)
    made = _made(draft, request, task, attempt)
    if made is not None:
        return made
    if request.if_match is not None and version_of(request.if_match) != version_in(task):
        raise Stale("The Task was changed since it was looked at; nothing was written.", where="if_match")
    legal = legal_moves(task)
    if request.move not in legal:
        words = f"{task.get('status')} ({business_of(task)})"
        raise IllegalMove(f"With a Task that is {words} there is no {request.move}.", legal=legal, where="move")
    decision = _MOVES[request.move](draft, request, task)
    if request.note is not None:
        note = {**_author(request), "time": tasks.instant(draft.now), "text": request.note}
        decision.task.setdefault("note", []).append(note)
    draft.transaction.update(decision.task, task)
    draft.sign([context.protocol.infusion.canonical, context.protocol.course.canonical], person=request.person)
    return decision


# --- is it made already? ---------------------------------------------------------------------------------------------
def _made(draft: Draft, request: MoveRequest, task: Resource, attempt: int) -> MoveDecision | None:
    """Give the decision to write nothing, if the Task is as this move by this person would leave it."""
    if request.note is not None and not any(_same_note(each, request) for each in task.get("note") or ()):
        return None
    if request.move == "attempt":
        there = made_since(draft, task, attempt, _attempt_of(draft, request))
        review = review_of(draft) if request.outcome == NO_ANSWER else None
        return MoveDecision(draft.transaction, task, there, review) if there else None
    review = review_of(draft) if request.reason == "unreachable" else None
    return MoveDecision(draft.transaction, task, review=review) if _stands(draft, request, task) else None


def _stands(draft: Draft, request: MoveRequest, task: Resource) -> bool:
    status, owner = task.get("status"), owner_of(task)
    if request.move == "claim":
        return is_claimed(task) and owner == request.person
    if request.move == "release":
        return status == "accepted" and not is_claimed(task) and owner == _clinics_owner(draft, task)
    if request.move == "reassign":
        return tasks.is_open(task) and owner == request.owner
    if request.move == "complete":
        said = [each.get("valueString") for each in task.get("output") or ()]
        same = request.outcome in said if request.outcome else business_of(task) == "confirmed"
        return status == "completed" and same
    ended, business, reason = _ending(request, task)
    why = {"code": task.get("statusReason")}
    return (status, business_of(task)) == (ended, business) and tasks.has_code(why, terms.STATUS_REASONS[reason])


def _same_note(note: Resource, request: MoveRequest) -> bool:
    return note.get("text") == request.note and all(note.get(name) == by for name, by in _author(request).items())


# --- the moves -------------------------------------------------------------------------------------------------------
def _claim(draft: Draft, request: MoveRequest, task: Resource) -> MoveDecision:
    found = tasks.moved(task, "accepted", "claimed", at=draft.now)
    return MoveDecision(draft.transaction, {**found, "owner": {"reference": request.person}})


def _release(draft: Draft, _: MoveRequest, task: Resource) -> MoveDecision:
    found = tasks.moved(task, "accepted", _unclaimed(draft, task), at=draft.now)
    return MoveDecision(draft.transaction, {**found, "owner": {"reference": _clinics_owner(draft, task)}})


def _reassign(draft: Draft, request: MoveRequest, task: Resource) -> MoveDecision:
    business = _unclaimed(draft, task) if is_claimed(task) else business_of(task)
    found = tasks.moved(task, str(task["status"]), business, at=draft.now)
    return MoveDecision(draft.transaction, {**found, "owner": {"reference": request.owner}})


def _attempt(draft: Draft, request: MoveRequest, task: Resource) -> MoveDecision:
    found = attempted(draft, task, _attempt_of(draft, request))
    return MoveDecision(draft.transaction, _taken_over(found.task, request), found.communication, found.review)


def _complete(draft: Draft, request: MoveRequest, task: Resource) -> MoveDecision:
    if is_review(task) and request.outcome is None:
        raise InvalidInput("A clinical review ends with a disposition: what was decided.", where="outcome")
    outputs = [tasks.text_input(terms.OUTPUT_OUTCOME, request.outcome)] if request.outcome else []
    business = REACHED if business_of(task) == REACHED else "confirmed"
    found = tasks.moved(task, "completed", business, at=draft.now, outputs=outputs)
    if is_confirmation(task):  # the patient has left: what was held goes on
        for plan in draft.chart.of("CarePlan"):
            if task in children(draft.chart, plan):
                go_on(draft, plan)
    return MoveDecision(draft.transaction, _taken_over(found, request))


def _end(draft: Draft, request: MoveRequest, task: Resource) -> MoveDecision:
    if is_form(task) and request.reason == "unreachable":
        raise InvalidInput("A form is answered, not called: it can be missed.", where="reason")
    status, business, reason = _ending(request, task)
    found = tasks.moved(task, status, business, at=draft.now, reason=reason)
    review = raise_review(draft, task, len(attempts_of(task))) if reason == "unreachable" else None
    return MoveDecision(draft.transaction, found, review=review)


_MOVES: Final = {
    "claim": _claim,
    "release": _release,
    "attempt": _attempt,
    "complete": _complete,
    "fail": _end,
    "decline": _end,
    "reassign": _reassign,
}


def _ending(request: MoveRequest, task: Resource) -> tuple[str, str, str]:
    """Give status, businessStatus and reason of work that ends undone (design §10.3, ``care.status``)."""
    if request.move == "decline":
        # R4: rejected is by one who has not begun; what was begun is cancelled.
        unbegun = task["status"] not in {"draft", "in-progress", "cancelled"}
        return "rejected" if unbegun else "cancelled", "declined", "declined-by-patient"
    status, business = FAIL_REASONS[str(request.reason)]
    # A form that was not answered in time is cancelled; what staff did not do has failed.
    return "cancelled" if is_form(task) else status, business, str(request.reason)


def _attempt_of(draft: Draft, request: MoveRequest) -> Attempt:
    sender = request.person or draft.context.clinic.organization
    return Attempt(sender, request.outcome == REACHED, request.next_try)


def _clinics_owner(draft: Draft, task: Resource) -> str:
    """Give whom the work belongs to if nobody has claimed it: the owner of the activity's role."""
    canonical = str(task.get("instantiatesCanonical", "")).partition("|")[0]
    try:
        role = draft.context.protocol.activity(canonical).owner_role
    except ProtocolFault:  # raised by the software itself, or by a protocol that is no longer here
        role = None
    return draft.context.clinic.owner(role or "nurse", draft.patient)


def _unclaimed(draft: Draft, task: Resource) -> str:
    opens = tasks.window_of(task)[0]
    return "scheduled" if opens is not None and utc(opens) > utc(draft.now) else "due"


def _taken_over(task: Resource, request: MoveRequest) -> Resource:
    owner = location_of(owner_of(task))
    if request.person and (owner is None or owner.type in _NOBODY):
        return {**task, "owner": {"reference": request.person}}
    return task


def _author(request: MoveRequest) -> Resource:
    return written_by(request.person) if request.person else {}


def _placed(task: Resource, references: Mapping[str, str]) -> Resource:
    """Give a Task as it was written: its outputs with the references they became, without the version it replaced."""
    if not references:
        return task
    found = {
        **task,
        "meta": {k: v for k, v in (task.get("meta") or {}).items() if k not in {"versionId", "lastUpdated"}},
    }
    if "output" in task:
        found["output"] = [_with_reference(each, references) for each in task["output"]]
    return found


def _with_reference(output: Resource, references: Mapping[str, str]) -> Resource:
    given = str((output.get("valueReference") or {}).get("reference"))
    return {**output, "valueReference": {"reference": references[given]}} if given in references else output
