"""Lint's rules of names: anchors, canonicals, ids, circles, and what the software itself asks for.

The service refuses the first of these when it loads a protocol (``linking``); here all are found. What only ``linking``
knows is asked of it, with one action after the other taken away.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.definitions import Action, Activity, Plan, Protocol
from fhir_aftercare.fhir.linking import linked
from fhir_aftercare.fhir.lint_rules import Finding, Sheet, error

if TYPE_CHECKING:
    from collections.abc import Iterator

Resource = dict[str, Any]

_CANONICAL: Final = re.compile(
    r"(?P<url>(?P<base>https?://[^|\s]+)/[A-Z][A-Za-z]+/[A-Za-z0-9.-]+)(?:\|(?P<version>\S+))?"
)
_MISSING: Final = re.compile(r"The protocol has no (\S+)\.")


def names(sheet: Sheet) -> Iterator[Finding]:
    """Find what is named and is not there, or cannot be meant."""
    for plan, action in sheet.actions():
        yield from _anchors(sheet, plan, action)
        yield from _ids(sheet, plan, action)
        yield from _definition(sheet, plan, action)
    for plan in sheet.protocol.plans.values():
        yield from _nested(sheet, plan)
        yield from _circle_of_concerns(sheet, plan)
    yield from _other_canonicals(sheet)


# --- anchors and ids -------------------------------------------------------------------------------------------------
def _anchors(sheet: Sheet, plan: Plan, action: Action) -> Iterator[Finding]:
    for index, related in enumerate(action.related):
        if related.anchor not in plan.anchors:
            yield error(
                sheet.at(plan, action, f"relatedAction[{index}].actionId"),
                "anchor",
                f"{related.anchor} is no anchor of this plan.",
                f"Use one of: {', '.join(plan.anchors) or 'none is there; give an action the code anchor'}.",
            )


def _ids(sheet: Sheet, plan: Plan, action: Action) -> Iterator[Finding]:
    goals = {goal.id for goal in plan.goals}
    for index, goal in enumerate(action.goals):
        if goal not in goals:
            yield error(
                sheet.at(plan, action, f"goalId[{index}]"),
                "id",
                f"There is no goal {goal}.",
                f"Use one of: {', '.join(sorted(goals)) or 'none is there'}.",
            )
    others = {each.id: each for each in plan.actions}
    about = others.get(action.concerns or "")
    if action.concerns is not None and (about is None or about.is_anchor):
        yield error(
            sheet.at(plan, action, "extension"),
            "id",
            f"It concerns {action.concerns}, which is nothing to do.",
            "Name another action of this plan.",
        )


# --- canonicals ------------------------------------------------------------------------------------------------------
def _definition(sheet: Sheet, plan: Plan, action: Action) -> Iterator[Finding]:
    if action.definition is None:
        return
    at = sheet.at(plan, action, "definitionCanonical")
    try:
        found = resolved(sheet.protocol, action.definition)
    except ProtocolFault as fault:
        yield error(at, "canonical", fault.message, fault.remedy)
        return
    if plan.status == "active" and found.status in {"draft", "unknown"}:
        yield error(at, "canonical", f"{action.definition} is {found.status}.", "Make it active, or the plan a draft.")


def resolved(protocol: Protocol, canonical: str) -> Any:
    """Give the plan, form or activity a canonical names. Raises ``ProtocolFault``."""
    if protocol.is_plan(canonical):
        return protocol.plan(canonical)
    return protocol.form(canonical) if protocol.is_form(canonical) else protocol.activity(canonical)


def _other_canonicals(sheet: Sheet) -> Iterator[Finding]:
    """Find canonicals of the files' own addresses that lead nowhere, wherever they stand."""
    there = {f"{each.get('url')}|{each.get('version')}" for each in sheet.files.values()} | sheet.known
    urls = {canonical.partition("|")[0] for canonical in there}
    bases = {match["base"] for url in urls if (match := _CANONICAL.fullmatch(url))}
    for file, resource in sheet.files.items():
        for path, text in _strings(resource, str(resource.get("resourceType"))):
            match = _CANONICAL.fullmatch(text)
            if match is None or match["base"] not in bases or path.endswith(".definitionCanonical"):
                continue
            if text not in there and not (match["version"] is None and text in urls):
                yield error(
                    (file, path), "canonical", f"{text} is not there.", "Correct it, or add the file that defines it."
                )


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _strings(each, f"{path}.{name}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _strings(each, f"{path}[{index}]")
    elif isinstance(value, str) and value.startswith("http"):
        yield path, value


# --- circles ---------------------------------------------------------------------------------------------------------
def _nested(sheet: Sheet, plan: Plan) -> Iterator[Finding]:
    for action in plan.actions:
        inner = _plan_of(sheet, action)
        if inner is not None and _contains(sheet, inner, plan, set()):
            yield error(
                sheet.at(plan, action, "definitionCanonical"),
                "cycle",
                f"The plan contains itself, through {inner.canonical}.",
                "Take this action out of the plan.",
            )


def _contains(sheet: Sheet, plan: Plan, sought: Plan, seen: set[str]) -> bool:
    if plan.canonical == sought.canonical:
        return True
    if plan.canonical in seen:
        return False
    seen.add(plan.canonical)
    inner = (_plan_of(sheet, action) for action in plan.actions)
    return any(_contains(sheet, each, sought, seen) for each in inner if each is not None)


def _plan_of(sheet: Sheet, action: Action) -> Plan | None:
    try:
        return sheet.protocol.plan(action.definition) if action.definition else None
    except ProtocolFault:
        # It is no plan, or not there: that is another rule's.
        return None


def _circle_of_concerns(sheet: Sheet, plan: Plan) -> Iterator[Finding]:
    about = {action.id: action.concerns for action in plan.actions if action.concerns}
    for action in plan.actions:
        way, at = [action.id], about.get(action.id)
        while at is not None and at not in way:
            way.append(at)
            at = about.get(at)
        if at == action.id:
            yield error(
                sheet.at(plan, action, "extension"),
                "cycle",
                f"Actions are about each other: {', '.join([*way, at])}.",
                "Let one of them be about nothing.",
            )


# --- what only linking knows -----------------------------------------------------------------------------------------
def links(sheet: Sheet, reported: frozenset[tuple[str, str]]) -> Iterator[Finding]:
    """Find what linking refuses, besides actions ``reported`` (file, action id) already.

    Each action at fault is taken away and linking asked again, so that all of them are found.
    """
    protocol = _without(sheet.protocol, {*reported, *sheet.broken})
    seen: set[str] = set()
    while True:
        try:
            linked(protocol)
        except ProtocolFault as fault:
            mended = _mended(protocol, fault)
            said = f"{fault.file} {fault.action} {fault.message}"
            if said in seen:
                return
            seen.add(said)
            yield _of(sheet, fault)
            if mended is None:
                return
            protocol = mended
        else:
            return


def _of(sheet: Sheet, fault: ProtocolFault) -> Finding:
    if not fault.file:
        return error(("", ""), "required", fault.message, fault.remedy)
    path = sheet.places.get((fault.file, fault.action), "PlanDefinition")
    rule = "definition" if fault.action else "anchor"
    return error((fault.file, path), rule, fault.message, fault.remedy)


def _mended(protocol: Protocol, fault: ProtocolFault) -> Protocol | None:
    """Give the protocol without the action at fault, or with a stand-in for what is missing; None: it cannot be."""
    if fault.action:
        return _without(protocol, {(fault.file, fault.action)})
    if fault.file:
        plans = {
            key: replace(each, actions=_anchor_actions(each.url)) if each.file == fault.file else each
            for key, each in protocol.plans.items()
        }
        return Protocol(plans, protocol.activities, protocol.forms)
    missing = _MISSING.match(fault.message)
    if missing is None:
        return None
    header: dict[str, Any] = {"file": "", "url": missing[1], "version": "0", "status": "active", "titles": {"en": ""}}
    if missing[1] in {terms.PLAN_INFUSION, terms.PLAN_COURSE}:
        plan = Plan(**header, actions=_anchor_actions(missing[1]))
        return Protocol({**protocol.plans, plan.canonical: plan}, protocol.activities, protocol.forms)
    activity = Activity(**header)
    return Protocol(protocol.plans, {**protocol.activities, activity.canonical: activity}, protocol.forms)


def _anchor_actions(url: str) -> tuple[Action, ...]:
    count = 2 if url == terms.PLAN_COURSE else 1
    return tuple(Action(id=f"anchor-{number}", titles={"en": ""}, is_anchor=True) for number in range(count))


def _without(protocol: Protocol, actions: set[tuple[str, str]]) -> Protocol:
    """Give the protocol without these actions; an anchor stays, because others hang on it, but does nothing."""
    plans: dict[str, Plan] = {}
    for key, plan in protocol.plans.items():
        gone = {action for file, action in actions if file == plan.file}
        kept = []
        for each in plan.actions:
            if each.id in gone and each.is_anchor:
                kept.append(Action(id=each.id, titles=each.titles, is_anchor=True))
            elif each.id not in gone:
                kept.append(replace(each, concerns=None) if each.concerns in gone else each)
        plans[key] = replace(plan, actions=tuple(kept))
    return Protocol(plans, protocol.activities, protocol.forms)
