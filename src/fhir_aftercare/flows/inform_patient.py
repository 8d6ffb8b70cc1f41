"""The Task "tell the patient what has changed": an instruction the patient already has is no longer right.

A step of the flows that correct, not a door. When it must be done is ``care.correction``'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.timing import Window
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.situation import children, is_task

if TYPE_CHECKING:
    from fhir_aftercare.care.correction import Telling
    from fhir_aftercare.care.plan import Episode
    from fhir_aftercare.flows.draft import Draft

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class News:
    """What the patient must be told: how soon, in words for staff, and the reference of what it is about."""

    telling: Telling
    text: str
    about: str


def tell_of_plan(draft: Draft, episode: Episode, plan: Resource, news: News) -> str:
    """Add news of a plan that goes on: to the open Task if there is one, and give its reference."""
    told = [
        each for each in children(draft.chart, plan) if is_task(each) and tasks.has_code(each, terms.INFORM_PATIENT)
    ]
    waiting = next((each for each in told if tasks.is_open(each)), None)
    if waiting is not None:
        inputs = [tasks.text_input(terms.INPUT_REASON, news.text)]
        level, due = news.telling.level.priority, news.telling.due
        changed = tasks.raised(waiting, priority=level, due=due, inputs=inputs, at=draft.now)
        return draft.transaction.update(changed, waiting) if changed else reference_of(waiting)
    key = (*episode.key, terms.INFORM_PATIENT.code, str(len(told) + 1))
    return _add(draft, episode, news, key, based_on=(reference_of(plan),))


def tell_of_retraction(draft: Draft, episode: Episode, news: News) -> str:
    """Add news that a plan holds no longer, once for each plan, and give its reference.

    It carries out no plan: what ends the plan must not end it.
    """
    return _add(draft, episode, news, (*episode.key, terms.INFORM_PATIENT.code, "retracted"))


def _add(draft: Draft, episode: Episode, news: News, key: tuple[str, ...], *, based_on: tuple[str, ...] = ()) -> str:
    context, now, due = draft.context, draft.now, news.telling.due
    activity = context.protocol.activity(f"{terms.ACTIVITY_DEFINITION}/{terms.INFORM_PATIENT.code}")
    work = tasks.Work(
        identifier=context.identifiers.identifier("activity", *key),
        canonical=activity.canonical,
        code=activity.code,
        priority=news.telling.level.priority,
        description=activity.description,
        patient=draft.patient,
        encounter=draft.encounter,
        requester=context.clinic.organization,
        owner=context.clinic.owner(activity.owner_role or "nurse", draft.patient),
        authored_on=now,
        window=Window(opens=now, target=due, due=due, expires=None),
        based_on=based_on,
        group=context.identifiers.identifier("infusion", *episode.infusion_key),
        inputs=[tasks.text_input(terms.INPUT_REASON, news.text)],
        about=news.about,
    )
    return draft.ensure(tasks.make(work), context.identifiers.full_url("activity", *key))
