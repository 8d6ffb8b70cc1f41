"""Tend a patient's plans as time passes: ask what is due to be asked, close what is over, end what has ended.

    patient → one batch → care.expiry, care.rollup, fhir.course → difference → one transaction

For a sweep, and for whoever opens a chart. At any time, however often, from any number of processes: what there is to
do is done once (design §2.2). A plan is tended by the version of the protocol it was made with, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.expiry import is_over, is_over_for_staff
from fhir_aftercare.care.status import TASK_MOVES
from fhir_aftercare.care.timing import utc
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import careplan, corrections, tasks, terms
from fhir_aftercare.flows.ask_forms import add_forms, chart_after
from fhir_aftercare.flows.chart import patient_section, plan_sections, score_section
from fhir_aftercare.flows.draft import Draft, reference_of
from fhir_aftercare.flows.plan_end import is_released, rolled_up
from fhir_aftercare.flows.running_course import RunningCourse, pinned
from fhir_aftercare.flows.settle import preview, settle
from fhir_aftercare.flows.situation import children, is_task, parts_of
from fhir_aftercare.flows.task_facts import is_form, is_ours
from fhir_aftercare.flows.unanswered_call import call_about_forms
from fhir_aftercare.flows.untaken_task import pass_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.fhir.definitions import Plan
    from fhir_aftercare.flows.chart import Chart, Section
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.running_course import Asking

Resource = dict[str, Any]

# Held plans are a person's, revoked ones a correction's; a completed one may still have windows to close.
_TENDED = frozenset({"draft", "active", "completed"})


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A plan that was left as it is: the version of the protocol it names cannot be applied, and why."""

    plan: str
    canonical: str
    why: str


@dataclass(slots=True)
class Tending:
    """What one look does and finds, as references (``Type/id`` or ``urn:uuid``)."""

    asked: list[str] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    call: str | None = None
    passed_on: list[str] = field(default_factory=list)
    untaken: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    awaiting: list[str] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    needs_clinician: list[str] = field(default_factory=list)
    unchanged: list[Unchanged] = field(default_factory=list)
    policy: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TendDecision:
    """The difference to write, and what it is."""

    transaction: Transaction
    tending: Tending


@dataclass(frozen=True, slots=True)
class Tended:
    """What was done and what was found, as ``Type/id``. ``changed`` is False if there was nothing to write.

    Tasks: ``asked`` are new forms, ``superseded`` forms that are needless now, ``missed`` forms not answered in time,
    ``failed`` work of staff that was not done in time, ``call`` the call about forms if this made or changed one.
    ``passed_on`` is pressing work that nobody took by its deadline and that is another's now, ``untaken`` that stays.
    Restrictions: ``released`` have ended; ``awaiting`` are over, but a person must say so to the patient.
    Plans: ``completed``, ``revoked``; ``late`` have something open after their end; ``needs_clinician`` are those in
    which something that must be done was not; ``unchanged`` those whose protocol cannot be applied.
    """

    asked: tuple[str, ...]
    superseded: tuple[str, ...]
    missed: tuple[str, ...]
    failed: tuple[str, ...]
    call: str | None
    passed_on: tuple[str, ...]
    untaken: tuple[str, ...]
    released: tuple[str, ...]
    awaiting: tuple[str, ...]
    completed: tuple[str, ...]
    revoked: tuple[str, ...]
    late: tuple[str, ...]
    needs_clinician: tuple[str, ...]
    unchanged: tuple[Unchanged, ...]
    changed: bool


async def tend_plans(context: ClinicContext, patient: str) -> Tended:
    """Tend all plans of a patient (``Patient/1``).

    Raises ``NotFound``, ``ProtocolFault`` if the protocol lacks the call about unanswered forms, and what failures of
    the FHIR server become; nothing is written then.
    """
    settled = await settle(context, patient, sections(patient), lambda chart: decide(context, patient, chart))
    found, at = settled.decision.tending, settled.reference
    return Tended(
        asked=tuple(sorted(map(at, found.asked))),
        superseded=tuple(found.superseded),
        missed=tuple(found.missed),
        failed=tuple(found.failed),
        call=at(found.call) if found.call else None,
        passed_on=tuple(found.passed_on),
        untaken=tuple(found.untaken),
        released=tuple(found.released),
        awaiting=tuple(found.awaiting),
        completed=tuple(found.completed),
        revoked=tuple(found.revoked),
        late=tuple(found.late),
        needs_clinician=tuple(found.needs_clinician),
        unchanged=tuple(found.unchanged),
        changed=settled.wrote,
    )


async def preview_tending(context: ClinicContext, patient: str) -> Resource:
    """Give the Bundle that ``tend_plans`` would send now; nothing is written. Raises the same errors."""
    return await preview(context, sections(patient), lambda chart: decide(context, patient, chart))


def sections(patient: str) -> list[Section]:
    """Give what is read for it, in one batch."""
    return [patient_section(patient), *plan_sections(patient), score_section(patient)]


def decide(context: ClinicContext, patient: str, chart: Chart) -> TendDecision:
    """Compare what the plans should be by now with what the chart has. Pure. Raises ``ProtocolFault``."""
    draft = Draft(context, chart, patient)
    tending = tend(draft)
    draft.sign(tending.policy or [context.protocol.infusion.canonical], person=None)
    return TendDecision(draft.transaction, tending)


def tend(draft: Draft) -> Tending:
    """Add to a transaction what time has made due in the patient's plans; a step for flows that change them.

    Raises ``ProtocolFault`` if the protocol lacks the call about unanswered forms.
    """
    found = Tending()
    here = _after(draft)
    plans = list(_plans(here, found))
    for each in plans:
        if each.asking is not None:
            found.superseded += [reference_of(task) for task in each.asking.replaced]
            found.asked += add_forms(here, each.asking)
    here = _after(draft)
    found.call = call_about_forms(here, [each.plan for each in plans if each.plan["status"] == "active"])
    for each in plans:
        _close_windows(here, each.plan, found)
        _end_restrictions(here, each.plan, found)
    untaken = pass_on(_after(draft))
    found.passed_on, found.untaken = untaken.passed_on, untaken.waiting
    # The plans of infusions first: those of courses hang on them.
    for each in sorted(plans, key=lambda one: one.course is not None):
        _roll_up(_after(draft), each, found)
    found.policy = list(dict.fromkeys(each.definition.canonical for each in plans))
    return found


@dataclass(frozen=True, slots=True)
class _Plan:
    """One plan that is tended: with its version of the protocol, and if it is a running course, what it asks."""

    plan: Resource
    definition: Plan
    course: RunningCourse | None = None
    asking: Asking | None = None


def _after(draft: Draft) -> Draft:
    """Give the draft with the chart as it will be: each step builds on the ones before."""
    return replace(draft, chart=chart_after(draft))


def _plans(draft: Draft, found: Tending) -> Iterator[_Plan]:
    """Give the plans to tend; everything of their protocol is evaluated before anything is changed."""
    for plan in draft.chart.of("CarePlan"):
        if plan.get("status") not in _TENDED or _is_done_with(draft.chart, plan):
            continue
        try:
            if careplan.is_kind(plan, "infusion"):
                yield _Plan(plan, pinned(draft.context.protocol, plan, terms.PLAN_INFUSION))
            elif careplan.is_kind(plan, "course"):
                course = RunningCourse.of(draft.context, draft.chart, plan)
                asking = course.asking() if plan["status"] == "active" else None
                yield _Plan(plan, course.definition, course, asking)
        except ProtocolFault as fault:
            named = ", ".join(str(each) for each in plan.get("instantiatesCanonical") or ())
            found.unchanged.append(Unchanged(reference_of(plan), named, fault.message))


def _is_done_with(chart: Chart, plan: Resource) -> bool:
    """Tell whether a plan has ended, and all of it: nothing about it can change any more."""
    there = children(chart, plan)
    goes_on = any(tasks.is_open(each) if is_task(each) else each.get("status") == "active" for each in there)
    return plan["status"] == "completed" and not goes_on


# --- what is over ----------------------------------------------------------------------------------------------------
def _close_windows(draft: Draft, plan: Resource, found: Tending) -> None:
    """Close what has expired undone (design §10.3); of a draft only the forms: the discharge decides on the rest."""
    for task in children(draft.chart, plan):
        if not is_task(task) or not _is_ours_to_end(draft, task):
            continue
        if is_form(task):
            if is_over(tasks.window_of(task)[2], draft.now):
                moved = tasks.moved(task, "cancelled", "missed", at=draft.now, reason="missed")
                found.missed.append(draft.transaction.update(moved, task))
        elif plan["status"] != "draft" and "failed" in TASK_MOVES[task["status"]] and _had_time(draft, task):
            moved = tasks.moved(task, "failed", "missed", at=draft.now, reason="missed")
            found.failed.append(draft.transaction.update(moved, task))


def _is_ours_to_end(draft: Draft, task: Resource) -> bool:
    """What a person has put on hold, or another system has made, is theirs."""
    return tasks.is_open(task) and task["status"] != "on-hold" and is_ours(task, draft.context.identifiers)


def _had_time(draft: Draft, task: Resource) -> bool:
    """Tell whether staff's work has expired, also for whoever has just taken it on."""
    opens, _, expires = tasks.window_of(task)
    known = [opens or tasks.moment(task.get("authoredOn")), tasks.moment(task.get("lastModified"))]
    since = max((each for each in known if each is not None), key=utc, default=None)
    return is_over_for_staff(expires, since, draft.now, draft.context.clinic.call_hours)


def _end_restrictions(draft: Draft, plan: Resource, found: Tending) -> None:
    for each in children(draft.chart, plan):
        if is_task(each) or each.get("status") != "active" or not is_over(corrections.restriction_end(each), draft.now):
            continue
        ended = corrections.ended(each, "completed")
        if ended is not None and is_released(draft.context, draft.chart, plan, each):
            found.released.append(draft.transaction.update(ended, each))
        else:
            found.awaiting.append(reference_of(each))


def _roll_up(draft: Draft, tended: _Plan, found: Tending) -> None:
    """Give a running plan the status its children make; what holds it is reported."""
    plan, course = draft.transaction.current(tended.plan), tended.course
    there = [*children(draft.chart, plan), *(parts_of(draft.chart, plan) if course else ())]
    more = bool(tended.asking and tended.asking.coming) or (course is not None and course.may_be_joined)
    result = rolled_up(plan, there, tended.definition, draft.context.identifiers, draft.now, more_to_come=more)
    ended = corrections.ended(plan, result.status)
    if ended is not None:
        reference = draft.transaction.update(ended, plan)
        (found.completed if result.status == "completed" else found.revoked).append(reference)
    if result.late:
        found.late.append(reference_of(plan))
    if result.needs_clinician:
        found.needs_clinician.append(reference_of(plan))
