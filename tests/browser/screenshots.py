"""``make screenshots``: a picture of every screen and state in ``screenshots/``, those of the README in ``pictures/``.

Each in a window of its own, narrow and wide, light and dark; the README's as people see them. TEST DATA.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from browser import scenes
from browser.chromium import chromium
from browser.screens import SCREENS, Screen, Width, reached
from browser.stage import stage_of
from fhir_aftercare.sandbox.store import create_store
from servers import SANDBOX_URL, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from browser.chromium import Browser
    from browser.stage import Stage

HERE = Path(__file__).resolve().parent
ALL = HERE.parents[1] / "screenshots"
README = HERE / "pictures"
Scheme = Literal["light", "dark"]
LOOKS: tuple[tuple[int, Scheme], ...] = tuple(product((400, 1280), ("light", "dark")))
# The file, the screen, the size of the window, the colours, and how wide the EHR's chart around it lets it be.
CHOSEN: tuple[tuple[str, str, tuple[int, int], Scheme, Width | None], ...] = (
    ("worklist", "worklist", (1280, 640), "light", None),  # first, before other scenes bring their work
    ("overview", "overview, a course", (1024, 900), "light", None),
    ("record", "record, running", (900, 1200), "light", "panel"),
    ("ready", "ready, not yet", (420, 800), "dark", None),
    ("plan", "plan, to be signed", (1024, 760), "light", None),
    ("handout", "handout", (820, 760), "light", None),
    ("board", "board", (1024, 620), "dark", None),
)


@asynccontextmanager
async def staged() -> AsyncIterator[tuple[Stage, Browser]]:
    """Run the three sites on a store of their own, and a browser."""
    with tempfile.TemporaryDirectory(prefix="aftercare-screens-") as folder:
        store = create_store(Path(folder) / "store", SANDBOX_URL)
        try:
            async with (
                Server.reached("sandbox", SANDBOX_URL, store) as server,
                stage_of(server, store, Path(folder)) as stage,
                chromium(Path(folder) / "profile", cookies="allowed", ehr=stage.ehr, app=stage.app) as browser,
            ):
                yield stage, browser
        finally:
            store.close()


async def take_all(stage: Stage, browser: Browser, screens: Iterable[Screen]) -> None:
    """Take all pictures of some screens."""
    for screen in screens:
        page = (await reached(browser, stage, screen)).page
        for width, scheme in LOOKS:
            await page.set_viewport_size({"width": width, "height": 900})
            await page.emulate_media(color_scheme=scheme)
            await page.screenshot(path=ALL / f"{screen.file}-{width}-{scheme}.png", full_page=True)
        await browser.start_over()
        print(screen.name)


async def take_chosen(stage: Stage, browser: Browser) -> None:
    """Take the README's pictures."""
    by_name: dict[str, Screen] = {each.name: each for each in SCREENS}
    for file, name, (width, height), scheme, chart in CHOSEN:
        page = (await reached(browser, stage, by_name[name], chart=chart)).page
        await page.set_viewport_size({"width": width, "height": height})
        await page.emulate_media(color_scheme=scheme)
        await page.screenshot(path=README / f"{file}.png")
        await browser.start_over()


async def taken() -> None:
    """Take all pictures."""
    async with staged() as (stage, browser):
        # What is empty is looked at before anybody is there.
        await take_all(stage, browser, [each for each in SCREENS if each.scene is scenes.nobody])
        await take_chosen(stage, browser)
        await take_all(stage, browser, [each for each in SCREENS if each.scene is not scenes.nobody])


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for folder in (ALL, README):
        folder.mkdir(exist_ok=True)
    asyncio.run(taken())
    print(f"{ALL}", file=sys.stderr)


if __name__ == "__main__":
    main()
