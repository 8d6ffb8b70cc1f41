"""Follow a signal: look at its visit and bring the aftercare into line with what the FHIR server says (design §2.2).

    signal → which visit → one batch → what does it call for? → discharge, hold, release or correct → at most one
    transaction for each

The one thing every signal causes, however it came and however often: the same one plan. Nothing a sender claims is
believed; a visit that is no infusion's writes nothing (design §9.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from fhir_aftercare.care.timing import utc
from fhir_aftercare.errors import FhirServerError, NotAnInfusion, NotFound, ProtocolFault, Stale, WrongSubject
from fhir_aftercare.fhir import careplan, corrections
from fhir_aftercare.fhir.bundles import Transaction
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows import discharge
from fhir_aftercare.flows.chart import Section
from fhir_aftercare.flows.correct import correct_infusion
from fhir_aftercare.flows.discharge import DischargeRequest
from fhir_aftercare.flows.draft import Draft, reference_of
from fhir_aftercare.flows.find_visits import Visit, find_patients, find_visits
from fhir_aftercare.flows.hold_plan import hold, release
from fhir_aftercare.flows.merge_patient import follow_merge
from fhir_aftercare.flows.record_changed import correction_of
from fhir_aftercare.flows.settle import settle
from fhir_aftercare.flows.situation import (
    administrations,
    children,
    find_episode,
    infusion_plan,
    is_infusion_encounter,
    is_standing,
    is_task,
    of_episode,
)
from fhir_aftercare.flows.sweep_listing import changed_at
from fhir_aftercare.flows.sweep_run import is_refused
from fhir_aftercare.flows.which_infusion import episode_of
from fhir_aftercare.flows.wrong_patient import plans_elsewhere, take_back_elsewhere
from fhir_aftercare.work.faults import NotYet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.correction_request import CorrectionRequest
    from fhir_aftercare.flows.signal import DischargeSignal

Resource = dict[str, Any]
Outcome = Literal[
    "plan", "unchanged", "not-an-infusion", "not-finished", "held", "revoked", "merged", "elsewhere", "gone"
]

_CANCELLED: Final = frozenset({"cancelled", "entered-in-error"})
# Senders that say that a patient has left, while the FHIR server may not know yet. Others tell what the server has.
_AHEAD: Final = frozenset({"hl7v2", "rest"})
# A correction, a release and a discharge can follow each other, and each may find the chart changed by another process.
_STEPS: Final = 6

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Followed:
    """What a signal led to. ``plan`` is the visit's infusion plan, ``changed`` whether anything was written."""

    outcome: Outcome
    plan: str | None = None
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What is known when a visit is looked at. ``reopened``: it had ended before; None if that is not known yet.

    ``corrected``: the record of the drug was compared with the plan already.
    """

    visit: Visit
    reopened: bool | None
    corrected: bool = False


@dataclass(frozen=True, slots=True)
class FollowDecision:
    """The difference to write and what that comes to. ``elsewhere`` (plans of the visit on other
    patients), ``correction`` and ``history`` are to be seen to before it.
    """

    transaction: Transaction
    outcome: Outcome
    plan: str | None = None
    fault: ProtocolFault | None = None
    elsewhere: tuple[Resource, ...] = ()
    correction: CorrectionRequest | None = None
    history: bool = False
    again: bool = False


async def follow_signal(context: ClinicContext, signal: DischargeSignal) -> Followed:
    """Do what a signal calls for; done again, it changes nothing.

    Raises ``NotYet`` if a sender that should know says the patient has left, and the FHIR server does not say so yet;
    ``ProtocolFault`` (the Task that says so is written), and what reading and writing raise.
    """
    if signal.kind == "merged":
        moved = [await follow_merge(context, each) for each in await find_patients(context, signal)]
        return Followed("merged" if any(moved) else "unchanged", changed=any(moved))
    visits = await find_visits(context, signal)
    found = [await _follow(context, signal, each) for each in visits]
    named = signal.encounter is not None or signal.encounter_identifier is not None
    ahead = named and signal.source in _AHEAD and signal.kind == "finished"
    if ahead and any(each.outcome == "not-finished" for each in found):
        raise NotYet("The EHR does not show the visit as ended yet.", where="Encounter.status")
    if not found:
        return Followed("gone" if named else "unchanged")
    telling = next((each for each in found if each.changed), None) or next((e for e in found if e.plan), found[0])
    return replace(telling, changed=any(each.changed for each in found))


async def follow_visit(context: ClinicContext, visit: Visit, *, cancelled: bool = False) -> Followed:
    """Bring the aftercare of one visit into line. ``cancelled``: somebody says that its end was taken back."""
    look, changed = Look(visit, True if cancelled else None), False
    for _ in range(_STEPS):
        settled = await settle(context, visit.patient, sections(context, visit), partial(decide, context, look))
        decision = settled.decision
        changed = changed or settled.wrote
        if decision.fault is not None:
            raise decision.fault
        for other in decision.elsewhere:
            changed = await take_back_elsewhere(context, other, visit.encounter) or changed
        if decision.history:
            look = replace(look, reopened=await _had_ended(context, visit.encounter))
        elif decision.correction is not None:
            corrected = await correct_infusion(context, decision.correction)
            look, changed = replace(look, corrected=True), changed or corrected.changed
        elif not (decision.again or decision.elsewhere):
            plan = settled.reference(decision.plan) if decision.plan else None
            outcome = "unchanged" if decision.outcome == "plan" and not changed else decision.outcome
            return Followed(outcome, plan, changed)
    raise Stale("The visit kept changing while it was looked at.", where="encounter")


def sections(context: ClinicContext, visit: Visit) -> list[Section]:
    """Give what is read for it, in one batch: what a discharge reads, and the visit's plans, whoever's they are."""
    return [
        *discharge.sections(context, DischargeRequest(visit.patient, visit.encounter, visit.left_at)),
        Section("plans of the visit", "CarePlan", f"CarePlan?encounter={visit.encounter}&_count=50"),
    ]


def decide(context: ClinicContext, look: Look, chart: Chart) -> FollowDecision:
    """Compare the visit with its aftercare. Pure."""
    if elsewhere := plans_elsewhere(chart):
        return FollowDecision(Transaction(), "plan", elsewhere=elsewhere)
    encounter, plans = chart.encounter or {}, _plans_of(chart)
    living = [each for each in plans if each["status"] not in careplan.ENDED]
    standing = [each for each in administrations(chart, context.clinic) if is_standing(each)]
    last = reference_of((living or plans)[-1]) if plans else None
    if not plans and not standing and not is_infusion_encounter(chart.encounter, context.clinic):
        return FollowDecision(Transaction(), "not-an-infusion")
    status = str(encounter.get("status"))
    if status != "finished":
        return _not_ended(context, look, chart, status, living)
    if not look.corrected:
        correction = next((found for each in living if (found := correction_of(context, chart, each))), None)
        if correction is not None:
            return FollowDecision(Transaction(), "plan", last, correction=correction)
    draft = Draft(context, chart, look.visit.patient, look.visit.encounter)
    released = [release(draft, each) for each in living]
    if any(released):
        return _signed(draft, "plan", last, again=True)
    if plans and not living and (not standing or _is_ended_by_hand(context, chart)):
        return FollowDecision(Transaction(), "revoked", last)  # only a person asks for it again
    return _discharged(context, look, chart, last)


def _discharged(context: ClinicContext, look: Look, chart: Chart, plan: str | None) -> FollowDecision:
    visit = look.visit.as_read(chart.encounter or {}, context.clock())
    request = DischargeRequest(visit.patient, visit.encounter, visit.left_at)
    try:
        made = discharge.decide(context, request, chart)
    except NotAnInfusion:
        return FollowDecision(Transaction(), "revoked" if plan else "not-an-infusion", plan)
    reference = plan if made.fault else made.activation.plan
    return FollowDecision(made.transaction, "plan", reference, made.fault)


def _not_ended(
    context: ClinicContext, look: Look, chart: Chart, status: str, living: Sequence[Resource]
) -> FollowDecision:
    """A visit that goes on keeps its draft; one that had ended, or never was, has a plan that waits for a person."""
    cancelled = status in _CANCELLED
    waiting = [each for each in living if each["status"] != "draft" or cancelled]
    if not waiting:
        return FollowDecision(Transaction(), "not-finished", reference_of(living[-1]) if living else None)
    if not cancelled and look.reopened is None and not _says_it_had_ended(chart.encounter or {}):
        return FollowDecision(Transaction(), "not-finished", history=True)
    if not cancelled and look.reopened is False:
        return FollowDecision(Transaction(), "not-finished", reference_of(waiting[-1]))
    draft, held = Draft(context, chart, look.visit.patient, look.visit.encounter), None
    for plan in waiting:
        episode = episode_of(plan, context.clinic, context.identifiers)
        if episode is not None and plan["status"] != "completed":
            held = hold(draft, episode, plan, status) or held
    return _signed(draft, "held" if held else "not-finished", reference_of(waiting[-1]))


def _signed(draft: Draft, outcome: Outcome, plan: str | None, *, again: bool = False) -> FollowDecision:
    draft.sign([draft.context.protocol.infusion.canonical], person=None, sources=[draft.encounter])
    return FollowDecision(draft.transaction, outcome, plan, again=again)


def _plans_of(chart: Chart) -> list[Resource]:
    """Give the infusion plans of the visit, oldest first."""
    found = [
        each
        for each in chart.of("CarePlan")
        if careplan.is_kind(each, "infusion")
        and refers_to(each.get("encounter") or {}, chart.encounter or {"resourceType": "", "id": ""})
    ]
    return sorted(found, key=lambda each: str(each.get("created", "")))


def _is_ended_by_hand(context: ClinicContext, chart: Chart) -> bool:
    """Tell whether a person ended the episode's last plan, and no record of the drug was made or changed since.

    A correction takes back the plan's Tasks with it; whoever ends a plan in the EHR leaves them as they are.
    """
    identifiers = context.identifiers
    episode = find_episode(chart, context.clinic, identifiers, None, None)
    if episode.generation == 1:
        return False
    plan = infusion_plan(chart, identifiers, replace(episode, generation=episode.generation - 1))
    if plan is None or not refers_to(plan.get("subject"), chart.patient):
        return False
    own = [each for each in children(chart, plan) if is_task(each)]
    if any(each["status"] == "entered-in-error" or corrections.is_withdrawn(each) for each in own):
        return False
    given = of_episode(administrations(chart, context.clinic), episode.number, context.clinic)
    ended, *changes = (changed_at(each) for each in (plan, *(one.resource for one in given)))
    return ended is not None and all(each is None or utc(each) <= utc(ended) for each in changes)


def _says_it_had_ended(encounter: Resource) -> bool:
    return any(each.get("status") == "finished" for each in encounter.get("statusHistory") or ())


async def _had_ended(context: ClinicContext, encounter: str) -> bool:
    """Tell whether an earlier version of the Encounter was finished; a server without history does not say so."""
    try:
        versions = await context.fhir.history("Encounter", encounter.partition("/")[2])
    except FhirServerError as error:
        if not is_refused(error):
            raise
        return False
    return any(each.get("status") == "finished" for each in versions)


async def _follow(context: ClinicContext, signal: DischargeSignal, visit: Visit) -> Followed:
    cancelled = signal.kind == "cancelled"
    try:
        return await follow_visit(context, visit, cancelled=cancelled)
    except NotFound:
        return Followed("gone")
    except WrongSubject:
        log.info("the visit is another patient's or clinic's", clinic=context.clinic.id, source=signal.source)
    found = await find_visits(context, replace(signal, patient=None, occurred_at=None))
    if not found:
        return Followed("gone")
    if found[0].patient == visit.patient:  # another clinic's, on the same server
        return Followed("elsewhere")
    try:
        return await follow_visit(context, found[0], cancelled=cancelled)
    except WrongSubject:
        return Followed("elsewhere")
