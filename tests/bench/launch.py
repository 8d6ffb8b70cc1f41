"""What a launch costs from the EHR's chart to the first page, with an EHR that answers at once.

    PYTHONPATH=tests python -m bench.launch

The bare way beside it follows the same redirects, asks for the same tokens and sends the same batch, and does nothing
else: no check, no store, no page of its own. Both meet the same EHR in this process, taken in turn; nothing is on a
network, and the batch is answered from memory.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import httpx
import structlog
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fhir_aftercare.sandbox.store import create_store
from fhir_aftercare.ui.asked import PAGE_SCOPES
from servers import SANDBOX_URL, Server
from smart.strict_clients import Client
from ui.house import FHIR_JSON, Browser, House, house_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.requests import Request

PAIRS = 200
WARM = 20
BARE = "https://bare.example"
SCOPES = PAGE_SCOPES.for_launch(2, from_ehr=True)


class Instant:
    """Stands before the EHR's store: remembers the batch that was asked and its answer, and then needs no store."""

    def __init__(self, house: House) -> None:
        self.asked, self.answer = b"", b""
        self._house, self._store = house, house.wire._forward
        house.wire._forward = self.forward  # type: ignore[method-assign]

    async def forward(self, ehr: Any, request: httpx.Request) -> httpx.Response:
        if not self.answer:
            self.asked = await request.aread()
            self.answer = (await self._store(ehr, request)).content
        return httpx.Response(200, content=self.answer, headers={"content-type": FHIR_JSON})


class Bare:
    """An app that only does what any app has to: redirects, one token request, one batch. The page is given."""

    def __init__(self, house: House, batch: bytes, page: str) -> None:
        self._ehr, self._batch, self._page = house.ehr, batch, page
        self._verifiers: dict[str, str] = {}
        self._tokens: dict[str, str] = {}
        house.ehr.register(Client("bare", "public", (f"{BARE}/callback",)))
        self.http = httpx.AsyncClient(transport=house.wire)
        self.app = Starlette(
            routes=[
                Route("/launch", self._launch),
                Route("/callback", self._callback),
                Route("/page/{id}", self._show),
            ]
        )

    async def _launch(self, request: Request) -> Response:
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        self._verifiers[state] = verifier
        asked = {
            "response_type": "code", "client_id": "bare", "redirect_uri": f"{BARE}/callback", "scope": SCOPES,
            "state": state, "nonce": secrets.token_urlsafe(32), "aud": self._ehr.base,
            "launch": request.query_params["launch"], "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }  # fmt: skip
        return RedirectResponse(f"{self._ehr.issuer}/authorize?{urlencode(asked)}", 303)

    async def _callback(self, request: Request) -> Response:
        query = request.query_params
        form = {
            "grant_type": "authorization_code", "client_id": "bare", "redirect_uri": f"{BARE}/callback",
            "code": query["code"], "code_verifier": self._verifiers.pop(query["state"]),
        }  # fmt: skip
        answer = await self.http.post(self._ehr.token_url, data=form)
        answer.raise_for_status()
        self._tokens[query["state"]] = answer.json()["access_token"]
        return RedirectResponse(f"/page/{query['state']}", 303)

    async def _show(self, request: Request) -> Response:
        headers = {
            "authorization": f"Bearer {self._tokens.pop(request.path_params['id'])}",
            "content-type": FHIR_JSON,
        }
        answer = await self.http.post(self._ehr.base, content=self._batch, headers=headers)
        answer.raise_for_status()
        answer.json()
        return Response(self._page, media_type="text/html")


class _Both(httpx.AsyncBaseTransport):
    """What the browser of the bare way reaches."""

    def __init__(self, house: House, bare: Bare) -> None:
        self._bare, self._wire = httpx.ASGITransport(bare.app), house.wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        own = request.url.host == urlsplit(BARE).hostname
        return await (self._bare if own else self._wire).handle_async_request(request)


async def took(browser: httpx.AsyncClient, address: str, page: str) -> float:
    """Go to an address and wherever it leads, and give the milliseconds; it must lead to a page as long as ``page``."""
    began = time.perf_counter()
    answer = await browser.get(address)
    ended = time.perf_counter()
    assert answer.status_code == 200, answer.text
    assert len(answer.text) == len(page), answer.text
    return (ended - began) * 1000


@asynccontextmanager
async def prepared(folder: Path) -> AsyncIterator[tuple[House, str]]:
    """Give a clinic with its EHR, and the id of a patient with a plan."""
    store = create_store(folder / "store", SANDBOX_URL)
    try:
        async with Server.reached("sandbox", SANDBOX_URL, store) as server, house_of(server, folder) as house:
            yield house, await house.patient()
    finally:
        store.close()


async def rows() -> list[tuple[str, str]]:
    """Give the lines of a table: what, figure."""
    known, new, bare = [], [], []
    with tempfile.TemporaryDirectory(prefix="aftercare-bench-") as folder:
        async with prepared(Path(folder)) as (house, patient):
            instant, browser = Instant(house), house.browser()
            page = (await browser.launch(patient=patient, intent="overview")).text
            raw = Bare(house, instant.asked, page)
            visitor = httpx.AsyncClient(transport=_Both(house, raw), follow_redirects=True)
            async with raw.http, visitor:
                for number in range(PAIRS + WARM):
                    stranger = house.browser()
                    query = urlencode({"launch": house.ehr.open_chart(patient=patient, intent="overview")})
                    one = await took(browser.http, browser.launch_address(patient=patient, intent="overview"), page)
                    other = await took(visitor, f"{BARE}/launch?{query}", page)
                    third = await took(stranger.http, stranger.launch_address(patient=patient, intent="overview"), page)
                    await _closed(stranger)
                    if number >= WARM:
                        known.append(one)
                        bare.append(other)
                        new.append(third)
            await _closed(browser)
    ratios = [one / other for one, other in zip(known, bare, strict=True)]
    more = [one - other for one, other in zip(known, bare, strict=True)]
    return [
        ("launch to first page, instant EHR, median", f"{statistics.median(known):.1f} ms"),
        ("the same in a browser that was never here: one redirect more, median", f"{statistics.median(new):.1f} ms"),
        ("the same redirects, token request and batch by a bare app, median", f"{statistics.median(bare):.1f} ms"),
        ("a launch over the bare app's, median of pairs", f"+{statistics.median(more):.1f} ms"),
        ("**ratio, median of pairs** (p25, p75)", _spread(ratios)),
    ]


def _spread(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"**{middle:.2f}** ({low:.2f}, {high:.2f})"


async def _closed(browser: Browser) -> None:
    await browser.http.aclose()


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print("\n".join(f"| {what} | {figure} |  |" for what, figure in asyncio.run(rows())), file=sys.stdout)


if __name__ == "__main__":
    main()
