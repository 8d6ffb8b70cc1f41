"""Read back a score the EHR wrote itself: a panel with its items, or a bare total (clinical §3.5).

    Observation on the server → one batch → fhir.responses → care.escalation → the Task that somebody must act on

The score stays the EHR's: it is not written again. A bare total says nothing of item 9, so somebody must ask. The Task
that asked for the form in that time is cancelled as superseded, with the score as its output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.instruments import GAD7, PHQ9, score
from fhir_aftercare.errors import InvalidInput, NotFound, WrongSubject
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.responses import read_panel, read_total
from fhir_aftercare.flows.chart import (
    Section,
    observation_section,
    patient_section,
    plan_sections,
    review_section,
    score_section,
)
from fhir_aftercare.flows.draft import Draft
from fhir_aftercare.flows.review import add_review, escalate
from fhir_aftercare.flows.settle import settle

if TYPE_CHECKING:
    from fhir_aftercare.care.escalation import Reason
    from fhir_aftercare.care.instruments import Score
    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.fhir.responses import Reading
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

_FORMS = {PHQ9.key: terms.QUESTIONNAIRE_PHQ9, GAD7.key: terms.QUESTIONNAIRE_GAD7}


@dataclass(frozen=True, slots=True)
class ObservationDecision:
    """The difference to write. References may be ``urn:uuid``."""

    transaction: Transaction
    score: Score
    reasons: tuple[Reason, ...]
    review: str | None


@dataclass(frozen=True, slots=True)
class ObservationReceived:
    """What the score says, and the Task that somebody must act on (``Type/id``), if any."""

    score: Score
    reasons: tuple[Reason, ...]
    review: str | None
    changed: bool


async def receive_observation(context: ClinicContext, patient: str, observation: str) -> ObservationReceived:
    """Look at a score on the server (``observation`` is ``Observation/1``) and make sure that somebody acts.

    Raises ``NotFound``, ``WrongSubject``, ``InvalidInput`` if it is no PHQ-9 or GAD-7, and what failures of the FHIR
    server become; nothing is written then.
    """
    settled = await settle(
        context, patient, sections(patient, observation), lambda chart: decide(context, patient, observation, chart)
    )
    decision = settled.decision
    review = settled.reference(decision.review) if decision.review else None
    return ObservationReceived(decision.score, decision.reasons, review, settled.wrote)


def sections(patient: str, observation: str) -> list[Section]:
    """Give what is read for it, in one batch."""
    return [
        patient_section(patient),
        *plan_sections(patient),
        review_section(patient),
        score_section(patient),
        observation_section(observation),
    ]


def decide(context: ClinicContext, patient: str, observation: str, chart: Chart) -> ObservationDecision:
    """Compare what the score calls for with what the chart has. Pure."""
    reading = _read(patient, observation, chart)
    if reading.answers is None:
        raise InvalidInput("The Observation is no score that is understood.", where="observation.code")
    scored = score(reading.answers)
    draft = Draft(context, chart, patient)
    reasons = tuple(escalate(draft, reading.authored, scored=scored))
    review = add_review(draft, reasons, observation, reading.authored)
    _supersede(draft, scored, reading, observation)
    draft.sign([context.protocol.course.canonical], person=None, sources=[observation])
    return ObservationDecision(draft.transaction, scored, reasons, review)


def _read(patient: str, observation: str, chart: Chart) -> Reading:
    id_ = observation.rpartition("/")[2]
    resource = next((each for each in chart.of("Observation") if each["id"] == id_), None)
    if resource is None:
        raise NotFound("The Observation is not on this FHIR server.", where="reference")
    if not str((resource.get("subject") or {}).get("reference", "")).endswith(patient):
        raise WrongSubject("The Observation is another patient's.", where="observation.subject")
    names = [str(each.get("reference", "")).rpartition("/")[2] for each in resource.get("hasMember") or ()]
    members = [each for each in chart.of("Observation") if each["id"] in names]
    return read_panel(resource, members) if members else read_total(resource)


def _supersede(draft: Draft, scored: Score, reading: Reading, observation: str) -> None:
    form = _FORMS.get(scored.instrument.key)
    for task in draft.chart.of("Task"):
        if form and tasks.is_open(task) and tasks.asks_for(task) == form and tasks.is_in_window(task, reading.authored):
            output = tasks.score_output(observation)
            moved = tasks.moved(task, "cancelled", "superseded", at=draft.now, reason="superseded", outputs=[output])
            draft.transaction.update(moved, task)
            return
