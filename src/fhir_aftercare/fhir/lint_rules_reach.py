"""Lint's rules of conditions: what can never apply, when nothing is owed, and facts that are not always known.

Conditions are evaluated for every combination of the facts they name: booleans, the states of the escort, and for
numbers and texts the values around those they are compared with.
"""

from __future__ import annotations

import re
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Final

from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.expression import CHOICES, PARAMETERS, Type
from fhir_aftercare.fhir.lint_rules import Finding, Sheet, error, warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fhir_aftercare.fhir.definitions import Action, Plan
    from fhir_aftercare.fhir.expression import Expression, Value

_LEFT: Final = "patientHasLeft"
# Facts the software does not have of every patient: a birth date may be missing (``fhir.apply`` then leaves it out).
_NOT_ALWAYS: Final = frozenset({"ageYears"})
# More would take longer than anybody waits for.
_MOST: Final = 200_000
_NUMBER = re.compile(r"(?<![\w.])\d{1,9}(?![\w.])")
_TEXT = re.compile(r"'((?:[^'\\]|\\.)*)'")


def reach(sheet: Sheet) -> Iterator[Finding]:
    """Find actions that can never apply, facts under which nothing is owed, and facts that may be missing."""
    for plan, action in sheet.actions(sound=True):
        yield from _never(sheet, plan, action)
    for plan in sheet.protocol.plans.values():
        if plan.url == terms.PLAN_INFUSION:
            yield from _nothing_owed(sheet, plan)
    yield from _unknown_values(sheet)


def can_apply(action: Action, **known: Value) -> bool:
    """Tell whether an action's conditions hold under some facts, those ``known`` given."""
    return any(_applies(action, values) for values in combinations(action.conditions, **known))


def combinations(conditions: Sequence[Expression], **known: Value) -> Iterator[Mapping[str, Value]]:
    """Give every combination of the facts that conditions name; those ``known`` have one value."""
    domains = _domains(conditions, known)
    for values in product(*domains.values()):
        yield dict(zip(domains, values, strict=True))


def _domains(conditions: Sequence[Expression], known: Mapping[str, Value]) -> dict[str, list[Value]]:
    texts = [each.text for each in conditions]
    named = sorted({name for each in conditions for name in each.names})
    return {name: [known[name]] if name in known else _values(name, texts) for name in named}


def _values(name: str, texts: Iterable[str]) -> list[Value]:
    kind = PARAMETERS[name]
    if kind is Type.BOOLEAN:
        return [False, True]
    if name in CHOICES:
        return [*sorted(CHOICES[name])]
    if kind is Type.INTEGER:
        found = {int(each) for text in texts for each in _NUMBER.findall(_TEXT.sub("", text))}
        return [*sorted({1, *(near for each in found for near in (each - 1, each, each + 1) if near >= 0)})]
    return [*sorted({"", "other", *(each for text in texts for each in _TEXT.findall(text))})]


def _too_many(conditions: Sequence[Expression]) -> bool:
    return prod(len(values) for values in _domains(conditions, {}).values()) > _MOST


def _applies(action: Action, values: Mapping[str, Value]) -> bool:
    return all(condition.evaluate(values) for condition in action.conditions)


def _never(sheet: Sheet, plan: Plan, action: Action) -> Iterator[Finding]:
    at = sheet.at(plan, action, "condition")
    if _too_many(action.conditions):
        yield _untried(at)
    elif not can_apply(action):
        finding = error if action.must else warning
        yield finding(
            at,
            "reachable",
            "The action must be done, and its conditions can never hold." if action.must else "It can never apply.",
            "Correct the conditions, or take the action out.",
        )


def _nothing_owed(sheet: Sheet, plan: Plan) -> Iterator[Finding]:
    """What hangs on the infusion's end and must be done: if none of it applies, a patient goes home with nothing."""
    owed = [
        action
        for action in plan.actions
        if action.must
        and any(related.relationship == "after-end" for related in action.related)
        and (plan.file, action.id) not in sheet.broken
    ]
    conditions = [condition for action in owed for condition in action.conditions]
    at = (plan.file, "PlanDefinition.action")
    if _too_many(conditions):
        yield _untried(at)
        return
    everything = [*combinations(conditions, **{_LEFT: True})]
    empty = [values for values in everything if not any(_applies(action, values) for action in owed)]
    if not empty or any((plan.file, action.id) in sheet.broken for action in plan.actions):
        return
    named = ", ".join(f"%{name} = {_written(value)}" for name, value in empty[0].items())
    yield error(
        at,
        "nothing-owed",
        f"In {len(empty)} of {len(everything)} combinations of facts nothing that must be done applies after leaving"
        + (f", such as {named}." if named else "."),
        "Let an action with requiredBehavior must, after the infusion's end, apply to every patient who has left.",
    )


def _untried(at: tuple[str, str]) -> Finding:
    return warning(
        at, "reachable", "The conditions name too many facts to try every combination.", "Use fewer facts in them."
    )


def _written(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else f"'{value}'" if isinstance(value, str) else str(value)


def _unknown_values(sheet: Sheet) -> Iterator[Finding]:
    why = "%{} is not known of every patient: without it nothing of the protocol is written for that patient."
    remedy = "Leave the fact out: decide by what is always recorded, or let people decide."
    for plan, action in sheet.actions():
        for index, condition in enumerate(action.conditions):
            for name in sorted(condition.names & _NOT_ALWAYS):
                yield warning(sheet.at(plan, action, f"condition[{index}]"), "unknown-value", why.format(name), remedy)
    for activity in sheet.protocol.activities.values():
        for index, dynamic in enumerate(activity.dynamic):
            named = frozenset().union(*(each.names for each in dynamic.expressions.values()))
            for name in sorted(named & _NOT_ALWAYS):
                at = (activity.file, f"ActivityDefinition.dynamicValue[{index}]")
                yield warning(at, "unknown-value", why.format(name), remedy)
