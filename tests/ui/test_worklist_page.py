"""The worklist and one Task: what presses first, filters in the address, every move, and why it may not be offered."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.ui.worklist import packed, span, unpacked
from flows.cases import of_patient, only, with_code
from ui.house import WEEK_LATER, base_of, form_of, house_of
from ui.ward import text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from servers import Server
    from ui.house import Browser, House

ONE_PATIENT = "launch launch/patient openid fhirUser online_access patient/*.rs"


@pytest.fixture
async def own(sandbox: Server, tmp_path: Path) -> AsyncIterator[House]:
    """A clinic of its own: its worklist holds what this test made, and nothing else."""
    async with house_of(sandbox, tmp_path) as made:
        yield made


@pytest.fixture
async def house(own: House) -> House:
    """The same for all tests here: with the patients of others the list would have further pages."""
    return own


async def opened(house: House, name: str = "Rivera") -> tuple[str, Browser, httpx.Response]:
    patient = await house.patient(name)
    browser = house.browser()
    return f"Patient/{patient}", browser, await browser.launch(patient=patient, intent="worklist")


async def the(house: House, patient: str, code: terms.Code) -> dict[str, Any]:
    return only(with_code(await of_patient(house.world, "Task", patient), code))


async def task_page(browser: Browser, page: httpx.Response, task: dict[str, Any], **query: str) -> httpx.Response:
    more = "".join(f"&{name}={value}" for name, value in query.items())
    return await browser.get(f"{base_of(page)}worklist/task?task={task['id']}{more}")


async def move(browser: Browser, page: httpx.Response, task: dict[str, Any], **fields: str) -> httpx.Response:
    shown = await task_page(browser, page, task)
    version = re.findall(r'name="version" value="([^"]*)"', shown.text)[0]
    sent = {**form_of(page), "task": task["id"], "version": version, **fields}
    return await browser.post(f"{base_of(page)}worklist/move", sent)


async def test_what_presses_most_comes_first_with_reason_and_whose_it_is(own: House) -> None:
    _, _, page = await opened(own)
    assert page.status_code == 200
    states = re.findall(r'<li class="(escalated|overdue|due|coming)"', page.text)
    assert states[0] == "escalated"
    assert states == sorted(states, key=["escalated", "overdue", "due"].index)
    first = page.text[page.text.index('<li class="escalated"') :].partition("</li>")[0]
    assert "RIVERA, Ana" in first
    assert "item 9" in first
    assert f"Escalated {states.count('escalated')}" in page.text
    assert f"Overdue {states.count('overdue')}" in page.text


async def test_filters_stand_in_the_address_and_stay_while_working(own: House) -> None:
    patient, browser, page = await opened(own)
    overdue = await browser.get(f"{base_of(page)}worklist?state=overdue&owner=all")
    assert set(re.findall(r'<li class="(escalated|overdue|due|coming)"', overdue.text)) == {"overdue"}
    call = await the(own, patient, terms.FOLLOW_UP_CALL)
    sent = {**form_of(page), "task": call["id"]}
    taken = await browser.post(f"{base_of(page)}worklist/claim?state=overdue&owner=all", sent)
    assert "you have taken it" in taken.text
    assert dict(taken.url.params)["state"] == "overdue"
    mine = await browser.get(f"{base_of(page)}worklist?state=now&owner=mine")
    assert re.findall(r'task=([^&"]+)', unescape(mine.text)).count(call["id"]) >= 1
    assert len(re.findall(r'<li class="(escalated|overdue|due|coming)"', mine.text)) == 1
    unknown = await browser.get(f"{base_of(page)}worklist?state=everything&owner=theirs")
    assert unknown.status_code == 200


async def test_a_call_that_is_not_answered_three_times_goes_to_the_clinician(own: House) -> None:
    patient, browser, page = await opened(own)
    call = await the(own, patient, terms.FOLLOW_UP_CALL)
    tomorrow = (WEEK_LATER + timedelta(days=1)).date().isoformat()
    for number in range(3):
        own.world.clock.move_to(WEEK_LATER + timedelta(minutes=number))
        shown = await task_page(browser, page, call, do="no-answer")
        assert ("This is the last try" in shown.text) == (number == 2)
        done = await move(
            browser, page, call, move="attempt", outcome="no-answer", day=tomorrow, at="10:00", note=f"Try {number}"
        )
        assert done.status_code == 200, done.text
    assert "the named clinician is asked to look" in done.text
    ended = await the(own, patient, terms.FOLLOW_UP_CALL)
    assert ended["status"] == "failed"
    unreached = text_of(done).partition("not reached in 3 attempts.")[2]
    assert "to be done. 23-Sep-2026 13:02" in unreached
    review = await the(own, patient, terms.CLINICAL_REVIEW)
    assert any("not reached in 3 attempts" in str(each.get("valueString")) for each in review["input"])
    shown = await task_page(browser, page, ended)
    assert "Nothing is left to do here" in shown.text
    assert shown.text.count("No answer") >= 3
    assert "Try 2" in shown.text


async def test_the_next_try_is_when_it_was_said_and_a_wrong_time_is_told(own: House) -> None:
    patient, browser, page = await opened(own)
    call = await the(own, patient, terms.FOLLOW_UP_CALL)
    tomorrow = (WEEK_LATER + timedelta(days=1)).date().isoformat()
    unanswered = {"move": "attempt", "outcome": "no-answer"}
    wrong = await move(browser, page, call, **unanswered, day=tomorrow, at="ten", note="Voicemail")
    assert wrong.status_code == 422
    assert '<a href="#at">Give the time as 13:05.</a>' in wrong.text
    assert 'value="Voicemail"' in wrong.text
    assert (await the(own, patient, terms.FOLLOW_UP_CALL))["status"] == "requested"
    past = await move(browser, page, call, **unanswered, day="2026-09-01", at="10:00")
    assert '<a href="#at">' in past.text


async def test_a_review_ends_with_a_disposition_and_only_so(own: House) -> None:
    patient, browser, page = await opened(own)
    review = await the(own, patient, terms.CLINICAL_REVIEW)
    shown = await task_page(browser, page, review)
    assert "Decide" in shown.text
    assert "Close without doing it" not in shown.text
    empty = await move(browser, page, review, move="complete", outcome=" ")
    assert empty.status_code == 422
    done = await move(browser, page, review, move="complete", outcome="Spoke with the patient; seen today")
    assert "done." in done.text
    ended = await the(own, patient, terms.CLINICAL_REVIEW)
    assert ended["status"] == "completed"
    assert ended["owner"] == {"reference": own.world.nurse}
    assert "Spoke with the patient; seen today" in str(ended["output"])


async def test_a_task_is_handed_on_given_back_and_closed(own: House) -> None:
    patient, browser, page = await opened(own)
    teach = await the(own, patient, terms.TEACH_BACK)
    await move(browser, page, teach, move="claim")
    assert (await the(own, patient, terms.TEACH_BACK))["owner"] == {"reference": own.world.nurse}
    assert "(claimed)" in (await task_page(browser, page, teach)).text
    await move(browser, page, teach, move="release")
    assert (await the(own, patient, terms.TEACH_BACK))["owner"] == {"reference": own.world.organization}
    await move(browser, page, teach, move="reassign", owner=own.world.nurse)
    assert (await the(own, patient, terms.TEACH_BACK))["owner"] == {"reference": own.world.nurse}
    await move(browser, page, teach, move="fail", reason="missed", note="Patient was in a hurry")
    ended = await the(own, patient, terms.TEACH_BACK)
    assert (ended["status"], ended["note"][0]["text"]) == ("failed", "Patient was in a hurry")


async def test_what_somebody_else_did_meanwhile_is_shown_and_not_overwritten(own: House) -> None:
    patient, browser, page = await opened(own)
    call = await the(own, patient, terms.FOLLOW_UP_CALL)
    before = re.findall(r'name="version" value="([^"]*)"', (await task_page(browser, page, call)).text)[0]
    other = await own.world._create({"resourceType": "Practitioner", "name": [{"family": "Grey"}]})
    await move_task(own.world.context, MoveRequest(f"Task/{call['id']}", "claim", person=other))
    sent = {**form_of(page), "task": call["id"], "version": before, "move": "claim"}
    stale = await browser.post(f"{base_of(page)}worklist/move", sent)
    assert stale.status_code == 422
    assert "Nothing was saved: GREY took this at 13:00. The page shows it as it is now." in stale.text
    assert (await the(own, patient, terms.FOLLOW_UP_CALL))["owner"] == {"reference": other}
    listed = await browser.post(f"{base_of(page)}worklist/claim", {**sent, "task": f"{call['id']}/_history/{before}"})
    assert listed.status_code == 422
    assert "Nothing was saved: GREY took this at 13:00. The list is as it is now." in listed.text
    assert "GREY" in listed.text.partition('<li class="overdue"')[2]  # whose work it is


async def test_where_the_token_sees_one_patient_the_page_says_why(house: House) -> None:
    house.ehr.faults.granted = ONE_PATIENT
    patient, browser, page = await opened(house)
    assert page.status_code == 200
    assert "The EHR lets this app see one patient only" in page.text
    assert "user/Task.s" in page.text
    assert "<li class=" not in page.text.partition("<main")[2]  # no Task is listed
    own = await the(house, patient, terms.FOLLOW_UP_CALL)
    assert (await task_page(browser, page, own)).status_code == 200
    other = await the(house, f"Patient/{await house.patient('Chen')}", terms.FOLLOW_UP_CALL)
    assert (await task_page(browser, page, other)).status_code == 403
    assert (await browser.get(f"{base_of(page)}of/{house.patients['Chen']}/overview")).status_code == 403


async def test_it_can_be_read_where_writing_was_not_granted(house: House) -> None:
    house.ehr.faults.granted = "launch openid fhirUser online_access user/*.rs"
    patient, browser, page = await opened(house)
    assert "Read only" in page.text
    assert "I am doing this" not in page.text
    call = await the(house, patient, terms.FOLLOW_UP_CALL)
    shown = await task_page(browser, page, call)
    assert "Save: reached" not in shown.text
    assert (
        await browser.post(f"{base_of(page)}worklist/claim", {**form_of(page), "task": call["id"]})
    ).status_code == 403


async def test_another_patients_page_says_that_it_is_not_the_open_chart(house: House) -> None:
    _, browser, page = await opened(house)
    other = await house.patient("Chen")
    shown = await browser.get(f"{base_of(page)}of/{other}/overview")
    assert "CHEN, Ana" in shown.text
    assert "Not the patient whose chart is open in the EHR" in shown.text


async def test_a_task_of_nobody_and_an_unknown_move_are_refused(house: House) -> None:
    patient, browser, page = await opened(house)
    assert (await task_page(browser, page, {"id": "nobody"})).status_code == 404
    call = await the(house, patient, terms.FOLLOW_UP_CALL)
    assert (await move(browser, page, call, move="explode")).status_code == 422


async def test_the_list_costs_two_batches_with_the_scores_behind_it_and_a_task_one(own: House) -> None:
    patient, browser, page = await opened(own)
    await browser.get(f"{base_of(page)}worklist")
    own.wire.fhir.clear()
    await browser.get(f"{base_of(page)}worklist")
    assert [each.method for each in own.wire.fhir] == ["POST", "POST"]
    call = await the(own, patient, terms.FOLLOW_UP_CALL)
    own.wire.fhir.clear()
    shown = await task_page(browser, page, call)
    assert [each.method for each in own.wire.fhir] == ["POST"]
    assert tasks.window_of(call)[1] is not None
    assert "17-Sep-2026 18:00 EDT, overdue" in shown.text


@pytest.mark.parametrize("cursor", [(1790000000, 3, 1789000000, "a.b-c"), None])
def test_a_cursor_goes_into_an_address_and_comes_back(cursor: tuple[int, int, int, str] | None) -> None:
    assert unpacked(packed(cursor)) == cursor


@pytest.mark.parametrize("text", ["x", "1.2", "1.99.3.z", "٣.1.1.x", "1" * 40 + ".1.1.x"])
async def test_a_cursor_that_is_none_of_ours_is_refused(own: House, text: str) -> None:
    _, browser, page = await opened(own)
    answer = await browser.get(f"{base_of(page)}worklist", params={"after": text})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(minutes=5), "5 min"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=3), "3 h"),
        (timedelta(hours=47), "47 h"),
        (timedelta(days=2), "2 days"),
    ],
)
def test_how_late_is_said_as_precisely_as_people_need(time: timedelta, words: str) -> None:
    assert span(time) == words


async def test_an_escalation_tells_the_score_and_when_it_was_reported(own: House) -> None:
    _, _, page = await opened(own)
    first = page.text[page.text.index('<li class="escalated"') :].partition("</li>")[0]
    assert "PHQ-9 21, reported 23-Sep-2026 13:00" in first


async def test_a_tab_counts_what_it_leads_to(own: House) -> None:
    _, browser, page = await opened(own)
    own.world.clock.move_to(WEEK_LATER + timedelta(days=3))  # what is escalated is overdue, too
    own.clock.time = WEEK_LATER + timedelta(days=3)
    _, browser, page = await opened(own)
    counts = dict(re.findall(r">(Escalated|Overdue|Due) (\d+\+?)</", page.text))
    for name, number in counts.items():
        listed = await browser.get(f"{base_of(page)}worklist?state={name.lower()}&owner=all")
        rows = re.findall(r'<li class="(escalated|overdue|due|coming)"', listed.text)
        assert len(rows) == int(number), name
        assert f"{name} {number}</" in listed.text
    assert int(counts["Overdue"]) > page.text.count('<li class="overdue"')


async def test_where_there_is_more_than_a_page_the_count_says_so(own: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fhir_aftercare.ui.worklist_page.ROWS", 3)
    _, browser, page = await opened(own)
    assert "All that is due 3+" in page.text
    assert re.search(r">Escalated 1</", page.text), "all of them are on the first page"
    assert re.search(r">Overdue 2\+</", page.text)
    seen = set(re.findall(r'task\?task=([^&"]+)', page.text))
    further = re.search(r'<a href="([^"]*after=[^"]*)" class="button plain">Further ones', page.text)
    while further:
        page = await browser.get(unescape(further[1]))
        found = set(re.findall(r'task\?task=([^&"]+)', page.text))
        assert found
        assert found.isdisjoint(seen)
        assert "From the beginning" in page.text
        seen |= found
        further = re.search(r'<a href="([^"]*after=[^"]*)" class="button plain">Further ones', page.text)
    whole = await browser.get(f"{base_of(page)}worklist?state=overdue&owner=all")
    assert whole.status_code == 200


async def test_where_nothing_is_due_it_says_what_comes_next(own: House) -> None:
    patient, browser, page = await opened(own)
    for each in await of_patient(own.world, "Task", patient):
        opens, due, _ = tasks.window_of(each)
        if tasks.is_open(each) and (due is None or opens is None or opens <= WEEK_LATER):
            await own.world.server.client().update({**each, "status": "cancelled"}, if_match=each["meta"]["versionId"])
    own.wire.fhir.clear()
    empty = await browser.get(f"{base_of(page)}worklist")
    assert "Nothing is due. Next: " in empty.text
    assert "RIVERA, Ana, from " in empty.text
    assert [each.method for each in own.wire.fhir] == ["POST", "POST"]
    mine = await browser.get(f"{base_of(page)}worklist?state=now&owner=mine")
    assert "Nothing of yours is due.</p>" in mine.text


async def test_it_works_without_a_cookie(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path, registered={"allow_cookieless_callback": True}) as house:
        patient = f"Patient/{await house.patient()}"
        browser = house.browser(cookies=False)
        page = await browser.launch(patient=patient.partition("/")[2], intent="worklist")
        base = re.findall(r'action="(/app/l/[^"/]+/)', page.text)[0]
        listed = await browser.post(f"{base}worklist?state=overdue&owner=all", form_of(page))
        assert listed.status_code == 200
        assert "<a href=" not in listed.text.partition('<ul class="cards work">')[2]
        call = await the(house, patient, terms.FOLLOW_UP_CALL)
        sent = {**form_of(listed), "task": f"{call['id']}/_history/{call['meta']['versionId']}"}
        taken = await browser.post(f"{base}worklist/claim?state=overdue&owner=all", sent)
        assert "you have taken it" in taken.text
        assert re.search(r'class="chip" aria-current="page">Overdue', taken.text)
