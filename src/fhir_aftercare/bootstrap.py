"""Wires everything, once: settings and protocol in, one context for each clinic out.

The only place that knows which parts there are; nothing is read on import.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from fhir_aftercare.config import LoadedClinics
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import ConfigFault, ProtocolFault
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.fhir.loading import load_protocol
from fhir_aftercare.flows.clock import system_clock
from fhir_aftercare.flows.context import ClinicContext, Clinics
from fhir_aftercare.protocol_files import read_protocol_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from fhir_aftercare.config import ClinicSettings
    from fhir_aftercare.ehr.transport import CallRecord, TokenProvider
    from fhir_aftercare.fhir.definitions import Protocol
    from fhir_aftercare.flows.clock import Clock


def shipped_protocol(folder: Path | None = None) -> Protocol:
    """Give the protocol of ``profiles/``, or of another folder. Raises ``ProtocolFault``, ``ConfigFault``."""
    return load_protocol(read_protocol_files(folder))


def clinic_protocols(loaded: LoadedClinics, common: Protocol) -> tuple[LoadedClinics, dict[str, Protocol]]:
    """Give each clinic's protocol: its own folder's, else ``common``; and the clinics that can run.

    A clinic whose own protocol cannot be used is refused with the faults of it; the others run.
    """
    protocols: dict[str, Protocol] = {}
    faults = dict(loaded.faults)
    for name, settings in loaded.clinics.items():
        try:
            protocols[name] = shipped_protocol(settings.profiles) if settings.profiles else common
        except ConfigFault as fault:
            faults[f"{name}.toml"] = ConfigFault([f"profiles: {each}" for each in fault.faults], where=name)
        except ProtocolFault as fault:
            faults[f"{name}.toml"] = ConfigFault([f"profiles: {'; '.join((*fault.where, fault.message))}"], where=name)
    running = {name: settings for name, settings in loaded.clinics.items() if name in protocols}
    return LoadedClinics(running, faults), protocols


def clinic_context(
    settings: ClinicSettings,
    protocol: Protocol,
    http: httpx.AsyncClient,
    *,
    clock: Clock = system_clock,
    on_call: Callable[[CallRecord], None] | None = None,
    token: TokenProvider | None = None,
) -> ClinicContext:
    """Give one clinic's context; ``http`` is shared and closed by its owner, ``token`` gives the service's tokens."""
    return ClinicContext(
        clinic=settings.clinic,
        fhir=FhirClient(settings.fhir_base_url, http, token=token, on_call=on_call),
        protocol=protocol,
        identifiers=Identifiers(settings.identifier_base),
        clock=clock,
    )


@asynccontextmanager
async def connected(
    loaded: LoadedClinics,
    protocols: Mapping[str, Protocol],
    *,
    clock: Clock = system_clock,
    on_call: Callable[[CallRecord], None] | None = None,
    tokens: Mapping[str, TokenProvider] | None = None,
    reach: Callable[[], httpx.AsyncBaseTransport] | None = None,
) -> AsyncIterator[Clinics]:
    """Give the clinics, each with its protocol and a connection pool of its own, which is closed at the end.

    ``reach`` gives each pool its way to the FHIR server: the network if None.
    """
    pools = {name: httpx.AsyncClient(transport=reach() if reach else None) for name in loaded.clinics}
    try:
        yield Clinics(
            {
                name: clinic_context(
                    settings,
                    protocols[name],
                    pools[name],
                    clock=clock,
                    on_call=on_call,
                    token=(tokens or {}).get(name),
                )
                for name, settings in loaded.clinics.items()
            },
            refused=len(loaded.faults),
        )
    finally:
        for pool in pools.values():
            await pool.aclose()
