"""Wires everything, once: settings and protocol in, one context for each clinic out.

The only place that knows which parts there are; nothing is read on import.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import NotFound
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.fhir.loading import load_protocol
from fhir_aftercare.flows.clock import system_clock
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.protocol_files import read_protocol_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from fhir_aftercare.config import ClinicSettings, LoadedClinics
    from fhir_aftercare.ehr.transport import CallRecord
    from fhir_aftercare.errors import ConfigFault
    from fhir_aftercare.fhir.definitions import Protocol
    from fhir_aftercare.flows.clock import Clock


def shipped_protocol(folder: Path | None = None) -> Protocol:
    """Give the protocol of ``profiles/``, or of another folder. Raises ``ProtocolFault``, ``ConfigFault``."""
    return load_protocol(read_protocol_files(folder))


@dataclass(frozen=True, slots=True)
class Service:
    """The clinics that run, by id, and the faults of those that do not."""

    clinics: Mapping[str, ClinicContext]
    faults: Mapping[str, ConfigFault]
    protocol: Protocol

    def clinic(self, clinic_id: str) -> ClinicContext:
        """Give a clinic's context. Raises ``NotFound``."""
        try:
            return self.clinics[clinic_id]
        except KeyError:
            raise NotFound("There is no such clinic here.", where="clinic") from None


def clinic_context(
    settings: ClinicSettings,
    protocol: Protocol,
    http: httpx.AsyncClient,
    *,
    clock: Clock = system_clock,
    on_call: Callable[[CallRecord], None] | None = None,
) -> ClinicContext:
    """Give one clinic's context; ``http`` is shared and closed by its owner."""
    return ClinicContext(
        clinic=settings.clinic,
        fhir=FhirClient(settings.fhir_base_url, http, on_call=on_call),
        protocol=protocol,
        identifiers=Identifiers(settings.identifier_base),
        clock=clock,
    )


@asynccontextmanager
async def running(
    loaded: LoadedClinics,
    protocol: Protocol,
    *,
    clock: Clock = system_clock,
    on_call: Callable[[CallRecord], None] | None = None,
) -> AsyncIterator[Service]:
    """Give the running service: one connection pool for each clinic, closed at the end."""
    pools = {name: httpx.AsyncClient() for name in loaded.clinics}
    try:
        contexts = {
            name: clinic_context(settings, protocol, pools[name], clock=clock, on_call=on_call)
            for name, settings in loaded.clinics.items()
        }
        yield Service(contexts, loaded.faults, protocol)
    finally:
        for pool in pools.values():
            await pool.aclose()
