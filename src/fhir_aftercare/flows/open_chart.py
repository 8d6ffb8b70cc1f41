"""Open a chart: everything a page or a caller wants to know of one patient's aftercare, from one batch (design §4.4).

Data only, no page. A section that could not be read is a labelled gap; *overdue*, *due* and *coming* are computed from
the clock, never stored. What happened beside the scores (infusions, missed forms, calls) is ``course_events``' to tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.instruments import GAD7, PHQ9
from fhir_aftercare.care.outcome import assess, baseline, newest_per_day
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import careplan, tasks, terms
from fhir_aftercare.flows.ask_forms import ComingForm, coming_forms
from fhir_aftercare.flows.chart import (
    Section,
    call_section,
    patient_section,
    plan_sections,
    read_chart,
    total_sections,
)
from fhir_aftercare.flows.course_events import calls_in, infusions_in, missed_in
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.running_course import course_start
from fhir_aftercare.flows.situation import score_points

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.care.outcome import Outcome, Point
    from fhir_aftercare.errors import AftercareError
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.course_events import Call, GivenInfusion, MissedForm

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A Task that waits for somebody. ``state``: overdue, due (its window is open) or coming."""

    reference: str
    state: str
    priority: str
    opens: datetime | None
    due: datetime | None
    resource: Resource


@dataclass(frozen=True, slots=True)
class Trend:
    """The scores of one instrument, oldest first, with what they say against the baseline."""

    instrument: str
    points: tuple[Point, ...]
    baseline: Point | None
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class ChartView:
    """One patient's aftercare as it stands. ``gaps`` names what could not be read, with the error.

    ``coming`` are the forms that will be asked and are no Tasks yet (fhir-model §3.3). ``began`` is when the first
    infusion of the newest course started; ``people`` holds who owns Tasks or made calls, by reference.
    """

    patient: Resource
    courses: tuple[Resource, ...]
    infusion_plans: tuple[Resource, ...]
    goals: tuple[Resource, ...]
    open_tasks: tuple[OpenTask, ...]
    closed_tasks: tuple[Resource, ...]
    restrictions: tuple[Resource, ...]
    trends: tuple[Trend, ...]
    next_due: datetime | None
    as_of: datetime
    gaps: Mapping[str, AftercareError] = field(default_factory=dict)
    coming: tuple[ComingForm, ...] = ()
    began: datetime | None = None
    infusions: tuple[GivenInfusion, ...] = ()
    missed: tuple[MissedForm, ...] = ()
    calls: tuple[Call, ...] = ()
    people: Mapping[str, Resource] = field(default_factory=dict)

    @property
    def restricted_until(self) -> datetime | None:
        """When the last restriction in force ends; None if none is."""
        ends = [_occurrence_end(each) for each in self.restrictions if each.get("status") == "active"]
        return max((end for end in ends if end is not None and end > self.as_of), default=None)


async def open_chart(context: ClinicContext, patient: str) -> ChartView:
    """Read a patient's aftercare in one round trip (``patient`` is ``Patient/1``).

    Raises ``NotFound`` if there is no such patient, and what a failure of the whole batch becomes.
    """
    now = context.clock()
    # Calls of an earlier time than a gap between two courses belong to one that is over.
    chart = await read_chart(context.fhir, sections(patient, now - context.clinic.policy.course_max_gap))
    plans = chart.of("CarePlan")
    all_tasks = chart.of("Task")
    waiting = sorted((_waiting(each, now) for each in all_tasks if tasks.is_open(each)), key=_urgency)
    points = newest_per_day(score_points(chart, context.clinic), context.clinic.zone)
    start = course_start(chart)
    trends = tuple(_trend(key, points, start, context) for key in (PHQ9.key, GAD7.key))
    due = [each.due for each in waiting if each.due is not None and each.due >= now]
    coming, gaps = _coming(context, chart)
    return ChartView(
        patient=chart.patient,
        courses=tuple(plan for plan in plans if careplan.is_kind(plan, "course")),
        infusion_plans=tuple(plan for plan in plans if careplan.is_kind(plan, "infusion")),
        goals=tuple(chart.of("Goal")),
        open_tasks=tuple(waiting),
        closed_tasks=tuple(each for each in all_tasks if not tasks.is_open(each)),
        restrictions=tuple(each for each in chart.of("ServiceRequest") if each.get("doNotPerform")),
        trends=trends,
        next_due=min(due, default=None),
        as_of=now,
        gaps=gaps,
        coming=coming,
        began=start,
        infusions=tuple(infusions_in(chart)),
        missed=tuple(missed_in(chart, context.protocol, points, now)),
        calls=tuple(calls_in(chart)),
        people={reference_of(each): each for each in chart.of("Practitioner")},
    )


def sections(patient: str, calls_since: datetime) -> list[Section]:
    """Give what is read for it, in one batch."""
    plans, open_tasks = plan_sections(patient)
    owned = replace(open_tasks, query=f"{open_tasks.query}&_include=Task:owner:Practitioner")
    return [patient_section(patient), plans, owned, *total_sections(patient), call_section(patient, calls_since)]


def _coming(context: ClinicContext, chart: Chart) -> tuple[tuple[ComingForm, ...], Mapping[str, AftercareError]]:
    """Give the forms that come later, and the gaps of the chart: a protocol that cannot be applied is one of them."""
    try:
        return tuple(coming_forms(context, chart)), chart.gaps
    except ProtocolFault as fault:
        return (), {**chart.gaps, "coming forms": fault}


def _waiting(task: Resource, now: datetime) -> OpenTask:
    opens, due, _ = tasks.window_of(task)
    state = "overdue" if tasks.is_overdue(task, now) else "coming" if opens is not None and opens > now else "due"
    return OpenTask(f"Task/{task['id']}", state, task.get("priority", "routine"), opens, due, task)


def _urgency(task: OpenTask) -> tuple[bool, int, float]:
    """Escalations first, by level; then by when they are due."""
    review = tasks.has_code(task.resource, terms.CLINICAL_REVIEW)
    level = tasks.LEVELS.index(task.priority) if task.priority in tasks.LEVELS else 0
    return (not review, -level, task.due.timestamp() if task.due else float("inf"))


def _trend(key: str, points: Sequence[Point], start: datetime | None, context: ClinicContext) -> Trend:
    own = [point for point in points if point.instrument == key]
    policy = context.clinic.policy
    first = baseline(own, start, policy) if start else None
    return Trend(key, tuple(own), first, assess(own, first, policy, since=start) if own and start else None)


def _occurrence_end(request: Resource) -> datetime | None:
    return tasks.moment((request.get("occurrencePeriod") or {}).get("end"))
