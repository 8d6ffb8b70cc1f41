"""What every flow of one clinic works with, wired once by ``bootstrap`` and handed in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from fhir_aftercare import __version__
from fhir_aftercare.errors import NotFound
from fhir_aftercare.fhir.provenance import Author
from fhir_aftercare.flows.clock import Clock, system_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.fhir.definitions import Protocol
    from fhir_aftercare.fhir.identifiers import Identifiers


class PatientLocks:
    """One decision at a time for one patient within this process.

    Between processes the server decides: conditional creates and ``If-Match`` (design §5.3). The lock only spares it
    races that this process would run against itself.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def __call__(self, patient: str) -> AsyncIterator[None]:
        """Hold the lock of a patient reference."""
        lock = self._locks.get(patient)
        if lock is None:
            lock = self._locks[patient] = asyncio.Lock()
        async with lock:
            yield


@dataclass(frozen=True, slots=True)
class ClinicContext:
    """One clinic, its FHIR server, its protocol, and what time it is."""

    clinic: Clinic
    fhir: FhirClient
    protocol: Protocol
    identifiers: Identifiers
    clock: Clock = system_clock
    locks: PatientLocks = field(default_factory=PatientLocks)
    version: str = __version__

    def author(self, person: str | None) -> Author:
        """Give who stands for what is written, for Provenance; ``person`` is a reference, if one is known."""
        return Author(self.clinic.organization, self.version, person)


@dataclass(frozen=True, slots=True)
class Clinics:
    """The clinics that run, by id. ``refused`` counts those whose settings have faults."""

    running: Mapping[str, ClinicContext]
    refused: int = 0

    def of(self, clinic_id: str) -> ClinicContext:
        """Give a clinic's context. Raises ``NotFound``."""
        try:
            return self.running[clinic_id]
        except KeyError:
            raise NotFound("There is no such clinic here.", where="clinic") from None
