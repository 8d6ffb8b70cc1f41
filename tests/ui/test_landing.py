"""Where a launch lands: by what the EHR asks for, who signed in, and where the visit stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import record as usual
from flows.cases import recording
from ui.house import house_of
from world import END, START

if TYPE_CHECKING:
    from pathlib import Path

    from servers import Server
    from ui.house import House


async def visit(house: House, name: str, *, after: timedelta | None = None, ended: bool = False) -> tuple[str, str]:
    """Make a patient in a visit: nothing recorded yet, or an infusion that runs or has ended."""
    world = house.world
    world.clock.move_to(START if after is None else START + after)
    patient = await world.patient(name)
    encounter = await world.encounter(patient)
    if after is not None:
        record = usual(ready=False)
        if not ended:
            record = replace(record, end=None, status=InfusionStatus.IN_PROGRESS, checks=record.checks[:1])
        await record_infusion(world.context, recording(world, patient, encounter, record=record))
    return patient.partition("/")[2], encounter.partition("/")[2]


async def lands(house: House, patient: str, **chart: Any) -> str:
    page = await house.browser().launch(patient=patient, **chart)
    assert page.status_code == 200, page.text
    return page.url.path.rpartition("/")[2]


async def test_a_nurse_whose_infusion_runs_lands_on_the_record(house: House) -> None:
    patient, encounter = await visit(house, "Nwosu", after=timedelta(minutes=10))
    assert await lands(house, patient, encounter=encounter) == "record"
    assert await lands(house, patient) == "record"  # an EHR that names no visit


async def test_a_visit_that_has_begun_and_holds_nothing_yet_lands_on_the_record(house: House) -> None:
    patient, encounter = await visit(house, "Silva")
    assert await lands(house, patient, encounter=encounter) == "record"


async def test_an_infusion_that_ended_without_a_plan_lands_on_the_plan(house: House) -> None:
    patient, encounter = await visit(house, "Moreau", after=END - START + timedelta(minutes=20), ended=True)
    assert await lands(house, patient, encounter=encounter) == "plan"


async def test_after_the_discharge_it_is_the_overview(house: House) -> None:
    assert await lands(house, await house.patient()) == "overview"


async def test_a_prescriber_lands_on_the_overview(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path, pages={"prescribers": frozenset({"Practitioner/9"})}) as house:
        patient, encounter = await visit(house, "Haddad", after=timedelta(minutes=10))
        house.signs_in("Practitioner/9")
        assert await lands(house, patient, encounter=encounter) == "overview"
        house.signs_in("Practitioner/8")
        assert await lands(house, patient, encounter=encounter) == "record"


@pytest.mark.parametrize("intent", ["record", "ready", "plan", "overview", "handout", "worklist", "board"])
async def test_the_page_an_ehr_asks_for_is_opened(house: House, intent: str) -> None:
    assert await lands(house, await house.patient(), intent=intent) == intent


async def test_an_intent_that_is_no_page_is_no_fault(house: House) -> None:
    assert await lands(house, await house.patient(), intent="reconcile-medications") == "overview"
