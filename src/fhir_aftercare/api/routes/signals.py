"""The REST door for signals: look at this visit. The answer says that it is kept; the work is done afterwards."""

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, Field

from fhir_aftercare.api import examples_work
from fhir_aftercare.api.bodies import JsonRoute
from fhir_aftercare.api.clinics import PREFIX, Clinic
from fhir_aftercare.api.idempotency import Once
from fhir_aftercare.api.models import Body as Sealed
from fhir_aftercare.api.models import EncounterRef, Moment, PatientRef
from fhir_aftercare.api.openapi import errors
from fhir_aftercare.api.security import ADMINS, EVENT_WRITERS
from fhir_aftercare.errors import InvalidInput, MissingZone, NotFound, StoreUnavailable
from fhir_aftercare.flows.signal import DischargeSignal

if TYPE_CHECKING:
    from fhir_aftercare.flows.inbox import Inbox

router = APIRouter(prefix=PREFIX, tags=["signals"], route_class=JsonRoute)

SOURCE = "rest"


class SignalIn(Sealed):
    """What happened to a visit, as far as the sender knows. What is true is read from the clinic's FHIR server."""

    event: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$", examples=["adt-2026-000123"])]
    encounter: EncounterRef | None = None
    patient: PatientRef | None = None
    kind: Literal["finished", "cancelled", "changed", "merged"] = "finished"
    occurred_at: Moment | None = None

    def signal(self, clinic: str) -> DischargeSignal:
        """Give it as all doors do. Raises ``InvalidInput``, ``MissingZone``."""
        return DischargeSignal(clinic, SOURCE, self.event, self.encounter, self.patient, self.kind, self.occurred_at)


class SignalOut(BaseModel):
    """Under which name the work is kept, and whether it is new: the same event of a sender is the same work."""

    work: str
    new: bool


class WorkOut(BaseModel):
    """How much of the service's own work waits, runs, and cannot go on until somebody has mended what refuses it."""

    waiting: int
    running: int
    refused: int


@router.post(
    "/signals",
    operation_id="sendSignal",
    dependencies=[EVENT_WRITERS],
    summary="Say that something happened to a visit",
    status_code=202,
    responses=errors(InvalidInput, MissingZone, NotFound, StoreUnavailable),
)
async def send(
    clinic: Clinic,
    request: Request,
    body: Annotated[SignalIn, Body(openapi_examples=examples_work.SIGNAL)],
    once: Once,  # noqa: ARG001  (an Idempotency-Key is taken here too)
) -> SignalOut:
    """Have a visit looked at. 202 means that it is kept, and will be done whatever process dies meanwhile.

    It may be sent as often as wanted, before or after other doors tell the same: there is one plan. A visit that the
    FHIR server does not call finished yet is looked at again for a day; one that was no infusion's writes nothing.
    """
    inbox: Inbox | None = getattr(request.app.state, "inbox", None)
    if inbox is None:
        raise _NONE
    signal = body.signal(clinic.clinic.id)
    return SignalOut(work=signal.work_id, new=await inbox.take(signal))


@router.get(
    "/work",
    operation_id="countWork",
    dependencies=[ADMINS],
    summary="See how much of the service's own work is left",
    responses=errors(NotFound, StoreUnavailable),
)
async def count(clinic: Clinic, request: Request) -> WorkOut:
    """Count a clinic's durable work. What was refused is listed by `fhir-aftercare work list`."""
    work = getattr(request.app.state, "work", None)
    if work is None:
        raise _NONE
    return WorkOut(**await work.counts(clinic.clinic.id))


_NONE = NotFound(
    "This service does no work of its own.", where="AFTERCARE_WORK", remedy="Start it with AFTERCARE_WORK=1."
)
