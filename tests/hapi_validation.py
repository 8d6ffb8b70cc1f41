"""What a real FHIR server says of a resource against our profiles ($validate of HAPI)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fhir_aftercare.fhir import exact_json
from profiles.lock import read

if TYPE_CHECKING:
    from servers import Server

UPLOADED = ("CodeSystem", "ValueSet", "StructureDefinition", "Questionnaire")
# HAPI asks for the package hl7.fhir.r4.core when it makes a snapshot of any extension, and has none.
HAPI_CANNOT = "Unable to resolve package id hl7.fhir.r4.core"


async def upload_profiles(hapi: Server) -> None:
    """Put our profiles, value sets, code systems and forms on the server."""
    artefacts = read()
    for kind in UPLOADED:
        for resource in artefacts.values():
            if resource["resourceType"] == kind:
                answer = await hapi.http.put(f"{hapi.base_url}/{kind}/{resource['id']}", json=resource)
                assert answer.status_code in {200, 201}, answer.text


async def faults(server: Server, resource: dict[str, Any]) -> list[str]:
    """Give what $validate calls an error, each as "location: words"."""
    address = f"{server.base_url}/{resource['resourceType']}/$validate"
    content, headers = exact_json.dumps(resource), {"Content-Type": "application/fhir+json"}
    answer = await server.http.post(address, content=content, headers=headers)
    return [
        f"{', '.join(issue.get('location', []))}: {issue['diagnostics']}"
        for issue in answer.json()["issue"]
        if issue["severity"] in {"error", "fatal"}
        and not (HAPI_CANNOT in issue["diagnostics"] and resource.get("type") == "Extension")
    ]
