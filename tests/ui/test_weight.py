"""What a page costs: on the wire to a browser that has nothing of it yet, and in round trips to the FHIR server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest

from browser import scenes
from ui.house import base_of, house_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from browser.scenes import Prepare
    from servers import Server
    from ui.house import Browser, House

MOST_BYTES = 60_000
MOST_TRIPS = 2
PAGES = (
    (scenes.nobody, "overview"),
    (scenes.course, "overview"),
    (scenes.years, "overview"),
    (scenes.years, "overview?drawn=whole"),
    (scenes.escalated, "overview"),
    (scenes.waiting, "record"),
    (scenes.running, "record"),
    (scenes.left, "record"),
    (scenes.ended, "record/infusion"),
    (scenes.waiting, "record/sheet"),
    (scenes.ended, "ready"),
    (scenes.ready, "ready"),
    (scenes.ended, "plan"),
    (scenes.ready, "plan"),
    (scenes.left, "plan"),
    (scenes.ready, "handout"),
    (scenes.left, "handout"),
    (scenes.working_day, "worklist"),
    (scenes.room, "board"),
)
# A page's own address leads on from these: what a row, an item, an answer or a Task is called only the chart knows.
OPENED = (
    (scenes.course, "overview", "answers"),
    (scenes.running, "record", "record/row"),
    (scenes.left, "plan", "item"),
    (scenes.working_day, "worklist", "worklist/task"),
)


@pytest.fixture
async def house(quiet: Server, tmp_path: Path) -> AsyncIterator[House]:
    """A clinic for each test: what its worklist costs, the patients of others would change."""
    async with house_of(quiet, tmp_path) as made:
        yield made


@dataclass
class Reader:
    """A browser in the launch of a scene; ``base`` is what the addresses of its pages begin with."""

    house: House
    browser: Browser
    base: str

    async def get(self, view: str) -> httpx.Response:
        """Open a page, which must be light and read the chart in few round trips, and give it."""
        self.house.wire.fhir.clear()
        page = await self.browser.get(urljoin(self.base, view))
        assert page.status_code == 200
        # What the server can do is asked once, by the first page of a process.
        assert len([each for each in self.house.wire.fhir if not each.url.path.endswith("/metadata")]) <= MOST_TRIPS
        assert await self.weight(page) <= MOST_BYTES
        return page

    async def weight(self, page: httpx.Response) -> int:
        """Give how many bytes a page is with all that it loads, as they are sent."""
        sent = [page.num_bytes_downloaded]
        for address in re.findall(r'<(?:link rel="stylesheet" href|script src)="([^"]+)"', page.text):
            part = await self.browser.get(unescape(address))
            assert part.status_code == 200
            sent.append(part.num_bytes_downloaded)
        return sum(sent)


async def launched(house: House, prepare: Prepare) -> Reader:
    scene = await scenes.prepared(house.world, prepare)
    house.world.clock.move_to(scene.now)
    visit = {"encounter": scene.visit} if scene.visit else {}
    browser = house.browser()
    return Reader(house, browser, base_of(await browser.launch(patient=scene.patient, **visit)))


@pytest.mark.parametrize(("prepare", "view"), PAGES, ids=lambda given: getattr(given, "__name__", given))
async def test_a_page_is_light_and_reads_the_chart_in_two_round_trips_at_most(
    house: House, prepare: Prepare, view: str
) -> None:
    await (await launched(house, prepare)).get(view)


async def test_a_full_worklist_is_light_too(house: House) -> None:
    reader = await launched(house, scenes.crowded)
    page = await reader.browser.get(urljoin(reader.base, "worklist"))
    assert "Further ones" in page.text
    assert await reader.weight(page) <= MOST_BYTES


@pytest.mark.parametrize(("prepare", "view", "opened"), OPENED, ids=lambda given: getattr(given, "__name__", given))
async def test_so_is_what_is_opened_from_a_page(house: House, prepare: Prepare, view: str, opened: str) -> None:
    reader = await launched(house, prepare)
    link = re.search(rf'href="([^"]*\b{opened}\?[^"]+)"', (await reader.get(view)).text)
    assert link
    await reader.get(unescape(link[1]))


@pytest.mark.parametrize(
    ("takes", "packed"),
    [
        *(("gzip, deflate, br", True), ("br;q=1.0, gzip;q=0.8, *;q=0.1", True), ("GZIP", True), ("gzip;q=0.001", True)),
        *(("", False), ("br", False), ("identity", False), ("gzip;q=0", False), ("gzip; q=0.0, br", False)),
        ("x-gzip-like", False),
    ],
)
async def test_sheets_and_scripts_are_compressed_for_whoever_takes_that(
    house: House, takes: str, *, packed: bool
) -> None:
    browser = house.browser()
    address = "/app/static/htmx.js"
    answer = await browser.get(address, headers={"accept-encoding": takes})
    assert answer.headers["vary"] == "accept-encoding"
    assert (answer.headers.get("content-encoding") == "gzip") == packed
    assert answer.text == (await browser.get(address, headers={"accept-encoding": ""})).text
    assert (answer.num_bytes_downloaded < 20_000) == packed


async def test_pages_are_not_compressed_beside_the_secret_of_their_forms(house: House) -> None:
    page = await (await launched(house, scenes.nobody)).get("overview")
    assert "gzip" in page.request.headers["accept-encoding"]
    assert "content-encoding" not in page.headers
