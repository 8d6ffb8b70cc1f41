"""The Task "call about an unanswered form": one for a patient, whatever and however much is not answered.

A step of ``tend_plans``, not a door. When a call is due is ``care.expiry``'s to say (clinical §2.5). Further forms are
added to the call that is open; one that nobody has begun is taken back when all it names was answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.correction import MOVABLE
from fhir_aftercare.care.escalation import business_deadline
from fhir_aftercare.care.expiry import call_from, is_over
from fhir_aftercare.care.rollup import Outcome, task_outcome
from fhir_aftercare.care.timing import Window, in_staff_hours, utc
from fhir_aftercare.care.wording import short_date
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.situation import children, is_task, plan_zone
from fhir_aftercare.flows.task_facts import business_of, is_form, is_ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.flows.draft import Draft

Resource = dict[str, Any]


def call_about_forms(draft: Draft, plans: Sequence[Resource]) -> str | None:
    """Add the call about the forms of ``plans`` that nobody answers, and give its reference if that changed anything.

    Raises ``ProtocolFault`` if the protocol has no such call.
    """
    calls = [each for each in draft.chart.of("Task") if tasks.has_code(each, terms.UNANSWERED_FORM_CALL)]
    named = {reference for call in calls for reference in _forms_named(call)}
    unanswered = [
        (form, plan)
        for plan in plans
        for form in children(draft.chart, plan)
        if reference_of(form) not in named and is_unanswered(draft, form, plan)
    ]
    waiting = next((each for each in calls if tasks.is_open(each)), None)
    if unanswered and waiting is not None:
        return _add_to(draft, waiting, [form for form, _ in unanswered])
    if unanswered:
        return _raise(draft, [form for form, _ in unanswered], _course_of(draft, unanswered[0][1]), len(calls) + 1)
    if waiting is not None and waiting["status"] in MOVABLE and _is_settled(draft, waiting):
        moved = tasks.moved(waiting, "cancelled", "superseded", at=draft.now, reason="superseded")
        return draft.transaction.update(moved, waiting)
    return None


def is_unanswered(draft: Draft, task: Resource, plan: Resource) -> bool:
    """Tell whether a form of a plan was asked three days ago, and nobody has answered it or closed it.

    A form for the time before the plan began (the baseline) is not asked after: it is too late for it.
    """
    opens, _, expires = tasks.window_of(task)
    began = tasks.moment((plan.get("period") or {}).get("start"))
    if not is_task(task) or not is_form(task) or not is_ours(task, draft.context.identifiers):
        return False
    if opens is None or began is None or utc(opens) < utc(began) or not _may_answer(task):
        return False
    asked = tasks.moment(task.get("authoredOn"))
    return is_over(call_from(opens, asked, expires, plan_zone(plan, draft.context.clinic)), draft.now)


def _may_answer(task: Resource) -> bool:
    return tasks.is_open(task) and task["status"] != "on-hold"


def _forms_named(call: Resource) -> list[str]:
    given = [(each.get("valueReference") or {}).get("reference") for each in call.get("input") or ()]
    return [str(each) for each in given if each]


def _is_settled(draft: Draft, call: Resource) -> bool:
    """Tell whether everything a call is about was answered, or is asked no longer."""
    named = _forms_named(call)
    forms = [each for each in draft.chart.of("Task") if reference_of(each) in named]
    outcomes = {task_outcome(each["status"], business_of(each), has_output=bool(each.get("output"))) for each in forms}
    return len(forms) == len(named) > 0 and outcomes.isdisjoint({Outcome.OPEN, Outcome.UNDONE})


def _inputs(draft: Draft, forms: Sequence[Resource]) -> list[Resource]:
    return [
        {
            "type": terms.INPUT_REASON.concept(),
            "valueReference": {"reference": reference_of(each), "display": _words(draft, each)},
        }
        for each in forms
    ]


def _words(draft: Draft, form: Resource) -> str:
    """Give the words for a form that was not answered, for staff."""
    protocol = draft.context.protocol
    canonicals = [str(each.get("valueCanonical")) for each in form.get("input") or ()]
    titles = [protocol.forms[each].titles["en"] for each in canonicals if each in protocol.forms]
    title = next(iter(titles), str(form.get("description") or "A form"))
    opens = tasks.window_of(form)[0]
    return f"{title}, asked on {short_date(opens.date())}" if opens else title


def _add_to(draft: Draft, call: Resource, forms: Sequence[Resource]) -> str:
    due = tasks.window_of(call)[1] or _window(draft).target
    changed = tasks.raised(
        call, priority=call.get("priority", "routine"), due=due, inputs=_inputs(draft, forms), at=draft.now
    )
    return draft.transaction.update(changed, call) if changed else reference_of(call)


def _course_of(draft: Draft, plan: Resource) -> Resource:
    """Give the course a plan is part of, else the plan: an infusion's plan need not wait for this call."""
    parts = plan.get("partOf") or ()
    courses = [each for each in draft.chart.of("CarePlan") if each.get("status") in {"active", "on-hold"}]
    return next((each for each in courses if any(refers_to(reference, each) for reference in parts)), plan)


def _raise(draft: Draft, forms: Sequence[Resource], plan: Resource, number: int) -> str:
    context = draft.context
    key = (context.clinic.id, draft.patient.rpartition("/")[2], terms.UNANSWERED_FORM_CALL.code, str(number))
    activity = context.protocol.activity(f"{terms.ACTIVITY_DEFINITION}/{terms.UNANSWERED_FORM_CALL.code}")
    work = tasks.Work(
        identifier=context.identifiers.identifier("activity", *key),
        canonical=activity.canonical,
        code=activity.code,
        priority=activity.priority or "routine",
        description=activity.description,
        patient=draft.patient,
        requester=context.clinic.organization,
        owner=context.clinic.owner(activity.owner_role or "nurse", draft.patient),
        authored_on=draft.now,
        window=_window(draft),
        based_on=(reference_of(plan),),
        inputs=_inputs(draft, forms),
    )
    return draft.transaction.create(tasks.make(work), context.identifiers.full_url("activity", *key))


def _window(draft: Draft) -> Window:
    """Give the time in which staff call: two business days from when it was found (clinical §2.5)."""
    clinic, now = draft.context.clinic, draft.now
    due = business_deadline(now, clinic.policy.unanswered_business_days, clinic.call_hours)
    return in_staff_hours(Window(opens=now, target=due, due=due, expires=None), clinic.call_hours)
