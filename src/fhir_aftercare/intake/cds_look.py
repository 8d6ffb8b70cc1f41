"""May this patient leave? Looked up within the time that a CDS client waits; nothing is written.

A look that takes too long ends with what is known by then: perhaps whether there was an infusion, perhaps nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fhir_aftercare.errors import FhirServerError, NotAnInfusion, NotFound, WrongSubject
from fhir_aftercare.flows.chart import read_chart, require
from fhir_aftercare.flows.discharge import readiness, sections
from fhir_aftercare.flows.situation import administrations, is_infusion_encounter
from fhir_aftercare.intake.cds_answers import invalid, no_data
from fhir_aftercare.intake.cds_data import GivenData, question

if TYPE_CHECKING:
    from datetime import datetime

    import httpx

    from fhir_aftercare.care.readiness import Panel
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.discharge import DischargeRequest
    from fhir_aftercare.intake.cds_request import HookRequest

# By these an infusion is known.
_TELLING = frozenset({"patient", "encounter", "drug records", "procedures"})


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen. ``infusion``: whether this visit held one, None if nobody knows yet; ``start``: the latest one's.

    ``panel`` is None if there was no infusion, or no time.
    """

    infusion: bool | None
    start: datetime | None = None
    panel: Panel | None = None


async def look(context: ClinicContext, http: httpx.AsyncClient, request: HookRequest, seconds: float) -> Look:
    """Give what can be seen of a call's patient within ``seconds``.

    Raises ``Refused``: 412 if the data cannot be had, 400 if what was sent is of different patients.
    """
    asked = question(request, context.clock())
    data = GivenData(context.fhir.base_url, http, sections(context, asked), request)
    theirs = replace(context, fhir=data)
    try:
        try:
            async with asyncio.timeout(seconds):
                panel = await readiness(theirs, asked)
                return replace(await _infusion(theirs, asked), infusion=True, panel=panel)
        except TimeoutError:
            return await _so_far(theirs, data, asked)
    except NotAnInfusion:
        return Look(False)
    except WrongSubject:
        raise invalid("The encounter is another patient's.", "context") from None
    except (NotFound, FhirServerError):
        raise no_data("The FHIR server did not give all that is needed.") from None


async def _infusion(context: ClinicContext, asked: DischargeRequest) -> Look:
    """Look at the records of the drug alone; what was read before is not read again."""
    telling = [each for each in sections(context, asked) if each.name in _TELLING]
    chart = require(await read_chart(context.fhir, telling))
    given = administrations(chart, context.clinic)
    found = bool(given) or is_infusion_encounter(chart.encounter, context.clinic)
    return Look(found, given[-1].start if given else None)


async def _so_far(context: ClinicContext, data: GivenData, asked: DischargeRequest) -> Look:
    telling = [each for each in sections(context, asked) if each.name in _TELLING]
    return await _infusion(context, asked) if data.knows(telling) else Look(None)
