"""The main job from the infusion to the Task that somebody must now act on, in the order of a real case.

Time is told by a clock that the story moves: the infusion was eight days ago, the PHQ-9 is answered now.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.infusion import Check, Dissociation, Escort, InfusionRecord, InfusionStatus, Route
from fhir_aftercare.demo import people
from fhir_aftercare.errors import NotReady
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.flows.discharge import DischargeRequest, discharge
from fhir_aftercare.flows.open_chart import open_chart
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.record_infusion import RecordRequest, record_infusion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.fhir.definitions import Protocol
    from fhir_aftercare.fhir.identifiers import Identifiers
    from fhir_aftercare.flows.clock import SettableClock
    from fhir_aftercare.flows.discharge import Discharged
    from fhir_aftercare.flows.receive_response import Received

Resource = dict[str, Any]
DAYS_AGO = 8
_WEEK = timedelta(days=7)


@dataclass(slots=True)
class Story:
    """What the demo made, by reference, and how long it took."""

    patient: str = ""
    encounter: str = ""
    care_plans: dict[str, str] = field(default_factory=dict)
    tasks: list[Resource] = field(default_factory=list)
    service_requests: list[str] = field(default_factory=list)
    observations: list[str] = field(default_factory=list)
    response: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    escalation: Resource = field(default_factory=dict)
    seconds: float = 0.0

    def as_json(self) -> Resource:
        """Give it as the one object that ``demo --json`` prints."""
        return {
            "patient": self.patient,
            "encounter": self.encounter,
            "carePlans": self.care_plans,
            "tasks": self.tasks,
            "serviceRequests": self.service_requests,
            "observations": self.observations,
            "questionnaireResponse": self.response,
            "scores": self.scores,
            "escalation": self.escalation,
            "seconds": round(self.seconds, 2),
        }


class MainJob:
    """Runs the story on one FHIR server; ``say`` is told each step and what was written."""

    def __init__(
        self,
        fhir: FhirClient,
        protocol: Protocol,
        identifiers: Identifiers,
        clock: SettableClock,
        say: Callable[[str, Sequence[str]], None],
    ) -> None:
        self._fhir, self._protocol, self._identifiers = fhir, protocol, identifiers
        self._clock, self._say = clock, say
        self._run = str(uuid.uuid4())

    async def run(self) -> Story:
        """Tell the whole story. Raises what the flows raise."""
        began, story = time.monotonic(), Story()
        now = self._clock()
        start = (now.astimezone(people.ZONE) - timedelta(days=DAYS_AGO)).replace(
            hour=13, minute=5, second=0, microsecond=0
        )
        context, nurse = await self._prepare(story, start)
        await self._baseline(context, story, start)
        record = infusion(start, nurse)
        await self._infusion(context, story, record)
        await self._readiness(context, story, record, nurse)
        discharged = await self._discharge(context, story, record, nurse)
        received = await self._answers(context, story, discharged)
        await self._look(context, story, received)
        story.seconds = time.monotonic() - began
        return story

    async def _prepare(self, story: Story, start: datetime) -> tuple[ClinicContext, str]:
        self._clock.move_to(start - timedelta(days=2))
        clinic = await people.create_clinic(self._fhir, self._identifiers)
        nurse = await people.create_nurse(self._fhir, self._identifiers)
        story.patient = await people.create_patient(self._fhir, self._identifiers, self._run)
        story.encounter = await people.create_encounter(
            self._fhir, self._identifiers, (self._run, story.patient, clinic.organization), start
        )
        context = ClinicContext(clinic, self._fhir, self._protocol, self._identifiers, clock=self._clock)
        self._say("A clinic, a nurse, a patient and the encounter of an infusion", [story.patient, story.encounter])
        return context, nurse

    async def _baseline(self, context: ClinicContext, story: Story, start: datetime) -> None:
        at = start - timedelta(days=2)
        answers = {**phq9_response(at, (2, 2, 2, 3, 2, 3, 2, 2, 0)), "source": {"reference": story.patient}}
        received = await receive_response(context, ResponseRequest(story.patient, answers))
        total = received.score.total if received.score else None
        self._say(f"PHQ-9 two days before the infusion: {total}, the baseline", [received.response])

    async def _infusion(self, context: ClinicContext, story: Story, record: InfusionRecord) -> None:
        self._clock.move_to(record.checks[-1].at + timedelta(minutes=1))
        recorded = await record_infusion(context, RecordRequest(story.patient, story.encounter, record))
        story.observations = list(recorded.observations)
        self._say(
            f"A monitored infusion recorded: {len(record.checks)} checks, {len(recorded.observations)} Observations; "
            "the plan begins as a draft",
            [each for each in (recorded.drug_record, recorded.plan, *recorded.tasks) if each],
        )

    async def _readiness(self, context: ClinicContext, story: Story, record: InfusionRecord, nurse: str) -> None:
        """Ask too early: refused, with what is missing."""
        early = (record.end or record.start) + timedelta(minutes=20)
        try:
            await discharge(
                context,
                DischargeRequest(story.patient, story.encounter, early, mode="ask", escort="present", person=nurse),
            )
        except NotReady as refused:
            self._say("May the patient go 20 minutes after the end? Refused, nothing activated", list(refused.unmet))

    async def _discharge(self, context: ClinicContext, story: Story, record: InfusionRecord, nurse: str) -> Discharged:
        discharged = await discharge(
            context,
            DischargeRequest(
                story.patient, story.encounter, self._clock(), mode="ask", escort="present",
                escort_person=record.escort, person=nurse,
            ),
        )  # fmt: skip
        story.care_plans = {"infusion": discharged.plan or "", "course": discharged.course or ""}
        story.service_requests = list(discharged.service_requests)
        self._say(
            f"Ready on all {len(discharged.panel.judged)} criteria, discharged: two CarePlans, "
            f"{len(discharged.tasks)} Tasks, {len(discharged.service_requests)} restrictions in one transaction",
            [story.care_plans["course"], story.care_plans["infusion"], *story.service_requests, *discharged.tasks],
        )
        return discharged

    async def _answers(self, context: ClinicContext, story: Story, discharged: Discharged) -> Received:
        form = await self._form_task(discharged.tasks)
        opens = tasks.window_of(form)[0]
        at = (opens or self._clock()) + timedelta(hours=3)
        self._clock.move_to(at)
        named = {"identifier": form["identifier"][0], "source": {"reference": story.patient}}
        answers = {**phq9_response(at, (2, 3, 3, 3, 2, 3, 2, 2, 1)), **named}
        received = await receive_response(context, ResponseRequest(story.patient, answers))
        story.response = received.response
        story.observations += received.observations
        if received.score is not None:
            band = received.score.band.name if received.score.band else None
            story.scores = {"phq-9": received.score.total, "band": band, "item9": received.score.item9}
        self._say(
            f"The PHQ-9 of day 7 answered: {story.scores['phq-9']} ({story.scores['band']}), item 9 above zero",
            [received.response, *received.observations],
        )
        return received

    async def _form_task(self, references: Sequence[str]) -> Resource:
        for reference in references:
            task = await self._fhir.read("Task", reference.partition("/")[2])
            if tasks.asks_for(task) == terms.QUESTIONNAIRE_PHQ9 and tasks.is_open(task):
                return task
        raise LookupError("the course asks for no PHQ-9")

    async def _look(self, context: ClinicContext, story: Story, received: Received) -> None:
        view = await open_chart(context, story.patient)
        story.tasks = [
            {
                "reference": each.reference,
                "code": each.resource["code"].get("text"),
                "state": each.state,
                "priority": each.priority,
                "due": each.due.isoformat() if each.due else None,
            }
            for each in view.open_tasks
        ]
        story.tasks += [
            {
                "reference": f"Task/{each['id']}",
                "code": each["code"].get("text"),
                "state": each["status"],
                "priority": each["priority"],
                "due": each["restriction"]["period"]["end"],
            }
            for each in view.closed_tasks
        ]
        review = next(each for each in story.tasks if each["reference"] == received.review)
        story.escalation = {**review, "reasons": [{"key": each.key, "text": each.text} for each in received.reasons]}
        self._say(
            f"Somebody must act now: {review['code']}, {review['priority']}, due {review['due']}",
            [str(received.review), *(each.text for each in received.reasons)],
        )


def infusion(start: datetime, nurse: str) -> InfusionRecord:
    """Give the record of a usual infusion: 35 mg over 40 minutes, and 80 minutes of watching."""
    end = start + timedelta(minutes=40)

    def check(minutes: int, systolic: int, diastolic: int, rate: int, spo2: int, **more: Any) -> Check:
        at = start + timedelta(minutes=minutes)
        return Check(
            at=at, systolic=systolic, diastolic=diastolic, heart_rate=rate, spo2=spo2, recorded_by=nurse, **more
        )

    absent, mild, moderate = Dissociation.ABSENT, Dissociation.MILD, Dissociation.MODERATE
    leaving = {
        "oriented": True, "walks_unaided": True, "no_acute_suicidal_intent": True, "escort_present": True,
        "written_instructions": True, "emergency_contact": True, "vomiting": 0,
    }  # fmt: skip
    return InfusionRecord(
        start=start,
        end=end,
        status=InfusionStatus.COMPLETED,
        dose_mg=Decimal(35),
        route=Route.INTRAVENOUS,
        recorded_by=nurse,
        escort=Escort(name="Sam Rivera (TEST DATA)", relationship="brother", phone="+1 555 0142", arranged=True),
        checks=(
            check(-10, 124, 78, 72, 98, dissociation=absent, moaa_s=5, nausea=0),
            check(15, 138, 84, 78, 97, moaa_s=4),
            check(30, 146, 88, 82, 97, dissociation=moderate, moaa_s=4),
            check(40, 148, 90, 84, 97, dissociation=moderate, moaa_s=4, nausea=2),
            check(55, 138, 86, 80, 97, dissociation=mild, moaa_s=4, nausea=2),
            check(70, 132, 82, 76, 98, dissociation=mild, moaa_s=5, nausea=1),
            check(120, 126, 80, 74, 98, dissociation=absent, moaa_s=5, nausea=0, **leaving),
        ),
    )


def phq9_response(at: datetime, answers: Sequence[int]) -> Resource:
    """Give a completed PHQ-9, as a form engine sends it."""
    return {
        "resourceType": "QuestionnaireResponse",
        "questionnaire": terms.QUESTIONNAIRE_PHQ9,
        "status": "completed",
        "authored": tasks.instant(at),
        "item": [
            {"linkId": f"/{item.code}", "answer": [{"valueCoding": terms.FREQUENCY_ANSWERS[answer].coding()}]}
            for item, answer in zip(terms.PHQ9_ITEMS, answers, strict=True)
        ],
    }
