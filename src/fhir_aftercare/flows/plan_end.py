"""How a plan ends: when a restriction may end by the clock alone, and the status that its children give a plan.

Looks only; ``tend_plans`` writes. What must be done is told by the version of the protocol the plan was made with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fhir_aftercare.care import wording
from fhir_aftercare.care.rollup import Child, request_outcome, roll_up, task_outcome
from fhir_aftercare.fhir import corrections, tasks, terms
from fhir_aftercare.flows.situation import children, is_task, plan_zone
from fhir_aftercare.flows.task_facts import business_of, is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from fhir_aftercare.care.rollup import RollUp
    from fhir_aftercare.fhir.definitions import Plan
    from fhir_aftercare.fhir.identifiers import Identifiers
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]


def is_released(context: ClinicContext, chart: Chart, plan: Resource, restriction: Resource) -> bool:
    """Tell whether a restriction whose time is over ends by that alone (design §10.5).

    One that is about driving does only if its words are those that give the time alone: where the end was unknown, or
    sedatives or sedation were there, or a person wrote other words, they say that somebody must release it. Neither
    while the end is still to be confirmed.
    """
    if any(tasks.has_code(each, terms.CONFIRM_END) and tasks.is_open(each) for each in children(chart, plan)):
        return False
    end = corrections.restriction_end(restriction)
    if end is None or not _is_of_protocol(context, restriction):
        return False
    if not _says_release(context, restriction):
        return True
    zone, phone = plan_zone(plan, context.clinic), context.clinic.phone
    said = str(restriction.get("patientInstruction"))
    return any(
        wording.release_text(end, zone, language, needs_human=False, phone=phone) in said
        for language in wording.LANGUAGES
    )


def _is_of_protocol(context: ClinicContext, restriction: Resource) -> bool:
    return any(str(each) in context.protocol.activities for each in restriction.get("instantiatesCanonical") or ())


def _says_release(context: ClinicContext, restriction: Resource) -> bool:
    """Tell whether its definition has the words of the driving release."""
    named = [str(each) for each in restriction.get("instantiatesCanonical") or ()]
    made_by = [context.protocol.activities[each] for each in named if each in context.protocol.activities]
    return any(
        "releaseText" in expression.names
        for activity in made_by
        for dynamic in activity.dynamic
        for expression in dynamic.expressions.values()
    )


def rolled_up(
    plan: Resource,
    there: Sequence[Resource],
    definition: Plan,
    identifiers: Identifiers,
    now: datetime,
    *,
    more_to_come: bool = False,
) -> RollUp:
    """Give the status of a plan from its children: Tasks, restrictions, and the plans that are part of it."""
    ends = tasks.moment((plan.get("period") or {}).get("end"))
    found = [_child(each, definition, identifiers) for each in there]
    return roll_up(str(plan["status"]), found, now=now, ends=ends, more_to_come=more_to_come)


def _child(resource: Resource, definition: Plan, identifiers: Identifiers) -> Child:
    status = str(resource.get("status"))
    if not is_task(resource):
        return Child(request_outcome(status))
    outcome = task_outcome(status, business_of(resource), has_output=bool(resource.get("output")))
    return Child(outcome, is_critical(resource, definition, identifiers))


def is_critical(task: Resource, definition: Plan, identifiers: Identifiers) -> bool:
    """Tell whether a Task must be done: the protocol says so, or it was raised as more than routine.

    What stands in no plan was raised because a record or an answer called for it.
    """
    made_by = set(_canonicals(task))
    actions = [each for each in definition.actions if (each.definition or "").partition("|")[0] in made_by]
    if actions:
        return any(each.must for each in actions)
    return is_ours(task, identifiers) and task.get("priority", "routine") != "routine"


def _canonicals(task: Resource) -> Iterator[str]:
    """Give what a Task was made by, without version: its activity or its form."""
    if task.get("instantiatesCanonical"):
        yield str(task["instantiatesCanonical"]).partition("|")[0]
    form = tasks.asks_for(task)
    if form is not None:
        yield form
