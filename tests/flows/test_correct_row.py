"""A row of the sheet is corrected in place, in one transaction, by whoever has seen what stands there now."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.infusion import Check, Dissociation
from fhir_aftercare.errors import InvalidInput, NotFound, OutOfRange, Stale, WrongSubject
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.correct import Change, CorrectionRequest, correct_infusion
from fhir_aftercare.flows.correct_row import RowCorrection, ValueChange, correct_row
from fhir_aftercare.flows.next_infusion import next_infusion
from fhir_aftercare.flows.open_visit import find_encounters, open_visit
from fhir_aftercare.flows.record_infusion import RecordRequest, record_infusion
from fhir_aftercare.flows.row_history import row_history
from flows.cases import check, of_patient, only, record, visit, with_code
from world import START

if TYPE_CHECKING:
    from world import World

Resource = dict[str, Any]
WHY = "Read from the wrong monitor"
ROW = START + timedelta(minutes=15)


async def recorded(world: World) -> tuple[str, list[Resource]]:
    """Give a patient, and blood pressure, heart rate, SpO2 and dissociation of one row."""
    patient, encounter = await visit(world)
    row = check(ROW, 146, dissociation=Dissociation.MILD, id="a-row", oriented=True)
    request = RecordRequest(patient, encounter, record(checks=(row,), recorded_by=world.nurse), person=world.nurse)
    await record_infusion(world.context, request)
    world.round_trips()
    return patient, await of_patient(world, "Observation", patient)


def change(resource: Resource, at: Any = ROW, **value: Any) -> ValueChange:
    asked = Check(at=at, **value) if value else None
    return ValueChange(f"Observation/{resource['id']}", resource["meta"]["versionId"], asked)


def correction(world: World, patient: str, *changes: ValueChange, **more: Any) -> RowCorrection:
    return RowCorrection(patient, record(checks=()), changes, **{"reason": WHY, "person": world.nurse, **more})


async def test_values_and_time_are_corrected_in_one_transaction_and_stay_the_same_observations(world: World) -> None:
    patient, before = await recorded(world)
    later = ROW + timedelta(minutes=5)
    pressure, rate = only(with_code(before, terms.BP_PANEL)), only(with_code(before, terms.HEART_RATE))
    oriented = only(with_code(before, terms.ORIENTED))
    request = correction(
        world,
        patient,
        change(pressure, later, systolic=128, diastolic=79),
        change(rate, later, heart_rate=74),
        change(oriented, later, oriented=True),
    )
    assert await correct_row(world.context, request)
    assert world.round_trips() == ["batch", "transaction"]
    after = await of_patient(world, "Observation", patient)
    assert {each["id"] for each in after} == {each["id"] for each in before}
    moved = only(with_code(after, terms.BP_PANEL))
    assert [part["valueQuantity"]["value"] for part in moved["component"]] == [128, 79]
    assert (moved["status"], moved["effectiveDateTime"]) == ("amended", tasks.instant(later))
    assert only(with_code(after, terms.HEART_RATE))["effectiveDateTime"] == tasks.instant(later)
    assert only(with_code(after, terms.ORIENTED))["effectiveDateTime"] == tasks.instant(later)
    assert only(with_code(after, terms.SPO2_PULSE_OX))["status"] == "final"
    assert moved["performer"] == pressure["performer"]


async def test_a_row_is_taken_back_whole_and_again_changes_nothing(world: World) -> None:
    patient, before = await recorded(world)
    request = correction(world, patient, *(change(each) for each in before))
    assert await correct_row(world.context, request)
    after = await of_patient(world, "Observation", patient)
    assert {each["status"] for each in after} == {"entered-in-error"}
    found = await world.server.client().search_all("Provenance", {"target": f"Observation/{before[0]['id']}"})
    assert {each["activity"]["coding"][0]["code"] for each in found.matches} == {"CREATE", "NULLIFY"}
    assert not await correct_row(world.another_process(), request)


async def test_sent_again_it_changes_nothing_although_the_version_is_another(world: World) -> None:
    patient, before = await recorded(world)
    request = correction(world, patient, change(only(with_code(before, terms.HEART_RATE)), heart_rate=70))
    assert await correct_row(world.context, request)
    assert not await correct_row(world.another_process(), request)


async def test_whoever_decided_on_an_older_version_is_refused_and_nothing_is_written(world: World) -> None:
    patient, before = await recorded(world)
    rate, pressure = only(with_code(before, terms.HEART_RATE)), only(with_code(before, terms.BP_PANEL))
    await correct_row(world.context, correction(world, patient, change(rate, heart_rate=70)))
    late = correction(world, patient, change(pressure, systolic=120, diastolic=80), change(rate, heart_rate=90))
    with pytest.raises(Stale):
        await correct_row(world.another_process(), late)
    after = await of_patient(world, "Observation", patient)
    assert only(with_code(after, terms.HEART_RATE))["valueQuantity"]["value"] == 70
    assert only(with_code(after, terms.BP_PANEL))["status"] == "final"


@pytest.mark.parametrize(
    ("value", "more", "error"),
    [
        ({"heart_rate": 400}, {}, OutOfRange),
        ({"heart_rate": 70}, {"reason": " "}, InvalidInput),
        ({"heart_rate": 70, "at": START + timedelta(days=9)}, {}, InvalidInput),
    ],
)
async def test_what_cannot_be_is_refused(
    world: World, value: dict[str, Any], more: dict[str, Any], error: type[InvalidInput]
) -> None:
    patient, before = await recorded(world)
    with pytest.raises(error):
        await correct_row(
            world.context,
            correction(world, patient, change(only(with_code(before, terms.HEART_RATE)), **value), **more),
        )
    assert world.round_trips() == []


async def test_only_what_we_wrote_of_this_patient_is_corrected(world: World) -> None:
    patient, before = await recorded(world)
    rate = only(with_code(before, terms.HEART_RATE))
    other = await world.patient("Reyes")
    with pytest.raises(WrongSubject):
        await correct_row(world.context, correction(world, other, change(rate, heart_rate=70)))
    theirs = await world.server.client().create(
        {name: value for name, value in rate.items() if name not in {"id", "meta", "identifier"}}
    )
    with pytest.raises(InvalidInput):
        await correct_row(world.context, correction(world, patient, change(theirs, heart_rate=70)))
    with pytest.raises(NotFound):
        await correct_row(
            world.context, correction(world, patient, change({**rate, "id": "nobody-here"}, heart_rate=70))
        )


async def test_the_history_tells_each_version_who_wrote_it_and_why(world: World) -> None:
    patient, before = await recorded(world)
    rate = only(with_code(before, terms.HEART_RATE))
    await correct_row(world.context, correction(world, patient, change(rate, heart_rate=70)))
    now = only(with_code(await of_patient(world, "Observation", patient), terms.HEART_RATE))
    await correct_row(world.context, correction(world, patient, change(now), reason="Another patient's"))
    world.round_trips()
    history = await row_history(world.context, [now], reads_reasons=True)
    assert world.round_trips() == ["batch"]
    versions = history.versions[f"Observation/{rate['id']}"]
    assert versions is not None
    assert [each.finding.value for each in versions if each.finding] == [70, 70, 74]
    assert [each.status for each in versions] == ["entered-in-error", "amended", "final"]
    assert [each.said.reason for each in versions if each.said] == ["Another patient's", WHY, None]
    assert {each.said.who for each in versions if each.said} == {world.nurse}
    assert history.people[world.nurse]["name"][0]["family"] == "Okafor"


async def test_without_the_right_to_read_reasons_the_history_still_tells_the_values(world: World) -> None:
    _, before = await recorded(world)
    history = await row_history(world.context, before[:1], reads_reasons=False)
    versions = history.versions[f"Observation/{before[0]['id']}"]
    assert versions is not None
    assert [(each.said, each.by) for each in versions] == [(None, world.nurse)]


async def test_a_further_infusion_has_an_id_that_none_had_before_taken_back_or_not(world: World) -> None:
    patient, encounter = await visit(world)

    async def free() -> str | None:
        return next_infusion(world.context, await open_visit(world.context, patient, encounter))

    assert await free() == "1"
    await record_infusion(world.context, RecordRequest(patient, encounter, record()))
    assert await free() == "2"
    await correct_infusion(world.context, CorrectionRequest(patient, encounter, "1", Change.ENTERED_IN_ERROR, WHY))
    assert await free() == "2"
    again = replace(record(), infusion="2")
    assert (await record_infusion(world.context, RecordRequest(patient, encounter, again))).plan is not None


async def test_where_several_visits_are_under_way_all_may_be_meant_until_one_has_the_infusion(world: World) -> None:
    patient, encounter = await visit(world)
    other = await world.encounter(patient)
    found = await find_encounters(world.context, patient)
    assert {f"Encounter/{each['id']}" for each in found} == {encounter, other}
    await record_infusion(world.context, RecordRequest(patient, other, record()))
    found = await find_encounters(world.context, patient)
    assert [f"Encounter/{each['id']}" for each in found] == [other]
