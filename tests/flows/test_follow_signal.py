"""Whatever signal comes, however often and in whatever order: the one right plan, held or taken back with its visit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.errors import WrongSubject
from fhir_aftercare.fhir import terms
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.follow_signal import follow_signal
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.flows.signal import DischargeSignal
from fhir_aftercare.work.faults import NotYet
from flows.cases import LEFT, leaving, of_patient, only, recording, visit, with_code
from world import END, START

if TYPE_CHECKING:
    from fhir_aftercare.flows.follow_signal import Followed
    from world import World

Resource = dict[str, Any]

RXNORM = {"system": terms.KETAMINE_RXNORM.system, "code": terms.KETAMINE_RXNORM.code}


def signal(world: World, encounter: str | None, **more: Any) -> DischargeSignal:
    values = {"clinic": world.context.clinic.id, "source": "subscription", "event": "1", "encounter": encounter}
    return DischargeSignal(**{**values, **more})


async def follow(world: World, encounter: str | None, **more: Any) -> Followed:
    return await follow_signal(world.context, signal(world, encounter, **more))


async def change(world: World, reference: str, **elements: Any) -> None:
    client = world.server.client()
    type_, _, id_ = reference.partition("/")
    there = await client.read(type_, id_)
    await client.update({**there, **elements}, if_match=there["meta"]["versionId"])


async def finish(world: World, encounter: str, at: Any = LEFT) -> None:
    period = {"start": START.isoformat(), "end": at.isoformat()}
    await change(world, encounter, status="finished", period=period)


async def infused(world: World) -> tuple[str, str]:
    """Record an infusion through us, and end the visit."""
    patient, encounter = await visit(world)
    await record_infusion(world.context, recording(world, patient, encounter))
    await finish(world, encounter)
    return patient, encounter


async def drug(world: World, patient: str, encounter: str, **more: Any) -> str:
    """Record the drug as an EHR would."""
    resource = {
        "resourceType": "MedicationAdministration",
        "status": "completed",
        "medicationCodeableConcept": {"coding": [RXNORM]},
        "subject": {"reference": patient},
        "context": {"reference": encounter},
        "effectivePeriod": {"start": START.isoformat(), "end": END.isoformat()},
        **more,
    }
    stored = await world.server.client().create({k: v for k, v in resource.items() if v is not None})
    return f"MedicationAdministration/{stored['id']}"


async def infusion_plans(world: World, patient: str) -> list[Resource]:
    category = f"{terms.INFUSION_PLAN.system}|{terms.INFUSION_PLAN.code}"
    return await of_patient(world, "CarePlan", patient, category=category)


async def confirmations(world: World, patient: str) -> list[Resource]:
    return with_code(await of_patient(world, "Task", patient), terms.CONFIRM_DISCHARGE)


# --- one plan --------------------------------------------------------------------------------------------------------
async def test_a_finished_visit_gets_its_plan_once_whoever_tells_of_it_and_however_often(world: World) -> None:
    patient, encounter = await infused(world)
    first = await follow(world, encounter)
    assert (first.outcome, first.changed) == ("plan", True)
    plan = only(await infusion_plans(world, patient))
    assert (f"CarePlan/{plan['id']}", plan["status"]) == (first.plan, "active")
    for more in (
        {"source": "hl7v2", "kind": "finished", "occurred_at": LEFT, "patient": patient},
        {"source": "rest", "encounter": None, "patient": patient},
        {"source": "sweep", "kind": "changed"},
    ):
        again = await follow(world, **{"encounter": encounter, **more})
        assert (again.outcome, again.changed, again.plan) == ("unchanged", False, first.plan)


async def test_signals_at_once_in_two_processes_make_one_plan(world: World) -> None:
    patient, encounter = await infused(world)
    contexts = [world.context, world.another_process()]
    found = await asyncio.gather(*(follow_signal(each, signal(world, encounter)) for each in contexts for _ in "123"))
    assert len({each.plan for each in found}) == 1
    assert only(await infusion_plans(world, patient))["status"] == "active"


async def test_a_drug_that_only_the_ehr_recorded_is_enough(world: World) -> None:
    patient, encounter = await visit(world)
    await drug(world, patient, encounter)
    await finish(world, encounter)
    assert (await follow(world, encounter)).outcome == "plan"
    assert only(await infusion_plans(world, patient))["period"]["start"] == END.isoformat()


async def test_a_drug_that_the_record_only_refers_to_is_known(world: World) -> None:
    patient, encounter = await visit(world)
    made = await world.server.client().create({"resourceType": "Medication", "code": {"coding": [RXNORM]}})
    named = {"medicationReference": {"reference": f"Medication/{made['id']}"}, "medicationCodeableConcept": None}
    record = await drug(world, patient, encounter, **named)
    await finish(world, encounter)
    assert (await follow(world, encounter)).outcome == "plan"
    await change(world, record, status="not-done")
    assert (await follow(world, encounter, event="2")).outcome == "revoked"


async def test_what_is_no_infusion_writes_nothing(world: World) -> None:
    patient, encounter = await visit(world)
    await finish(world, encounter)
    world.round_trips()
    assert (await follow(world, encounter)).outcome == "not-an-infusion"
    assert "transaction" not in world.round_trips()
    assert await of_patient(world, "CarePlan", patient) == []
    await drug(world, patient, encounter)
    assert (await follow(world, encounter, event="2")).outcome == "plan"


async def test_a_visit_that_goes_on_is_left_alone(world: World) -> None:
    patient, encounter = await visit(world)
    await record_infusion(world.context, recording(world, patient, encounter))
    found = await follow(world, encounter)
    assert (found.outcome, found.changed) == ("not-finished", False)
    assert only(await infusion_plans(world, patient))["status"] == "draft"


@pytest.mark.parametrize("source", ["hl7v2", "rest"])
async def test_a_sender_that_is_ahead_of_the_fhir_server_is_waited_for(world: World, source: str) -> None:
    patient, encounter = await visit(world)
    await record_infusion(world.context, recording(world, patient, encounter))
    with pytest.raises(NotYet):
        await follow(world, encounter, source=source)
    await finish(world, encounter)
    assert (await follow(world, encounter, source=source)).outcome == "plan"


async def test_an_encounter_that_is_not_there_is_gone(world: World) -> None:
    assert (await follow(world, "Encounter/no-such-one")).outcome == "gone"
    patient = await world.patient()
    told = {"patient": patient, "occurred_at": LEFT}
    assert (await follow(world, "Encounter/no-such-one", **told)).outcome == "gone"


async def test_whose_visit_it_is_the_fhir_server_says_and_not_the_sender(world: World) -> None:
    patient, encounter = await infused(world)
    stranger = await world.patient("Stranger")
    found = await follow(world, encounter, patient=stranger, occurred_at=LEFT)
    assert found.outcome == "plan"
    assert len(await infusion_plans(world, patient)) == 1
    assert await infusion_plans(world, stranger) == []


async def test_a_visit_and_a_patient_are_found_by_their_numbers_and_no_url_holds_them(world: World) -> None:
    patient, encounter = await infused(world)
    number = f"mrn,|{world.organization.rpartition('/')[2]}"
    system = "https://hospital.example/id"
    for reference in (patient, encounter):
        await change(world, reference, identifier=[{"system": system, "value": number}])
    world.round_trips()
    found = await follow(world, None, source="hl7v2", encounter_identifier=(system, number))
    assert found.outcome == "plan"
    again = await follow(world, None, source="hl7v2", patient_identifier=(system, number))
    assert (again.outcome, again.plan) == ("unchanged", found.plan)
    with pytest.raises(NotYet):
        await follow(world, None, source="hl7v2", encounter_identifier=(system, "unknown"))


# --- held ------------------------------------------------------------------------------------------------------------
async def test_a_reopened_visit_holds_its_plan_and_goes_on_when_it_ends_again(world: World) -> None:
    patient, encounter = await infused(world)
    await follow(world, encounter)
    await change(world, encounter, status="in-progress", period={"start": START.isoformat()})
    held = await follow(world, encounter, event="2", kind="changed")
    assert (held.outcome, held.changed) == ("held", True)
    assert only(await infusion_plans(world, patient))["status"] == "on-hold"
    task = only(await confirmations(world, patient))
    assert (task["status"], task["priority"]) == ("requested", "urgent")
    assert task["input"][0]["valueString"] == "The EHR shows the visit as in-progress."
    again = await follow(world, encounter, event="3", kind="cancelled")
    assert (again.outcome, again.changed) == ("held", False)
    await finish(world, encounter)
    resumed = await follow(world, encounter, event="4")
    assert (resumed.outcome, resumed.changed) == ("plan", True)
    assert only(await infusion_plans(world, patient))["status"] == "active"
    task = only(await confirmations(world, patient))
    assert (task["status"], task["businessStatus"]["coding"][0]["code"]) == ("cancelled", "superseded")


async def test_a_plan_made_before_the_visit_ever_ended_is_not_held(world: World) -> None:
    patient, encounter = await visit(world)
    await drug(world, patient, encounter)
    await discharge(world.context, leaving(world, patient, encounter))
    found = await follow(world, encounter, kind="changed")
    assert (found.outcome, found.changed) == ("not-finished", False)
    assert only(await infusion_plans(world, patient))["status"] == "active"


async def test_a_cancelled_visit_with_a_dose_waits_for_a_person_whose_word_stands(world: World) -> None:
    patient, encounter = await infused(world)
    await follow(world, encounter)
    await change(world, encounter, status="cancelled")
    assert (await follow(world, encounter, event="2", kind="cancelled")).outcome == "held"
    task = only(await confirmations(world, patient))
    world.clock.move_to(LEFT + timedelta(minutes=20))
    moved = await move_task(
        world.context,
        MoveRequest(task=f"Task/{task['id']}", move="complete", person=world.nurse, outcome="At home with her brother"),
    )
    assert moved.resource["status"] == "completed"
    assert only(await infusion_plans(world, patient))["status"] == "active"
    again = await follow(world, encounter, event="3", kind="cancelled")
    assert (again.outcome, again.changed) == ("not-finished", False)
    assert only(await infusion_plans(world, patient))["status"] == "active"


async def test_a_plan_that_a_person_has_put_on_hold_stays_so(world: World) -> None:
    patient, encounter = await infused(world)
    followed = await follow(world, encounter)
    await change(world, str(followed.plan), status="on-hold")
    found = await follow(world, encounter, event="2")
    assert (found.outcome, found.changed) == ("unchanged", False)
    assert only(await infusion_plans(world, patient))["status"] == "on-hold"


# --- corrected -------------------------------------------------------------------------------------------------------
async def test_an_end_that_the_ehr_moves_moves_the_plan_and_what_was_told_later_only(world: World) -> None:
    patient, encounter = await visit(world)
    record = await drug(world, patient, encounter)
    await finish(world, encounter)
    await follow(world, encounter)
    later = END + timedelta(hours=8)
    world.clock.move_to(later + timedelta(minutes=30))
    await change(world, record, effectivePeriod={"start": START.isoformat(), "end": later.isoformat()})
    found = await follow(world, encounter, event="2", kind="changed")
    assert (found.outcome, found.changed) == ("plan", True)
    assert only(await infusion_plans(world, patient))["period"]["start"] == later.isoformat()
    assert len(with_code(await of_patient(world, "Task", patient), terms.INFORM_PATIENT)) == 1
    assert not (await follow(world, encounter, event="3", kind="changed")).changed


async def test_an_infusion_that_was_stopped_early_keeps_its_plan_and_no_restriction_ends_earlier_by_itself(
    world: World,
) -> None:
    patient, encounter = await visit(world)
    record = await drug(world, patient, encounter)
    await finish(world, encounter)
    await follow(world, encounter)
    before = {each["id"]: each["occurrencePeriod"] for each in await of_patient(world, "ServiceRequest", patient)}
    earlier = END - timedelta(minutes=20)
    period = {"start": START.isoformat(), "end": earlier.isoformat()}
    await change(world, record, status="stopped", effectivePeriod=period)
    assert (await follow(world, encounter, event="2")).outcome == "plan"
    plan = only(await infusion_plans(world, patient))
    assert (plan["status"], plan["period"]["start"]) == ("active", earlier.isoformat())
    after = {each["id"]: each["occurrencePeriod"] for each in await of_patient(world, "ServiceRequest", patient)}
    assert {id_: each["end"] for id_, each in after.items()} == {id_: each["end"] for id_, each in before.items()}
    assert not (await follow(world, encounter, event="3")).changed


@pytest.mark.parametrize(("status", "ends"), [("not-done", "revoked"), ("entered-in-error", "entered-in-error")])
async def test_a_drug_record_that_is_taken_back_takes_the_plan_back(world: World, status: str, ends: str) -> None:
    patient, encounter = await visit(world)
    record = await drug(world, patient, encounter)
    await finish(world, encounter)
    await follow(world, encounter)
    await change(world, record, status=status)
    found = await follow(world, encounter, event="2", kind="changed")
    assert (found.outcome, found.changed) == ("revoked", True)
    assert only(await infusion_plans(world, patient))["status"] == ends
    assert not (await follow(world, encounter, event="3")).changed
    await drug(world, patient, encounter)
    assert (await follow(world, encounter, event="4")).outcome == "plan"
    assert sorted(each["status"] for each in await infusion_plans(world, patient)) == sorted(["active", ends])


async def test_a_visit_given_to_another_patient_takes_its_plan_back_and_makes_a_new_one(world: World) -> None:
    patient, encounter = await visit(world)
    record = await drug(world, patient, encounter)
    await finish(world, encounter)
    await follow(world, encounter)
    right = await world.patient("Right")
    for reference in (encounter, record):
        await change(world, reference, subject={"reference": right})
    found = await follow(world, encounter, event="2", kind="changed")
    assert (found.outcome, found.changed) == ("plan", True)
    assert only(await infusion_plans(world, patient))["status"] == "entered-in-error"
    plan = only(await infusion_plans(world, right))
    assert (plan["status"], f"CarePlan/{plan['id']}") == ("active", found.plan)
    told = with_code(await of_patient(world, "Task", patient), terms.INFORM_PATIENT)
    assert only(told)["status"] == "requested"
    assert not (await follow(world, encounter, event="3")).changed


# --- merged ----------------------------------------------------------------------------------------------------------
async def test_a_merged_patient_takes_all_of_ours_along_and_nothing_of_others(world: World) -> None:
    patient, encounter = await infused(world)
    await follow(world, encounter)
    theirs = await drug(world, patient, encounter)
    stands = await world.patient("Stands")
    before = {type_: len(await of_patient(world, type_, patient)) for type_ in ("CarePlan", "Task", "Observation")}
    merge = {"kind": "merged", "patient": patient, "encounter": None, "source": "hl7v2"}
    assert not (await follow(world, **merge)).changed
    await change(world, patient, active=False, link=[{"other": {"reference": stands}, "type": "replaced-by"}])
    found = await follow(world, **merge)
    assert (found.outcome, found.changed) == ("merged", True)
    for type_, count in before.items():
        assert await of_patient(world, type_, patient) == []
        assert len(await of_patient(world, type_, stands)) == count
    record = await world.server.client().read(*theirs.split("/"))
    assert record["subject"]["reference"] == patient
    assert not (await follow(world, **merge)).changed


# --- another clinic's ------------------------------------------------------------------------------------------------
async def test_a_visit_of_another_clinic_on_the_same_server_is_left_to_that_clinic(world: World) -> None:
    patient, encounter = await infused(world)
    ours = replace(world.context.clinic, organizations=frozenset({world.organization}))
    context = replace(world.context, clinic=ours)
    for more in ({}, {"patient": patient, "occurred_at": LEFT}):
        found = await follow_signal(context, signal(world, encounter, **more))
        assert (found.outcome, found.changed) == ("elsewhere", False)
    with pytest.raises(WrongSubject):
        await discharge(context, leaving(world, patient, encounter))
    assert only(await infusion_plans(world, patient))["status"] == "draft"
    await change(world, encounter, serviceProvider={"reference": world.organization})
    assert (await follow_signal(context, signal(world, encounter))).outcome == "plan"


async def test_a_plan_that_a_person_ended_is_not_made_again_until_the_drug_is_recorded_again(world: World) -> None:
    patient, encounter = await visit(world)
    record = await drug(world, patient, encounter)
    await finish(world, encounter)
    plan = str((await follow(world, encounter)).plan)
    await change(world, plan, status="revoked")
    await change(world, encounter, statusHistory=[])
    found = await follow(world, encounter, source="sweep", event="2", kind="finished")
    assert (found.outcome, found.changed, found.plan) == ("revoked", False, plan)
    await change(world, record, note=[{"text": "given after all"}])
    assert (await follow(world, encounter, source="sweep", event="3", kind="changed")).outcome == "plan"
    assert sorted(each["status"] for each in await infusion_plans(world, patient)) == ["active", "revoked"]
