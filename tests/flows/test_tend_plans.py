"""Plans tended as time passes: forms come, windows close, restrictions end, plans end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import DischargeRequest, discharge
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.flows.open_chart import open_chart
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.tend_plans import preview_tending, tend_plans
from fhir_aftercare.flows.untaken_task import PASSED_ON
from flows.cases import check_in, of_patient, only, phq9, with_code
from flows.course_cases import (
    WELL,
    after,
    answer,
    answer_check_ins,
    business,
    changed_protocol,
    days,
    ehr_score,
    forms,
    infusion,
    is_course,
    plan_of,
)
from hapi_validation import faults
from world import END, NEW_YORK, START, make_world

if TYPE_CHECKING:
    from fhir_aftercare.flows.tend_plans import Tended
    from servers import Server
    from world import World

Resource = dict[str, Any]

FAMILIES = (terms.QUESTIONNAIRE_PHQ9, terms.QUESTIONNAIRE_GAD7, terms.QUESTIONNAIRE_WEEKLY)


async def looked(world: World, patient: str, at: datetime) -> Tended:
    """Look at a patient's plans at a time."""
    world.clock.move_to(at)
    world.round_trips()
    return await tend_plans(world.context, patient)


async def task_of(world: World, patient: str, code: terms.Code) -> Resource:
    return only(with_code(await of_patient(world, "Task", patient), code))


async def do(world: World, patient: str, move: str, code: terms.Code, **more: Any) -> None:
    """Let the nurse move a Task."""
    task = await task_of(world, patient, code)
    request = MoveRequest(f"Task/{task['id']}", move, **{"person": world.nurse, **more})  # type: ignore[arg-type]
    await move_task(world.context, request)


async def do_everything(world: World, patient: str) -> None:
    """Do what staff owe after an infusion."""
    await do(world, patient, "complete", terms.TEACH_BACK)
    world.clock.move_to(after(1))
    await do(world, patient, "attempt", terms.FOLLOW_UP_CALL, outcome="reached")


# --- forms come into the horizon ------------------------------------------------------------------------------------
async def test_forms_become_tasks_as_they_come_within_two_weeks_and_the_later_ones_are_coming(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    assert days(await forms(world, patient)) == [7, 14]
    view = await open_chart(world.context, patient)
    later = [each for each in view.coming if each.title.startswith("PHQ-9")]
    assert [(each.opens.date() - END.date()).days for each in later] == [21, 28, 56, 84, 112, 140, 168]
    done = await looked(world, patient, after(8))
    assert world.round_trips() == ["batch", "transaction"]
    for family in FAMILIES:
        assert days(await forms(world, patient, family)) == [7, 14, 21]
    assert len(done.asked) == 3
    asked = (await forms(world, patient))[-1]
    assert (asked["status"], asked["owner"]["reference"]) == ("requested", patient)
    assert f"Task/{asked['id']}" in done.asked
    coming = [each for each in (await open_chart(world.context, patient)).coming if each.title.startswith("PHQ-9")]
    assert [each.opens for each in coming] == [each.opens for each in later[1:]]
    assert coming[0].due > coming[0].opens


async def test_a_second_look_changes_nothing(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    first = await looked(world, patient, after(12))
    assert first.changed
    before = await of_patient(world, "Task", patient)
    again = await looked(world, patient, after(12))
    assert (again.changed, again.asked, again.missed, again.call) == (False, (), (), None)
    assert world.round_trips() == ["batch"]
    assert sorted(await of_patient(world, "Task", patient), key=str) == sorted(before, key=str)


async def test_many_processes_at_once_do_it_once(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    world.clock.move_to(after(12))
    await asyncio.gather(*(tend_plans(world.another_process(), patient) for _ in range(8)))
    assert days(await forms(world, patient)) == [7, 14, 21]
    assert len(with_code(await of_patient(world, "Task", patient), terms.UNANSWERED_FORM_CALL)) == 1
    assert not (await tend_plans(world.context, patient)).changed


async def test_a_preview_is_the_bundle_and_writes_nothing(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    world.clock.move_to(after(8))
    bundle = await preview_tending(world.context, patient)
    made = [entry["resource"] for entry in bundle["entry"] if entry["request"]["method"] == "POST"]
    assert {tasks.asks_for(each) for each in made if each["resourceType"] == "Task"} >= {*FAMILIES}
    assert days(await forms(world, patient)) == [7, 14]
    await tend_plans(world.context, patient)
    assert "entry" not in await preview_tending(world.context, patient)


async def test_one_provenance_names_the_protocol_and_the_software(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    await infusion(world, patient)
    done = await looked(world, patient, after(8))
    found = await world.server.client().search_all("Provenance", {"target": done.asked[0]})
    signed = only(found.matches)
    plans = world.context.protocol
    assert set(signed["policy"]) == {plans.infusion.canonical, plans.course.canonical}
    assert [each["who"]["reference"].partition("/")[0] for each in signed["agent"]] == ["Device"]


async def test_a_patient_without_plans_has_nothing_to_tend(small_world: World) -> None:
    patient = await small_world.patient()
    done = await tend_plans(small_world.context, patient)
    assert not done.changed
    assert (await open_chart(small_world.context, patient)).coming == ()


# --- never two of a family within five days (clinical §2.3) ----------------------------------------------------------
async def test_a_score_the_ehr_wrote_takes_the_place_of_the_form_that_would_come(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    await ehr_score(world, patient, after(4), 12)
    done = await looked(world, patient, after(5))
    found = await forms(world, patient)
    assert [(each["status"], business(each)) for each in found] == [
        ("cancelled", "superseded"),
        ("requested", "scheduled"),
    ]
    assert done.superseded == (f"Task/{found[0]['id']}",)
    assert days(found) == [7, 14]
    assert {each["status"] for each in await forms(world, patient, terms.QUESTIONNAIRE_GAD7)} == {"requested"}


async def test_a_score_the_ehr_wrote_answers_the_form_that_is_open(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    score = await ehr_score(world, patient, after(8), 12)
    await looked(world, patient, after(8.5))
    first = (await forms(world, patient))[0]
    assert (first["status"], business(first)) == ("cancelled", "superseded")
    assert first["output"][0]["valueReference"]["reference"] == f"Observation/{score['id']}"
    done = await looked(world, patient, after(11))
    names = [each["valueReference"]["display"] for each in (await plan_of(world, done.call))["input"]]
    assert any("GAD-7" in each for each in names)
    assert not any("PHQ-9" in each for each in names)  # nobody is called about it


async def test_what_was_taken_back_is_asked_again_when_the_score_was_an_error(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    score = await ehr_score(world, patient, after(4), 12)
    await looked(world, patient, after(5))
    await world.server.client().update({**score, "status": "entered-in-error"}, if_match=score["meta"]["versionId"])
    await looked(world, patient, after(5.5))
    assert days(await forms(world, patient), "requested") == [7, 14]
    assert not (await looked(world, patient, after(5.5))).changed
    assert not (await looked(world, patient, after(7.5))).superseded


async def test_an_answer_leaves_the_next_forms_asked_and_what_is_too_near_is_not(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    await answer(world, patient, after(10, 8))
    found = await forms(world, patient)
    assert days(found, "completed") == [7]
    assert days(found, "requested") == [21]  # day 14 would be four days after the answer
    assert not (await tend_plans(world.context, patient)).superseded


async def test_an_answer_on_its_day_changes_nothing_for_the_next(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    await infusion(world, patient)
    await answer(world, patient, after(7))
    assert days(await forms(world, patient), "requested") == [14, 21]


# --- windows close (design §10.3) ------------------------------------------------------------------------------------
async def test_a_form_nobody_answered_is_cancelled_as_missed_and_a_late_answer_still_finds_it(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    done = await looked(world, patient, after(12, 9))
    first = (await forms(world, patient))[0]
    assert (first["status"], business(first), first["statusReason"]["coding"][0]["code"]) == (
        "cancelled",
        "missed",
        "missed",
    )
    assert f"Task/{first['id']}" in done.missed
    named = phq9(after(13), WELL, identifier=first["identifier"][0])
    world.clock.move_to(after(13))
    await receive_response(world.context, ResponseRequest(patient, named))
    late = (await forms(world, patient))[0]
    assert (late["status"], business(late)) == ("cancelled", "answered-late")


async def test_work_of_staff_that_expires_undone_has_failed_and_keeps_the_plan_open(world: World) -> None:
    patient = await world.patient()
    made = await infusion(world, patient)
    done = await looked(world, patient, after(7))
    tasks_there = await of_patient(world, "Task", patient)
    for code in (terms.TEACH_BACK, terms.FOLLOW_UP_CALL):
        task = only(with_code(tasks_there, code))
        assert (task["status"], business(task)) == ("failed", "missed")
        assert task["statusReason"]["coding"][0]["code"] == "missed"
        assert "executionPeriod" not in task
    assert len(done.failed) == 2
    assert (await plan_of(world, made.plan))["status"] == "active"
    assert done.needs_clinician == (made.plan,)
    assert done.late == ()
    client = world.server.client()
    plan = await plan_of(world, made.plan)
    await client.update({**plan, "status": "completed"}, if_match=plan["meta"]["versionId"])
    closed = await looked(world, patient, after(7))
    assert (closed.changed, closed.needs_clinician) == (False, ())


async def test_9_18_nothing_of_staffs_fails_before_they_had_one_open_hour(small_world: World) -> None:
    world = small_world
    friday = datetime(2026, 9, 18, 16, 10, tzinfo=NEW_YORK)
    patient = await world.patient()
    await infusion(world, patient, friday, escort=None)  # the clinic closes at 18:00, the patient left at 17:40
    monday = datetime(2026, 9, 21, 9, 0, tzinfo=NEW_YORK)
    call = await task_of(world, patient, terms.CONFIRM_ARRIVED_HOME)
    opens, _, expires = tasks.window_of(call)
    assert opens is not None
    assert expires is not None
    assert expires < monday
    open_before = world.context.clinic.call_hours.open_time(opens, monday)
    early = await looked(world, patient, monday - timedelta(hours=1))
    assert (f"Task/{call['id']}" in early.failed) == (open_before >= timedelta(hours=1))
    left = timedelta(hours=1) - open_before
    if left > timedelta():
        assert f"Task/{call['id']}" not in (await looked(world, patient, monday + left - timedelta(minutes=1))).failed
        assert f"Task/{call['id']}" in (await looked(world, patient, monday + left)).failed


async def test_who_takes_a_call_on_at_the_last_moment_keeps_it_for_an_open_hour(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    await infusion(world, patient)
    call = await task_of(world, patient, terms.FOLLOW_UP_CALL)
    expires = tasks.window_of(call)[2]
    assert expires is not None
    world.clock.move_to(expires - timedelta(minutes=5))
    await do(world, patient, "claim", terms.FOLLOW_UP_CALL)
    done = await looked(world, patient, expires + timedelta(minutes=10))
    assert f"Task/{call['id']}" not in done.failed
    await do(world, patient, "attempt", terms.FOLLOW_UP_CALL, outcome="no-answer")
    assert f"Task/{call['id']}" not in (await looked(world, patient, expires + timedelta(minutes=60))).failed
    assert f"Task/{call['id']}" in (await looked(world, patient, expires + timedelta(hours=2))).failed
    assert (await task_of(world, patient, terms.FOLLOW_UP_CALL))["executionPeriod"]["end"]


async def test_what_is_on_hold_and_a_held_plan_are_left_to_who_holds_them(small_world: World) -> None:
    world, client = small_world, small_world.server.client()
    patient = await world.patient()
    made = await infusion(world, patient)
    call = await task_of(world, patient, terms.FOLLOW_UP_CALL)
    await client.update({**call, "status": "on-hold"}, if_match=call["meta"]["versionId"])
    course = await plan_of(world, made.course)
    await client.update({**course, "status": "on-hold"}, if_match=course["meta"]["versionId"])
    done = await looked(world, patient, after(12))
    assert (await task_of(world, patient, terms.FOLLOW_UP_CALL))["status"] == "on-hold"
    assert days(await forms(world, patient), "requested") == [7, 14]
    assert done.late == (made.plan,)
    assert (await open_chart(world.context, patient)).coming == ()


async def test_before_the_patient_has_left_only_forms_are_closed(small_world: World) -> None:
    from fhir_aftercare.flows.record_infusion import record_infusion  # noqa: PLC0415
    from flows.cases import recording, visit  # noqa: PLC0415

    world = small_world
    patient, encounter = await visit(world)
    await record_infusion(world.context, recording(world, patient, encounter))
    done = await looked(world, patient, after(3))
    assert len(done.missed) == 2  # the baseline forms: after the start they are too late
    assert (done.failed, done.call) == ((), None)
    assert (await task_of(world, patient, terms.ESCORT_HOME))["status"] == "requested"


async def test_tasks_of_others_are_not_ours_to_close(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    made = await infusion(world, patient)
    call = await task_of(world, patient, terms.FOLLOW_UP_CALL)
    foreign = {k: v for k, v in call.items() if k not in {"id", "meta", "identifier"}}
    foreign["identifier"] = [{"system": "https://ehr.example.org/task", "value": "1"}]
    there = await world.server.client().create(foreign)
    await looked(world, patient, after(7))
    assert (await plan_of(world, f"Task/{there['id']}"))["status"] == "requested"
    assert (await plan_of(world, made.plan))["status"] == "active"


# --- the call about unanswered forms (clinical §2.5) -----------------------------------------------------------------
async def test_three_days_after_they_were_asked_one_call_is_about_all_unanswered_forms(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    await answer_check_ins(world, patient)
    assert (await looked(world, patient, after(10, 8))).call is None
    first = await looked(world, patient, after(10, 9))  # a Saturday
    call = await task_of(world, patient, terms.UNANSWERED_FORM_CALL)
    assert first.call == f"Task/{call['id']}"
    assert (call["priority"], call["status"], call["owner"]["reference"]) == (
        "routine",
        "requested",
        world.organization,
    )
    names = [each["valueReference"]["display"] for each in call["input"]]
    assert len(names) == 3
    assert all(each.endswith(", asked on 23-Sep-2026") for each in names)
    assert not (await looked(world, patient, after(10, 9))).changed


async def test_the_call_is_due_in_two_business_days_and_takes_up_what_comes_later(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    await infusion(world, patient)
    await answer_check_ins(world, patient)
    first = await looked(world, patient, after(10, 9))  # a Saturday
    opens, due, expires = tasks.window_of(await plan_of(world, first.call))
    assert (opens, due, expires) == (
        datetime(2026, 9, 28, 9, 0, tzinfo=NEW_YORK),
        datetime(2026, 9, 29, 18, 0, tzinfo=NEW_YORK),
        None,
    )
    second = await looked(world, patient, after(17, 9))
    assert second.call == first.call
    again = await plan_of(world, second.call)
    assert (len(again["input"]), tasks.window_of(again)[1]) == (6, due)
    assert not (await looked(world, patient, after(17, 9))).changed


async def test_after_a_call_was_made_only_what_is_new_makes_another(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    await infusion(world, patient)
    await answer_check_ins(world, patient)
    first = await looked(world, patient, after(10, 9))
    await do(world, patient, "attempt", terms.UNANSWERED_FORM_CALL, outcome="reached")
    assert (await looked(world, patient, after(12))).call is None
    second = await looked(world, patient, after(17, 9))
    assert second.call not in {None, first.call}
    assert len((await plan_of(world, second.call))["input"]) == 3


async def test_nobody_is_called_about_what_was_answered_meanwhile(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    await answer_check_ins(world, patient)
    await looked(world, patient, after(10, 9))
    at = after(10, 10)
    world.clock.move_to(at)
    for family in FAMILIES:
        assert (await looked(world, patient, at)).call is None
        task = next(each for each in await forms(world, patient, family) if opens_at(each) == 7)
        given = phq9(at, WELL) if family == FAMILIES[0] else check_in(at, {"wants-call": {"valueBoolean": False}})
        given |= {"questionnaire": family, "identifier": task["identifier"][0]}
        await receive_response(world.context, ResponseRequest(patient, given))
    done = await looked(world, patient, at)
    call = await task_of(world, patient, terms.UNANSWERED_FORM_CALL)
    assert (call["status"], business(call), done.call) == ("cancelled", "superseded", f"Task/{call['id']}")
    assert not (await looked(world, patient, at)).changed


def opens_at(task: Resource) -> int:
    return days([task])[0]


# --- restrictions end (design §10.5) ---------------------------------------------------------------------------------
def restriction(found: list[Resource], code: terms.Code) -> Resource:
    return only(with_code(found, code))


async def test_a_restriction_ends_with_its_time_and_not_before(world: World) -> None:
    patient = await world.patient()
    await infusion(world, patient)
    assert (await looked(world, patient, after(0.7))).released == ()
    done = await looked(world, patient, after(1, 7))
    found = await of_patient(world, "ServiceRequest", patient)
    assert restriction(found, terms.DRIVE_VEHICLE)["status"] == "completed"
    assert restriction(found, terms.ALCOHOL_AND_DECISIONS)["status"] == "active"
    assert len(done.released) == 1
    assert len((await looked(world, patient, after(1, 15))).released) == 1
    assert (await open_chart(world.context, patient)).restricted_until is None


@pytest.mark.parametrize("why", ["sedatives", "sedation", "unknown-end", "other-words"])
async def test_a_restriction_that_a_person_must_release_stays_and_is_reported(small_world: World, why: str) -> None:
    world = small_world
    patient = await world.patient()
    more: dict[str, Any] = {"sedatives_given": True} if why == "sedatives" else {"language": "es"}
    if why == "unknown-end":
        more["record"] = {"end": None, "status": InfusionStatus.IN_PROGRESS}
    if why == "sedation":
        more["record"] = {"ready": False}
    made = await infusion(world, patient, **more)
    if why == "other-words":
        driving = restriction(await of_patient(world, "ServiceRequest", patient), terms.DRIVE_VEHICLE)
        changed = {**driving, "patientInstruction": "Do not drive until Dr. Okafor has seen you."}
        await world.server.client().update(changed, if_match=driving["meta"]["versionId"])
    done = await looked(world, patient, after(3))
    found = await of_patient(world, "ServiceRequest", patient)
    driving, alcohol = restriction(found, terms.DRIVE_VEHICLE), restriction(found, terms.ALCOHOL_AND_DECISIONS)
    assert driving["status"] == "active"
    assert f"ServiceRequest/{driving['id']}" in done.awaiting
    assert alcohol["status"] == ("active" if why == "unknown-end" else "completed")
    assert (await plan_of(world, made.plan))["status"] == "active"
    assert (await looked(world, patient, after(12))).late == (made.plan,)


# --- plans end (fhir-model §1.5) -------------------------------------------------------------------------------------
async def test_the_plan_of_an_infusion_ends_when_all_of_it_has(world: World) -> None:
    patient = await world.patient()
    made = await infusion(world, patient)
    await do_everything(world, patient)
    assert (await looked(world, patient, after(2))).completed == ()
    done = await looked(world, patient, after(7))  # the check-ins have expired unanswered: they must not be done
    assert done.completed == (made.plan,)
    assert (await plan_of(world, made.plan))["status"] == "completed"
    assert (await plan_of(world, made.course))["status"] == "active"
    assert not (await looked(world, patient, after(7))).changed


async def test_a_course_ends_when_no_infusion_can_join_it_and_not_while_forms_are_coming(
    small_world: World,
) -> None:
    world = small_world
    patient = await world.patient()
    made = await infusion(world, patient)
    await do_everything(world, patient)
    for day in range(7, 198, 7):
        done = await looked(world, patient, after(day))
        assert made.course not in done.completed
        if done.call is not None and (await plan_of(world, done.call))["status"] == "requested":
            await move_task(world.context, MoveRequest(done.call, "decline", person=world.nurse))
    asked = await forms(world, patient)
    assert days(asked) == [7, 14, 21, 28, 56, 84, 112, 140, 168]
    done = await looked(world, patient, after(198))  # also an infusion that is told late may join it
    assert done.completed == (made.course,)
    assert (await plan_of(world, made.course))["status"] == "completed"
    assert not (await looked(world, patient, after(199))).changed
    world.context = replace(world.context, protocol=changed_protocol(world.context.protocol, with_old=False))
    assert (await looked(world, patient, after(199))).unchanged == ()  # it has nothing to do with it any more


async def test_a_course_whose_infusion_waits_for_a_clinician_goes_on(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    made = await infusion(world, patient)
    done = await looked(world, patient, after(200))
    assert done.needs_clinician == (made.plan,)
    assert (await plan_of(world, made.course))["status"] == "active"


async def test_a_plan_of_which_all_was_taken_back_is_revoked(small_world: World) -> None:
    world, client = small_world, small_world.server.client()
    patient = await world.patient()
    made = await infusion(world, patient)
    for task in await of_patient(world, "Task", patient):
        if task["basedOn"][0]["reference"] == made.plan and tasks.is_open(task):
            moved = tasks.moved(task, "cancelled", "withdrawn", at=after(0.2), reason="wrong-patient")
            await client.update(moved, if_match=task["meta"]["versionId"])
    escort = await task_of(world, patient, terms.ESCORT_HOME)
    await client.update({**escort, "status": "entered-in-error"}, if_match=escort["meta"]["versionId"])
    for each in await of_patient(world, "ServiceRequest", patient):
        await client.update({**each, "status": "revoked"}, if_match=each["meta"]["versionId"])
    done = await looked(world, patient, after(1))
    assert done.revoked == (made.plan,)


# --- a changed protocol leaves running plans on their version (fhir-model §1.6) ---------------------------------------
async def test_a_running_course_keeps_the_version_it_was_made_with(world: World) -> None:
    patient, other = await world.patient(), await world.patient("Chen")
    await infusion(world, patient)
    world.context = replace(world.context, protocol=changed_protocol(world.context.protocol))
    assert world.context.protocol.course.version == "2.0.0"
    await infusion(world, other)
    assert days(await forms(world, other)) == [5, 14]
    await looked(world, patient, after(8))
    assert days(await forms(world, patient)) == [7, 14, 21]
    coming = (await open_chart(world.context, patient)).coming
    assert (coming[0].opens.date() - END.date()).days == 28
    course = only([each for each in await of_patient(world, "CarePlan", patient) if is_course(each)])
    assert course["instantiatesCanonical"] == [f"{terms.PLAN_COURSE}|1.0.0"]


async def test_without_the_version_a_plan_was_made_with_nothing_of_it_changes_and_that_is_said(world: World) -> None:
    patient = await world.patient()
    made = await infusion(world, patient)
    await do_everything(world, patient)
    before = await forms(world, patient)
    world.context = replace(world.context, protocol=changed_protocol(world.context.protocol, with_old=False))
    done = await looked(world, patient, after(12))
    (left,) = done.unchanged
    assert (left.plan, left.canonical) == (made.course, f"{terms.PLAN_COURSE}|1.0.0")
    assert "1.0.0" in left.why
    assert await forms(world, patient) == before
    assert done.completed == (made.plan,)  # the plan of the infusion has its version
    view = await open_chart(world.context, patient)
    assert (view.coming, set(view.gaps)) == ((), {"coming forms"})
    await receive_response(world.context, ResponseRequest(patient, phq9(after(12), WELL)))  # answers are never refused


async def test_a_plan_that_names_no_version_is_left_alone(small_world: World) -> None:
    world, client = small_world, small_world.server.client()
    patient = await world.patient()
    made = await infusion(world, patient)
    course = await plan_of(world, made.course)
    without = {**course, "instantiatesCanonical": [terms.PLAN_COURSE]}
    await client.update(without, if_match=course["meta"]["versionId"])
    done = await looked(world, patient, after(8))
    assert [each.plan for each in done.unchanged] == [made.course]
    assert done.asked == ()


async def test_a_protocol_without_the_call_is_a_fault_and_nothing_is_written(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    await infusion(world, patient)
    protocol = world.context.protocol
    kept = {name: each for name, each in protocol.activities.items() if terms.UNANSWERED_FORM_CALL.code not in name}
    world.context = replace(world.context, protocol=replace(protocol, activities=kept))
    with pytest.raises(ProtocolFault):
        await looked(world, patient, after(10))
    assert world.round_trips() == ["batch"]


# --- what is written -------------------------------------------------------------------------------------------------
@pytest.mark.hapi
async def test_everything_a_look_writes_is_valid(validator: Server) -> None:
    world = await make_world(validator)
    patient = await world.patient()
    await infusion(world, patient, START + timedelta(minutes=40), escort=None)
    await ehr_score(world, patient, after(8), 12)
    for day in (1.5, 8.5, 10, 13):
        await looked(world, patient, after(day))
    client = validator.client()
    written = []
    for type_ in ("Task", "ServiceRequest", "CarePlan"):
        for each in await of_patient(world, type_, patient):
            written += await client.history(type_, each["id"])
            written += (await client.search_all("Provenance", {"target": f"{type_}/{each['id']}"})).matches
    assert {f"{each['resourceType']}: {fault}" for each in written for fault in await faults(validator, each)} == set()


# --- pressing work that nobody took (clinical §2.5, design §10.4) -----------------------------------------------------
async def on_call(world: World) -> str:
    """Let the clinic have somebody on call, and give who that is."""
    role = await world.server.client().create(
        {"resourceType": "PractitionerRole", "practitioner": {"reference": world.nurse}}
    )
    reference = f"PractitionerRole/{role['id']}"
    owners = replace(world.context.clinic.owners, on_call=reference)
    world.context = replace(world.context, clinic=replace(world.context.clinic, owners=owners))
    return reference


async def suicidal_answer(world: World, patient: str, at: datetime) -> Resource:
    """Let the patient answer item 9 with "nearly every day", and give the Task of whoever must call within the hour."""
    received = await answer(world, patient, at, (1, 1, 1, 1, 1, 1, 1, 0, 3))
    assert received.review is not None
    return await plan_of(world, received.review)


async def test_a_stat_task_that_nobody_took_by_its_deadline_passes_to_whom_the_clinic_has_on_call(world: World) -> None:
    second = await on_call(world)
    patient = await world.patient()
    await infusion(world, patient)
    task = await suicidal_answer(world, patient, after(7, 10))
    before = await looked(world, patient, after(7, 10) + timedelta(minutes=59))
    assert (before.passed_on, before.untaken) == ((), ())
    done = await looked(world, patient, after(7, 11))
    assert done.passed_on == (f"Task/{task['id']}",)
    passed = await plan_of(world, f"Task/{task['id']}")
    assert passed["owner"]["reference"] == second
    assert [each["text"] for each in passed["note"]] == [PASSED_ON]
    for name in ("status", "businessStatus", "priority", "restriction", "input"):
        assert passed.get(name) == task.get(name), name
    later = await looked(world, patient, after(7, 12))
    assert (later.changed, later.passed_on, later.untaken) == (False, (), (f"Task/{task['id']}",))


async def test_it_passes_on_once_and_whoever_gives_it_to_another_then_has_decided(small_world: World) -> None:
    world = small_world
    await on_call(world)
    patient = await world.patient()
    await infusion(world, patient)
    task = f"Task/{(await suicidal_answer(world, patient, after(7, 10)))['id']}"
    await looked(world, patient, after(7, 11))
    await move_task(world.context, MoveRequest(task, "reassign", person=world.nurse, owner=world.nurse))
    done = await looked(world, patient, after(8))
    assert (task in done.untaken, done.passed_on) == (True, ())
    assert (await plan_of(world, task))["owner"]["reference"] == world.nurse


async def test_who_has_taken_it_keeps_it_and_who_gave_it_back_does_not(small_world: World) -> None:
    world = small_world
    second = await on_call(world)
    patient = await world.patient()
    await infusion(world, patient)
    task = f"Task/{(await suicidal_answer(world, patient, after(7, 10)))['id']}"
    await move_task(world.context, MoveRequest(task, "claim", person=world.nurse))
    kept = await looked(world, patient, after(7, 12))
    assert (kept.passed_on, kept.untaken) == ((), ())
    await move_task(world.context, MoveRequest(task, "release", person=world.nurse))
    assert (await looked(world, patient, after(7, 13))).passed_on == (task,)
    assert (await plan_of(world, task))["owner"]["reference"] == second


async def test_a_clinic_without_anybody_on_call_is_told_what_nobody_took(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    await infusion(world, patient)
    task = await suicidal_answer(world, patient, after(7, 10))
    done = await looked(world, patient, after(7, 12))
    assert (done.passed_on, done.untaken) == ((), (f"Task/{task['id']}",))
    assert await plan_of(world, f"Task/{task['id']}") == task


async def test_work_that_belongs_to_no_plan_passes_on_too(small_world: World) -> None:
    """That no plan could be made is the most pressing of all (design §10.8)."""
    world = small_world
    await on_call(world)
    patient = await world.patient()
    encounter = await world.encounter(patient)
    plan = world.context.protocol.infusion
    broken = replace(plan, actions=tuple(replace(each, definition=None) for each in plan.actions))
    protocol = replace(world.context.protocol, plans={**world.context.protocol.plans, plan.canonical: broken})
    world.clock.move_to(END + timedelta(minutes=90))
    with pytest.raises(ProtocolFault):
        await discharge(
            replace(world.context, protocol=protocol),
            DischargeRequest(patient, encounter, END + timedelta(minutes=90), start=START, end=END),
        )
    task = await task_of(world, patient, terms.AFTERCARE_FAILED)
    done = await looked(world, patient, after(1))
    assert done.passed_on == (f"Task/{task['id']}",)
    assert not (await looked(world, patient, after(1))).changed
