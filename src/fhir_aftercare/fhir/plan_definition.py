"""A PlanDefinition → ``Plan``: its actions with conditions, windows and repetitions, and its goals.

An element that is not read here is refused, so that nothing a plan says is left out in silence (design §2.4). Whether
what it names is there is looked at by ``linking``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.definitions import Action, GoalTarget, Plan, Priority
from fhir_aftercare.fhir.expression import Expression, Type
from fhir_aftercare.fhir.offsets import check_repeatable, read_offset, read_related, read_repeat

if TYPE_CHECKING:
    from fhir_aftercare.fhir.elements import Element

_BEHAVIORS = {"must", "could", "must-unless-documented"}
_ACTION = {
    "prefix", "title", "description", "textEquivalent", "priority", "code", "reason",
    "documentation", "goalId", "condition", "relatedAction", "timingTiming", "requiredBehavior", "definitionCanonical",
}  # fmt: skip
_CONDITION = {"kind", "expression"}
_GOAL = {"category", "description", "addresses", "documentation", "target"}
_TARGET = {"measure", "detailQuantity", "detailRange", "detailCodeableConcept", "due"}


def read_plan(element: Element, common: dict[str, Any]) -> Plan:
    """Give a plan. ``common`` is what every definition has. Raises ``ProtocolFault``."""
    element.only_extensions()
    actions = [each.within(each.required("id")) for each in element.children("action")]
    goals = [each.within(each.required("id")) for each in element.children("goal")]
    element.no_doubles([each.action for each in actions])
    element.no_doubles([each.action for each in goals])
    return Plan(
        **common,
        name=element.required("name"),
        actions=tuple(_action(each) for each in actions),
        goals=tuple(_goal(each) for each in goals),
    )


def _action(element: Element) -> Action:
    element.only(_ACTION, "Leave it out: a plan is flat, and what depends on facts stands in an ActivityDefinition.")
    element.only_extensions(terms.EXT_CONCERNS, terms.EXT_STAFF_HOURS)
    concerns = element.extension(terms.EXT_CONCERNS)
    staff_hours = element.extension(terms.EXT_STAFF_HOURS)
    if staff_hours and "valueBoolean" not in staff_hours.data:
        raise element.fault("The extension staff-hours is empty.", "Give it a `valueBoolean`.")
    related = tuple(read_related(each) for each in element.children("relatedAction"))
    repeat = read_repeat(element)
    if repeat:
        for each in related:
            check_repeatable(repeat, each, element)
    goals = element.data.get("goalId", [])
    if not isinstance(goals, list) or not all(isinstance(each, str) for each in goals):
        raise element.fault("`goalId` must be an array of ids.", "Write the ids of the plan's goals in brackets.")
    return Action(
        id=element.action,
        titles=element.texts("title"),
        description=element.text("description"),
        priority=cast("Priority | None", element.code("priority", get_args(Priority))),
        must=element.code("requiredBehavior", _BEHAVIORS) in {"must", "must-unless-documented"},
        is_anchor=_is_anchor(element),
        conditions=tuple(_condition(each) for each in element.children("condition")),
        related=related,
        repeat=repeat,
        definition=element.text("definitionCanonical"),
        concerns=concerns.required("valueId") if concerns else None,
        staff_hours=staff_hours.flag("valueBoolean") if staff_hours else False,
        goals=tuple(goals),
    )


def _is_anchor(element: Element) -> bool:
    codings = [coding.data for concept in element.children("code") for coding in concept.children("coding")]
    return any((each.get("system"), each.get("code")) == (terms.ANCHOR.system, terms.ANCHOR.code) for each in codings)


def _condition(element: Element) -> Expression:
    element.only(_CONDITION, "A condition has `kind` and `expression`.")
    if element.code("kind", {"applicability"}) is None:
        raise element.fault("A condition has no kind.", "Write `kind` as applicability.")
    expression = element.expressions()["en"]
    if expression.type is not Type.BOOLEAN:
        raise element.fault(
            f"A condition is {expression.type.value}, not boolean.",
            "Compare it with something.",
            expression=expression.text,
        )
    if "releaseText" in expression.names:
        raise element.fault(
            "%releaseText is not known before the action is made.",
            "Leave %releaseText out of conditions.",
            expression=expression.text,
        )
    return expression


def _goal(element: Element) -> GoalTarget:
    element.only(_GOAL, "Leave it out: a goal has a description and one target.")
    description = element.concept("description")
    targets = element.children("target")
    if description is None or len(targets) != 1:
        raise element.fault("A goal needs a description and one target.", "Split a goal with several targets.")
    target = targets[0]
    target.only(_TARGET, "Leave it out: a target has measure, detail and due.")
    measure, due = target.concept("measure"), target.child("due")
    details = {name: value for name, value in target.data.items() if name.startswith("detail")}
    if measure is None or due is None or len(details) != 1:
        raise element.fault("The target is not complete.", "Give it `measure`, one `detail…` and `due`.")
    return GoalTarget(
        id=element.action,
        description=description,
        measure=measure,
        detail=details,
        due=read_offset(due),
        category=element.concept("category"),
    )
