"""Corrections: an infusion moved in time, stopped, not done or recorded by mistake, and single Observations."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Path
from fastapi import Body as BodyParam
from pydantic import BaseModel, Field

from fhir_aftercare.api import examples_work as examples
from fhir_aftercare.api.bodies import FhirResponse, JsonRoute
from fhir_aftercare.api.clinics import PREFIX, Clinic
from fhir_aftercare.api.idempotency import Once
from fhir_aftercare.api.models import Body, EncounterRef, InfusionId, Moment, PatientRef, PersonRef, ResourceId, Words
from fhir_aftercare.api.openapi import FROM_FHIR, errors
from fhir_aftercare.api.previews import BUNDLE, ID
from fhir_aftercare.api.security import PLAN_READERS, PLAN_WRITERS
from fhir_aftercare.care.correction import Change
from fhir_aftercare.errors import (
    AftercareError,
    CheckFailed,
    IllegalMove,
    InvalidInput,
    MissingZone,
    NotAnInfusion,
    NotFound,
    ProtocolFault,
    Stale,
    WrongSubject,
)
from fhir_aftercare.flows.correct import Corrected, correct_infusion, preview_correction
from fhir_aftercare.flows.correction_request import CorrectionRequest
from fhir_aftercare.flows.retract_observation import retract_observation

router = APIRouter(prefix=PREFIX, tags=["corrections"], route_class=JsonRoute)

_ERRORS: tuple[type[AftercareError], ...] = (
    InvalidInput,
    MissingZone,
    NotFound,
    WrongSubject,
    NotAnInfusion,
    IllegalMove,
    Stale,
    ProtocolFault,
    CheckFailed,
    *FROM_FHIR,
)


class CorrectionIn(Body):
    """What became known of an infusion after it was recorded."""

    patient: PatientRef
    encounter: EncounterRef | None = None
    infusion: InfusionId | None = Field(default=None, description="Needed where there is no encounter.")
    kind: Change
    reason: Words = Field(description="In the words of a person; kept with the change.")
    start: Moment | None = Field(default=None, description="The right start (end-moved, stopped).")
    end: Moment | None = Field(default=None, description="The right end (end-moved, stopped).")
    agreed_by: Annotated[
        str | None,
        Field(
            pattern=f"^Practitioner/{ID}$",
            description="The clinician who agrees that a restriction ends earlier than the patient was told.",
        ),
    ] = None
    plan: Annotated[str | None, Field(pattern=f"^CarePlan/{ID}$", description="Which of several plans.")] = None
    recorded_by: PersonRef | None = None

    def request(self) -> CorrectionRequest:
        """Give it as the flow takes it."""
        values = self.model_dump(exclude={"recorded_by"})
        return CorrectionRequest(**values, person=self.recorded_by)


class CorrectionOut(BaseModel):
    """What is on the FHIR server now, as references. ``inform`` is the Task to tell the patient.

    ``awaiting`` are restrictions that could end earlier and wait for a clinician to agree.
    """

    record: str | None
    plan: str | None
    inform: str | None
    awaiting: list[str]
    written: list[str]
    changed: bool

    @classmethod
    def of(cls, corrected: Corrected) -> Self:
        """Give it of what the flow did."""
        return cls(
            record=corrected.record,
            plan=corrected.plan,
            inform=corrected.inform,
            awaiting=list(corrected.awaiting),
            written=list(corrected.written),
            changed=corrected.changed,
        )


Sent = Annotated[CorrectionIn, BodyParam(openapi_examples=examples.CORRECTION)]


@router.post(
    "/infusions/corrections",
    operation_id="correctInfusion",
    dependencies=[PLAN_WRITERS],
    summary="Correct or retract an infusion, and what hangs on it",
    responses=errors(*_ERRORS),
)
async def correct(clinic: Clinic, body: Sent, once: Once) -> CorrectionOut:
    """Move, stop or retract an infusion; its plan follows. Nothing is erased, and no Task moves backwards.

    A driving release moves later by itself and the patient is told; earlier only if a clinician agrees. One value of
    the sheet is corrected by recording the infusion again.
    """
    done = CorrectionOut.of(await correct_infusion(clinic, body.request()))
    once.wrote(*done.written)
    return done


@router.post(
    "/infusions/corrections/preview",
    operation_id="previewCorrection",
    dependencies=[PLAN_READERS],
    summary="See what a correction would write",
    response_class=FhirResponse,
    responses={200: BUNDLE, **errors(*_ERRORS)},
)
async def preview(clinic: Clinic, body: Sent) -> Any:
    """Give the transaction Bundle that would be sent to the FHIR server now. Nothing is written."""
    return FhirResponse(await preview_correction(clinic, body.request()))


class RetractionIn(Body):
    """An Observation of ours that should not be there."""

    patient: PatientRef
    reason: Words
    recorded_by: PersonRef | None = None


class RetractionOut(BaseModel):
    """Whether anything had to be written."""

    observation: str
    changed: bool


@router.post(
    "/observations/{observation}/retraction",
    operation_id="retractObservation",
    dependencies=[PLAN_WRITERS],
    summary="Retract one Observation",
    responses=errors(InvalidInput, NotFound, WrongSubject, Stale, CheckFailed, *FROM_FHIR),
)
async def retract(
    clinic: Clinic,
    observation: Annotated[ResourceId, Path(description="The Observation's id on the clinic's FHIR server.")],
    body: Annotated[RetractionIn, BodyParam(openapi_examples=examples.RETRACTION)],
    once: Once,
) -> RetractionOut:
    """Mark an Observation that was recorded here as entered in error, with the reason. It stays in the history."""
    reference = f"Observation/{observation}"
    changed = await retract_observation(clinic, body.patient, reference, body.reason, body.recorded_by)
    once.wrote(reference)
    return RetractionOut(observation=reference, changed=changed)
