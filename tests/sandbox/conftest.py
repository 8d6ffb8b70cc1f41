"""Fixtures of the pretend EHR's tests: the EHR in front of the sandbox's store, and a patient of this test alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from fhir_aftercare.sandbox.ehr import FhirStore
from sandbox.ehr_world import EhrWorld
from servers import SANDBOX_URL

if TYPE_CHECKING:
    from fhir_aftercare.sandbox.store import SandboxStore
    from servers import Server


@pytest.fixture
def world(sandbox_store: SandboxStore) -> EhrWorld:
    return EhrWorld(FhirStore(SANDBOX_URL, httpx.ASGITransport(sandbox_store)))


@pytest.fixture
async def patient(sandbox: Server) -> str:
    name = [{"family": "Rivera", "given": ["Ana"]}]
    made = await sandbox.client().create({"resourceType": "Patient", "name": name, "birthDate": "1988-03-04"})
    return str(made["id"])
