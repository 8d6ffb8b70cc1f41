"""Record an infusion: what was given and measured becomes FHIR, and the plan begins (design §4.1, §4.2).

    request → care.infusion (checks) → one batch → fhir.drug_record, fhir.observations, fhir.apply → one transaction

Repeating it changes nothing; a corrected value amends, never erases. If the protocol cannot be applied, what was
measured is recorded all the same, and a Task says that there is no plan (design §10.8).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.care.plan import Episode
from fhir_aftercare.care.record_check import check_record
from fhir_aftercare.care.timing import utc
from fhir_aftercare.errors import InvalidInput, ProtocolFault
from fhir_aftercare.fhir.drug_record import drug_record
from fhir_aftercare.fhir.observations import from_record
from fhir_aftercare.flows import begin_plan
from fhir_aftercare.flows.chart import (
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
from fhir_aftercare.flows.settle import preview, settle
from fhir_aftercare.flows.situation import administrations, find_episode

if TYPE_CHECKING:
    from fhir_aftercare.care.infusion import InfusionRecord
    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.fhir.setting import Setting
    from fhir_aftercare.flows.chart import Chart, Section
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

# Blood pressure before the infusion is the patient's baseline: also what somebody else charted earlier that day.
_BEFORE = timedelta(hours=12)
# Two records of one infusion, typed by different people, tell its start within this time.
_SAME_INFUSION = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """What is recorded. ``patient`` and ``encounter`` are references, ``zone`` is where the patient sleeps tonight.

    ``reason`` says why values are corrected; ``person`` who sends it, if known (for Provenance).
    """

    patient: str
    encounter: str | None
    record: InfusionRecord
    zone: str | None = None
    language: str | None = None
    reason: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class RecordDecision:
    """The difference to write, and what will be there then. References may be ``urn:uuid``."""

    transaction: Transaction
    episode: Episode
    drug_record: str | None
    observations: tuple[str, ...]
    plan: str | None
    tasks: tuple[str, ...]
    fault: ProtocolFault | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is on the server now, as ``Type/id``. ``changed`` is False if it all was there before.

    ``fault`` tells that there is no plan, and why: the observations are recorded, and a Task asks people to act.
    """

    drug_record: str | None
    observations: tuple[str, ...]
    plan: str | None
    tasks: tuple[str, ...]
    changed: bool
    fault: ProtocolFault | None = None


async def record_infusion(context: ClinicContext, request: RecordRequest) -> Recorded:
    """Write the record of an infusion and begin its plan.

    Raises ``InvalidInput`` or ``OutOfRange`` naming every field at fault, ``NotFound``, ``WrongSubject``, and what the
    FHIR server's failures become; nothing is written then.
    """
    check_record(request.record, context.clock())
    settled = await settle(
        context, request.patient, sections(context, request), lambda chart: decide(context, request, chart)
    )
    decision, at = settled.decision, settled.reference
    return Recorded(
        drug_record=at(decision.drug_record) if decision.drug_record else None,
        observations=tuple(at(each) for each in decision.observations),
        plan=at(decision.plan) if decision.plan else None,
        tasks=tuple(sorted(at(each) for each in decision.tasks)),
        changed=settled.wrote,
        fault=decision.fault,
    )


async def preview_record(context: ClinicContext, request: RecordRequest) -> Resource:
    """Give the Bundle that ``record_infusion`` would send now; nothing is written. Raises the same errors."""
    check_record(request.record, context.clock())
    return await preview(context, sections(context, request), lambda chart: decide(context, request, chart))


def sections(context: ClinicContext, request: RecordRequest) -> list[Section]:
    """Give what is read for it, in one batch."""
    record = request.record
    drug = context.identifiers.identifier("drug-record", *_drug_key(context, request))
    there = encounter_sections(request.encounter) if request.encounter else infusion_sections(drug)
    return [
        patient_section(request.patient),
        *there,
        *person_sections(record.recorded_by or request.person),
        recent_observations(request.patient, record.start - _BEFORE),
        *plan_sections(request.patient),
        score_section(request.patient),
    ]


def decide(context: ClinicContext, request: RecordRequest, chart: Chart) -> RecordDecision:
    """Compare the record with the chart. Pure."""
    record = request.record
    episode = find_episode(chart, context.clinic, context.identifiers, record.infusion, record.start)
    draft = Draft(context, chart, request.patient, request.encounter)
    who = record.recorded_by or request.person
    drug = _write_drug_record(draft, record, draft.setting(episode.infusion_key, recorded_by=who))
    setting = draft.setting(episode.infusion_key, drug_record=drug, recorded_by=who)
    observations = tuple(draft.write(each) for each in from_record(record, setting))
    began: begin_plan.Began = begin_plan.Began(None, ())
    fault: ProtocolFault | None = None
    if record.status is not InfusionStatus.NOT_DONE and not _taken_back(draft, record, setting):
        try:
            began = begin_plan.begin(draft, request, episode)
        except ProtocolFault as found:
            fault = found
            began = begin_plan.Began(None, (protocol_failed(draft, episode, found),))
    draft.sign([context.protocol.infusion.canonical], person=who, sources=[drug], reason=request.reason)
    return RecordDecision(draft.transaction, episode, drug, observations, began.plan, began.tasks, fault)


def _drug_key(context: ClinicContext, request: RecordRequest) -> tuple[str, ...]:
    episode = Episode.of(context.clinic.id, request.encounter, request.record.infusion)
    return (*episode.infusion_key, request.record.infusion)


def _write_drug_record(draft: Draft, record: InfusionRecord, setting: Setting) -> str | None:
    """Give the reference of the drug's record; the EHR's own record of the infusion is never doubled (design §9.4)."""
    wanted = drug_record(record, setting)
    if wanted is None or draft.existing(wanted) is None:
        system = setting.identifiers.system("drug-record")
        given = [each for each in administrations(draft.chart, setting.clinic) if not _carries(each.resource, system)]
        theirs = [each for each in given if abs(utc(each.start) - utc(record.start)) <= _SAME_INFUSION]
        if theirs:
            return theirs[-1].reference
    if wanted is None:
        return None
    ours = [each for each in administrations(draft.chart, setting.clinic) if each.resource == draft.existing(wanted)]
    if record.end is None and any(each.end is not None and each.end < record.start for each in ours):
        raise InvalidInput("The infusion is recorded with an end before this start: give the end too.", where="end")
    return draft.write(wanted, setting.identifiers.full_url("drug-record", *setting.key, record.infusion))


def _carries(resource: Resource, system: str) -> bool:
    return any(each.get("system") == system for each in resource.get("identifier") or ())


def _taken_back(draft: Draft, record: InfusionRecord, setting: Setting) -> bool:
    """Tell whether this infusion was entered in error: sent again it begins no plan. A true one has its own id."""
    wanted = drug_record(record, setting)
    there = draft.existing(wanted) if wanted else None
    return there is not None and there.get("status") == "entered-in-error"
