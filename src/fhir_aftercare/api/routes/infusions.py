"""Record an infusion, or see what recording it would write."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from fhir_aftercare.api import examples
from fhir_aftercare.api.bodies import FhirResponse, JsonRoute
from fhir_aftercare.api.clinics import PREFIX, Clinic, Counts
from fhir_aftercare.api.idempotency import Once
from fhir_aftercare.api.models import InfusionIn, InfusionOut
from fhir_aftercare.api.openapi import FROM_FHIR, errors
from fhir_aftercare.api.previews import BUNDLE
from fhir_aftercare.api.security import PLAN_READERS, PLAN_WRITERS
from fhir_aftercare.errors import (
    CheckFailed,
    InvalidInput,
    MissingZone,
    NotFound,
    OutOfRange,
    Stale,
    UnknownZone,
    WrongSubject,
)
from fhir_aftercare.flows.record_infusion import preview_record, record_infusion

router = APIRouter(prefix=PREFIX, tags=["infusions"], route_class=JsonRoute)

_ERRORS = errors(
    InvalidInput, OutOfRange, MissingZone, UnknownZone, NotFound, WrongSubject, Stale, CheckFailed, *FROM_FHIR
)
Sent = Annotated[InfusionIn, Body(openapi_examples=examples.INFUSION)]


@router.post(
    "/infusions",
    operation_id="recordInfusion",
    dependencies=[PLAN_WRITERS],
    summary="Record a monitored infusion, and begin its plan",
    status_code=201,
    responses={200: {"model": InfusionOut, "description": "All of it was there before"}, **_ERRORS},
)
async def record(clinic: Clinic, counts: Counts, body: Sent, once: Once, response: Response) -> InfusionOut:
    """Write what was given and measured, and begin the plan: draft, with the escort and the baseline forms.

    Sending the same again changes nothing (200). Another value under the same row amends it; what was there stays in
    the history. If the protocol cannot be applied, the measurements are recorded, `fault` says why there is no plan,
    and a Task asks people to act.
    """
    done = InfusionOut.of(await record_infusion(clinic, body.request()))
    once.wrote(*done.references())
    counts.plan("failed" if done.fault else "begun" if done.changed else "unchanged")
    if not done.changed:
        response.status_code = 200
    return done


@router.post(
    "/infusions/preview",
    operation_id="previewInfusion",
    dependencies=[PLAN_READERS],
    summary="See what recording an infusion would write",
    response_class=FhirResponse,
    responses={200: BUNDLE, **_ERRORS},
)
async def preview(clinic: Clinic, body: Sent) -> Any:
    """Give the transaction Bundle that would be sent to the FHIR server now. Nothing is written."""
    return FhirResponse(await preview_record(clinic, body.request()))
