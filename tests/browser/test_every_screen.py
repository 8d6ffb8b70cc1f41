"""Every screen in every state, in real Chromium: WCAG 2.2 AA by axe-core, widths from 320 px on, light and dark.

In the frame of the EHR's chart, which is another site, and in a window of its own. That no page breaks its policy or
asks a strange origin, the fixture looks at after each test.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from browser import scenes
from browser.axe import broken_rules
from browser.screens import SCREENS, Screen, app_in, reached
from browser.stage import CLINICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.async_api import Frame

    from browser.chromium import Browser
    from browser.stage import Stage

pytestmark = [pytest.mark.browser, pytest.mark.node]

Look = tuple[int, Literal["light", "dark"]]

NARROWEST = 320
EVERY: tuple[Look, ...] = tuple(product((360, 768, 1280), ("light", "dark")))
# In a window the banner comes on top, and nothing else is otherwise.
TWO: tuple[Look, ...] = ((360, "dark"), (1280, "light"))
_SHAPE = """() => ({
  wide: document.documentElement.scrollWidth,
  headings: document.querySelectorAll("h1").length,
  language: document.documentElement.lang,
})"""
_SPOIL = """() => {
  const word = document.querySelector(".quiet"), picture = document.createElement("img");
  word.style.color = "#999999";
  word.style.backgroundColor = "#ffffff";
  word.append(picture);
}"""


@pytest.fixture(scope="module")
def titles() -> dict[str, str]:
    """The titles that were seen, and the view of each."""
    return {}


async def has_width(frame: Frame, width: int) -> None:
    """Make the window as wide as its frame needs to be ``width`` wide."""
    page = frame.page
    now, size = await frame.evaluate("innerWidth"), page.viewport_size
    assert size is not None
    await page.set_viewport_size({"width": size["width"] + width - now, "height": 900})
    await frame.wait_for_function("width => innerWidth === width", arg=width)


async def is_sound(frame: Frame, looks: Sequence[Look] = EVERY) -> None:
    """Look at what a frame shows, in widths and colours; at the narrowest only whether all of it can be seen."""
    found = await frame.evaluate(_SHAPE)
    assert (found["headings"], found["language"]) == (1, "en")
    await fits(frame, NARROWEST)
    for width, scheme in looks:
        await fits(frame, width)
        await frame.page.emulate_media(color_scheme=scheme)
        assert await broken_rules(frame) == [], f"{width} px, {scheme}"


async def fits(frame: Frame, width: int) -> None:
    """Look whether nothing scrolls sideways."""
    await has_width(frame, width)
    assert (await frame.evaluate(_SHAPE))["wide"] <= width, f"scrolls sideways at {width} px"


async def is_named(frame: Frame, screen: Screen, titles: dict[str, str]) -> None:
    """Look whether the title says which page it is, and no other page has it."""
    title = await frame.title()
    assert title.startswith(screen.title)
    assert title.endswith((" – Harbor Clinic", " – Aftercare"))
    view = "/".join(urlsplit(frame.url).path.split("/")[4:]) or urlsplit(frame.url).path
    assert titles.setdefault(title, view) == view


@pytest.mark.parametrize("screen", [each for each in SCREENS if each.framed], ids=lambda each: each.file)
async def test_in_the_frame_of_another_site(
    blocked: Browser, stage: Stage, titles: dict[str, str], screen: Screen
) -> None:
    frame = await reached(blocked, stage, screen, chart="full")
    await is_named(frame, screen, titles)
    await is_sound(frame)


@pytest.mark.parametrize("screen", SCREENS, ids=lambda each: each.file)
async def test_in_a_window_of_its_own(allowed: Browser, stage: Stage, screen: Screen) -> None:
    await is_sound(await reached(allowed, stage, screen), TWO)


async def test_where_cookies_are_blocked(without: Browser, stage: Stage) -> None:
    scene = await scenes.prepared(stage.world, scenes.running)
    stage.clock.time = scene.now
    refused = await without.open(stage.chart_of(scene.patient))
    await is_sound(app_in(refused))
    page = await without.open(stage.chart_of(scene.patient, client=CLINICS["quay"]))
    frame = app_in(page)
    await is_sound(frame)
    await frame.get_by_role("button", name="Open the chart's aftercare").click()
    for name in ("Overview", "Record", "Ready", "Plan", "Handout", "Worklist", "Room board"):
        await frame.get_by_role("navigation").get_by_role("button", name=name, exact=True).click()
        await expect(frame.get_by_role("button", name=name, exact=True)).to_have_attribute("aria-current", "page")
        await is_sound(frame)


async def test_axe_would_tell(allowed: Browser, stage: Stage) -> None:
    frame = await reached(allowed, stage, SCREENS[0])
    await frame.evaluate(_SPOIL)
    assert {each.partition(":")[0] for each in await broken_rules(frame)} == {"color-contrast", "image-alt"}
