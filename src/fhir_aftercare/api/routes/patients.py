"""One patient's aftercare as it stands."""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel

from fhir_aftercare.api.bodies import JsonRoute
from fhir_aftercare.api.clinics import PREFIX, Clinic
from fhir_aftercare.api.models import ResourceId
from fhir_aftercare.api.openapi import FROM_FHIR, errors
from fhir_aftercare.api.security import PLAN_READERS
from fhir_aftercare.errors import NotFound
from fhir_aftercare.flows.open_chart import ChartView, OpenTask, Trend, open_chart

router = APIRouter(prefix=PREFIX, tags=["patients"], route_class=JsonRoute)


class PlanOut(BaseModel):
    """A CarePlan."""

    reference: str
    status: str
    start: str | None
    end: str | None

    @classmethod
    def of(cls, plan: dict[str, Any]) -> Self:
        """Give it of a CarePlan."""
        period = plan.get("period") or {}
        return cls(
            reference=f"CarePlan/{plan['id']}",
            status=plan["status"],
            start=period.get("start"),
            end=period.get("end"),
        )


class OpenTaskOut(BaseModel):
    """A Task that waits for somebody; overdue, due or coming by the clock."""

    reference: str
    what: str | None
    state: str
    priority: str
    opens: datetime | None
    due: datetime | None

    @classmethod
    def of(cls, task: OpenTask) -> Self:
        """Give it of a Task."""
        return cls(
            reference=task.reference,
            what=task.resource.get("description") or (task.resource.get("code") or {}).get("text"),
            state=task.state,
            priority=task.priority,
            opens=task.opens,
            due=task.due,
        )


class PointOut(BaseModel):
    """One score of a trend."""

    at: datetime
    total: int
    source: str | None
    item9: int | None
    recall_mismatch: bool


class TrendOut(BaseModel):
    """The scores of one instrument, oldest first; the outcome fields are null where nothing can be said."""

    instrument: str
    points: list[PointOut]
    baseline: int | None
    response: bool | None = None
    remission: bool | None = None
    worsening: bool | None = None
    relapse: bool | None = None

    @classmethod
    def of(cls, trend: Trend) -> Self:
        """Give it of a trend."""
        found, outcome = cls._points(trend), trend.outcome
        if outcome is None:
            return found
        return found.model_copy(
            update={
                "response": outcome.response,
                "remission": outcome.remission,
                "worsening": outcome.worsening,
                "relapse": outcome.relapse,
            }
        )

    @classmethod
    def _points(cls, trend: Trend) -> Self:
        return cls(
            instrument=trend.instrument,
            points=[
                PointOut(
                    at=each.at,
                    total=each.total,
                    source=each.source,
                    item9=each.item9,
                    recall_mismatch=each.recall_mismatch,
                )
                for each in trend.points
            ],
            baseline=trend.baseline.total if trend.baseline else None,
        )


class Gap(BaseModel):
    """A part of the chart that could not be read: it is not empty, it is unknown."""

    section: str
    code: str


class AftercareOut(BaseModel):
    """One patient's plans, open Tasks, scores and what comes next."""

    patient: str
    courses: list[PlanOut]
    infusions: list[PlanOut]
    open_tasks: list[OpenTaskOut]
    trends: list[TrendOut]
    restricted_until: datetime | None
    next_due: datetime | None
    as_of: datetime
    gaps: list[Gap]

    @classmethod
    def of(cls, view: ChartView) -> Self:
        """Give it of a chart."""
        return cls(
            patient=f"Patient/{view.patient['id']}",
            courses=[PlanOut.of(each) for each in view.courses],
            infusions=[PlanOut.of(each) for each in view.infusion_plans],
            open_tasks=[OpenTaskOut.of(each) for each in view.open_tasks],
            trends=[TrendOut.of(each) for each in view.trends],
            restricted_until=view.restricted_until,
            next_due=view.next_due,
            as_of=view.as_of,
            gaps=[Gap(section=name, code=error.code) for name, error in view.gaps.items()],
        )


@router.get(
    "/patients/{patient}/aftercare",
    operation_id="getAftercare",
    dependencies=[PLAN_READERS],
    summary="See one patient's aftercare",
    responses=errors(NotFound, *FROM_FHIR),
)
async def aftercare(
    clinic: Clinic, patient: Annotated[ResourceId, Path(description="The Patient's id on the clinic's FHIR server.")]
) -> AftercareOut:
    """Give plans, open Tasks, scores with their trend, and what is due next, from one read of the chart."""
    return AftercareOut.of(await open_chart(clinic, f"Patient/{patient}"))
