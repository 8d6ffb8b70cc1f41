"""May this patient leave: each criterion with its reason and time, and what a nurse says here lands in the chart."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import of_patient, only, recording, with_code
from flows.cases import record as usual
from ui.house import base_of, form_of, house_of
from world import END

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from servers import Server
    from ui.house import Browser, House

SOON = END + timedelta(minutes=45)


async def opened(house: House, *, ready: bool = False) -> tuple[str, Browser, httpx.Response]:
    world = house.world
    world.clock.move_to(SOON if not ready else END + timedelta(minutes=85))
    patient = await world.patient("Park")
    encounter = await world.encounter(patient)
    await record_infusion(world.context, recording(world, patient, encounter, record=usual(ready=ready)))
    browser = house.browser()
    ids = {"patient": patient.partition("/")[2], "encounter": encounter.partition("/")[2]}
    return patient, browser, await browser.launch(**ids, intent="ready")


async def save(browser: Browser, page: httpx.Response, **typed: str) -> httpx.Response:
    visit = re.findall(r'action="([^"]*ready/check[^"]*)"', page.text)[0]
    return await browser.post(visit, {**form_of(page), "day": "2026-09-16", "at": "14:25", **typed})


def state_of(page: httpx.Response, name: str) -> str:
    return re.findall(rf"{name} <span class=\"tag ([a-z-]+)\"", page.text)[0]


async def test_every_criterion_says_how_it_stands_why_and_since_when(house: House) -> None:
    _, _, page = await opened(house)
    assert "<strong>2</strong> of 12 met" in page.text
    assert state_of(page, "Sedation gone") == "not-met"
    assert state_of(page, "Oriented") == "not-recorded"
    assert state_of(page, "Blood pressure acceptable") == "met"
    for text in ("At least 120 min after the infusion without an escort: 45 min.", "16-Sep-2026 13:40", "Sam Rivera"):
        assert text in page.text


async def test_what_is_open_comes_first(house: House) -> None:
    _, _, page = await opened(house)
    states = re.findall(r'<li class="(met|not-met|not-recorded)"', page.text)
    assert states == sorted(states, key="met".__eq__)


async def test_what_a_nurse_finds_is_recorded_and_judged_at_once(house: House) -> None:
    patient, browser, page = await opened(house)
    saved = await save(browser, page, oriented="yes", walks_unaided="no", escort_present="yes")
    assert "Saved</strong> to the chart" in saved.text
    assert (state_of(saved, "Oriented"), state_of(saved, "Walks unaided")) == ("met", "not-met")
    assert state_of(saved, "Escort is here") == "met"
    found = await of_patient(house.world, "Observation", patient)
    mine = only([each for each in found if tasks.has_code(each, terms.ORIENTED)])
    assert mine["performer"] == [{"reference": house.world.nurse}]
    assert mine["effectiveDateTime"] == "2026-09-16T14:25:00-04:00"
    again = await save(browser, page, oriented="yes", walks_unaided="no", escort_present="yes")
    assert "all of it was in the chart already" in again.text


async def test_the_escort_is_named_with_a_phone(house: House) -> None:
    patient, browser, page = await opened(house)
    await save(browser, page, escort_name="Jo Park", escort_phone="+1 555 0177")
    escort = only(with_code(await of_patient(house.world, "Task", patient), terms.ESCORT_HOME))
    assert {"Jo Park", "+1 555 0177"} <= {each["valueString"] for each in escort["input"]}


async def test_a_form_that_says_nothing_or_no_time_is_refused_at_its_place(house: House) -> None:
    patient, browser, page = await opened(house)
    before = len(await of_patient(house.world, "Observation", patient))
    empty = await save(browser, page)
    assert empty.status_code == 422
    assert '<a href="#answers">Nothing was said' in empty.text
    timeless = await save(browser, page, oriented="yes", at="later")
    assert '<a href="#at">Give the time as 13:05.</a>' in timeless.text
    assert 'name="oriented" value="yes" checked' in timeless.text
    future = await save(browser, page, oriented="yes", at="23:00")
    assert '<a href="#at">' in future.text
    assert len(await of_patient(house.world, "Observation", patient)) == before


async def test_leaving_before_ready_is_reviewed_with_name_and_reason(house: House) -> None:
    _, browser, page = await opened(house)
    plan = re.findall(r'action="([^"]*/plan[^"]*)" class="override"', page.text)[0]
    typed: dict[str, Any] = {"override_name": "Ida Grey", "override_reason": "Seen by the prescriber"}
    review = await browser.post(plan, {**form_of(page), **typed})
    assert "Override" in review.text
    assert 'value="Ida Grey"' in review.text
    assert "Plan for today" in review.text


async def test_who_is_ready_needs_no_override(house: House) -> None:
    _, _, page = await opened(house, ready=True)
    assert "<strong>12</strong> of 12 met" in page.text
    assert "all the same" not in page.text


async def test_without_a_visit_it_says_what_to_do(house: House) -> None:
    world = house.world
    world.clock.move_to(SOON)
    patient = await world.patient("Nobody")
    page = await house.browser().launch(patient=patient.partition("/")[2], intent="ready")
    assert "No visit is open in the EHR" in page.text


async def test_it_can_be_read_where_writing_was_not_granted(house: House) -> None:
    house.ehr.faults.granted = "launch openid fhirUser online_access user/*.rs"
    _, browser, page = await opened(house)
    assert "Read only" in page.text
    assert 'type="radio"' not in page.text
    refused = await browser.post(f"{base_of(page)}ready/check", {**form_of(page), "oriented": "yes"})
    assert refused.status_code == 403


async def test_a_browser_without_cookies_can_do_the_same(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path, registered={"allow_cookieless_callback": True}) as house:
        world = house.world
        world.clock.move_to(SOON)
        patient = await world.patient("Vega")
        encounter = await world.encounter(patient)
        await record_infusion(world.context, recording(world, patient, encounter, record=usual(ready=False)))
        browser = house.browser(cookies=False)
        ids = {"patient": patient.partition("/")[2], "encounter": encounter.partition("/")[2]}
        between = await browser.launch(**ids, intent="ready")
        page = await browser.post(re.findall(r'action="([^"]+)"', between.text)[0], form_of(between))
        assert "Ready to leave?" in page.text
        assert '<a href="/' not in page.text  # a link would lose the way: each is a button of a form
        saved = await save(browser, page, oriented="yes")
        assert state_of(saved, "Oriented") == "met"
