"""One Task: why it was raised with its answers, what was done, which forms there are, where a move leads back to."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, time, timedelta
from html import unescape
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.care.timing import OpenHours
from fhir_aftercare.care.worklist import WorkState
from fhir_aftercare.fhir import terms
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.ui.asked import PAGE_SCOPES
from fhir_aftercare.ui.task_page import next_open
from fhir_aftercare.ui.worklist import STATES
from flows.cases import of_patient, with_code
from ui.house import WEEK_LATER, base_of, form_of, house_of
from ui.test_worklist_page import ONE_PATIENT, move, opened, task_page, the
from ui.ward import text_of
from world import NEW_YORK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from servers import Server
    from ui.house import House

TOMORROW = (WEEK_LATER + timedelta(days=1)).date().isoformat()


@pytest.fixture
async def own(sandbox: Server, tmp_path: Path) -> AsyncIterator[House]:
    async with house_of(sandbox, tmp_path) as made:
        yield made


def open_forms(page: httpx.Response) -> list[str]:
    return re.findall(r"<details open><summary>([^<]*)", page.text)


def focused(page: httpx.Response) -> list[str]:
    return re.findall(r'<input id="([^"]*)"[^>]* data-next=""', page.text)


async def test_a_review_tells_the_score_and_leads_to_its_answers(own: House) -> None:
    patient, browser, page = await opened(own)
    review = await the(own, patient, terms.CLINICAL_REVIEW)
    assert review["reasonReference"]["reference"].startswith("QuestionnaireResponse/")
    shown = await task_page(browser, page, review)
    assert "PHQ-9 21, reported 23-Sep-2026 13:00" in shown.text
    assert "Source clinical §2.5" in shown.text
    (answers,) = re.findall(r'href="([^"]*/answers\?[^"]*)"', shown.text)
    assert "Thoughts that you would be better off dead" in (await browser.get(unescape(answers))).text


async def test_where_scores_cannot_be_read_it_is_said(own: House) -> None:
    patient, browser, page = await opened(own)
    review = await the(own, patient, terms.CLINICAL_REVIEW)
    own.wire.refuses = {"Observation": 500}
    assert "The scores behind it could not be read" in (await task_page(browser, page, review)).text
    listed = await browser.get(f"{base_of(page)}worklist")
    assert "The scores behind what is escalated could not be read" in listed.text
    assert "item 9" in listed.text


async def test_a_closed_review_says_what_was_decided_and_by_whom(own: House) -> None:
    patient, browser, page = await opened(own)
    review = await the(own, patient, terms.CLINICAL_REVIEW)
    await move(browser, page, review, move="attempt", outcome="reached", note="Speaks freely")
    own.world.clock.advance(timedelta(minutes=5))
    await move(browser, page, review, move="complete", outcome="Seen in the clinic today")
    shown = text_of(await task_page(browser, page, review))
    assert "Nothing is left to do here" in shown
    assert "Reached. Speaks freely. (you)" in shown  # the call and its note are one line
    assert "Seen in the clinic today. (you)" in shown


async def test_a_move_leads_back_to_the_same_part_of_the_list(own: House) -> None:
    patient, browser, page = await opened(own)
    call = await the(own, patient, terms.FOLLOW_UP_CALL)
    where = {"state": "overdue", "owner": "mine", "after": "1790182800.3.1.x"}
    shown = await task_page(browser, page, call, **where)
    (address,) = set(re.findall(r'action="([^"]*worklist/move[^"]*)"', shown.text))
    sent = {**form_of(shown), "move": "reassign", "owner": own.world.nurse, "outcome": ""}
    done = await browser.post(unescape(address), sent)
    assert done.status_code == 200
    assert {name: done.url.params[name] for name in where} == where
    back = re.findall(r'<a href="([^"]*)">Back to the worklist', shown.text)
    assert all(f"{name}={value}" in unescape(back[0]) for name, value in where.items())


async def test_the_button_of_the_list_opens_its_form_and_goes_into_it(own: House) -> None:
    patient, browser, page = await opened(own)
    call = await the(own, patient, terms.FOLLOW_UP_CALL)
    unanswered = await task_page(browser, page, call, do="no-answer")
    assert (open_forms(unanswered), focused(unanswered)) == (["No answer"], ["day"])
    reached = await task_page(browser, page, call, do="reached")
    assert (open_forms(reached), focused(reached)) == (["Reached"], ["note-reached"])
    assert focused(await task_page(browser, page, call)) == []
    review = await the(own, patient, terms.CLINICAL_REVIEW)
    assert open_forms(await task_page(browser, page, review)) == ["Decide"]


async def test_only_the_form_that_was_refused_keeps_what_was_typed(own: House) -> None:
    patient, browser, page = await opened(own)
    call = await the(own, patient, terms.FOLLOW_UP_CALL)
    typed = {"move": "attempt", "outcome": "no-answer", "day": TOMORROW, "at": "25:00", "note": "Voicemail"}
    refused = await move(browser, page, call, **typed)
    assert refused.status_code == 422
    assert open_forms(refused) == ["No answer"]
    assert refused.text.count("Voicemail") == 1
    assert f'value="{TOMORROW}"' in refused.text
    past = await move(browser, page, call, **{**typed, "day": "2026-09-01", "at": "10:00"})
    assert '<a href="#at">The next try must be in the future.</a>' in past.text


async def test_a_form_that_the_patient_owes_is_only_closed_as_the_rules_allow(own: House) -> None:
    patient, browser, page = await opened(own)
    form = with_code(await of_patient(own.world, "Task", patient), terms.COMPLETE_QUESTIONNAIRE)[0]
    shown = await task_page(browser, page, form)
    assert open_forms(shown) == []
    assert "Not done in time" in shown.text
    assert "Patient not reached" not in shown.text
    assert "Hand it on" not in shown.text


async def test_it_is_handed_to_those_the_clinic_names_once_each(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path) as house:
        owners = replace(house.world.context.clinic.owners, nurse="PractitionerRole/n", on_call="PractitionerRole/n")
        charts = house.door.charts

        def named(session: object) -> object:
            context = charts(session)  # type: ignore[arg-type]
            return replace(context, clinic=replace(context.clinic, owners=owners))

        house.app.state.door = replace(house.door, charts=named)
        patient, browser, page = await opened(house)
        shown = await task_page(browser, page, await the(house, patient, terms.FOLLOW_UP_CALL))
        select = shown.text.partition('<select id="to-whom"')[2].partition("</select>")[0]
        assert re.findall(r">([^<]+)</option>", select) == ["Me", "Nurse"]  # it is the clinic's already


async def test_where_nobody_knows_who_signed_in_nobody_can_take_it(sandbox: Server, tmp_path: Path) -> None:
    registered = {"scopes": replace(PAGE_SCOPES, identity=False)}
    async with house_of(sandbox, tmp_path, registered=registered) as house:
        patient, browser, page = await opened(house)
        assert "Reached" in page.text
        assert "I am doing this" not in page.text
        assert "Mine" not in page.text
        shown = await task_page(browser, page, await the(house, patient, terms.FOLLOW_UP_CALL))
        assert "I am doing this" not in shown.text
        assert "Save: reached" in shown.text


async def test_a_token_for_one_patient_takes_no_task_of_another_by_the_services_token(
    sandbox: Server, tmp_path: Path
) -> None:
    async with house_of(sandbox, tmp_path, pages={"write_as": "backend"}) as house:
        house.ehr.faults.granted = ONE_PATIENT
        house.app.state.door = replace(house.door, own=lambda _: house.world.context)  # it may write everything
        _, browser, page = await opened(house)
        other = f"Patient/{await house.patient('Chen')}"
        call = await the(house, other, terms.FOLLOW_UP_CALL)
        sent = {**form_of(page), "task": call["id"], "version": call["meta"]["versionId"], "move": "claim"}
        for address in ("worklist/claim", "worklist/move"):
            assert (await browser.post(f"{base_of(page)}{address}", sent)).status_code == 403
        assert (await the(house, other, terms.FOLLOW_UP_CALL))["meta"] == call["meta"]


async def test_who_took_or_closed_it_meanwhile_is_said(own: House) -> None:
    patient, browser, page = await opened(own)
    call = await the(own, patient, terms.FOLLOW_UP_CALL)
    shown = await task_page(browser, page, call)
    other = await own.world._create({"resourceType": "Practitioner", "name": [{"family": "Grey"}]})
    sent = {**form_of(shown), "task": call["id"], "move": "attempt", "outcome": "reached", "note": "Spoke"}
    await move_task(own.world.context, MoveRequest(f"Task/{call['id']}", "claim", person=other))
    taken = await browser.post(f"{base_of(page)}worklist/move", sent)
    assert "Nothing was saved: GREY took this at 13:00." in taken.text
    assert 'value="Spoke"' in taken.text
    await move_task(own.world.context, MoveRequest(f"Task/{call['id']}", "release"))
    assert "this was changed at 13:00" in (await browser.post(f"{base_of(page)}worklist/move", sent)).text
    await move_task(own.world.context, MoveRequest(f"Task/{call['id']}", "complete", person=other))
    assert "this was closed at 13:00 (done)" in (await browser.post(f"{base_of(page)}worklist/move", sent)).text


WEEKDAYS = OpenHours({day: ((time(9), time(18)),) for day in range(5)}, frozenset(), NEW_YORK)


@pytest.mark.parametrize(
    ("now", "again"),
    [
        ("2026-09-16T10:20:30-04:00", "2026-09-16T12:20:00-04:00"),
        ("2026-09-18T17:00:00-04:00", "2026-09-21T09:00:00-04:00"),  # Friday evening: on Monday
        ("2026-03-06T17:30:00-05:00", "2026-03-09T09:00:00-04:00"),  # the clocks are set forward between
        ("2026-10-30T17:30:00-04:00", "2026-11-02T09:00:00-05:00"),  # and back
    ],
)
def test_the_next_try_is_offered_when_somebody_works(now: str, again: str) -> None:
    assert next_open(WEEKDAYS, datetime.fromisoformat(now)) == datetime.fromisoformat(again)


def test_without_any_open_hour_it_is_offered_all_the_same() -> None:
    never = OpenHours({}, frozenset(), NEW_YORK)
    now = datetime.fromisoformat("2026-09-16T10:00:00-04:00")
    assert next_open(never, now) == now + timedelta(hours=2)


def test_every_state_has_a_filter() -> None:
    assert set(STATES) == {"now", *WorkState}
