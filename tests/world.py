"""A clinic with patients for the tests of flows: made fresh on the server of the test, with a clock that can be set."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from fhir_aftercare.bootstrap import shipped_protocol
from fhir_aftercare.care.clinic import Clinic, Owners
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.timing import OpenHours
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.flows.context import ClinicContext, PatientLocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.scenes import Scene
    from fhir_aftercare.ehr.transport import CallRecord
    from servers import Server

NEW_YORK = ZoneInfo("America/New_York")
# A Wednesday and no daylight saving near: the plain case. Tests of those days set their own clock.
START = datetime(2026, 9, 16, 13, 0, tzinfo=NEW_YORK)
END = START + timedelta(minutes=40)


@dataclass
class World:
    """One clinic on one server. ``calls`` are the round trips made through ``context``, ``scenes`` who was prepared."""

    server: Server
    context: ClinicContext
    clock: SettableClock
    organization: str
    nurse: str
    calls: list[CallRecord] = field(default_factory=list)
    scenes: dict[str, Scene] = field(default_factory=dict)

    async def patient(self, name: str = "Rivera") -> str:
        """Create a patient and give the reference."""
        return await self._create(
            {"resourceType": "Patient", "name": [{"family": name, "given": ["Ana"]}], "birthDate": "1988-03-04"}
        )

    async def encounter(self, patient: str, **more: Any) -> str:
        """Create an encounter in progress and give the reference."""
        return await self._create(
            {
                "resourceType": "Encounter",
                "status": "in-progress",
                "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
                "subject": {"reference": patient},
                "period": {"start": START.isoformat()},
                **more,
            }
        )

    async def _create(self, resource: dict[str, Any]) -> str:
        stored = await self.server.client().create(resource)
        return f"{stored['resourceType']}/{stored['id']}"

    def another_process(self) -> ClinicContext:
        """Give a context that shares the server and nothing else, as a second process would."""
        return replace(self.context, fhir=self.server.client(), locks=PatientLocks())

    def round_trips(self) -> list[str]:
        """Give the kinds of the calls made since last asked, and forget them."""
        kinds = [call.kind for call in self.calls]
        self.calls.clear()
        return kinds


def make_clinic(organization: str, **more: Any) -> Clinic:
    """Give a clinic in New York that calls on weekdays from 9 to 18."""
    weekdays = {day: ((time(9), time(18)),) for day in range(5)}
    values: dict[str, Any] = {
        "id": "harbor",
        "name": "Harbor Clinic",
        "zone": NEW_YORK,
        "organization": organization,
        "phone": "+1 555 0100",
        "policy": Policy(),
        "call_hours": OpenHours(weekdays, frozenset(), NEW_YORK),
        "owners": Owners(),
        **more,
    }
    return Clinic(**values)


async def make_world(server: Server, *, now: datetime = START, **clinic: Any) -> World:
    """Give a world of its own: a fresh Organization and nurse, and identifiers nobody else makes."""
    client = server.client()
    organization = await client.create({"resourceType": "Organization", "name": "Harbor Clinic"})
    nurse = await client.create({"resourceType": "Practitioner", "name": [{"family": "Okafor", "given": ["Ngozi"]}]})
    calls: list[CallRecord] = []
    on_call: Callable[[CallRecord], None] = calls.append
    clock = SettableClock(now.astimezone(UTC))
    context = ClinicContext(
        clinic=make_clinic(f"Organization/{organization['id']}", **clinic),
        fhir=server.client(on_call=on_call),
        protocol=shipped_protocol(),
        identifiers=Identifiers(f"https://fhir-aftercare.example.org/test/{uuid.uuid4()}"),
        clock=clock,
    )
    return World(server, context, clock, f"Organization/{organization['id']}", f"Practitioner/{nurse['id']}", calls)
