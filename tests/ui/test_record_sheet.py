"""A whole paper sheet is typed in one grid: all of it is written at once as late entry, or each fault is told."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.fhir import tasks, terms
from flows.cases import of_patient
from ui.house import form_of
from ui.ward import Bedside, bedside, text_of, values_of
from world import END, NEW_YORK, START

if TYPE_CHECKING:
    from ui.house import House

TOP = {"day": "2026-09-16", "start": "13:00", "end": "1340", "dose_mg": "35", "outcome": "completed"}
LATER = END + timedelta(hours=3)


def row(number: int, at: str, *values: str) -> dict[str, str]:
    """Give a row as it is typed: systolic, diastolic, heart rate, SpO2, RR, dissociation, sedation, nausea."""
    names = ("systolic", "diastolic", "heart_rate", "spo2", "respiratory_rate", "dissociation", "moaa_s", "nausea")
    typed = dict(zip(names, values, strict=False))
    return {f"r{number}_at": at, **{f"r{number}_{name}": value for name, value in typed.items()}}


async def sheet(house: House, *, now: datetime = LATER, begun: bool = False, **record: object) -> Bedside:
    at = await bedside(house, now=now, begun=begun, **record)
    await at.get("record/sheet")
    return at


async def test_a_whole_sheet_is_written_in_one_transaction_and_marked_as_late_entry(house: House) -> None:
    at = await sheet(house)
    typed = {
        **TOP,
        **row(1, "12:50", "128", "79", "74", "98", "14", "0", "5", "0"),
        **row(2, "13:15", "146", "88", "81", "97", "15", "moderate", "4"),
        **row(3, "1340", "150", "90", "84", "96", "15", "2", "4", "1"),
    }
    house.wire.fhir.clear()
    page = await at.send("record/sheet/save", typed)
    assert [request.method for request in house.wire.fhir] == [
        "POST",
        "POST",
        "POST",
        "POST",
    ]  # look, look, write, show
    text = text_of(page)
    assert "Saved to chart 16:40 · 20 observations." in text
    assert "12:50 Before Late entry 128/79 74 98 14 none 5 alert 0" in text
    drug = await at.drug()
    assert (drug["status"], drug["effectivePeriod"]["end"]) == ("completed", tasks.instant(END))
    observations = await at.observations()
    assert {each["note"][0]["text"] for each in observations} == {"Late entry: typed afterwards from paper."}
    found = await house.world.server.client().search_all(
        "Provenance", {"target": f"Observation/{observations[0]['id']}"}
    )
    assert found.matches[0]["reason"] == [{"text": "Late entry from a paper sheet"}]


async def test_every_fault_names_its_row_and_field_nothing_is_written_and_all_stays_typed(house: House) -> None:
    at = await sheet(house)
    typed = {
        **TOP,
        **row(1, "12:50", "128", "79"),
        **row(2, "13:75", "146", "88", "eighty"),
        **row(3, "13:30", "700", "90"),
        **row(4, "12:50", "", "", "74", "", "", "9"),
        **row(5, "", "", "", "70"),
    }
    page = await at.send("record/sheet/save", typed)
    assert page.status_code == 422
    for fault in (
        '<a href="#r2_at">Row 2: give the time as 13:05.</a>',
        '<a href="#r2_heart_rate">Row 2: heart rate must be a whole number.</a>',
        '<a href="#r3_systolic">Row 3: systolic must be 40 to 300 mmHg.</a>',
        '<a href="#r4_dissociation">Row 4: dissociation must be 0 none, 1 mild, 2 moderate or 3 severe.</a>',
        '<a href="#r4_at">Row 4: time 12:50 stands in a row above too.</a>',
        '<a href="#r5_at">Row 5: give the time as 13:05.</a>',
    ):
        assert fault in page.text, fault
    assert {key: value for key, value in values_of(page).items() if value and key in typed} == {
        key: value for key, value in typed.items() if value
    }
    assert await at.observations() == []
    assert await of_patient(house.world, "MedicationAdministration", at.patient) == []


async def test_over_midnight_the_rows_go_on_to_the_next_day(house: House) -> None:
    start = datetime(2026, 9, 16, 23, 30, tzinfo=NEW_YORK)
    at = await sheet(house, now=start + timedelta(hours=9))
    typed = {
        **TOP, "start": "23:30", "end": "00:10",
        **row(1, "23:20", "128", "79"), **row(2, "23:45", "", "", "80"), **row(3, "00:10", "", "", "81"),
    }  # fmt: skip
    page = await at.send("record/sheet/save", typed)
    assert "Saved to chart" in text_of(page)
    assert (await at.drug())["effectivePeriod"]["end"] == tasks.instant(start + timedelta(minutes=40))
    assert [each["effectiveDateTime"] for each in await at.observations(terms.HEART_RATE)] == [
        tasks.instant(start + timedelta(minutes=15)),
        tasks.instant(start + timedelta(minutes=40)),
    ]


async def test_a_time_that_does_not_exist_or_comes_twice_is_asked_for(house: House) -> None:
    at = await sheet(house, now=datetime(2026, 11, 1, 9, 0, tzinfo=NEW_YORK))
    back = {**TOP, "day": "2026-11-01", "start": "00:50", "end": "02:00"}
    page = await at.send("record/sheet/save", {**back, **row(1, "01:15", "", "", "80")})
    assert "Row 1: that time comes twice, as the clocks were set back: add EDT or EST." in text_of(page)
    page = await at.send("record/sheet/save", {**back, **row(1, "01:15 EST", "", "", "80")})
    assert "Saved to chart" in text_of(page)
    assert (await at.observations())[0]["effectiveDateTime"] == "2026-11-01T01:15:00-05:00"
    at = await sheet(house, now=datetime(2027, 3, 14, 9, 0, tzinfo=NEW_YORK))
    forward = {**TOP, "day": "2027-03-14", "start": "01:30", "end": "03:10"}
    page = await at.send("record/sheet/save", {**forward, **row(1, "02:15", "", "", "80")})
    assert "Row 1: there is no such time on that day: the clocks were set forward." in text_of(page)


async def test_values_beyond_the_limits_are_asked_once_for_the_whole_sheet(house: House) -> None:
    at = await sheet(house)
    typed = {**TOP, **row(1, "13:15", "190", "90"), **row(2, "13:30", "128", "79", "140")}
    page = await at.send("record/sheet/save", typed)
    text = text_of(page)
    assert "13:15 Blood pressure 190/90 mmHg" in text
    assert "13:30 Heart rate 140 /min" in text
    assert "Saved to chart" in text_of(await at.send("record/sheet/save", typed))


async def test_sent_twice_it_is_one_sheet_and_rows_that_are_there_already_are_left_out(house: House) -> None:
    at = await sheet(house)
    first, typed = at.page, {**TOP, **row(1, "13:15", "146", "88")}
    await at.send("record/sheet/save", typed)
    at.page = first
    assert "in the chart already" in text_of(await at.send("record/sheet/save", typed))
    await at.get("record/sheet")
    again = {**row(1, "13:15", "146", "88"), **row(2, "13:30", "140", "80")}
    assert "1 observation." in text_of(await at.send("record/sheet/save", again))
    await at.get("record/sheet")
    page = await at.send("record/sheet/save", row(1, "13:15", "150", "88"))
    assert '<a href="#r1_systolic">Row 1: blood pressure at 13:15 is 146/88 in the chart' in page.text
    assert len(await at.observations(terms.BP_PANEL)) == 2


async def test_of_an_infusion_that_was_begun_here_only_the_rest_is_asked(house: House) -> None:
    at = await sheet(house, begun=True)
    assert 'name="start"' not in at.page.text
    assert "Started 16-Sep-2026 13:00 EDT" in text_of(at.page)
    typed = {"end": "13:45", "dose_mg": "40", **row(1, "13:15", "146", "88")}
    page = await at.send("record/sheet/save", typed)
    assert "Saved to chart" in text_of(page)
    drug = await at.drug()
    assert (drug["status"], drug["dosage"]["dose"]["value"]) == ("completed", 40)
    assert drug["effectivePeriod"]["end"] == tasks.instant(START + timedelta(minutes=45))


async def test_of_one_that_has_ended_the_rows_are_added_and_nothing_else_changes(house: House) -> None:
    at = await sheet(house, begun=True, end=END, status=InfusionStatus.COMPLETED)
    assert 'name="end"' not in at.page.text
    before = await at.drug()
    page = await at.send("record/sheet/save", row(1, "13:15", "146", "88"))
    assert "1 observation." in text_of(page)
    assert (await at.drug())["meta"]["versionId"] == before["meta"]["versionId"]


async def test_more_rows_keep_what_was_typed(house: House) -> None:
    at = await sheet(house)
    assert len(re.findall(r'name="r\d+_at"', at.page.text)) == 12
    address = re.findall(r'formaction="([^"]+)"', at.page.text)[0].replace("&amp;", "&")
    held = form_of(at.page)
    page = await at.browser.post(address, {**held, **row(1, "13:15", "146", "88")})
    assert len(re.findall(r'name="r\d+_at"', page.text)) == 24
    assert values_of(page).get("r1_systolic") == "146"
    assert len(page.content) < 60_000


async def test_an_empty_sheet_says_so(house: House) -> None:
    at = await sheet(house)
    page = await at.send("record/sheet/save", TOP)
    assert page.status_code == 422
    assert "Nothing was typed. Give at least one row." in text_of(page)
