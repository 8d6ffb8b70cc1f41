"""Sweep a clinic's server for what no signal told: finished encounters, and records of the drug that came later.

    Encounter, MedicationAdministration, Procedure changed since the watermark → signals → the inbox

Decides nothing about a patient and writes nothing to the FHIR server: each signal is followed as any other, and what is
known already is not new work (design §2.2, §6). Where all patients may not be asked for, the known ones are
(integration §2.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from fhir_aftercare.flows.sweep_run import Run, Sought, Swept
from fhir_aftercare.flows.sweep_signals import ENCOUNTERS, drug_codes, signal_of
from fhir_aftercare.flows.sweep_since import SweepSettings
from fhir_aftercare.store.sweep_state import Watermark

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.signal import DischargeSignal

__all__ = ["SweepSettings", "Swept", "Watermark", "sweep"]

Resource = dict[str, Any]

log = structlog.get_logger(__name__)

NAME: Final = "encounters"


async def sweep(
    context: ClinicContext,
    watermark: Watermark | None,
    take: Callable[[DischargeSignal], Awaitable[bool]],
    *,
    patients: Sequence[str] | None = None,
    settings: SweepSettings | None = None,
) -> Swept:
    """Hand a signal to ``take`` for everything that changed since ``watermark``, and give the next watermark.

    ``take`` is the inbox: it returns when the signal is durable, True if it is new work. ``patients`` (``Patient/7``)
    are asked for besides those with a plan, where the server refuses, or ``settings`` forbid, a search of all patients.
    In constant memory. Raises what ``take`` and failures of the FHIR server raise; the old watermark holds then, and
    what was handed on already is known to the next sweep.
    """

    async def hand(resource: Resource, again: str) -> bool | None:
        signal = signal_of(context.clinic.id, resource, again)
        return None if signal is None else await take(signal)

    run = await Run.begun(context, watermark, settings or SweepSettings(), hand)
    drug = {"code": drug_codes(context.clinic)}
    sought = (
        Sought("Encounter", ENCOUNTERS, needed=True),
        Sought("MedicationAdministration", drug),
        Sought("Procedure", drug),
    )
    population = await run.sweep(sought, patients)
    swept = run.swept(watermark, population=population)
    log.info("swept", clinic=context.clinic.id, component=NAME, count=swept.new)
    return swept
