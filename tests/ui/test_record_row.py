"""A row is corrected or taken back with a reason; what stood there before, who said so and why, stays visible."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.infusion import Check, InfusionStatus
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import discharge
from flows.cases import leaving, of_patient
from ui.ward import BEFORE, Bedside, bedside, charted, text_of, values_of
from world import END, START

if TYPE_CHECKING:
    from ui.house import House

Resource = dict[str, Any]

ROW = START + timedelta(minutes=15)
SECOND = Check(at=ROW, systolic=146, diastolic=88, heart_rate=81, moaa_s=4, oriented=True)
WHY = "Read from the wrong monitor"


async def opened(house: House) -> Bedside:
    """Give a nurse at the correction of the row of 13:15."""
    at = await bedside(house, checks=(BEFORE, SECOND))
    of = re.findall(r"of=([^\"&]+)\"", at.page.text)[-1]
    await at.get(f"record/row?of={of}")
    return at


def field(at: Bedside, name: str) -> str:
    """Give the name of a value's field: it begins with the id of its Observation."""
    return re.findall(rf'name="([^"]+_{name})"', at.page.text)[0]


async def test_the_page_shows_each_value_of_the_row_and_when_it_was_recorded(house: House) -> None:
    at = await opened(house)
    text = text_of(at.page)
    assert "Row of 16-Sep-2026 13:15 EDT" in text
    assert values_of(at.page)[field(at, "systolic")] == "146"
    assert "Heart rate 81 /min at 16-Sep-2026 13:15 recorded 16-Sep-2026 13:16 · OKAFOR, Ngozi" in text
    assert "Oriented now yes" in text


async def test_a_value_is_corrected_with_its_reason_and_the_history_tells_both(house: House) -> None:
    at = await opened(house)
    address = str(at.page.url)
    page = await at.send("record/row/save", {field(at, "systolic"): "136", "reason": WHY})
    assert "corrected. What stood there before stays in the history." in text_of(page)
    assert "13:15 136/88" in text_of(page)
    pressure = (await at.observations(terms.BP_PANEL))[-1]
    assert (pressure["status"], pressure["component"][0]["valueQuantity"]["value"]) == ("amended", 136)
    text = text_of(await at.browser.get(address))
    history = text[text.index("History") :]
    assert history.index("Blood pressure 136/88 mmHg at 16-Sep-2026 13:15 Corrected") < history.index(f"Reason: {WHY}")
    assert history.index(WHY) < history.index("Blood pressure 146/88 mmHg at 16-Sep-2026 13:15 Recorded")


async def test_the_time_of_a_row_is_corrected_for_all_its_values_in_one_transaction(house: House) -> None:
    at = await opened(house)
    house.wire.fhir.clear()
    page = await at.send("record/row/save", {"at": "13:16", "reason": "Clock of the monitor"})
    assert "13:16 146/88 81 – – – 4 lethargic" in text_of(page)
    assert len([each for each in house.wire.fhir if b'"transaction"' in each.content]) == 1
    moved = [each for each in await at.observations() if each["status"] == "amended"]
    assert {each["effectiveDateTime"] for each in moved} == {tasks.instant(ROW + timedelta(minutes=1))}
    assert len(moved) == 4  # what was answered by yes or no moves too


async def test_a_moved_row_leaves_its_old_minute_free(house: House) -> None:
    at = await opened(house)
    await at.send("record/row/save", {"at": "13:10", "reason": "Clock of the monitor"})
    page = await at.send("record/row", {"at": "13:15", "systolic": "150", "diastolic": "90"})
    text = text_of(page)
    assert text.index("13:10 146/88") < text.index("13:15 150/90")


async def test_one_value_is_taken_back_and_the_others_stay(house: House) -> None:
    at = await opened(house)
    page = await at.send("record/row/save", {field(at, "back"): "yes", "reason": "Not this patient's"})
    assert "Taken back: Blood pressure 146/88 mmHg" in text_of(page)
    assert (await at.observations(terms.BP_PANEL))[-1]["status"] == "entered-in-error"
    assert (await at.observations(terms.HEART_RATE))[-1]["status"] == "final"


async def test_a_whole_row_is_taken_back_and_stays_visible_as_such(house: House) -> None:
    at = await opened(house)
    address = str(at.page.url)
    page = await at.send("record/row/save", {"all": "1", "reason": "Another patient's row"})
    assert "taken back as entered in error." in text_of(page)
    page = await at.browser.get(address)
    assert "All of this row was taken back as entered in error." in text_of(page)
    assert "Reason: Another patient's row" in text_of(page)


async def test_without_a_reason_or_with_a_value_that_cannot_be_nothing_changes(house: House) -> None:
    at = await opened(house)
    systolic = field(at, "systolic")
    page = await at.send("record/row/save", {systolic: "136"})
    assert page.status_code == 422
    assert '<a href="#reason">Say why, in your own words.</a>' in page.text
    assert values_of(page)[systolic] == "136"
    page = await at.send("record/row/save", {systolic: "20", "reason": WHY})
    assert f'<a href="#{systolic}">Systolic must be 40 to 300 mmHg.</a>' in page.text
    page = await at.send("record/row/save", {systolic: "", field(at, "diastolic"): "", "reason": WHY})
    assert "Blood pressure mmHg: give a value, or take it back." in text_of(page)
    assert {each["status"] for each in await at.observations()} == {"final"}


async def test_a_correction_beyond_the_limits_is_asked_once(house: House) -> None:
    at = await opened(house)
    high = {field(at, "systolic"): "190", "reason": WHY}
    page = await at.send("record/row/save", high)
    assert "Check and confirm" in text_of(page)
    assert "13:15 190/88" in text_of(await at.send("record/row/save", high)).replace("▲ ", "")


async def test_what_was_confirmed_once_is_not_asked_again_when_something_else_is_corrected(house: House) -> None:
    at = await opened(house)
    high = {field(at, "systolic"): "190", "reason": WHY}
    address = str(at.page.url)
    await at.send("record/row/save", high)
    await at.send("record/row/save", high)
    at.page = await at.browser.get(address)
    page = await at.send("record/row/save", {field(at, "heart_rate"): "84", "reason": WHY})
    assert "corrected" in text_of(page)


async def test_what_somebody_else_changed_meanwhile_is_shown_and_what_was_typed_is_kept(house: House) -> None:
    at = await opened(house)
    first, rate = at.page, field(at, "heart_rate")
    await at.send("record/row/save", {rate: "90", "reason": "First"})
    at.page = first
    page = await at.send("record/row/save", {rate: "95", "reason": "Second"})
    assert page.status_code == 412
    text = text_of(page)
    assert "Changed in the chart since you opened it." in text
    assert "Heart rate /min now 90" in text
    assert values_of(page)[rate] == "95"
    page = await at.send("record/row/save", {rate: "95", "reason": "Second"})  # having seen it
    assert "corrected" in text_of(page)


async def test_what_the_ehr_charted_at_that_time_is_shown_and_not_edited(house: House) -> None:
    at = await opened(house)
    await charted(at, terms.RESPIRATORY_RATE, 16, ROW)
    await at.browser.get(str(at.page.url))
    at.page = await at.browser.get(str(at.page.url))
    assert "Also in the chart at this time, to be corrected where it was written: 16" in text_of(at.page)
    assert "_respiratory_rate" not in at.page.text


async def test_a_row_of_nobody_is_not_found(house: House) -> None:
    at = await opened(house)
    assert (await at.get("record/row?of=nobody")).status_code == 404


# The infusion itself


async def test_the_dose_is_corrected_with_its_reason(house: House) -> None:
    at = await bedside(house)
    await at.get("record/infusion")
    page = await at.send("record/infusion/dose", {"dose_mg": "40", "route": "intravenous"})
    assert '<a href="#dose_reason">Say why, in your own words.</a>' in page.text
    page = await at.send(
        "record/infusion/dose", {"dose_mg": "40", "route": "intravenous", "dose_reason": "Second vial"}
    )
    assert "Ketamine 40 mg intravenous" in text_of(page)
    found = await house.world.server.client().search_all(
        "Provenance", {"target": f"MedicationAdministration/{(await at.drug())['id']}"}
    )
    assert {"text": "Second vial"} in [reason for each in found.matches for reason in each.get("reason") or ()]


async def test_the_start_of_a_running_infusion_is_corrected(house: House) -> None:
    at = await bedside(house)
    await at.get("record/infusion")
    page = await at.send("record/infusion/save", {"kind": "end-moved", "start": "12:55", "reason": WHY})
    assert "Started 16-Sep-2026 12:55 EDT" in text_of(page)
    page = await at.get("record/infusion")
    page = await at.send("record/infusion/save", {"kind": "end-moved", "start": "15:00", "reason": WHY})
    assert '<a href="#start">Start lies in the future.</a>' in page.text


async def restriction(at: Bedside) -> Resource:
    """Give the patient's restriction of driving."""
    found = await of_patient(at.house.world, "ServiceRequest", at.patient)
    return next(each for each in found if each.get("doNotPerform"))


async def test_the_end_is_moved_and_the_plan_moves_with_it(house: House) -> None:
    at = await bedside(house, now=END + timedelta(minutes=90), end=END, status=InfusionStatus.COMPLETED)
    await discharge(house.world.context, leaving(house.world, at.patient, at.encounter))
    before = await restriction(at)
    await at.get("record/infusion")
    page = await at.send("record/infusion/save", {"kind": "end-moved", "end": "14:20", "reason": WHY})
    assert "corrected" in text_of(page)
    assert (await at.drug())["effectivePeriod"]["end"] == tasks.instant(END + timedelta(minutes=40))
    assert (await restriction(at))["occurrencePeriod"]["start"] > before["occurrencePeriod"]["start"]


async def test_stopped_early_not_done_and_entered_in_error_each_say_so(house: House) -> None:
    for kind, end, status in (
        ("stopped", "13:10", "stopped"),
        ("not-done", "", "not-done"),
        ("entered-in-error", "", "entered-in-error"),
    ):
        at = await bedside(house)
        await at.get("record/infusion")
        page = await at.send("record/infusion/save", {"kind": kind, "end": end, "reason": WHY})
        assert "corrected" in text_of(page), kind
        assert (await at.drug())["status"] == status
    assert "Start the infusion" in page.text


async def test_what_is_missing_in_a_correction_is_told(house: House) -> None:
    at = await bedside(house, now=END + timedelta(minutes=5), end=END, status=InfusionStatus.COMPLETED)
    await at.get("record/infusion")
    page = await at.send("record/infusion/save")
    assert "Choose what is wrong." in text_of(page)
    assert "Say why, in your own words." in text_of(page)
    page = await at.send("record/infusion/save", {"kind": "end-moved", "end": "12:00", "reason": WHY})
    assert "The infusion ends before it starts." in text_of(page)
    assert (await at.drug())["status"] == "completed"
