"""Nothing that was typed is lost in silence: the server gone, the sign-in over, the page left, the nurse away.

In the frame of the EHR's chart. Time in the browser is moved by Playwright's clock, so that nobody waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from browser import scenes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Dialog, Frame

    from browser.chromium import Browser
    from browser.stage import Stage

pytestmark = pytest.mark.browser

IDLE, WARNED = 15 * 60, 13 * 60


@pytest.fixture
async def record(blocked: Browser, stage: Stage) -> AsyncIterator[Frame]:
    """The record of a running infusion, a row typed and not saved."""
    scene = await scenes.unconfirmed(stage.world)
    stage.clock.time = scene.now
    page = await blocked.context.new_page()
    await page.clock.install()
    await page.goto(stage.chart_of(scene.patient, encounter=scene.visit or ""))
    frame = page.frame("app")
    assert frame is not None
    await expect(frame.get_by_role("heading", name="New row")).to_be_visible()
    await frame.get_by_label("Systolic").fill("138")
    await frame.get_by_label("Diastolic").fill("84")
    yield frame
    await blocked.context.set_offline(False)


def tells_of(frame: Frame, *, leave: bool) -> list[str]:
    """Answer what the browser asks before it leaves a page, and note it."""
    asked: list[str] = []

    async def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await (dialog.accept() if leave else dialog.dismiss())

    frame.page.on("dialog", answer)
    return asked


async def is_marked(frame: Frame, why: str) -> None:
    """Look whether the row stands there as it was typed, marked, and says why."""
    form = frame.locator("#row-form")
    await expect(form).to_have_class("unsaved")
    await expect(form.get_by_role("alert")).to_contain_text(why)
    await expect(frame.get_by_label("Systolic")).to_have_value("138")
    await expect(frame.get_by_label("Diastolic")).to_have_value("84")


def is_told_by_htmx(browser: Browser) -> None:
    """Expect what htmx writes to the console of an answer that it was told not to show."""
    browser.watch.expected |= {each for each in browser.watch.said if each.endswith("[object HTMLElement]")}


async def test_with_the_server_gone_the_row_stays_and_is_saved_when_it_is_back(record: Frame, blocked: Browser) -> None:
    await blocked.context.set_offline(True)
    await record.get_by_role("button", name="Save row").click()
    await is_marked(record, "Not saved. The server could not be reached.")
    is_told_by_htmx(blocked)
    await blocked.context.set_offline(False)
    await record.get_by_role("button", name="Save row").click()
    await expect(record.locator(".saved")).to_contain_text("1 observation.")
    await expect(record.locator(".unsaved")).to_have_count(0)


async def test_with_the_sign_in_over_the_row_stays_and_says_so(record: Frame, blocked: Browser, stage: Stage) -> None:
    stage.pretend.act("revoke_tokens")
    await record.get_by_role("button", name="Save row").click()
    await is_marked(record, "Not saved. Signed out")
    is_told_by_htmx(blocked)


@pytest.mark.parametrize("leave", [False, True])
async def test_leaving_asks_first(record: Frame, *, leave: bool) -> None:
    asked = tells_of(record, leave=leave)
    await record.get_by_role("link", name="Overview").click(no_wait_after=True)
    if leave:
        await expect(record.get_by_role("heading", name="Aftercare overview")).to_be_visible()
    else:
        await expect(record.get_by_label("Systolic")).to_have_value("138")
    assert asked == ["beforeunload"]


async def test_nothing_asks_once_the_row_is_saved(record: Frame) -> None:
    asked = tells_of(record, leave=False)
    await record.get_by_role("button", name="Save row").click()
    await expect(record.locator(".saved")).to_be_visible()
    await record.get_by_role("link", name="Overview").click()
    await expect(record.get_by_role("heading", name="Aftercare overview")).to_be_visible()
    assert asked == []


async def test_who_is_away_is_warned_and_stays_signed_in_by_one_key(record: Frame) -> None:
    clock = record.page.clock
    await clock.fast_forward((WARNED - 5) * 1000)
    await expect(record.get_by_role("alertdialog")).to_be_hidden()
    await clock.fast_forward(10 * 1000)
    await expect(record.get_by_role("alertdialog")).to_be_visible()
    await expect(record.get_by_role("button", name="Stay signed in")).to_be_focused()
    await record.page.keyboard.press("Enter")
    await expect(record.get_by_role("alertdialog")).to_be_hidden()
    await clock.fast_forward((WARNED - 5) * 1000)
    await expect(record.get_by_label("Systolic")).to_have_value("138")


async def test_who_stays_away_is_signed_out_and_nothing_is_left_on_the_screen(record: Frame) -> None:
    asked = tells_of(record, leave=True)
    await record.page.clock.fast_forward((IDLE + 2) * 1000)
    await expect(record.get_by_role("heading", name="Signed out")).to_be_visible()
    await expect(record.locator("body")).not_to_contain_text("138")
    assert asked == []
