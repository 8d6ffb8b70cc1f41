"""A FHIR server in memory, as far as the flows' decisions see one: charts out, transactions in.

For ``simulate`` only. It keeps no promise of a server's but conditional creates, versions, and references within a
transaction; ids are the uuids under which the transaction refers to its entries, so a simulation is always the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.tasks import instant
from fhir_aftercare.flows.chart import Chart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fhir_aftercare.fhir.bundles import Transaction

Resource = dict[str, Any]

PATIENT: Final = "Patient/simulated"
_URN: Final = "urn:uuid:"
# What a chart holds of one encounter only, and the element that names it.
_OF_ENCOUNTER: Final = {"MedicationAdministration": "context", "Procedure": "encounter", "Observation": "encounter"}


class SimulatedServer:
    """``resources`` holds what was written, by ``Type/id`` in the order of writing, as it is now."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self._given: dict[str, Resource] = {
            PATIENT: {"resourceType": "Patient", "id": PATIENT.partition("/")[2], "active": True}
        }
        self._by_condition: dict[str, str] = {}
        self._places: dict[str, str] = {}

    def add_encounter(self, number: int, start: datetime) -> str:
        """Add the encounter of an infusion, as an EHR would have it, and give its reference."""
        encounter = {
            "resourceType": "Encounter",
            "id": f"infusion-{number}",
            "status": "in-progress",
            "class": terms.AMBULATORY.coding(),
            "subject": {"reference": PATIENT},
            "period": {"start": instant(start)},
        }
        reference = f"Encounter/{encounter['id']}"
        self._given[reference] = encounter
        return reference

    def add_given(self, resources: Sequence[Resource]) -> None:
        """Add what somebody else recorded: it is read, and is no part of what is written."""
        for each in resources:
            id_ = each["identifier"][0]["value"]
            self._given[f"{each['resourceType']}/{id_}"] = {**each, "id": id_}

    def chart(self, encounter: str) -> Chart:
        """Give the patient's chart with one encounter, as ``read_chart`` would."""
        found: dict[str, list[Resource]] = {}
        for reference, resource in {**self._given, **self.resources}.items():
            type_ = resource["resourceType"]
            of = (resource.get(_OF_ENCOUNTER.get(type_, "")) or {}).get("reference")
            if (type_ == "Encounter" and reference != encounter) or (type_ in _OF_ENCOUNTER and of != encounter):
                continue
            found.setdefault(type_, []).append(resource)
        return Chart(self._given[PATIENT], self._given[encounter], found)

    def write(self, transaction: Transaction) -> list[str]:
        """Write a transaction, and give the references of what it created."""
        created = []
        for entry in transaction.entries:
            request = entry["request"]
            if request["method"] == "POST":
                condition = f"{request['url']}?{request['ifNoneExist']}"
                if condition not in self._by_condition:
                    self._by_condition[condition] = f"{request['url']}/{entry['fullUrl'].removeprefix(_URN)}"
                    created.append(self._by_condition[condition])
                self._places[entry["fullUrl"]] = self._by_condition[condition]
        for entry in transaction.entries:
            place = self.reference(entry["fullUrl"])
            if entry["request"]["method"] == "PUT" or place in created:
                self._store(place, _with_references(entry["resource"], self._places))
        return created

    def _store(self, place: str, resource: Resource) -> None:
        before = self.resources.get(place)
        version = int(before["meta"]["versionId"]) + 1 if before else 1
        resource["id"] = place.partition("/")[2]
        resource["meta"] = {**resource.get("meta", {}), "versionId": str(version)}
        self.resources[place] = resource

    def reference(self, given: str) -> str:
        """Give ``Type/id`` for a reference that may be a ``urn:uuid``."""
        return self._places.get(given, given)

    def bundle(self) -> Resource:
        """Give all that was written as a collection, without what only a server adds: ids and versions."""
        urls = {place: f"{_URN}{place.partition('/')[2]}" for place in self.resources}
        entries = []
        for place, resource in self.resources.items():
            found = _with_references(resource, urls)
            found["meta"] = {name: value for name, value in found["meta"].items() if name != "versionId"}
            kept = {name: value for name, value in found.items() if name != "id" and value != {}}
            entries.append({"fullUrl": urls[place], "resource": kept})
        return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def _with_references(value: Any, places: dict[str, str]) -> Any:
    """Give a copy whose References lead elsewhere."""
    if isinstance(value, list):
        return [_with_references(each, places) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: _with_references(each, places) for name, each in value.items()}
    if isinstance(found.get("reference"), str):
        found["reference"] = places.get(found["reference"], found["reference"])
    return found
