"""Readiness, and a discharge in its two calls: *ask* (may this patient go?) and *happened* (the patient has left)."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, Field

from fhir_aftercare.api import examples
from fhir_aftercare.api.bodies import FhirResponse, JsonRoute
from fhir_aftercare.api.clinics import PREFIX, Clinic, Counts
from fhir_aftercare.api.idempotency import Once
from fhir_aftercare.api.models import Body as Sealed
from fhir_aftercare.api.models import DischargeIn, DischargeOut, ReadinessOut
from fhir_aftercare.api.openapi import FROM_FHIR, errors
from fhir_aftercare.api.previews import BUNDLE
from fhir_aftercare.api.problems import as_error, note, problem
from fhir_aftercare.api.scope import request_id
from fhir_aftercare.api.security import EVENT_WRITERS, PLAN_READERS, PLAN_WRITERS
from fhir_aftercare.errors import (
    AftercareError,
    CheckFailed,
    InvalidInput,
    MissingZone,
    NotAnInfusion,
    NotFound,
    NotReady,
    OutOfRange,
    ProtocolFault,
    Stale,
    UnknownZone,
    WrongSubject,
)
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.flows.discharge import discharge, preview_discharge, readiness
from fhir_aftercare.observe.metrics import Metrics

router = APIRouter(prefix=PREFIX, tags=["discharges"], route_class=JsonRoute)

_READING: tuple[type[AftercareError], ...] = (
    InvalidInput,
    OutOfRange,
    MissingZone,
    UnknownZone,
    NotFound,
    WrongSubject,
    NotAnInfusion,
    *FROM_FHIR,
)
_WRITING: tuple[type[AftercareError], ...] = (*_READING, Stale, ProtocolFault, CheckFailed)
_UNCHANGED: dict[int | str, dict[str, Any]] = {
    200: {"model": DischargeOut, "description": "All of it was there before"}
}
Sent = Annotated[DischargeIn, Body(openapi_examples=examples.DISCHARGE)]
Asked = Annotated[DischargeIn, Body(openapi_examples=examples.ASK)]

LARGEST_BATCH = 100
# One clinic's server is asked for so many at once; the rest wait.
_AT_ONCE = 4


@router.post(
    "/readiness",
    operation_id="judgeReadiness",
    dependencies=[PLAN_READERS],
    summary="See whether a patient is ready to leave",
    responses=errors(*_READING),
)
async def judge(clinic: Clinic, body: Sent) -> ReadinessOut:
    """Judge each criterion from all vital signs of the encounter, whoever wrote them. Nothing is written."""
    return ReadinessOut.of(await readiness(clinic, body.request("ask")))


@router.post(
    "/discharges/ask",
    operation_id="askDischarge",
    dependencies=[PLAN_WRITERS],
    summary="Discharge a patient who is ready",
    status_code=201,
    responses={**_UNCHANGED, **errors(NotReady, *_WRITING)},
)
async def ask(clinic: Clinic, counts: Counts, body: Asked, once: Once, response: Response) -> DischargeOut:
    """May this patient go? If so, the plan is activated; if not, 409 names what is missing and nothing is activated."""
    done = await _discharged(clinic, counts, body, "ask")
    return _answered(done, once, response)


@router.post(
    "/discharges/happened",
    operation_id="reportDischarge",
    dependencies=[EVENT_WRITERS],
    summary="Report that a patient has left",
    status_code=201,
    responses={**_UNCHANGED, **errors(*_WRITING)},
)
async def happened(clinic: Clinic, counts: Counts, body: Sent, once: Once, response: Response) -> DischargeOut:
    """The patient has left: there is always a plan. What was not met is named in one urgent Task."""
    done = await _discharged(clinic, counts, body, "happened")
    return _answered(done, once, response)


@router.post(
    "/discharges/ask/preview",
    operation_id="previewAskDischarge",
    dependencies=[PLAN_READERS],
    summary="See what discharging a patient who is ready would write",
    response_class=FhirResponse,
    responses={200: BUNDLE, **errors(NotReady, *_WRITING)},
)
async def preview_ask(clinic: Clinic, body: Asked) -> Any:
    """Give the transaction Bundle that would be sent to the FHIR server now. Nothing is written."""
    return FhirResponse(await preview_discharge(clinic, body.request("ask")))


@router.post(
    "/discharges/happened/preview",
    operation_id="previewReportDischarge",
    dependencies=[PLAN_READERS],
    summary="See what reporting a discharge would write",
    response_class=FhirResponse,
    responses={200: BUNDLE, **errors(*_WRITING)},
)
async def preview_happened(clinic: Clinic, body: Sent) -> Any:
    """Give the transaction Bundle that would be sent to the FHIR server now. Nothing is written."""
    return FhirResponse(await preview_discharge(clinic, body.request("happened")))


class BatchIn(Sealed):
    """Patients who have left: each is discharged by itself, in any order."""

    discharges: Annotated[list[DischargeIn], Field(min_length=1, max_length=LARGEST_BATCH)]


class BatchItem(BaseModel):
    """What became of one discharge, in the order they were sent: either ``discharge`` or ``problem``."""

    status: int
    discharge: DischargeOut | None = None
    problem: dict[str, Any] | None = None


class BatchOut(BaseModel):
    """The results, one for each item."""

    items: list[BatchItem]
    failed: int


@router.post(
    "/discharges/batch",
    operation_id="reportDischarges",
    dependencies=[EVENT_WRITERS],
    summary="Report that many patients have left",
    responses=errors(InvalidInput, NotFound),
)
async def batch(
    clinic: Clinic,
    counts: Counts,
    body: Annotated[BatchIn, Body(openapi_examples=examples.BATCH)],
    once: Once,
    request: Request,
) -> BatchOut:
    """Report many discharges at once. One that fails does not stop the others; each item has its own status.

    A body that does not fit the schema is refused as a whole, with the places named.
    """
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(item: DischargeIn) -> BatchItem:
        async with places:
            try:
                done = await _discharged(clinic, counts, item, "happened")
            except Exception as raised:  # noqa: BLE001  (whatever it is, it stops no other)
                error = as_error(raised)
                note(raised, request.scope, error.status)
                return BatchItem(status=error.status, problem=problem(error, request_id(request.scope)))
            return BatchItem(status=201 if done.changed else 200, discharge=done)

    items = await asyncio.gather(*(one(item) for item in body.discharges))
    for item in items:
        if item.discharge:
            once.wrote(*item.discharge.references())
    return BatchOut(items=items, failed=sum(item.problem is not None for item in items))


async def _discharged(
    clinic: ClinicContext, counts: Metrics, body: DischargeIn, mode: Literal["ask", "happened"]
) -> DischargeOut:
    try:
        done = await discharge(clinic, body.request(mode))
    except ProtocolFault:
        counts.plan("failed")
        raise
    counts.plan("activated" if done.changed else "unchanged")
    return DischargeOut.of(done)


def _answered(done: DischargeOut, once: Once, response: Response) -> DischargeOut:
    once.wrote(*done.references())
    if not done.changed:
        response.status_code = 200
    return done
