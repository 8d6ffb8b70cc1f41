"""A real browser launches the app from a chart of another site, and what its user then sees."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from playwright.async_api import expect

from browser.chromium import SECONDS, ChromiumMissing, chromium
from browser.stage import CLINICS, SAYS
from fhir_aftercare.demo.house import house
from fhir_aftercare.sandbox.ehr import FhirStore
from servers import SANDBOX_URL

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import FrameLocator, Locator, Page

    from browser.chromium import Browser
    from browser.stage import Stage
    from fhir_aftercare.sandbox.store import SandboxStore

pytestmark = pytest.mark.browser

PLAN = "Aftercare overview"
# The page's text when all of it is there.
_TEXT = """new Promise(done => document.readyState === 'complete' ? done(document.body.innerText)
  : addEventListener('load', () => done(document.body.innerText)))"""


def app_in(page: Page) -> FrameLocator:
    """Give the app's frame in a chart."""
    return page.frame_locator("iframe[name=app]")


def address_in(page: Page) -> str:
    """Give where the app's frame is."""
    frame = page.frame("app")
    assert frame is not None
    return frame.url


async def shows(place: Page | FrameLocator, patient: str) -> None:
    """Wait until the overview of a patient is there: the plan, and the scores of nobody else."""
    await expect(place.get_by_role("heading", name=PLAN)).to_be_visible()
    await expect(place.get_by_role("heading", name="Plans")).to_be_visible()
    await expect(place.get_by_role("table", name="PHQ-9")).to_contain_text(SAYS[patient])
    for other in SAYS.keys() - {patient}:
        await expect(place.locator("body")).not_to_contain_text(SAYS[other])


async def shows_nobody(place: Page | FrameLocator | Locator) -> None:
    """Look whether anything of any patient is there."""
    body = place.locator("body")
    await expect(body).not_to_contain_text(PLAN)
    for text in (*SAYS, *SAYS.values()):
        await expect(body).not_to_contain_text(text)


async def in_chart(browser: Browser, stage: Stage, patient: str = "Rivera", **more: str) -> Page:
    """Open a chart, and wait until the app in it shows the patient."""
    page = await browser.open(stage.chart(patient, **more))
    await shows(app_in(page), patient)
    return page


async def in_window(browser: Browser, stage: Stage, patient: str = "Rivera") -> Page:
    """Launch the app in a tab of its own, from the EHR's start page as a person would."""
    page = await browser.open(stage.ehr)
    await page.goto(stage.launch(patient))
    await shows(page, patient)
    return page


async def gone_back(page: Page) -> tuple[str, str]:
    """Press the back button of a browser that keeps whole pages; give how it came back, and the text then seen."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Page.enable")
    came = asyncio.get_running_loop().create_future()
    devtools.once("Page.frameNavigated", lambda event: came.set_result(event["type"]))
    history = await devtools.send("Page.getNavigationHistory")
    before = history["entries"][history["currentIndex"] - 1]
    await devtools.send("Page.navigateToHistoryEntry", {"entryId": before["id"]})
    how = await asyncio.wait_for(came, SECONDS)
    seen = devtools.send("Runtime.evaluate", {"expression": _TEXT, "awaitPromise": True})
    return how, (await asyncio.wait_for(seen, SECONDS))["result"]["value"]


# In the chart


async def test_from_the_list_of_patients_to_the_plan_in_the_chart(allowed: Browser, stage: Stage) -> None:
    page = await allowed.open(stage.ehr)
    await page.get_by_role("link", name="Open in chart of Rivera, Ana: Side panel").first.click()
    await expect(page.get_by_role("heading", name="Rivera, Ana")).to_be_visible()
    await shows(app_in(page), "Rivera")
    assert urlsplit(page.url).path == "/chart"
    assert address_in(page).startswith(f"{stage.app}/app/l/")


async def test_with_third_party_cookies_allowed_the_chart_shows_the_plan(allowed: Browser, stage: Stage) -> None:
    await stays_signed_in(await in_chart(allowed, stage), allowed, stage)


async def test_with_third_party_cookies_blocked_the_partitioned_cookie_carries_the_launch(
    blocked: Browser, stage: Stage
) -> None:
    await stays_signed_in(await in_chart(blocked, stage), blocked, stage)


async def stays_signed_in(page: Page, browser: Browser, stage: Stage) -> None:
    at = address_in(page)
    await app_in(page).get_by_role("link", name="Refresh").click()
    await shows(app_in(page), "Rivera")
    assert address_in(page) == at
    (cookie,) = await browser.context.cookies()
    assert cookie["partitionKey"] == "http://ehr.localhost"
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "None")


@pytest.mark.parametrize(("browser", "back"), [("allowed", "yes"), ("blocked", "no")])
async def test_these_browsers_really_differ_in_what_they_do_with_third_party_cookies(
    request: pytest.FixtureRequest, stage: Stage, browser: str, back: str
) -> None:
    used: Browser = request.getfixturevalue(f"running_{browser}")
    await used.start_over()
    visited = stage.evil.replace("evil", "other")
    page = await used.open(f"{visited}/cookie")
    await page.reload()
    await expect(page.locator("p")).to_have_text("Came back: yes")
    await page.goto(f"{stage.evil}/?address={visited}/cookie")
    await expect(app_in(page).locator("p")).to_have_text(f"Came back: {back}")


# Without any cookie in the frame


async def test_without_cookies_the_frame_says_so_and_its_link_opens_a_window_that_works(
    without: Browser, stage: Stage
) -> None:
    page = await without.open(stage.chart("Rivera"))
    frame = app_in(page)
    await expect(frame.get_by_role("heading", name="Cookies are blocked here")).to_be_visible()
    await shows_nobody(frame)
    async with without.context.expect_page() as opening:
        await frame.get_by_role("link", name="Open in a window of its own").click()
    window = await opening.value
    await shows(window, "Rivera")
    assert window.url.startswith(f"{stage.app}/app/l/")
    assert await window.evaluate("window.opener") is None
    await window.get_by_role("link", name="Refresh").click()
    await shows(window, "Rivera")


async def test_where_a_clinic_allows_it_a_launch_is_finished_in_the_frame_without_a_cookie(
    without: Browser, stage: Stage
) -> None:
    page = await without.open(stage.chart("Rivera", client=CLINICS["quay"], intent="overview"))
    frame = app_in(page)
    await expect(frame.get_by_role("heading", name="You are signed in")).to_be_visible()
    await shows_nobody(frame)
    await frame.get_by_role("button", name="Open the chart's aftercare").click()
    await shows(frame, "Rivera")
    await frame.get_by_role("button", name="Refresh").click()
    await shows(frame, "Rivera")
    await frame.get_by_role("button", name="Sign out").click()
    await expect(frame.get_by_role("heading", name="Signed out")).to_be_visible()
    assert await without.context.cookies() == []


# Tabs, the back button, reloads


async def test_two_patients_in_two_tabs_stay_apart(blocked: Browser, stage: Stage) -> None:
    one, two = await in_chart(blocked, stage, "Rivera"), await in_chart(blocked, stage, "Chen")
    for _ in range(2):
        for page, patient in ((one, "Rivera"), (two, "Chen")):
            await app_in(page).get_by_role("link", name="Refresh").click()
            await shows(app_in(page), patient)
    await app_in(one).get_by_role("button", name="Sign out").click()
    await expect(app_in(one).get_by_role("heading", name="Signed out")).to_be_visible()
    await app_in(two).get_by_role("link", name="Refresh").click()
    await shows(app_in(two), "Chen")


async def test_two_launches_at_the_same_moment_each_land_on_their_own_patient(blocked: Browser, stage: Stage) -> None:
    await in_chart(blocked, stage)  # with no cookie yet, one of the two may have to be opened again
    one, two = await blocked.open("about:blank"), await blocked.open("about:blank")
    # Asked for from within, so that neither waits for the other.
    for page, patient in ((one, "Rivera"), (two, "Chen")):
        await page.evaluate("address => { setTimeout(() => { location = address }, 0) }", stage.chart(patient))
    await shows(app_in(one), "Rivera")
    await shows(app_in(two), "Chen")


async def test_back_leads_from_the_chart_to_the_patients_and_forward_to_the_plan(
    allowed: Browser, stage: Stage
) -> None:
    page = await allowed.open(stage.ehr)
    await page.goto(stage.chart("Rivera"))
    await shows(app_in(page), "Rivera")
    await page.go_back()
    await expect(page.get_by_role("heading", name="Patients")).to_be_visible()
    await page.go_forward()
    await shows(app_in(page), "Rivera")


async def test_back_from_the_app_in_a_window_of_its_own_never_meets_the_callback(
    allowed: Browser, stage: Stage
) -> None:
    page = await in_window(allowed, stage)
    await page.go_back()
    await expect(page.get_by_role("heading", name="Patients")).to_be_visible()
    await page.go_forward()
    await shows(page, "Rivera")


async def test_reloading_the_callback_resumes_the_launch(blocked: Browser, stage: Stage) -> None:
    page = await in_chart(blocked, stage)
    at, frame = address_in(page), page.frame("app")
    (callback,) = [each for each in blocked.watch.requests if each.startswith(f"{stage.app}/callback")]
    assert frame is not None
    await frame.goto(callback)
    await shows(app_in(page), "Rivera")
    assert address_in(page) == at


async def test_the_callback_opened_by_somebody_else_says_already_launched(blocked: Browser, stage: Stage) -> None:
    await in_chart(blocked, stage)
    (callback,) = [each for each in blocked.watch.requests if each.startswith(f"{stage.app}/callback")]
    page = await blocked.open(callback)  # in a window of its own the frame's cookie is not sent
    await expect(page.get_by_role("heading", name="Already launched")).to_be_visible()
    await shows_nobody(page)


# The end of a session


async def test_an_idle_session_is_over_and_the_chart_opens_another(blocked: Browser, stage: Stage) -> None:
    page = await in_chart(blocked, stage)
    stage.clock.move(minutes=15)
    await app_in(page).get_by_role("link", name="Refresh").click()
    await expect(app_in(page).get_by_role("heading", name="Signed out")).to_be_visible()
    await expect(app_in(page).locator("body")).to_contain_text("not used for 15 minutes")
    await shows_nobody(app_in(page))
    await page.get_by_role("link", name="Side panel").click()
    await shows(app_in(page), "Rivera")


async def test_who_signs_out_in_the_chart_finds_nothing_by_going_back(blocked: Browser, stage: Stage) -> None:
    page = await in_chart(blocked, stage)
    at = address_in(page)
    await app_in(page).get_by_role("button", name="Sign out").click()
    await expect(app_in(page).get_by_role("heading", name="Signed out")).to_be_visible()
    assert await blocked.context.cookies() == []
    async with page.expect_response(at):
        await page.evaluate("history.back()")
    await shows_nobody(app_in(page))
    # Who is signed out is nobody's user, so nobody may frame what he is told.
    blocked.watch.expected |= set(blocked.watch.broken())


async def test_who_signs_out_in_a_window_finds_nothing_by_going_back(allowed: Browser, stage: Stage) -> None:
    page = await in_window(allowed, stage)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Signed out")).to_be_visible()
    await page.go_back()
    await expect(page.locator("body")).to_contain_text("You are signed out of this page")
    await shows_nobody(page)


async def test_a_browser_that_keeps_whole_pages_brings_none_back_after_the_sign_out(
    stage: Stage, tmp_path: Path
) -> None:
    settings = {"cookies": "allowed", "ehr": stage.ehr, "app": stage.app, "keeps_pages": True}
    async with chromium(tmp_path, **settings) as browser:
        kept = []
        for _ in range(3):  # it keeps none of the first tab
            page = await in_window(browser, stage)
            await page.goto(stage.ehr)
            kept.append(await gone_back(page))
        assert ("BackForwardCacheRestore", True) in [(how, PLAN in text) for how, text in kept]
        page = await in_window(browser, stage)
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Signed out")).to_be_visible()
        assert PLAN not in (await gone_back(page))[1]


# What the browser is told, it keeps


@pytest.mark.parametrize("what", ["page", "launch", "error"])
async def test_another_site_cannot_show_the_app_in_a_frame(allowed: Browser, stage: Stage, what: str) -> None:
    mine = await in_window(allowed, stage)
    address = {"page": mine.url, "launch": stage.launch("Rivera"), "error": f"{stage.app}/callback?state=x"}[what]
    page = await allowed.open("about:blank")
    async with (
        page.expect_event("console", lambda message: "frame-ancestors" in message.text) as refusal,
        page.expect_event("framenavigated", lambda frame: frame.url.startswith("chrome-error:")),
    ):
        await page.goto(f"{stage.evil}/?{urlencode({'address': address})}")
    said = (await refusal.value).text
    assert stage.app in said
    await shows_nobody(app_in(page))
    allowed.watch.expected |= {stage.evil, said}
    await mine.get_by_role("link", name="Refresh").click()
    await shows(mine, "Rivera")


async def test_all_pages_keep_their_policies_and_ask_no_other_origin(without: Browser, stage: Stage) -> None:
    await without.open(stage.ehr)
    await without.open(stage.chart("Rivera", client=CLINICS["quay"]))
    page = await in_window(without, stage)
    await without.open(f"{stage.app}/callback?state=x")
    await without.open(f"{stage.app}/nowhere")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Signed out")).to_be_visible()
    assert without.watch.origins() == {stage.ehr, stage.app}
    assert without.watch.broken() == []


async def test_what_breaks_a_policy_would_be_noticed(allowed: Browser, stage: Stage) -> None:
    page = await in_window(allowed, stage)
    tried = (
        "document.body.insertAdjacentHTML('beforeend', `<img src='http://evil.localhost:1/x'><p style='color:red'>`)"
    )
    async with page.expect_event("console", lambda message: message.text.startswith("policy broken: style-src")):
        await page.evaluate(tried)
    said = allowed.watch.broken()
    assert any("img-src" in each for each in said)
    allowed.watch.expected |= {"http://evil.localhost:1", *said}


async def test_the_whole_service_is_launched_by_the_demos_ehr(
    sandbox_store: SandboxStore, allowed: Browser, stage: Stage
) -> None:
    store = FhirStore(SANDBOX_URL, httpx.ASGITransport(sandbox_store))
    async with house(store, work=False) as at:
        page = await allowed.open(f"{at.chart_url(stage.patients['Rivera'])}&intent=overview")
        await shows(app_in(page), "Rivera")
        allowed.watch.expected |= {at.ehr_url, at.app_url}


@pytest.mark.parametrize("width", [320, 400, 1280])
async def test_nothing_needs_scrolling_sideways(allowed: Browser, stage: Stage, width: int) -> None:
    page = await in_window(allowed, stage)
    await page.set_viewport_size({"width": width, "height": 800})
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(wide) == 0
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Signed out")).to_be_visible()
    assert await page.evaluate(wide) == 0
    await page.set_viewport_size({"width": 1280, "height": 900})


async def test_without_chromium_these_tests_fail_and_name_the_command_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("browser.chromium.PROGRAM", tmp_path / "chromium")
    with pytest.raises(ChromiumMissing, match="Run: make test-deps"):
        async with chromium(tmp_path, cookies="allowed", ehr="", app=""):
            pass
