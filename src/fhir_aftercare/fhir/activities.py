"""One action that applies, as the resource it becomes: a restriction, a Task of staff, a Task that asks for a form.

Whether it applies, when, and in which words is ``apply``'s; the shapes are those of profiles/StructureDefinition-….
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care import wording
from fhir_aftercare.care.timing import local
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.facts import Facts, Wanted, text_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fhir_aftercare.care.infusion import Escort
    from fhir_aftercare.care.timing import Window
    from fhir_aftercare.fhir.definitions import Action, Activity, Form

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Due:
    """An action with its dates. ``key`` is that of its identifier, ``based_on`` the CarePlan it carries out.

    ``words`` are the elements whose text depends on the facts; ``about`` is the ``urn:uuid`` of what it is about.
    """

    action: Action
    window: Window
    key: tuple[str, ...]
    based_on: str
    words: Mapping[str, str]
    about: str | None = None


def restriction(activity: Activity, facts: Facts, due: Due) -> Wanted:
    """Give a ServiceRequest ``doNotPerform``: from the end of the infusion until the window's target (fhir-model §1.4).

    Where only a person may release (design §10.5), the line for the narrative is the whole instruction: a time alone
    would read as if it released.
    """
    window = due.window
    start = window.opens or facts.anchor.end or facts.anchor.start
    instruction = due.words.get("patientInstruction")
    resource: Resource = {
        "resourceType": "ServiceRequest",
        "meta": {"profile": [terms.PROFILE_RESTRICTION]},
        "identifier": [facts.identifiers.identifier("activity", *due.key)],
        "instantiatesCanonical": [activity.canonical],
        "basedOn": [{"reference": due.based_on}],
        "requisition": facts.group,
        "status": "active",
        "intent": "order",
        "category": [terms.INFUSION_PLAN.concept()],
        "priority": due.action.priority or activity.priority or "routine",
        "doNotPerform": True,
        "code": activity.code,
        "subject": {"reference": facts.patient},
        "encounter": {"reference": facts.encounter} if facts.encounter else None,
        "occurrencePeriod": tasks.period(local(start, facts.zone), window.target),
        "authoredOn": tasks.instant(local(facts.now, facts.zone)),
        "requester": {"reference": facts.requester},
        "patientInstruction": instruction,
    }
    until = wording.until_text(window.target, facts.zone, facts.language)
    if facts.release_needs_human and instruction and _says_release(activity):
        until = instruction
    return _wanted({k: v for k, v in resource.items() if v is not None}, facts, due, activity.titles, until)


def staff_task(activity: Activity, facts: Facts, due: Due) -> Wanted:
    """Give the Task of an activity, with what its definition teaches and what the record adds."""
    inputs = [{"type": each.type, "valueString": text_in(each.texts, facts.language)} for each in activity.inputs]
    work = replace(
        _work(activity, facts, due.window, based_on=due.based_on, key=due.key),
        priority=due.words.get("priority") or due.action.priority or activity.priority or "routine",
        description=due.words.get("description") or activity.description,
        inputs=[*inputs, *_known_inputs(activity, facts)],
        about=due.about,
    )
    return _wanted(tasks.make(work), facts, due, due.action.titles, _when(due.window, facts))


def form_task(form: Form, facts: Facts, due: Due) -> Wanted:
    """Give the Task that asks the patient for a form, in SDC's and CPG's coding (design §10.13)."""
    work = tasks.Work(
        identifier=facts.identifiers.identifier("activity", *due.key),
        code=terms.COMPLETE_QUESTIONNAIRE.concept(terms.COLLECT_INFORMATION),
        priority=due.action.priority or "routine",
        description=text_in(due.action.titles, facts.language),
        patient=facts.patient,
        requester=facts.requester,
        owner=facts.patient,
        authored_on=local(facts.now, facts.zone),
        window=due.window,
        based_on=(due.based_on,),
        group=facts.group,
        inputs=[tasks.form_input(form.canonical)],
        profile=terms.PROFILE_PRO_TASK,
    )
    return _wanted(tasks.make(work), facts, due, due.action.titles, _when(due.window, facts))


def from_activity(activity: Activity, facts: Facts, window: Window, *, based_on: str, key: tuple[str, ...]) -> Wanted:
    """Give the Task of an activity that stands in no plan: raised because a record or an answer calls for it."""
    urn = facts.identifiers.full_url("activity", *key)
    line = f"{text_in(activity.titles, facts.language)}: {_when(window, facts)}"
    return Wanted(urn, key[-1], tasks.make(_work(activity, facts, window, based_on=based_on, key=key)), line)


def escort_inputs(escort: Escort | None) -> list[Resource]:
    """Give the inputs of the escort Task that are known."""
    if escort is None:
        return []
    given = (
        (terms.INPUT_ESCORT_NAME, escort.name),
        (terms.INPUT_ESCORT_RELATION, escort.relationship),
        (terms.INPUT_ESCORT_PHONE, escort.phone),
    )
    return [tasks.text_input(code, text) for code, text in given if text and text.strip()]


def _work(activity: Activity, facts: Facts, window: Window, *, based_on: str, key: tuple[str, ...]) -> tasks.Work:
    return tasks.Work(
        identifier=facts.identifiers.identifier("activity", *key),
        canonical=activity.canonical,
        code=activity.code,
        priority=activity.priority or "routine",
        description=activity.description,
        patient=facts.patient,
        encounter=facts.encounter,
        requester=facts.requester,
        owner=facts.clinic.owner(activity.owner_role or "nurse", facts.patient),
        authored_on=local(facts.now, facts.zone),
        window=window,
        based_on=(based_on,),
        group=facts.group,
    )


def _known_inputs(activity: Activity, facts: Facts) -> list[Resource]:
    """Give what the record adds to an activity: the escort's name and phone, the criteria that were not met, and under
    which number the patient wants to be called.
    """
    if tasks.has_code({"code": activity.code}, terms.ESCORT_HOME):
        return escort_inputs(facts.escort_person)
    if tasks.has_code({"code": activity.code}, terms.DISCHARGED_NOT_READY):
        return [tasks.text_input(terms.INPUT_UNMET, each) for each in facts.unmet]
    if tasks.has_code({"code": activity.code}, terms.FOLLOW_UP_CALL) and facts.call and facts.call.phone:
        return [tasks.text_input(terms.INPUT_CALL_PHONE, facts.call.phone)]
    return []


def _says_release(activity: Activity) -> bool:
    return any("releaseText" in each.names for dynamic in activity.dynamic for each in dynamic.expressions.values())


def _wanted(resource: Resource, facts: Facts, due: Due, titles: Mapping[str, str], when: str) -> Wanted:
    urn = facts.identifiers.full_url("activity", *due.key)
    return Wanted(urn, due.action.id, resource, f"{text_in(titles, facts.language)}: {when}")


def _when(window: Window, facts: Facts) -> str:
    return wording.window_text(window.opens, window.due or window.target, facts.zone, facts.language)
