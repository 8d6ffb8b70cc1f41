"""Activate the plan of an infusion: what a discharge makes, as the difference to what is there.

A step of ``discharge``, not a door. A plan that is active already only gets what became known of the escort; what a
clinician changed is never undone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.timing import Window, local
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.fhir import careplan, tasks, terms
from fhir_aftercare.fhir.apply import from_activity, propose, text_in
from fhir_aftercare.fhir.course import Course, propose_course, propose_goals, superseded
from fhir_aftercare.fhir.readiness import readiness_observation
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.begin_plan import depression
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.situation import children, find_course, is_task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fhir_aftercare.care.plan import Anchor, Episode, EscortState
    from fhir_aftercare.care.readiness import Panel
    from fhir_aftercare.fhir.apply import Facts, Proposal, Wanted
    from fhir_aftercare.flows.discharge import DischargeRequest
    from fhir_aftercare.flows.draft import Draft

Resource = dict[str, Any]

# The clinic settles when the infusion ended before it closes for the day: the driving release hangs on it.
_CONFIRM_END_WITHIN = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Activation:
    """What a discharge leaves on the server, as references (``Type/id`` or ``urn:uuid``)."""

    plan: str
    course: str | None = None
    tasks: tuple[str, ...] = ()
    service_requests: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()
    readiness: str | None = None


@dataclass(frozen=True, slots=True)
class _Course:
    """The course the infusion belongs to: as it is on the server (None: it is new), and what it wants now."""

    existing: Resource | None
    facts: Course
    forms: Sequence[Wanted]
    goals: Sequence[Wanted]


@dataclass(frozen=True, slots=True)
class Case:
    """The infusion a discharge is about: its plan as it is on the server (None: there is none), and what was judged."""

    episode: Episode
    anchor: Anchor
    plan: Resource | None
    panel: Panel
    escort: EscortState


def activate(draft: Draft, facts: Facts, case: Case, request: DischargeRequest) -> Activation:
    """Add to the transaction what the plan lacks. Raises ``ProtocolFault`` before anything is added."""
    context, chart, plan = draft.context, draft.chart, case.plan
    there = children(chart, plan) if plan else []
    if plan is not None and plan["status"] != "draft":
        return _continue(draft, facts, plan, there, request)
    reference = reference_of(plan) if plan else context.identifiers.full_url("plan", *facts.episode.key)
    proposal = propose(context.protocol, context.protocol.infusion, facts, reference)
    course = _course(draft, facts, plan)
    made = [draft.ensure_wanted(each) for each in proposal.wanted]
    _close_escort(draft, proposal, facts)
    if not facts.anchor.known:
        made.append(_confirm_end(draft, facts, reference))
    readiness = _add_readiness(draft, facts, case.panel, request)
    _add_course(draft, facts, course)
    _add_plan(draft, facts, plan, _Content(proposal, made, course.facts.reference))
    everything = [*(reference_of(each) for each in there), *made, *(draft.where(each) for each in course.forms)]
    return Activation(
        plan=reference,
        course=course.facts.reference,
        tasks=_of_type(draft, everything, "Task"),
        service_requests=_of_type(draft, everything, "ServiceRequest"),
        goals=tuple(draft.where(each) for each in course.goals),
        readiness=readiness,
    )


def _continue(
    draft: Draft, facts: Facts, plan: Resource, there: Sequence[Resource], request: DischargeRequest
) -> Activation:
    """Leave an active plan as it is, but for news of the escort: it closes the escort Task and may owe a call."""
    context = draft.context
    open_escort = any(tasks.has_code(each, terms.ESCORT_HOME) and tasks.is_open(each) for each in there)
    made: list[str] = []
    if request.escort is not None and open_escort:
        # Readiness was judged when the patient left: news of the escort does not judge it again.
        judged = replace(facts, readiness_met=True)
        proposal = propose(context.protocol, context.protocol.infusion, judged, reference_of(plan))
        made = [draft.ensure_wanted(each) for each in proposal.wanted if draft.existing(each.resource) is None]
        _close_escort(draft, proposal, facts)
        if made:
            draft.transaction.update(careplan.with_activities(plan, made), plan)
    course = _course_of(draft, plan)
    forms = [each for each in children(draft.chart, course) if is_task(each)] if course else []
    everything = [*(reference_of(each) for each in (*there, *forms)), *made]
    ready = draft.existing(
        {"identifier": [context.identifiers.identifier("observation", *facts.episode.key, terms.READINESS.code)]}
    )
    return Activation(
        plan=reference_of(plan),
        course=_course_named(plan),
        tasks=_of_type(draft, everything, "Task"),
        service_requests=_of_type(draft, everything, "ServiceRequest"),
        goals=tuple(str(each["reference"]) for each in (course or {}).get("goal") or () if each.get("reference")),
        readiness=reference_of(ready) if ready else None,
    )


def _course_of(draft: Draft, plan: Resource) -> Resource | None:
    parts = plan.get("partOf") or ()
    plans = draft.chart.of("CarePlan")
    return next((each for each in plans if any(refers_to(reference, each) for reference in parts)), None)


def _course_named(plan: Resource) -> str | None:
    """Give the course a plan says it is part of: also where a torn batch did not show the course itself."""
    places = [location_of(each.get("reference")) for each in plan.get("partOf") or ()]
    return next((each.reference for each in places if each is not None and each.type == "CarePlan"), None)


def _of_type(draft: Draft, references: Sequence[str], type_: str) -> tuple[str, ...]:
    types = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in draft.transaction.entries}
    found = (each for each in references if types.get(each, each.partition("/")[0]) == type_)
    return tuple(dict.fromkeys(found))


def _close_escort(draft: Draft, proposal: Proposal, facts: Facts) -> None:
    """Close the escort Task: done when the escort has taken over, failed when the patient left alone (design §9.5)."""
    escorts = (each for each in proposal.wanted if tasks.has_code(each.resource, terms.ESCORT_HOME))
    wanted = next(escorts, None)
    if wanted is None or facts.escort not in {"present", "left-alone"}:
        return
    business, status, reason = (
        ("confirmed", "completed", None) if facts.escort == "present" else ("left-alone", "failed", "left-alone")
    )
    at = local(facts.now, facts.zone)
    task = draft.existing(wanted.resource)
    if task is None:
        made = next(entry for entry in draft.transaction.entries if entry["fullUrl"] == wanted.urn)
        made["resource"] = tasks.moved(made["resource"], status, business, at=at, reason=reason)
    elif tasks.is_open(task):
        draft.transaction.update(tasks.moved(task, status, business, at=at, reason=reason), task)


def _confirm_end(draft: Draft, facts: Facts, plan: str) -> str:
    """Add the Task "confirm when the infusion ended" (design §10.7)."""
    activity = draft.context.protocol.activity(f"{terms.ACTIVITY_DEFINITION}/{terms.CONFIRM_END.code}")
    now = local(facts.now, facts.zone)
    window = Window(opens=now, target=now + _CONFIRM_END_WITHIN, due=now + _CONFIRM_END_WITHIN, expires=None)
    key = (*facts.episode.key, terms.CONFIRM_END.code)
    return draft.ensure_wanted(from_activity(activity, facts, window, based_on=plan, key=key))


def _add_readiness(draft: Draft, facts: Facts, panel: Panel, request: DischargeRequest) -> str:
    """Add what was known of the patient's readiness when the patient left."""
    who = request.person or (panel.override.by if panel.override else None)
    setting = draft.setting(facts.episode.key, drug_record=facts.anchor.source, recorded_by=who)
    wanted = readiness_observation(panel, setting, local(request.left_at, facts.zone))
    return draft.ensure(wanted, f"urn:uuid:{wanted['identifier'][0]['value']}")


def _course(draft: Draft, facts: Facts, plan: Resource | None) -> _Course:
    """Find the course the infusion joins, or think of a new one, and what it wants now."""
    context, chart = draft.context, draft.chart
    end = facts.anchor.end or facts.anchor.start
    courses = find_course(chart, facts.anchor.start, context.clinic, but=plan)
    patient = facts.patient.rpartition("/")[2]
    identifier = context.identifiers.identifier("plan", context.clinic.id, patient, "course", courses.ever + 1)
    start = end
    if courses.joined is not None:
        identifier = courses.joined["identifier"][0]
        start = tasks.moment((courses.joined.get("period") or {}).get("start")) or end
    there = children(chart, courses.joined) if courses.joined else ()
    is_last = all(earlier <= end for earlier in courses.ends)
    course = Course(
        key=("course", identifier["value"]),
        reference=reference_of(courses.joined) if courses.joined else f"urn:uuid:{identifier['value']}",
        start=start,
        last_end=max([*courses.ends, end]),
        last_key=facts.episode.key,
    )
    proposal = propose_course(context.protocol, context.protocol.course, facts, course, there)
    goals = [] if courses.joined else propose_goals(context.protocol.course, facts, course, depression(chart))
    # An infusion that was recorded late, before the last one, moves nothing.
    return _Course(courses.joined, course, proposal.wanted if is_last else (), goals)


def _add_course(draft: Draft, facts: Facts, course: _Course) -> None:
    """Add a new course with goals and forms; in a running one, re-anchor the tail on this infusion (design §9.3)."""
    if course.existing is None:
        plan = draft.context.protocol.course
        says = careplan.PlanFacts(
            kind="course",
            identifier={"system": draft.context.identifiers.system("plan"), "value": course.facts.key[1]},
            canonical=plan.canonical,
            title=text_in(plan.titles, facts.language),
            patient=facts.patient,
            author=draft.device(),
            zone=facts.zone.key,
            created=local(facts.now, facts.zone),
            start=local(course.facts.start, facts.zone),
            addresses=depression(draft.chart),
            goals=[draft.where(each) for each in course.goals],
            lines=[each.line for each in (*course.goals, *course.forms)],
            policy_hash=draft.context.clinic.policy_hash,
        )
        draft.transaction.create(careplan.make_plan(says), course.facts.reference)
        for goal in course.goals:
            draft.ensure_wanted(goal)
    elif course.forms:
        waiting = {task["id"]: task for task in children(draft.chart, course.existing) if _waits_for_answers(task)}
        for changed in superseded(list(waiting.values()), course.forms, local(facts.now, facts.zone)):
            draft.transaction.update(changed, waiting[changed["id"]])
    for form in course.forms:
        draft.ensure_wanted(form)


def _waits_for_answers(task: Resource) -> bool:
    return is_task(task) and tasks.is_open(task) and tasks.asks_for(task) is not None


@dataclass(frozen=True, slots=True)
class _Content:
    """What stands in the infusion's plan: what the protocol wants, its references, the course it is part of."""

    proposal: Proposal
    activities: Sequence[str]
    course: str


def _add_plan(draft: Draft, facts: Facts, plan: Resource | None, content: _Content) -> None:
    """Add the CarePlan, or make the draft active."""
    context, definition = draft.context, content.proposal.plan
    says = careplan.PlanFacts(
        kind="infusion",
        identifier=context.identifiers.identifier("plan", *facts.episode.key),
        canonical=definition.canonical,
        title=text_in(definition.titles, facts.language),
        patient=facts.patient,
        encounter=facts.encounter,
        author=draft.device() if plan is None else "",
        zone=facts.zone.key,
        created=local(facts.now, facts.zone),
        start=local(facts.anchor.end or facts.anchor.start, facts.zone),
        end=_last_end(content.proposal.wanted),
        part_of=content.course,
        addresses=depression(draft.chart),
        activities=content.activities,
        lines=[each.line for each in content.proposal.wanted],
        policy_hash=context.clinic.policy_hash,
        estimated=facts.anchor.estimated,
    )
    if plan is None:
        draft.transaction.create(careplan.make_plan(says), context.identifiers.full_url("plan", *facts.episode.key))
    else:
        draft.transaction.update(careplan.activated(plan, says), plan)


def _last_end(wanted: Sequence[Wanted]) -> datetime | None:
    """The plan lasts as long as the last thing it asks may be done."""
    ends = [
        end
        for each in wanted
        for end in (
            tasks.window_of(each.resource)[1],
            tasks.moment((each.resource.get("occurrencePeriod") or {}).get("end")),
        )
        if end is not None
    ]
    return max(ends, default=None)
