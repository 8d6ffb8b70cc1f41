"""A real browser prints the handout: one side of Letter and of A4, in large print at most two, the sheet alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import LEFT, leaving, recording
from world import START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

    from browser.chromium import Browser
    from browser.stage import Stage

pytestmark = pytest.mark.browser

# A page of a PDF file as Chromium writes it.
_PAGE = re.compile(rb"/Type\s*/Page\b")
_MEDIA_BOX = re.compile(rb"/MediaBox \[0 0 ([0-9.]+) ([0-9.]+)\]")
_SEEN = """() => {
  const sheet = document.querySelector(".handout");
  const styles = [sheet, ...sheet.querySelectorAll("*")].map(each => getComputedStyle(each));
  return {
    smallest: Math.min(...styles.map(each => parseFloat(each.fontSize))),
    colours: [...new Set(styles.map(each => each.color))],
    back: styles[0].backgroundColor,
    phone: parseFloat(getComputedStyle(sheet.querySelector(".phones strong")).fontSize),
  };
}"""
# In points, as Chromium rounds them.
PAPERS = {"Letter": (612, 792), "A4": (596, 843)}
MOST = {"normal": 1, "large": 2}


@dataclass
class Handouts:
    """A tab with the app, and the patients whose handouts are looked at."""

    page: Page
    base: str

    async def show(self, **query: str) -> None:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        await self.page.goto(f"{self.base}handout?{asked}")


@pytest.fixture(params=["signed", "by clinic, elsewhere", "draft"])
async def handouts(request: pytest.FixtureRequest, stage: Stage, allowed: Browser) -> AsyncIterator[Handouts]:
    """A patient who leaves now: as usual; with the longest words that a plan can have; before the plan is signed."""
    world, name, before = stage.world, f"Leaving, {request.param}", stage.clock.time
    if name not in stage.patients:
        world.clock.move_to(START)
        patient = await world.patient(name)
        encounter = await world.encounter(patient)
        world.clock.move_to(LEFT)
        await record_infusion(world.context, recording(world, patient, encounter))
        if request.param != "draft":
            far = {"sedatives_given": True, "zone": "America/Los_Angeles"} if "elsewhere" in request.param else {}
            await discharge(world.context, leaving(world, patient, encounter, **far))
        stage.patients[name] = patient.partition("/")[2]
    stage.clock.time = LEFT
    page = await allowed.open(stage.launch(name))
    await page.wait_for_url("**/app/l/**")
    yield Handouts(page, "/".join(page.url.split("/")[:6]) + "/")
    stage.clock.time = before


@pytest.mark.parametrize("language", ["en", "es"])
async def test_it_fits_one_side_of_either_paper_and_in_large_print_two(handouts: Handouts, language: str) -> None:
    for size, most in MOST.items():
        for copy in ("patient", "escort"):
            await handouts.show(language=language, size=size, copy=copy)
            for paper, format_ in PAPERS.items():
                printed = await handouts.page.pdf(format=paper)
                pages = len(_PAGE.findall(printed))
                assert 1 <= pages <= most, (size, copy, paper, pages)
                boxes = {(round(float(w)), round(float(h))) for w, h in _MEDIA_BOX.findall(printed)}
                assert boxes == {format_}, (paper, boxes)


@pytest.mark.parametrize("language", ["en", "es"])
async def test_on_paper_is_the_sheet_alone_black_on_white_and_no_letter_is_too_small(
    handouts: Handouts, language: str
) -> None:
    page = handouts.page
    for size, points in (("normal", 12), ("large", 16)):
        await handouts.show(language=language, size=size)
        await expect(page.get_by_role("button", name="Print")).to_be_visible()
        await page.emulate_media(media="print", color_scheme="dark")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        for gone in ("header.banner", "nav", ".around", "footer"):
            assert not await page.locator(gone).is_visible(), gone
        seen = await page.evaluate(_SEEN)
        assert round(seen["smallest"] * 0.75) >= points  # CSS counts 96 to the inch
        assert (seen["colours"], seen["back"]) == (["rgb(0, 0, 0)"], "rgb(255, 255, 255)")
        assert round(seen["phone"] * 0.75) >= 1.5 * points
        await page.emulate_media(media="null", color_scheme="null")


async def test_on_the_screen_nothing_scrolls_sideways(handouts: Handouts) -> None:
    for width in (320, 400, 1280):
        await handouts.page.set_viewport_size({"width": width, "height": 900})
        await handouts.show(language="es", size="large")
        assert await handouts.page.evaluate("document.documentElement.scrollWidth") <= width
