"""The forms of a course when one of its infusions is corrected: moved, hung on the infusion before, or withdrawn.

A step of ``correct``, not a door. Only forms nobody has acted on change; what is due now stays due.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.correction import MOVABLE, CourseEffect, course_after
from fhir_aftercare.care.plan import Anchor
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.fhir import careplan, corrections, tasks
from fhir_aftercare.fhir.course import Course, propose_course, superseded
from fhir_aftercare.fhir.facts import Facts
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.situation import children, is_task, language_of, plan_zone, refers
from fhir_aftercare.flows.which_infusion import episode_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fhir_aftercare.care.correction import Change
    from fhir_aftercare.care.plan import Episode
    from fhir_aftercare.fhir.facts import Wanted
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
    plans = chart.of("CarePlan")
    owned = plan.get("partOf") or ()
    course = next((each for each in plans if any(refers(reference, each) for reference in owned)), None)
    if course is None or course.get("status") not in {"active", "on-hold"}:
        return None
    others = [
        each
        for each in plans
        if each["id"] != plan["id"]
        and careplan.is_kind(each, "infusion")
        and each.get("status") not in careplan.ENDED
        and any(refers(reference, course) for reference in each.get("partOf") or ())
    ]
    finished = [(end, each) for each in others if each["status"] != "draft" and (end := start_of(each)) is not None]
    return CoursePlace(course, tuple(sorted(finished, key=lambda pair: utc(pair[0]))), len(others) - len(finished))


def start_of(plan: Resource) -> datetime | None:
    """Give when a plan begins: an infusion's that is no draft, at E."""
    return tasks.moment((plan.get("period") or {}).get("start"))


def take_back(draft: Draft, place: CoursePlace, end: datetime, episode: Episode, change: Change) -> None:
    """Do to the course what becomes of it when the infusion that ended at ``end`` is taken back."""
    effect = course_after(
        finished=len(place.finished),
        running=place.running,
        was_last=place.is_last(end),
        answered=_is_answered(draft.chart, place.plan),
    )
    if effect is CourseEffect.REANCHOR:
        _reanchor(draft, place, episode)
    elif effect is CourseEffect.WITHDRAW_FORMS:
        _withdraw(draft, place.plan, change, only_untouched=True)
    elif effect is CourseEffect.REVOKE:
        _withdraw(draft, place.plan, change, only_untouched=False)
        revoked = corrections.ended(place.plan, "revoked")
        if revoked is not None:
            draft.transaction.update(revoked, place.plan)
        for goal in draft.chart.of("Goal"):
            cancelled = corrections.goal_cancelled(goal)
            if cancelled is not None and any(refers(each, goal) for each in place.plan.get("goal") or ()):
                draft.transaction.update(cancelled, goal)


def _is_answered(chart: Chart, course: Resource) -> bool:
    """Tell whether the patient has answered anything in the course: then it is not taken back unasked."""
    told = [*chart.of("Observation"), *chart.of("QuestionnaireResponse")]
    return any(each.get("output") for each in children(chart, course) if is_task(each)) or any(
        refers(reference, course) for each in told for reference in each.get("basedOn") or ()
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


def _reanchor(draft: Draft, place: CoursePlace, episode: Episode) -> None:
    """Hang the last forms on the infusion before (fhir-model §1.6)."""
    end, plan = place.finished[-1]
    before = episode_of(plan, draft.context.clinic, draft.context.identifiers)
    last_key = before.infusion_key if before else _key_without_encounter(plan)
    course = _course(place.plan, start_of(place.plan) or end, end, last_key)
    wanted = _wanted(draft, course, before or episode)
    waiting = {task["id"]: task for task in _open_forms(draft.chart, place.plan)}
    for changed in superseded(list(waiting.values()), wanted, draft.now):
        draft.transaction.update(changed, waiting[changed["id"]])
    for form in wanted:
        draft.ensure_wanted(form)


def move_forms(draft: Draft, place: CoursePlace, episode: Episode, told: datetime, end: datetime) -> None:
    """Move the forms that hang on an infusion which ended at ``end``, and not when it was ``told`` to have."""
    began = start_of(place.plan) or told
    first = utc(began) == utc(told)
    other = place.finished[-1] if place.finished and not place.is_last(told) else None
    last_key = episode.infusion_key
    if other is not None:
        found = episode_of(other[1], draft.context.clinic, draft.context.identifiers)
        last_key = found.infusion_key if found else _key_without_encounter(other[1])
    before = _course(place.plan, began, other[0] if other else told, last_key)
    after = _course(place.plan, end if first else began, other[0] if other else end, last_key)
    windows = {each.identifier: each.resource for each in _wanted(draft, before, episode)}
    for form in _wanted(draft, after, episode):
        task, hung = draft.existing(form.resource), windows.get(form.identifier)
        if task is None or hung is None or task.get("status") not in MOVABLE:
            continue
        if tasks.window_of(task) == tasks.window_of(hung) != tasks.window_of(form.resource):
            draft.transaction.update(corrections.rescheduled(task, tasks.window_of(form.resource), draft.now), task)
    if first and utc(end) != utc(told):
        zone = plan_zone(place.plan, draft.context.clinic)
        period = {**(place.plan.get("period") or {}), **tasks.period(local(end, zone), None)}
        draft.transaction.update({**place.plan, "period": period}, place.plan)


def _course(plan: Resource, start: datetime, last_end: datetime, last_key: tuple[str, ...]) -> Course:
    return Course(("course", plan["identifier"][0]["value"]), reference_of(plan), start, last_end, last_key)


def _key_without_encounter(plan: Resource) -> tuple[str, ...]:
    return ("plan", plan["identifier"][0]["value"])


def _wanted(draft: Draft, course: Course, episode: Episode) -> Sequence[Wanted]:
    """Give the forms a course wants now, each under the identifier of the Task that asks for it."""
    context, chart = draft.context, draft.chart
    plan = next(each for each in chart.of("CarePlan") if reference_of(each) == course.reference)
    facts = Facts(
        clinic=context.clinic,
        identifiers=context.identifiers,
        episode=episode,
        patient=draft.patient,
        encounter=draft.encounter,
        anchor=Anchor(course.last_end, course.last_end),
        zones=(plan_zone(plan, context.clinic),),
        language=language_of(chart.patient, None, context.clinic),
        now=context.clock(),
        requester=context.clinic.organization,
        patient_has_left=True,
        course_active=True,
    )
    there = [each for each in children(chart, plan) if is_task(each)]
    proposal = propose_course(context.protocol, context.protocol.course, facts, course, there)
    return [_asked_again(draft, each) for each in proposal.wanted]


def _asked_again(draft: Draft, form: Wanted) -> Wanted:
    """Give a form as it is; one that a later infusion had superseded, which is no more, under a further number."""
    base, number = form.identifier[1], 1
    while (task := draft.existing(form.resource)) is not None and _is_superseded(task):
        number += 1
        identifier = draft.context.identifiers.identifier("activity", base, f"r{number}")
        urn = draft.context.identifiers.full_url("activity", base, f"r{number}")
        form = replace(form, urn=urn, resource={**form.resource, "identifier": [identifier]})
    return form


def _is_superseded(task: Resource) -> bool:
    return task.get("status") == "cancelled" and corrections.has_reason(task, "superseded")
