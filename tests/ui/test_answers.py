"""The answers behind a score: read in every shape they are kept in, item 9 first, and nothing passed off as known."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.fhir import tasks, terms
from ui.house import base_of
from world import START

if TYPE_CHECKING:
    import httpx

    from ui.house import House

Resource = dict[str, Any]
AT = START + timedelta(days=7)
ANSWERS = (2, 3, 1, 2, 0, 1, 2, 1, 1)


async def opened(house: House, patient: str, observation: str) -> httpx.Response:
    browser = house.browser()
    page = await browser.launch(patient=patient, intent="overview")
    return await browser.get(f"{base_of(page)}answers?of={observation}")


async def created(house: House, resource: Resource) -> Resource:
    return await house.world.server.client().create(resource)


def observation(patient: str, code: terms.Code, at: datetime = AT, **more: Any) -> Resource:
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [terms.SURVEY.concept()],
        "code": code.concept(),
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": tasks.instant(at),
        **more,
    }


async def items_of(house: House, patient: str) -> list[Resource]:
    return [
        await created(house, observation(patient, code, valueCodeableConcept=terms.FREQUENCY_ANSWERS[value].concept()))
        for code, value in zip(terms.PHQ9_ITEMS, ANSWERS, strict=True)
    ]


def named(resources: list[Resource]) -> list[Resource]:
    return [{"reference": f"Observation/{each['id']}"} for each in resources]


def rows(page: httpx.Response) -> list[tuple[str, str, str]]:
    """Give number, answer and value of each row."""
    found = re.findall(r"<tr[^>]*><td>(\d*)</td><th.*?</th><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td></tr>", page.text)
    return [(number, answer, value) for number, answer, value in found]


async def test_from_the_overview_to_the_answers_and_back(house: House) -> None:
    browser = house.browser()
    page = await browser.launch(patient=await house.patient(), intent="overview")
    link = re.search(r'href="\./(answers\?of=[^"]+)"', page.text)
    assert link
    house.wire.fhir.clear()
    answers = await browser.get(f"{base_of(page)}{link[1]}")
    assert len(house.wire.fhir) == 1
    for text in (
        *("PHQ-9 answers", "23-Sep-2026 13:00 EDT", "Item 9 answered 1 of 3", "21 of 27, severe"),
        *("21, the same as in the chart", "the patient", "QuestionnaireResponse/", "Feeling down, depressed"),
    ):
        assert text in answers.text
    assert rows(answers)[0] == ("9", "Several days", "1")
    assert [number for number, _, _ in rows(answers)] == ["9", *map(str, range(1, 9))]
    assert "Not the same" not in answers.text
    back = re.search(r'href="([^"]+)"[^>]*>Back to the overview', answers.text)
    assert back
    assert "Aftercare overview" in (await browser.get(back[1])).text


@pytest.mark.parametrize("shape", ["members", "derived", "within"])
async def test_an_ehrs_own_panel_is_read_in_each_shape(house: House, shape: str) -> None:
    """US Core's example: a total as text, derived from the items, in a panel that has them as members."""
    patient = await house.patient("Panel")
    items = await items_of(house, patient)
    total = observation(patient, terms.PHQ9_TOTAL, valueString="13")
    if shape == "derived":
        shown = await created(house, {**total, "derivedFrom": named(items)})
    elif shape == "within":
        shown = await created(house, total)
        await created(house, observation(patient, terms.PHQ9_PANEL, hasMember=named([*items, shown])))
    else:
        held = await created(house, total)
        shown = await created(house, observation(patient, terms.PHQ9_PANEL, hasMember=named([*items, held])))
    page = await opened(house, patient, shown["id"])
    assert rows(page)[0] == ("9", "Several days", "1")
    assert [int(value) for _, _, value in rows(page)] == [1, *ANSWERS[:-1]]
    assert "13 of 27, moderate" in page.text
    assert "Gap" not in page.text


async def test_a_total_that_is_not_what_the_answers_come_to_is_said(house: House) -> None:
    patient = await house.patient("Differs")
    items = await items_of(house, patient)
    total = observation(patient, terms.PHQ9_TOTAL, valueQuantity={"value": 17}, derivedFrom=named(items))
    page = await opened(house, patient, (await created(house, total))["id"])
    assert "17 of 27, moderately severe" in page.text
    assert "13, but the chart says 17" in page.text
    assert "Not the same" in page.text


async def test_a_missing_answer_is_not_zero(house: House) -> None:
    patient = await house.patient("Missing")
    items = (await items_of(house, patient))[1:]
    total = observation(patient, terms.PHQ9_TOTAL, valueQuantity={"value": 12}, derivedFrom=named(items))
    page = await opened(house, patient, (await created(house, total))["id"])
    assert ("1", "not answered", "–") in rows(page)
    assert "prorated from 8 of 9 items" in page.text


async def test_behind_a_bare_total_there_is_nothing_and_item_9_is_not_known(house: House) -> None:
    patient = await house.patient("Bare")
    total = await created(house, observation(patient, terms.PHQ9_TOTAL_SNOMED, valueInteger=13))
    page = await opened(house, patient, total["id"])
    assert "The chart holds the total only" in page.text
    assert "Item 9 is not known. Somebody must ask." in page.text
    assert rows(page) == []


async def test_a_gad7_has_no_item_9(house: House) -> None:
    patient = await house.patient("Anxious")
    total = await created(house, observation(patient, terms.GAD7_TOTAL, valueQuantity={"value": 11}))
    page = await opened(house, patient, total["id"])
    assert "11 of 21, moderate" in page.text
    assert "Item 9" not in page.text


async def test_answers_that_could_not_be_read_are_a_gap(house: House) -> None:
    patient = await house.patient("Torn")
    odd = await created(
        house,
        {
            "resourceType": "QuestionnaireResponse",
            "status": "completed",
            "subject": {"reference": f"Patient/{patient}"},
        },
    )
    source = [{"reference": f"QuestionnaireResponse/{odd['id']}"}]
    total = observation(patient, terms.PHQ9_TOTAL, valueInteger=13, derivedFrom=source)
    page = await opened(house, patient, (await created(house, total))["id"])
    assert "They are not empty, they are not known here." in page.text
    assert "The chart holds the total only" not in page.text
    house.wire.refuses = {"Observation": 403}
    assert (await opened(house, patient, "1")).status_code == 502


async def test_what_was_entered_in_error_is_said_to_be(house: House) -> None:
    patient = await house.patient("Error")
    total = observation(patient, terms.PHQ9_TOTAL, valueInteger=13, status="entered-in-error")
    page = await opened(house, patient, (await created(house, total))["id"])
    assert "entered in error: it does not count" in page.text


async def test_the_score_of_another_patient_is_refused(house: House) -> None:
    mine, other = await house.patient("Mine"), await house.patient("Other")
    total = await created(house, observation(other, terms.PHQ9_TOTAL, valueInteger=13))
    page = await opened(house, mine, total["id"])
    assert page.status_code == 422
    text = page.text.replace(page.headers["x-request-id"], "")  # which is random
    assert "13" not in re.sub(r"<footer.*", "", text, flags=re.DOTALL)
    items = await items_of(house, other)
    torn = observation(mine, terms.PHQ9_TOTAL, valueInteger=13, derivedFrom=named(items))
    assert (await opened(house, mine, (await created(house, torn))["id"])).status_code == 422
    nobodys = {name: each for name, each in observation(mine, terms.PHQ9_TOTAL).items() if name != "subject"}
    assert (await opened(house, mine, (await created(house, nobodys))["id"])).status_code == 422


@pytest.mark.parametrize("of", ["", "is-not-there", "a/b", "x" * 65])
async def test_a_score_that_is_not_there_is_a_page(house: House, of: str) -> None:
    assert (await opened(house, await house.patient(), of)).status_code == 404


async def test_what_is_no_score_is_refused(house: House) -> None:
    patient = await house.patient("Pulse")
    pulse = observation(patient, terms.HEART_RATE, valueQuantity={"value": 70})
    assert (await opened(house, patient, (await created(house, pulse))["id"])).status_code == 400


async def test_answers_are_for_staff(house: House) -> None:
    patient = await house.patient()
    house.signs_in(f"Patient/{patient}")
    assert (await opened(house, patient, "1")).status_code == 403
