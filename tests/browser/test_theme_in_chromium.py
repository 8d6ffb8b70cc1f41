"""The EHR's style reaches the app in its frame, also where third-party cookies are blocked, if it can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

if TYPE_CHECKING:
    from browser.chromium import Browser
    from browser.stage import Stage

pytestmark = pytest.mark.browser

# What the pretend EHR's style.json says, as a browser computes it.
HIGHLIGHT = "rgb(0, 102, 90)"
# Its highlight cannot be read on our dark background: there our own stays.
OURS_AT_NIGHT = "rgb(138, 184, 240)"


async def test_the_app_in_the_chart_looks_like_the_chart(blocked: Browser, stage: Stage) -> None:
    page = await blocked.open(stage.chart("Rivera"))
    app = page.frame_locator("iframe[name=app]")
    button = app.get_by_role("button", name="Sign out")
    await expect(button).to_have_css("color", HIGHLIGHT)
    await expect(button).to_have_css("border-radius", "10px")
    await page.emulate_media(color_scheme="dark")
    await expect(button).to_have_css("color", OURS_AT_NIGHT)
