"""The plan: reviewed in words and as resources, signed in one transaction, refused with the reasons, never stale."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.infusion import Dissociation, InfusionStatus
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import check, leaving, of_patient, only, recording, with_code
from flows.cases import record as usual
from ui.house import base_of, house_of
from world import END, START

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from servers import Server
    from ui.house import Browser, House

LATER = END + timedelta(minutes=85)


class Ward:
    """A patient whose infusion has ended, with the page of the plan open in a browser of the nurse."""

    def __init__(self, house: House, patient: str, encounter: str) -> None:
        self.house, self.patient, self.encounter = house, patient, encounter
        self.browser: Browser = house.browser()
        self.base = ""

    async def open(self, **chart: Any) -> httpx.Response:
        context = {"patient": self.patient.partition("/")[2], "encounter": self.encounter.partition("/")[2]}
        page = await self.browser.launch(**{**context, "intent": "plan", **chart})
        self.base = base_of(page)
        return page

    async def press(self, page: httpx.Response, action: str, **typed: str) -> httpx.Response:
        """Send the form of the page as it stands, with what was typed."""
        return await self.browser.post(f"{self.base}{action}", {**fields(page), **typed})

    async def plans(self) -> list[str]:
        return sorted(each["status"] for each in await of_patient(self.house.world, "CarePlan", self.patient))


def fields(page: httpx.Response) -> dict[str, str]:
    """Give the fields of the plan's form as a browser would send them."""
    form = page.text.partition("data-guard>")[2].partition("</form>")[0]
    found = {}
    for tag in re.findall(r"<input[^>]*>", form):
        given = dict(re.findall(r'([a-z-]+)="([^"]*)"', tag))
        if given.get("type") in {"radio", "checkbox"} and " checked" not in tag:
            continue
        found[given["name"]] = unescape(given.get("value", ""))
    for name, options in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        found[name] = re.findall(r'value="([^"]*)" selected', options)[0]
    return found


async def ward(house: House, *, ready: bool = True) -> Ward:
    world = house.world
    world.clock.move_to(LATER)
    patient = await world.patient("Laurent")
    encounter = await world.encounter(patient)
    await record_infusion(
        world.context, recording(world, patient, encounter, record=usual(ready=ready, recorded_by=world.nurse))
    )
    return Ward(house, patient, encounter)


async def test_it_says_in_words_what_would_be_written_and_writes_nothing(house: House) -> None:
    here = await ward(house)
    page = await here.open()
    for text in (
        *("Plan for today", "Draft: nothing is written yet", "Do not drive or operate machinery"),
        *("until 17-Sep-2026 07:00 EDT", "Telephone follow-up", "17-Sep-2026 09:00 to 17-Sep-2026 18:00 EDT"),
        *("Forms for the patient (8)", "Sign and write to the chart", "ketamine-infusion-aftercare|1.0.0"),
    ):
        assert text in page.text
    assert await here.plans() == ["draft"]


async def test_an_escort_who_is_recorded_as_here_is_chosen_already(house: House) -> None:
    here = await ward(house)
    page = await here.open()
    assert fields(page)["leaves"] == "escort"
    assert "Confirm arrived home" not in page.text
    done = await here.press(page, "plan/sign")
    assert "Plan in force" in done.text
    made = await of_patient(house.world, "Task", here.patient)
    assert only(with_code(made, terms.ESCORT_HOME))["status"] == "completed"
    alone = await here.press(page, "plan", leaves="")
    assert alone.status_code == 200


async def test_nobody_is_chosen_where_no_escort_is_recorded(house: House) -> None:
    here = await ward(house, ready=False)
    assert fields(await here.open())["leaves"] == ""


async def test_the_resources_are_those_that_will_be_sent(house: House) -> None:
    here = await ward(house)
    page = await here.open()
    listed = await here.press(page, "plan/resources")
    assert listed.text.count("POST Task") >= 8
    number = re.findall(r'value="(\d+)"[^>]*>POST ServiceRequest', listed.text)[0]
    shown = await here.press(page, "plan/resources", resource=number)
    assert "&#34;doNotPerform&#34;: true" in shown.text
    assert len(shown.content) < 60_000


async def test_signing_writes_it_once_and_shows_each_item(house: House) -> None:
    here = await ward(house)
    page = await here.open()
    house.wire.fhir.clear()
    done = await here.press(page, "plan/sign", leaves="escort")
    assert "Plan in force" in done.text
    assert "Saved</strong> to the chart at 15:05: " in done.text
    assert "OKAFOR" in done.text or "Not known" in done.text
    assert sorted(await here.plans()) == ["active", "active"]
    task = re.findall(r'href="([^"]*/item\?[^"]*of=Task[^"]*)"', done.text)[0]
    item = await here.browser.get(unescape(task))
    assert item.status_code == 200
    assert "&#34;resourceType&#34;: &#34;Task&#34;" in item.text
    before = await of_patient(house.world, "Task", here.patient)
    again = await here.press(page, "plan/sign", leaves="escort")
    assert "all of it was in the chart already" in again.text
    assert len(await of_patient(house.world, "Task", here.patient)) == len(before)


async def test_what_was_agreed_with_the_patient_stands_in_the_plan(house: House) -> None:
    here = await ward(house)
    page = await here.open()
    await here.press(
        page, "plan/sign", leaves="escort", call_from="15:00", call_until="17:00", call_phone="555 0101", language="es"
    )
    made = await of_patient(house.world, "Task", here.patient)
    call = only(with_code(made, terms.FOLLOW_UP_CALL))
    opens, due, _ = tasks.window_of(call)
    assert (opens.hour, due.hour) == (15, 17) if opens and due else False
    assert "555 0101" in [each.get("valueString") for each in call["input"]]
    requests = await of_patient(house.world, "ServiceRequest", here.patient)
    assert any("conduzca" in each.get("patientInstruction", "") for each in requests)


async def test_a_call_the_protocol_does_not_allow_is_told_at_its_field_and_nothing_is_lost(house: House) -> None:
    here = await ward(house)
    page = await here.open()
    refused = await here.press(page, "plan/sign", leaves="escort", call_until="23:00", call_phone="555 0101")
    assert refused.status_code == 422
    told = '<a href="#call_until">The protocol allows the call from 17-Sep-2026 09:00 to 17-Sep-2026 18:00.</a>'
    assert refused.text.count(told) == 1
    assert "0 items" not in refused.text
    assert "<title>Error: " in refused.text
    assert 'value="555 0101"' in refused.text
    assert await here.plans() == ["draft"]


async def test_who_is_not_ready_is_refused_with_what_is_missing(house: House) -> None:
    here = await ward(house, ready=False)
    page = await here.open()
    assert "must be met before the patient leaves" in page.text
    assert "Sedation gone: not met" in page.text
    refused = await here.press(page, "plan/sign", leaves="escort")
    assert refused.status_code == 422
    assert "The patient is not ready to leave" in refused.text
    assert await here.plans() == ["draft"]


async def test_an_override_needs_a_name_and_a_reason_and_is_written_as_one(house: House) -> None:
    here = await ward(house, ready=False)
    page = await here.open()
    half = await here.press(page, "plan/sign", leaves="escort", override_name="Ida Grey")
    assert '<a href="#override_reason">Give the reason.</a>' in half.text
    assert await here.plans() == ["draft"]
    done = await here.press(
        page, "plan/sign", leaves="escort", override_name="Ida Grey", override_reason="Seen by the prescriber"
    )
    assert "Plan in force" in done.text
    seen = await of_patient(house.world, "Observation", here.patient)
    readiness = only([each for each in seen if tasks.has_code(each, terms.READINESS)])
    assert "Ida Grey" in str(readiness["note"])
    assert "Seen by the prescriber" in str(readiness["note"])


async def test_who_left_alone_has_a_plan_and_somebody_calls(house: House) -> None:
    here = await ward(house, ready=False)
    page = await here.open()
    done = await here.press(page, "plan/sign", leaves="alone")
    assert "Plan in force" in done.text
    made = await of_patient(house.world, "Task", here.patient)
    assert only(with_code(made, terms.ESCORT_HOME))["status"] == "failed"
    assert only(with_code(made, terms.DISCHARGED_NOT_READY))["priority"] != "routine"


async def test_what_changed_meanwhile_is_said_and_nothing_is_written(house: House) -> None:
    here = await ward(house)
    page = await here.open()
    world = house.world
    late = check(LATER - timedelta(minutes=1), 126, dissociation=Dissociation.MODERATE)
    again = recording(world, here.patient, here.encounter, record=replace(usual(), checks=(late,)))
    await record_infusion(world.context, again)
    stale = await here.press(page, "plan/sign", leaves="escort")
    assert stale.status_code == 422
    assert "Changed in the chart since you opened it" in stale.text
    assert "Dissociation gone: was met, is now not met." in stale.text
    assert await here.plans() == ["draft"]


@pytest.mark.parametrize(
    ("status", "words"),
    [(InfusionStatus.IN_PROGRESS, "still running"), (InfusionStatus.NOT_DONE, "was not done")],
)
async def test_without_an_end_there_is_nothing_to_sign(house: House, status: InfusionStatus, words: str) -> None:
    world = house.world
    world.clock.move_to(LATER)
    patient = await world.patient("Ito")
    encounter = await world.encounter(patient)
    record = replace(usual(ready=False), end=None, status=status, checks=())
    await record_infusion(world.context, recording(world, patient, encounter, record=record))
    page = await Ward(house, patient, encounter).open()
    assert words in page.text
    assert "Sign and write" not in page.text


async def test_a_plan_that_was_made_by_itself_is_signed_later_and_once(house: House) -> None:
    here = await ward(house)
    world = house.world
    await discharge(world.context, leaving(world, here.patient, here.encounter, person=None))
    page = await here.open()
    assert "Plan in force" in page.text
    first = await here.browser.post(f"{here.base}plan/stand", page_form(page))
    assert "you stand for this plan" in first.text
    assert "Sign it too" not in first.text
    await here.browser.post(f"{here.base}plan/stand", page_form(page))
    plan = only([each for each in await of_patient(world, "CarePlan", here.patient) if "encounter" in each])
    answer = await world.server.http.get(f"{world.server.base_url}/Provenance?target=CarePlan/{plan['id']}")
    reasons = [each["resource"].get("reason") for each in answer.json().get("entry", ())]
    assert reasons.count([{"text": "Reviewed and signed"}]) == 1


def page_form(page: httpx.Response) -> dict[str, str]:
    return dict(re.findall(r'type="hidden" name="(form)" value="([^"]+)"', page.text))


async def test_without_the_scopes_it_can_be_read_and_not_signed(house: House) -> None:
    here = await ward(house)
    house.ehr.faults.granted = "launch openid fhirUser online_access user/*.rs"
    page = await here.open()
    assert "Read only" in page.text
    assert "user/CarePlan.cu" in page.text
    assert "Sign and write" not in page.text
    refused = await here.press(page, "plan/sign", leaves="escort")
    assert refused.status_code == 403
    assert await here.plans() == ["draft"]


async def test_where_the_clinic_says_so_the_service_writes_for_the_user(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path, pages={"write_as": "backend"}) as house:
        house.ehr.faults.granted = "launch openid fhirUser online_access user/*.rs"
        here = await ward(house)
        page = await here.open()
        assert "Read only" not in page.text


async def test_an_item_of_another_patient_is_not_shown(house: House) -> None:
    here = await ward(house)
    await here.open()
    other = await of_patient(house.world, "Task", f"Patient/{await house.patient('Rivera')}")
    answer = await here.browser.get(f"{here.base}item?of=Task/{other[0]['id']}")
    assert answer.status_code == 422
    assert other[0]["description"] not in answer.text


@pytest.mark.parametrize("of", ["Patient/1", "Task/../Patient/1", "", "Task/nobody"])
async def test_what_is_no_item_is_not_found(house: House, of: str) -> None:
    here = await ward(house)
    await here.open()
    assert (await here.browser.get(f"{here.base}item", params={"of": of})).status_code == 404


async def test_a_page_costs_one_round_trip_and_one_more_for_its_signatures(house: House) -> None:
    here = await ward(house)
    await here.open()
    house.wire.fhir.clear()
    await here.browser.get(f"{here.base}plan")
    assert len(house.wire.fhir) == 1
    world = house.world
    await discharge(world.context, leaving(world, here.patient, here.encounter))
    house.wire.fhir.clear()
    await here.browser.get(f"{here.base}plan")
    assert len(house.wire.fhir) == 2


def test_the_sheet_of_times_is_of_the_day_of_the_tests() -> None:
    assert START.date() == LATER.date()
