"""A patient in an infusion, and a nurse's browser on the record of it: what the tests of the record's pages share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.infusion import Check, Dissociation, InfusionStatus
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import of_patient, recording
from flows.cases import record as usual
from ui.house import base_of, form_of
from world import START

if TYPE_CHECKING:
    from datetime import datetime

    import httpx

    from ui.house import Browser, House

Resource = dict[str, Any]

BEFORE = Check(
    at=START - timedelta(minutes=10), systolic=128, diastolic=79, heart_rate=74, spo2=98, respiratory_rate=14,
    dissociation=Dissociation.ABSENT, moaa_s=5, nausea=0,
)  # fmt: skip
NOW = START + timedelta(minutes=16)


@dataclass
class Bedside:
    """One patient's chart, opened in the app by a nurse. ``page`` is what the browser shows."""

    house: House
    browser: Browser
    patient: str
    encounter: str
    page: httpx.Response
    base: str

    async def get(self, view: str) -> httpx.Response:
        """Open a page of the patient."""
        address = f"{self.base}{view}"
        if self.browser.cookies:
            self.page = await self.browser.get(address)
        else:
            self.page = await self.browser.post(address, form_of(self.page))
        return self.page

    async def send(self, action: str, typed: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """Press the button of a form of the page, with what was typed into it."""
        address = unescape(re.findall(rf'action="([^"]*/{action}(?:\?[^"]*)?)"', self.page.text)[0])
        held = {**form_of(self.page), **values_of(self.page)}
        self.page = await self.browser.post(address, {**held, **(typed or {})}, **headers)
        return self.page

    async def observations(self, code: terms.Code | None = None) -> list[Resource]:
        """Give what was observed, as the FHIR server has it, the oldest first."""
        found = await of_patient(self.house.world, "Observation", self.patient)
        kept = [each for each in found if code is None or tasks.has_code(each, code)]
        return sorted(kept, key=lambda each: str(each["effectiveDateTime"]))

    async def drug(self) -> Resource:
        """Give the record of the drug."""
        (found,) = await of_patient(self.house.world, "MedicationAdministration", self.patient)
        return found


def values_of(page: httpx.Response) -> dict[str, str]:
    """Give what a page's text fields and choices hold: what a browser sends unless somebody types."""
    fields = re.findall(r'<input id="[^"]+" name="([^"]+)"[^>]*? value="([^"]*)"', page.text)
    choices = re.findall(r'<select [^>]*name="([^"]+)".*?<option value="([^"]*)" selected', page.text, re.DOTALL)
    return {name: unescape(value) for name, value in (*fields, *choices)}


def text_of(page: httpx.Response) -> str:
    """Give what a person reads: no tags, single spaces."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


async def bedside(
    house: House, *, now: datetime = NOW, begun: bool = True, cookies: bool = True, **record: Any
) -> Bedside:
    """Give a patient whose infusion runs, with a check before it; ``begun=False``: nothing is recorded yet."""
    world = house.world
    world.clock.move_to(now)
    patient = await world.patient("Park")
    encounter = await world.encounter(patient)
    if begun:
        values = {"end": None, "status": InfusionStatus.IN_PROGRESS, "checks": (BEFORE,), **record}
        await record_infusion(world.context, recording(world, patient, encounter, record=usual(**values)))
    browser = house.browser(cookies=cookies)
    ids = {"patient": patient.partition("/")[2], "encounter": encounter.partition("/")[2]}
    page = await browser.launch(**ids)
    base = base_of(page) if cookies else re.findall(r'action="([^"]+)"', page.text)[0]
    made = Bedside(house, browser, patient, encounter, page, base)
    await made.get("record")
    return made


async def charted(made: Bedside, code: terms.Code, value: int, at: datetime) -> None:
    """Put a value into the chart as the EHR does."""
    await made.house.world.server.client().create(
        {
            "resourceType": "Observation",
            "status": "final",
            "category": [terms.VITAL_SIGNS.concept()],
            "code": code.concept(),
            "subject": {"reference": made.patient},
            "encounter": {"reference": made.encounter},
            "effectiveDateTime": tasks.instant(at),
            "valueQuantity": {"value": value, "unit": "/min", "system": terms.UCUM, "code": "/min"},
        }
    )
