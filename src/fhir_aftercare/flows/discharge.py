"""Discharge: may this patient go, and what is owed when the patient has left (design §4.2).

    request → one batch → care.readiness → fhir.apply → difference → one transaction

*ask* refuses with the unmet list and activates nothing; *happened* always ends in a plan. Whatever signal comes, and
however often: the same one plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from fhir_aftercare.care.plan import Episode
from fhir_aftercare.care.readiness import Criterion, State
from fhir_aftercare.care.readiness_rules import judge
from fhir_aftercare.care.timing import require_aware, zone_of
from fhir_aftercare.errors import InvalidInput, NotAnInfusion, NotReady, ProtocolFault
from fhir_aftercare.fhir.apply import Facts
from fhir_aftercare.flows.activate_plan import Activation, Case, activate
from fhir_aftercare.flows.begin_plan import has_baselines
from fhir_aftercare.flows.chart import (
    condition_section,
    encounter_sections,
    infusion_sections,
    patient_section,
    person_sections,
    plan_sections,
    recent_observations,
    score_section,
)
from fhir_aftercare.flows.draft import Draft
from fhir_aftercare.flows.failure import protocol_failed
from fhir_aftercare.flows.settle import preview, read_whole, settle
from fhir_aftercare.flows.situation import (
    administrations,
    age_at,
    escort_state,
    escort_task,
    find_anchor,
    find_course,
    find_episode,
    findings,
    infusion_plan,
    is_infusion_encounter,
    language_of,
    of_episode,
    plan_zone,
)

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.infusion import Escort
    from fhir_aftercare.care.plan import CallWish
    from fhir_aftercare.care.readiness import Override, Panel
    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.flows.chart import Chart, Section
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

# An infusion and its observation lie within this time before the patient leaves.
_BEFORE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class DischargeRequest:
    """What is known of a patient who wants to leave, or has left. References are ``Type/id``, times aware.

    ``mode``: ``ask`` or ``happened``. ``escort``: ``present``, ``left-alone`` or None (nobody said). ``zone`` is where
    the patient sleeps tonight; ``zone_unsure``: the later of it and the clinic's counts. ``start`` and ``end`` of the
    infusion are used only where no record of the drug has them; ``infusion`` names it where there is no encounter.
    ``call`` is what was agreed with the patient about the follow-up call.
    """

    patient: str
    encounter: str | None
    left_at: datetime
    mode: Literal["ask", "happened"] = "happened"
    infusion: str | None = None
    escort: Literal["present", "left-alone"] | None = None
    escort_person: Escort | None = None
    override: Override | None = None
    sedatives_given: bool = False
    start: datetime | None = None
    end: datetime | None = None
    zone: str | None = None
    zone_unsure: bool = False
    language: str | None = None
    call: CallWish | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class DischargeDecision:
    """The difference to write. References may be ``urn:uuid``."""

    transaction: Transaction
    episode: Episode
    panel: Panel
    activation: Activation
    fault: ProtocolFault | None = None


@dataclass(frozen=True, slots=True)
class Discharged:
    """What is on the server now, as ``Type/id``. ``changed`` is False if it all was there before."""

    plan: str | None
    course: str | None
    tasks: tuple[str, ...]
    service_requests: tuple[str, ...]
    goals: tuple[str, ...]
    readiness: str | None
    panel: Panel
    changed: bool


async def discharge(context: ClinicContext, request: DischargeRequest) -> Discharged:
    """Discharge a patient after an infusion: activate the plan, with everything that is owed.

    Raises ``NotReady`` (only on *ask*), ``NotAnInfusion``, ``NotFound``, ``WrongSubject``, ``InvalidInput``, and what
    failures of the FHIR server become: nothing is written then. Raises ``ProtocolFault`` if the protocol cannot be
    applied: nothing of it is written, but the Task that says so is.
    """
    _check(context, request)
    settled = await settle(
        context, request.patient, sections(context, request), lambda chart: decide(context, request, chart)
    )
    decision, at = settled.decision, settled.reference
    if decision.fault is not None:
        raise decision.fault
    made = decision.activation
    return Discharged(
        plan=at(made.plan),
        course=at(made.course) if made.course else None,
        tasks=tuple(sorted(at(each) for each in made.tasks)),
        service_requests=tuple(sorted(at(each) for each in made.service_requests)),
        goals=tuple(sorted(at(each) for each in made.goals)),
        readiness=at(made.readiness) if made.readiness else None,
        panel=decision.panel,
        changed=settled.wrote,
    )


async def preview_discharge(context: ClinicContext, request: DischargeRequest) -> Resource:
    """Give the Bundle that ``discharge`` would send now; nothing is written. Raises the same errors."""
    _check(context, request)

    def decided(chart: Chart) -> DischargeDecision:
        decision = decide(context, request, chart)
        if decision.fault is not None:
            raise decision.fault
        return decision

    return await preview(context, sections(context, request), decided)


async def readiness(context: ClinicContext, request: DischargeRequest) -> Panel:
    """Give the readiness panel as it stands at ``left_at``; nothing is written. Raises what reading raises."""
    _check(context, request)
    chart = await read_whole(context, sections(context, request))
    return _look(context, request, chart).panel


def _check(context: ClinicContext, request: DischargeRequest) -> None:
    for name in ("left_at", "start", "end"):
        moment = getattr(request, name)
        if moment is not None:
            require_aware(moment, name)
    if request.left_at > context.clock() + timedelta(minutes=5):
        raise InvalidInput("The patient cannot have left in the future.", where="left_at")
    if request.start and request.end and request.end < request.start:
        raise InvalidInput("The infusion ends before it starts.", where="end")
    if request.end and request.end > request.left_at:
        raise InvalidInput("The infusion ends after the patient left.", where="end")


def sections(context: ClinicContext, request: DischargeRequest) -> list[Section]:
    """Give what is read for it, in one batch."""
    if request.encounter:
        there = encounter_sections(request.encounter)
    else:
        episode = Episode.of(context.clinic.id, None, request.infusion)
        key = (*episode.infusion_key, request.infusion or "")
        there = infusion_sections(context.identifiers.identifier("drug-record", *key))
    return [
        patient_section(request.patient),
        *there,
        recent_observations(request.patient, request.left_at - _BEFORE),
        *plan_sections(request.patient),
        score_section(request.patient),
        condition_section(request.patient),
        *person_sections(request.person),
    ]


def decide(context: ClinicContext, request: DischargeRequest, chart: Chart) -> DischargeDecision:
    """Compare what the protocol wants with what the chart has. Pure. Raises ``NotReady``, ``NotAnInfusion``."""
    case = _look(context, request, chart)
    if request.mode == "ask" and not case.panel.may_leave:
        raise NotReady([each.criterion.value for each in case.panel.unmet])
    draft = Draft(context, chart, request.patient, request.encounter)
    fault: ProtocolFault | None = None
    try:
        activation = activate(draft, _facts(draft, request, case), case, request)
    except ProtocolFault as found:
        fault = found
        draft = Draft(context, chart, request.patient, request.encounter)
        activation = Activation(plan="", tasks=(protocol_failed(draft, case.episode, found),))
    draft.sign(
        [context.protocol.infusion.canonical, context.protocol.course.canonical],
        person=request.person,
        sources=[case.anchor.source],
        reason=case.panel.override.reason if case.panel.override else None,
    )
    return DischargeDecision(draft.transaction, case.episode, case.panel, activation, fault)


def _look(context: ClinicContext, request: DischargeRequest, chart: Chart) -> Case:
    """Find the episode and its end, and judge whether the patient may leave."""
    clinic = context.clinic
    everything = administrations(chart, clinic)
    if not everything and not is_infusion_encounter(chart.encounter, clinic) and request.start is None:
        raise NotAnInfusion("There is no record of a ketamine infusion.", where="encounter")
    episode = find_episode(chart, clinic, context.identifiers, request.infusion, request.start)
    given = of_episode(everything, episode.number, clinic)
    if everything and not given:
        raise NotAnInfusion("The infusion was not done.", where="encounter")
    anchor = find_anchor(
        given, chart.encounter, start=request.start, end=request.end, left_at=request.left_at, clinic=clinic
    )
    if anchor is None:
        raise NotAnInfusion("Nothing tells when the infusion started.", where="encounter")
    plan = infusion_plan(chart, context.identifiers, episode)
    escort = escort_state(escort_task(chart, plan), request.escort)
    panel = judge(
        findings(chart),
        start=anchor.start,
        end=anchor.end if anchor.known else None,
        left_at=request.left_at,
        escort={"present": True, "left-alone": False}.get(escort),
        policy=clinic.policy,
        override=request.override,
        age=age_at(chart.patient, anchor.start),
    )
    return Case(episode, anchor, plan, panel, escort)


def _facts(draft: Draft, request: DischargeRequest, case: Case) -> Facts:
    context, chart, anchor = draft.context, draft.chart, case.anchor
    clinic = context.clinic
    phq9, gad7 = has_baselines(chart, anchor, context)
    courses = find_course(chart, anchor.start, clinic, but=case.plan)
    return Facts(
        clinic=clinic,
        identifiers=context.identifiers,
        episode=case.episode,
        patient=request.patient,
        encounter=request.encounter,
        anchor=anchor,
        zones=_zones(request, case.plan, context),
        language=language_of(chart.patient, request.language, clinic),
        now=context.clock(),
        requester=request.person or clinic.organization,
        patient_has_left=True,
        escort=case.escort,
        escort_person=request.escort_person,
        readiness_met=case.panel.may_leave,
        unmet=[each.criterion.value for each in case.panel.unmet],
        release_needs_human=not anchor.known or request.sedatives_given or _sedated(case.panel),
        phq9_baseline=phq9,
        gad7_baseline=gad7,
        course_active=courses.joined is not None,
        infusion_number=len(courses.ends) + 1,
        age_years=age_at(chart.patient, anchor.start),
        call=request.call,
    )


def _zones(request: DischargeRequest, plan: Resource | None, context: ClinicContext) -> tuple[ZoneInfo, ...]:
    """Give where the patient sleeps tonight; where nobody is sure, the clinic's zone counts too (design §10.5)."""
    tonight = zone_of(request.zone) if request.zone else plan_zone(plan, context.clinic)
    if request.zone_unsure and tonight.key != context.clinic.zone.key:
        return (tonight, context.clinic.zone)
    return (tonight,)


def _sedated(panel: Panel) -> bool:
    """Tell whether sedation was still there at the last check: then a person releases the driving (design §10.5)."""
    return any(each.criterion is Criterion.SEDATION and each.state is State.NOT_MET for each in panel.judged)
