"""Begin the plan of an infusion: CarePlan ``draft`` with what is owed from the start (escort, baseline forms).

A step of ``record_infusion``, not a door: it adds to the transaction that records the infusion.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.instruments import GAD7, PHQ9
from fhir_aftercare.care.outcome import baseline
from fhir_aftercare.care.plan import Anchor
from fhir_aftercare.care.timing import local, utc, zone_of
from fhir_aftercare.fhir import careplan, tasks, terms
from fhir_aftercare.fhir.apply import Facts, escort_inputs, propose, text_in
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.situation import (
    administrations,
    age_at,
    children,
    find_anchor,
    find_course,
    infusion_plan,
    is_task,
    language_of,
    of_episode,
    plan_zone,
    score_points,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.care.infusion import Escort
    from fhir_aftercare.care.plan import Episode
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.draft import Draft
    from fhir_aftercare.flows.record_infusion import RecordRequest

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Began:
    """The plan and its Tasks, as references."""

    plan: str | None
    tasks: tuple[str, ...]


def begin(draft: Draft, request: RecordRequest, episode: Episode) -> Began:
    """Add the draft plan with its first Tasks; where it exists, only what became known of the escort.

    Raises ``ProtocolFault`` before anything is added.
    """
    context, chart = draft.context, draft.chart
    existing = infusion_plan(chart, context.identifiers, episode)
    if existing is not None:
        found = children(chart, existing)
        _complete_escort(draft, found, request.record.escort)
        return Began(reference_of(existing), tuple(reference_of(each) for each in found if is_task(each)))
    facts = start_facts(context, request, chart, episode)
    urn = context.identifiers.full_url("plan", *episode.key)
    plan = context.protocol.infusion
    proposal = propose(context.protocol, plan, facts, urn)
    course = find_course(chart, facts.anchor.start, context.clinic).joined
    says = careplan.PlanFacts(
        kind="infusion",
        identifier=context.identifiers.identifier("plan", *episode.key),
        canonical=plan.canonical,
        title=text_in(plan.titles, facts.language),
        patient=request.patient,
        encounter=request.encounter,
        author=draft.device(),
        zone=facts.zone.key,
        created=local(facts.now, facts.zone),
        start=local(facts.anchor.start, facts.zone),
        part_of=reference_of(course) if course else None,
        addresses=depression(chart),
        activities=[draft.where(each) for each in proposal.wanted],
        lines=[each.line for each in proposal.wanted],
        policy_hash=context.clinic.policy_hash,
        active=False,
    )
    draft.transaction.create(careplan.make_plan(says), urn)
    return Began(urn, tuple(draft.ensure_wanted(each) for each in proposal.wanted))


def start_facts(context: ClinicContext, request: RecordRequest, chart: Chart, episode: Episode) -> Facts:
    """Give what the protocol may depend on while the patient is still here."""
    record = request.record
    zone = zone_of(request.zone) if request.zone else plan_zone(None, context.clinic)
    given = of_episode(administrations(chart, context.clinic), episode.number, context.clinic)
    anchor = find_anchor(
        given, chart.encounter, start=record.start, end=record.end, left_at=None, clinic=context.clinic
    ) or Anchor(record.start, record.end)
    phq9, gad7 = has_baselines(chart, anchor, context)
    return Facts(
        clinic=context.clinic,
        identifiers=context.identifiers,
        episode=episode,
        patient=request.patient,
        encounter=request.encounter,
        anchor=anchor,
        zones=(zone,),
        language=language_of(chart.patient, request.language, context.clinic),
        now=context.clock(),
        requester=request.person or record.recorded_by or context.clinic.organization,
        escort="named" if record.escort and record.escort.name else "not-recorded",
        escort_person=record.escort,
        phq9_baseline=phq9,
        gad7_baseline=gad7,
        course_active=find_course(chart, anchor.start, context.clinic).joined is not None,
        age_years=age_at(chart.patient, anchor.start),
    )


def has_baselines(chart: Chart, anchor: Anchor, context: ClinicContext) -> tuple[bool, bool]:
    """Tell whether no PHQ-9 and no GAD-7 need be asked before this infusion (design §9.3, §9.11).

    There is one of the last 7 days, or one is asked so near to it that two would come within five days.
    """
    points = score_points(chart, context.clinic)
    policy = context.clinic.policy
    phq9, gad7 = (
        baseline([point for point in points if point.instrument == instrument.key], anchor.start, policy) is not None
        or _asked_nearby(chart, form, anchor, timedelta(days=policy.min_days_between_forms))
        for instrument, form in ((PHQ9, terms.QUESTIONNAIRE_PHQ9), (GAD7, terms.QUESTIONNAIRE_GAD7))
    )
    return phq9, gad7


def _asked_nearby(chart: Chart, form: str, anchor: Anchor, distance: timedelta) -> bool:
    """Tell whether an open Task asks for the form at about the time of the infusion."""
    for task in chart.of("Task"):
        opens, due, _ = tasks.window_of(task)
        if not tasks.is_open(task) or tasks.asks_for(task) != form or opens is None or due is None:
            continue
        if utc(opens) - distance < utc(anchor.start) < utc(due) + distance:
            return True
    return False


def depression(chart: Chart) -> Sequence[str]:
    """Give the references of the depressive disorders in the chart: none is invented where none was read."""
    return [
        f"Condition/{each['id']}"
        for each in chart.of("Condition")
        if any(coding.get("code") == terms.DEPRESSIVE_DISORDER.code for coding in each["code"].get("coding") or ())
    ]


def _complete_escort(draft: Draft, plan_children: Sequence[Resource], escort: Escort | None) -> None:
    """Add what is newly known of the escort to the open escort Task."""
    if escort is None:
        return
    for task in plan_children:
        if not tasks.has_code(task, terms.ESCORT_HOME) or not tasks.is_open(task):
            continue
        wanted = escort_inputs(escort)
        others = [each for each in task.get("input") or () if not _is_about(each, wanted)]
        if [*others, *wanted] != (task.get("input") or []):
            changed = {**task, "input": [*others, *wanted], "lastModified": tasks.instant(draft.now)}
            draft.transaction.update(changed, task)


def _is_about(given: Resource, wanted: Sequence[Resource]) -> bool:
    return any(given.get("type", {}).get("coding") == each["type"]["coding"] for each in wanted)
