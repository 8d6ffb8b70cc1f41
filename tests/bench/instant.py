"""A FHIR server that answers at once and remembers nothing: what is left is our own time and memory.

    uvicorn bench.instant:app

Knows a batch of reads for an open encounter, and a transaction in which everything is new.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

Resource = dict[str, Any]

PATIENT = {"resourceType": "Patient", "birthDate": "1988-03-04"}
ENCOUNTER = {
    "resourceType": "Encounter",
    "status": "in-progress",
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
}
_numbers = itertools.count(1)


def answer(content: bytes) -> bytes:
    """Give the answer to a Bundle."""
    bundle: Resource = orjson.loads(content)
    entries = [_entry(entry["request"], bundle["entry"]) for entry in bundle["entry"]]
    return orjson.dumps({"resourceType": "Bundle", "type": f"{bundle['type']}-response", "entry": entries})


def _entry(request: Mapping[str, str], entries: list[Resource]) -> Resource:
    type_, _, rest = request["url"].partition("/")
    if request["method"] != "GET":
        place = f"{type_.partition('?')[0]}/{next(_numbers)}/_history/1"
        return {"response": {"status": "201", "location": place, "etag": 'W/"1"'}}
    if not rest or "?" in request["url"]:
        return {"response": {"status": "200"}, "resource": {"resourceType": "Bundle", "type": "searchset", "total": 0}}
    resource = {"id": rest, "meta": {"versionId": "1"}, **(PATIENT if type_ == "Patient" else ENCOUNTER)}
    if type_ == "Encounter":
        patient = next(each["request"]["url"] for each in entries if each["request"]["url"].startswith("Patient/"))
        resource["subject"] = {"reference": patient}
    return {"response": {"status": "200"}, "resource": resource}


async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
    """Serve one ASGI connection."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    content = b""
    while True:
        message = await receive()
        content += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = [(b"content-type", b"application/fhir+json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer(content) if content else b"{}"})
