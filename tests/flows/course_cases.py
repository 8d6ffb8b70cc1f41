"""A course of infusions as a clinic lives it, for the tests of what is asked when: infusions, answers, looks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from facts import with_action
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import DischargeRequest, discharge
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import SAM, check_in, of_patient, phq9, record, recording
from world import END, NEW_YORK

if TYPE_CHECKING:
    from datetime import date, datetime

    from fhir_aftercare.fhir.definitions import Protocol
    from fhir_aftercare.flows.discharge import Discharged
    from fhir_aftercare.flows.receive_response import Received
    from world import World

Resource = dict[str, Any]

WELL = (1, 1, 1, 1, 1, 1, 1, 0, 0)


def after(days: float, hour: int | None = None) -> datetime:
    """Give the time so many days after the first infusion ended, or that day at an hour in New York."""
    at = local(utc(END) + timedelta(days=days), NEW_YORK)
    return at if hour is None else at.replace(hour=hour, minute=0)


async def infusion(world: World, patient: str, end: datetime = END, **more: Any) -> Discharged:
    """Record an infusion with all that is needed to leave, and let the patient go 90 minutes after it."""
    start = local(utc(end) - timedelta(minutes=40), NEW_YORK)
    encounter = await world.encounter(patient, period={"start": tasks.instant(start)})
    world.clock.move_to(utc(end) + timedelta(minutes=90))
    recorded = record(start, recorded_by=world.nurse, **more.pop("record", {}))
    await record_infusion(world.context, recording(world, patient, encounter, record=recorded))
    request = DischargeRequest(
        patient,
        encounter,
        local(utc(end) + timedelta(minutes=90), NEW_YORK),
        **{"escort": "present", "escort_person": SAM, "person": world.nurse, **more},
    )
    done = await discharge(world.context, request)
    world.round_trips()
    return done


async def answer(world: World, patient: str, at: datetime, answers: tuple[int | None, ...] = WELL) -> Received:
    """Answer a PHQ-9 now, which is ``at``."""
    world.clock.move_to(at)
    received = await receive_response(world.context, ResponseRequest(patient, phq9(at, answers)))
    world.round_trips()
    return received


async def answer_check_ins(world: World, patient: str) -> None:
    """Answer the check-ins of days 1 and 3."""
    for day in (1, 3):
        at = after(day, 10)
        world.clock.move_to(at)
        answers = check_in(at, {"feels-worse": {"valueBoolean": False}})
        await receive_response(world.context, ResponseRequest(patient, answers))


async def ehr_score(world: World, patient: str, at: datetime, total: int) -> Resource:
    """Let the EHR write a PHQ-9 total, which we are told nothing of."""
    return await world.server.client().create(
        {
            "resourceType": "Observation",
            "status": "final",
            "category": [terms.SURVEY.concept()],
            "code": terms.PHQ9_TOTAL.concept(),
            "subject": {"reference": patient},
            "effectiveDateTime": tasks.instant(at),
            "valueQuantity": {"value": total, "unit": "{score}", "system": terms.UCUM, "code": "{score}"},
        }
    )


async def forms(world: World, patient: str, form: str = terms.QUESTIONNAIRE_PHQ9) -> list[Resource]:
    """Give the Tasks of the course that ask for a form, in order of time."""
    course = [f"CarePlan/{each['id']}" for each in await of_patient(world, "CarePlan", patient) if is_course(each)]
    found = [
        each
        for each in await of_patient(world, "Task", patient)
        if tasks.asks_for(each) == form and each["basedOn"][0]["reference"] in course
    ]
    return sorted(found, key=lambda each: utc(opens(each)))


def opens(task: Resource) -> datetime:
    found = tasks.window_of(task)[0]
    assert found is not None
    return found


def days(found: list[Resource], *statuses: str) -> list[int]:
    """Give on which days after the first infusion forms open; only those of some statuses, if any are given."""
    return [(opened(each) - END.date()).days for each in found if not statuses or each["status"] in statuses]


def opened(task: Resource) -> date:
    return local(opens(task), NEW_YORK).date()


def is_course(plan: Resource) -> bool:
    return any(each["code"] == "course" for concept in plan["category"] for each in concept["coding"])


def business(task: Resource) -> str:
    return str(task["businessStatus"]["coding"][0]["code"])


async def plan_of(world: World, reference: str | None) -> Resource:
    assert reference is not None
    return await world.server.client().read(*reference.split("/"))


def changed_protocol(protocol: Protocol, *, with_old: bool = True) -> Protocol:
    """Give the protocol with a new version of the course, whose weekly PHQ-9 begins on day 5; the old one beside it."""
    old = protocol.course
    action = next(each for each in old.actions if each.id == "phq-9-weekly")
    related = tuple(
        replace(
            each,
            low=each.low and replace(each.low, value=each.low.value - 2),
            target=replace(each.target, value=each.target.value - 2),
        )
        for each in action.related
    )
    edited = with_action(protocol, old, "phq-9-weekly", related=related).plans[old.canonical]
    new = replace(edited, version="2.0.0")
    plans = {name: plan for name, plan in protocol.plans.items() if with_old or name != old.canonical}
    return replace(protocol, plans={**plans, new.canonical: new})
