"""The running service with every door open: what comes in by any of them is kept, done, and seen on the FHIR server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hl7.mllp import open_hl7_connection

from fhir_aftercare.config import Settings
from fhir_aftercare.door_settings import DoorSettings
from fhir_aftercare.fhir import terms
from fhir_aftercare.flows.context import Clinics
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.intake.cds_settings import CdsClient, CdsSettings
from fhir_aftercare.intake.hl7v2_settings import Hl7Settings, Sender
from fhir_aftercare.intake.settings import SubscriptionSettings
from fhir_aftercare.sandbox.store import create_store
from fhir_aftercare.service import create_app
from flows.cases import LEFT, of_patient, recording, visit
from servers import Server, free_port
from world import NEW_YORK, START, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from world import World

BASE = "http://hospital.localhost/fhir"
SECRET = "a-secret-of-this-test-alone"
VISITS, PEOPLE = "https://ehr.example.org/visits", "https://ehr.example.org/people"
DOORS = DoorSettings(
    subscription=SubscriptionSettings(secrets=(SECRET,)),
    cds_hooks=CdsSettings(
        public_url="https://aftercare.example.org",
        launch_url="https://aftercare.example.org/launch",
        clients=(CdsClient("https://ehr.example.org", ("https://ehr.example.org/jwks.json",)),),
        open_discovery=True,
    ),
    hl7v2=Hl7Settings((Sender("ADT", "HARBOR", NEW_YORK, {"H": PEOPLE}, {"H": VISITS}),)),
)


@dataclass
class Running:
    """The service, and the FHIR server behind it."""

    world: World
    http: httpx.AsyncClient
    mllp_port: int

    async def infused(self, number: str) -> tuple[str, str]:
        """Give a patient whose visit has ended, known to the hospital by ``number``."""
        patient, encounter = await visit(self.world, identifier=[{"system": VISITS, "value": number}])
        await record_infusion(self.world.context, recording(self.world, patient, encounter))
        client = self.world.server.client()
        there = await client.read(*encounter.split("/"))
        ended = {**there, "status": "finished", "period": {"start": START.isoformat(), "end": LEFT.isoformat()}}
        await client.update(ended, if_match=there["meta"]["versionId"])
        return patient, encounter


async def has_plan(world: World, patient: str) -> None:
    """Wait until the patient has an active infusion plan."""
    category = f"{terms.INFUSION_PLAN.system}|{terms.INFUSION_PLAN.code}"
    async with asyncio.timeout(20):
        while True:
            plans = await of_patient(world, "CarePlan", patient, category=category)
            if [each["status"] for each in plans] == ["active"]:
                return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def service(server: Server, folder: Path) -> AsyncIterator[Running]:
    world = await make_world(server, now=LEFT)
    port = free_port()

    @asynccontextmanager
    async def opening(_: Any) -> AsyncIterator[Clinics]:
        yield Clinics({"harbor": world.context})

    given: dict[str, Any] = {"metrics_port": 0, "mllp_port": port, "sweep_minutes": 60}
    settings = Settings(database_url=f"sqlite:///{folder / 'aftercare.db'}", **given)
    app = create_app(settings, clock=world.clock, opening=opening, doors={"harbor": DOORS})
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api.localhost") as http,
    ):
        yield Running(world, http, port)


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Server]:
    """A FHIR server of its own: a sweep on starting finds everybody's patients."""
    store = create_store(tmp_path / "store", BASE)
    async with Server.reached("hospital", BASE, store) as server:
        yield server
    store.close()


@pytest.fixture
async def running(hospital: Server, tmp_path: Path) -> AsyncIterator[Running]:
    async with service(hospital, tmp_path) as found:
        yield found


async def test_a_signal_by_rest_is_kept_followed_and_counted(running: Running) -> None:
    patient, encounter = await running.infused("V1")
    body = {"event": "adt-1", "encounter": encounter, "patient": patient, "occurred_at": LEFT.isoformat()}
    answer = await running.http.post("/v1/clinics/harbor/signals", json=body)
    assert (answer.status_code, answer.json()["new"]) == (202, True)
    await has_plan(running.world, patient)
    again = await running.http.post("/v1/clinics/harbor/signals", json=body)
    assert (again.status_code, again.json()["new"]) == (202, False)
    for _ in range(200):
        left = (await running.http.get("/v1/clinics/harbor/work")).json()
        if left == {"waiting": 0, "running": 0, "refused": 0}:
            break
        await asyncio.sleep(0.1)
    assert left == {"waiting": 0, "running": 0, "refused": 0}


async def test_a_subscriptions_notification_is_followed_and_a_strangers_is_not(running: Running) -> None:
    patient, encounter = await running.infused("V2")
    resource = await running.world.server.client().read(*encounter.split("/"))
    url, headers = f"/hooks/harbor/subscription/{encounter}", {"content-type": "application/fhir+json"}
    refused = await running.http.put(url, json=resource, headers=headers)
    assert refused.status_code == 401
    taken = await running.http.put(url, json=resource, headers={**headers, "X-Aftercare-Secret": SECRET})
    assert (taken.status_code, taken.json()["resourceType"]) == (200, "OperationOutcome")
    await has_plan(running.world, patient)


async def test_an_adt_message_is_acknowledged_and_followed(running: Running) -> None:
    patient, _ = await running.infused("V3")
    at = LEFT.strftime("%Y%m%d%H%M%S%z")
    message = "\r".join(
        (
            f"MSH|^~\\&|ADT|HARBOR|AFTERCARE|HARBOR|{at}||ADT^A03^ADT_A03|77|P|2.5.1",
            f"EVN|A03|{at}|||{at}",
            "PID|1||M1^^^H||Test^Test",
            "PV1|1|O|||||||||||||||||V3^^^H" + "|" * 26 + at,
            "",
        )
    )
    async with asyncio.timeout(20):
        reader, writer = await open_hl7_connection("127.0.0.1", running.mllp_port)
        writer.writemessage(message)
        await writer.drain()
        answer = await reader.readmessage()
        writer.close()
    assert str(answer.segment("MSA")[1]) == "AA"
    await has_plan(running.world, patient)


async def test_cds_hooks_are_offered_and_a_call_without_a_token_is_refused(running: Running) -> None:
    found = await running.http.get("/cds/harbor/cds-services")
    (offered,) = found.json()["services"]
    assert offered["hook"] == "encounter-discharge"
    refused = await running.http.post(f"/cds/harbor/cds-services/{offered['id']}", json={"hook": "encounter-discharge"})
    assert refused.status_code == 401


async def test_what_nobody_told_is_found_on_starting(hospital: Server, tmp_path: Path) -> None:
    async with service(hospital, tmp_path) as first:
        patient, _ = await first.infused("V4")
        world = first.world

    @asynccontextmanager
    async def opening(_: Any) -> AsyncIterator[Clinics]:
        yield Clinics({"harbor": world.context})

    settings = Settings(database_url=f"sqlite:///{tmp_path / 'aftercare.db'}", metrics_port=0)
    app = create_app(settings, clock=world.clock, opening=opening)
    async with app.router.lifespan_context(app):
        await has_plan(world, patient)


async def test_a_service_without_work_says_that_it_takes_no_signals(sandbox: Server, tmp_path: Path) -> None:
    world = await make_world(sandbox)

    @asynccontextmanager
    async def opening(_: Any) -> AsyncIterator[Clinics]:
        yield Clinics({"harbor": world.context})

    settings = Settings(database_url=f"sqlite:///{tmp_path / 'aftercare.db'}", metrics_port=0, work=False)
    app = create_app(settings, opening=opening)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api.localhost") as http,
    ):
        answer = await http.post("/v1/clinics/harbor/signals", json={"event": "1", "encounter": "Encounter/1"})
        assert (answer.status_code, answer.json()["where"]) == (404, ["AFTERCARE_WORK"])
