"""The definitions of a protocol together: what they name is there, and means what the software will do with it.

It finds what an action calls for, and refuses a protocol with a part that would be dropped, mistaken, or never end.
How each definition is read is ``loading``'s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.definitions import Activity, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fhir_aftercare.fhir.definitions import Action, Form, Plan

# Activities that stand in no plan: raised by the software when records or answers call for them.
_RAISED = (
    terms.CLINICAL_REVIEW,
    terms.BOOSTER_REVIEW,
    terms.INFORM_PATIENT,
    terms.CONFIRM_END,
    terms.UNANSWERED_FORM_CALL,
)
# Plan → the anchors it must have: the infusion; the start of the course and its last infusion.
_ANCHORS: Mapping[str, int] = {terms.PLAN_INFUSION: 1, terms.PLAN_COURSE: 2}


def linked(protocol: Protocol) -> Protocol:
    """Give the protocol with every action's definition pinned to ``url|version``.

    Raises ``ProtocolFault`` naming file, action and remedy.
    """
    plans = {canonical: _linked_plan(plan, protocol) for canonical, plan in protocol.plans.items()}
    found = Protocol(plans, protocol.activities, protocol.forms)
    for plan in plans.values():
        _check_cycles(plan, found, ())
    _check_required(found)
    return found


def _fault(plan: Plan, action: Action | None, message: str, remedy: str) -> ProtocolFault:
    return ProtocolFault(message, file=plan.file, action=action.id if action else "", remedy=remedy)


def _linked_plan(plan: Plan, protocol: Protocol) -> Plan:
    expected = _ANCHORS.get(plan.url)
    if expected is not None and len(plan.anchors) != expected:
        raise _fault(
            plan, None, f"The plan needs {expected} anchor(s), in order.", "Give these actions the code anchor."
        )
    return replace(plan, actions=tuple(_linked_action(plan, action, protocol) for action in plan.actions))


def _linked_action(plan: Plan, action: Action, protocol: Protocol) -> Action:
    _check_names(plan, action)
    _check_concern(plan, action, protocol)
    if action.is_anchor:
        if action.definition or action.related or action.conditions or action.repeat:
            raise _fault(plan, action, "An anchor does nothing; its times are recorded.", "Leave only id, title, code.")
        return action
    if action.definition is None:
        raise _fault(plan, action, "The action defines nothing to do.", "Add `definitionCanonical`.")
    definition = _definition(plan, action, protocol)
    if protocol.is_plan(action.definition):
        _check_nested(plan, action)
    else:
        _check_times(plan, action, restriction=isinstance(definition, Activity) and definition.kind != "Task")
    if plan.url == terms.PLAN_COURSE and not protocol.is_form(action.definition):
        raise _fault(plan, action, "A course asks forms only.", "Move the action to the plan of an infusion.")
    if action.repeat and plan.url != terms.PLAN_COURSE:
        raise _fault(plan, action, "Only the forms of a course are repeated.", "Leave out `timingTiming`.")
    return replace(action, definition=definition.canonical)


def _definition(plan: Plan, action: Action, protocol: Protocol) -> Plan | Activity | Form:
    canonical = action.definition or ""
    try:
        if protocol.is_plan(canonical):
            found: Plan | Activity | Form = protocol.plan(canonical)
        elif protocol.is_form(canonical):
            found = protocol.form(canonical)
        else:
            found = protocol.activity(canonical)
    except ProtocolFault as fault:
        raise _fault(plan, action, fault.message, fault.remedy) from fault
    if plan.status == "active" and found.status in {"draft", "unknown"}:
        raise _fault(plan, action, f"{canonical} is {found.status}.", "Make it active, or the plan a draft.")
    return found


def _check_names(plan: Plan, action: Action) -> None:
    """Refuse ids that the plan does not have."""
    others = {each.id: each for each in plan.actions if each.id != action.id}
    for related in action.related:
        if related.anchor not in others or not others[related.anchor].is_anchor:
            raise _fault(plan, action, f"{related.anchor} is no anchor.", f"Use one of: {', '.join(plan.anchors)}.")
    unknown = sorted(set(action.goals) - {goal.id for goal in plan.goals})
    if unknown:
        raise _fault(plan, action, f"There is no goal {', '.join(unknown)}.", "Name goals of this plan in `goalId`.")


def _check_concern(plan: Plan, action: Action, protocol: Protocol) -> None:
    """Refuse an action about one that the plan does not have, or that becomes nothing to point to."""
    if action.concerns is None:
        return
    other = next((each for each in plan.actions if each.id == action.concerns and each.id != action.id), None)
    if other is None or other.is_anchor or protocol.is_plan(other.definition or ""):
        raise _fault(plan, action, f"It concerns {action.concerns}, which is nothing to do.", "Name another action.")


def _check_nested(plan: Plan, action: Action) -> None:
    if action.related or action.repeat or action.staff_hours or action.concerns:
        raise _fault(
            plan,
            action,
            "A plan within a plan has times of its own.",
            "Leave only id, title, condition and definition.",
        )


def _check_times(plan: Plan, action: Action, *, restriction: bool) -> None:
    if not action.related:
        raise _fault(plan, action, "The action has no time.", "Add a `relatedAction` to an anchor.")
    if not restriction:
        if any(len(related.parts) < 4 for related in action.related):
            raise _fault(
                plan,
                action,
                "The Task does not say when it opens, is due and expires.",
                "Give every relatedAction AcceptableOffsetRangeSoa with low and high, and expiry-offset.",
            )
        return
    if any(related.high or related.expiry for related in action.related):
        raise _fault(
            plan,
            action,
            "A restriction only ends.",
            "Write its end as `offsetDuration`, without high and expiry-offset.",
        )
    if action.staff_hours:
        # Moved into open hours, a restriction would end earlier than it must.
        raise _fault(plan, action, "A restriction also holds while the clinic is closed.", "Leave out staff-hours.")


def _check_cycles(plan: Plan, protocol: Protocol, within: tuple[str, ...]) -> None:
    for action in plan.actions:
        if action.definition is None or action.definition not in protocol.plans:
            continue
        if action.definition in (*within, plan.canonical):
            raise _fault(plan, action, "The plan contains itself.", "Take this action out of the plan.")
        _check_cycles(protocol.plans[action.definition], protocol, (*within, plan.canonical))


def _check_required(protocol: Protocol) -> None:
    """Refuse a protocol without what the software itself asks for: it would be missed when it is needed."""
    for plan in _ANCHORS:
        protocol.plan(plan)
    for code in _RAISED:
        protocol.activity(f"{terms.ACTIVITY_DEFINITION}/{code.code}")
