"""Every screen and state of the pages, in one table: whose page, how it is reached, what it is called.

``test_every_screen`` looks at each of them, ``make screenshots`` takes its picture. What is done on a screen to bring
it into its state writes nothing, so that a scene can be looked at again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from playwright.async_api import Frame, expect

from browser import scenes
from browser.scenes import Prepare, prepared
from fhir_aftercare.sandbox.ehr import EhrUser

if TYPE_CHECKING:
    from playwright.async_api import Page

    from browser.chromium import Browser
    from browser.scenes import Scene
    from browser.stage import Stage

Does = Callable[[Frame], Awaitable[None]]
Width = Literal["panel", "full"]


@dataclass(frozen=True, slots=True)
class Screen:
    """One screen in one state. ``view`` is its address below the launch, or from the root if it begins with "/".

    ``title`` is what its title begins with and ``does`` what is typed and pressed there. ``withheld`` are scopes that
    the EHR does not grant; ``own``: the patient opens it. ``framed``: it is for the chart's frame, too.
    """

    name: str
    scene: Prepare
    view: str
    title: str
    does: Does | None = None
    withheld: str = ""
    own: bool = False
    framed: bool = True

    @property
    def file(self) -> str:
        """The name as a file may have it."""
        return "-".join("".join(each if each.isalnum() else " " for each in self.name.lower()).split())


# --- what is done on a screen ----------------------------------------------------------------------------------------


async def types_nonsense(frame: Frame) -> None:
    """Type a row that cannot be."""
    await frame.get_by_label("Systolic").fill("1460")
    await frame.get_by_label("Heart rate").fill("x")
    await frame.get_by_role("button", name="Save row").click()
    await expect(frame.locator(".faults")).to_be_visible()


async def types_beyond_the_limits(frame: Frame) -> None:
    """Type a row that must be confirmed."""
    await frame.get_by_label("Systolic").fill("186")
    await frame.get_by_label("Diastolic").fill("104")
    await frame.get_by_role("button", name="Save row").click()
    await expect(frame.get_by_text("Check and confirm")).to_be_visible()


async def starts_without_a_dose(frame: Frame) -> None:
    """Press "Start" with an impossible dose."""
    await frame.get_by_label("Ketamine, mg").fill("much")
    await frame.get_by_role("button", name="Start the infusion").click()
    await expect(frame.locator(".faults")).to_be_visible()


async def opens_all(frame: Frame) -> None:
    """Open everything that is folded."""
    await frame.evaluate("document.querySelectorAll('main details').forEach(each => { each.open = true })")


async def opens_the_row(frame: Frame) -> None:
    """Open the newest row to correct it."""
    await frame.get_by_role("link", name="Correct", exact=True).last.click()
    await expect(frame.get_by_role("heading", name="Row of")).to_be_visible()


async def saves_half_a_sheet(frame: Frame) -> None:
    """Send a sheet without a start."""
    await frame.get_by_label("1 Time", exact=True).fill("99")
    await frame.get_by_role("button", name="Save the whole sheet").click()
    await expect(frame.locator(".faults")).to_be_visible()


async def agrees_on_a_call_at_night(frame: Frame) -> None:
    """Sign with a call that the protocol does not allow."""
    await frame.get_by_label("until", exact=True).fill("23:00")
    await frame.get_by_role("button", name="Sign and write to the chart").click()
    await expect(frame.locator(".faults").first).to_be_visible()


async def opens_the_resources(frame: Frame) -> None:
    """See what would be sent, the first resource opened."""
    await frame.get_by_role("button", name="See it as FHIR resources").click()
    await frame.get_by_role("button", name="POST").first.click()
    await expect(frame.locator("pre")).to_be_visible()


async def opens_an_item(frame: Frame) -> None:
    """Open an item of the plan as it stands in the chart."""
    await frame.get_by_role("link", name="in the chart").first.click()
    await expect(frame.locator("pre")).to_be_visible()


async def opens_the_answers(frame: Frame) -> None:
    """Open the answers behind the newest PHQ-9."""
    await frame.get_by_role("link", name="PHQ-9 answers").click()
    await expect(frame.get_by_role("heading", name="PHQ-9 answers")).to_be_visible()


async def opens_the_review(frame: Frame) -> None:
    """Open what stands first on the worklist."""
    await frame.locator("li.escalated").first.get_by_role("link").nth(1).click()
    await expect(frame.get_by_label("What was decided")).to_be_visible()


async def opens_the_call(frame: Frame) -> None:
    """Tell that a call was not answered."""
    await frame.get_by_role("link", name="No answer").first.click()
    await expect(frame.get_by_label("Try again on")).to_be_visible()


async def tries_again_never(frame: Frame) -> None:
    """Save a call that was not answered, with an impossible day for the next."""
    await opens_the_call(frame)
    await frame.get_by_label("at", exact=True).fill("25:00")
    await frame.get_by_role("button", name="Save: no answer").click()
    await expect(frame.locator(".faults")).to_be_visible()


async def signs_out(frame: Frame) -> None:
    """Sign out."""
    await frame.get_by_role("button", name="Sign out").click()
    await expect(frame.get_by_role("heading", name="Signed out")).to_be_visible()


# --- the table -------------------------------------------------------------------------------------------------------
_OVERVIEW, _RECORD, _READY, _PLAN = "Aftercare overview", "Infusion record", "Ready to leave?", "Plan"
_ACROSS = "user/MedicationAdministration.rs"

SCREENS = (
    Screen("overview, nothing known", scenes.nobody, "overview", _OVERVIEW),
    Screen("overview, one score", scenes.one_score, "overview", _OVERVIEW, opens_all),
    Screen("overview, a course", scenes.course, "overview", _OVERVIEW),
    Screen("overview, sixty scores", scenes.years, "overview?drawn=whole", _OVERVIEW),
    Screen("overview, escalated", scenes.escalated, "overview", _OVERVIEW),
    Screen("overview, not granted", scenes.one_score, "overview", _OVERVIEW, opens_all, withheld="user/Observation.rs"),
    Screen("overview, the patient's own", scenes.escalated, "overview", _OVERVIEW, own=True, framed=False),
    Screen("answers", scenes.escalated, "overview", "PHQ-9 answers", opens_the_answers),
    Screen("record, no visit", scenes.nobody, "record", _RECORD),
    Screen("record, before the start", scenes.waiting, "record", _RECORD, opens_all),
    Screen("record, start refused", scenes.waiting, "record", f"Error: {_RECORD}", starts_without_a_dose),
    Screen("record, running", scenes.running, "record", _RECORD),
    Screen("record, end opened", scenes.running, "record", _RECORD, opens_all),
    Screen("record, saved", scenes.running, "record?said=row-saved&n=5", _RECORD),
    Screen("record, refused", scenes.unconfirmed, "record", f"Error: {_RECORD}", types_nonsense),
    Screen("record, to be confirmed", scenes.unconfirmed, "record", _RECORD, types_beyond_the_limits),
    Screen("record, read only", scenes.running, "record", _RECORD, withheld="user/Observation.cu"),
    Screen("record, ended", scenes.ended, "record", _RECORD),
    Screen("record, left", scenes.left, "record", _RECORD),
    Screen("record, a row", scenes.running, "record", "Correct a row", opens_the_row),
    Screen("record, the infusion", scenes.ended, "record/infusion", "Correct the infusion"),
    Screen("record, sheet", scenes.waiting, "record/sheet", "Paper sheet"),
    Screen("record, sheet refused", scenes.waiting, "record/sheet", "Error: Paper sheet", saves_half_a_sheet),
    Screen("ready, no visit", scenes.nobody, "ready", _READY),
    Screen("ready, not yet", scenes.ended, "ready", _READY, opens_all),
    Screen("ready, all met", scenes.ready, "ready", _READY),
    Screen("ready, left", scenes.left, "ready", _READY),
    Screen("ready, read only", scenes.ended, "ready", _READY, withheld="user/Observation.cu"),
    Screen("plan, nothing to plan", scenes.nobody, "plan", _PLAN),
    Screen("plan, not ready", scenes.ended, "plan", _PLAN, opens_all),
    Screen("plan, to be signed", scenes.ready, "plan", _PLAN, opens_all),
    Screen("plan, refused", scenes.ready, "plan", f"Error: {_PLAN}", agrees_on_a_call_at_night),
    Screen("plan, resources", scenes.ready, "plan", "The plan as FHIR resources", opens_the_resources),
    Screen("plan, in force", scenes.left, "plan?said=plan-signed&n=19", "Plan in force", opens_all),
    Screen("plan, an item", scenes.left, "plan", "", opens_an_item),
    Screen("handout", scenes.left, "handout", "Handout"),
    Screen("handout, Spanish and large", scenes.left, "handout?language=es&size=large", "Handout"),
    Screen("handout, none", scenes.nobody, "handout", "Handout"),
    Screen("handout, the patient's own", scenes.left, "handout", "Handout", own=True, framed=False),
    Screen("worklist", scenes.working_day, "worklist", "Worklist"),
    Screen("worklist, claimed", scenes.claimed, "worklist?owner=mine&said=claimed", "Worklist"),
    Screen("worklist, mine and empty", scenes.nobody, "worklist?state=escalated&owner=mine", "Worklist"),
    Screen("worklist, read only", scenes.working_day, "worklist", "Worklist", withheld="user/Task.cu"),
    Screen("worklist, not granted", scenes.nobody, "worklist", "Worklist", withheld=_ACROSS),
    Screen("worklist, a review", scenes.working_day, "worklist", "", opens_the_review),
    Screen("worklist, a call", scenes.working_day, "worklist", "", opens_the_call),
    Screen("worklist, a call refused", scenes.working_day, "worklist", "Error: ", tries_again_never),
    Screen("board", scenes.room, "board", "Room board", opens_all),
    Screen("board, empty", scenes.nobody, "board", "Room board"),
    Screen("board, not granted", scenes.nobody, "board", "Room board", withheld=_ACROSS),
    Screen("error", scenes.nobody, "/callback?state=x", "Error: "),
    Screen("no such page", scenes.nobody, "/app/l/short/", "Error: Not found", framed=False),
    Screen("signed out", scenes.nobody, "overview", "Signed out", signs_out),
)


# --- how it is reached -----------------------------------------------------------------------------------------------


async def reached(browser: Browser, stage: Stage, screen: Screen, *, chart: Width | None = None) -> Frame:
    """Give the frame that shows a screen: in the EHR's ``chart`` of that width, or in a window of its own."""
    scene = await prepared(stage.world, screen.scene)
    stage.clock.time = scene.now
    stage.pretend.faults.withheld = screen.withheld
    try:
        frame = app_in(await browser.open(_address(stage, screen, scene, chart)))
        await frame.wait_for_url(f"{stage.app}/app/l/**")
    finally:
        stage.pretend.faults.reset()
    root = stage.app if screen.view.startswith("/") else "/".join(frame.url.split("/")[:6]) + "/"
    await frame.goto(root + screen.view)
    if screen.does is not None:
        await screen.does(frame)
    return frame


def _address(stage: Stage, screen: Screen, scene: Scene, chart: Width | None) -> str:
    if chart is not None:
        visit = {"encounter": scene.visit} if scene.visit else {}
        return stage.chart_of(scene.patient, width=chart, **visit)
    user = EhrUser("patient", "The patient", f"Patient/{scene.patient}") if screen.own else None
    return stage.launch_of(scene.patient, user=user, encounter=scene.visit)


def app_in(page: Page) -> Frame:
    """Give the app's frame in the EHR's chart, or the whole window."""
    return page.frame("app") or page.main_frame
