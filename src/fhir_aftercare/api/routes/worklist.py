"""The clinic's worklist across patients: escalated, overdue, due, coming; what presses most comes first."""

from datetime import datetime, timedelta
from typing import Annotated, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from fhir_aftercare.api.bodies import JsonRoute
from fhir_aftercare.api.clinics import PREFIX, Clinic
from fhir_aftercare.api.openapi import FROM_FHIR, errors
from fhir_aftercare.api.paging import Page, Paged
from fhir_aftercare.api.previews import ID
from fhir_aftercare.api.security import PLAN_READERS
from fhir_aftercare.care.worklist import WorkState
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.flows.task_facts import Move
from fhir_aftercare.flows.worklist import NOW, WorklistRequest, WorklistRow, worklist

router = APIRouter(prefix=PREFIX, tags=["worklist"], route_class=JsonRoute)


# Whom R4 lets own a Task: a server refuses to search for any other.
_OWNERS = "Practitioner|PractitionerRole|Organization|CareTeam|HealthcareService|Patient|Device|RelatedPerson"


class Row(BaseModel):
    """One open Task: what it is, whose, why it is on the list, and what may be done with it."""

    task: str
    version: str | None
    patient: str | None
    patient_name: str | None
    what: str | None
    state: WorkState
    priority: str
    opens: datetime | None
    due: datetime | None
    overdue_by: timedelta | None
    attempts: int
    owner: str | None
    legal_moves: list[Move]

    @classmethod
    def of(cls, row: WorklistRow) -> Self:
        """Give it of a row."""
        name = row.name
        parts = [*name.given, name.family] if name else []
        return cls(
            task=row.task,
            version=row.version,
            patient=row.patient,
            patient_name=(name.text or " ".join(part for part in parts if part) or None) if name else None,
            what=row.code.get("text"),
            state=row.state,
            priority=row.priority,
            opens=row.opens,
            due=row.due,
            overdue_by=row.overdue_by,
            attempts=row.attempts,
            owner=row.owner,
            legal_moves=list(row.legal_moves),
        )


class WorklistOut(Page[Row]):
    """One page of the list. ``next`` is the cursor of the page after it, absent on the last."""


@router.get(
    "/worklist",
    operation_id="getWorklist",
    dependencies=[PLAN_READERS],
    summary="See what the clinic must do, for all its patients",
    responses=errors(InvalidInput, *FROM_FHIR),
)
async def get_worklist(
    clinic: Clinic,
    paging: Paged,
    response: Response,
    state: Annotated[list[WorkState] | None, Query(max_length=4, description="Default: all but coming.")] = None,
    owner: Annotated[
        str | None, Query(pattern=f"^({_OWNERS})/{ID}$", description="Whose work, as a reference.")
    ] = None,
) -> WorklistOut:
    """Give open Tasks in the order in which they press: escalated, overdue by age, due. `next` is the next page."""
    asked = WorklistRequest(frozenset(state) if state else NOW, owner, paging.after, paging.limit)
    page = await worklist(clinic, asked)
    following = paging.cursor(page.next) if page.next else None
    paging.link(response, following)
    return WorklistOut(items=[Row.of(each) for each in page.rows], next=following)
