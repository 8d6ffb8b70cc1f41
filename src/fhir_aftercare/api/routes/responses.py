"""Answers of patients: sent as FHIR, or found on the clinic's own server."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Self

from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel, Field

from fhir_aftercare.api import examples
from fhir_aftercare.api.bodies import FhirResponse, JsonRoute
from fhir_aftercare.api.clinics import PREFIX, Clinic, Counts
from fhir_aftercare.api.idempotency import Once
from fhir_aftercare.api.models import Body as Sealed
from fhir_aftercare.api.models import PatientRef, ReasonOut, ResponseBody, ResponseOut, ScoreOut
from fhir_aftercare.api.openapi import FROM_FHIR, errors
from fhir_aftercare.api.previews import BUNDLE, ID
from fhir_aftercare.api.security import EVENT_WRITERS, PLAN_READERS, PLAN_WRITERS
from fhir_aftercare.care.instruments import Score
from fhir_aftercare.errors import (
    AftercareError,
    CheckFailed,
    InvalidInput,
    MissingZone,
    NotFound,
    OutOfRange,
    Stale,
    WrongSubject,
)
from fhir_aftercare.flows.receive_observation import ObservationReceived, receive_observation
from fhir_aftercare.flows.receive_response import Received, ResponseRequest, preview_response, receive_response

router = APIRouter(prefix=PREFIX, tags=["answers"], route_class=JsonRoute)

_READING: tuple[type[AftercareError], ...] = (InvalidInput, OutOfRange, MissingZone, NotFound, WrongSubject, *FROM_FHIR)
_ERRORS = errors(*_READING, Stale, CheckFailed)
_PATIENT = re.compile(f"Patient/{ID}")
_UNCHANGED: dict[int | str, dict[str, Any]] = {200: {"model": ResponseOut, "description": "All of it was there before"}}
Sent = Annotated[ResponseBody, Body(openapi_examples=examples.RESPONSE)]
Submission = Annotated[
    str | None,
    Query(
        pattern="^[A-Za-z0-9._-]{1,64}$",
        description="Your id of this filling-in. The same id with other answers amends them.",
    ),
]


@router.post(
    "/responses",
    operation_id="submitResponse",
    dependencies=[PLAN_WRITERS],
    summary="Submit a QuestionnaireResponse",
    status_code=201,
    responses={**_UNCHANGED, **_ERRORS},
)
async def submit(  # noqa: PLR0917  (FastAPI gives them by name)
    clinic: Clinic, counts: Counts, body: Sent, once: Once, response: Response, submission: Submission = None
) -> ResponseOut:
    """Keep the answers, score them, complete the Task that asked, and make sure that somebody acts.

    The body is a FHIR R4 QuestionnaireResponse whose `subject` is the patient. To name the Task it answers, give the
    Task's business identifier as `identifier`; otherwise patient, form and open window decide.
    """
    received = await receive_response(clinic, _request(body, submission))
    if received.changed:
        counts.read(received.scores, received.reasons)
    else:
        response.status_code = 200
    done = ResponseOut.of(received)
    once.wrote(*done.references())
    return done


@router.post(
    "/responses/preview",
    operation_id="previewResponse",
    dependencies=[PLAN_READERS],
    summary="See what submitting answers would write",
    response_class=FhirResponse,
    responses={200: BUNDLE, **_ERRORS},
)
async def preview(clinic: Clinic, body: Sent, submission: Submission = None) -> Any:
    """Give the transaction Bundle that would be sent to the FHIR server now. Nothing is written."""
    return FhirResponse(await preview_response(clinic, _request(body, submission)))


class StoredIn(Sealed):
    """Answers or a score that are on the clinic's FHIR server already."""

    patient: PatientRef
    reference: Annotated[
        str,
        Field(pattern=f"^(QuestionnaireResponse|Observation)/{ID}$", examples=["QuestionnaireResponse/5"]),
    ]


class StoredOut(BaseModel):
    """What the answers say, and the Task that somebody must act on."""

    scores: list[ScoreOut]
    review: str | None
    reasons: list[ReasonOut]
    changed: bool

    @classmethod
    def of(cls, scores: Sequence[Score], seen: Received | ObservationReceived) -> Self:
        """Give it of what the flow saw."""
        return cls(
            scores=[ScoreOut.of(each) for each in scores],
            review=seen.review,
            reasons=ReasonOut.all_of(seen.reasons),
            changed=seen.changed,
        )


@router.post(
    "/responses/stored",
    operation_id="readStoredAnswers",
    dependencies=[EVENT_WRITERS],
    summary="Look at answers or a score that the EHR wrote itself",
    responses=_ERRORS,
)
async def stored(
    clinic: Clinic, counts: Counts, body: Annotated[StoredIn, Body(openapi_examples=examples.STORED)], once: Once
) -> StoredOut:
    """Score what the portal or a form engine has written, and make sure that somebody acts. It is not written again."""
    if body.reference.startswith("Observation/"):
        observed = await receive_observation(clinic, body.patient, body.reference)
        done = _stored([observed.score], observed, counts)
    else:
        resource = await clinic.fhir.read("QuestionnaireResponse", body.reference.partition("/")[2])
        received = await receive_response(clinic, ResponseRequest(body.patient, resource, stored=True))
        done = _stored(received.scores, received, counts)
    once.wrote(*([done.review] if done.review else []))
    return done


def _request(body: dict[str, Any], submission: str | None) -> ResponseRequest:
    subject = body.get("subject")
    reference = subject.get("reference") if isinstance(subject, dict) else None
    if not isinstance(reference, str) or not _PATIENT.fullmatch(reference):
        raise InvalidInput("The response must name its patient, as Patient/id.", where="subject.reference")
    return ResponseRequest(reference, body, submission=submission)


def _stored(scores: Sequence[Score], seen: Received | ObservationReceived, counts: Counts) -> StoredOut:
    if seen.changed:
        counts.read(scores, seen.reasons)
    return StoredOut.of(scores, seen)
