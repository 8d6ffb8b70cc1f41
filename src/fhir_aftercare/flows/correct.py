"""Correct an infusion: its times, that it was stopped early, not done, entered in error, or another patient's.

    request → one batch → care.correction → the record of the drug, its Observations, its plan → one transaction

Repeating a correction changes nothing; what people did or chose is kept, and nothing goes to another patient by itself
(fhir-model §1.6, design §4.6). A value of the sheet is corrected by recording it again (``record_infusion``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.correction import Change
from fhir_aftercare.care.plan import Episode
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.fhir import careplan, provenance, terms
from fhir_aftercare.fhir.identifiers import token_query
from fhir_aftercare.flows.chart import Section, encounter_sections, patient_section, plan_sections, score_section
from fhir_aftercare.flows.correct_record import correct_record, standing, take_back_observations
from fhir_aftercare.flows.correction_request import CorrectionRequest, check_order, check_request
from fhir_aftercare.flows.course_forms import course_of
from fhir_aftercare.flows.draft import Draft, reference_of
from fhir_aftercare.flows.move_plan import Moved, move_plan
from fhir_aftercare.flows.moving import Moving, told_times
from fhir_aftercare.flows.retract_plan import retract_plan
from fhir_aftercare.flows.settle import preview, settle
from fhir_aftercare.flows.situation import find_anchor
from fhir_aftercare.flows.which_infusion import find_infusion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.fhir.findings import Administration
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

__all__ = ["Change", "Corrected", "CorrectionDecision", "CorrectionRequest", "correct_infusion", "preview_correction"]

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CorrectionDecision:
    """The difference to write. References may be ``urn:uuid``."""

    transaction: Transaction
    record: str | None
    plan: str | None
    inform: str | None
    awaiting: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Corrected:
    """What is on the server now, as ``Type/id``. ``written`` is empty, ``changed`` False, if all was so before.

    ``record`` is ours of the drug, if there is one. ``inform`` is the Task to tell the patient, if this made or changed
    one. ``awaiting`` are restrictions that could end earlier, and wait for a clinician to agree.
    """

    record: str | None
    plan: str | None
    inform: str | None
    awaiting: tuple[str, ...]
    written: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything had to be written."""
        return bool(self.written)


async def correct_infusion(context: ClinicContext, request: CorrectionRequest) -> Corrected:
    """Write what a correction changes.

    Raises ``InvalidInput`` naming the fields at fault, or that the EHR's own record must be corrected first;
    ``IllegalMove`` if what was taken back would stand again; ``NotFound``, ``WrongSubject``, ``ProtocolFault``, and
    what failures of the FHIR server become. Nothing is written then.
    """
    check_request(request, context.clock())
    settled = await settle(
        context, request.patient, sections(context, request), lambda chart: decide(context, request, chart)
    )
    decision, at = settled.decision, settled.reference
    return Corrected(
        record=decision.record,
        plan=decision.plan,
        inform=at(decision.inform) if decision.inform else None,
        awaiting=decision.awaiting,
        written=tuple(sorted({*settled.references.values()})),
    )


async def preview_correction(context: ClinicContext, request: CorrectionRequest) -> Resource:
    """Give the Bundle that ``correct_infusion`` would send now; nothing is written. Raises the same errors."""
    check_request(request, context.clock())
    return await preview(context, sections(context, request), lambda chart: decide(context, request, chart))


def sections(context: ClinicContext, request: CorrectionRequest) -> list[Section]:
    """Give what is read for it, in one batch."""
    return [
        patient_section(request.patient),
        *(encounter_sections(request.encounter) if request.encounter else _infusion_sections(context, request)),
        *plan_sections(request.patient),
        score_section(request.patient),
        _answers_section(request.patient),
    ]


def _infusion_sections(context: ClinicContext, request: CorrectionRequest) -> list[Section]:
    """Give an infusion's own record with all that was observed of it, where there is no encounter."""
    episode = Episode.of(context.clinic.id, None, request.infusion)
    key = (*episode.infusion_key, request.infusion or "")
    query = token_query("identifier", context.identifiers.identifier("drug-record", *key))
    return [
        Section(name, type_, f"{type_}?{query}&_revinclude=Observation:part-of&_count=200")
        for name, type_ in (("drug records", "MedicationAdministration"), ("procedures", "Procedure"))
    ]


def _answers_section(patient: str) -> Section:
    """Give the answers that belong to the patient's courses."""
    code = terms.COURSE_PLAN
    query = f"CarePlan?patient={patient}&category={code.system}|{code.code}"
    return Section("answers", "CarePlan", f"{query}&_revinclude=QuestionnaireResponse:based-on&_count=200")


def decide(context: ClinicContext, request: CorrectionRequest, chart: Chart) -> CorrectionDecision:
    """Compare what a correction calls for with what the chart has. Pure."""
    found = find_infusion(context, chart, request.encounter, request.infusion, request.plan)
    draft = Draft(context, chart, request.patient, request.encounter)
    record = correct_record(draft, found, request)
    given = standing(context, found, record)
    moved = Moved(None, ())
    if request.kind.in_error:
        take_back_observations(draft, found, alone=not given)
    if request.kind.retracts and not given:
        moved = Moved(retract_plan(draft, found.episode, found.plan, request.kind), ())
    elif found.plan is not None and found.plan["status"] not in careplan.ENDED:
        moved = move_plan(draft, _moving(draft, found.plan, found.episode, given, request))
    reference = reference_of(record) if record else None
    _sign(draft, request, found.plan, [reference, *(each.reference for each in given)])
    plan = reference_of(found.plan) if found.plan else None
    return CorrectionDecision(draft.transaction, reference, plan, moved.inform, moved.awaiting)


def _moving(
    draft: Draft, plan: Resource, episode: Episode, given: Sequence[Administration], request: CorrectionRequest
) -> Moving:
    start, end = told_times(draft.chart, plan)
    anchor = find_anchor(
        given,
        draft.chart.encounter,
        start=request.start or start or end,
        end=request.end or end,
        left_at=None,
        clinic=draft.context.clinic,
    )
    if anchor is None:
        raise InvalidInput("Nothing tells when the infusion started.", where="start")
    check_order(anchor.start, anchor.end)
    confirmed = request.end is not None or any(each.end is not None for each in given)
    return Moving(episode, plan, anchor, confirmed, request.agreed_by, request.reason)


def _sign(draft: Draft, request: CorrectionRequest, plan: Resource | None, sources: Sequence[str | None]) -> None:
    course = course_of(draft.chart, plan) if plan else None
    made_by = [each for one in (plan, course.plan if course else None) for each in _canonicals(one)]
    provenance.sign(
        draft.transaction,
        draft.context.identifiers,
        draft.context.author(request.person or request.agreed_by),
        at=draft.now,
        policy=made_by or [draft.context.protocol.infusion.canonical],
        sources=list(dict.fromkeys(each for each in sources if each)),
        activity="NULLIFY" if request.kind.retracts else "UPDATE",
        reason=request.reason,
    )


def _canonicals(plan: Resource | None) -> list[str]:
    return [str(each) for each in (plan or {}).get("instantiatesCanonical") or ()]
