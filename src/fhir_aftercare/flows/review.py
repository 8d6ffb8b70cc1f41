"""The one open clinical-review Task of a patient (design §9.20).

Further reasons are added to it, its level only rises and its deadline only moves earlier; a corrected answer never
withdraws it. A step of the flows that read answers, not a door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fhir_aftercare.care import escalation
from fhir_aftercare.care.timing import Window, local
from fhir_aftercare.fhir import careplan, tasks, terms
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.situation import history

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fhir_aftercare.care.escalation import CheckIn, Reason
    from fhir_aftercare.care.instruments import Score
    from fhir_aftercare.flows.draft import Draft


def escalate(
    draft: Draft, answered_at: datetime, *, scored: Score | None = None, check_in: CheckIn | None = None
) -> list[Reason]:
    """Give the reasons why somebody must act on answers, against the patient's history in the chart."""
    clinic = draft.context.clinic
    return escalation.decide(
        score=scored,
        check_in=check_in,
        at=answered_at,
        now=draft.context.clock(),
        history=history(draft.chart, clinic, answered_at),
        policy=clinic.policy,
        hours=clinic.call_hours,
    )


def add_review(draft: Draft, reasons: Sequence[Reason], answers: str, answered_at: datetime) -> str | None:
    """Add the reasons to the patient's open review, or make one, and give its reference; None if there are no reasons.

    ``answers`` is the reference of what was answered. The same answers looked at again change nothing: a closed review
    that already holds their reasons stays closed.
    """
    if not reasons:
        return None
    context, now = draft.context, draft.now
    reviews = [task for task in draft.chart.of("Task") if tasks.has_code(task, terms.CLINICAL_REVIEW)]
    at = tasks.instant(local(answered_at, context.clinic.zone))
    inputs = [tasks.text_input(terms.INPUT_REASON, f"{each.text} (answered {at}; {each.key})") for each in reasons]
    known = [task for task in reviews if all(each in (task.get("input") or ()) for each in inputs)]
    if known:
        return reference_of(known[0])
    priority = max(reasons, key=lambda each: each.level).level.priority
    due = local(min(each.deadline for each in reasons), context.clinic.zone)
    open_one = next((task for task in reviews if tasks.is_open(task)), None)
    if open_one is not None:
        changed = tasks.raised(open_one, priority=priority, due=due, inputs=inputs, at=now)
        return draft.transaction.update(changed, open_one) if changed else reference_of(open_one)
    key = (context.clinic.id, draft.patient.rpartition("/")[2], terms.CLINICAL_REVIEW.code, str(len(reviews) + 1))
    activity = context.protocol.activity(f"{terms.ACTIVITY_DEFINITION}/{terms.CLINICAL_REVIEW.code}")
    course = next((plan for plan in draft.chart.of("CarePlan") if careplan.is_kind(plan, "course")), None)
    work = tasks.Work(
        identifier=context.identifiers.identifier("activity", *key),
        canonical=activity.canonical,
        code=activity.code,
        priority=priority,
        description=activity.description,
        patient=draft.patient,
        requester=context.clinic.organization,
        owner=context.clinic.owner(activity.owner_role or "prescriber", draft.patient),
        authored_on=now,
        window=Window(opens=min(now, due), target=due, due=due, expires=None),
        based_on=(reference_of(course),) if course else (),
        inputs=inputs,
        about=answers,
    )
    return draft.transaction.create(tasks.make(work), context.identifiers.full_url("activity", *key))
