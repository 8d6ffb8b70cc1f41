"""Sweep a clinic's server for answers that nobody scored: those that a portal or a form engine wrote itself.

    QuestionnaireResponse of our forms, changed since the watermark → job → receive_response

Answers that came through this software are scored in the transaction that wrote them, and are left out. Check-ins have
no score, and are looked at all the same: they may call for somebody to act (design §10.9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.errors import FhirGone, FhirNotFound, InvalidInput, NotFound
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from fhir_aftercare.flows.sweep_run import Run, Sought
from fhir_aftercare.flows.sweep_signals import event_of
from fhir_aftercare.flows.sweep_since import SweepSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fhir_aftercare.fhir.definitions import Protocol
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.receive_response import Received
    from fhir_aftercare.flows.sweep_run import Swept
    from fhir_aftercare.store.sweep_state import Watermark

Resource = dict[str, Any]

log = structlog.get_logger(__name__)

NAME: Final = "answers"
# Drafts are looked at for item 9; what was taken back or stopped is nobody's answer.
_READ: Final = "completed,amended,in-progress"


async def sweep_answers(
    context: ClinicContext,
    watermark: Watermark | None,
    take: Callable[[str, str], Awaitable[bool]],
    *,
    patients: Sequence[str] | None = None,
    settings: SweepSettings | None = None,
) -> Swept:
    """Hand each response to read (``QuestionnaireResponse/5``), and the id of its version, to ``take``.

    ``take`` makes durable work of it (``receive_stored``), True if it is new. The rest is as for ``sweep``.
    """
    forms = _forms(context.protocol)

    async def hand(resource: Resource, again: str) -> bool | None:
        if str(resource.get("questionnaire")).partition("|")[0] not in forms or _is_ours(context, resource):
            return False
        if _patient(resource) is None:
            return None
        return await take(f"QuestionnaireResponse/{resource['id']}", event_of(resource, again))

    run = await Run.begun(context, watermark, settings or SweepSettings(), hand)
    named = ",".join(dict.fromkeys([*forms, *context.protocol.forms]))
    sought = Sought("QuestionnaireResponse", {"questionnaire": named, "status": _READ}, needed=True)
    population = await run.sweep([sought], patients)
    swept = run.swept(watermark, population=population)
    log.info("swept", clinic=context.clinic.id, component=NAME, count=swept.new)
    return swept


async def receive_stored(context: ClinicContext, response: str) -> Received:
    """Score the answers that are on the server under ``response`` (``QuestionnaireResponse/5``), as they are now.

    Raises ``NotFound`` if they are not there any more, ``InvalidInput`` if they name no patient, and what
    ``receive_response`` raises.
    """
    try:
        resource = await context.fhir.read("QuestionnaireResponse", response.rpartition("/")[2])
    except (FhirNotFound, FhirGone) as missing:
        raise NotFound("There are no such answers.", where="response") from missing
    patient = _patient(resource)
    if patient is None:
        raise InvalidInput("The answers name no patient.", where="response.subject")
    return await receive_response(context, ResponseRequest(patient, resource, stored=True))


def _forms(protocol: Protocol) -> list[str]:
    return list(dict.fromkeys(each.url for each in protocol.forms.values()))


def _patient(resource: Resource) -> str | None:
    place = location_of((resource.get("subject") or {}).get("reference"))
    return place.reference if place is not None and place.type == "Patient" else None


def _is_ours(context: ClinicContext, resource: Resource) -> bool:
    return bool((resource.get("identifier") or {}).get("system") == context.identifiers.system("response"))
