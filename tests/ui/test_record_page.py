"""The infusion record as a nurse uses it: start, rows, end; what stands out, what is due, and what was not saved."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.fhir import tasks, terms
from flows.cases import of_patient, only, with_code
from ui.house import base_of, form_of, house_of
from ui.ward import BEFORE, bedside, charted, text_of, values_of
from world import END, NEW_YORK, START, make_world

if TYPE_CHECKING:
    from pathlib import Path

    from servers import Server
    from ui.house import House

ROW = {
    "at": "13:15", "systolic": "146", "diastolic": "88", "heart_rate": "81", "spo2": "97", "respiratory_rate": "15",
    "dissociation": "moderate", "moaa_s": "4", "nausea": "2",
}  # fmt: skip


# Starting


async def test_an_infusion_is_started_with_its_baseline_and_escort_in_one_form(house: House) -> None:
    at = await bedside(house, begun=False, now=START)
    assert "Start the infusion" in at.page.text
    started = {
        **ROW, "at": "12:50", "start": "13:00", "dose_mg": "35", "systolic": "128", "diastolic": "79",
        "escort_name": "Sam Rivera", "escort_phone": "+1 555 0142", "ride_arranged": "yes", "route": "intravenous",
    }  # fmt: skip
    page = await at.send("record/start", started)
    assert "Saved to chart 13:00 · 7 observations." in text_of(page)
    drug = await at.drug()
    assert (drug["status"], drug["dosage"]["dose"]["value"]) == ("in-progress", 35)
    assert drug["effectivePeriod"] == {"start": tasks.instant(START)}
    assert {each["effectiveDateTime"] for each in await at.observations()} == {tasks.instant(BEFORE.at)}
    escort = only(with_code(await of_patient(house.world, "Task", at.patient), terms.ESCORT_HOME))
    assert "Sam Rivera" in str(escort["input"])
    assert "Running" in text_of(page)


async def test_start_and_time_say_now_and_pressing_twice_starts_one_infusion(house: House) -> None:
    at = await bedside(house, begun=False, now=START)
    first = at.page
    assert values_of(first)["start"] == "13:00"
    await at.send("record/start", {"dose_mg": "35"})
    house.world.clock.move_to(START + timedelta(minutes=2))
    at.page = first
    page = await at.send("record/start", {"dose_mg": "35"})
    assert "in the chart already" in text_of(page)
    assert (await at.drug())["effectivePeriod"]["start"] == tasks.instant(START)


async def test_who_opened_the_page_before_somebody_else_started_it_changes_nothing(house: House) -> None:
    at = await bedside(house, begun=False, now=START)
    first = at.page
    await at.send("record/start", {"dose_mg": "35"})
    at.page = first
    page = await at.send("record/start", {**ROW, "dose_mg": "40", "start": "12:40", "at": "12:35"})
    assert page.status_code == 412
    assert "Not saved. Somebody else has recorded the start since you opened the page." in text_of(page)
    assert (values_of(page)["at"], values_of(page)["systolic"]) == ("12:35", "146")
    assert (await at.drug())["dosage"]["dose"]["value"] == 35


async def test_an_infusion_that_is_not_done_is_recorded_with_the_reason_and_another_can_be_started(
    house: House,
) -> None:
    at = await bedside(house, begun=False, now=START)
    refused = await at.send("record/not-done")
    assert refused.status_code == 422
    assert "Say why, in your own words." in text_of(refused)
    page = await at.send("record/not-done", {"reason": "Has eaten"})
    assert "the infusion is not done" in text_of(page)
    assert (await at.drug())["status"] == "not-done"
    await at.send("record/start", {"dose_mg": "35", "start": "13:00"})
    found = await of_patient(house.world, "MedicationAdministration", at.patient)
    assert {each["status"] for each in found} == {"not-done", "in-progress"}


async def test_without_a_visit_the_page_says_what_to_do(house: House) -> None:
    house.world.clock.move_to(START)
    patient = await house.world.patient("Nobody")
    browser = house.browser()
    page = await browser.launch(patient=patient.partition("/")[2])
    page = await browser.get(f"{base_of(page)}record")
    assert "No visit is open in the EHR for this patient. Start the visit there" in text_of(page)
    assert "record/start" not in page.text


async def test_where_several_visits_are_under_way_a_person_chooses(house: House) -> None:
    world = house.world
    world.clock.move_to(START)
    patient = await world.patient("Twice")
    await world.encounter(patient, type=[{"text": "Infusion visit"}])
    await world.encounter(patient, type=[{"text": "Day hospital"}])
    browser = house.browser()
    page = await browser.launch(patient=patient.partition("/")[2])
    page = await browser.get(f"{base_of(page)}record")
    text = text_of(page)
    assert "Which visit is it?" in text
    assert "Infusion visit" in text
    assert "Day hospital" in text
    chosen = re.findall(r'href="([^"]+record\?visit=[^"]+)"', page.text)[0]
    assert "Start the infusion" in (await browser.get(chosen)).text


# Rows


async def test_a_row_is_saved_and_stands_in_place(house: House) -> None:
    at = await bedside(house)
    await charted(at, terms.HEART_RATE, 79, START + timedelta(minutes=5))
    page = await at.send("record/row", ROW)
    text = text_of(page)
    assert "Saved to chart 13:16 · 7 observations." in text
    assert (
        text.index("12:50 Before 128/79")
        < text.index("13:05 From the chart")
        < text.index("13:15 146/88 81 97 15 moderate")
    )
    assert "data-next" in page.text
    pressure = (await at.observations(terms.BP_PANEL))[-1]
    assert pressure["performer"][0]["reference"].startswith("Practitioner/")


async def test_what_was_found_last_stands_beside_each_field(house: House) -> None:
    at = await bedside(house)
    page = await at.send("record/row", ROW)
    assert re.search(r'id="bp-last">146/88 at 13:15<', page.text)
    assert re.search(r'id="heart_rate-last">81 at 13:15<', page.text)
    assert re.search(r'id="dissociation-last">moderate at 13:15<', page.text)


async def test_a_time_without_a_day_is_the_last_one_also_over_midnight(house: House) -> None:
    late = datetime(2026, 9, 16, 23, 50, tzinfo=NEW_YORK)
    at = await bedside(house, now=late + timedelta(minutes=20), start=late, checks=())
    assert values_of(at.page)["day"] == "2026-09-17"
    page = await at.send("record/row", {"day": "", "at": "23:58", "heart_rate": "70"})
    assert "1 observation." in text_of(page)
    assert (await at.observations())[0]["effectiveDateTime"] == tasks.instant(late + timedelta(minutes=8))


async def test_everything_wrong_with_a_row_is_told_at_its_field_and_what_was_typed_is_kept(house: House) -> None:
    at = await bedside(house)
    wrong = {"at": "25:00", "systolic": "128", "heart_rate": "eighty", "spo2": "97"}
    page = await at.send("record/row", wrong)
    assert page.status_code == 422
    assert '<a href="#at">Give the time as 13:05.</a>' in page.text
    assert '<a href="#heart_rate">Heart rate must be a whole number.</a>' in page.text
    wrong = {"at": "13:15", "systolic": "400", "diastolic": "90", "spo2": "7"}
    page = await at.send("record/row", wrong)
    assert '<a href="#systolic">Systolic must be 40 to 300 mmHg.</a>' in page.text
    assert '<a href="#spo2">SpO2 must be 50 to 100 %.</a>' in page.text
    assert values_of(page)["systolic"] == "400"
    assert len(await at.observations(terms.BP_PANEL)) == 1


async def test_an_empty_row_and_one_of_the_future_are_not_saved(house: House) -> None:
    at = await bedside(house)
    assert "Nothing was typed." in text_of(await at.send("record/row", {"at": "13:15"}))
    page = await at.send("record/row", {"day": "2026-09-17", "at": "13:15", "heart_rate": "70"})
    assert "Time lies in the future." in text_of(page)


async def test_a_value_beyond_the_limits_is_asked_once_and_again_if_it_is_changed(house: House) -> None:
    at = await bedside(house)
    high = {"at": "13:15", "systolic": "190", "diastolic": "90"}
    page = await at.send("record/row", high)
    assert page.status_code == 422
    text = text_of(page)
    assert "Check and confirm" in text
    assert "13:15 Blood pressure 190/90 mmHg Blood pressure above 180/110 mmHg: call the prescriber" in text
    assert len(await at.observations(terms.BP_PANEL)) == 1
    page = await at.send("record/row", {**high, "systolic": "195"})
    assert "Blood pressure 195/90 mmHg" in text_of(page)
    page = await at.send("record/row", {**high, "systolic": "195"})
    assert "Saved to chart" in text_of(page)
    assert (
        "Urgent Blood pressure above 180/110 mmHg: call the prescriber, repeat in 5 min Source clinical §1.6"
        in text_of(page)
    )


async def test_a_mistyped_value_that_is_put_right_is_not_asked_about(house: House) -> None:
    at = await bedside(house)
    await at.send("record/row", {"at": "13:15", "systolic": "190", "diastolic": "90"})
    page = await at.send("record/row", {"at": "13:15", "systolic": "130", "diastolic": "90"})
    assert "Saved to chart" in text_of(page)


async def test_a_row_sent_twice_is_one_row_and_what_the_chart_says_is_not_written_again(house: House) -> None:
    at = await bedside(house)
    first = at.page
    await at.send("record/row", ROW)
    at.page = first
    assert "in the chart already" in text_of(await at.send("record/row", ROW))
    again = {key: value for key, value in ROW.items() if key in {"at", "heart_rate"}}
    assert "in the chart already" in text_of(await at.send("record/row", again))
    assert len(await at.observations(terms.HEART_RATE)) == 2


async def test_another_value_for_the_same_time_is_a_correction_and_is_not_written_in_passing(house: House) -> None:
    at = await bedside(house)
    await at.send("record/row", ROW)
    page = await at.send("record/row", {"at": "13:15", "heart_rate": "90", "nausea": "3"})
    assert page.status_code == 422
    assert '<a href="#heart_rate">Heart rate at 13:15 is 81 in the chart: correct that row instead.</a>' in page.text
    assert [each["valueQuantity"]["value"] for each in await at.observations(terms.HEART_RATE)] == [74, 81]


async def test_a_row_typed_again_after_it_was_taken_back_is_recorded(house: House) -> None:
    at = await bedside(house)
    await at.send("record/row", ROW)
    of = re.findall(r"record/row\?(?:visit=[^&\"]*&amp;)?of=([^\"]+)\"", at.page.text)[-1]
    await at.get(f"record/row?of={of}")
    await at.send("record/row/save", {"all": "1", "reason": "Wrong patient's monitor"})
    page = await at.send("record/row", ROW)
    assert "7 observations" in text_of(page)
    assert "Taken back: Blood pressure 146/88 mmHg" in text_of(page)


async def test_breathing_and_sedation_are_asked_only_where_the_clinic_wants_them(
    sandbox: Server, tmp_path: Path
) -> None:
    silent = Policy(ask_respiratory_rate=False, ask_sedation=False)
    world = await make_world(sandbox, policy=silent)
    async with house_of(sandbox, tmp_path, world=world) as quiet:
        at = await bedside(quiet)
        assert 'name="heart_rate"' in at.page.text
        assert 'name="respiratory_rate"' not in at.page.text
        assert 'name="moaa_s"' not in at.page.text


# What is due


async def test_the_next_check_is_told_with_what_it_asks_and_counted_down(house: House) -> None:
    at = await bedside(house)
    text = text_of(at.page)
    assert "Next check 13:15 1 min late 15 min after the start: blood pressure, heart rate, SpO2" in text
    assert "respiratory rate and sedation. Then 13:30." in text
    assert 'data-until="2026-09-16T13:15:00-04:00"' in at.page.text
    page = await at.send("record/row", ROW)
    assert "Next check 13:30 in 14 min" in text_of(page)


async def test_without_a_blood_pressure_before_the_start_the_page_says_so(house: House) -> None:
    at = await bedside(house, checks=())
    assert "No blood pressure from before the start is in the chart." in text_of(at.page)


async def test_it_is_said_which_infusion_of_the_course_it_is(house: House) -> None:
    at = await bedside(house)
    assert "Infusion 1 of this course" in text_of(at.page)
    assert "Drug Ketamine 35 mg intravenous" in text_of(at.page)
    assert "Started 16-Sep-2026 13:00 EDT" in text_of(at.page)


# Ending


@pytest.mark.parametrize(("outcome", "status"), [("completed", "completed"), ("stopped", "stopped")])
async def test_an_infusion_is_ended_with_the_dose_given_in_all(house: House, outcome: str, status: str) -> None:
    at = await bedside(house, now=END)
    assert values_of(at.page)["end"] == "13:40"
    page = await at.send("record/end", {"outcome": outcome, "dose_mg": "37.5"})
    assert "the infusion has ended" in text_of(page)
    drug = await at.drug()
    assert (drug["status"], drug["dosage"]["dose"]["value"]) == (status, 37.5)
    assert drug["effectivePeriod"]["end"] == tasks.instant(END)
    assert "after 40 min" in text_of(page)
    assert "record/end" not in page.text


async def test_an_end_before_the_start_is_refused(house: House) -> None:
    at = await bedside(house)
    page = await at.send("record/end", {"outcome": "completed", "end": "12:30"})
    assert '<a href="#end">End lies before the start.</a>' in page.text
    assert (await at.drug())["status"] == "in-progress"


async def test_an_end_somebody_else_has_recorded_is_not_written_over(house: House) -> None:
    at = await bedside(house, now=END)
    first = at.page
    await at.send("record/end", {"outcome": "completed", "end": "13:35"})
    at.page = first
    page = await at.send("record/end", {"outcome": "stopped", "end": "13:40"})
    assert page.status_code == 412
    assert "Not saved. Somebody else has recorded the end since you opened the page." in text_of(page)
    assert (await at.drug())["status"] == "completed"


# What the EHR keeps, what could not be saved or read, who may write


async def test_the_ehrs_own_record_is_shown_and_not_edited_and_rows_are_added_to_it(house: House) -> None:
    at = await bedside(house, begun=False)
    await house.world.server.client().create(
        {
            "resourceType": "MedicationAdministration",
            "status": "in-progress",
            "medicationCodeableConcept": terms.KETAMINE_RXNORM.concept(),
            "subject": {"reference": at.patient},
            "context": {"reference": at.encounter},
            "effectivePeriod": {"start": tasks.instant(START)},
        }
    )
    page = await at.get("record")
    assert "The EHR keeps the record of the drug." in text_of(page)
    assert "record/end" not in page.text
    assert "1 observation" in text_of(await at.send("record/row", {"at": "13:15", "heart_rate": "80"}))
    (drug,) = await of_patient(house.world, "MedicationAdministration", at.patient)
    assert (await at.observations())[0]["partOf"] == [{"reference": f"MedicationAdministration/{drug['id']}"}]


async def test_a_row_that_could_not_be_saved_stays_on_the_page_marked(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = await bedside(house)
    forward = house.wire._forward

    async def broken(ehr: object, request: object) -> object:
        if b'"type":"transaction"' in await request.aread():  # type: ignore[attr-defined]
            raise __import__("httpx").ConnectError("down")
        return await forward(ehr, request)  # type: ignore[arg-type]

    monkeypatch.setattr(house.wire, "_forward", broken)
    page = await at.send("record/row", ROW)
    assert page.status_code == 503
    assert 'class="unsaved"' in page.text
    assert "Not saved." in text_of(page)
    assert values_of(page)["systolic"] == "146"
    page = await at.send("record/row", ROW, hx_request="true")  # a script takes this status alone
    assert page.status_code == 422
    monkeypatch.undo()
    assert "7 observations" in text_of(await at.send("record/row", ROW))


async def test_what_could_not_be_read_is_a_gap_and_not_an_empty_sheet(house: House) -> None:
    at = await bedside(house)
    house.wire.refuses = {"Observation?encounter": 500, "Observation?patient": 500}
    text = text_of(await at.get("record"))
    assert "Not everything could be read from the chart" in text
    assert "It is not empty, it is not known." in text
    assert "No blood pressure from before the start" not in text


async def test_without_the_right_to_write_it_is_read_only(house: House) -> None:
    house.ehr.faults.token = {
        "scope": "launch openid fhirUser user/Patient.rs user/Encounter.rs user/Observation.rs user/CarePlan.rs "
        "user/MedicationAdministration.rs user/Task.rs"
    }
    at = await bedside(house)
    assert "Read only" in text_of(at.page)
    assert "12:50 Before 128/79" in text_of(at.page)
    assert "<form" not in at.page.text.partition("<main")[2].partition("</main>")[0]
    sent = await at.browser.post(
        f"{base_of(at.page)}record/row?visit={at.encounter.partition('/')[2]}", form_of(at.page)
    )
    assert sent.status_code == 403
    assert len(await at.observations(terms.HEART_RATE)) == 1


async def test_a_browser_without_cookies_records_and_sees_it_at_once(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path, registered={"allow_cookieless_callback": True}) as house:
        at = await bedside(house, begun=False, cookies=False)
        await at.send("record/start", {"dose_mg": "35", "start": "13:00"})
        page = await at.send("record/row", ROW)
        assert "Saved to chart 13:16 · 7 observations." in text_of(page)
        assert '<a href="/' not in page.text  # a link would lose the way


async def test_it_costs_one_batch_to_draw_and_is_small(house: House) -> None:
    at = await bedside(house)
    await at.send("record/row", ROW)
    house.wire.fhir.clear()
    page = await at.get("record")
    assert len(house.wire.fhir) == 1
    assert len(page.content) < 60_000


async def test_a_monitor_that_charts_every_minute_does_not_flood_the_page(house: House) -> None:
    full = replace(BEFORE, systolic=185, heart_rate=45, spo2=91, moaa_s=3, nausea=8)
    many = tuple(replace(full, at=START + timedelta(minutes=2 * each)) for each in range(28))
    at = await bedside(house, now=START + timedelta(minutes=121), checks=many)
    assert "earlier rows are not shown" in text_of(at.page)
    assert len(at.page.content) < 60_000
    assert "earlier rows are not shown" not in text_of(await at.get("record?all=1"))


async def test_another_infusion_of_the_visit_is_a_record_of_its_own(house: House) -> None:
    at = await bedside(house, now=END + timedelta(hours=1), end=END, status=InfusionStatus.COMPLETED)
    await at.get("record?new=1")
    await at.send("record/start", {"dose_mg": "20", "start": "14:30", "route": "intramuscular"})
    found = await of_patient(house.world, "MedicationAdministration", at.patient)
    assert sorted(each["status"] for each in found) == ["completed", "in-progress"]
