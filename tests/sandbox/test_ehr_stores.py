"""The pretend EHR stands before the sandbox's store and before HAPI alike: pages, paging, conditions, Bundles."""

from __future__ import annotations

import asyncio
import socket
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import FhirStale, FhirUnauthorized
from fhir_aftercare.sandbox.ehr import EhrSettings, FhirStore, LocalNames, create_ehr
from fhir_aftercare.smart import SessionTokens
from sandbox.ehr_world import BASE, NURSE, ORIGIN, EhrWorld
from servers import SANDBOX_URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fhir_aftercare.sandbox.store import SandboxStore
    from servers import Server


@pytest.fixture
async def fronted(server: Server, fhir_base: tuple[str, str, Any]) -> AsyncIterator[EhrWorld]:
    _, url, store = fhir_base
    world = EhrWorld(FhirStore(url, httpx.ASGITransport(store) if store else None))
    async with world.app.router.lifespan_context(world.app):
        yield world


@pytest.fixture
async def someone(server: Server) -> str:
    name = [{"family": f"Rivera {uuid.uuid4().hex[:8]}"}]
    return str((await server.client().create({"resourceType": "Patient", "name": name}))["id"])


async def user(world: EhrWorld, patient: str) -> FhirClient:
    clinic = world.clinic("public")
    arrived = await clinic.sign_in(patient)
    return FhirClient(BASE, world.http, token=SessionTokens(clinic.sessions, arrived.launch_id))


def plan(patient: str, **more: Any) -> dict[str, Any]:
    subject = {"reference": f"Patient/{patient}"}
    return {"resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": subject, **more}


async def test_our_client_pages_through_the_ehr_and_never_leaves_it(fronted: EhrWorld, someone: str) -> None:
    fhir = await user(fronted, someone)
    for _ in range(3):
        await fhir.create(plan(someone))
    found = [each async for each in fhir.search("CarePlan", {"patient": f"Patient/{someone}", "_count": "1"})]
    assert len(found) == 3
    hosts = {each.url.host for each in fronted.hosts.requests}
    assert hosts == {"ehr.localhost"}


async def test_conditions_and_versions_are_the_stores(fronted: EhrWorld, someone: str) -> None:
    fhir = await user(fronted, someone)
    value = str(uuid.uuid4())
    body, query = plan(someone, identifier=[{"system": "urn:x", "value": value}]), f"identifier=urn:x|{value}"
    made = await fhir.create(body, if_none_exist=query)
    assert (await fhir.create(body, if_none_exist=query))["id"] == made["id"]
    await fhir.update({**made, "status": "completed"}, if_match=made["meta"]["versionId"])
    with pytest.raises(FhirStale):
        await fhir.update({**made, "status": "revoked"}, if_match=made["meta"]["versionId"])


async def test_bundles_are_judged_entry_by_entry(fronted: EhrWorld, someone: str) -> None:
    fhir = await user(fronted, someone)
    entry = {"fullUrl": uuid.uuid4().urn, "resource": plan(someone), "request": {"method": "POST", "url": "CarePlan"}}
    made = await fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    assert made.entries[0].resource
    answers = await fhir.batch([f"Patient/{someone}", f"Encounter?patient={someone}", f"CarePlan?patient={someone}"])
    assert [answer.status for answer in answers] == [200, 403, 200]
    with pytest.raises(FhirUnauthorized):
        await fhir.transaction(
            {"resourceType": "Bundle", "type": "transaction", "entry": [entry, {
                "resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"},
            }]}
        )  # fmt: skip


async def test_patient_scopes_stay_with_the_patient(fronted: EhrWorld, server: Server, someone: str) -> None:
    other = str((await server.client().create({"resourceType": "Patient"}))["id"])
    held = (await fronted.tokens(someone, "launch patient/Patient.rs patient/Task.cruds"))["access_token"]
    task = {"resourceType": "Task", "status": "requested", "intent": "plan"}
    for patient, status in ((someone, 201), (other, 403)):
        body = {**task, "for": {"reference": f"Patient/{patient}"}}
        assert (await fronted.fhir("POST", "Task", held, json=body)).status_code == status
    found = (await fronted.fhir("GET", "Task", held, headers={"Cache-Control": "no-cache"})).json()
    assert {each["resource"]["for"]["reference"] for each in found["entry"]} == {f"Patient/{someone}"}
    assert (await fronted.fhir("GET", f"Patient/{other}", held)).status_code == 403


async def test_the_start_page_lists_the_stores_patients(fronted: EhrWorld, server: Server, someone: str) -> None:
    name = (await server.client().read("Patient", someone))["name"][0]["family"]
    start = await fronted.http.get(f"{ORIGIN}/")
    assert name in start.text
    chart = await fronted.http.get(f"{ORIGIN}/chart", params={"patient": someone})
    assert chart.status_code == 200


async def test_it_is_reached_by_its_name_on_a_port_of_this_machine(sandbox_store: SandboxStore) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    origin = f"http://ehr.localhost:{port}"
    settings = EhrSettings(origin=origin, clients=(), users=(NURSE,))
    app = create_ehr(settings, FhirStore(SANDBOX_URL, httpx.ASGITransport(sandbox_store)))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    async with asyncio.timeout(10), httpx.AsyncClient(transport=LocalNames()) as http:
        found = await http.get(f"{origin}/fhir/.well-known/smart-configuration")
        assert found.json()["issuer"] == f"{origin}/auth"
        assert (await http.get(f"http://127.0.0.1:{port}/fhir/metadata")).status_code == 421
    server.should_exit = True
    await running
