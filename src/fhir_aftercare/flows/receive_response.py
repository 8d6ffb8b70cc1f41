"""Read back what a patient reported, score it, and make sure that somebody acts (design §4.3).

    answers → one batch → fhir.responses → care.instruments → care.escalation → one transaction:
    QuestionnaireResponse + score Observations + Task output + clinical-review Task

The same submission with other content amends it. Every response is looked at for escalation, whatever comes later and
however old it is (design §10.9); drafts are looked at for item 9, and never scored.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.instruments import score
from fhir_aftercare.errors import InvalidInput, WrongSubject
from fhir_aftercare.fhir import careplan, tasks
from fhir_aftercare.fhir.check import faults_of
from fhir_aftercare.fhir.responses import read_response
from fhir_aftercare.fhir.scores import score_observations
from fhir_aftercare.flows.ask_forms import ask_forms
from fhir_aftercare.flows.chart import (
    Section,
    patient_section,
    plan_sections,
    response_section,
    review_section,
    score_section,
)
from fhir_aftercare.flows.draft import Draft, reference_of
from fhir_aftercare.flows.match_task import match_task
from fhir_aftercare.flows.review import add_review, escalate
from fhir_aftercare.flows.settle import preview, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.care.escalation import Reason
    from fhir_aftercare.care.instruments import Score
    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.fhir.responses import Reading
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

_DRAFT = "in-progress"
_DONE = frozenset({"completed", "amended"})


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """Answers to read back. ``patient`` is ``Patient/1``; ``response`` a QuestionnaireResponse.

    With ``stored`` it is on the FHIR server already (written by the EHR's portal or a form engine) and is not written
    again. ``submission`` names this filling-in; without it, it is the Task the response names, or when it was authored.
    """

    patient: str
    response: Resource
    stored: bool = False
    submission: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseDecision:
    """The difference to write. References may be ``urn:uuid``."""

    transaction: Transaction
    response: str
    scores: tuple[Score, ...]
    observations: tuple[str, ...]
    task: str | None
    reasons: tuple[Reason, ...]
    review: str | None


@dataclass(frozen=True, slots=True)
class Received:
    """What is on the server now, as ``Type/id``, and what the answers say. ``changed``: whether anything was written.

    ``review`` is the Task that somebody must act on, ``reasons`` why; both empty if nothing calls for it.
    """

    response: str
    scores: tuple[Score, ...]
    observations: tuple[str, ...]
    task: str | None
    reasons: tuple[Reason, ...]
    review: str | None
    changed: bool

    @property
    def score(self) -> Score | None:
        """The score of the form's own instrument, the PHQ-9 first; None if it has none or is a draft."""
        return self.scores[0] if self.scores else None


async def receive_response(context: ClinicContext, request: ResponseRequest) -> Received:
    """Write the answers, their scores, and who must act by when.

    Raises ``InvalidInput`` (what is no usable QuestionnaireResponse), ``WrongSubject``, ``NotFound``, and what failures
    of the FHIR server become; nothing is written then.
    """
    reading = _read(context, request)
    settled = await settle(
        context,
        request.patient,
        sections(context, request, reading),
        lambda chart: decide(context, request, reading, chart),
    )
    decision, at = settled.decision, settled.reference
    return Received(
        response=at(decision.response),
        scores=decision.scores,
        observations=tuple(at(each) for each in decision.observations),
        task=decision.task,
        reasons=decision.reasons,
        review=at(decision.review) if decision.review else None,
        changed=settled.wrote,
    )


async def preview_response(context: ClinicContext, request: ResponseRequest) -> Resource:
    """Give the Bundle that ``receive_response`` would send now; nothing is written. Raises the same errors."""
    reading = _read(context, request)
    return await preview(
        context,
        sections(context, request, reading),
        lambda chart: decide(context, request, reading, chart),
    )


def _read(context: ClinicContext, request: ResponseRequest) -> Reading:
    if request.response.get("resourceType") != "QuestionnaireResponse":
        raise InvalidInput("A QuestionnaireResponse is expected.", where="response.resourceType")
    wrong = [] if request.stored else faults_of({**request.response, "subject": {"reference": request.patient}})
    if wrong:
        raise InvalidInput(
            "The response is no valid FHIR R4: " + "; ".join(f"{each.place} {each.rule}" for each in wrong[:5]) + ".",
            where=[f"response.{each.place.partition('.')[2]}" for each in wrong],
        )
    reading = read_response(request.response, context.protocol.form_resources())
    if reading.patient is not None and reading.patient != request.patient:
        raise WrongSubject("The answers are another patient's.", where="response.subject")
    if reading.status not in _DONE | {_DRAFT}:
        raise InvalidInput(
            "Only answers that are completed, amended or in progress can be read.", where="response.status"
        )
    if request.stored and not request.response.get("id"):
        raise InvalidInput("A stored response has an id.", where="response.id")
    return reading


def sections(context: ClinicContext, request: ResponseRequest, reading: Reading) -> list[Section]:
    """Give what is read for it, in one batch."""
    found = [
        patient_section(request.patient),
        *plan_sections(request.patient),
        review_section(request.patient),
        score_section(request.patient),
    ]
    if request.stored:
        found.append(Section("answers", "QuestionnaireResponse", f"QuestionnaireResponse/{request.response['id']}"))
    else:
        key = _submission_key(context, request, reading)
        found.append(response_section(context.identifiers.identifier("response", *key)))
    return found


def _submission_key(context: ClinicContext, request: ResponseRequest, reading: Reading) -> tuple[str, ...]:
    """Give the key of this submission (design §10.2): the Task it names, else patient, form and time."""
    clinic, patient = context.clinic.id, request.patient.rpartition("/")[2]
    if request.stored:
        return (clinic, "response", str(request.response["id"]))
    named = _named_task(context, reading)
    if named:
        return (clinic, "task", named, request.submission or "1")
    form = reading.questionnaire or "no-form"
    return (
        clinic,
        patient,
        form,
        request.submission or tasks.instant(reading.authored.astimezone(context.clinic.zone)),
    )


def _named_task(context: ClinicContext, reading: Reading) -> str | None:
    system = context.identifiers.system("activity")
    return next((value for given, value in reading.identifiers if given == system), None)


def decide(context: ClinicContext, request: ResponseRequest, reading: Reading, chart: Chart) -> ResponseDecision:
    """Compare what the answers call for with what the chart has. Pure."""
    draft = Draft(context, chart, request.patient)
    key = _submission_key(context, request, reading)
    task = match_task(chart, request.patient, reading, _named_task(context, reading))
    response = _write_response(draft, request, key, task)
    done = reading.status in _DONE
    scores = tuple(score(each) for each in (reading.answers, *reading.further) if each is not None)
    observations: tuple[str, ...] = ()
    if done:
        observations = _write_scores(draft, reading, scores, key, response)
        if task is not None:
            _answer_task(draft, task, response, observations)
    reasons = _reasons(draft, reading, scores if done else _only_item_9(scores))
    review = add_review(draft, reasons, response, reading.authored)
    ask_forms(draft)
    draft.sign([context.protocol.course.canonical], person=request.person, sources=[response])
    reference = reference_of(task) if task else None
    return ResponseDecision(
        draft.transaction, response, scores if done else (), observations, reference, reasons, review
    )


def _reasons(draft: Draft, reading: Reading, scores: Sequence[Score]) -> tuple[Reason, ...]:
    """Give every reason why somebody must act, each once."""
    found: dict[str, Reason] = {}
    for scored, check_in in [*((each, None) for each in scores), (None, reading.check_in)]:
        for reason in escalate(draft, reading.authored, scored=scored, check_in=check_in):
            found.setdefault(reason.key, reason)
    return tuple(found.values())


def _write_response(draft: Draft, request: ResponseRequest, key: tuple[str, ...], task: Resource | None) -> str:
    """Keep the patient's words as they came, with our identifier, subject and the plan they belong to."""
    if request.stored:
        return reference_of(request.response)
    identifiers = draft.context.identifiers
    wanted = copy.deepcopy(request.response)
    for name in ("id", "meta"):
        wanted.pop(name, None)
    wanted["identifier"] = identifiers.identifier("response", *key)
    wanted["subject"] = {"reference": request.patient}
    plans = [each for each in (task or {}).get("basedOn") or () if "CarePlan/" in str(each.get("reference"))]
    if plans and not wanted.get("basedOn"):
        wanted["basedOn"] = plans
    existing = draft.existing(wanted)
    if existing is None:
        return draft.transaction.create(wanted, identifiers.full_url("response", *key))
    if _same_answers(existing, wanted):
        return reference_of(existing)
    if existing.get("status") in _DONE:
        wanted["status"] = "amended"
    return draft.transaction.update({**existing, **wanted}, existing)


def _same_answers(existing: Resource, wanted: Resource) -> bool:
    """Tell whether nothing but bookkeeping differs: an amended response sent again is still the same."""
    ignored = {"id", "meta", "text", "identifier", "subject", "basedOn", "status"}
    names = (existing.keys() | wanted.keys()) - ignored
    finished = existing.get("status") in _DONE or existing.get("status") == wanted.get("status")
    return finished and all(existing.get(name) == wanted.get(name) for name in names)


def _write_scores(
    draft: Draft, reading: Reading, scores: Sequence[Score], key: tuple[str, ...], response: str
) -> tuple[str, ...]:
    setting = draft.setting((draft.context.clinic.id,))
    courses = [plan for plan in draft.chart.of("CarePlan") if careplan.is_kind(plan, "course")]
    active = [reference_of(plan) for plan in courses if plan.get("status") == "active"]
    wanted = [
        observation
        for each in scores
        for observation in score_observations(
            each,
            reading,
            setting,
            submission=key,
            based_on=active[:1],
            response=response,
            write_all_items=draft.context.clinic.policy.write_all_items,
        )
    ]
    return tuple(draft.write(each) for each in wanted)


def _answer_task(draft: Draft, task: Resource, response: str, observations: Sequence[str]) -> None:
    """Close the Task that asked, with what it asked for; to one that has ended the late answer is attached."""
    now = draft.now
    outputs = [tasks.answer_output(response), *(tasks.score_output(each) for each in observations)]
    given = task.get("output") or []
    if all(each in given for each in outputs):
        return
    if tasks.is_open(task):
        expires = tasks.window_of(task)[2]
        late = expires is not None and expires < now
        changed = tasks.moved(task, "completed", "answered-late" if late else "answered", at=now, outputs=outputs)
    else:
        word = "answered" if task["status"] == "completed" else "answered-late"
        changed = tasks.moved(task, task["status"], word, at=now, outputs=outputs)
    draft.transaction.update(changed, task)


def _only_item_9(scores: Sequence[Score]) -> list[Score]:
    """A draft counts only for what it says of item 9: unanswered items are no finding yet."""
    return [each for each in scores if each.item9]
