"""Three sites on this machine for a real browser: a pretend EHR, the app's pages, and a site that should not be there.

    http://ehr.localhost:…      the pretend EHR in front of the sandbox's store
    http://app.localhost:…      the pages of two clinics; ``quay`` lets launches be finished without a cookie
    http://evil.localhost:…     ``/?address=…`` shows any address in a frame; ``/cookie`` tells which cookie came back

All run in the loop of the tests, on free ports, with one clock that stands still until it is moved.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from fhir_aftercare import __version__
from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.demo.sites import listener, port_of, serving
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.flows.context import Clinics
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.sandbox.ehr import EhrClient, EhrSettings, EhrUser, FhirStore, Launch, LocalNames, create_ehr
from fhir_aftercare.smart import BoundedHttp, ClientRegistration, Vault
from fhir_aftercare.smart.http import new_client
from fhir_aftercare.store.database import Database
from fhir_aftercare.ui.asked import PAGE_SCOPES
from fhir_aftercare.ui.door import ClinicPages, Door, opened
from fhir_aftercare.ui.launching import CALLBACK
from fhir_aftercare.ui.routes import ui_router
from flows.cases import LEFT, leaving, phq9, recording
from servers import SANDBOX_URL
from smart.clinic import Clock
from ui.house import WEEK_LATER
from world import START, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from fhir_aftercare.sandbox.ehr import PretendEhr
    from fhir_aftercare.sandbox.store import SandboxStore
    from servers import Server
    from world import World

# The clinics, each with the name of its app at the EHR. The second lets launches be finished without a cookie.
CLINICS = {"harbor": "aftercare", "quay": "aftercare-without-cookies"}
COOKIE = "seen=yes; Path=/; Secure; SameSite=None"
# What the PHQ-9 of a patient comes to: the page shows no name where the chart around it does.
ANSWERS = {"Rivera": (2, 3, 3, 3, 2, 3, 2, 2, 1), "Chen": (1, 1, 1, 1, 1, 0, 0, 0, 0)}
SAYS = {name: f"{sum(answers)} on " for name, answers in ANSWERS.items()}


async def _frame(request: Request) -> HTMLResponse:
    """Put a strange page into a frame of ours."""
    address = escape(request.query_params["address"])
    return HTMLResponse(f'<!doctype html><title>Prizes</title><iframe name="app" src="{address}"></iframe>')


async def _cookie(request: Request) -> HTMLResponse:
    """Set a cookie as sites did before there were partitioned ones, and tell whether it came back."""
    seen = request.cookies.get("seen", "no")
    return HTMLResponse(f"<!doctype html><title>Cookie</title><p>Came back: {seen}", headers={"set-cookie": COOKIE})


def strange_site() -> Starlette:
    """Give the site that should not be there. It answers to every name."""
    return Starlette(routes=[Route("/", _frame), Route("/cookie", _cookie)])


@dataclass
class Stage:
    """All of it. Addresses are origins; ``door`` and ``app_answers`` are the app's, ``pretend`` is the EHR's memory."""

    world: World
    ehr: str
    app: str
    evil: str
    pretend: PretendEhr
    door: Door
    clock: Clock
    patients: dict[str, str] = field(default_factory=dict)

    def chart(self, patient: str, **more: str) -> str:
        """Give the address of a patient's chart, with the app in its frame."""
        return self.chart_of(self.patients[patient], **more)

    def chart_of(self, patient: str, **more: str) -> str:
        """Give it for the id of a patient."""
        return f"{self.ehr}/chart?{urlencode({'patient': patient, 'width': 'full', **more})}"

    def launch(self, patient: str) -> str:
        """Give the address the EHR would put into that frame."""
        return self.launch_of(self.patients[patient])

    def launch_of(self, patient: str | None, *, user: EhrUser | None = None, **more: Any) -> str:
        """Give it for the id of a patient; the nurse launches if nobody else does, ``more`` is what a Launch has."""
        nurse = self.pretend.settings.users[0]
        return self.pretend.launch_url(Launch(CLINICS["harbor"], user or nurse, patient, **more))

    async def add_patient(self, name: str) -> None:
        """Make a patient with an infusion, a discharge and the PHQ-9 of a week later."""
        world, context = self.world, self.world.context
        world.clock.move_to(START)
        reference = await world.patient(name)
        encounter = await world.encounter(reference)
        world.clock.move_to(LEFT)
        await record_infusion(context, recording(world, reference, encounter))
        await discharge(context, leaving(world, reference, encounter))
        world.clock.move_to(WEEK_LATER)
        answers = phq9(WEEK_LATER, ANSWERS[name], source={"reference": reference})
        await receive_response(context, ResponseRequest(reference, answers))
        self.patients[name] = reference.partition("/")[2]


def _pretend(origin: str, app: str, nurse: str, store: SandboxStore, clock: Clock) -> Any:
    asked = PAGE_SCOPES.for_launch(2, from_ehr=True)
    registered = tuple(
        EhrClient(
            client, "public", asked, f"Aftercare of {clinic}", redirect_uris=(f"{app}{CALLBACK}",),
            launch_url=f"{app}/launch/{clinic}", standalone_url=f"{app}/launch/{clinic}",
        )
        for clinic, client in CLINICS.items()
    )  # fmt: skip
    settings = EhrSettings(origin, registered, (EhrUser("nurse", "Ngozi Okafor, nurse", nurse),))
    return create_ehr(settings, FhirStore(SANDBOX_URL, httpx.ASGITransport(store)), now=clock.seconds)


@asynccontextmanager
async def _door(ehr: str, app: str, world: World, folder: Path, clock: Clock) -> AsyncIterator[Door]:
    async with (
        AsyncExitStack() as running,
        new_client(LocalNames()) as smart,
        httpx.AsyncClient(transport=LocalNames()) as fhir,
    ):
        database = Database(f"sqlite:///{folder / 'aftercare.db'}")
        running.push_async_callback(database.close)
        await database.upgrade()
        registered = [
            ClientRegistration(
                clinic=clinic, iss=f"{ehr}/fhir", client_id=client, kind="public", scopes=PAGE_SCOPES,
                redirect_uri=f"{app}{CALLBACK}", launch_url=f"{app}/launch/{clinic}",
                allow_cookieless_callback=clinic == "quay",
            )
            for clinic, client in CLINICS.items()
        ]  # fmt: skip
        own = replace(world.context, fhir=FhirClient(f"{ehr}/fhir", fhir), clock=clock)
        clinics = Clinics({name: replace(own, clinic=replace(own.clinic, id=name)) for name in CLINICS})
        pages = [ClinicPages(each, (ehr,)) for each in registered]
        vault = Vault([Vault.new_key()])
        yield await running.enter_async_context(
            opened(pages, clinics, database, vault, smart=BoundedHttp(smart), fhir=fhir, now=clock)
        )


@asynccontextmanager
async def stage_of(
    server: Server, store: SandboxStore, folder: Path, *, patients: Sequence[str] = ()
) -> AsyncIterator[Stage]:
    """Run the three sites, with patients in the store."""
    world, clock = await make_world(server), Clock()
    clock.time = WEEK_LATER
    async with AsyncExitStack() as running:
        taken = {name: running.enter_context(listener()) for name in ("ehr", "app", "evil")}
        origin = {name: f"http://{name}.localhost:{port_of(each)}" for name, each in taken.items()}
        ehr = _pretend(origin["ehr"], origin["app"], world.nurse, store, clock)
        door = await running.enter_async_context(_door(origin["ehr"], origin["app"], world, folder, clock))
        app = make_app("pages", __version__, Machinery(docs=False))
        app.include_router(ui_router())
        app.state.door = door
        await running.enter_async_context(ehr.router.lifespan_context(ehr))
        for each, name in ((ehr, "ehr"), (app, "app"), (strange_site(), "evil")):
            await running.enter_async_context(serving(each, taken[name]))
        made = Stage(world, **origin, pretend=ehr.state.ehr, door=door, clock=clock)
        for name in patients:
            await made.add_patient(name)
        yield made
