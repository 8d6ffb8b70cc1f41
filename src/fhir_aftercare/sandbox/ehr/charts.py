"""What the EHR's own pages show of the FHIR store: patients, one patient, the patient's encounters. Read only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from fhir_aftercare.errors import FhirUnreachable, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_PATIENTS: Final = 50
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


@dataclass(frozen=True, slots=True)
class Patient:
    """Who a chart is about, as shown."""

    id: str
    name: str
    born: str
    sex: str


@dataclass(frozen=True, slots=True)
class Encounter:
    """One visit, as shown."""

    id: str
    status: str
    day: str


class Charts:
    """Reads the store behind. Each method raises ``FhirUnreachable`` if the store gives no usable answer."""

    def __init__(self, store: httpx.AsyncClient, base_url: str) -> None:
        self._store, self._base = store, base_url

    async def patients(self) -> list[Patient]:
        """Give the patients changed last, with one search."""
        found = await self._search("Patient", {"_count": str(MOST_PATIENTS), "_sort": "-_lastUpdated"})
        return [_patient(each) for each in found]

    async def patient(self, id_: str) -> Patient:
        """Give one patient. Raises ``NotFound``."""
        found = await self._search("Patient", {"_id": id_}) if _ID.fullmatch(id_) else []
        if not found:
            raise NotFound("There is no such patient in the store.", where="patient")
        return _patient(found[0])

    async def encounters(self, patient: str) -> list[Encounter]:
        """Give the patient's encounters, those under way first, then the newest."""
        found = await self._search("Encounter", {"patient": f"Patient/{patient}", "_sort": "-date", "_count": "20"})
        listed = [
            Encounter(each["id"], str(each.get("status", "")), str(each.get("period", {}).get("start", ""))[:10])
            for each in found
        ]
        return sorted(listed, key=lambda each: each.status != "in-progress")

    async def _search(self, type_: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        headers = {"Accept": "application/fhir+json", "Cache-Control": "no-cache"}
        try:
            answer = await self._store.get(f"{self._base}/{type_}", params=dict(params), headers=headers)
            entries = answer.json().get("entry", []) if answer.status_code == 200 else None
            if entries is not None:
                return [each["resource"] for each in entries if each["resource"]["resourceType"] == type_]
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as fault:
            raise FhirUnreachable("The FHIR store behind the pretend EHR gives no usable answer.") from fault
        raise FhirUnreachable(f"The FHIR store behind the pretend EHR answered {answer.status_code}.")


def _patient(resource: dict[str, Any]) -> Patient:
    names = resource.get("name") or [{}]
    parts = [str(names[0].get("family", "")), " ".join(map(str, names[0].get("given", [])))]
    name = names[0].get("text") or ", ".join(part for part in parts if part) or "Name not known"
    born, sex = resource.get("birthDate", "Not known"), resource.get("gender", "Not known")
    return Patient(str(resource["id"]), str(name), str(born), str(sex))
