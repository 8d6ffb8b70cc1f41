"""The sandbox's store by itself: what the contract suite, which also runs on HAPI, does not reach."""

from __future__ import annotations

import logging
import sys
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import ConfigFault, FhirNotFound, FhirRejected, FhirStale
from fhir_aftercare.sandbox.store import SandboxStore, create_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Server

BASE = "http://127.0.0.1:9/fhir"
TASK: dict[str, Any] = {"resourceType": "Task", "status": "requested", "intent": "plan"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SandboxStore]:
    store = create_store(tmp_path, BASE)
    yield store
    store.close()


def delete(reference: str) -> dict[str, Any]:
    return {"request": {"method": "DELETE", "url": reference}}


async def test_it_keeps_its_data_and_forgets_on_request(tmp_path: Path) -> None:
    first = create_store(tmp_path, BASE)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=first)) as http:
        made = await FhirClient(BASE, http).create(TASK)
    first.close()
    first.close()

    again = create_store(tmp_path, BASE)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=again)) as http:
        client = FhirClient(BASE, http)
        assert await client.read("Task", made["id"]) == made
        again.reset()
        with pytest.raises(FhirNotFound):
            await client.read("Task", made["id"])
    again.close()


@pytest.mark.parametrize("path", ["/", "/ui", "/auth/token", "/fhirx", "/api/docs"])
async def test_it_answers_below_fhir_only(store: SandboxStore, path: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=store)) as http:
        assert (await http.get(f"http://127.0.0.1:9{path}")).status_code == 404


async def test_the_lifespan_closes_it(tmp_path: Path) -> None:
    store = create_store(tmp_path, BASE)
    sent: list[str] = []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await store({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_it_leaves_logging_alone(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    create_store(tmp_path, BASE).close()
    assert (list(root.handlers), root.level) == before


def test_a_base_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault):
        create_store(tmp_path, "http://127.0.0.1:9/r4")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sekmet.main", None)
    with pytest.raises(ConfigFault, match=r"fhir-aftercare\[sandbox\]"):
        create_store(tmp_path, BASE)


class TestReferences:
    async def test_contained_ones_are_fine(self, sandbox: Server) -> None:
        contained = {"resourceType": "Patient", "id": "p"}
        made = await sandbox.client().create({**TASK, "contained": [contained], "for": {"reference": "#p"}})
        assert made["for"] == {"reference": "#p"}

    async def test_so_are_identifiers_without_reference(self, sandbox: Server) -> None:
        assert await sandbox.client().create({**TASK, "for": {"identifier": {"value": "1"}}})

    @pytest.mark.parametrize(
        "reference",
        [f"Patient?identifier={uuid.uuid4()}", uuid.uuid4().urn, "Nonsense/1", "https://x.example/Patient/1"],
    )
    async def test_others_are_refused(self, sandbox: Server, reference: str) -> None:
        with pytest.raises(FhirRejected):
            await sandbox.client().create({**TASK, "for": {"reference": reference}})

    async def test_a_conditional_one_is_resolved_in_a_transaction(self, sandbox: Server) -> None:
        client, value = sandbox.client(), str(uuid.uuid4())
        patient = await client.create({"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": value}]})
        task = {**TASK, "for": {"reference": f"Patient?identifier=urn:x|{value}"}}
        entry = {"resource": task, "request": {"method": "POST", "url": "Task"}}
        (answer,) = await client.transaction({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
        assert answer.resource
        assert answer.resource["for"]["reference"] == f"Patient/{patient['id']}"

    async def test_an_update_is_looked_at_too(self, sandbox: Server) -> None:
        client = sandbox.client()
        made = await client.create(TASK)
        with pytest.raises(FhirRejected):
            await client.update({**made, "for": {"reference": "Patient/nobody"}}, if_match=made["meta"]["versionId"])

    async def test_both_ends_may_go_together(self, sandbox: Server) -> None:
        client = sandbox.client()
        patient = await client.create({"resourceType": "Patient"})
        task = await client.create({**TASK, "for": {"reference": f"Patient/{patient['id']}"}})
        alone = [delete(f"Patient/{patient['id']}")]
        both = [delete(f"Patient/{patient['id']}"), delete(f"Task/{task['id']}")]
        with pytest.raises(FhirStale):
            await client.transaction({"resourceType": "Bundle", "type": "transaction", "entry": alone})
        await client.transaction({"resourceType": "Bundle", "type": "transaction", "entry": both})


class TestCodes:
    @pytest.mark.parametrize("status", ["rejected", "ready", "in-progress", "on-hold", "failed", "entered-in-error"])
    async def test_every_status_of_a_task_is_known(self, sandbox: Server, status: str) -> None:
        assert (await sandbox.client().create({**TASK, "status": status}))["status"] == status

    async def test_a_code_deep_inside_is_looked_at(self, sandbox: Server) -> None:
        with pytest.raises(FhirRejected) as caught:
            await sandbox.client().create({**TASK, "identifier": [{"use": "nonsense", "value": "1"}]})
        assert caught.value.outcome
        assert caught.value.outcome["issue"][0]["expression"] == ["Task.identifier.use"]
