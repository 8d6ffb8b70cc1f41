"""A FHIR server that answers at once and remembers nothing: what is left is our own time and memory.

    uvicorn bench.instant:app

Knows a batch of reads for an open encounter, and a transaction in which everything is new. With INSTANT_FINISHED the
encounters have ended and hold an infusion; INSTANT_LATENCY is how many milliseconds each answer takes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from fhir_aftercare.fhir import terms

if TYPE_CHECKING:
    from collections.abc import Mapping

Resource = dict[str, Any]

PATIENT = {"resourceType": "Patient", "birthDate": "1988-03-04"}
ENCOUNTER = {
    "resourceType": "Encounter",
    "status": "in-progress",
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
}
LATENCY = float(os.environ.get("INSTANT_LATENCY", "0")) / 1000
ENDED = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
if os.environ.get("INSTANT_FINISHED"):
    ENCOUNTER |= {"status": "finished", "period": {"end": ENDED.isoformat()}}
_numbers = itertools.count(1)


def _drug(encounter: str) -> Resource:
    """Give the record of the infusion of an encounter."""
    given = {"start": (ENDED - timedelta(hours=2)).isoformat(), "end": (ENDED - timedelta(minutes=80)).isoformat()}
    return {
        "resourceType": "MedicationAdministration",
        "id": f"of-{encounter}",
        "status": "completed",
        "medicationCodeableConcept": {"coding": [terms.KETAMINE_RXNORM.coding()]},
        "context": {"reference": f"Encounter/{encounter}"},
        "effectivePeriod": given,
    }


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
        found: Resource = {"resourceType": "Bundle", "type": "searchset", "total": 0}
        if request["url"].startswith("MedicationAdministration?context=") and ENCOUNTER["status"] == "finished":
            record = _drug(request["url"].partition("Encounter/")[2].partition("&")[0])
            found |= {"total": 1, "entry": [{"resource": record, "search": {"mode": "match"}}]}
        return {"response": {"status": "200"}, "resource": found}
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
    if LATENCY:
        await asyncio.sleep(LATENCY)
    headers = [(b"content-type", b"application/fhir+json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer(content) if content else b"{}"})
