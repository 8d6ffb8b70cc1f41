"""One Task: read it, and move it. What is legal is told with every answer; an illegal move is refused naming it."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Query, Response
from fastapi import Body as BodyParam
from pydantic import BaseModel, Field

from fhir_aftercare.api import examples_work as examples
from fhir_aftercare.api.bodies import FhirResponse, JsonRoute
from fhir_aftercare.api.clinics import PREFIX, Clinic, Counts
from fhir_aftercare.api.conditional import IfMatch, IfNoneMatch, etag
from fhir_aftercare.api.idempotency import Once
from fhir_aftercare.api.models import Body, Moment, PatientRef, ResourceId, Words
from fhir_aftercare.api.openapi import FROM_FHIR, errors
from fhir_aftercare.api.previews import FHIR_OBJECT, ID
from fhir_aftercare.api.security import PLAN_READERS, PLAN_WRITERS
from fhir_aftercare.errors import (
    AftercareError,
    CheckFailed,
    IllegalMove,
    InvalidInput,
    MissingZone,
    NotFound,
    Stale,
    WrongSubject,
)
from fhir_aftercare.fhir import tasks
from fhir_aftercare.flows.move_task import FAIL_REASONS, Move, Moved, MoveRequest, move_task
from fhir_aftercare.flows.open_chart import open_chart
from fhir_aftercare.flows.task_facts import is_ours, legal_moves

router = APIRouter(prefix=PREFIX, tags=["tasks"], route_class=JsonRoute)

_READING: tuple[type[AftercareError], ...] = (NotFound, WrongSubject, *FROM_FHIR)
_TASK: dict[int | str, dict[str, Any]] = {
    200: {"description": "The Task, with its ETag.", "content": {"application/fhir+json": {"schema": FHIR_OBJECT}}}
}
TaskId = Annotated[ResourceId, Path(description="The Task's id on the clinic's FHIR server.")]


@router.get(
    "/tasks/{task}",
    operation_id="getTask",
    dependencies=[PLAN_READERS],
    summary="Read one Task",
    response_class=FhirResponse,
    responses={**_TASK, **errors(*_READING)},
)
async def get_task(clinic: Clinic, task: TaskId, known: IfNoneMatch) -> Any:
    """Give the FHIR Task with its ETag, which a move must name in `If-Match`."""
    found = await clinic.fhir.read("Task", task)
    if not is_ours(found, clinic.identifiers):
        raise WrongSubject("The Task is not this clinic's.", where="task")
    tag = etag(found["meta"]["versionId"])
    return known.not_modified(tag) or FhirResponse(found, headers={"etag": tag})


class TaskOut(BaseModel):
    """A Task of one patient, and what may be done with it. ``version`` is what a move must name in If-Match."""

    task: str
    version: str | None
    what: str | None
    status: str
    business_status: str | None
    priority: str
    opens: datetime | None
    due: datetime | None
    legal_moves: list[Move]

    @classmethod
    def of(cls, task: dict[str, Any]) -> Self:
        """Give it of a Task."""
        opens, due, _ = tasks.window_of(task)
        return cls(
            task=f"Task/{task['id']}",
            version=(task.get("meta") or {}).get("versionId"),
            what=task.get("description") or (task.get("code") or {}).get("text"),
            status=task["status"],
            business_status=_business_status(task),
            priority=task.get("priority", "routine"),
            opens=opens,
            due=due,
            legal_moves=list(legal_moves(task)),
        )


class TasksOut(BaseModel):
    """The Tasks of one patient: open ones in the order in which they press, then those that have ended."""

    items: list[TaskOut]


@router.get(
    "/patients/{patient}/tasks",
    operation_id="listTasks",
    dependencies=[PLAN_READERS],
    summary="List one patient's Tasks",
    responses=errors(NotFound, *FROM_FHIR),
)
async def list_tasks(
    clinic: Clinic,
    patient: Annotated[ResourceId, Path(description="The Patient's id on the clinic's FHIR server.")],
    status: Annotated[Literal["open", "ended", "all"], Query(description="Which of them.")] = "open",
) -> TasksOut:
    """Give the Tasks of a patient's aftercare, with the moves that are legal for each."""
    view = await open_chart(clinic, f"Patient/{patient}")
    waiting = [each.resource for each in view.open_tasks] if status != "ended" else []
    ended = list(view.closed_tasks) if status != "open" else []
    return TasksOut(items=[TaskOut.of(each) for each in (*waiting, *ended)])


def _business_status(task: dict[str, Any]) -> str | None:
    codings = (task.get("businessStatus") or {}).get("coding") or [{}]
    return str(codings[0]["code"]) if codings[0].get("code") else None


class MoveIn(Body):
    """One move. What belongs to which: `attempt` has an outcome and perhaps a next try, `fail` a reason, `reassign` an
    owner; `claim` says who; a completed clinical review says in `outcome` what was decided.
    """

    move: Move
    person: Annotated[
        str | None,
        Field(pattern=f"^(Practitioner|PractitionerRole|Patient|RelatedPerson)/{ID}$", examples=["Practitioner/9"]),
    ] = None
    outcome: Words | None = Field(default=None, description="Of an attempt: reached or no-answer.")
    reason: Annotated[
        Literal[tuple(FAIL_REASONS)] | None,  # type: ignore[valid-type]  # the keys are known when this is read
        Field(description="Why it fails."),
    ] = None
    note: Words | None = None
    next_try: Moment | None = Field(default=None, description="When a call that was not answered is due again.")
    owner: Annotated[
        str | None,
        Field(
            pattern=f"^(Practitioner|PractitionerRole|Organization|CareTeam|HealthcareService)/{ID}$",
            examples=["PractitionerRole/7"],
        ),
    ] = None
    patient: PatientRef | None = Field(default=None, description="With it, the Task must be this patient's.")


class MovedOut(BaseModel):
    """The Task as it is now, and what may follow. ``attempt`` and ``review`` are what was written beside it."""

    task: str
    status: str
    business_status: str | None
    due: datetime | None
    attempt: str | None
    review: str | None
    legal_moves: list[Move]
    changed: bool

    @classmethod
    def of(cls, moved: Moved) -> Self:
        """Give it of what the flow did."""
        return cls(
            task=moved.task,
            status=moved.resource["status"],
            business_status=_business_status(moved.resource),
            due=((moved.resource.get("restriction") or {}).get("period") or {}).get("end"),
            attempt=moved.attempt,
            review=moved.review,
            legal_moves=list(moved.legal_moves),
            changed=moved.changed,
        )


@router.post(
    "/tasks/{task}/moves",
    operation_id="moveTask",
    dependencies=[PLAN_WRITERS],
    summary="Claim, attempt, complete, fail, decline, release or reassign a Task",
    responses=errors(IllegalMove, InvalidInput, MissingZone, Stale, CheckFailed, *_READING),
)
async def move(  # noqa: PLR0917  (FastAPI gives them by name)
    clinic: Clinic,
    counts: Counts,
    task: TaskId,
    body: Annotated[MoveIn, BodyParam(openapi_examples=examples.MOVE)],
    expected: IfMatch,
    once: Once,
    response: Response,
) -> MovedOut:
    """Move a Task. A call attempt is kept as a Communication; the third one not answered goes to a named clinician.

    `If-Match` is the version that was looked at (428 without, 412 if it has changed). The same move again changes
    nothing. An illegal move is refused with the legal ones named.
    """
    asked = MoveRequest(task=f"Task/{task}", if_match=expected.etag, **body.model_dump())
    moved = await move_task(clinic, asked)
    done = MovedOut.of(moved)
    once.wrote(done.task, *(each for each in (done.attempt, done.review) if each))
    if moved.review and moved.changed:
        counts.escalation("urgent")
    version = (moved.resource.get("meta") or {}).get("versionId")
    if version and not moved.changed:
        response.headers["etag"] = etag(version)
    return done
