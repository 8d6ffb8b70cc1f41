"""The Bruno collection tells the main job: run as it is, on the real service as a process, beside the sandbox store."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from fhir_aftercare.sandbox.store import create_store
from npm import installed
from openapi.document import operations
from openapi.loopback import served
from servers import ServerFailed, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "openapi" / "bruno"
CLINIC = ROOT / "deploy" / "clinics" / "example.toml"
SET_UP = "2-set-up"
BLOCK = re.compile(r"^([a-z-]+(?::[a-z-]+)?) \{\n(.*?)^\}$", re.MULTILINE | re.DOTALL)
START_SECONDS = 30.0


@pytest.fixture(scope="module")
def bru() -> Path:
    """Bruno's command line."""
    return installed(COLLECTION, "The Bruno collection") / "node_modules" / ".bin" / "bru"


@contextmanager
def service(folder: Path, fhir_url: str) -> Iterator[str]:
    """Run ``fhir-aftercare serve`` for the clinic of deploy/clinics, on a server, as whoever follows the README."""
    port = free_port()
    clinics = folder / "clinics"
    clinics.mkdir()
    text = CLINIC.read_text("utf-8").replace("http://127.0.0.1:8080/fhir", fhir_url)
    assert fhir_url in text
    (clinics / CLINIC.name).write_text(text, "utf-8")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AFTERCARE_")},
        "AFTERCARE_CLINICS": str(clinics),
        "AFTERCARE_PORT": str(port),
        "AFTERCARE_METRICS_PORT": "0",
        "AFTERCARE_DATABASE_URL": f"sqlite:///{folder / 'aftercare.db'}",
    }
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [ROOT / ".venv" / "bin" / "fhir-aftercare", "serve"], env=environment, stdout=log, stderr=log
        )
        try:
            _wait(f"http://127.0.0.1:{port}/readyz", process, folder / "service.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise ServerFailed(f"The service did not start:\n{log.read_text('utf-8', 'replace')[-3000:]}")


@pytest.mark.node
def test_the_collection_does_the_main_job_on_the_real_service(bru: Path, tmp_path: Path) -> None:
    port = free_port()
    fhir_url = f"http://127.0.0.1:{port}/fhir"
    store = create_store(tmp_path / "store", fhir_url)
    try:
        with served(store, port), service(tmp_path, fhir_url) as base_url:
            report = tmp_path / "report.json"
            ran = subprocess.run(
                [
                    bru, "run", "-r", "--env", "sandbox", "--env-var", f"baseUrl={base_url}",
                    "--env-var", f"fhirUrl={fhir_url}", "--reporter-json", report,
                ],
                cwd=COLLECTION, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
    finally:
        store.close()
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    (run,) = json.loads(report.read_text("utf-8"))
    told = [each["test"]["filename"] for each in run["results"]]
    assert len(told) == len(requests())
    assert run["summary"]["failedRequests"] == run["summary"]["failedAssertions"] == 0
    assert run["summary"]["passedAssertions"] >= 3 * len(told)


# --- what is in the collection ---------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Bru:
    """One request of the collection: its blocks by name."""

    path: Path
    blocks: dict[str, str]

    @property
    def method(self) -> str:
        """The HTTP method."""
        return next(name for name in self.blocks if name in {"get", "post", "put", "patch", "delete"})

    @property
    def url(self) -> str:
        """The address, with its variables."""
        found = re.search(r"url: (\S+)", self.blocks[self.method])
        assert found
        return found[1]


def requests() -> list[Bru]:
    """Give the requests of the collection."""
    found = []
    for path in sorted(COLLECTION.glob("*/*.bru")):
        if path.name != "folder.bru" and path.parent.name != "environments":
            blocks = re.findall(
                r"^([a-z-]+(?::[a-z-]+)?) \{\n(.*?)^\}$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL
            )
            found.append(Bru(path, dict(blocks)))
    return found


def test_every_operation_is_there_once_under_its_name_with_assertions_on_status_and_shape() -> None:
    document: dict[str, Any] = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text("utf-8"))
    known = operations(document)
    own = {each.path.stem: each for each in requests() if each.path.parent.name != SET_UP}
    assert own.keys() == known.keys()
    for name, each in own.items():
        operation = known[name]
        assert each.method == operation.method
        told = each.url.removeprefix("{{baseUrl}}")
        assert re.fullmatch(re.sub(r"\\{[a-z]+\\}", r"\\{\\{[a-z]+\\}\\}", re.escape(operation.path)), told), name
        asserted = each.blocks["assert"]
        assert "res.status: eq 20" in asserted, name
        assert len(re.findall(r"^  res\.(?:body|headers)", asserted, re.MULTILINE)) >= 1, name
        if operation.method == "post" and "Idempotency-Key" in str(operation.definition.get("parameters")):
            assert "Idempotency-Key: {{$guid}}" in each.blocks["headers"], name


def test_the_collection_holds_no_secret_and_no_address_but_this_machines() -> None:
    for path in COLLECTION.rglob("*.bru"):
        text = path.read_text("utf-8")
        assert not re.search(r"token|password|secret|bearer", text, re.IGNORECASE), path
        hosts = set(re.findall(r"https?://([^/\s\"{}]+)", text))
        assert hosts <= {"127.0.0.1:8000", "127.0.0.1:8080", "loinc.org", "fhir-aftercare.example.org",
                         "terminology.hl7.org"}, path  # fmt: skip
