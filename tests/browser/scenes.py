"""Patients prepared for pages to be looked at: from nothing recorded to a course of six infusions. TEST DATA.

    scene = await prepared(world, running)       # made once in each world; looked at when its clock says ``scene.now``

Each function below makes one patient through the flows of the service, as people would have through its doors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.infusion import Check, Dissociation, InfusionRecord, InfusionStatus
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.move_task import Move, MoveRequest, move_task
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import LEFT, READY, SAM, check_in, leaving, of_patient, only, phq9, record, recording, with_code
from flows.course_cases import ehr_score, infusion
from world import END, START

if TYPE_CHECKING:
    from world import World

Resource = dict[str, Any]

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# The day after a Wednesday's infusion, on which the worklist is looked at.
THURSDAY = START.replace(hour=14, minute=30) + 8 * DAY
# On which days of a course, and the PHQ-9 totals of each week of one that helps, from before the first infusion.
INFUSED = (0, 2, 7, 9, 14, 16)
HELPED = (21, 19, 16, 14, 11, 8, 6)


@dataclass(frozen=True, slots=True)
class Scene:
    """A patient's id, the visit's, if there is one, and when both are looked at."""

    patient: str
    visit: str | None
    now: datetime


Prepare = Callable[["World"], Awaitable[Scene]]


async def prepared(world: World, prepare: Prepare) -> Scene:
    """Give a scene of a world, made when it is first asked for."""
    name = prepare.__name__
    if name not in world.scenes:
        world.scenes[name] = await prepare(world)
    return world.scenes[name]


# --- before, during and after an infusion ----------------------------------------------------------------------------


async def nobody(world: World) -> Scene:
    """A patient of whom nothing is known here."""
    patient = await _person(world, "Silva, Joana", "female", "1990-11-02")
    return Scene(_id(patient), None, START)


async def waiting(world: World) -> Scene:
    """The visit has begun, nothing is recorded yet."""
    patient = await _person(world, "Chen, Wei", "male", "1979-07-30")
    visit = await world.encounter(patient)
    return Scene(_id(patient), _id(visit), START - 5 * MINUTE)


async def running(world: World) -> Scene:
    """The infusion runs since 21 minutes; the last check is out of bounds twice."""
    patient = await _person(world, "Rivera, Ana", "female", "1988-03-04")
    return await _begun(world, patient, _rows(world)[:3], now=START + 21 * MINUTE)


async def unconfirmed(world: World) -> Scene:
    """The same with two checks, for who types the third."""
    patient = await _person(world, "Novak, Petra", "female", "1995-01-19")
    return await _begun(world, patient, _rows(world)[:2], now=START + 16 * MINUTE)


async def ended(world: World) -> Scene:
    """The infusion has ended half an hour ago; the patient may not leave yet."""
    patient = await _person(world, "Okoro, Ife", "female", "1972-12-24")
    return await _finished(world, patient, _rows(world)[:4], now=END + 30 * MINUTE)


async def ready(world: World) -> Scene:
    """All that is needed to leave is recorded, and nothing is signed."""
    patient = await _person(world, "Laurent, Luc", "male", "1964-05-11")
    return await _finished(world, patient, _rows(world), now=END + 85 * MINUTE)


async def left(world: World) -> Scene:
    """The patient has left, the plan is in force."""
    patient = await _person(world, "Haddad, Nour", "female", "1985-02-28")
    scene = await _finished(world, patient, _rows(world), now=LEFT + 5 * MINUTE)
    world.clock.move_to(LEFT)
    await discharge(world.context, leaving(world, patient, f"Encounter/{scene.visit}"))
    return scene


# --- weeks of aftercare ----------------------------------------------------------------------------------------------


async def one_score(world: World) -> Scene:
    """One infusion, and the answers of a week later."""
    patient = await _person(world, "Kim, Min-jun", "male", "2001-04-17")
    await _aftercare(world, patient)
    await _answers(world, patient, START + 7 * DAY, 14)
    return Scene(_id(patient), None, START + 7 * DAY + 60 * MINUTE)


async def course(world: World) -> Scene:
    """Six infusions in three weeks, and seven answered PHQ-9 and GAD-7."""
    patient = await _person(world, "Rossi, Elena", "female", "1981-09-09")
    begins, totals = START - 49 * DAY, iter(HELPED)
    await _answers(world, patient, begins - DAY, next(totals))
    for days in range(42):
        if days in INFUSED:
            await _infused(world, patient, begins + days * DAY)
        if days % 7 == 6:
            await _answers(world, patient, begins + days * DAY, next(totals))
            await _check_in(world, patient, begins + days * DAY, terms.QUESTIONNAIRE_WEEKLY)
    return Scene(_id(patient), None, begins + 43 * DAY)


async def years(world: World) -> Scene:
    """One infusion after five years in which the EHR kept sixty totals."""
    patient = await _person(world, "Fischer, Jonas", "male", "1958-08-08")
    for month in range(60):
        await ehr_score(world, patient, START - (month + 1) * 30 * DAY, (month * 7) % 28)
    await infusion(world, patient)
    return Scene(_id(patient), None, LEFT + DAY)


async def escalated(world: World) -> Scene:
    """A week after the infusion item 9 was answered, an hour and a half ago."""
    patient = await _person(world, "Marsh, Owen", "male", "1993-06-21", phone="+1 555 0117")
    await _aftercare(world, patient)
    await _phq9(world, patient, THURSDAY - 88 * MINUTE, (2, 2, 2, 2, 2, 2, 2, 2, 1))
    return Scene(_id(patient), None, THURSDAY)


async def claimed(world: World) -> Scene:
    """The nurse has taken a review that an answer to item 9 had raised."""
    patient = await _person(world, "Weber, Lena", "female", "1990-12-01", phone="+1 555 0123")
    await _aftercare(world, patient)
    await _phq9(world, patient, THURSDAY - 3 * HOUR, (2, 2, 2, 2, 2, 2, 2, 2, 2))
    await _moves(world, patient, terms.CLINICAL_REVIEW, THURSDAY - MINUTE, "claim")
    return Scene(_id(patient), None, THURSDAY)


async def missed_call(world: World) -> Scene:
    """The patient was called twice and did not answer."""
    patient = await _person(world, "Adeyemi, Tola", "female", "1976-10-03", phone="+1 555 0142")
    await _answers(world, patient, END + 6 * DAY, 18)
    await infusion(world, patient, END + 7 * DAY)
    await _moves(world, patient, terms.TEACH_BACK, END + 7 * DAY + 100 * MINUTE, "complete")
    for hours in (5, 3):
        tried = THURSDAY - hours * HOUR
        again = tried + 2 * HOUR
        await _moves(world, patient, terms.FOLLOW_UP_CALL, tried, "attempt", outcome="no-answer", next_try=again)
    return Scene(_id(patient), None, THURSDAY)


# --- across patients -------------------------------------------------------------------------------------------------


async def working_day(world: World) -> Scene:
    """What the worklist of a Thursday is about."""
    for each in (one_score, escalated, missed_call):
        scene = await prepared(world, each)
    return replace(scene, now=THURSDAY)


async def crowded(world: World) -> Scene:
    """A week in which nobody did what was due for a dozen patients."""
    for number in range(12):
        patient = await _person(world, f"Doe-{number}, Alexandra", "female", "1970-01-01")
        await infusion(world, patient, END + number * HOUR / 4)
    return Scene(_id(patient), None, THURSDAY)


async def room(world: World) -> Scene:
    """Infusions that run, and some that have ended, in one room."""
    for each in (running, unconfirmed, ended, ready):
        await prepared(world, each)
    return replace(world.scenes["running"], now=START + 21 * MINUTE)


# --- parts -----------------------------------------------------------------------------------------------------------


async def _person(world: World, name: str, gender: str, born: str, phone: str = "+1 555 0150") -> str:
    family, given = name.split(", ")
    kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
    stored = await world.server.client().create(
        {
            "resourceType": "Patient",
            "identifier": [{"type": kind, "system": "urn:oid:2.16.840.1.113883.19.5", "value": born.replace("-", "")}],
            "name": [{"family": family, "given": [given]}],
            "gender": gender,
            "birthDate": born,
            "telecom": [{"system": "phone", "value": phone}],
        }
    )
    return f"Patient/{stored['id']}"


def _id(reference: str) -> str:
    return reference.partition("/")[2]


def _rows(world: World) -> list[Check]:
    """Give the checks of one afternoon: well before, out of bounds once, well again, everything needed to leave."""

    def row(minutes: int, systolic: int, diastolic: int, heart_rate: int, spo2: int, **more: Any) -> Check:
        values = {"systolic": systolic, "diastolic": diastolic, "heart_rate": heart_rate, "spo2": spo2}
        return Check(START + minutes * MINUTE, **values, respiratory_rate=14, recorded_by=world.nurse, **more)

    return [
        row(-10, 128, 79, 74, 98, dissociation=Dissociation.ABSENT, moaa_s=5, nausea=0),
        row(15, 146, 88, 81, 97, dissociation=Dissociation.MODERATE, moaa_s=4, nausea=1),
        row(20, 182, 101, 96, 93, dissociation=Dissociation.MODERATE, moaa_s=4, nausea=2),
        row(55, 138, 84, 79, 97, dissociation=Dissociation.MILD, moaa_s=5, nausea=0),
        row(120, 126, 80, 74, 98, **READY),
    ]


async def _begun(world: World, patient: str, rows: list[Check], *, now: datetime) -> Scene:
    begun = record(end=None, status=InfusionStatus.IN_PROGRESS, checks=tuple(rows), recorded_by=world.nurse)
    return await _recorded(world, patient, begun, now)


async def _finished(world: World, patient: str, rows: list[Check], *, now: datetime) -> Scene:
    return await _recorded(world, patient, record(checks=tuple(rows), recorded_by=world.nurse), now)


async def _recorded(world: World, patient: str, infused: InfusionRecord, now: datetime) -> Scene:
    visit = await world.encounter(patient)
    world.clock.move_to(now)
    await record_infusion(world.context, recording(world, patient, visit, record=replace(infused, escort=SAM)))
    return Scene(_id(patient), _id(visit), now)


async def _aftercare(world: World, patient: str) -> None:
    """Score before the infusion, give it, and follow it up."""
    await _answers(world, patient, START - DAY, 18)
    await _infused(world, patient, START)


async def _infused(world: World, patient: str, start: datetime) -> None:
    """Give an infusion, teach the patient, reach the patient the next day, have both check-ins answered."""
    await infusion(world, patient, start + 40 * MINUTE)
    await _moves(world, patient, terms.TEACH_BACK, start + 2 * HOUR, "complete")
    await _moves(world, patient, terms.FOLLOW_UP_CALL, start + 22 * HOUR, "attempt", outcome="reached")
    for days in (1, 3):
        await _check_in(world, patient, start + days * DAY)


async def _moves(world: World, patient: str, work: terms.Code, at: datetime, move: Move, **more: Any) -> None:
    """Have the nurse move the patient's one open Task of a kind."""
    world.clock.move_to(at)
    task = only([each for each in with_code(await of_patient(world, "Task", patient), work) if tasks.is_open(each)])
    await move_task(world.context, MoveRequest(f"Task/{task['id']}", move, person=world.nurse, **more))


async def _answers(world: World, patient: str, at: datetime, total: int) -> None:
    """Have both forms answered: the PHQ-9 with a total and nothing at item 9, the GAD-7 alike."""
    spread = tuple(total // 8 + (number < total % 8) for number in range(8))
    await _phq9(world, patient, at, (*spread, 0))
    await _respond(world, patient, at, _gad7(at, spread[:7]))


async def _phq9(world: World, patient: str, at: datetime, answers: tuple[int, ...]) -> None:
    await _respond(world, patient, at, phq9(at, answers, source={"reference": patient}))


async def _check_in(world: World, patient: str, at: datetime, form: str = terms.QUESTIONNAIRE_CHECK_IN) -> None:
    await _respond(world, patient, at, check_in(at, {"feels-worse": {"valueBoolean": False}}, form))


async def _respond(world: World, patient: str, at: datetime, response: Resource) -> None:
    world.clock.move_to(at)
    await receive_response(world.context, ResponseRequest(patient, response))


def _gad7(at: datetime, answers: tuple[int, ...]) -> Resource:
    items = [
        {"linkId": f"/{item.code}", "answer": [{"valueCoding": terms.FREQUENCY_ANSWERS[answer].coding()}]}
        for item, answer in zip(terms.GAD7_ITEMS, answers, strict=True)
    ]
    form = {"questionnaire": terms.QUESTIONNAIRE_GAD7, "status": "completed", "authored": tasks.instant(at)}
    return {"resourceType": "QuestionnaireResponse", **form, "item": items}
