"""Writes profiles/examples/Bundle-course-*.json: one whole course, told by the flows themselves on the sandbox.

    PYTHONPATH=tests python tests/profiles/make_examples.py

Each Bundle holds what one step wrote, as it stood after that step: a first infusion on the night the clocks change, its
discharge, a corrected value, the answers of the week, a second infusion that moves the tail, and a third one that was
recorded on the wrong patient and taken back. Ids are made readable, so that the files tell the story by themselves.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhir.resources.R4B import get_fhir_model_class

from fhir_aftercare.bootstrap import shipped_protocol
from fhir_aftercare.care.correction import Change
from fhir_aftercare.fhir import exact_json, tasks, terms
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.flows.correct import correct_infusion
from fhir_aftercare.flows.correction_request import CorrectionRequest
from fhir_aftercare.flows.discharge import DischargeRequest, discharge
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.record_infusion import RecordRequest, record_infusion
from fhir_aftercare.sandbox.store import create_store
from flows.cases import SAM, check_in, phq9, record
from profiles.lock import EXAMPLES, read
from servers import SANDBOX_URL, Server
from world import NEW_YORK, make_clinic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fhir_aftercare.ehr.client import FhirClient

Resource = dict[str, Any]

BASE = "https://clinic.example.com"
PATIENT, NURSE, CLINIC = "Patient/ana", "Practitioner/nurse", "Organization/clinic"
TYPES = (
    "Encounter", "MedicationAdministration", "Observation", "CarePlan", "Goal", "ServiceRequest", "Task",
    "QuestionnaireResponse",
)  # fmt: skip
# E is 15:45 on the day before the clocks change: 24 hours later it is 16:45.
FIRST = datetime(2026, 3, 7, 15, 5, tzinfo=NEW_YORK)
SECOND = FIRST + timedelta(days=9)
THIRD = FIRST + timedelta(days=13)


class Story:
    """Runs the steps and keeps what each one wrote."""

    def __init__(self, client: FhirClient) -> None:
        self.client, self.clock = client, SettableClock(FIRST)
        self.context = ClinicContext(
            make_clinic(CLINIC), client, shipped_protocol(), Identifiers(BASE), clock=self.clock
        )
        self._seen: dict[str, str] = {}
        self._names: dict[str, str] = {}

    async def encounter(self, name: str, start: datetime) -> str:
        """Begin an encounter under a readable id."""
        await self.put(
            {
                "resourceType": "Encounter",
                "id": name,
                "status": "in-progress",
                "class": terms.AMBULATORY.coding(),
                "subject": {"reference": PATIENT},
                "period": {"start": tasks.instant(start)},
            }
        )
        return f"Encounter/{name}"

    async def put(self, resource: Resource) -> None:
        """Put a resource with an id of its own on the server."""
        address = f"{resource['resourceType']}/{resource['id']}"
        entry = {"fullUrl": address, "resource": resource, "request": {"method": "PUT", "url": address}}
        await self.client.transaction({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
        self._names[address] = address

    async def changed(self) -> list[Resource]:
        """Give what the step before has written, in an order that can be read."""
        found: list[Resource] = []
        for type_ in TYPES:
            for each in (await self.client.search_all(type_, {"patient": PATIENT})).matches:
                found += [each] if self._is_new(each) else []
        for each in list(found):
            address = f"{each['resourceType']}/{each['id']}"
            for told in (await self.client.search_all("Provenance", {"target": address})).matches:
                found += [told] if self._is_new(told) else []
        devices = await self.client.search_all("Device", {})
        found += [each for each in devices.matches if self._is_new(each)]
        for each in found:
            self._name(each)
        return found

    def _is_new(self, resource: Resource) -> bool:
        address, version = f"{resource['resourceType']}/{resource['id']}", resource["meta"]["versionId"]
        new = self._seen.get(address) != version
        self._seen[address] = version
        return new

    def _name(self, resource: Resource) -> None:
        address = f"{resource['resourceType']}/{resource['id']}"
        if address not in self._names:
            words = _words(resource)
            taken = sum(name.startswith(f"{resource['resourceType']}/course-{words}-") for name in self._names.values())
            self._names[address] = f"{resource['resourceType']}/course-{words}-{taken + 1}"

    def readable(self, resource: Resource) -> Resource:
        """Give a resource with readable ids, in the order of the specification, as a file would hold it."""
        text = exact_json.dumps(resource).decode()
        for address, name in self._names.items():
            text = text.replace(f'"{address}"', f'"{name}"')
        found: Resource = json.loads(text)
        found["id"] = self._names[f"{resource['resourceType']}/{resource['id']}"].partition("/")[2]
        meta = {k: v for k, v in found.get("meta", {}).items() if k in {"profile", "tag", "security"}}
        for tag in meta.get("tag", []):
            tag["code"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{BASE}/{found['id']}"))
        found["meta"] = meta
        if not meta:
            del found["meta"]
        return _in_order(found)


def _words(resource: Resource) -> str:
    kind = resource["resourceType"]
    concept = resource.get("code") or resource.get("description") or {}
    text = concept.get("text") if isinstance(concept, dict) else None
    if kind == "CarePlan":
        text = resource["category"][1]["text"].split()[1]
    elif kind == "Task" and tasks.asks_for(resource):
        text = str(tasks.asks_for(resource)).rpartition("/")[2]
    elif kind == "QuestionnaireResponse":
        text = str(resource.get("questionnaire")).rpartition("/")[2]
    elif kind in {"Provenance", "Device", "MedicationAdministration"}:
        text = {"Provenance": "decision", "Device": "software"}.get(kind, "infusion")
    return "-".join(re.findall(r"[a-z0-9]+", str(text).lower())[:4])


def _in_order(resource: Resource) -> Resource:
    model = get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    return _sorted(resource, json.loads(model.model_dump_json()))


def _sorted(ours: Any, modelled: Any) -> Any:
    if isinstance(ours, dict):
        return {name: _sorted(ours[name], modelled[name]) for name in modelled if name in ours}
    if isinstance(ours, list):
        return [_sorted(one, other) for one, other in zip(ours, modelled, strict=True)]
    return ours


async def _prepare(story: Story) -> None:
    for name in ("Organization-clinic", "Practitioner-nurse", "Patient-ana"):
        await story.put(read(EXAMPLES)[f"{name}.json"])
    story.clock.move_to(FIRST - timedelta(days=1))
    answers = phq9(FIRST - timedelta(days=1), (2, 2, 2, 3, 2, 2, 2, 1, 0), source={"reference": PATIENT})
    await receive_response(story.context, ResponseRequest(PATIENT, answers))


async def _first_infusion(story: Story) -> None:
    story.clock.move_to(FIRST + timedelta(minutes=125))
    encounter = await story.encounter("course-visit-1", FIRST)
    sheet = record(FIRST, recorded_by=NURSE)
    await record_infusion(story.context, RecordRequest(PATIENT, encounter, sheet, person=NURSE))


async def _first_discharge(story: Story) -> None:
    left = FIRST + timedelta(minutes=130)
    story.clock.move_to(left)
    await discharge(
        story.context,
        DischargeRequest(
            PATIENT, "Encounter/course-visit-1", left, mode="ask", escort="present", escort_person=SAM, person=NURSE
        ),
    )


async def _correction(story: Story) -> None:
    story.clock.move_to(FIRST + timedelta(minutes=150))
    sheet = record(FIRST, recorded_by=NURSE)
    checks = (sheet.checks[0], replace(sheet.checks[1], systolic=164), *sheet.checks[2:])
    await record_infusion(
        story.context,
        RecordRequest(
            PATIENT, "Encounter/course-visit-1", replace(sheet, checks=checks), person=NURSE, reason="Misread: 164"
        ),
    )


async def _week(story: Story) -> None:
    next_day, day_7 = FIRST + timedelta(days=1, hours=-5), FIRST + timedelta(days=7)
    source = {"source": {"reference": PATIENT}}
    story.clock.move_to(next_day)
    worse = {**check_in(next_day, {"feels-worse": {"valueBoolean": True}, "slept": {"valueBoolean": True}}), **source}
    await receive_response(story.context, ResponseRequest(PATIENT, worse))
    story.clock.move_to(day_7)
    await receive_response(story.context, ResponseRequest(PATIENT, phq9(day_7, (1, 1, 1, 1, 1, 1, 1, 0, 0), **source)))


async def _second_infusion(story: Story) -> None:
    left = SECOND + timedelta(minutes=130)
    story.clock.move_to(left)
    encounter = await story.encounter("course-visit-2", SECOND)
    await discharge(
        story.context,
        DischargeRequest(
            PATIENT, encounter, left, escort="present", start=SECOND, end=SECOND + timedelta(minutes=40), person=NURSE
        ),
    )


async def _wrong_patient(story: Story) -> None:
    story.clock.move_to(THIRD + timedelta(minutes=50))
    encounter = await story.encounter("course-visit-3", THIRD)
    sheet = record(THIRD, ready=False, recorded_by=NURSE, escort=None)
    await record_infusion(story.context, RecordRequest(PATIENT, encounter, sheet, person=NURSE))
    await correct_infusion(
        story.context,
        CorrectionRequest(PATIENT, encounter, None, Change.WRONG_PATIENT, "Recorded on the wrong chart.", person=NURSE),
    )


STEPS: dict[str, Callable[[Story], Awaitable[None]]] = {
    "1-baseline": _prepare,
    "2-first-infusion": _first_infusion,
    "3-discharge-before-the-clocks-change": _first_discharge,
    "4-correction": _correction,
    "5-answers-of-the-week": _week,
    "6-second-infusion": _second_infusion,
    "7-retraction-of-a-third": _wrong_patient,
}


async def bundles() -> dict[str, Resource]:
    """Tell the story on a fresh sandbox and give each step's Bundle."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(Path(folder), SANDBOX_URL)
        async with Server.reached("sandbox", SANDBOX_URL, store) as server:
            story, told = Story(server.client()), []
            for name, step in STEPS.items():
                await step(story)
                told.append((name, await story.changed()))
            for name, resources in told:
                entries = [story.readable(each) for each in resources]
                found[name] = {
                    "resourceType": "Bundle",
                    "id": f"course-{name}",
                    "type": "collection",
                    "entry": [
                        {"fullUrl": f"{BASE}/fhir/{each['resourceType']}/{each['id']}", "resource": each}
                        for each in entries
                    ],
                }
        store.close()
    return found


def main() -> None:
    """Write the files."""
    for name, bundle in asyncio.run(bundles()).items():
        text = json.dumps(bundle, indent=2, ensure_ascii=False) + "\n"
        (EXAMPLES / f"Bundle-course-{name}.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
