"""Move one Task on: claim, release, attempt a call, complete, fail, decline, reassign (design §4.5, fhir-model §1.5).

    Task and patient → one batch → legal? → one transaction: Task (If-Match) + the attempt's Communication
    + the review of a call that was not reached + Provenance

The same move again changes nothing; a status never goes back, so what is released stays accepted, by the clinic. A
clinical review ends with a disposition and in no other way, and a form is answered, not moved (``receive_response``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from fhir_aftercare.care.status import TASK_MOVES
from fhir_aftercare.care.timing import local, require_aware, utc
from fhir_aftercare.care.worklist import is_last_try, next_try, unreachable
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
from fhir_aftercare.flows.chart import Section, patient_section, plan_sections, refers_to, review_section
from fhir_aftercare.flows.draft import Draft, reference_of
from fhir_aftercare.flows.review import add_review
from fhir_aftercare.flows.settle import settle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.fhir.identifiers import Identifiers
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]
Move = Literal["claim", "release", "attempt", "complete", "fail", "decline", "reassign"]

REACHED: Final = "reached"
NO_ANSWER: Final = "no-answer"

# What each move takes beside person, note, if_match and patient; those in the second set it needs.
_TAKES: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "claim": (frozenset(), frozenset({"person"})),
    "release": (frozenset(), frozenset()),
    "attempt": (frozenset({"outcome", "next_try"}), frozenset({"outcome"})),
    "complete": (frozenset({"outcome"}), frozenset()),
    "fail": (frozenset({"reason"}), frozenset({"reason"})),
    "decline": (frozenset(), frozenset()),
    "reassign": (frozenset({"owner"}), frozenset({"owner"})),
}
# How work ends that was not done (design §10.3), by the reasons a person may give: status, businessStatus. The other
# keys of terms.STATUS_REASONS belong to the discharge (left alone) and to corrections, which do more than end one Task.
FAIL_REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "missed": ("failed", "missed"),
    "unreachable": ("failed", "unreachable"),
    "superseded": ("cancelled", "superseded"),
}
_PERSON: Final = re.compile(r"(Practitioner|PractitionerRole|Patient|RelatedPerson)/[A-Za-z0-9\-.]{1,64}")
_OWNER: Final = re.compile(
    r"(Practitioner|PractitionerRole|Organization|CareTeam|HealthcareService)/[A-Za-z0-9\-.]{1,64}"
)
_TASK: Final = re.compile(r"Task/[A-Za-z0-9\-.]{1,64}")
# Owners that are nobody in particular: who acts takes the work over. Whoever is named keeps it, and is asked about it.
_NOBODY: Final = ("Organization", "CareTeam", "HealthcareService")
# Done face to face: there is no call to attempt.
_IN_PERSON: Final = (terms.ESCORT_HOME, terms.TEACH_BACK)
_COUNTED_ATTEMPTS: Final = 3  # as many have a businessStatus of their own; later ones keep the last


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """One move of one Task (``Task/1``). Persons and owners are FHIR references.

    ``outcome``: of an attempt ``reached`` or ``no-answer``; of a completion the words for what came of it, which a
    clinical review needs. ``reason`` is a key of ``FAIL_REASONS``. ``next_try``: when a call not answered is due again.
    ``owner``: to whom it is reassigned. ``if_match``: the version or ETag that was looked at. With ``patient`` the
    Task must be this patient's.
    """

    task: str
    move: Move
    person: str | None = None
    outcome: str | None = None
    reason: str | None = None
    note: str | None = None
    next_try: datetime | None = None
    owner: str | None = None
    if_match: str | None = None
    patient: str | None = None


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
    _check(request, context.clock())
    task = await _read(context, request)
    patient = patient_of(task)
    attempt = len(attempts_of(await _as_seen(context, request, task))) + 1
    settled = await settle(
        context, patient, sections(request, patient), lambda chart: decide(context, request, chart, attempt)
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


def legal_moves(task: Resource) -> tuple[Move, ...]:
    """Give the moves that a person may make with a Task as it is now; none if it has ended."""
    status = str(task.get("status"))
    after = TASK_MOVES.get(status, frozenset()) | {status}
    if not tasks.is_open(task):
        return ()
    form, review, claimed = _is_form(task), _is_review(task), _is_claimed(task)
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
    system = identifiers.system("activity")
    return any(each.get("system") == system for each in task.get("identifier") or ())


def attempts_of(task: Resource) -> tuple[str, ...]:
    """Give the Communications of the attempts made so far, the first one first."""
    found = ((each.get("valueReference") or {}).get("reference") for each in task.get("output") or ())
    return tuple(str(each) for each in found if each and "Communication/" in str(each))


def patient_of(task: Resource) -> str:
    """Give the reference of the patient a Task is for. Raises ``WrongSubject`` if it is for none."""
    place = location_of(str((task.get("for") or {}).get("reference", "")))
    if place is None or place.type != "Patient":
        raise WrongSubject("The Task is for no patient.", where="task")
    return place.reference


# --- what was asked --------------------------------------------------------------------------------------------------
def _check(request: MoveRequest, now: datetime) -> None:
    if request.move not in get_args(Move):
        raise InvalidInput("There is no such move: " + ", ".join(get_args(Move)) + ".", where="move")
    takes, needs = _TAKES[request.move]
    given = {name for name in ("person", "outcome", "reason", "next_try", "owner") if getattr(request, name) is not None}
    wrong = {name: "is needed" for name in needs - given}
    wrong |= {name: "belongs to another move" for name in given - takes - {"person"}}
    wrong |= {name: "is empty" for name in ("outcome", "note") if (getattr(request, name) or "x").strip() == ""}
    if request.move == "attempt" and request.outcome not in (REACHED, NO_ANSWER):
        wrong["outcome"] = f"of an attempt is {REACHED} or {NO_ANSWER}"
    if request.next_try is not None and request.outcome == REACHED:
        wrong["next_try"] = "is of a call that was not answered"
    if request.move == "fail" and request.reason not in FAIL_REASONS:
        wrong["reason"] = "is one of " + ", ".join(FAIL_REASONS)
    for name, shape in (("task", _TASK), ("person", _PERSON), ("owner", _OWNER)):
        value = getattr(request, name)
        if value is not None and not shape.fullmatch(value):
            wrong[name] = "is no reference that can stand here"
    if wrong:
        named = sorted(wrong)
        raise InvalidInput("; ".join(f"{name} {wrong[name]}" for name in named) + ".", where=named)
    if request.next_try is not None and utc(require_aware(request.next_try, "next_try")) <= utc(now):
        raise InvalidInput("The next try must be in the future.", where="next_try")


async def _read(context: ClinicContext, request: MoveRequest) -> Resource:
    try:
        task = await context.fhir.read("Task", request.task.partition("/")[2])
    except (FhirNotFound, FhirGone) as missing:
        raise NotFound("There is no such Task.", where="task") from missing
    if not is_ours(task, context.identifiers):
        raise WrongSubject("The Task is not this clinic's.", where="task")
    if request.patient is not None and patient_of(task) != request.patient:
        raise WrongSubject("The Task is another patient's.", where="patient")
    return task


async def _as_seen(context: ClinicContext, request: MoveRequest, task: Resource) -> Resource:
    """Give the Task as the caller saw it: only that tells a call repeated from a further one.

    A server that does not keep old versions has none to show; then the caller is told to look again.
    """
    seen = version_of(request.if_match)
    if request.move != "attempt" or seen in (None, _version(task)):
        return task
    try:
        return await context.fhir.vread("Task", task["id"], str(seen))
    except (FhirNotFound, FhirGone, FhirRejected):
        return task


def sections(request: MoveRequest, patient: str) -> list[Section]:
    """Give what is read for it, in one batch."""
    found = [patient_section(patient), Section("task", "Task", request.task)]
    if request.move == "attempt":
        found.append(Section("attempts", "Communication", f"Communication?part-of={request.task}&_count=200"))
    if request.outcome == NO_ANSWER or request.reason == "unreachable":
        found += [*plan_sections(patient), review_section(patient)]
    return found


# --- what is decided -------------------------------------------------------------------------------------------------
def decide(context: ClinicContext, request: MoveRequest, chart: Chart, attempt: int) -> MoveDecision:
    """Compare the Task with what the move asks for. Pure.

    ``attempt``: an attempt is the one of this number, or a later one. Raises ``IllegalMove``, ``Stale``.
    """
    task = next(each for each in chart.of("Task") if reference_of(each) == request.task)
    patient = patient_of(task)
    draft = Draft(context, chart, patient)
    if not refers_to(task["for"], chart.patient):
        raise Stale("The Task was given to another patient meanwhile.", where="task")
    if _is_made(draft, request, task, attempt):
        there = attempts_of(task)
        return MoveDecision(draft.transaction, task, there[-1] if request.move == "attempt" else None)
    if request.if_match is not None and version_of(request.if_match) != _version(task):
        raise Stale("The Task was changed by somebody else since it was looked at; nothing was written.", where="if_match")
    legal = legal_moves(task)
    if request.move not in legal:
        raise IllegalMove(f"A Task that is {_words(task)} cannot be moved so: {request.move}.", legal=legal, where="move")
    if request.move == "complete" and _is_review(task) and request.outcome is None:
        raise InvalidInput("A clinical review ends with a disposition: what was decided.", where="outcome")
    decision = _attempted(draft, request, task) if request.move == "attempt" else _moved(draft, request, task)
    draft.transaction.update(decision.task, task)
    draft.sign([context.protocol.infusion.canonical, context.protocol.course.canonical], person=request.person)
    return decision


def _is_made(draft: Draft, request: MoveRequest, task: Resource, attempt: int) -> bool:
    """Tell whether the Task is as this move by this person would leave it."""
    if request.note is not None and not any(_same_note(each, request) for each in task.get("note") or ()):
        return False
    owner = str((task.get("owner") or {}).get("reference"))
    if request.move == "claim":
        return task["status"] == "accepted" and _is_claimed(task) and owner == request.person
    if request.move == "release":
        return task["status"] == "accepted" and not _is_claimed(task) and owner == _clinics_owner(draft, task)
    if request.move == "attempt":
        later = [_communication(draft.chart, each) for each in attempts_of(task)[attempt - 1 :]]
        return any(_same_attempt(each, draft, request) for each in later)
    if request.move == "complete":
        said = [each.get("valueString") for each in task.get("output") or ()]
        return task["status"] == "completed" and (
            request.outcome in said if request.outcome else _business(task) == "confirmed"
        )
    if request.move == "reassign":
        return tasks.is_open(task) and not _is_claimed(task) and owner == request.owner
    status, business, reason = _ending(request, task)
    return bool((task["status"], _business(task)) == (status, business) and _has_reason(task, reason))


def _moved(draft: Draft, request: MoveRequest, task: Resource) -> MoveDecision:
    """Give the decision of every move but an attempt."""
    now = draft.now
    review = None
    if request.move == "claim":
        found = tasks.moved(task, "accepted", "claimed", at=now)
        found["owner"] = {"reference": request.person}
    elif request.move == "release":
        found = tasks.moved(task, "accepted", _unclaimed(task, now), at=now)
        found["owner"] = {"reference": _clinics_owner(draft, task)}
    elif request.move == "reassign":
        business = _unclaimed(task, now) if _is_claimed(task) else _business(task)
        found = tasks.moved(task, task["status"], business, at=now)
        found["owner"] = {"reference": request.owner}
    elif request.move == "complete":
        outputs = [tasks.text_input(terms.OUTPUT_OUTCOME, request.outcome)] if request.outcome else []
        business = "reached" if _business(task) == "reached" else "confirmed"
        found = tasks.moved(task, "completed", business, at=now, outputs=outputs)
        _take_over(found, request)
    else:
        status, business, reason = _ending(request, task)
        found = tasks.moved(task, status, business, at=now, reason=reason)
        if business == "unreachable":
            review = _raise_review(draft, task, len(attempts_of(task)))
    _add_note(found, request, now)
    return MoveDecision(draft.transaction, found, review=review)


def _attempted(draft: Draft, request: MoveRequest, task: Resource) -> MoveDecision:
    """Give the decision of an attempt: the fact of it, and what it makes of the Task.

    A review is not ended by calls: it stays open until somebody decides, its deadline is not put off (design §9.20).
    """
    context, now = draft.context, draft.now
    reached = request.outcome == REACHED
    key = (context.clinic.id, _task_key(context.identifiers, task), "attempt", len(attempts_of(task)) + 1)
    fact = _fact(draft, request, task, key)
    urn = draft.transaction.create(fact, context.identifiers.full_url("activity", *key))
    made = [each for each in draft.chart.of("Communication") if _is_part_of(each, task)]
    unanswered = sum(each.get("status") == "not-done" for each in made) + (not reached)
    business = REACHED if reached else f"attempt-{min(unanswered, _COUNTED_ATTEMPTS)}"
    outputs = [{"type": terms.OUTPUT_OUTCOME.concept(), "valueReference": {"reference": urn}}]
    found = tasks.moved(task, "in-progress", business, at=now, outputs=outputs)
    last = not reached and is_last_try(unanswered, context.clinic.policy)
    review = None
    if _is_review(task):
        found = _still_open(draft, request, found, unanswered if last else 0)
        review = request.task if last else None
    elif reached:
        found = tasks.moved(found, "completed", business, at=now)
    elif last:
        found = tasks.moved(found, "failed", "unreachable", at=now, reason="unreachable")
        review = _raise_review(draft, task, unanswered)
    elif request.next_try is not None:
        _put_off(found, next_try(request.next_try, now, context.clinic.call_hours, tasks.window_of(task)[2]))
    _take_over(found, request)
    _add_note(found, request, now)
    return MoveDecision(draft.transaction, found, urn, review)


def _still_open(draft: Draft, request: MoveRequest, review: Resource, unanswered: int) -> Resource:
    """Give a review after an attempt: due earlier if a try is wanted earlier, raised after the last unanswered one."""
    clinic, now = draft.context.clinic, draft.now
    found = review
    if request.next_try is not None:
        due = next_try(request.next_try, now, clinic.call_hours, None)
        found = tasks.raised(found, priority=found["priority"], due=due, inputs=[], at=now) or found
    if unanswered:
        reason = unreachable(_title(review), unanswered, now, clinic.policy, clinic.call_hours)
        inputs = [tasks.text_input(terms.INPUT_REASON, f"{reason.text} ({tasks.instant(now)}; {reason.key})")]
        found = (
            tasks.raised(found, priority=reason.level.priority, due=reason.deadline, inputs=inputs, at=now) or found
        )
    return found


def _raise_review(draft: Draft, task: Resource, unanswered: int) -> str | None:
    clinic, now = draft.context.clinic, draft.now
    reason = unreachable(_title(task), unanswered, now, clinic.policy, clinic.call_hours)
    return add_review(draft, [reason], reference_of(task), now)


def _fact(draft: Draft, request: MoveRequest, task: Resource, key: tuple[str | int, ...]) -> Resource:
    """Give the Communication: that a call was made, by whom and when, and whether the patient was reached."""
    at, reached = tasks.instant(draft.now), request.outcome == REACHED
    fact: Resource = {
        "resourceType": "Communication",
        "identifier": [draft.context.identifiers.identifier("activity", *key)],
        "basedOn": task.get("basedOn"),
        "partOf": [{"reference": request.task}],
        "status": "completed" if reached else "not-done",
        "statusReason": None if reached else {"text": "No answer"},
        "category": [{"text": _title(task)}],
        "medium": [{"text": "Telephone call"}],
        "subject": {"reference": draft.patient},
        "about": [task["reasonReference"]] if "reasonReference" in task else None,
        "sent": at,
        "received": at if reached else None,
        "recipient": [{"reference": draft.patient}],
        "sender": {"reference": _sender(draft, request)},
    }
    return {name: value for name, value in fact.items() if value}


# --- small facts of a Task -------------------------------------------------------------------------------------------
def _is_form(task: Resource) -> bool:
    return tasks.asks_for(task) is not None or tasks.has_code(task, terms.COMPLETE_QUESTIONNAIRE)


def _is_review(task: Resource) -> bool:
    return tasks.has_code(task, terms.CLINICAL_REVIEW)


def _is_claimed(task: Resource) -> bool:
    return task.get("status") == "accepted" and _business(task) == "claimed"


def _business(task: Resource) -> str:
    codings = (task.get("businessStatus") or {}).get("coding") or ()
    found = (str(each.get("code")) for each in codings if each.get("system") == terms.BUSINESS_STATUS)
    return next((each for each in found if each in terms.BUSINESS_STATUSES), "scheduled")


def _unclaimed(task: Resource, now: datetime) -> str:
    opens = tasks.window_of(task)[0]
    return "due" if opens is None or utc(opens) <= utc(now) else "scheduled"


def _words(task: Resource) -> str:
    return f"{task.get('status')} ({_business(task)})"


def _title(task: Resource) -> str:
    return str((task.get("code") or {}).get("text") or "Call")


def _version(resource: Resource) -> str | None:
    version = (resource.get("meta") or {}).get("versionId")
    return str(version) if version else None


def _task_key(identifiers: Identifiers, task: Resource) -> str:
    system = identifiers.system("activity")
    return next(str(each["value"]) for each in task["identifier"] if each.get("system") == system)


def _ending(request: MoveRequest, task: Resource) -> tuple[str, str, str]:
    """Give status, businessStatus and reason of work that ends undone (design §10.3, care/status.py)."""
    if request.move == "decline":
        # R4: rejected is by one who has not begun; what was begun is cancelled.
        begun = task["status"] in {"draft", "in-progress", "cancelled"}
        return "cancelled" if begun else "rejected", "declined", "declined-by-patient"
    reason = str(request.reason)
    status, business = FAIL_REASONS[reason]
    # A form that was not answered in time is cancelled, a duty of staff that was not done has failed.
    return "cancelled" if _is_form(task) else status, business, reason


def _has_reason(task: Resource, reason: str) -> bool:
    return tasks.has_code({"code": task.get("statusReason")}, terms.STATUS_REASONS[reason])


def _clinics_owner(draft: Draft, task: Resource) -> str:
    """Give whom the work belongs to if nobody has claimed it: the owner of the activity's role."""
    canonical = str(task.get("instantiatesCanonical", "")).partition("|")[0]
    try:
        role = draft.context.protocol.activity(canonical).owner_role
    except ProtocolFault:  # made by the software itself, or by a protocol that is no longer here
        role = None
    return draft.context.clinic.owner(role or "nurse", draft.patient)


def _sender(draft: Draft, request: MoveRequest) -> str:
    return request.person or draft.context.clinic.organization


def _take_over(task: Resource, request: MoveRequest) -> None:
    owner = str((task.get("owner") or {}).get("reference", ""))
    if request.person and (not owner or owner.split("/")[-2] in _NOBODY):
        task["owner"] = {"reference": request.person}


def _put_off(task: Resource, due: datetime) -> None:
    dates = task["restriction"]["period"]
    opens = tasks.moment(dates.get("start"))
    if opens is not None and utc(opens) > utc(due):
        dates["start"] = tasks.instant(local(due, due.tzinfo))
    dates["end"] = tasks.instant(due)


def _add_note(task: Resource, request: MoveRequest, now: datetime) -> None:
    if request.note is None:
        return
    task.setdefault("note", []).append({**_author(request), "time": tasks.instant(now), "text": request.note})


def _author(request: MoveRequest) -> Resource:
    """Give an Annotation's author: R4 has no reference to a PractitionerRole there."""
    if request.person is None:
        return {}
    if request.person.startswith("PractitionerRole/"):
        return {"authorString": request.person}
    return {"authorReference": {"reference": request.person}}


def _same_note(note: Resource, request: MoveRequest) -> bool:
    author = _author(request)
    return note.get("text") == request.note and all(note.get(name) == value for name, value in author.items())


def _is_part_of(communication: Resource, task: Resource) -> bool:
    return any(refers_to(each, task) for each in communication.get("partOf") or ())


def _communication(chart: Chart, reference: str) -> Resource:
    return next((each for each in chart.of("Communication") if refers_to({"reference": reference}, each)), {})


def _same_attempt(communication: Resource, draft: Draft, request: MoveRequest) -> bool:
    status = "completed" if request.outcome == REACHED else "not-done"
    sender = str((communication.get("sender") or {}).get("reference"))
    return communication.get("status") == status and sender == _sender(draft, request)


def _placed(resource: Resource, references: Mapping[str, str]) -> Resource:
    """Give a Task as the server has it: with the references its new outputs became, without the version it replaced."""
    if not references:
        return resource
    outputs = [
        {**each, "valueReference": {"reference": references[each["valueReference"]["reference"]]}}
        if (each.get("valueReference") or {}).get("reference") in references
        else each
        for each in resource.get("output") or ()
    ]
    meta = {name: value for name, value in (resource.get("meta") or {}).items() if name not in ("versionId", "lastUpdated")}
    return {**resource, "meta": meta, **({"output": outputs} if outputs else {})}
