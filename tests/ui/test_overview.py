"""What the overview shows: from one batch, honest about what is missing, and nothing that a chart could smuggle in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from fhir_aftercare.ui import people
from ui.house import WEEK_LATER, house_of

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from servers import Server
    from ui.house import House

NEW_YORK = ZoneInfo("America/New_York")
GRANTED = "launch openid fhirUser online_access user/Patient.rs user/CarePlan.rs user/Goal.rs user/Observation.rs"


async def shown(house: House, **chart: Any) -> httpx.Response:
    return await house.browser().launch(**{"patient": await house.patient(), **chart})


async def test_it_shows_tasks_plans_scores_and_what_is_due(house: House) -> None:
    page = await shown(house)
    for text in (
        *("Open tasks", "Overdue", "Coming", "priority asap"),
        *("Monitoring of a ketamine course", "Aftercare of one ketamine infusion", "active"),
        *("21 on 23-Sep-2026 13:00", "no baseline", "item 9 answered 1"),
        *("Next due", "As of 23-Sep-2026 13:00 EDT", "Harbor Clinic"),
    ):
        assert text in page.text
    assert "Gap" not in page.text
    assert "Not offered" not in page.text


@pytest.mark.parametrize(("said", "drawn"), [(True, True), (False, False), (None, True)])
async def test_the_banner_is_drawn_unless_the_ehr_shows_one(house: House, said: bool | None, drawn: bool) -> None:
    page = await shown(house, **({} if said is None else {"need_patient_banner": said}))
    assert ("RIVERA, Ana" in page.text) == drawn
    assert ("04-Mar-1988 (38y)" in page.text) == drawn


async def test_in_a_window_of_its_own_the_page_says_whose_it_is(house: House) -> None:
    browser = house.browser()
    page = await browser.launch(patient=await house.patient(), need_patient_banner=False)
    assert "RIVERA, Ana" not in page.text
    alone = await browser.get(str(page.url), headers={"sec-fetch-dest": "document"})
    framed = await browser.get(str(page.url), headers={"sec-fetch-dest": "iframe"})
    assert ("RIVERA, Ana" in alone.text, "RIVERA, Ana" in framed.text) == (True, False)


async def test_a_part_that_could_not_be_read_is_a_gap_and_not_an_empty_part(house: House) -> None:
    house.wire.refuses = {"Observation": 500, "Task": 500}
    page = await shown(house)
    assert page.status_code == 200
    assert page.text.count("This could not be read from the chart.") == 2
    assert "No scores yet." not in page.text
    assert "Nothing is due." not in page.text
    assert "<dt>Next due</dt> <dd>Not known</dd>" in page.text
    assert "Monitoring of a ketamine course" in page.text


async def test_restrictions_of_plans_that_could_not_be_read_are_not_known(house: House) -> None:
    house.wire.refuses = {"CarePlan": 500}
    page = await shown(house)
    assert "<dt>Restrictions until</dt> <dd>Not known</dd>" in page.text


async def test_what_the_ehr_did_not_grant_is_named_and_not_shown_as_empty(house: House) -> None:
    house.ehr.faults.granted = GRANTED
    house.wire.refuses = {"Task": 403}
    page = await shown(house)
    assert "Not offered here" in page.text
    assert "reading tasks (user/Task.rs)" in page.text
    assert "reading restrictions (user/ServiceRequest.rs)" in page.text
    assert "The EHR did not grant access to this." in page.text
    assert "No tasks are open." not in page.text
    assert "<dt>Restrictions until</dt> <dd>Not known</dd>" in page.text


async def test_without_a_refresh_token_it_says_that_the_sign_in_runs_out(house: House) -> None:
    house.ehr.faults.granted = " ".join(
        each for each in f"{GRANTED} user/Task.rs user/ServiceRequest.rs".split() if each != "online_access"
    )
    page = await shown(house)
    assert "staying signed in" in page.text


async def test_a_chart_that_cannot_be_read_at_all_is_a_page_with_a_reference(house: House) -> None:
    house.wire.refuses = {"Patient": 500}
    page = await shown(house)
    assert page.status_code == 502
    assert "The chart could not be read" in page.text
    assert page.headers["x-request-id"] in page.text


async def test_a_patient_who_is_not_there_is_a_page(house: House) -> None:
    page = await shown(house, patient="is-not-there")
    assert page.status_code == 404


async def test_a_launch_without_a_patient_says_to_open_a_chart(house: House) -> None:
    page = await shown(house, patient=None)
    assert page.status_code == 409
    assert "Open a patient&#39;s chart" in page.text


@pytest.mark.parametrize("person", ["Patient/{patient}", "RelatedPerson/1"])
async def test_patients_and_relatives_see_no_scores_and_no_work_of_staff(house: House, person: str) -> None:
    patient = await house.patient()
    reference = person.format(patient=patient)
    house.ehr.faults.claims = {"fhirUser": f"{house.ehr.base}/{reference}"}
    page = await shown(house)
    assert page.status_code == 200
    assert "Scores" not in page.text
    assert "item 9" not in page.text
    assert "Call the patient" not in page.text
    assert "Check-in, every week" in page.text


async def test_somebody_the_ehr_does_not_name_sees_no_more_than_a_patient(house: House) -> None:
    house.ehr.faults.granted = (
        "launch online_access user/Patient.rs user/CarePlan.rs user/Goal.rs user/Observation.rs "
        "user/Task.rs user/ServiceRequest.rs"
    )
    page = await shown(house)
    assert "who you are (openid)" in page.text
    assert "21 on" not in page.text


async def test_text_of_the_chart_is_shown_as_text(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path) as house:
        evil = "<script>alert(1)</script>\"'&"
        patient = await house.world.patient(evil)
        page = await house.browser().launch(patient=patient.partition("/")[2])
        assert "<script>" not in page.text.lower()
        assert "&lt;SCRIPT&gt;" in page.text
        assert "No aftercare plan yet." in page.text
        assert "No scores yet." in page.text


@pytest.mark.parametrize(
    ("patient", "name", "born", "number"),
    [
        ({}, "Not known", "Not known", "Not known"),
        ({"name": [{"text": "Ana R."}], "birthDate": "1988"}, "Ana R.", "1988", "Not known"),
        (
            {
                "name": [
                    {"use": "old", "family": "Alt"},
                    {"use": "official", "family": "Rivera", "given": ["Ana", "M"], "prefix": ["Ms"]},
                ],
                "birthDate": "1988-09-24",
                "identifier": [
                    {"value": "other"},
                    {"type": {"coding": [{"code": "MR"}]}, "value": "123"},
                ],
            },
            "RIVERA, Ana M (Ms)",
            "24-Sep-1988 (37y)",
            "123",
        ),
        ({"name": "odd", "birthDate": 7, "identifier": [{"system": "x"}]}, "Not known", "Not known", "Not known"),
        ({"name": [{"family": "Rivera"}], "birthDate": "1988-02-31"}, "RIVERA", "1988-02-31", "Not known"),
    ],
)
def test_the_banner_reads_whatever_a_chart_holds(patient: dict[str, Any], name: str, born: str, number: str) -> None:
    made = people.banner(patient, WEEK_LATER, NEW_YORK)
    assert (made.name, made.born, made.number) == (name, born, number)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-09-16T13:00:00-04:00", "16-Sep-2026 13:00"),
        ("2026-09-16", "16-Sep-2026"),
        ("2026-09", "2026-09"),
        (None, "Not known"),
    ],
)
def test_a_date_is_no_more_precise_than_the_chart_says(text: str | None, said: str) -> None:
    assert people.when(text, NEW_YORK) == said


def test_one_who_died_is_shown_as_such() -> None:
    made = people.banner({"deceasedDateTime": "2026-09-01"}, WEEK_LATER, NEW_YORK)
    assert made.died == "01-Sep-2026"
    assert people.banner({"deceasedBoolean": True}, WEEK_LATER, NEW_YORK).died == "Yes"
