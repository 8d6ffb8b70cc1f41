"""The handout page: the sheet alone on paper, around it what staff look at first, and honest when there is none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fhir_aftercare.ui
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.ui.handout import chart_language
from flows.cases import LEFT, recording
from ui.house import base_of, form_of, house_of
from world import START

if TYPE_CHECKING:
    import httpx

    from servers import Server
    from ui.house import House

SHEET = (Path(fhir_aftercare.ui.__file__).parent / "static" / "handout.css").read_text("utf-8")


async def opened(house: House, query: str = "", **chart: Any) -> httpx.Response:
    browser = house.browser()
    page = await browser.launch(**{"patient": await house.patient(), **chart})
    return await browser.get(f"{base_of(page)}handout{query}")


async def not_left(house: House, name: str) -> dict[str, str]:
    """Make a patient whose infusion has ended and who has not left; the clock stays there."""
    world = house.world
    world.clock.move_to(START)
    patient = await world.patient(name)
    encounter = await world.encounter(patient)
    world.clock.move_to(LEFT)
    await record_infusion(world.context, recording(world, patient, encounter))
    return {"patient": patient.partition("/")[2], "encounter": encounter.partition("/")[2]}


def sheet_of(page: httpx.Response) -> str:
    """Give what goes on paper."""
    found = re.search(r'<article class="handout[^"]*".*?</article>', page.text, re.DOTALL)
    assert found, page.text
    return found[0]


async def test_staff_see_the_sheet_and_what_to_look_at_before_printing(house: House) -> None:
    page = await opened(house)
    assert page.status_code == 200
    assert len(page.content) < 60_000
    for text in (
        *("Going home after your treatment", "For Ana, Wednesday, September 16"),
        *("No driving before 07:00 on Thursday, September 17", "Crisis lines, day and night", "988lifeline.org"),
        *("Reading grade", "(at most 6)", "Times in", "America/New_York", "Language in the chart", "Not known"),
    ):
        assert text in page.text
    assert "data-print hidden>Print</button>" in page.text
    assert "DRAFT" not in page.text


async def test_the_sheet_has_no_name_but_first_names_and_no_data_of_the_chart(house: House) -> None:
    for query in ("", "?copy=escort", "?language=es"):
        said = sheet_of(await opened(house, query)).lower()
        for word in ("rivera", "1988", "04-mar", "ketamin", "35", "item 9", "0142"):
            assert word not in said, (query, word)


async def test_language_size_and_copy_are_chosen_by_links_that_keep_each_other(house: House) -> None:
    page = await opened(house, "?language=es&size=large&copy=escort")
    said = sheet_of(page)
    assert said.startswith('<article class="handout large" lang="es">')
    assert "Para llevar a Ana a casa" in said
    assert "not computed: the formula is for English" in page.text
    addresses = re.findall(r'href="(/app/l/[^"]+handout\?[^"]+)"', page.text)
    assert any("language=en&amp;size=large&amp;copy=escort" in each for each in addresses)
    assert any("language=es&amp;size=normal&amp;copy=escort" in each for each in addresses)
    assert page.text.count('aria-current="page"') == 4  # the navigation's and one of each choice


async def test_what_the_address_cannot_mean_is_left_aside(house: House) -> None:
    said = sheet_of(await opened(house, "?language=xx&size=huge&copy=everybody"))
    assert said.startswith('<article class="handout" lang="en">')


async def test_on_paper_is_the_sheet_alone() -> None:
    printed = SHEET.split("@media print {")[-1]
    assert ".around, .banner { display: none; }" in printed
    assert "@page" in SHEET
    sizes = [float(each) for each in re.findall(r"(?:font|font-size): ([0-9.]+)pt", SHEET)]
    assert min(sizes) >= 12
    # All other sizes are relative, and none makes letters smaller.
    assert all(float(each) >= 1 for each in re.findall(r"font-size: ([0-9.]+)em", SHEET))


async def test_before_the_plan_is_signed_staff_get_a_draft_that_says_so(house: House) -> None:
    page = await opened(house, **await not_left(house, "Draft"))
    assert "DRAFT. The plan is not signed yet, so times may change." in sheet_of(page)
    assert "sedatives that were given" in page.text
    assert "sedatives that were given" not in sheet_of(page)
    assert re.search(r'href="[^"]+/plan[^"]*" class="button plain"[^>]*>Review the plan', page.text)


async def test_before_there_is_an_infusion_the_page_says_why(house: House) -> None:
    patient = await house.world.patient("Nobody")
    page = await opened(house, patient=patient.partition("/")[2])
    assert "No handout" in page.text
    assert "Record the infusion first." in page.text
    assert re.search(r'href="[^"]+/record[^"]*" class="button plain"[^>]*>Open the infusion record', page.text)
    assert "Large print" not in page.text
    assert "data-print" not in page.text


async def test_a_chart_that_was_read_in_part_gives_no_half_handout(house: House) -> None:
    house.wire.refuses = {"CarePlan": 500}
    page = await opened(house)
    assert "half a handout is none" in page.text
    assert "<article" not in page.text


@pytest.mark.parametrize("person", ["Patient/{patient}", "RelatedPerson/1"])
async def test_patients_and_relatives_read_it_without_what_is_for_staff(house: House, person: str) -> None:
    patient = await house.patient()
    house.ehr.faults.claims = {"fhirUser": f"{house.ehr.base}/{person.format(patient=patient)}"}
    page = await opened(house, "?language=es&copy=escort")
    assert "En casa después de su tratamiento" in page.text  # theirs, not the escort's
    assert 'lang="es"' in page.text
    assert "data-print hidden>Imprimir</button>" in page.text
    for text in ("Reading grade", "Escort", "<nav"):
        assert text not in page.text


async def test_a_patient_whose_plan_is_not_signed_is_told_whom_to_reach(house: House) -> None:
    chart = await not_left(house, "Waiting")
    house.ehr.faults.claims = {"fhirUser": f"{house.ehr.base}/Patient/{chart['patient']}"}
    page = await opened(house, **chart)
    assert "Your handout is not ready yet. Please ask us." in page.text
    assert "+1 555 0100" in page.text
    assert "988" in sheet_of(page)
    assert "DRAFT" not in page.text
    assert "data-print" not in page.text


async def test_text_of_the_chart_is_shown_as_text(house: House) -> None:
    world = house.world
    chart = await not_left(house, "Odd")
    resource = await world.server.client().read("Patient", chart["patient"])
    named = {**resource, "name": [{"given": ["<script>alert(1)</script>"]}]}
    await world.server.client().update(named, if_match=resource["meta"]["versionId"])
    page = await opened(house, **chart)
    assert "<script>alert" not in page.text
    assert "For &lt;script&gt;alert(1)&lt;/script&gt;, Wednesday" in page.text


async def test_without_cookies_its_links_are_buttons_with_the_handle(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path, registered={"allow_cookieless_callback": True}) as house:
        browser = house.browser(cookies=False)
        arrived = await browser.launch(patient=await house.patient())
        (base,) = re.findall(r'action="(/app/l/[^"]+/)"', arrived.text)
        page = await browser.post(f"{base}handout?language=es", form_of(arrived))
        assert "En casa después de su tratamiento" in page.text
        assert re.search(rf'formaction="{base}handout\?[^"]*language=en', page.text)
        assert "theme.css" not in page.text


@pytest.mark.parametrize(
    ("spoken", "said"),
    [
        (None, "Not known"),
        ([{"language": {"text": "Spanish"}}], "Spanish"),
        (
            [{"language": {"coding": [{"code": "en"}]}}, {"language": {"coding": [{"code": "es"}]}, "preferred": True}],
            "es",
        ),
        (["odd", {"language": {}}], "Not known"),
    ],
)
def test_the_charts_language_is_named_as_the_chart_names_it(spoken: Any, said: str) -> None:
    assert chart_language({} if spoken is None else {"communication": spoken}) == said
