"""The course plan: goals once, and the questionnaires of the next days on the course clock and after the last infusion.

Which forms are asked is ``care.plan.select_forms``; only those that open within the horizon become Tasks, the later
ones are shown as coming (fhir-model §3.3). Forms of the tail hang on the last infusion: with the next one they are
superseded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.plan import Anchor, Occurrence, select_forms
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.errors import OutOfRange, ProtocolFault
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.apply import Applying
from fhir_aftercare.fhir.definitions import Form
from fhir_aftercare.fhir.facts import Facts, Wanted, text_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fhir_aftercare.fhir.definitions import Action, GoalTarget, Plan, Protocol

Resource = dict[str, Any]

# Nobody has acted on a Task of this status.
_WAITING = frozenset({"requested", "ready"})


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


def propose_course(
    protocol: Protocol, plan: Plan, facts: Facts, course: Course, there: Sequence[Resource] | None = None
) -> CourseProposal:
    """Give the form Tasks of a course that open within the clinic's horizon, and the forms that come after.

    ``there`` are the Tasks of the course, open and closed: what was asked under the tail of an earlier infusion keeps
    its distance to what is asked now. Without them what was to come before the last infusion is taken as asked.
    Raises ``ProtocolFault`` if any part of the plan cannot be evaluated.
    """
    applying = Applying(protocol, plan, facts, course.reference, _anchors(plan, course))
    policy = facts.clinic.policy
    occurrences = _occurrences(applying)
    asked = _asked(there, occurrences, facts, course) if there is not None else None
    chosen = select_forms(occurrences, course.last_end, policy.min_days_between_forms, facts.zone, asked)
    horizon = utc(facts.now) + policy.horizon
    wanted: list[Wanted] = []
    coming: list[Coming] = []
    for each in chosen:
        window = applying.possible(each.action, each.window)
        if window is None:
            continue
        opens = window.opens or window.target
        if utc(opens) <= horizon:
            wanted.append(applying.make(each.action, window, form_key(course, each)))
        else:
            title = text_in(each.action.titles, facts.language)
            coming.append(Coming(each.action.id, each.number, title, opens, window.due or window.target))
    return CourseProposal(tuple(wanted), tuple(coming))


def _occurrences(applying: Applying) -> list[Occurrence[Action]]:
    """Give every occurrence of every form that applies, whether it is over or yet to come."""
    found = []
    start = applying.plan.anchors[0]
    for action in applying.plan.actions:
        if action.is_anchor:
            continue
        form = applying.definition(action)
        if not isinstance(form, Form):
            raise applying.fault("A course asks forms only.", action)
        if not applying.applies(action):
            applying.prove(action)
            continue
        on_course_clock = all(related.anchor == start for related in action.related)
        for number, window in enumerate(applying.windows(action)):
            found.append(Occurrence(action, number, window, form.url, on_course_clock))
    return found


def _asked(
    there: Sequence[Resource], occurrences: Sequence[Occurrence[Action]], facts: Facts, course: Course
) -> dict[str, list[datetime]]:
    """Give when forms were asked that are none of these occurrences, by family."""
    forms = [task for task in there if tasks.asks_for(task) is not None and _was_asked(task, facts.now)]
    if not forms:
        return {}
    own = {facts.identifiers.value(*form_key(course, each)) for each in occurrences}
    found: dict[str, list[datetime]] = {}
    for task in forms:
        family, opens = tasks.asks_for(task), tasks.window_of(task)[0]
        if family and opens and not any(each.get("value") in own for each in task.get("identifier") or ()):
            found.setdefault(family, []).append(opens)
    return found


def _was_asked(task: Resource, now: datetime) -> bool:
    """Tell whether the patient has seen it: it was open for a while, or somebody acted on it."""
    opens, ended = tasks.window_of(task)[0], tasks.moment(task.get("lastModified"))
    status = task.get("status")
    if opens is None or status == "entered-in-error":
        return False
    if status == "cancelled":
        return ended is not None and ended >= opens
    return opens <= now or status not in _WAITING


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
    """Give the Goals of a new course; they carry the target, achievement is computed on read (design §10.12).

    Raises ``ProtocolFault`` if one is due at no date.
    """
    return [_goal(plan, goal, facts, course, conditions) for goal in plan.goals]


def _goal(plan: Plan, goal: GoalTarget, facts: Facts, course: Course, conditions: Sequence[str]) -> Wanted:
    key = (*course.key, goal.id)
    try:
        due = goal.due.after(course.start, facts.zone)
    except OutOfRange as fault:
        raise ProtocolFault(fault.message, file=plan.file, action=goal.id) from fault
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
        untouched = task.get("status") in _WAITING
        ours = any((each.get("system"), each.get("value")) in kept for each in task.get("identifier") or ())
        if untouched and not ours and opens is not None and opens > now:
            found.append(tasks.moved(task, "cancelled", "superseded", at=now, reason="superseded"))
    return found
