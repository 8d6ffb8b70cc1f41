"""A discharge ends in one right plan: asked or happened, ready or not, once or many times."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from fhir_aftercare.care.infusion import Dissociation
from fhir_aftercare.care.plan import CallWish
from fhir_aftercare.care.readiness import Override
from fhir_aftercare.errors import InvalidInput, NotAnInfusion, NotReady
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import discharge, preview_discharge, readiness
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import LEFT, READY, check, code_of, leaving, of_patient, only, record, recording, visit, with_code
from world import END, NEW_YORK, START, make_world

if TYPE_CHECKING:
    from servers import Server
    from world import World


async def recorded(world: World, **more: object) -> tuple[str, str]:
    patient, encounter = await visit(world)
    await record_infusion(
        world.context, recording(world, patient, encounter, record=record(recorded_by=world.nurse, **more))
    )
    world.round_trips()
    return patient, encounter


# --- asked -----------------------------------------------------------------------------------------------------------
async def test_who_is_not_ready_is_refused_with_what_is_missing_and_nothing_is_activated(world: World) -> None:
    patient, encounter = await recorded(world, ready=False)
    with pytest.raises(NotReady) as refused:
        await discharge(world.context, leaving(world, patient, encounter, mode="ask"))
    assert "sedation-resolved" in refused.value.unmet
    assert only(await of_patient(world, "CarePlan", patient))["status"] == "draft"
    assert world.round_trips() == ["batch"]


async def test_who_is_ready_goes_and_everything_owed_is_there(world: World) -> None:
    patient, encounter = await recorded(world)
    done = await discharge(world.context, leaving(world, patient, encounter, mode="ask"))
    assert world.round_trips() == ["batch", "transaction"]
    plans = await of_patient(world, "CarePlan", patient)
    assert {f"CarePlan/{each['id']}": each["status"] for each in plans} == {done.plan: "active", done.course: "active"}
    infusion = only([each for each in plans if f"CarePlan/{each['id']}" == done.plan])
    assert infusion["partOf"] == [{"reference": done.course}]
    listed = {each["reference"]["reference"] for each in infusion["activity"]}
    assert set(done.service_requests) <= listed
    made = await of_patient(world, "Task", patient)
    assert {f"Task/{each['id']}" for each in made} == set(done.tasks)
    assert {code_of(each) for each in made} == {
        "escort-home", terms.TEACH_BACK.code, terms.FOLLOW_UP_CALL.code, "complete-questionnaire",
    }  # fmt: skip
    assert only(with_code(made, terms.ESCORT_HOME))["status"] == "completed"
    assert len(done.goals) == 3


async def test_the_call_is_when_and_where_it_was_agreed_with_the_patient(world: World) -> None:
    patient, encounter = await recorded(world)
    opens = (END + timedelta(days=1)).replace(hour=15, minute=0)
    wish = CallWish(opens, opens + timedelta(hours=2), "+1 555 0101")
    await discharge(world.context, leaving(world, patient, encounter, call=wish))
    call = only(with_code(await of_patient(world, "Task", patient), terms.FOLLOW_UP_CALL))
    assert tasks.window_of(call)[:2] == (opens, opens + timedelta(hours=2))
    assert "+1 555 0101" in [each.get("valueString") for each in call["input"]]


async def test_a_call_the_protocol_does_not_allow_writes_nothing(world: World) -> None:
    patient, encounter = await recorded(world)
    wish = CallWish(due=END + timedelta(days=9))
    with pytest.raises(InvalidInput) as refused:
        await discharge(world.context, leaving(world, patient, encounter, call=wish))
    assert refused.value.where == ("call.due",)
    assert only(await of_patient(world, "CarePlan", patient))["status"] == "draft"


async def test_an_override_needs_name_time_and_reason_and_is_recorded(world: World) -> None:
    patient, encounter = await recorded(world, ready=False)
    given = Override(
        by=world.nurse, by_name="Ngozi Okafor", at=LEFT, reason="Seen by the prescriber, goes with two adults"
    )
    done = await discharge(world.context, leaving(world, patient, encounter, mode="ask", override=given))
    assert done.panel.may_leave
    assert not done.panel.ready
    found = await world.server.client().search_all("Provenance", {"target": str(done.plan)})
    assert given.reason in [each["reason"][0]["text"] for each in found.matches if each.get("reason")]
    with pytest.raises(InvalidInput):
        Override(by=world.nurse, by_name="Ngozi Okafor", at=LEFT, reason=" ")


# --- happened --------------------------------------------------------------------------------------------------------
async def test_leaving_before_ready_makes_the_plan_and_one_urgent_task_that_names_what_was_missing(
    world: World,
) -> None:
    patient, encounter = await recorded(world, ready=False)
    done = await discharge(world.context, leaving(world, patient, encounter))
    assert done.plan
    task = only(with_code(await of_patient(world, "Task", patient), terms.DISCHARGED_NOT_READY))
    assert task["priority"] == "urgent"
    named = {each["valueString"] for each in task["input"]}
    assert named == {each.criterion.value for each in done.panel.unmet}
    assert all(name in task["description"] for name in named)


async def test_a_discharge_without_a_start_makes_it_all_at_once(world: World) -> None:
    patient, encounter = await visit(world)
    request = leaving(world, patient, encounter, start=START, end=END)
    done = await discharge(world.context, request)
    assert world.round_trips() == ["batch", "transaction"]
    assert {each["status"] for each in await of_patient(world, "CarePlan", patient)} == {"active"}
    assert {code_of(each) for each in await of_patient(world, "Task", patient)} >= {
        "escort-home",
        "discharged-not-ready",
    }
    assert done.course


async def test_nobody_recorded_an_escort_so_somebody_asks_within_two_hours(world: World) -> None:
    patient, encounter = await recorded(world)
    await discharge(world.context, leaving(world, patient, encounter, escort=None))
    task = only(with_code(await of_patient(world, "Task", patient), terms.CONFIRM_ARRIVED_HOME))
    assert task["priority"] == "asap"
    assert tasks.window_of(task)[1] <= END + timedelta(hours=2)  # type: ignore[operator]


async def test_who_left_alone_is_called_the_same_evening(world: World) -> None:
    patient, encounter = await recorded(world)
    await discharge(world.context, leaving(world, patient, encounter, escort="left-alone"))
    made = await of_patient(world, "Task", patient)
    escort = only(with_code(made, terms.ESCORT_HOME))
    assert (escort["status"], escort["statusReason"]["coding"][0]["code"]) == ("failed", "left-alone")
    call = only(with_code(made, terms.SAME_EVENING_CALL))
    assert tasks.window_of(call)[1].astimezone(NEW_YORK).date() == START.date()  # type: ignore[union-attr]


async def test_news_of_the_escort_after_the_discharge_closes_the_escort_task(world: World) -> None:
    patient, encounter = await recorded(world)
    await discharge(world.context, leaving(world, patient, encounter, escort=None))
    await discharge(world.context, leaving(world, patient, encounter, escort="left-alone"))
    made = await of_patient(world, "Task", patient)
    assert only(with_code(made, terms.ESCORT_HOME))["status"] == "failed"
    assert len(with_code(made, terms.SAME_EVENING_CALL)) == 1


# --- the same one plan -----------------------------------------------------------------------------------------------
async def test_the_same_discharge_again_changes_nothing(world: World) -> None:
    patient, encounter = await recorded(world)
    first = await discharge(world.context, leaving(world, patient, encounter))
    world.round_trips()
    again = await discharge(world.context, leaving(world, patient, encounter, left_at=LEFT + timedelta(seconds=1)))
    assert again == replace(first, panel=again.panel, changed=False)
    assert world.round_trips() == ["batch"]


@pytest.mark.parametrize("started", [True, False])
async def test_twenty_at_once_from_as_many_processes_leave_one_plan(world: World, started: bool) -> None:
    patient, encounter = await recorded(world) if started else await visit(world)
    request = leaving(world, patient, encounter, start=START, end=END)
    processes = [world.another_process() for _ in range(20)]
    results = await asyncio.gather(*(discharge(each, request) for each in processes))
    assert len({(each.plan, each.course) for each in results}) == 1
    assert len(await of_patient(world, "CarePlan", patient)) == 2
    made = await of_patient(world, "Task", patient)
    identifiers = [each["identifier"][0]["value"] for each in made]
    assert len(identifiers) == len(set(identifiers))
    assert len(with_code(made, terms.FOLLOW_UP_CALL)) == 1
    assert len(await of_patient(world, "ServiceRequest", patient)) == 2
    assert len(await of_patient(world, "Goal", patient)) == 3


async def test_twenty_equal_records_at_once_leave_one_of_everything(world: World) -> None:
    patient, encounter = await visit(world)
    request = recording(world, patient, encounter)
    results = await asyncio.gather(*(record_infusion(world.another_process(), request) for _ in range(20)))
    assert len({each.plan for each in results}) == 1
    assert len({each.observations for each in results}) == 1
    assert len(await of_patient(world, "Observation", patient)) == len(results[0].observations)


# --- what an infusion is ---------------------------------------------------------------------------------------------
async def test_any_other_encounter_writes_nothing(world: World) -> None:
    patient, encounter = await visit(world)
    with pytest.raises(NotAnInfusion):
        await discharge(world.context, leaving(world, patient, encounter))
    assert await of_patient(world, "Task", patient) == []


async def test_a_listed_encounter_type_is_an_infusion_whose_end_is_the_encounters(world: World) -> None:
    code = ("http://clinic.example.org/types", "ketamine")
    context = replace(world.context, clinic=replace(world.context.clinic, infusion_encounters=frozenset({code})))
    patient, encounter = await visit(
        world,
        type=[{"coding": [{"system": code[0], "code": code[1]}]}],
        status="finished",
        period={"start": START.isoformat(), "end": END.isoformat()},
    )
    done = await discharge(context, leaving(world, patient, encounter))
    plan = await world.server.client().read("CarePlan", str(done.plan).partition("/")[2])
    assert {"url": terms.EXT_ANCHOR_ESTIMATED, "valueBoolean": True} in plan["extension"]
    assert plan["period"]["start"] == tasks.instant(END)
    assert with_code(await of_patient(world, "Task", patient), terms.CONFIRM_END) == []


async def test_an_end_nobody_knows_is_asked_for_and_driving_waits_for_a_person(world: World) -> None:
    patient, encounter = await visit(world)
    done = await discharge(world.context, leaving(world, patient, encounter, start=START))
    assert len(with_code(await of_patient(world, "Task", patient), terms.CONFIRM_END)) == 1
    words = [each["patientInstruction"] for each in await of_patient(world, "ServiceRequest", patient)]
    assert any("until our clinic says" in each or "clinic" in each for each in words)
    assert done.plan


# --- no driving ------------------------------------------------------------------------------------------------------
async def test_the_driving_restriction_reads_as_a_prohibition_and_ends_the_next_morning(world: World) -> None:
    patient, encounter = await recorded(world)
    await discharge(world.context, leaving(world, patient, encounter))
    driving = only(with_code(await of_patient(world, "ServiceRequest", patient), terms.DRIVE_VEHICLE))
    assert driving["doNotPerform"] is True
    assert driving["code"]["text"] == "Do not drive or operate machinery"
    assert driving["occurrencePeriod"] == {"start": tasks.instant(END), "end": "2026-09-17T07:00:00-04:00"}
    assert "07:00 on Thursday, September 17" in driving["patientInstruction"]
    teach = only(with_code(await of_patient(world, "Task", patient), terms.TEACH_BACK))
    assert teach["reasonReference"]["reference"] == f"ServiceRequest/{driving['id']}"
    assert "focus" not in teach


@pytest.mark.parametrize(
    ("end", "release"),
    [
        ("2026-03-07T15:45:00-05:00", "2026-03-08T07:00:00-04:00"),
        ("2026-03-07T21:00:00-05:00", "2026-03-08T10:00:00-04:00"),
        ("2026-10-31T20:30:00-04:00", "2026-11-01T07:30:00-05:00"),
    ],
)
async def test_on_days_when_the_clocks_change(sandbox: Server, end: str, release: str) -> None:
    ended = datetime.fromisoformat(end)
    world = await make_world(sandbox, now=ended + timedelta(minutes=95))
    patient = await world.patient()
    encounter = await world.encounter(patient, period={"start": tasks.instant(ended - timedelta(minutes=40))})
    await discharge(
        world.context,
        leaving(
            world,
            patient,
            encounter,
            left_at=ended + timedelta(minutes=90),
            start=ended - timedelta(minutes=40),
            end=ended,
        ),
    )
    driving = only(with_code(await of_patient(world, "ServiceRequest", patient), terms.DRIVE_VEHICLE))
    assert driving["occurrencePeriod"]["end"] == release


async def test_a_patient_who_sleeps_elsewhere_has_the_dates_of_there(world: World) -> None:
    patient, encounter = await recorded(world)
    await discharge(world.context, leaving(world, patient, encounter, zone="America/Los_Angeles", zone_unsure=True))
    driving = only(with_code(await of_patient(world, "ServiceRequest", patient), terms.DRIVE_VEHICLE))
    ends = datetime.fromisoformat(driving["occurrencePeriod"]["end"])
    assert ends == datetime(2026, 9, 17, 7, 0, tzinfo=ZoneInfo("America/Los_Angeles"))


# --- the course ------------------------------------------------------------------------------------------------------
async def test_the_next_infusion_joins_the_course_and_replaces_the_forms_of_the_tail(world: World) -> None:
    patient, encounter = await recorded(world)
    first = await discharge(world.context, leaving(world, patient, encounter))
    later = START + timedelta(days=3)
    second = await world.encounter(patient, period={"start": tasks.instant(later)})
    world.clock.move_to(later + timedelta(minutes=130))
    done = await discharge(
        world.context,
        leaving(
            world,
            patient,
            second,
            left_at=later + timedelta(minutes=130),
            start=later,
            end=later + timedelta(minutes=40),
        ),
    )
    assert done.course == first.course
    assert done.plan != first.plan
    forms = [
        each for each in await of_patient(world, "Task", patient) if tasks.asks_for(each) == terms.QUESTIONNAIRE_PHQ9
    ]
    due = sorted(
        tasks.window_of(each)[0].date()
        for each in forms
        if each["status"] == "requested" and tasks.window_of(each)[0]  # type: ignore[union-attr]
    )
    assert all((b - a).days >= 5 for a, b in itertools.pairwise(due[1:]))


# --- the panel -------------------------------------------------------------------------------------------------------
async def test_readiness_reads_vital_signs_whoever_wrote_them(world: World) -> None:
    patient, encounter = await visit(world)
    almost = {name: value for name, value in READY.items() if name != "moaa_s"}
    checks = (
        check(START - timedelta(minutes=10), 124, dissociation=Dissociation.ABSENT, moaa_s=5),
        check(END + timedelta(minutes=80), **{**almost, "moaa_s": 5}),
    )
    await record_infusion(world.context, recording(world, patient, encounter, record=record(checks=checks)))
    monitor = {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [terms.VITAL_SIGNS.coding()]}],
        "code": {"coding": [terms.SPO2_PULSE_OX.coding(), terms.SPO2_ARTERIAL.coding()]},
        "subject": {"reference": patient},
        "effectiveDateTime": tasks.instant(END + timedelta(minutes=85)),
        "valueQuantity": {"value": 88, "unit": "%", "system": terms.UCUM, "code": "%"},
    }
    stored = await world.server.client().create(monitor)
    panel = await readiness(world.context, leaving(world, patient, encounter))
    (spo2,) = [each for each in panel.judged if each.criterion.value == "spo2-acceptable-on-air"]
    assert spo2.state.value == "not-met"
    assert f"Observation/{stored['id']}" in spo2.rests_on


# --- who wrote it ----------------------------------------------------------------------------------------------------
async def test_one_provenance_names_the_protocol_the_software_and_the_person(world: World) -> None:
    patient, encounter = await recorded(world)
    done = await discharge(world.context, leaving(world, patient, encounter))
    found = (await world.server.client().search_all("Provenance", {"target": str(done.course)})).matches
    signed = only(found)
    assert f"{terms.PLAN_INFUSION}|1.0.0" in signed["policy"]
    who = [each["who"]["reference"] for each in signed["agent"]]
    assert world.nurse in who
    device = await world.server.client().read(
        "Device", next(each for each in who if each.startswith("Device/")).partition("/")[2]
    )
    assert device["deviceName"][0]["name"] == "fhir-aftercare"
    assert {done.plan, *done.service_requests} <= {each["reference"] for each in signed["target"]}


async def test_a_preview_is_the_bundle_and_writes_nothing(world: World) -> None:
    patient, encounter = await recorded(world)
    bundle = await preview_discharge(world.context, leaving(world, patient, encounter))
    assert bundle["type"] == "transaction"
    assert {each["resource"]["resourceType"] for each in bundle["entry"]} >= {
        "CarePlan",
        "ServiceRequest",
        "Goal",
        "Task",
    }
    assert only(await of_patient(world, "CarePlan", patient))["status"] == "draft"


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"left_at": LEFT + timedelta(days=1)}, "left_at"),
        ({"start": END, "end": START}, "end"),
        ({"end": LEFT + timedelta(minutes=1)}, "end"),
        ({"left_at": LEFT.replace(tzinfo=None)}, "left_at"),
    ],
)
async def test_times_that_cannot_be_are_refused_before_anything_is_read(
    small_world: World, more: dict[str, datetime], where: str
) -> None:
    patient, encounter = await visit(small_world)
    with pytest.raises(InvalidInput) as refused:
        await discharge(small_world.context, leaving(small_world, patient, encounter, **more))
    assert where in refused.value.where
    assert small_world.round_trips() == []
