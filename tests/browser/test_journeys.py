"""A nurse's day without a mouse: from the chart to the signed plan and the handout, and through the worklist.

Tab, Shift+Tab, Enter, Space, arrows and letters only, in the frame of the EHR's chart; once with scripts, once without
any: every form works alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from browser import scenes
from browser.chromium import chromium
from browser.hands import Hands
from fhir_aftercare.fhir import tasks, terms
from flows.cases import of_patient, with_code
from world import END

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Locator

    from browser.chromium import Browser
    from browser.scenes import Scene
    from browser.stage import Stage

pytestmark = pytest.mark.browser

MINUTE = scenes.MINUTE
ANSWERED = ("oriented", "walks_unaided", "no_acute_suicidal_intent", "written_instructions", "emergency_contact",
            "escort_present")  # fmt: skip


@pytest.fixture(scope="module", params=["scripted", "scriptless"])
async def running(
    request: pytest.FixtureRequest, stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Browser]:
    folder, scripts = tmp_path_factory.mktemp(request.param), request.param == "scripted"
    async with chromium(folder, cookies="blocked", ehr=stage.ehr, app=stage.app, scripts=scripts) as made:
        yield made


@pytest.fixture
async def browser(running: Browser, stage: Stage) -> AsyncIterator[Browser]:
    await running.start_over()
    yield running
    assert running.watch.origins() <= {stage.ehr, stage.app}
    assert running.watch.broken() == []


async def launched(browser: Browser, stage: Stage, scene: Scene) -> Hands:
    """Open the app in the chart by keyboard, and go with Tab into its frame."""
    stage.clock.time = scene.now
    visit = {"encounter": scene.visit} if scene.visit else {}
    page = await browser.open(stage.chart_of(scene.patient, width="panel", **visit))
    await Hands(page, page.main_frame).press(page.get_by_role("link", name="Full width"))
    await page.wait_for_url("**width=full**")
    frame = page.frame("app")
    assert frame is not None
    await frame.wait_for_url(f"{stage.app}/app/l/**")
    return Hands(page, frame)


async def test_from_the_chart_to_the_handout(browser: Browser, stage: Stage) -> None:
    scene = await scenes.waiting(stage.world)
    hands = await launched(browser, stage, scene)
    await starts(hands)
    stage.clock.move(minutes=10)
    await types_a_row_during_it(hands)
    # Whoever comes back after an hour has been signed out and opens the app again.
    hands = await launched(browser, stage, replace(scene, now=END + 80 * MINUTE))
    await types_a_row_after_it(hands)
    await ends(hands)
    await looks_whether_ready(hands)
    await signs(hands)
    patient = f"Patient/{scene.patient}"
    plans = await of_patient(stage.world, "CarePlan", patient)
    assert [each["status"] for each in plans] == ["active", "active"]
    assert with_code(await of_patient(stage.world, "Task", patient), terms.FOLLOW_UP_CALL)


async def starts(hands: Hands) -> None:
    frame = hands.frame
    await expect(frame.get_by_role("heading", name="Start the infusion")).to_be_visible()
    await hands.type(frame.get_by_label("Ketamine, mg"), "35")
    for label, value in (("Systolic", "128"), ("Diastolic", "79"), ("Heart rate", "74"), ("SpO2", "98")):
        await hands.type(frame.get_by_label(label), value)
    await hands.type(frame.get_by_label("Name"), "Sam Rivera")
    await hands.press(frame.get_by_label("The ride home is arranged"), "Space")
    await hands.press(frame.get_by_role("button", name="Start the infusion"), "Space")
    await hands.says("3 observations")
    await expect(frame.get_by_text("Running")).to_be_visible()


async def types_a_row_during_it(hands: Hands) -> None:
    frame = hands.frame
    await hands.type(frame.get_by_label("Time"), "1305")
    await hands.type(frame.get_by_label("Systolic"), "146")
    await hands.type(frame.get_by_label("Diastolic"), "88")
    await hands.to(frame.get_by_role("radio", name="Not looked at"))
    for _ in range(3):
        await hands.page.keyboard.press("ArrowDown")
    await hands.page.keyboard.press("Enter")
    await hands.says("2 observations")
    await expect(frame.locator(".sheet")).to_contain_text("moderate")


async def types_a_row_after_it(hands: Hands) -> None:
    frame = hands.frame
    await expect(frame.get_by_role("heading", name="New row")).to_be_visible()
    for label, value in (("Systolic", "126"), ("Diastolic", "80"), ("Heart rate", "74"), ("SpO2", "98")):
        await hands.type(frame.get_by_label(label), value)
    await hands.to(frame.get_by_role("radio", name="Not looked at"))
    await hands.page.keyboard.press("ArrowDown")
    await hands.to(frame.get_by_label("Sedation"))
    await hands.page.keyboard.press("5")
    await hands.type(frame.get_by_label("Nausea"), "0")
    await hands.press(frame.get_by_role("button", name="Save row"))
    await hands.says("6 observations")


async def ends(hands: Hands) -> None:
    frame = hands.frame
    await hands.press(frame.get_by_text("End the infusion").first)
    await hands.type(frame.get_by_label("Ended at"), "1340")
    await hands.press(frame.get_by_role("button", name="End the infusion"))
    await hands.says("the infusion has ended")


async def looks_whether_ready(hands: Hands) -> None:
    frame = hands.frame
    await hands.press(frame.get_by_role("link", name="Ready to leave?"))
    await expect(frame.get_by_role("heading", name="Ready to leave?")).to_be_visible()
    for name in ANSWERED:
        await hands.press(frame.locator(f"input[name={name}][value=yes]"), "Space")
    await hands.press(frame.get_by_role("button", name="Save", exact=True))
    await hands.says("to the chart")
    await expect(frame.get_by_text("12 of 12 met")).to_be_visible()


async def signs(hands: Hands) -> None:
    frame = hands.frame
    await hands.press(frame.get_by_role("link", name="Review the plan"))
    await expect(frame.get_by_role("heading", name="Plan for today")).to_be_visible()
    await hands.to(frame.locator("input[name=leaves]:checked"))
    await expect(frame.get_by_label("An adult takes the patient home")).to_be_checked()
    await hands.press(frame.get_by_role("button", name="Sign and write to the chart"))
    await expect(frame.get_by_role("heading", name="Plan in force")).to_be_visible()
    await hands.press(frame.get_by_role("main").get_by_role("link", name="Handout"))
    await expect(frame.locator(".handout").get_by_role("heading", level=1)).to_be_visible()


async def test_from_the_worklist_through_a_call_to_a_disposition(browser: Browser, stage: Stage) -> None:
    called, reviewed = await scenes.missed_call(stage.world), await scenes.escalated(stage.world)
    hands = await launched(browser, stage, called)
    await is_called_in_vain(hands, called.patient)
    await is_decided(hands, reviewed.patient)
    (call,) = with_code(await of_patient(stage.world, "Task", f"Patient/{called.patient}"), terms.FOLLOW_UP_CALL)
    assert call["status"] == "failed"
    (review,) = with_code(await of_patient(stage.world, "Task", f"Patient/{reviewed.patient}"), terms.CLINICAL_REVIEW)
    assert (review["status"], tasks.is_open(review)) == ("completed", False)


def row_of(hands: Hands, patient: str, work: str) -> Locator:
    """Give a patient's row of the worklist."""
    whose = hands.frame.locator(f'a[href*="/of/{patient}/"], a[href*="/overview"]:not([href*="/of/"])')
    return hands.frame.locator("li", has=whose).filter(has_text=work)


async def is_called_in_vain(hands: Hands, patient: str) -> None:
    """Save the third try of a call that nobody answered."""
    frame = hands.frame
    await hands.press(frame.get_by_role("link", name="Worklist"))
    row = row_of(hands, patient, "Telephone follow-up")
    await hands.press(row.get_by_role("link", name="No answer"))
    form = frame.locator("form", has=frame.get_by_role("button", name="Save: no answer"))
    await hands.type(form.get_by_label("Note"), "Rang out, no voicemail")
    await hands.press(form.get_by_role("button"))
    await hands.says("")


async def is_decided(hands: Hands, patient: str) -> None:
    """Take the review of an answer at item 9, reach the patient, and say what was decided."""
    frame = hands.frame
    await hands.press(frame.get_by_role("link", name="Worklist"))
    row = row_of(hands, patient, "item 9")
    await hands.press(row.get_by_role("button", name="I am doing this"))
    await hands.says("")
    await hands.press(row.get_by_role("link", name="Reached"))
    form = frame.locator("form", has=frame.get_by_role("button", name="Save: reached"))
    await hands.type(form.get_by_label("Note"), "Speaks freely, no plan, not alone tonight")
    await hands.press(form.get_by_role("button"))
    await hands.says("")
    await hands.press(row.get_by_role("link", name="Clinical review"))
    await hands.type(frame.get_by_label("What was decided"), "Seen today by the prescriber")
    await hands.press(frame.get_by_role("button", name="Save the disposition"))
    await hands.says("")
