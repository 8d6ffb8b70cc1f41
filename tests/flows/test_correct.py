"""An infusion is corrected: its times, stopped, not done, in error, another patient's; in any order, and many times."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.correction import Change
from fhir_aftercare.care.infusion import Escort, InfusionStatus
from fhir_aftercare.errors import (
    AftercareError,
    IllegalMove,
    InvalidInput,
    MissingZone,
    NotAnInfusion,
    NotFound,
    ProtocolFault,
    WrongSubject,
)
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.correct import Corrected, CorrectionRequest, correct_infusion, preview_correction
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import LEFT, check_in, code_of, leaving, of_patient, only, phq9, record, recording, visit, with_code
from flows.test_fail_closed import with_broken_condition
from world import END, START

if TYPE_CHECKING:
    from world import World

Resource = dict[str, Any]

WHY = "Typed into the wrong row"
# So late that it is not 07:00 of the next morning but the 12 hours that end the driving restriction.
LATE = datetime.fromisoformat("2026-09-16T21:30:00-04:00")


async def recorded(world: World, **more: Any) -> tuple[str, str]:
    patient, encounter = await visit(world)
    await record_infusion(
        world.context, recording(world, patient, encounter, record=record(recorded_by=world.nurse, **more))
    )
    return patient, encounter


async def discharged(world: World, **more: Any) -> tuple[str, str]:
    patient, encounter = await recorded(world)
    await discharge(world.context, leaving(world, patient, encounter, **more))
    world.round_trips()
    return patient, encounter


async def correct(world: World, patient: str, encounter: str | None, kind: Change, **more: Any) -> Corrected:
    return await correct_infusion(world.context, asked(world, patient, encounter, kind, **more))


def asked(world: World, patient: str, encounter: str | None, kind: Change, **more: Any) -> CorrectionRequest:
    values = {"infusion": None, "reason": WHY, "person": world.nurse, **more}
    return CorrectionRequest(patient, encounter, values.pop("infusion"), kind, values.pop("reason"), **values)


async def at_night(world: World) -> None:
    world.clock.move_to(LATE + timedelta(hours=1))


async def plan_of(world: World, patient: str, code: terms.Code = terms.INFUSION_PLAN) -> Resource:
    plans = [
        each
        for each in await of_patient(world, "CarePlan", patient)
        if any(code.coding() == coding for category in each["category"] for coding in category["coding"])
    ]
    return (
        max(plans, key=lambda each: int(each["id"]) if each["id"].isdigit() else 0) if len(plans) > 1 else only(plans)
    )


async def driving(world: World, patient: str) -> Resource:
    return only(with_code(await of_patient(world, "ServiceRequest", patient), terms.DRIVE_VEHICLE))


async def task(world: World, patient: str, code: terms.Code) -> Resource:
    return only(with_code(await of_patient(world, "Task", patient), code))


async def provenance_of(world: World, reference: str) -> list[tuple[str, str | None]]:
    found = await world.server.client().search_all("Provenance", {"target": reference})
    return [
        (each["activity"]["coding"][0]["code"], (each.get("reason") or [{}])[0].get("text")) for each in found.matches
    ]


async def everything(world: World, patient: str) -> dict[str, Resource]:
    """Give all that a correction could touch, by reference."""
    types = ("MedicationAdministration", "Observation", "CarePlan", "Task", "ServiceRequest", "Goal")
    types += ("QuestionnaireResponse",)
    return {f"{type_}/{each['id']}": each for type_ in types for each in await of_patient(world, type_, patient)}


def statuses(found: dict[str, Resource]) -> dict[str, str]:
    return {reference: each.get("status") or each["lifecycleStatus"] for reference, each in found.items()}


async def nurse_moves(world: World, resource: Resource, **changes: Any) -> None:
    await world.server.client().update({**resource, **changes}, if_match=resource["meta"]["versionId"])


# --- the end moved ---------------------------------------------------------------------------------------------------
async def test_a_later_end_moves_the_record_the_plan_and_what_nobody_has_begun(world: World) -> None:
    patient, encounter = await discharged(world)
    later = END + timedelta(minutes=30)
    done = await correct(world, patient, encounter, Change.END_MOVED, end=later)
    assert world.round_trips() == ["batch", "transaction"]
    drug = await world.server.client().read("MedicationAdministration", str(done.record).partition("/")[2])
    assert (drug["status"], drug["effectivePeriod"]["end"]) == ("completed", tasks.instant(later))
    assert drug["dosage"]["text"] == "35 mg intravenous over 70 minutes"
    plan = await plan_of(world, patient)
    assert (f"CarePlan/{plan['id']}", plan["status"]) == (done.plan, "active")
    assert plan["period"]["start"] == tasks.instant(later)
    teach = await task(world, patient, terms.TEACH_BACK)
    assert teach["restriction"]["period"]["start"] == tasks.instant(later)
    escort = await task(world, patient, terms.ESCORT_HOME)
    assert escort["restriction"]["period"]["start"] == tasks.instant(START)
    assert ("UPDATE", WHY) in await provenance_of(world, str(done.plan))
    assert set(await provenance_of(world, str(done.record))) == {("CREATE", None), ("UPDATE", WHY)}


async def test_nobody_is_called_when_driving_is_allowed_as_before(small_world: World) -> None:
    patient, encounter = await discharged(small_world)
    before = await driving(small_world, patient)
    done = await correct(small_world, patient, encounter, Change.END_MOVED, end=END + timedelta(minutes=30))
    now = await driving(small_world, patient)
    assert now["occurrencePeriod"]["end"] == before["occurrencePeriod"]["end"]
    assert now["patientInstruction"] == before["patientInstruction"]
    assert (done.inform, done.awaiting) == (None, ())
    assert with_code(await of_patient(small_world, "Task", patient), terms.INFORM_PATIENT) == []


async def test_a_later_driving_release_moves_by_itself_and_the_patient_is_told(world: World) -> None:
    patient, encounter = await discharged(world)
    await at_night(world)
    done = await correct(world, patient, encounter, Change.END_MOVED, end=LATE)
    restriction = await driving(world, patient)
    assert restriction["occurrencePeriod"]["end"] == "2026-09-17T09:30:00-04:00"
    assert "09:30 on Thursday, September 17" in restriction["patientInstruction"]
    assert "07:00" not in restriction["patientInstruction"]
    inform = await task(world, patient, terms.INFORM_PATIENT)
    assert f"Task/{inform['id']}" == done.inform
    assert (inform["status"], inform["priority"]) == ("requested", "urgent")
    assert inform["instantiatesCanonical"].startswith(f"{terms.ACTIVITY_DEFINITION}/inform-patient|")
    assert inform["reasonReference"]["reference"] == f"ServiceRequest/{restriction['id']}"
    assert tasks.window_of(inform)[1] <= LATE + timedelta(hours=3)  # type: ignore[operator]
    assert "17-Sep-2026 09:30" in inform["input"][0]["valueString"]
    narrative = (await plan_of(world, patient))["text"]["div"]
    assert "09:30" in narrative
    assert "07:00" not in narrative


async def test_the_same_correction_again_changes_nothing(world: World) -> None:
    patient, encounter = await discharged(world)
    await at_night(world)
    request = asked(world, patient, encounter, Change.END_MOVED, end=LATE)
    first = await correct_infusion(world.context, request)
    assert first.changed
    before = await everything(world, patient)
    world.clock.advance(timedelta(hours=3))
    again = await correct_infusion(world.another_process(), request)
    assert (again.changed, again.written, again.plan, again.record) == (False, (), first.plan, first.record)
    assert await everything(world, patient) == before


async def test_still_later_adds_to_the_call_that_is_open(small_world: World) -> None:
    patient, encounter = await discharged(small_world)
    await at_night(small_world)
    first = await correct(small_world, patient, encounter, Change.END_MOVED, end=LATE)
    second = await correct(small_world, patient, encounter, Change.END_MOVED, end=LATE + timedelta(minutes=30))
    assert second.inform == first.inform
    inform = await task(small_world, patient, terms.INFORM_PATIENT)
    assert "10:00" in inform["input"][-1]["valueString"]
    await nurse_moves(small_world, inform, status="completed")
    third = await correct(small_world, patient, encounter, Change.END_MOVED, end=LATE + timedelta(minutes=45))
    assert third.inform != first.inform
    assert len(with_code(await of_patient(small_world, "Task", patient), terms.INFORM_PATIENT)) == 2


async def test_who_may_be_driving_already_is_told_within_the_hour(small_world: World) -> None:
    patient, encounter = await discharged(small_world)
    morning = datetime.fromisoformat("2026-09-17T08:00:00-04:00")
    small_world.clock.move_to(morning)
    await correct(small_world, patient, encounter, Change.END_MOVED, end=LATE)
    inform = await task(small_world, patient, terms.INFORM_PATIENT)
    assert inform["priority"] == "asap"
    assert tasks.window_of(inform)[1] == morning + timedelta(hours=1)


async def test_a_restriction_that_was_over_is_followed_by_another(world: World) -> None:
    patient, encounter = await discharged(world)
    world.clock.move_to(datetime.fromisoformat("2026-09-17T08:00:00-04:00"))
    await nurse_moves(world, await driving(world, patient), status="completed")
    await correct(world, patient, encounter, Change.END_MOVED, end=LATE)
    request = asked(world, patient, encounter, Change.END_MOVED, end=LATE)
    assert not (await correct_infusion(world.another_process(), request)).changed
    found = with_code(await of_patient(world, "ServiceRequest", patient), terms.DRIVE_VEHICLE)
    over, again = sorted(found, key=lambda each: each["occurrencePeriod"]["end"])
    assert (over["status"], again["status"]) == ("completed", "active")
    assert again["replaces"] == [{"reference": f"ServiceRequest/{over['id']}"}]
    assert again["occurrencePeriod"]["end"] == "2026-09-17T09:30:00-04:00"
    assert len(with_code(await of_patient(world, "Task", patient), terms.INFORM_PATIENT)) == 1
    listed = {each["reference"]["reference"] for each in (await plan_of(world, patient))["activity"]}
    assert f"ServiceRequest/{again['id']}" in listed


async def test_an_earlier_release_waits_until_a_clinician_agrees(world: World) -> None:
    patient, encounter = await discharged(world)
    await at_night(world)
    await correct(world, patient, encounter, Change.END_MOVED, end=LATE)
    told = await driving(world, patient)
    done = await correct(world, patient, encounter, Change.END_MOVED, end=END)
    kept = await driving(world, patient)
    assert kept["occurrencePeriod"]["end"] == told["occurrencePeriod"]["end"] == "2026-09-17T09:30:00-04:00"
    assert kept["patientInstruction"] == told["patientInstruction"]
    assert f"ServiceRequest/{kept['id']}" in done.awaiting
    assert (await plan_of(world, patient))["period"]["start"] == tasks.instant(END)
    agreed = await correct(world, patient, encounter, Change.END_MOVED, end=END, agreed_by=world.nurse)
    now = await driving(world, patient)
    assert now["occurrencePeriod"] == {"start": tasks.instant(END), "end": "2026-09-17T07:00:00-04:00"}
    assert "07:00 on Thursday, September 17" in now["patientInstruction"]
    assert (now["note"][0]["authorReference"]["reference"], now["note"][0]["text"]) == (world.nurse, WHY)
    assert agreed.awaiting == ()
    assert not (await correct(world, patient, encounter, Change.END_MOVED, end=END, agreed_by=world.nurse)).changed
    assert not (await correct(world, patient, encounter, Change.END_MOVED, end=END)).changed


async def test_what_somebody_began_or_arranged_otherwise_stays(world: World) -> None:
    patient, encounter = await discharged(world)
    teach = await task(world, patient, terms.TEACH_BACK)
    await nurse_moves(world, teach, status="accepted")
    call = await task(world, patient, terms.FOLLOW_UP_CALL)
    arranged = {**call["restriction"]["period"], "end": "2026-09-17T17:45:00-04:00"}
    await nurse_moves(world, call, restriction={"period": arranged}, description="Call the daughter")
    await correct(world, patient, encounter, Change.END_MOVED, end=END + timedelta(minutes=30))
    assert (await task(world, patient, terms.TEACH_BACK))["restriction"] == teach["restriction"]
    now = await task(world, patient, terms.FOLLOW_UP_CALL)
    assert (now["restriction"]["period"], now["description"]) == (arranged, "Call the daughter")


async def test_what_others_wrote_in_what_moves_stays(small_world: World) -> None:
    patient, encounter = await discharged(small_world)
    teach = await task(small_world, patient, terms.TEACH_BACK)
    await nurse_moves(small_world, teach, note=[{"text": "Speaks Tagalog"}])
    await nurse_moves(small_world, await plan_of(small_world, patient), note=[{"text": "Lives alone"}])
    await correct(small_world, patient, encounter, Change.END_MOVED, end=END + timedelta(minutes=30))
    moved = await task(small_world, patient, terms.TEACH_BACK)
    assert moved["restriction"] != teach["restriction"]
    assert moved["note"] == [{"text": "Speaks Tagalog"}]
    assert (await plan_of(small_world, patient))["note"] == [{"text": "Lives alone"}]


async def test_before_the_patient_leaves_the_draft_moves_with_the_start_and_nobody_is_told(small_world: World) -> None:
    patient, encounter = await recorded(small_world)
    earlier = START - timedelta(minutes=20)
    done = await correct(small_world, patient, encounter, Change.END_MOVED, start=earlier)
    plan = await plan_of(small_world, patient)
    assert (plan["status"], plan["period"]["start"]) == ("draft", tasks.instant(earlier))
    escort = await task(small_world, patient, terms.ESCORT_HOME)
    assert escort["restriction"]["period"]["start"] == tasks.instant(earlier)
    assert done.inform is None
    left = await discharge(small_world.context, leaving(small_world, patient, encounter))
    assert left.plan == done.plan


async def test_the_end_nobody_knew_is_known_now(world: World) -> None:
    patient, encounter = await visit(world)
    await discharge(world.context, leaving(world, patient, encounter, start=START))
    assert (await task(world, patient, terms.CONFIRM_END))["status"] == "requested"
    await correct(world, patient, encounter, Change.END_MOVED, end=END)
    assert (await task(world, patient, terms.CONFIRM_END))["status"] == "completed"
    plan = await plan_of(world, patient)
    assert terms.EXT_ANCHOR_ESTIMATED not in {each["url"] for each in plan["extension"]}
    assert plan["period"]["start"] == tasks.instant(END)


async def test_the_forms_of_the_course_move_with_the_last_infusion(world: World) -> None:
    patient, encounter = await discharged(world)
    # After midnight it is another day, and another day a week later.
    world.clock.move_to(datetime.fromisoformat("2026-09-17T02:00:00-04:00"))
    before = await first_phq9(world, patient)
    await correct(world, patient, encounter, Change.END_MOVED, end=datetime.fromisoformat("2026-09-17T00:30:00-04:00"))
    after = await first_phq9(world, patient)
    assert after["id"] == before["id"]
    assert tasks.window_of(after)[0] == tasks.window_of(before)[0] + timedelta(days=1)  # type: ignore[operator]
    course = await plan_of(world, patient, terms.COURSE_PLAN)
    assert course["period"]["start"] == "2026-09-17T00:30:00-04:00"


async def first_phq9(world: World, patient: str) -> Resource:
    asks = [
        each for each in await of_patient(world, "Task", patient) if tasks.asks_for(each) == terms.QUESTIONNAIRE_PHQ9
    ]
    forms = [each for each in asks if tasks.window_of(each)[0] > START]  # type: ignore[operator]
    return min(forms, key=lambda each: str(tasks.window_of(each)[0]))


async def test_a_person_who_must_release_still_must_and_the_words_stay_in_the_patients_language(
    small_world: World,
) -> None:
    patient, encounter = await discharged(small_world, sedatives_given=True, language="es")
    before = await driving(small_world, patient)
    await at_night(small_world)
    await correct(small_world, patient, encounter, Change.END_MOVED, end=LATE)
    after = await driving(small_world, patient)
    expected = before["patientInstruction"].replace("las 07:00 del jueves 17", "las 09:30 del jueves 17")
    assert "hasta que la clínica le diga" in expected
    assert after["patientInstruction"] == expected != before["patientInstruction"]
    assert expected in (await plan_of(small_world, patient))["text"]["div"]


async def test_words_a_person_wrote_are_replaced_only_when_their_time_is_no_longer_right(small_world: World) -> None:
    patient, encounter = await discharged(small_world)
    written = "Ana: no driving before 07:00, and ask your sister to take the children."
    await nurse_moves(small_world, await driving(small_world, patient), patientInstruction=written)
    await correct(small_world, patient, encounter, Change.END_MOVED, end=END + timedelta(minutes=10))
    assert (await driving(small_world, patient))["patientInstruction"] == written
    await at_night(small_world)
    await correct(small_world, patient, encounter, Change.END_MOVED, end=LATE)
    assert "09:30 on Thursday, September 17" in (await driving(small_world, patient))["patientInstruction"]


async def test_an_extension_by_a_clinician_is_not_cut_short(small_world: World) -> None:
    patient, encounter = await discharged(small_world)
    restriction = await driving(small_world, patient)
    noon = {**restriction["occurrencePeriod"], "end": "2026-09-17T12:00:00-04:00"}
    await nurse_moves(small_world, restriction, occurrencePeriod=noon)
    await at_night(small_world)
    done = await correct(small_world, patient, encounter, Change.END_MOVED, end=LATE)
    assert (await driving(small_world, patient))["occurrencePeriod"]["end"] == noon["end"]
    assert f"ServiceRequest/{restriction['id']}" in done.awaiting


# --- stopped ---------------------------------------------------------------------------------------------------------
async def test_an_infusion_stopped_early_keeps_its_plan(world: World) -> None:
    patient, encounter = await discharged(world)
    before = statuses(await everything(world, patient))
    done = await correct(world, patient, encounter, Change.STOPPED, end=END - timedelta(minutes=20))
    after = statuses(await everything(world, patient))
    assert after == {**before, str(done.record): "stopped"}
    assert (await plan_of(world, patient))["period"]["start"] == tasks.instant(END - timedelta(minutes=20))
    again = await correct(world, patient, encounter, Change.STOPPED, end=END - timedelta(minutes=20))
    assert not again.changed


# --- not done --------------------------------------------------------------------------------------------------------
async def test_an_infusion_not_done_before_the_patient_left_leaves_nothing_open(world: World) -> None:
    patient, encounter = await recorded(world)
    done = await correct(world, patient, encounter, Change.NOT_DONE)
    drug = await world.server.client().read("MedicationAdministration", str(done.record).partition("/")[2])
    assert (drug["status"], drug["statusReason"][0]["coding"][0]["code"]) == ("not-done", "infusion-not-done")
    assert (await plan_of(world, patient))["status"] == "revoked"
    made = await of_patient(world, "Task", patient)
    assert {each["status"] for each in made} == {"cancelled"}
    assert {each["statusReason"]["coding"][0]["code"] for each in made} == {"infusion-not-done"}
    # What was measured was measured.
    assert {each["status"] for each in await of_patient(world, "Observation", patient)} == {"final"}
    assert done.inform is None
    assert ("NULLIFY", WHY) in await provenance_of(world, str(done.plan))


async def test_an_infusion_not_done_after_the_patient_left_revokes_and_tells(world: World) -> None:
    patient, encounter = await discharged(world)
    done = await correct(world, patient, encounter, Change.NOT_DONE)
    assert {each["status"] for each in await of_patient(world, "ServiceRequest", patient)} == {"revoked"}
    assert (await task(world, patient, terms.ESCORT_HOME))["status"] == "completed"
    assert (await task(world, patient, terms.INFORM_PATIENT))["status"] == "requested"
    assert not (await correct(world, patient, encounter, Change.NOT_DONE)).changed
    assert done.inform


# --- entered in error, wrong patient ---------------------------------------------------------------------------------
async def test_what_nobody_acted_on_is_entered_in_error(world: World) -> None:
    patient, encounter = await discharged(world, escort=None)
    done = await correct(world, patient, encounter, Change.ENTERED_IN_ERROR)
    assert world.round_trips() == ["batch", "transaction"]
    found = await everything(world, patient)
    assert {each["status"] for each in found.values() if each["resourceType"] == "Observation"} == {"entered-in-error"}
    assert found[str(done.record)]["status"] == "entered-in-error"
    assert found[str(done.plan)]["status"] == "entered-in-error"
    assert {each["status"] for each in found.values() if each["resourceType"] == "ServiceRequest"} == {
        "entered-in-error"
    }
    inform = found[str(done.inform)]
    assert (inform["status"], inform["priority"]) == ("requested", "urgent")
    children = [each for each in found.values() if each["resourceType"] == "Task" and based_on(each, done.plan)]
    assert {each["status"] for each in children} == {"entered-in-error"}
    assert {each["statusReason"]["coding"][0]["code"] for each in children} == {"infusion-entered-in-error"}


def based_on(resource: Resource, reference: str | None) -> bool:
    return {"reference": reference} in resource.get("basedOn", [])


async def test_what_somebody_acted_on_is_revoked_and_kept_with_a_note(world: World) -> None:
    patient, encounter = await discharged(world)
    await nurse_moves(world, await task(world, patient, terms.FOLLOW_UP_CALL), status="accepted")
    done = await correct(world, patient, encounter, Change.ENTERED_IN_ERROR)
    found = await everything(world, patient)
    assert found[str(done.plan)]["status"] == "revoked"
    assert {each["status"] for each in found.values() if each["resourceType"] == "ServiceRequest"} == {"revoked"}
    escort = await task(world, patient, terms.ESCORT_HOME)
    assert (escort["status"], escort["businessStatus"]["coding"][0]["code"]) == ("completed", "confirmed")
    call = await task(world, patient, terms.FOLLOW_UP_CALL)
    assert call["status"] == "entered-in-error"
    assert [each["note"][0]["text"] for each in (escort, call)] == [
        "The infusion this belongs to was entered in error."
    ] * 2


async def test_a_patient_who_has_not_left_is_told_nothing(small_world: World) -> None:
    patient, encounter = await recorded(small_world)
    done = await correct(small_world, patient, encounter, Change.ENTERED_IN_ERROR)
    assert done.inform is None
    assert (await plan_of(small_world, patient))["status"] == "entered-in-error"
    assert {each["status"] for each in await of_patient(small_world, "Task", patient)} == {"entered-in-error"}


async def test_on_the_wrong_patient_nothing_is_copied_and_somebody_calls_soon(world: World) -> None:
    right = await world.patient("Reyes")
    patient, encounter = await discharged(world)
    done = await correct(world, patient, encounter, Change.WRONG_PATIENT)
    inform = await task(world, patient, terms.INFORM_PATIENT)
    assert (f"Task/{inform['id']}", inform["priority"]) == (done.inform, "asap")
    drug = await world.server.client().read("MedicationAdministration", str(done.record).partition("/")[2])
    assert (drug["status"], drug["statusReason"][0]["coding"][0]["code"]) == ("entered-in-error", "wrong-patient")
    assert await everything(world, right) == {}


async def test_a_retraction_again_changes_nothing(world: World) -> None:
    patient, encounter = await discharged(world)
    request = asked(world, patient, encounter, Change.ENTERED_IN_ERROR)
    first = await correct_infusion(world.context, request)
    before = await everything(world, patient)
    world.clock.advance(timedelta(days=1))
    again = await correct_infusion(world.another_process(), request)
    assert (again.changed, again.plan) == (False, first.plan)
    assert await everything(world, patient) == before


async def test_ten_at_once_from_as_many_processes_retract_once(world: World) -> None:
    patient, encounter = await discharged(world)
    request = asked(world, patient, encounter, Change.ENTERED_IN_ERROR)
    await asyncio.gather(*(correct_infusion(world.another_process(), request) for _ in range(10)))
    assert len(with_code(await of_patient(world, "Task", patient), terms.INFORM_PATIENT)) == 1
    versions = await world.server.client().history("CarePlan", (await plan_of(world, patient))["id"])
    assert [each["status"] for each in versions] == ["revoked", "active", "draft"]


async def test_a_plan_somebody_has_completed_counts_no_longer(small_world: World) -> None:
    patient, encounter = await discharged(small_world)
    await nurse_moves(small_world, await plan_of(small_world, patient), status="completed")
    done = await correct(small_world, patient, encounter, Change.ENTERED_IN_ERROR)
    assert (await plan_of(small_world, patient))["status"] == "entered-in-error"
    assert done.inform


@pytest.mark.parametrize("order", list(permutations([Change.STOPPED, Change.NOT_DONE, Change.ENTERED_IN_ERROR])))
async def test_in_whatever_order_corrections_come_the_same_stands_at_the_end(
    small_world: World, order: tuple[Change, ...]
) -> None:
    ends = []
    for kinds in (order, (Change.ENTERED_IN_ERROR,)):
        patient, encounter = await discharged(small_world, escort=None)
        await nurse_moves(small_world, await task(small_world, patient, terms.TEACH_BACK), status="accepted")
        for kind in [each for each in kinds for _ in range(2)]:
            try:
                await correct(small_world, patient, encounter, kind)
            except IllegalMove:
                assert kind is not Change.ENTERED_IN_ERROR
        found = await everything(small_world, patient)
        ends.append(
            sorted((each["resourceType"], str(each.get("code")), each.get("status")) for each in found.values())
        )
    assert ends[0] == ends[1]


# --- the course ------------------------------------------------------------------------------------------------------
async def test_the_only_infusion_of_a_course_takes_the_course_with_it(world: World) -> None:
    patient, encounter = await discharged(world)
    await correct(world, patient, encounter, Change.ENTERED_IN_ERROR)
    assert (await plan_of(world, patient, terms.COURSE_PLAN))["status"] == "revoked"
    assert {each["lifecycleStatus"] for each in await of_patient(world, "Goal", patient)} == {"cancelled"}
    still = [each for each in await of_patient(world, "Task", patient) if tasks.is_open(each)]
    assert [code_of(each) for each in still] == [terms.INFORM_PATIENT.code]


async def test_answers_are_kept_and_the_course_with_them(world: World) -> None:
    patient, encounter = await discharged(world)
    day_7 = START + timedelta(days=7)
    world.clock.move_to(day_7)
    received = await receive_response(world.context, ResponseRequest(patient, phq9(day_7, (1, 1, 1, 1, 1, 1, 1, 1, 1))))
    await receive_response(world.context, ResponseRequest(patient, check_in(day_7, {"unsafe": {"valueBoolean": True}})))
    await correct(world, patient, encounter, Change.ENTERED_IN_ERROR)
    found = await everything(world, patient)
    assert found[received.response]["status"] == "completed"
    assert {found[each]["status"] for each in received.observations} == {"final"}
    assert (await plan_of(world, patient, terms.COURSE_PLAN))["status"] == "active"
    assert tasks.is_open(await task(world, patient, terms.CLINICAL_REVIEW))
    forms = [each for each in found.values() if each["resourceType"] == "Task" and tasks.asks_for(each)]
    assert not [each for each in forms if each["status"] in {"requested", "ready"}]


async def second_infusion(world: World, patient: str, days: int = 3) -> tuple[str, str]:
    """Record and end a further infusion of the course; give its encounter and plan."""
    start = START + timedelta(days=days)
    encounter = await world.encounter(patient, period={"start": tasks.instant(start)})
    world.clock.move_to(start + timedelta(minutes=130))
    sheet = record(start, recorded_by=world.nurse)
    await record_infusion(world.context, recording(world, patient, encounter, record=sheet))
    left = await discharge(world.context, leaving(world, patient, encounter, left_at=start + timedelta(minutes=130)))
    return encounter, str(left.plan)


async def test_the_forms_hang_on_the_infusion_before_again(world: World) -> None:
    patient, _ = await discharged(world)
    alone = await open_forms(world, patient)
    encounter, plan = await second_infusion(world, patient)
    assert await open_forms(world, patient) != alone
    await correct(world, patient, encounter, Change.ENTERED_IN_ERROR)
    plans = await of_patient(world, "CarePlan", patient)
    assert {each["id"]: each["status"] for each in plans}[plan.partition("/")[2]] == "revoked"
    assert [each["status"] for each in plans].count("active") == 2
    # Three days have passed, so forms of three more days are asked by now.
    now = await open_forms(world, patient)
    assert alone <= now
    assert not (await correct(world, patient, encounter, Change.ENTERED_IN_ERROR)).changed


async def test_an_infusion_before_the_last_moves_no_forms(small_world: World) -> None:
    patient, first = await discharged(small_world)
    await second_infusion(small_world, patient)
    before = await open_forms(small_world, patient)
    await correct(small_world, patient, first, Change.ENTERED_IN_ERROR)
    assert await open_forms(small_world, patient) == before
    assert (await plan_of(small_world, patient, terms.COURSE_PLAN))["status"] == "active"


async def open_forms(world: World, patient: str) -> set[tuple[str | None, datetime | None]]:
    """Give the course's forms that wait: which, and when they open."""
    course = f"CarePlan/{(await plan_of(world, patient, terms.COURSE_PLAN))['id']}"
    found = [each for each in await of_patient(world, "Task", patient) if based_on(each, course)]
    return {(tasks.asks_for(each), tasks.window_of(each)[0]) for each in found if tasks.is_open(each)}


async def test_an_infusion_without_an_encounter_is_found_before_the_one_taken_back(small_world: World) -> None:
    world = small_world
    patient, _ = await visit(world)
    sheet = record(infusion="inf-1", recorded_by=world.nurse)
    await record_infusion(world.context, recording(world, patient, None, record=sheet))
    await discharge(world.context, leaving(world, patient, None, infusion="inf-1"))
    alone = await open_forms(world, patient)
    encounter, _ = await second_infusion(world, patient)
    await correct(world, patient, encounter, Change.ENTERED_IN_ERROR)
    assert alone <= await open_forms(world, patient)


# --- afterwards ------------------------------------------------------------------------------------------------------
async def test_a_late_signal_makes_no_plan_of_what_was_taken_back(small_world: World) -> None:
    patient, encounter = await discharged(small_world)
    await correct(small_world, patient, encounter, Change.ENTERED_IN_ERROR)
    with pytest.raises(NotAnInfusion):
        await discharge(small_world.context, leaving(small_world, patient, encounter))


async def test_a_discharge_after_a_retraction_makes_the_next_generation(world: World) -> None:
    patient, encounter = await discharged(world)
    done = await correct(world, patient, encounter, Change.ENTERED_IN_ERROR)
    again = await discharge(world.context, leaving(world, patient, encounter, start=START, end=END))
    assert again.plan != done.plan
    plans = {f"CarePlan/{each['id']}": each["status"] for each in await of_patient(world, "CarePlan", patient)}
    assert (plans[str(done.plan)], plans[str(again.plan)], plans[str(again.course)]) == ("revoked", "active", "active")
    active = [each for each in await of_patient(world, "ServiceRequest", patient) if each["status"] == "active"]
    assert {f"ServiceRequest/{each['id']}" for each in active} == set(again.service_requests)
    assert len(active) == 2
    # The retraction comes once more, late: it is about the record that was taken back, not about the new plan.
    late = await correct_infusion(world.another_process(), asked(world, patient, encounter, Change.ENTERED_IN_ERROR))
    assert (late.changed, late.plan) == (False, done.plan)
    # And again, of the new plan, by its name.
    twice = await correct(world, patient, encounter, Change.ENTERED_IN_ERROR, plan=again.plan)
    assert twice.plan == again.plan
    third = await discharge(world.context, leaving(world, patient, encounter, start=START, end=END))
    assert third.plan not in {done.plan, again.plan}


async def test_the_right_record_begins_the_next_generation(world: World) -> None:
    patient, encounter = await discharged(world)
    done = await correct(world, patient, encounter, Change.ENTERED_IN_ERROR)
    world.clock.advance(timedelta(hours=2))
    right = record(START + timedelta(minutes=90), recorded_by=world.nurse, infusion="2")
    begun = await record_infusion(world.context, recording(world, patient, encounter, record=right))
    left = await discharge(world.context, leaving(world, patient, encounter, left_at=LEFT + timedelta(minutes=100)))
    assert left.plan == begun.plan != done.plan
    assert (await world.server.client().read("CarePlan", str(left.plan).partition("/")[2]))["status"] == "active"


# --- several in one episode ------------------------------------------------------------------------------------------
async def two_in_one(world: World) -> tuple[str, str]:
    patient, encounter = await recorded(world)
    world.clock.advance(timedelta(hours=3))
    later = record(START + timedelta(hours=3), recorded_by=world.nurse, infusion="2")
    await record_infusion(world.context, recording(world, patient, encounter, record=later))
    await discharge(world.context, leaving(world, patient, encounter, left_at=LEFT + timedelta(hours=3)))
    return patient, encounter


async def test_of_two_infusions_one_is_taken_back_and_the_plan_stays_for_the_other(world: World) -> None:
    patient, encounter = await two_in_one(world)
    assert (await plan_of(world, patient))["period"]["start"] == tasks.instant(END + timedelta(hours=3))
    done = await correct(world, patient, encounter, Change.ENTERED_IN_ERROR, infusion="2")
    plan = await plan_of(world, patient)
    assert (plan["status"], plan["period"]["start"]) == ("active", tasks.instant(END))
    observations = await of_patient(world, "Observation", patient)
    gone = [each for each in observations if each["partOf"] == [{"reference": done.record}]]
    assert {code_of(each) for each in gone} >= {terms.BP_PANEL.code}
    for each in observations:
        measured = not tasks.has_code(each, terms.READINESS)
        assert each["status"] == ("entered-in-error" if each in gone and measured else "final")
    assert not (await correct(world, patient, encounter, Change.ENTERED_IN_ERROR, infusion="2")).changed
    last = await correct(world, patient, encounter, Change.ENTERED_IN_ERROR, infusion="1")
    assert (await plan_of(world, patient))["status"] == "revoked"
    assert last.inform


async def test_without_an_encounter_the_infusions_id_finds_it(world: World) -> None:
    patient, _ = await visit(world)
    sheet = record(infusion="inf-88213", recorded_by=world.nurse)
    await record_infusion(world.context, recording(world, patient, None, record=sheet))
    await discharge(world.context, leaving(world, patient, None, infusion="inf-88213"))
    done = await correct(world, patient, None, Change.ENTERED_IN_ERROR, infusion="inf-88213")
    found = await everything(world, patient)
    assert found[str(done.plan)]["status"] == "revoked"
    assert {each["status"] for each in found.values() if each["resourceType"] == "Observation"} == {"entered-in-error"}
    other = await world.patient("Reyes")
    with pytest.raises((WrongSubject, NotFound)):
        await correct(world, other, None, Change.ENTERED_IN_ERROR, infusion="inf-88213")


async def test_a_procedure_is_corrected_like_an_administration(world: World) -> None:
    context = replace(world.context, clinic=replace(world.context.clinic, drug_record="procedure"))
    patient, encounter = await visit(world)
    await record_infusion(context, recording(world, patient, encounter))
    await discharge(context, leaving(world, patient, encounter))
    later = END + timedelta(minutes=30)
    done = await correct_infusion(context, asked(world, patient, encounter, Change.END_MOVED, end=later))
    client, id_ = world.server.client(), str(done.record).partition("/")[2]
    moved = await client.read("Procedure", id_)
    assert moved["performedPeriod"]["end"] == tasks.instant(later)
    assert moved["note"][0]["text"] == "Ketamine 35 mg intravenous over 70 minutes"
    await correct_infusion(context, asked(world, patient, encounter, Change.WRONG_PATIENT))
    gone = await client.read("Procedure", id_)
    assert (gone["status"], gone["statusReason"]["coding"][0]["code"]) == ("entered-in-error", "wrong-patient")


async def test_where_the_protocol_failed_nobody_is_asked_to_make_up_for_it(small_world: World) -> None:
    patient, encounter = await visit(small_world)
    client = small_world.server.client()
    stored = await client.read("Patient", patient.partition("/")[2])
    await client.update({k: v for k, v in stored.items() if k != "birthDate"}, if_match=stored["meta"]["versionId"])
    broken = with_broken_condition(small_world.context)
    await record_infusion(broken, recording(small_world, patient, encounter))
    done = await correct(small_world, patient, encounter, Change.NOT_DONE)
    assert (done.plan, done.inform) == (None, None)
    assert only(await of_patient(small_world, "Task", patient))["status"] == "cancelled"


async def test_a_plan_of_a_protocol_that_is_gone_is_not_moved_by_another(small_world: World) -> None:
    patient, encounter = await discharged(small_world)
    plan = await plan_of(small_world, patient)
    await nurse_moves(small_world, plan, instantiatesCanonical=[f"{terms.PLAN_INFUSION}|0.0.7"])
    before = await everything(small_world, patient)
    with pytest.raises(ProtocolFault):
        await correct(small_world, patient, encounter, Change.END_MOVED, end=END + timedelta(minutes=30))
    assert await everything(small_world, patient) == before
    # To take it back needs no protocol.
    assert (await correct(small_world, patient, encounter, Change.WRONG_PATIENT)).changed


# --- the EHR's own record --------------------------------------------------------------------------------------------
async def ehr_recorded(world: World) -> tuple[str, str, Resource]:
    patient, encounter = await visit(world)
    stored = await world.server.client().create(
        {
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationCodeableConcept": terms.KETAMINE_RXNORM.concept(),
            "subject": {"reference": patient},
            "context": {"reference": encounter},
            "effectivePeriod": {"start": tasks.instant(START), "end": tasks.instant(END)},
        }
    )
    await record_infusion(world.context, recording(world, patient, encounter))
    await discharge(world.context, leaving(world, patient, encounter))
    return patient, encounter, stored


async def test_the_ehrs_record_is_left_and_its_new_end_moves_the_plan(world: World) -> None:
    patient, encounter, stored = await ehr_recorded(world)
    later = END + timedelta(minutes=30)
    with pytest.raises(InvalidInput) as refused:
        await correct(world, patient, encounter, Change.END_MOVED, end=later)
    assert refused.value.where == ("end",)
    period = {"start": tasks.instant(START), "end": tasks.instant(later)}
    await nurse_moves(world, stored, effectivePeriod=period)
    done = await correct(world, patient, encounter, Change.END_MOVED, end=later)
    assert done.record is None
    assert (await plan_of(world, patient))["period"]["start"] == tasks.instant(later)
    drug = only(await of_patient(world, "MedicationAdministration", patient))
    assert (drug["status"], drug["effectivePeriod"]) == ("completed", period)


async def test_what_the_ehr_still_says_was_given_is_not_taken_back_behind_its_back(world: World) -> None:
    patient, encounter, stored = await ehr_recorded(world)
    for kind in (Change.ENTERED_IN_ERROR, Change.NOT_DONE, Change.STOPPED):
        with pytest.raises(InvalidInput) as refused:
            await correct(world, patient, encounter, kind)
        assert refused.value.where == ("kind",)
    await nurse_moves(world, stored, status="entered-in-error")
    await correct(world, patient, encounter, Change.ENTERED_IN_ERROR)
    assert (await plan_of(world, patient))["status"] == "revoked"
    assert {each["status"] for each in await of_patient(world, "Observation", patient)} == {"entered-in-error"}


# --- preview ---------------------------------------------------------------------------------------------------------
async def test_a_preview_shows_all_and_writes_nothing(world: World) -> None:
    patient, encounter = await discharged(world)
    before = await everything(world, patient)
    bundle = await preview_correction(world.context, asked(world, patient, encounter, Change.ENTERED_IN_ERROR))
    kinds = {entry["resource"]["resourceType"] for entry in bundle["entry"]}
    assert kinds >= {"CarePlan", "Task", "Observation", "MedicationAdministration", "ServiceRequest", "Provenance"}
    assert all(entry["request"].get("ifMatch") or entry["request"].get("ifNoneExist") for entry in bundle["entry"])
    assert await everything(world, patient) == before


# --- refused ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [Change.END_MOVED, Change.STOPPED, Change.NOT_DONE])
async def test_what_was_taken_back_stays_taken_back(small_world: World, kind: Change) -> None:
    patient, encounter = await recorded(small_world)
    await correct(small_world, patient, encounter, Change.WRONG_PATIENT)
    times = {"end": END} if kind is Change.END_MOVED else {}
    with pytest.raises(IllegalMove) as refused:
        await correct(small_world, patient, encounter, kind, **times)
    assert set(refused.value.legal) == {"entered-in-error", "wrong-patient"}


@pytest.mark.parametrize(
    ("kind", "more", "error", "where"),
    [
        (Change.NOT_DONE, {"reason": "  "}, InvalidInput, "reason"),
        (Change.END_MOVED, {}, InvalidInput, "end"),
        (Change.END_MOVED, {"end": START - timedelta(minutes=1)}, InvalidInput, "end"),
        (Change.END_MOVED, {"end": START + timedelta(days=2)}, InvalidInput, "end"),
        (Change.END_MOVED, {"end": END.replace(tzinfo=None)}, MissingZone, "end"),
        (Change.NOT_DONE, {"end": END}, InvalidInput, "end"),
        (Change.END_MOVED, {"end": END, "agreed_by": "Device/1"}, InvalidInput, "agreed_by"),
        (Change.NOT_DONE, {"infusion": "7"}, NotFound, "infusion"),
        (Change.NOT_DONE, {"plan": "CarePlan/nobody-here"}, NotFound, "plan"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_field_named(
    small_world: World, kind: Change, more: Resource, error: type[AftercareError], where: str
) -> None:
    patient, encounter = await recorded(small_world)
    before = await everything(small_world, patient)
    with pytest.raises(error) as refused:
        await correct(small_world, patient, encounter, kind, **more)
    assert where in refused.value.where
    assert await everything(small_world, patient) == before


async def test_an_infusion_that_still_runs_has_no_end_to_move(small_world: World) -> None:
    patient, encounter = await recorded(
        small_world, status=InfusionStatus.IN_PROGRESS, end=None, checks=(), escort=Escort(None, None, None, False)
    )
    with pytest.raises(IllegalMove):
        await correct(small_world, patient, encounter, Change.END_MOVED, end=END)


async def test_another_patients_encounter_is_refused(small_world: World) -> None:
    _, encounter = await recorded(small_world)
    other = await small_world.patient("Reyes")
    with pytest.raises(WrongSubject):
        await correct(small_world, other, encounter, Change.NOT_DONE)


async def test_an_encounter_without_an_infusion_has_nothing_to_correct(small_world: World) -> None:
    patient, encounter = await visit(small_world)
    with pytest.raises(NotFound):
        await correct(small_world, patient, encounter, Change.NOT_DONE)
