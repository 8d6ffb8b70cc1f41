"""The room board: who is given ketamine now, whose check is due, who may leave; of this clinic, in two round trips."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import check, leaving, recording
from flows.cases import record as usual
from ui.house import base_of, house_of
from world import END, START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    import httpx

    from servers import Server
    from ui.house import Browser, House

NOW = START + timedelta(minutes=26)
LATER = END + timedelta(minutes=85)


@pytest.fixture
async def own(quiet: Server, tmp_path: Path) -> AsyncIterator[House]:
    async with house_of(quiet, tmp_path) as made:
        yield made


async def running(house: House, name: str, **more: Any) -> tuple[str, str]:
    """A patient whose infusion runs; ``systolic`` is what was found 15 minutes after the start."""
    checks = (
        check(START - timedelta(minutes=10), 124),
        check(START + timedelta(minutes=15), more.pop("systolic", 128)),
    )
    record = replace(usual(), end=None, status=InfusionStatus.IN_PROGRESS, checks=checks)
    return await _recorded(house, name, record, NOW, **more)


async def _recorded(house: House, name: str, record: Any, at: datetime, **more: Any) -> tuple[str, str]:
    world = house.world
    world.clock.move_to(at)
    patient = await world.patient(name)
    encounter = await world.encounter(patient, serviceProvider={"reference": world.organization}, **more)
    await record_infusion(world.context, recording(world, patient, encounter, record=record))
    return patient, encounter


async def opened(house: House, patient: str) -> tuple[Browser, httpx.Response]:
    browser = house.browser()
    return browser, await browser.launch(patient=patient.partition("/")[2], intent="board")


def of_this_clinic(house: House) -> None:
    """Other tests' patients are in the same store: only visits of this clinic's organization count."""
    own = house.door.own
    organizations = frozenset({house.world.organization})

    def narrowed(session: Any) -> Any:
        context = own(session)
        return replace(context, clinic=replace(context.clinic, organizations=organizations))

    charts = house.door.charts

    def narrowed_charts(session: Any) -> Any:
        context = charts(session)
        return replace(context, clinic=replace(context.clinic, organizations=organizations))

    house.app.state.door = replace(house.door, own=narrowed, charts=narrowed_charts)


def chairs(page: httpx.Response) -> list[str]:
    return [
        unescape(re.sub(r"<[^>]+>", " ", each))
        for each in re.findall(r'<li class="chair.*?</li>', page.text, re.DOTALL)
    ]


async def test_each_chair_says_whose_check_is_due_and_what_stands_out(own: House) -> None:
    of_this_clinic(own)
    patient, encounter = await running(own, "Okoro", systolic=186, location=[{"location": {"display": "Chair 2"}}])
    browser, page = await opened(own, patient)
    (chair,) = chairs(page)
    for words in ("OKORO, Ana", "Chair 2", "started 13:00, 26 min ago", "30 min after the start", "13:30"):
        assert words in chair
    for words in ("Urgent", "Blood pressure above 180/110 mmHg", "Sam Rivera, +1 555 0142", "Not ready"):
        assert words in chair
    assert "13:15 BP 186/80, HR 74, SpO2 98" in " ".join(chair.split())
    assert "Plan not signed" not in chair  # nobody is asked for it while the infusion runs
    record = unescape(re.findall(r'href="([^"]*/record[^"]*)"[^>]*>Record:', page.text)[0])
    shown = await browser.get(record)
    assert "OKORO, Ana" in shown.text
    assert encounter.partition("/")[2] in record


async def test_the_next_check_decides_the_order_and_who_has_ended_comes_after(own: House) -> None:
    of_this_clinic(own)
    await running(own, "Second")
    ended = usual(ready=True)
    await _recorded(own, "Ended", ended, LATER)
    patient, _ = await running(own, "First", systolic=125)
    own.world.clock.move_to(LATER)
    _, page = await opened(own, patient)
    text = page.text
    assert text.index("FIRST, Ana") < text.index("Ended, still here")
    assert text.index("SECOND, Ana") < text.index("Ended, still here") < text.index("ENDED, Ana")
    assert "Ready to leave" in text


async def test_an_infusion_whose_end_nobody_recorded_is_asked_for_its_end_and_for_no_check(own: House) -> None:
    of_this_clinic(own)
    patient, _ = await running(own, "Forgotten")
    own.world.clock.move_to(START + timedelta(days=2))
    browser, page = await opened(own, patient)
    (chair,) = chairs(page)
    assert "started 16-Sep-2026 13:00, no end is recorded" in chair
    assert "Next check" not in chair
    record = unescape(re.findall(r'href="([^"]*/record[^"]*)"[^>]*>Record:', page.text)[0])
    shown = (await browser.get(record)).text
    assert "no end is recorded: end the infusion, or correct it" in shown
    assert "End the infusion" in shown
    assert "Next check" not in shown


async def test_who_has_left_is_out_of_the_way(own: House) -> None:
    of_this_clinic(own)
    patient, encounter = await _recorded(own, "Gone", usual(ready=True), LATER)
    await discharge(own.world.context, leaving(own.world, patient, encounter))
    _, page = await opened(own, patient)
    assert "No infusion is running." in page.text
    assert "Left today (1)" in page.text
    assert chairs(page) == []


async def test_who_has_ended_is_told_what_keeps_them_and_that_the_plan_is_not_signed(own: House) -> None:
    of_this_clinic(own)
    patient, encounter = await _recorded(own, "Kept", usual(ready=False), LATER)
    _, page = await opened(own, patient)
    (chair,) = (" ".join(each.split()) for each in chairs(page))
    assert "13:00 to 13:40, ended 85 min ago" in chair
    assert "Plan not signed yet" in chair
    assert re.search(r"Open [A-Z][^,]*, [A-Z][^,]*, [A-Z][^,]* and \d+ more", chair)
    assert re.search(rf'/plan\?visit={encounter.partition("/")[2]}"[^>]*>Plan<', page.text)


async def test_another_clinics_visit_on_the_same_server_is_not_shown(own: House) -> None:
    of_this_clinic(own)
    patient, _ = await running(own, "Mine")
    world = own.world
    stranger = await world.patient("Stranger")
    other = await world._create({"resourceType": "Organization", "name": "Another Clinic"})
    encounter = await world.encounter(stranger, serviceProvider={"reference": other})
    record = replace(usual(), end=None, status=InfusionStatus.IN_PROGRESS, checks=())
    await record_infusion(world.context, recording(world, stranger, encounter, record=record))
    _, page = await opened(own, patient)
    assert "MINE, Ana" in page.text
    assert "STRANGER" not in page.text


async def test_what_could_not_be_read_is_a_gap(own: House) -> None:
    of_this_clinic(own)
    patient, _ = await running(own, "Partly")
    own.wire.refuses = {"Procedure": 500}
    _, page = await opened(own, patient)
    assert "Somebody may be missing here" in page.text
    assert "PARTLY, Ana" in page.text


async def test_the_room_costs_two_round_trips(own: House) -> None:
    of_this_clinic(own)
    patient, _ = await running(own, "One")
    await running(own, "Two")
    browser, page = await opened(own, patient)
    own.wire.fhir.clear()
    again = await browser.get(f"{base_of(page)}board")
    assert len(chairs(again)) == 2
    assert [each.method for each in own.wire.fhir] == ["POST", "POST"]


async def test_where_the_token_sees_one_patient_the_page_says_why(house: House) -> None:
    house.ehr.faults.granted = "launch launch/patient openid fhirUser online_access patient/*.rs"
    _, page = await opened(house, f"Patient/{await house.patient()}")
    assert "The EHR lets this app see one patient only" in page.text
    assert "user/MedicationAdministration.s" in page.text
