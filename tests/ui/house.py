"""The pages of a clinic whose EHR is the strict one of ``tests/smart``, and browsers that walk between the two.

    browser = house.browser()                       keeps cookies, follows redirects; ``house.browser(cookies=False)``
    page = await browser.launch(patient="7")        from a chart of the EHR to whatever the app shows at the end
    page = await browser.get("/app/l/…/")

The EHR's FHIR base is the sandbox store behind a check of the bearer token. No network; one clock for both sides.
"""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import httpx

from fhir_aftercare import __version__
from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.flows.context import Clinics
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.smart import BoundedHttp, ClientRegistration, Limits, Vault
from fhir_aftercare.store.database import Database
from fhir_aftercare.ui.asked import PAGE_SCOPES
from fhir_aftercare.ui.door import ClinicPages, Door, opened
from fhir_aftercare.ui.routes import ui_router
from flows.cases import LEFT, leaving, phq9, recording
from smart.clinic import Clock, Internet
from smart.strict_clients import Client
from smart.strict_server import StrictEhr
from world import START, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

    from servers import Server
    from world import World

APP = "https://app.example"
REDIRECT = f"{APP}/callback"
FRAMES = ("https://ehr.example", "https://portal.ehr.example")
WEEK_LATER = START + timedelta(days=7)
FHIR_JSON = "application/fhir+json"


class Wire(Internet):
    """The internet of ``tests/smart`` with a FHIR store behind the EHR's base. ``fhir`` lists what was asked of it."""

    def __init__(self, server: Server, *ehrs: StrictEhr) -> None:
        super().__init__(*ehrs)
        self._server, self._ehrs = server, {ehr.fhir_host: ehr for ehr in ehrs}
        self.fhir: list[httpx.Request] = []
        self.refuses: dict[str, int] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        ehr = self._ehrs.get(request.url.host)
        if ehr is None or "/.well-known/" in request.url.path:
            return await super().handle_async_request(request)
        self.fhir.append(request)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        held = ehr.access.get(token)
        if held is None or held["until"] <= ehr.clock():
            return httpx.Response(401, json={"resourceType": "OperationOutcome"}, headers={"content-type": FHIR_JSON})
        return await self._forward(ehr, request)

    async def _forward(self, ehr: StrictEhr, request: httpx.Request) -> httpx.Response:
        kept = {k: v for k, v in request.headers.items() if k not in {"host", "content-length", "authorization"}}
        url = str(request.url).replace(ehr.base, self._server.base_url)
        content = await request.aread()
        answer = await self._server.http.request(request.method, url, headers=kept, content=content)
        body: Any = json.loads(answer.text.replace(self._server.base_url, ehr.base))  # its links lead to the EHR
        if request.method == "POST":  # a batch, some of whose entries the EHR may refuse
            asked = [each["request"]["url"] for each in httpx.Response(200, content=content).json()["entry"]]
            for place, query in enumerate(asked):
                status = next((s for start, s in self.refuses.items() if query.startswith(start)), None)
                if status is not None:
                    body["entry"][place] = {"response": {"status": str(status)}}
        return httpx.Response(answer.status_code, json=body, headers={"content-type": FHIR_JSON})


@dataclass
class House:
    """One process of the service."""

    world: World
    ehr: StrictEhr
    wire: Wire
    clock: Clock
    app: FastAPI
    door: Door
    database: Database
    patients: dict[str, str] = field(default_factory=dict)

    def signs_in(self, person: str) -> None:
        """Have another person (a FHIR reference) sign in from now on; at first it is the nurse."""
        self.ehr.faults.claims["fhirUser"] = f"{self.ehr.base}/{person}"

    def browser(self, **options: Any) -> Browser:
        """Give a browser of its own: with a cookie jar, unless ``cookies=False``."""
        return Browser(self, **options)

    async def patient(self, name: str = "Rivera") -> str:
        """Make a patient with an infusion, a discharge and the PHQ-9 of a week later (item 9 answered), give the id.

        Once for each name.
        """
        if name not in self.patients:
            self.patients[name] = await self._patient(name)
        return self.patients[name]

    async def _patient(self, name: str) -> str:
        context = self.world.context
        self.world.clock.move_to(START)
        reference = await self.world.patient(name)
        encounter = await self.world.encounter(reference)
        self.world.clock.move_to(LEFT)
        await record_infusion(context, recording(self.world, reference, encounter))
        await discharge(context, leaving(self.world, reference, encounter))
        self.world.clock.move_to(WEEK_LATER)
        answers = phq9(WEEK_LATER, (2, 3, 3, 3, 2, 3, 2, 2, 1), source={"reference": reference})
        await receive_response(context, ResponseRequest(reference, answers))
        return reference.partition("/")[2]


@dataclass
class Browser:
    """What a person uses: follows redirects between the app and the EHR; ``seen`` are the addresses it has been at."""

    house: House
    cookies: bool = True
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        jar = CookieJar() if self.cookies else CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
        self.http = httpx.AsyncClient(
            transport=_Everywhere(self.house), cookies=jar, base_url=APP, follow_redirects=True, max_redirects=10
        )

    @property
    def cookie(self) -> str | None:
        """The app's cookie as it is now."""
        return self.http.cookies.get("__Host-aftercare")

    async def get(self, address: str, **options: Any) -> httpx.Response:
        return self._seen(await self.http.get(address, **options))

    async def post(self, address: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        """Send a form as a browser does from a page of the app; headers may be others or, with "", left out."""
        usual = {"sec-fetch-site": "same-origin", "origin": "null"}
        sent = {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self._seen(
            await self.http.post(address, data=fields, headers={k: v for k, v in sent.items() if v}),
        )

    async def launch(self, *, clinic: str | None = None, **chart: Any) -> httpx.Response:
        """Open the app from a chart and go wherever that leads."""
        return await self.get(self.launch_address(clinic=clinic, **chart))

    def launch_address(self, *, clinic: str | None = None, **chart: Any) -> str:
        query = {"iss": self.house.ehr.base, "launch": self.house.ehr.open_chart(**chart)}
        return f"/launch{f'/{clinic}' if clinic else ''}?{urlencode(query)}"

    async def until(self, address: str, stop: str) -> str:
        """Follow redirects up to the first address that begins with ``stop``, which is given and not visited."""
        at = address
        for _ in range(10):
            if at.startswith(stop):
                return at
            answer = await self.http.get(at, follow_redirects=False)
            assert answer.is_redirect, answer.text
            at = str(answer.next_request.url) if answer.next_request else ""
        raise AssertionError("too many redirects")

    async def sign_out(self, page: httpx.Response, **changes: str) -> httpx.Response:
        """Press "Sign out" on a page."""
        return await self.post(f"{base_of(page)}sign-out", {**form_of(page), **changes})

    def _seen(self, answer: httpx.Response) -> httpx.Response:
        self.seen += [str(each.url) for each in (*answer.history, answer)]
        return answer


def form_of(page: httpx.Response) -> dict[str, str]:
    """Give the hidden fields of a page's forms."""
    return dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]+)"', page.text))


def base_of(page: httpx.Response) -> str:
    """Give the address that all pages of a page's launch are below."""
    return f"/app/l/{launch_id_of(page)}/"


def launch_id_of(page: httpx.Response) -> str:
    found = re.match(r"/app/l/([A-Za-z0-9_-]{16,64})/", page.url.path)
    assert found, (page.url.path, page.status_code, page.text)
    return found[1]


class _Everywhere(httpx.AsyncBaseTransport):
    """The app under its own name, the EHR under its."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._app = httpx.ASGITransport(app=house.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == urlsplit(APP).hostname:
            return await self._app.handle_async_request(request)
        return await self._house.wire.handle_async_request(request)


def registration(ehr: StrictEhr, clinic: str = "harbor", **more: Any) -> ClientRegistration:
    """Register the app of a clinic on both sides."""
    client_id = f"app-of-{clinic}"
    ehr.register(Client(client_id, "public", (REDIRECT,)))
    values = {"scopes": PAGE_SCOPES, "redirect_uri": REDIRECT, "launch_url": f"{APP}/launch", **more}
    return ClientRegistration(clinic=clinic, iss=ehr.base, client_id=client_id, kind="public", **values)


@asynccontextmanager
async def house_of(
    server: Server,
    folder: Path,
    *,
    pages: dict[str, Any] | None = None,
    registered: dict[str, Any] | None = None,
    clock: Clock | None = None,
    vault: Vault | None = None,
    ehr: StrictEhr | None = None,
    world: World | None = None,
    patients: dict[str, str] | None = None,
) -> AsyncIterator[House]:
    """Run the pages of the clinic ``harbor``. ``pages`` are values of ClinicPages, ``registered`` of its registration.

    A second house with the same ``folder``, ``vault``, ``clock``, ``ehr`` and ``world`` is a second process.
    """
    clock = clock or Clock()
    ehr = ehr or StrictEhr(clock=clock.seconds)
    world = world or await make_world(server)
    ehr.faults.claims.setdefault("fhirUser", f"{ehr.base}/{world.nurse}")
    wire = Wire(server, ehr)
    async with AsyncExitStack() as running:
        smart = await running.enter_async_context(httpx.AsyncClient(transport=wire))
        fhir = await running.enter_async_context(httpx.AsyncClient(transport=wire))
        database = Database(f"sqlite:///{folder / 'aftercare.db'}")
        running.push_async_callback(database.close)
        await database.upgrade()
        own = replace(world.context, fhir=FhirClient(ehr.base, fhir))
        shown = ClinicPages(registration(ehr, **(registered or {})), **{"frame_ancestors": FRAMES, **(pages or {})})
        door = await running.enter_async_context(
            opened(
                [shown],
                Clinics({own.clinic.id: own}),
                database,
                vault or Vault([Vault.new_key()]),
                smart=BoundedHttp(smart, Limits(seconds=2)),
                fhir=fhir,
                now=clock,
            )
        )
        app = make_app("pages", __version__, Machinery(docs=False))
        app.include_router(ui_router())
        app.state.door = door
        yield House(world, ehr, wire, clock, app, door, database, {} if patients is None else patients)
