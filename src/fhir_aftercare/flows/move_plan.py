"""Move a plan to another start or end of its infusion: what the protocol computes now, where nobody chose otherwise.

A step of ``correct``, not a door. Only Tasks that nobody has begun move; those of the course move with them
(fhir-model §1.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.correction import MOVABLE
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.fhir import careplan, corrections, tasks, terms
from fhir_aftercare.flows.course_forms import course_of, move_forms
from fhir_aftercare.flows.inform_patient import tell_of_plan
from fhir_aftercare.flows.move_restriction import move_restriction
from fhir_aftercare.flows.moving import Moving, Timetable
from fhir_aftercare.flows.situation import children, is_task, plan_zone

if TYPE_CHECKING:
    from fhir_aftercare.fhir.definitions import Action
    from fhir_aftercare.flows.draft import Draft

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Moved:
    """``inform`` is the Task to tell the patient, ``awaiting`` the restrictions that could end earlier if agreed."""

    inform: str | None
    awaiting: tuple[str, ...]


def move_plan(draft: Draft, moving: Moving) -> Moved:
    """Add what moves to the transaction.

    Raises ``ProtocolFault`` if the version of the protocol that the plan was made by is not there.
    """
    plan, times = moving.plan, Timetable.of(draft, moving)
    for action in times.before.plan.actions:
        child = times.child(action)[0] if action.related else None
        if child is not None and is_task(child):
            _move_task(times, action, child)
        elif child is not None:
            move_restriction(times, action, child)
    _confirm_end(draft, moving)
    _move_plan_itself(times)
    course, told, end = course_of(draft.chart, plan), times.told.end, moving.anchor.end
    if course is not None and plan["status"] != "draft" and told and end and utc(told) != utc(end):
        move_forms(draft, course, told, end)
    news = times.found.news
    inform = tell_of_plan(draft, moving.episode, plan, news) if news else None
    return Moved(inform, tuple(times.found.awaiting))


def _move_task(times: Timetable, action: Action, task: Resource) -> None:
    """Move a Task nobody has begun, if it is when the protocol put it: otherwise a person has chosen its time."""
    before, after = times.before.windows(action)[0], times.after.windows(action)[0]
    due, hung = tasks.window_of(task)[1], corrections.times_of(before)
    moves = task.get("status") in MOVABLE and corrections.is_at(task, hung) and hung != corrections.times_of(after)
    possible = times.after.possible(action, after) if moves else None
    if possible is not None:
        moved = corrections.rescheduled(task, corrections.times_of(possible), times.draft.now)
        times.draft.transaction.update(moved, task)
        times.reword(action, times.child(action)[1], before, possible)
        times.found.ends.append((before.due or before.target, possible.due or possible.target))
    elif due is not None:
        times.found.ends.append((due, due))


def _confirm_end(draft: Draft, moving: Moving) -> None:
    """Close the Task that asked when the infusion ended: now it is known."""
    for task in children(draft.chart, moving.plan):
        if moving.confirmed and tasks.has_code(task, terms.CONFIRM_END) and is_task(task) and tasks.is_open(task):
            draft.transaction.update(tasks.moved(task, "completed", "confirmed", at=draft.now), task)


def _move_plan_itself(times: Timetable) -> None:
    plan, moving, found = times.moving.plan, times.moving, times.found
    period = _period(times)
    changed = corrections.reworded({**plan, "period": period} if period else plan, found.lines)
    changed = careplan.with_activities(changed, found.made)
    if moving.confirmed:
        changed = corrections.without_extension(changed, terms.EXT_ANCHOR_ESTIMATED)
    times.draft.transaction.update(changed, plan)


def _period(times: Timetable) -> Resource:
    """Give when the plan begins and ends now; an end that a person chose stays."""
    plan, anchor, told, ends = times.moving.plan, times.moving.anchor, times.told, times.found.ends
    zone = plan_zone(plan, times.draft.context.clinic)
    period = dict(plan.get("period") or {})
    draft = plan["status"] == "draft"
    start, before = (anchor.start, told.start) if draft else (anchor.end, told.end)
    if start is not None and before is not None and tasks.instant(utc(start)) != tasks.instant(utc(before)):
        period["start"] = tasks.instant(local(start, zone))
    stated = tasks.moment(period.get("end"))
    if ends and stated is not None and utc(stated) == utc(max((old for old, _ in ends), key=utc)):
        last = max((new for _, new in ends), key=utc)
        period["end"] = period["end"] if utc(last) == utc(stated) else tasks.instant(local(last, zone))
    return period
