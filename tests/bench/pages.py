"""What a page costs beside the raw batches behind it, on a real FHIR server.

    PYTHONPATH=tests python -m bench.pages http://127.0.0.1:8080/fhir

A page goes through sign-in, reading, judging and drawing, from the request at our door to the last byte; the bare
client sends the very bytes that the page sent, to the same server by the same road, and reads the answers as JSON. They
are taken in turn.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import httpx
import structlog

from bench.ways import answered, request_for, timed
from browser import scenes
from fhir_aftercare.flows.install_protocol import install_protocol
from fhir_aftercare.protocol_files import read_protocol_files
from servers import Server
from ui.house import APP, base_of, house_of
from world import make_world

if TYPE_CHECKING:
    from browser.scenes import Prepare
    from ui.house import House

PAIRS = 40
WARM = 5
PAGES = (
    (scenes.course, "overview"),
    (scenes.running, "record"),
    (scenes.ended, "ready"),
    (scenes.ready, "plan"),
    (scenes.left, "handout"),
    (scenes.working_day, "worklist"),
    (scenes.room, "board"),
)
Row = tuple[str, str, str]


@dataclass
class Road:
    """From the EHR's base to the FHIR server and back, byte by byte. ``sent`` are the requests since it was emptied."""

    server: Server
    sent: list[httpx.Request] = field(default_factory=list)

    async def forward(self, ehr: Any, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        kept = {k: v for k, v in request.headers.items() if k not in {"host", "content-length", "authorization"}}
        url = str(request.url).replace(ehr.base, self.server.base_url)
        answer = await self.server.http.request(request.method, url, headers=kept, content=await request.aread())
        return httpx.Response(answer.status_code, content=answer.content, headers={"content-type": kept["accept"]})


async def again(http: httpx.AsyncClient, sent: list[httpx.Request]) -> None:
    """Send requests as they were sent, one after the other."""
    for each in sent:
        answer = await http.request(each.method, each.url, headers=each.headers, content=each.content)
        answer.raise_for_status()
        answer.json()


async def in_turn(house: House, road: Road, prepare: Prepare, view: str) -> Row:
    """Compare one page with the batches behind it."""
    scene = await scenes.prepared(house.world, prepare)
    house.world.clock.move_to(scene.now)
    visit = {"encounter": scene.visit} if scene.visit else {}
    browser, pages, raw = house.browser(), [], []
    address = urljoin(base_of(await browser.launch(patient=scene.patient, **visit)), view)

    cookie = f"__Host-aftercare={browser.cookie}".encode()
    request = request_for(urljoin(APP, address), [(b"cookie", cookie)])

    async def page() -> None:
        assert await answered(house.app, request) == 200

    await page()  # what the server can do is asked once
    road.sent.clear()
    await page()
    batches = list(road.sent)
    async with httpx.AsyncClient(transport=house.wire) as http:
        for number in range(PAIRS + WARM):
            # Whoever comes second finds the server warm: so they take turns at that, too.
            ways = [(pages, page), (raw, lambda: again(http, batches))]
            for times, way in ways if number % 2 else reversed(ways):
                times.append(await timed(way))
    await browser.http.aclose()
    ratios = [one / other for one, other in zip(pages[WARM:], raw[WARM:], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    what = (
        f"the page `{view}`, median {statistics.median(pages[WARM:]):.1f} ms : {len(batches)} raw "
        f"batch{'es' if len(batches) > 1 else ''} behind it, {statistics.median(raw[WARM:]):.1f} ms"
    )
    return what, f"**{middle:.2f}** ({low:.2f}, {high:.2f})", "≤ 1.15"


async def rows(server: Server, folder: Path) -> list[Row]:
    """Give the lines of a table: what, ratio (median of pairs, p25, p75), aim.

    The protocol is installed before, as the README says: without its search parameter a worklist walks all open Tasks.
    """
    await install_protocol(server.client(), read_protocol_files(None))
    async with house_of(server, folder, world=await make_world(server)) as house:
        road = Road(server)
        house.wire._forward = road.forward  # type: ignore[method-assign]
        gc.freeze()  # as `fhir-aftercare serve` does when it has started
        return [await in_turn(house, road, prepare, view) for prepare, view in PAGES]


async def _alone(base: str) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="aftercare-bench-") as folder:
        async with Server.reached("given", base) as server:
            return await rows(server, Path(folder))


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print("\n".join(f"| {' | '.join(row)} |" for row in asyncio.run(_alone(sys.argv[1]))))


if __name__ == "__main__":
    main()
