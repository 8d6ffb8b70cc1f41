"""An infusion is recorded once, corrected in place, and begins its plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.care.correction import Change
from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.errors import InvalidInput, NotFound, OutOfRange, WrongSubject
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.check import check_bundle
from fhir_aftercare.flows.chart import read_chart
from fhir_aftercare.flows.correct import CorrectionRequest, correct_infusion
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.record_infusion import decide, preview_record, record_infusion, sections
from flows.cases import check, code_of, of_patient, only, phq9, record, recording, visit, with_code
from world import END, START

if TYPE_CHECKING:
    from world import World


async def test_everything_measured_is_on_the_server_in_one_batch_and_one_transaction(world: World) -> None:
    patient, encounter = await visit(world)
    recorded = await record_infusion(world.context, recording(world, patient, encounter))
    assert world.round_trips() == ["batch", "transaction"]
    observations = await of_patient(world, "Observation", patient)
    assert {f"Observation/{each['id']}" for each in observations} == set(recorded.observations)
    pressures = [each for each in observations if tasks.has_code(each, terms.BP_PANEL)]
    assert sorted(each["component"][0]["valueQuantity"]["value"] for each in pressures) == [124, 126, 146]
    assert all(each["encounter"]["reference"] == encounter for each in observations)
    assert all(each["partOf"][0]["reference"] == recorded.drug_record for each in observations)
    assert all(each["performer"][0]["reference"] == world.nurse for each in observations)
    drug = await world.server.client().read("MedicationAdministration", str(recorded.drug_record).partition("/")[2])
    assert drug["effectivePeriod"]["end"] == tasks.instant(END)
    assert drug["dosage"]["dose"]["value"] == 35


async def test_the_plan_begins_as_a_draft_with_escort_and_baseline_forms(world: World) -> None:
    patient, encounter = await visit(world)
    recorded = await record_infusion(world.context, recording(world, patient, encounter))
    plan = only(await of_patient(world, "CarePlan", patient))
    assert (f"CarePlan/{plan['id']}", plan["status"]) == (recorded.plan, "draft")
    made = await of_patient(world, "Task", patient)
    assert sorted(code_of(each) for each in made) == ["complete-questionnaire", "complete-questionnaire", "escort-home"]
    escort = only(with_code(made, terms.ESCORT_HOME))
    assert [each["valueString"] for each in escort["input"]] == ["Sam Rivera", "brother", "+1 555 0142"]
    assert {each["reference"]["reference"] for each in plan["activity"]} == set(recorded.tasks)


async def test_a_recent_score_needs_no_baseline_form(world: World) -> None:
    patient, encounter = await visit(world)
    world.clock.move_to(START - timedelta(days=2))
    before = phq9(START - timedelta(days=2), (2, 2, 2, 2, 2, 2, 2, 2, 0))
    await receive_response(world.context, ResponseRequest(patient, before))
    world.clock.move_to(END + timedelta(hours=2))
    await record_infusion(world.context, recording(world, patient, encounter))
    asked = {tasks.asks_for(each) for each in await of_patient(world, "Task", patient)}
    assert asked == {None, terms.QUESTIONNAIRE_GAD7}


async def test_recording_it_again_changes_nothing(world: World) -> None:
    patient, encounter = await visit(world)
    request = recording(world, patient, encounter)
    first = await record_infusion(world.context, request)
    world.round_trips()
    again = await record_infusion(world.another_process(), request)
    assert again == replace(first, changed=False)
    provenance = await world.server.client().search_all("Provenance", {"target": str(first.drug_record)})
    assert len(provenance.matches) == 1


async def test_a_corrected_value_amends_and_keeps_what_was_there(world: World) -> None:
    patient, encounter = await visit(world)
    request = recording(world, patient, encounter)
    await record_infusion(world.context, request)
    checks = list(request.record.checks)
    checks[1] = replace(checks[1], systolic=164)
    corrected = replace(request, record=replace(request.record, checks=tuple(checks)), reason="Misread")
    again = await record_infusion(world.context, corrected)
    assert again.changed
    pressures = [
        each for each in await of_patient(world, "Observation", patient) if tasks.has_code(each, terms.BP_PANEL)
    ]
    assert sorted(each["component"][0]["valueQuantity"]["value"] for each in pressures) == [124, 126, 164]
    amended = only([each for each in pressures if each["status"] == "amended"])
    versions = await world.server.client().history("Observation", amended["id"])
    assert [each["component"][0]["valueQuantity"]["value"] for each in versions] == [164, 146]
    told = await world.server.client().search_all("Provenance", {"target": f"Observation/{amended['id']}"})
    assert sorted(each["activity"]["coding"][0]["code"] for each in told.matches) == ["CREATE", "UPDATE"]
    assert "Misread" in [each["reason"][0]["text"] for each in told.matches if each.get("reason")]


async def test_rows_can_be_added_while_the_infusion_runs(world: World) -> None:
    patient, encounter = await visit(world)
    running = record(
        status=InfusionStatus.IN_PROGRESS, end=None, checks=(check(START), check(START + timedelta(minutes=15)))
    )
    first = await record_infusion(world.context, recording(world, patient, encounter, record=running))
    later = replace(running, checks=(*running.checks, check(START + timedelta(minutes=30))))
    second = await record_infusion(world.context, recording(world, patient, encounter, record=later))
    assert (second.plan, second.drug_record) == (first.plan, first.drug_record)
    assert len(second.observations) > len(first.observations)
    ended = await record_infusion(world.context, recording(world, patient, encounter))
    drug = await world.server.client().read("MedicationAdministration", str(ended.drug_record).partition("/")[2])
    assert (drug["status"], drug["effectivePeriod"]["end"]) == ("completed", tasks.instant(END))


async def test_the_ehrs_own_record_of_the_drug_is_not_doubled(world: World) -> None:
    patient, encounter = await visit(world)
    theirs = {
        "resourceType": "MedicationAdministration",
        "status": "completed",
        "medicationCodeableConcept": {"coding": [{"system": terms.RXNORM, "code": terms.KETAMINE_RXNORM.code}]},
        "subject": {"reference": patient},
        "context": {"reference": encounter},
        "effectivePeriod": {"start": tasks.instant(START), "end": tasks.instant(END)},
    }
    stored = await world.server.client().create(theirs)
    recorded = await record_infusion(world.context, recording(world, patient, encounter))
    assert recorded.drug_record == f"MedicationAdministration/{stored['id']}"
    assert len(await of_patient(world, "MedicationAdministration", patient)) == 1


async def test_without_an_encounter_the_infusions_own_id_holds_it_together(world: World) -> None:
    patient, _ = await visit(world)
    request = recording(world, patient, None, record=record(infusion="inf-88213", recorded_by=world.nurse))
    first = await record_infusion(world.context, request)
    again = await record_infusion(world.another_process(), request)
    assert again == replace(first, changed=False)
    assert len(await of_patient(world, "CarePlan", patient)) == 1


async def test_a_procedure_is_written_where_the_ehr_keeps_its_own_medication_record(world: World) -> None:
    context = replace(world.context, clinic=replace(world.context.clinic, drug_record="procedure"))
    patient, encounter = await visit(world)
    recorded = await record_infusion(context, recording(world, patient, encounter))
    assert str(recorded.drug_record).startswith("Procedure/")


async def test_an_infusion_that_was_not_done_begins_no_plan(world: World) -> None:
    patient, encounter = await visit(world)
    not_done = record(status=InfusionStatus.NOT_DONE, end=None, dose_mg=None, checks=(check(START),), escort=None)
    recorded = await record_infusion(world.context, recording(world, patient, encounter, record=not_done))
    assert (recorded.plan, recorded.tasks) == (None, ())
    assert await of_patient(world, "CarePlan", patient) == []


async def test_a_preview_writes_nothing(world: World) -> None:
    patient, encounter = await visit(world)
    bundle = await preview_record(world.context, recording(world, patient, encounter))
    assert {each["resource"]["resourceType"] for each in bundle["entry"]} >= {"CarePlan", "Task", "Observation"}
    assert await of_patient(world, "Observation", patient) == []


@pytest.mark.parametrize(
    ("checks", "where"),
    [
        ((check(START, 301),), "checks[0].systolic"),
        ((check(START), check(START + timedelta(minutes=5), moaa_s=6)), "checks[1].moaa_s"),
    ],
)
async def test_a_value_that_cannot_be_is_refused_and_nothing_is_sent(
    small_world: World, checks: tuple, where: str
) -> None:
    patient, encounter = await visit(small_world)
    with pytest.raises(OutOfRange) as refused:
        await record_infusion(
            small_world.context, recording(small_world, patient, encounter, record=record(checks=checks))
        )
    assert where in refused.value.where
    assert small_world.round_trips() == []


async def test_an_end_before_the_start_is_refused(small_world: World) -> None:
    patient, encounter = await visit(small_world)
    wrong = record(end=START - timedelta(minutes=1))
    with pytest.raises(InvalidInput) as refused:
        await record_infusion(small_world.context, recording(small_world, patient, encounter, record=wrong))
    assert "end" in refused.value.where


async def test_an_unknown_patient_is_named_as_such(world: World) -> None:
    _, encounter = await visit(world)
    with pytest.raises(NotFound) as refused:
        await record_infusion(world.context, recording(world, "Patient/nobody-here", encounter))
    assert refused.value.where == ("patient",)


async def test_another_patients_encounter_is_refused(world: World) -> None:
    patient, _ = await visit(world)
    _, other = await visit(world)
    with pytest.raises(WrongSubject):
        await record_infusion(world.context, recording(world, patient, other))
    assert await of_patient(world, "Observation", patient) == []


async def test_two_infusions_of_ours_within_two_hours_are_two_records(world: World) -> None:
    patient, encounter = await visit(world)
    first = await record_infusion(world.context, recording(world, patient, encounter))
    again = record(START + timedelta(minutes=50), infusion="2", recorded_by=world.nurse, ready=False)
    world.clock.move_to(END + timedelta(hours=4))
    second = await record_infusion(world.context, recording(world, patient, encounter, record=again))
    assert second.drug_record != first.drug_record
    assert second.plan == first.plan, "two administrations before the patient leaves are one episode"


async def test_a_record_that_was_taken_back_begins_no_plan_when_it_comes_again(world: World) -> None:
    patient, encounter = await visit(world)
    request = recording(world, patient, encounter)
    await record_infusion(world.context, request)
    await correct_infusion(
        world.context, CorrectionRequest(patient, encounter, None, Change.ENTERED_IN_ERROR, "Wrong chart")
    )
    again = await record_infusion(world.context, request)
    assert (again.plan, again.changed) == (None, False)
    assert len(await of_patient(world, "CarePlan", patient)) == 1


async def test_a_chart_that_shows_the_tasks_but_not_yet_their_plan_still_makes_a_sound_bundle(world: World) -> None:
    """A batch is no snapshot: another process may write between its two searches."""
    patient, encounter = await visit(world)
    request = recording(world, patient, encounter)
    recorded = await record_infusion(world.context, request)
    whole = await read_chart(world.context.fhir, sections(world.context, request))
    torn = replace(whole, resources={type_: of for type_, of in whole.resources.items() if type_ != "CarePlan"})
    transaction = decide(world.context, request, torn).transaction
    check_bundle(transaction.bundle(), transaction.existing)
    plan = next(resource for _, resource in transaction.written() if resource["resourceType"] == "CarePlan")
    assert {each["reference"]["reference"] for each in plan["activity"]} <= set(recorded.tasks)
