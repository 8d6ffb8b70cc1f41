"""The demo's clinic, as the story has it and as the service reads it from its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fhir_aftercare.clinic_file import read_clinic
from fhir_aftercare.demo import people
from fhir_aftercare.fhir.identifiers import Identifiers

if TYPE_CHECKING:
    from servers import Server

BASE = "https://fhir-aftercare.example.org/demo"


async def test_the_clinics_file_says_what_the_story_goes_by(sandbox: Server) -> None:
    clinic = await people.create_clinic(sandbox.client(), Identifiers(BASE))
    server = {"fhir_base_url": "http://ehr.localhost:8001/fhir", "smart": {"backend": {"client_id": 'a "service"'}}}
    read = read_clinic("demo", people.clinic_file(clinic, BASE, server))
    for name in ("id", "name", "zone", "organization", "phone", "call_hours", "policy", "owners", "language"):
        assert getattr(read.clinic, name) == getattr(clinic, name), name
    assert (read.fhir_base_url, read.identifier_base) == (server["fhir_base_url"], BASE)
    assert read.smart is not None
    assert read.smart.backend_id == 'a "service"'


async def test_the_staff_are_made_once(sandbox: Server) -> None:
    client, identifiers = sandbox.client(), Identifiers(BASE)
    for create in (people.create_nurse, people.create_prescriber):
        assert await create(client, identifiers) == await create(client, identifiers)
    assert await people.create_nurse(client, identifiers) != await people.create_prescriber(client, identifiers)
