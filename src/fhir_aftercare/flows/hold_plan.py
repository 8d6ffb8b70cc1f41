"""Hold a plan whose visit the EHR no longer calls ended, and let it go on: a person decides which it is.

    visit reopened or cancelled → plan on-hold + Task "confirm whether the patient was discharged"
    visit ended again → plan active, the Task withdrawn;  Task completed by a person → plan active

A step of the flows, not a door (fhir-model §1.6). Nothing else of the plan changes: the patient may well be at home,
and what is asked meanwhile stays asked. Only ``correct`` revokes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.status import check_move
from fhir_aftercare.care.timing import Window
from fhir_aftercare.fhir import careplan, tasks, terms
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.situation import children, is_task

if TYPE_CHECKING:
    from fhir_aftercare.care.plan import Episode
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.draft import Draft

Resource = dict[str, Any]

# As soon as an arrival home must be confirmed (design §10.10): whether the patient has left is as pressing.
_WITHIN: Final = timedelta(hours=2)


def hold(draft: Draft, episode: Episode, plan: Resource, status: str) -> str | None:
    """Add to the transaction that the plan waits for a person, and give the Task; None if a person has decided.

    ``status`` is what the EHR says of the visit. A plan that is no longer active, or is a draft, only gets the Task.
    """
    asked = confirmations(draft.chart, plan)
    waiting = next((each for each in asked if tasks.is_open(each)), None)
    reason = tasks.text_input(terms.INPUT_REASON, f"The EHR shows the visit as {status}.")
    if waiting is None and any(reason in (each.get("input") or ()) for each in asked if each["status"] == "completed"):
        return None
    if waiting is None and plan["status"] == "on-hold":
        return None  # held by a person in the EHR, or left on hold by whoever failed to find out
    task = _asked_on(draft, waiting, reason) if waiting else _ask(draft, episode, plan, reason, len(asked) + 1)
    changed = careplan.with_activities(plan, [task])
    if plan["status"] == "active":
        check_move("CarePlan", plan["status"], "on-hold")
        changed["status"] = "on-hold"
    if changed != plan:
        draft.transaction.update(changed, plan)
    return task


def release(draft: Draft, plan: Resource) -> bool:
    """Let a plan that waits go on, since the visit has ended after all; False if it does not wait."""
    waiting = [each for each in confirmations(draft.chart, plan) if tasks.is_open(each)]
    for task in waiting:
        moved = tasks.moved(task, "cancelled", "superseded", at=draft.now, reason="superseded")
        draft.transaction.update(moved, task)
    if waiting:
        go_on(draft, plan)
    return bool(waiting)


def go_on(draft: Draft, plan: Resource) -> None:
    """Make a held plan active again."""
    if plan["status"] == "on-hold":
        check_move("CarePlan", plan["status"], "active")
        draft.transaction.update({**plan, "status": "active"}, plan)


def confirmations(chart: Chart, plan: Resource) -> list[Resource]:
    """Give the plan's Tasks that ask whether the patient was discharged, closed ones too."""
    return [each for each in children(chart, plan) if is_task(each) and is_confirmation(each)]


def is_confirmation(task: Resource) -> bool:
    """Tell whether a Task asks whether the patient was discharged."""
    return tasks.has_code(task, terms.CONFIRM_DISCHARGE)


def _asked_on(draft: Draft, task: Resource, reason: Resource) -> str:
    due = tasks.window_of(task)[1] or draft.now + _WITHIN
    changed = tasks.raised(task, priority=str(task["priority"]), due=due, inputs=[reason], at=draft.now)
    return draft.transaction.update(changed, task) if changed else reference_of(task)


def _ask(draft: Draft, episode: Episode, plan: Resource, reason: Resource, number: int) -> str:
    context, now = draft.context, draft.now
    key = (*episode.key, terms.CONFIRM_DISCHARGE.code, str(number))
    activity = context.protocol.activity(f"{terms.ACTIVITY_DEFINITION}/{terms.CONFIRM_DISCHARGE.code}")
    task = tasks.make(
        tasks.Work(
            identifier=context.identifiers.identifier("activity", *key),
            canonical=activity.canonical,
            code=activity.code,
            priority=activity.priority or "urgent",
            description=activity.description,
            patient=draft.patient,
            encounter=draft.encounter,
            requester=context.clinic.organization,
            owner=context.clinic.owner(activity.owner_role or "nurse", draft.patient),
            authored_on=now,
            window=Window(opens=now, target=now + _WITHIN, due=now + _WITHIN, expires=None),
            based_on=(reference_of(plan),),
            group=context.identifiers.identifier("infusion", *episode.infusion_key),
            inputs=[reason],
        )
    )
    return draft.ensure(task, context.identifiers.full_url("activity", *key))
