"""The forms of a course when one of its infusions is corrected: moved, hung on the infusion before, or withdrawn.

A step of ``correct``, not a door. Only forms nobody has acted on change; what is due now stays due. Which forms a
course asks is ``running_course``'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.correction import MOVABLE, CourseEffect, course_after
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import careplan, corrections, tasks
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.ask_forms import ask_forms, chart_after
from fhir_aftercare.flows.running_course import RunningCourse
from fhir_aftercare.flows.situation import children, is_task, parts_of, plan_zone

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.care.correction import Change
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.draft import Draft

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CoursePlace:
    """A course on the server, and the other infusions of it that stand: (E, plan) of the finished ones, oldest first.

    ``running`` counts those whose patient has not left yet.
    """

    plan: Resource
    finished: tuple[tuple[datetime, Resource], ...]
    running: int

    def is_last(self, end: datetime) -> bool:
        """Tell whether no other infusion of the course ended after ``end``."""
        return all(utc(other) <= utc(end) for other, _ in self.finished)


def course_of(chart: Chart, plan: Resource) -> CoursePlace | None:
    """Give the course of an infusion's plan, if it has one that goes on."""
    owned = plan.get("partOf") or ()
    course = next(
        (each for each in chart.of("CarePlan") if any(refers_to(reference, each) for reference in owned)), None
    )
    if course is None or course.get("status") not in {"active", "on-hold"}:
        return None
    others = [
        each
        for each in parts_of(chart, course)
        if each["id"] != plan["id"] and each.get("status") not in careplan.ENDED
    ]
    finished = [(end, each) for each in others if each["status"] != "draft" and (end := start_of(each)) is not None]
    return CoursePlace(course, tuple(sorted(finished, key=lambda pair: utc(pair[0]))), len(others) - len(finished))


def start_of(plan: Resource) -> datetime | None:
    """Give when a plan begins: an infusion's that is no draft, at E."""
    return tasks.moment((plan.get("period") or {}).get("start"))


def take_back(draft: Draft, place: CoursePlace, end: datetime, change: Change) -> None:
    """Do to the course what becomes of it when the infusion that ended at ``end`` is taken back.

    The transaction has its plan as ended already.
    """
    effect = course_after(
        finished=len(place.finished),
        running=place.running,
        was_last=place.is_last(end),
        answered=_is_answered(draft.chart, place.plan),
    )
    if effect is CourseEffect.REANCHOR:
        ask_forms(draft)
    elif effect is CourseEffect.WITHDRAW_FORMS:
        _withdraw(draft, place.plan, change, only_untouched=True)
    elif effect is CourseEffect.REVOKE:
        _withdraw(draft, place.plan, change, only_untouched=False)
        revoked = corrections.ended(place.plan, "revoked")
        if revoked is not None:
            draft.transaction.update(revoked, place.plan)
        for goal in draft.chart.of("Goal"):
            cancelled = corrections.goal_cancelled(goal)
            if cancelled is not None and any(refers_to(each, goal) for each in place.plan.get("goal") or ()):
                draft.transaction.update(cancelled, goal)


def _is_answered(chart: Chart, course: Resource) -> bool:
    """Tell whether the patient has answered anything in the course: then it is not taken back unasked."""
    told = [*chart.of("Observation"), *chart.of("QuestionnaireResponse")]
    return any(each.get("output") for each in children(chart, course) if is_task(each)) or any(
        refers_to(reference, course) for each in told for reference in each.get("basedOn") or ()
    )


def _withdraw(draft: Draft, course: Resource, change: Change, *, only_untouched: bool) -> None:
    for task in _open_forms(draft.chart, course):
        if task["status"] in MOVABLE or not only_untouched:
            reason = corrections.REASONS[change]
            moved = tasks.moved(task, "cancelled", "withdrawn", at=draft.now, reason=reason)
            draft.transaction.update(moved, task)


def _open_forms(chart: Chart, course: Resource) -> list[Resource]:
    return [
        each
        for each in children(chart, course)
        if is_task(each) and tasks.is_open(each) and tasks.asks_for(each) is not None
    ]


def move_forms(draft: Draft, place: CoursePlace, told: datetime, end: datetime) -> None:
    """Move the forms that hang on an infusion which ended at ``end``, and not when it was ``told`` to have.

    The transaction has its plan moved already. A course whose protocol cannot be applied is left as it is;
    ``tend_plans`` tells of it.
    """
    course = place.plan
    began = start_of(course)
    if began is not None and utc(began) == utc(told):
        zone = plan_zone(course, draft.context.clinic)
        period = {**course["period"], "start": tasks.instant(local(end, zone))}
        course = {**course, "period": period}
        draft.transaction.update(course, place.plan)
    try:
        before = _asked(draft, draft.chart, place.plan)
        after = _asked(draft, chart_after(draft), course)
    except ProtocolFault:
        return
    for identifier, form in after.items():
        task, hung = draft.existing(form), before.get(identifier)
        if task is None or hung is None or task.get("status") not in MOVABLE:
            continue
        was, now = tasks.window_of(hung), tasks.window_of(form)
        if corrections.is_at(task, was) and was != now:
            draft.transaction.update(corrections.rescheduled(task, now, draft.now), task)
    ask_forms(draft)


def _asked(draft: Draft, chart: Chart, course: Resource) -> dict[tuple[str, str], Resource]:
    """Give the Tasks of the forms a course asks, by identifier."""
    asking = RunningCourse.of(draft.context, chart, course).asking()
    return {each.identifier: each.resource for each in asking.wanted}
