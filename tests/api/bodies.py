"""Bodies that callers of the REST API send, for a world: the requests of ``flows.cases`` as JSON."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flows.cases import LEFT
from world import END, START

if TYPE_CHECKING:
    from world import World

Resource = dict[str, Any]

SAM = {"name": "Sam Rivera", "relationship": "brother", "phone": "+1 555 0142"}
BEFORE = {
    "at": (START - timedelta(minutes=10)).isoformat(), "systolic": 124, "diastolic": 80, "heart_rate": 74, "spo2": 98,
    "dissociation": "absent", "moaa_s": 5,
}  # fmt: skip
AFTER = {
    "at": END.isoformat(), "systolic": 146, "diastolic": 88, "heart_rate": 84, "spo2": 97,
    "dissociation": "moderate", "moaa_s": 4,
}  # fmt: skip
READY = {
    **BEFORE, "at": (END + timedelta(minutes=80)).isoformat(), "systolic": 126, "nausea": 0, "vomiting": 0,
    "oriented": True, "walks_unaided": True, "no_acute_suicidal_intent": True, "escort_present": True,
    "written_instructions": True, "emergency_contact": True,
}  # fmt: skip


def body_of_infusion(world: World, patient: str, encounter: str | None, *, ready: bool = True, **more: Any) -> Resource:
    """Give a usual infusion of 40 minutes; ``ready``: with all that is needed to leave. None leaves a field out."""
    body = {
        "patient": patient,
        "encounter": encounter,
        "status": "completed",
        "start": START.isoformat(),
        "end": END.isoformat(),
        "dose_mg": 35,
        "route": "intravenous",
        "recorded_by": world.nurse,
        "escort": {**SAM, "arranged": True},
        "checks": [BEFORE, AFTER, *([READY] if ready else [])],
        **more,
    }
    return {name: value for name, value in body.items() if value is not None}


def body_of_discharge(world: World, patient: str, encounter: str | None, **more: Any) -> Resource:
    """Give a discharge with an escort. None leaves a field out."""
    body = {
        "patient": patient,
        "encounter": encounter,
        "left_at": LEFT.isoformat(),
        "escort": "present",
        "escort_person": SAM,
        "recorded_by": world.nurse,
        **more,
    }
    return {name: value for name, value in body.items() if value is not None}


def body_of_answers(answers: Resource, patient: str) -> Resource:
    """Give a QuestionnaireResponse of ``flows.cases`` as the patient's own."""
    return {**answers, "subject": {"reference": patient}, "source": {"reference": patient}}
