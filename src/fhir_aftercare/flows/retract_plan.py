"""Take back the plan of an infusion that was not done, or that never was this patient's.

A step of ``correct``, not a door (fhir-model §1.6, design §10.1). Nothing is erased: what nobody has ended is closed,
what people did is kept with a note, answers stay, and a patient who has left is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fhir_aftercare.care import correction, wording
from fhir_aftercare.care.correction import Change, plan_after, restriction_after, task_after
from fhir_aftercare.fhir import careplan, corrections, terms
from fhir_aftercare.flows.course_forms import course_of, start_of, take_back
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.inform_patient import News, tell_of_retraction
from fhir_aftercare.flows.situation import children, is_task, plan_zone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.care.plan import Episode
    from fhir_aftercare.flows.draft import Draft

Resource = dict[str, Any]

_TOLD = {
    Change.NOT_DONE: "The infusion was not done.",
    Change.ENTERED_IN_ERROR: "There was no such infusion: its record was entered in error.",
    Change.WRONG_PATIENT: "The infusion was another patient's, recorded on this one by mistake.",
}


def retract_plan(draft: Draft, episode: Episode, plan: Resource | None, change: Change) -> str | None:
    """Add to the transaction what ends with the infusion; give the Task to tell the patient, if one was told.

    A plan that has ended already is only brought into line with the change: its course and its patient are left alone.
    """
    _withdraw_failure(draft, episode, change)
    if plan is None:
        return None
    there = children(draft.chart, plan)
    acted = is_acted_on(plan, there)
    living = plan["status"] not in careplan.ENDED
    for each in there:
        _take_back(draft, each, change, acted=acted or (living and each["status"] == "revoked"))
    ended = corrections.ended(plan, plan_after(change, plan["status"], acted=acted))
    if ended is not None:
        draft.transaction.update(ended, plan)
    if not living or plan["status"] == "draft":
        return None
    course, end = course_of(draft.chart, plan), start_of(plan)
    if course is not None and end is not None:
        take_back(draft, course, end, change)
    return tell_of_retraction(draft, episode, _news(draft, plan, change))


def is_acted_on(plan: Resource, there: Sequence[Resource]) -> bool:
    """Tell whether a person did something about a plan: one of its Tasks, or the plan itself, which no software ended.

    Of a plan that was revoked because the infusion was not done, a withdrawn Task tells so.
    """
    own = [each for each in there if is_task(each)]
    by_hand = plan["status"] == "revoked" and not any(corrections.is_withdrawn(each) for each in own)
    return by_hand or any(corrections.is_acted_on(each) for each in own)


def _take_back(draft: Draft, child: Resource, change: Change, *, acted: bool) -> None:
    changed: Resource | None
    if is_task(child):
        status = task_after(change, child["status"], withdrawn=corrections.is_withdrawn(child))
        changed = corrections.withdrawn(child, status, change, draft.now)
    else:
        changed = corrections.ended(child, restriction_after(change, child["status"], acted=acted))
    if changed is not None:
        draft.transaction.update(changed, child)


def _withdraw_failure(draft: Draft, episode: Episode, change: Change) -> None:
    """Close the Task that asks for aftercare by hand where the protocol had failed: none is owed now."""
    key = (*episode.key, terms.AFTERCARE_FAILED.code)
    task = draft.existing({"identifier": [draft.context.identifiers.identifier("activity", *key)]})
    if task is not None:
        _take_back(draft, task, change, acted=False)


def _news(draft: Draft, plan: Resource, change: Change) -> News:
    start = start_of(plan)
    zone = plan_zone(plan, draft.context.clinic)
    of_day = f" of {wording.short_date(start.astimezone(zone).date())}" if start else ""
    text = f"{_TOLD[change]} What the patient was told for the aftercare{of_day} does not hold any more."
    return News(correction.tell_of_retraction(change, draft.now), text, reference_of(plan))
