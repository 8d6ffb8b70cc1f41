"""What the overview shows: from one batch, honest about what is missing, and nothing that a chart could smuggle in."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.ui import people
from flows.cases import of_patient, only
from ui.house import WEEK_LATER, base_of, form_of, house_of
from world import START

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    import httpx

    from servers import Server
    from ui.house import House
    from world import World

NEW_YORK = ZoneInfo("America/New_York")
GRANTED = "launch openid fhirUser online_access user/Patient.rs user/CarePlan.rs user/Goal.rs user/Observation.rs"


@pytest.fixture(autouse=True)
def as_before(ward: tuple[World, dict[str, str]]) -> Iterator[None]:
    """Set the clock that all tests share to the day that their patients were made for, and back to it."""
    ward[0].clock.move_to(WEEK_LATER)
    yield
    ward[0].clock.move_to(WEEK_LATER)


async def shown(house: House, **chart: Any) -> httpx.Response:
    """Open the overview, as an EHR asks for it: where a launch lands by itself is for the tests of landing."""
    return await house.browser().launch(**{"patient": await house.patient(), "intent": "overview", **chart})


async def test_it_shows_tasks_plans_scores_and_what_is_due(house: House) -> None:
    page = await shown(house)
    for text in (
        *("Open tasks", "Overdue", "Coming", "priority asap", "Escalated", "Forms the patient owes"),
        *("Monitoring of a ketamine course", "Aftercare of one ketamine infusion", "active"),
        *("21 on 23-Sep-2026 13:00", "severe", "no baseline", "Item 9 answered 1 of 3, several days", "item 9: 1"),
        *("PHQ-9 item 9 (thoughts of death or self-harm) was answered several days", "not answered"),
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
    assert "<dt>Scores</dt> <dd>Not known</dd>" in page.text
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
    notice = part_of(page, '<details class="notice">', "</details>")
    reading, writing = notice.index("No reading of"), notice.index("No writing of")
    assert reading < notice.index("tasks (user/Task.rs)") < writing
    assert reading < notice.index("restrictions (user/ServiceRequest.rs)") < writing
    assert writing < notice.index("tasks (user/Task.cu)")
    assert "(user/Observation.cu)" in notice
    assert "(user/Observation.rs)" not in notice
    assert "The EHR did not grant access to this." in page.text
    assert "No tasks are open." not in page.text
    assert "<dt>Restrictions until</dt> <dd>Not known</dd>" in page.text


def part_of(page: httpx.Response, start: str, end: str) -> str:
    return page.text.partition(start)[2].partition(end)[0]


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


# --- what an overview of a whole course shows -------------------------------------------------------------------------
WEEK = timedelta(days=7)


def score(patient: str, code: terms.Code, at: datetime, value: int) -> dict[str, Any]:
    held: dict[str, Any] = {"valueQuantity": {"value": value, "unit": "{score}"}}
    if code is terms.PHQ9_ITEM9:
        held = {"valueCodeableConcept": terms.FREQUENCY_ANSWERS[value].concept()}
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [terms.SURVEY.concept()],
        "code": code.concept(),
        "subject": {"reference": patient},
        "effectiveDateTime": tasks.instant(at),
        **held,
    }


async def of_a_course(house: House, name: str, totals: Sequence[int], item9: int = 0) -> str:
    """Make a patient who was discharged and scored so each week, the first time two days before the infusion."""
    reference = f"Patient/{await house.patient(name)}"
    client = house.world.server.client()
    for week, total in enumerate(totals):
        at = START - timedelta(days=2) + week * WEEK
        for code, value in (
            (terms.PHQ9_TOTAL, total),
            (terms.PHQ9_ITEM9, item9 if week == 0 else 0),
            (terms.GAD7_TOTAL, min(total, 21)),
        ):
            await client.create(score(reference, code, at, value))
    house.world.clock.move_to(START - timedelta(days=1) + len(totals) * WEEK)
    return reference.partition("/")[2]


async def test_sixty_scores_of_both_kinds_are_one_batch_and_a_light_page(house: House) -> None:
    patient = await of_a_course(house, "Sixty", [(week * 7) % 28 for week in range(60)])
    browser = house.browser()
    page = await browser.launch(patient=patient, intent="overview")
    house.wire.fhir.clear()
    page = await browser.get(str(page.url))
    assert [each.method for each in house.wire.fhir] == ["POST"]
    assert len(page.content) <= 60_000
    links = re.findall(r'href="\./(answers\?[^"]+)"', page.text)
    assert len(set(links)) == 60 + 60 + 1  # and the PHQ-9 of the story
    assert len(links) == 2 * len(set(links)) + 2  # in the picture and in the table; the newest also at the top
    opened = await browser.get(f"{base_of(page)}{links[0]}")
    assert opened.status_code == 200


async def test_it_says_how_the_patient_does_against_the_baseline(house: House) -> None:
    patient = await of_a_course(house, "Better", [20, 15, 9, 4], item9=2)
    page = await shown(house, patient=patient)
    top = part_of(page, '<div class="standings">', "<dl")
    for text in ("4 on 05-Oct-2026 13:00", "minimal", "down 16 from the baseline, 20 on 14-Sep-2026"):
        assert text in top
    assert re.findall(r'<span class="tag better">(\w+)</span>', top) == ["Remission", "Response"]
    assert "Item 9 answered 0 of 3, not at all" in top
    picture = part_of(page, '<figure class="trend" aria-label="PHQ-9">', "</figure>")
    for text in ("half of the baseline, 10", "cut-off, 10", "item 9 answered above 0", "infusion with its number"):
        assert text in picture
    assert "<td>baseline, item 9: 2</td>" in picture
    assert "Infusion 1, 16-Sep-2026" in picture
    assert "number 1 of the course" in page.text


async def test_worse_than_before_is_said_first(house: House) -> None:
    patient = await of_a_course(house, "Worse", [12, 11, 19])
    page = await shown(house, patient=patient)
    top = part_of(page, '<div class="standings">', "<dl")
    assert '<span class="tag worse">Worsening</span>' in top
    assert "No response" not in top


async def test_scores_of_years_before_stand_in_the_table_and_are_drawn_when_asked_for(house: House) -> None:
    patient = await of_a_course(house, "Long", [20, 15])
    reference = f"Patient/{patient}"
    old = START - timedelta(days=900)
    await house.world.server.client().create(score(reference, terms.PHQ9_TOTAL, old, 13))
    browser = house.browser()
    page = await browser.launch(patient=patient, intent="overview")
    assert "1 earlier, not in the picture." in page.text
    assert "13 moderate" in page.text
    assert "13 on " not in page.text
    whole = await browser.get(f"{base_of(page)}overview?drawn=whole")
    assert "13 on " in whole.text
    assert "not in the picture" not in whole.text


async def test_a_browser_without_cookies_has_forms_for_links_and_none_in_the_picture(
    sandbox: Server, tmp_path: Path
) -> None:
    async with house_of(sandbox, tmp_path, registered={"allow_cookieless_callback": True}) as house:
        patient = await of_a_course(house, "Cookieless", [20, 9])
        browser = house.browser(cookies=False)
        between = await browser.launch(patient=patient, intent="overview")
        page = await browser.post(re.findall(r'action="([^"]+)"', between.text)[0], form_of(between))
        picture = part_of(page, '<svg class="trend"', "</svg>")
        assert 'role="img"' in picture
        assert "<a " not in picture
        row = part_of(page, '<th scope="row">14-Sep-2026</th>', "</tr>")
        address = re.search(r'form="go" formaction="(/app/l/[^"]+/answers\?of=[^"]+)"', row)
        assert address
        answers = await browser.post(address[1], form_of(page))
        assert "20 of 27, severe" in answers.text


async def test_calls_their_notes_and_who_made_them_are_shown(house: House) -> None:
    patient = await house.patient("Called")
    world = house.world
    found = await of_patient(world, "Task", f"Patient/{patient}")
    call = only([each for each in found if tasks.has_code(each, terms.FOLLOW_UP_CALL)])
    world.clock.move_to(START + timedelta(hours=22))
    reference = f"Task/{call['id']}"
    colleague = await world.server.client().create(
        {"resourceType": "Practitioner", "name": [{"family": "Adeyemi", "given": ["Tola"]}]}
    )
    by = f"Practitioner/{colleague['id']}"
    await move_task(world.context, MoveRequest(reference, "claim", person=by))
    await move_task(
        world.context,
        MoveRequest(reference, "attempt", person=by, outcome="no-answer", note="Voicemail <left>."),
    )
    page = await shown(house, patient=patient)
    card = part_of(page, ">Telephone follow-up</a>", "</li>")
    assert "ADEYEMI, Tola" in card
    assert "1 attempt · 17-Sep-2026 11:00 no answer (ADEYEMI, Tola)" in card
    assert "Voicemail &lt;left&gt;." in card
    assert f"worklist/task?task={call['id']}" in page.text
    world.clock.move_to(START + timedelta(hours=24))
    await move_task(
        world.context, MoveRequest(reference, "attempt", person=world.nurse, outcome="reached", note="Slept well.")
    )
    page = await shown(house, patient=patient)
    calls = part_of(page, '<h2 id="calls">', "</section>")
    assert calls.index("Reached. Slept well.") < calls.index("No answer. Voicemail &lt;left&gt;.")
    assert "· you" in calls


async def test_calls_that_could_not_be_read_are_a_gap(house: House) -> None:
    house.wire.refuses = {"Communication": 403}
    page = await shown(house)
    assert "No calls yet." not in page.text
    assert "The EHR did not grant access to this." in part_of(page, '<h2 id="calls">', "</section>")


async def test_until_when_the_patient_may_not_drive_is_said_on_the_day(house: House) -> None:
    patient = await house.patient("Driver")
    house.world.clock.move_to(START + timedelta(hours=4))
    page = await shown(house, patient=patient)
    facts = part_of(page, '<dl class="facts">', "</dl>")
    assert "<dt>No driving until</dt> <dd>17-Sep-2026 07:00 EDT</dd>" in facts
    assert facts.index("No driving") < facts.index("Do not use alcohol")


async def test_without_the_plans_it_does_not_say_that_there_was_no_infusion(house: House) -> None:
    house.wire.refuses = {"CarePlan": 500}
    page = await shown(house)
    assert "infusions not known" in page.text
    assert "no infusion yet" not in page.text


async def test_a_patient_with_scores_and_no_infusion_yet(house: House) -> None:
    patient = await house.world.patient("Before")
    await house.world.server.client().create(score(patient, terms.PHQ9_TOTAL, START - timedelta(days=1), 17))
    house.world.clock.move_to(START)
    page = await shown(house, patient=patient.partition("/")[2])
    assert "no infusion yet" in page.text
    assert "Item 9 not known" in page.text
    assert "17 moderately severe" in page.text
