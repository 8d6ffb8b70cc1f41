"""The infusion record under a nurse's hands: rows by keyboard alone, and what cannot be sent stays on the page."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import record, recording
from ui.ward import BEFORE
from world import START

if TYPE_CHECKING:
    from playwright.async_api import Page

    from browser.chromium import Browser
    from browser.stage import Stage

pytestmark = pytest.mark.browser


async def running(stage: Stage, browser: Browser, name: str) -> Page:
    """Open the record of a patient whose infusion runs."""
    world = stage.world
    now = START + timedelta(minutes=31)
    world.clock.move_to(now)
    stage.clock.time = now
    patient = await world.patient(name)
    encounter = await world.encounter(patient)
    begun = record(end=None, status=InfusionStatus.IN_PROGRESS, checks=(BEFORE,))
    await record_infusion(world.context, recording(world, patient, encounter, record=begun))
    stage.patients[name] = patient.partition("/")[2]
    page = await browser.open(stage.launch(name))
    await page.goto(f"{'/'.join(page.url.split('/')[:6])}/record")
    return page


async def press(page: Page, *keys: str) -> None:
    """Type, with keys of their own in angle brackets."""
    for key in keys:
        if key.startswith("<"):
            await page.keyboard.press(key.strip("<>"))
        else:
            await page.keyboard.type(key)


async def test_two_rows_are_entered_by_keyboard_alone_in_reading_order(allowed: Browser, stage: Stage) -> None:
    page = await running(stage, allowed, "Keys")
    await page.locator("#at").focus()
    tab = "<Tab>"
    first = ("138", tab, "84", tab, "80", tab, "97", tab, "15", tab, "<ArrowRight>", tab, "4", tab, "2", "<Enter>")
    await press(page, tab, *first)
    await expect(page.locator(".saved")).to_contain_text("Saved to chart 13:31 · 7 observations.")
    await expect(page.locator("#systolic")).to_be_focused()
    await press(page, "<Shift+Tab>", "1326", tab, "142", tab, "86", "<Enter>")
    await expect(page.locator(".saved")).to_contain_text("1 observation.")
    rows = page.locator(".sheet tbody")
    await expect(rows).to_have_count(3)
    await expect(rows.nth(1)).to_contain_text("142/86")
    await expect(rows.nth(2)).to_contain_text("4 lethargic")
    assert "none" in await rows.nth(2).inner_text()


async def test_a_value_beyond_the_limits_is_asked_and_confirmed_by_keyboard(allowed: Browser, stage: Stage) -> None:
    page = await running(stage, allowed, "High")
    await page.locator("#systolic").focus()
    await press(page, "190", "<Tab>", "90", "<Enter>")
    await expect(page.get_by_role("button", name="Confirm and save")).to_be_focused()
    await press(page, "<Enter>")
    await expect(page.locator(".saved")).to_be_visible()
    await expect(page.locator(".sheet")).to_contain_text("call the prescriber")


async def test_a_row_that_cannot_be_sent_stays_marked_and_guards_the_page(allowed: Browser, stage: Stage) -> None:
    page = await running(stage, allowed, "Lost")
    allowed.watch.expected |= {f"htmx:{each}, [object HTMLElement]" for each in ("afterRequest", "sendError")}
    await page.route("**/record/row*", lambda route: route.abort())
    await page.locator("#systolic").fill("138")
    await page.locator("#diastolic").fill("84")
    await page.keyboard.press("Enter")
    form = page.locator("#row-form")
    await expect(form).to_contain_text("Not saved. The server could not be reached.")
    await expect(form).to_have_class("unsaved")
    await expect(page.locator("#systolic")).to_have_value("138")
    asked: list[str] = []

    async def stay(dialog: object) -> None:
        asked.append(dialog.type)  # type: ignore[attr-defined]
        await dialog.dismiss()  # type: ignore[attr-defined]

    page.on("dialog", stay)
    await page.evaluate("setTimeout(() => location.reload(), 0)")
    await page.wait_for_timeout(300)
    assert asked == ["beforeunload"]
    await page.unroute("**/record/row*")
    await page.locator("#diastolic").press("Enter")
    await expect(page.locator(".saved")).to_contain_text("1 observation.")


async def test_the_time_goes_on_until_somebody_types(allowed: Browser, stage: Stage) -> None:
    page = await running(stage, allowed, "Clock")
    await page.evaluate("window.realNow = Date.now; Date.now = () => window.realNow() + 120000")
    await expect(page.locator("#at")).to_have_value("13:33")
    await page.locator("#systolic").fill("1")
    await page.evaluate("Date.now = () => window.realNow() + 300000")
    await page.wait_for_timeout(1200)
    await expect(page.locator("#at")).to_have_value("13:33")
    await expect(page.locator("time[data-until]")).to_contain_text("late")
