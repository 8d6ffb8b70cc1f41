"""The course plan: goals once, and the questionnaires of the next days on the course clock and after the last infusion.

Which forms are asked is ``care.plan.select_forms``; only those that open within the horizon become Tasks, the later
ones are shown as coming (fhir-model §3.3). Forms of the tail hang on the last infusion: with the next one they are
superseded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.plan import Anchor, Occurrence, select_forms
from fhir_aftercare.care.timing import local
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.apply import Applying, Facts, Wanted, text_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fhir_aftercare.fhir.definitions import Action, GoalTarget, Plan, Protocol

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Course:
    """A course as it stands: the key its identifiers begin with, when it began, the last infusion of it.

    ``last_key`` is the key of the last infusion's episode; ``reference`` the CarePlan (``Type/id`` or ``urn:uuid``).
    """

    key: tuple[str, ...]
    reference: str
    start: datetime
    last_end: datetime
    last_key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coming:
    """A form that will be asked: the action, its number, when it opens and is due."""

    action: str
    number: int
    title: str
    opens: datetime
    due: datetime


@dataclass(frozen=True, slots=True)
class CourseProposal:
    """What the course wants now (``wanted``), and what comes later."""

    wanted: tuple[Wanted, ...]
    coming: tuple[Coming, ...]


def propose_course(protocol: Protocol, plan: Plan, facts: Facts, course: Course) -> CourseProposal:
    """Give the form Tasks of a course that open within the clinic's horizon, and the forms that come after.

    Raises ``ProtocolFault`` if any part of the plan cannot be evaluated.
    """
    applying = Applying(protocol, plan, facts, course.reference)
    policy = facts.clinic.policy
    chosen = select_forms(_possible(applying, course), course.last_end, policy.min_days_between_forms, facts.zone)
    horizon = facts.now + policy.horizon
    wanted: list[Wanted] = []
    coming: list[Coming] = []
    for each in chosen:
        opens = each.window.opens or each.window.target
        if opens <= horizon:
            wanted.append(applying.make(each.action, each.window, form_key(course, each)))
        else:
            title = text_in(each.action.titles, facts.language)
            coming.append(Coming(each.action.id, each.number, title, opens, each.window.due or each.window.target))
    return CourseProposal(tuple(wanted), tuple(coming))


def _possible(applying: Applying, course: Course) -> list[Occurrence[Action]]:
    """Give every occurrence of every form that applies and can still be answered."""
    plan, found = applying.plan, []
    anchors = _anchors(plan, course)
    for action in plan.actions:
        if action.is_anchor or not applying.applies(action):
            continue
        if action.definition is None or not applying.protocol.is_form(action.definition):
            raise applying.fault("Only forms are repeated in a course.", action)
        on_course_clock = all(related.anchor == plan.anchors[0] for related in action.related)
        family = action.definition.partition("|")[0]
        for number in range(action.repeat.count if action.repeat else 1):
            window = applying.window(action, anchors, number)
            if window is not None:
                found.append(Occurrence(action, number, window, family, on_course_clock))
    return found


def form_key(course: Course, occurrence: Occurrence[Action]) -> tuple[str, ...]:
    """Give the key of a form's Task: the tail's also names the infusion it hangs on."""
    anchor = () if occurrence.on_course_clock else course.last_key
    return (*course.key, occurrence.action.id, *anchor, str(occurrence.number + 1))


def _anchors(plan: Plan, course: Course) -> dict[str, Anchor]:
    if len(plan.anchors) != 2:
        raise ProtocolFault("A course hangs on its start and on its last infusion.", file=plan.file)
    first, last = plan.anchors
    return {
        first: Anchor(start=course.start, end=course.start),
        last: Anchor(start=course.last_end, end=course.last_end),
    }


def propose_goals(plan: Plan, facts: Facts, course: Course, conditions: Sequence[str] = ()) -> list[Wanted]:
    """Give the Goals of a new course; they carry the target, achievement is computed on read (design §10.12)."""
    return [_goal(plan, goal, facts, course, conditions) for goal in plan.goals]


def _goal(plan: Plan, goal: GoalTarget, facts: Facts, course: Course, conditions: Sequence[str]) -> Wanted:
    key = (*course.key, goal.id)
    due = goal.due.after(course.start, facts.zone)
    target: Resource = {"measure": goal.measure, **goal.detail, "dueDate": due.date().isoformat()}
    resource: Resource = {
        "resourceType": "Goal",
        "meta": {"profile": [terms.PROFILE_GOAL]},
        "identifier": [facts.identifiers.identifier("goal", *key)],
        "lifecycleStatus": "active",
        "category": [goal.category] if goal.category else None,
        "description": goal.description,
        "subject": {"reference": facts.patient},
        "startDate": local(course.start, facts.zone).date().isoformat(),
        "target": [target],
        "addresses": [{"reference": each} for each in conditions] or None,
    }
    text = goal.description.get("text", goal.id)
    return Wanted(
        facts.identifiers.full_url("goal", *key),
        f"{plan.name}.{goal.id}",
        {k: v for k, v in resource.items() if v is not None},
        text,
    )


def superseded(open_forms: Sequence[Resource], wanted: Sequence[Wanted], now: datetime) -> list[Resource]:
    """Give the form Tasks that a later infusion has replaced, cancelled (design §10.3).

    Only those nobody has acted on and whose window has not opened; what is due now stays due.
    """
    kept = {each.identifier for each in wanted}
    found = []
    for task in open_forms:
        opens = tasks.window_of(task)[0]
        untouched = task.get("status") in {"requested", "ready"}
        ours = any((each.get("system"), each.get("value")) in kept for each in task.get("identifier") or ())
        if untouched and not ours and opens is not None and opens > now:
            found.append(tasks.moved(task, "cancelled", "superseded", at=now, reason="superseded"))
    return found
