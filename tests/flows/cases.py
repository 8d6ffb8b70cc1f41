"""Requests the tests of flows send, and what they look at afterwards."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.infusion import Check, Dissociation, Escort, InfusionRecord, InfusionStatus, Route
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import DischargeRequest
from fhir_aftercare.flows.record_infusion import RecordRequest
from world import END, START

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from world import World

Resource = dict[str, Any]

LEFT = END + timedelta(minutes=90)
SAM = Escort(name="Sam Rivera", relationship="brother", phone="+1 555 0142", arranged=True)
READY = {
    "oriented": True, "walks_unaided": True, "no_acute_suicidal_intent": True, "escort_present": True,
    "written_instructions": True, "emergency_contact": True, "vomiting": 0, "nausea": 0, "moaa_s": 5,
    "dissociation": Dissociation.ABSENT,
}  # fmt: skip


def check(at: datetime, systolic: int = 126, **more: Any) -> Check:
    return Check(at=at, systolic=systolic, diastolic=80, heart_rate=74, spo2=98, **more)


def record(start: datetime = START, *, ready: bool = True, **more: Any) -> InfusionRecord:
    """Give a usual infusion of 40 minutes; ``ready``: with everything that is needed to leave 80 minutes after it."""
    end = start + timedelta(minutes=40)
    checks = [
        check(start - timedelta(minutes=10), 124, dissociation=Dissociation.ABSENT, moaa_s=5),
        check(start + timedelta(minutes=40), 146, dissociation=Dissociation.MODERATE, moaa_s=4),
    ]
    if ready:
        checks.append(check(end + timedelta(minutes=80), 126, **READY))
    values = {
        "start": start,
        "end": end,
        "status": InfusionStatus.COMPLETED,
        "dose_mg": Decimal(35),
        "route": Route.INTRAVENOUS,
        "checks": tuple(checks),
        "escort": SAM,
        **more,
    }
    return InfusionRecord(**values)


async def visit(world: World, **more: Any) -> tuple[str, str]:
    """Make a patient in an encounter and move the clock to the time of leaving."""
    patient = await world.patient()
    encounter = await world.encounter(patient, **more)
    world.clock.move_to(LEFT)
    return patient, encounter


def recording(world: World, patient: str, encounter: str | None, **more: Any) -> RecordRequest:
    given = more.pop("record", None) or record(recorded_by=world.nurse)
    return RecordRequest(patient, encounter, given, person=world.nurse, **more)


def leaving(world: World, patient: str, encounter: str | None, **more: Any) -> DischargeRequest:
    values = {"mode": "happened", "escort": "present", "escort_person": SAM, "person": world.nurse, **more}
    return DischargeRequest(patient, encounter, values.pop("left_at", LEFT), **values)


def phq9(at: datetime, answers: Sequence[int | None], **more: Any) -> Resource:
    """Give a completed PHQ-9; None leaves an item out."""
    return {
        "resourceType": "QuestionnaireResponse",
        "questionnaire": terms.QUESTIONNAIRE_PHQ9,
        "status": "completed",
        "authored": tasks.instant(at),
        "item": [
            {"linkId": f"/{item.code}", "answer": [{"valueCoding": terms.FREQUENCY_ANSWERS[answer].coding()}]}
            for item, answer in zip(terms.PHQ9_ITEMS, answers, strict=True)
            if answer is not None
        ],
        **more,
    }


def check_in(at: datetime, answers: dict[str, Any], form: str = terms.QUESTIONNAIRE_CHECK_IN) -> Resource:
    """Give a completed check-in: linkId → a value element."""
    return {
        "resourceType": "QuestionnaireResponse",
        "questionnaire": form,
        "status": "completed",
        "authored": tasks.instant(at),
        "item": [{"linkId": link, "answer": [answer]} for link, answer in answers.items()],
    }


async def of_patient(world: World, type_: str, patient: str, **more: str) -> list[Resource]:
    """Give the patient's resources of a type, as the server has them now."""
    name = "subject" if type_ in {"Observation", "Goal", "CarePlan", "ServiceRequest"} else "patient"
    found = await world.server.client().search_all(type_, {name: patient, **more})
    return found.matches


def code_of(task: Resource) -> str:
    return str(task["code"]["coding"][0]["code"])


def with_code(resources: Sequence[Resource], code: terms.Code) -> list[Resource]:
    return [each for each in resources if tasks.has_code(each, code)]


def only(resources: Sequence[Resource]) -> Resource:
    (one,) = resources
    return one
