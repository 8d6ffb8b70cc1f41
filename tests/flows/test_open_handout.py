"""The handout read from a chart: of the right plan, in the language asked for, never half of it and never softened."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from fhir_aftercare.care.handout import write
from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.errors import FhirBroken
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows import open_handout as module
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.open_handout import Missing, open_handout
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import leaving, of_patient, only, record, recording, visit, with_code
from world import END, START

if TYPE_CHECKING:
    from world import World


async def recorded(world: World, **more: Any) -> tuple[str, str]:
    patient, encounter = await visit(world)
    made = record(recorded_by=world.nurse, **more)
    await record_infusion(world.context, recording(world, patient, encounter, record=made))
    return patient, encounter


async def left(world: World, **more: Any) -> tuple[str, str]:
    patient, encounter = await recorded(world)
    await discharge(world.context, leaving(world, patient, encounter, **more))
    world.round_trips()
    return patient, encounter


def words(view: module.HandoutView) -> str:
    assert view.facts is not None, view.missing
    made = write(view.facts)
    return " ".join(line for section in made.sections for p in section.points for line in (p.lead, *p.lines))


async def change(world: World, resource: dict[str, Any], **values: Any) -> None:
    """Change a resource as somebody else on the same server does."""
    await world.server.client().update({**resource, **values}, if_match=resource["meta"]["versionId"])


# --- signed ----------------------------------------------------------------------------------------------------------
async def test_a_signed_plan_is_read_in_one_batch(small_world: World) -> None:
    patient, encounter = await left(small_world)
    view = await open_handout(small_world.context, patient, encounter, drafts=True)
    assert small_world.round_trips() == ["batch"]
    facts = view.facts
    assert facts is not None
    assert (facts.name, facts.escort, facts.draft, view.as_written) == ("Ana", "Sam", False, 0)
    assert [each.driving for each in facts.restrictions if each.driving != "no"] == ["time"]
    assert len(facts.forms) > 3
    assert "We will call you between 09:00 and 18:00 on Thursday, September 17." in words(view)


async def test_without_an_encounter_the_newest_visit_is_looked_for(small_world: World) -> None:
    patient, encounter = await left(small_world)
    view = await open_handout(small_world.context, patient, None, drafts=True)
    assert small_world.round_trips() == ["batch", "batch"]
    assert view.encounter == encounter
    assert view.facts is not None


async def test_the_patient_reads_it_days_later_and_in_another_visit(small_world: World) -> None:
    patient, _ = await left(small_world)
    small_world.clock.move_to(END + timedelta(days=5))
    other = await small_world.encounter(patient)
    for encounter, drafts in ((None, False), (other, False), (other, True)):
        view = await open_handout(small_world.context, patient, encounter, drafts=drafts)
        assert view.facts is not None
        assert view.facts.day == END


@pytest.mark.parametrize(("written", "asked"), [("en", "es"), ("es", "en")])
async def test_the_charts_words_are_put_into_the_language_asked_for(
    small_world: World, written: str, asked: str
) -> None:
    patient, encounter = await left(small_world, language=written)
    same = await open_handout(small_world.context, patient, encounter, language=written)
    other = await open_handout(small_world.context, patient, encounter, language=asked)
    assert (same.as_written, other.as_written) == (0, 0)
    english, spanish = (words(same), words(other)) if written == "en" else (words(other), words(same))
    for part in ("Do not drive", "drink no alcohol", "Call us if you vomit", "PHQ-9, every week"):
        assert part in english
    for part in ("No conduzca", "no beba alcohol", "Llámenos si vomita", "PHQ-9, cada semana"):
        assert part in spanish
    assert not {"Do not", "Call us"} & {part for part in ("Do not", "Call us") if part in spanish}


async def test_the_patients_own_language_comes_first(small_world: World) -> None:
    patient, encounter = await left(small_world)
    resource = await small_world.server.client().read("Patient", patient.rpartition("/")[2])
    spoken = {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "es-MX"}]}, "preferred": True}
    await change(small_world, resource, communication=[spoken])
    view = await open_handout(small_world.context, patient, encounter)
    assert (view.language, view.in_own_language) == ("es", True)
    assert view.facts is not None
    assert view.facts.language == "es"
    other = {"language": {"coding": [{"code": "vi"}]}, "preferred": True}
    resource = await small_world.server.client().read("Patient", patient.rpartition("/")[2])
    await change(small_world, resource, communication=[other])
    view = await open_handout(small_world.context, patient, encounter)
    assert (view.language, view.in_own_language) == ("en", False)


async def test_what_only_a_person_releases_says_so_in_both_languages(small_world: World) -> None:
    patient, encounter = await left(small_world, sedatives_given=True)
    for language in ("en", "es"):
        view = await open_handout(small_world.context, patient, encounter, language=language)
        assert view.facts is not None
        assert [each.driving for each in view.facts.restrictions if each.driving != "no"] == ["clinic"]


async def test_times_are_where_the_patient_sleeps(small_world: World) -> None:
    patient, encounter = await left(small_world, zone="America/Los_Angeles")
    view = await open_handout(small_world.context, patient, encounter)
    assert view.facts is not None
    assert view.facts.zone == ZoneInfo("America/Los_Angeles")
    assert "No driving before 07:00 on Thursday, September 17" in words(view)
    assert "Until 10:40 on Thursday, September 17" in words(view)


async def test_words_that_a_person_changed_stay_as_they_are_without_a_time_of_ours(small_world: World) -> None:
    patient, encounter = await left(small_world)
    requests = await of_patient(small_world, "ServiceRequest", patient)
    driving = only([each for each in requests if each["patientInstruction"].startswith("Do not drive")])
    await change(small_world, driving, patientInstruction="Do not drive for a week.")
    for language in ("en", "es"):
        view = await open_handout(small_world.context, patient, encounter, language=language)
        assert view.as_written == 1
        said = words(view)
        assert "Do not drive for a week." in said
        assert "07:00" not in said


async def test_of_a_patient_who_left_alone_nobody_is_said_to_take_home(small_world: World) -> None:
    patient, encounter = await left(small_world, escort="left-alone", escort_person=None)
    view = await open_handout(small_world.context, patient, encounter)
    assert view.facts is not None
    assert view.facts.escort is None
    assert len(view.facts.calls) == 2  # that evening, and the day after


# --- not signed ------------------------------------------------------------------------------------------------------
async def test_staff_see_what_would_be_written_and_nothing_is(small_world: World) -> None:
    patient, encounter = await recorded(small_world)
    small_world.round_trips()
    draft = await open_handout(small_world.context, patient, encounter, drafts=True)
    assert small_world.round_trips() == ["batch"]
    assert draft.facts is not None
    assert draft.facts.draft
    assert only(await of_patient(small_world, "CarePlan", patient))["status"] == "draft"
    await discharge(small_world.context, leaving(small_world, patient, encounter))
    signed = await open_handout(small_world.context, patient, encounter, drafts=True)
    assert signed.facts is not None
    assert replace(write(draft.facts), draft="") == write(signed.facts)


async def test_the_draft_is_in_the_language_asked_for(small_world: World) -> None:
    patient, encounter = await recorded(small_world)
    view = await open_handout(small_world.context, patient, encounter, language="es", drafts=True)
    assert view.as_written == 0
    assert "No conduzca antes de las 07:00" in words(view)


async def test_the_patient_sees_no_draft(small_world: World) -> None:
    patient, encounter = await recorded(small_world)
    assert (await open_handout(small_world.context, patient, encounter)).missing is Missing.NOT_SIGNED


async def test_while_the_infusion_runs_there_are_no_times(small_world: World) -> None:
    patient, encounter = await visit(small_world)
    small_world.clock.move_to(START + timedelta(minutes=5))
    running = record(end=None, status=InfusionStatus.IN_PROGRESS, ready=False, checks=())
    await record_infusion(small_world.context, recording(small_world, patient, encounter, record=running))
    view = await open_handout(small_world.context, patient, encounter, drafts=True)
    assert view.missing is Missing.NOT_ENDED


async def test_before_any_infusion_there_is_no_handout(small_world: World) -> None:
    patient, encounter = await visit(small_world)
    for drafts in (False, True):
        view = await open_handout(small_world.context, patient, encounter, drafts=drafts)
        assert view.missing is Missing.NO_PLAN


# --- never half of it ------------------------------------------------------------------------------------------------
async def test_a_plan_that_was_revoked_is_none(small_world: World) -> None:
    patient, encounter = await left(small_world)
    for plan in await of_patient(small_world, "CarePlan", patient):
        await change(small_world, plan, status="revoked")
    view = await open_handout(small_world.context, patient, encounter)
    assert view.missing is Missing.NO_PLAN


async def test_without_what_was_taught_there_is_no_handout(small_world: World) -> None:
    patient, encounter = await left(small_world)
    task = only(with_code(await of_patient(small_world, "Task", patient), terms.TEACH_BACK))
    await change(small_world, task, input=[tasks.text_input(terms.INPUT_SELF_CARE, "Rest.")])
    view = await open_handout(small_world.context, patient, encounter)
    assert view.missing is Missing.NO_WORDS


@pytest.mark.parametrize("drafts", [False, True])
async def test_a_chart_read_in_part_gives_none(
    small_world: World, monkeypatch: pytest.MonkeyPatch, *, drafts: bool
) -> None:
    patient, encounter = await (recorded if drafts else left)(small_world)
    read = module.read_chart

    async def partly(*given: Any) -> Any:
        chart = await read(*given)
        return replace(chart, gaps={"observations" if drafts else "plans": FhirBroken("down")})

    monkeypatch.setattr(module, "read_chart", partly)
    view = await open_handout(small_world.context, patient, encounter, drafts=drafts)
    assert view.missing is Missing.NOT_READ


async def test_an_old_protocols_words_are_kept_as_they_were_written(small_world: World) -> None:
    patient, encounter = await left(small_world)
    activities = {
        name: replace(each, inputs=(), dynamic=()) for name, each in small_world.context.protocol.activities.items()
    }
    changed = replace(small_world.context.protocol, activities=activities)
    view = await open_handout(replace(small_world.context, protocol=changed), patient, encounter, language="es")
    assert view.as_written > 10
    assert "Never do so before 07:00 on Thursday, September 17." in words(view)
