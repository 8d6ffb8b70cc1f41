"""Correct what we recorded of an infusion: the record of the drug, and what was observed.

A step of ``correct``, not a door. The EHR's own record is the EHR's: what it says must agree with the correction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.correction import Change, record_after
from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.fhir import corrections, tasks, terms
from fhir_aftercare.fhir.findings import read_administrations
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.correction_request import check_order
from fhir_aftercare.flows.draft import reference_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.fhir.findings import Administration
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.correction_request import CorrectionRequest
    from fhir_aftercare.flows.draft import Draft
    from fhir_aftercare.flows.which_infusion import Infusion

Resource = dict[str, Any]

# What was measured lies within this time of the infusion's end, where no record of the drug holds it together.
_NEAR = timedelta(hours=24)
_IN_THE_EHR = "Correct the record of the drug in the EHR, then send this again."


def correct_record(draft: Draft, found: Infusion, request: CorrectionRequest) -> Resource | None:
    """Correct our record of the drug; the EHR's is the EHR's, and what it says must agree."""
    record, kind = found.record, request.kind
    timed = request.start is not None or request.end is not None
    if record is None:
        if found.given:
            _agrees(found.given, request)
        elif kind is Change.END_MOVED and not timed:
            raise InvalidInput("Say when the infusion started or ended.", where=("start", "end"))
        return None
    status = record_after(kind, str(record.get("status")))
    if kind is Change.END_MOVED and not timed:
        raise InvalidInput("Say when the infusion started or ended.", where=("start", "end"))
    zone = draft.context.clinic.zone
    start, end = corrections.period_of(record)
    check_order(request.start or start, request.end or end)
    changed = corrections.record_corrected(
        record,
        status,
        start=local(request.start, zone) if request.start else None,
        end=local(request.end, zone) if request.end else None,
        reason=corrections.REASONS.get(kind),
    )
    if changed is not None:
        draft.transaction.update(changed, record)
    return changed or record


def _agrees(given: Sequence[Administration], request: CorrectionRequest) -> None:
    """Refuse what the EHR's own record contradicts: it would be undone by the next look at it (design §2.2)."""
    kind = request.kind
    if kind.retracts:
        raise InvalidInput("The EHR's record says that the infusion was given.", where="kind", remedy=_IN_THE_EHR)
    if kind is Change.STOPPED and all(each.status is not InfusionStatus.STOPPED for each in given):
        raise InvalidInput("The EHR's record does not say that it was stopped.", where="kind", remedy=_IN_THE_EHR)
    ends = [each.end for each in given if each.end is not None]
    told = {"start": min(each.start for each in given), "end": max(ends, key=utc) if ends else None}
    for name, asked in (("start", request.start), ("end", request.end)):
        recorded = told[name]
        if asked and recorded and utc(asked).replace(microsecond=0) != utc(recorded).replace(microsecond=0):
            raise InvalidInput("The EHR's record tells another time.", where=name, remedy=_IN_THE_EHR)


def standing(context: ClinicContext, found: Infusion, record: Resource | None) -> list[Administration]:
    """Give the administrations of the episode that stand after the correction, oldest first."""
    if record is None:
        return list(found.given)
    reference = reference_of(record)
    others = [each for each in found.given if each.reference != reference]
    own = read_administrations([record], context.clinic)
    standing = [*others, *(each for each in own if each.status is not InfusionStatus.NOT_DONE)]
    return sorted(standing, key=lambda each: utc(each.start))


def take_back_observations(draft: Draft, found: Infusion, *, alone: bool) -> None:
    """Take back what was observed of the infusion, by us.

    The readiness panel is of the whole episode: it goes with the last infusion of it.
    """
    system = draft.context.identifiers.system("observation")
    panel = draft.context.identifiers.value(*found.episode.key, terms.READINESS.code)
    for each in draft.chart.of("Observation"):
        if not corrections.has_identifier_of(each, system) or not corrections.is_clinic_observation(each):
            continue
        belongs = _is_of(draft.chart, each, found)
        if tasks.has_code(each, terms.READINESS):
            belongs = alone and (belongs or any(known.get("value") == panel for known in each["identifier"]))
        changed = corrections.taken_back(each) if belongs else None
        if changed is not None:
            draft.transaction.update(changed, each)


def _is_of(chart: Chart, observation: Resource, found: Infusion) -> bool:
    """Tell whether an Observation belongs to an infusion: to our record of it, else to one that stands no longer."""
    parts = observation.get("partOf") or ()
    if found.record is not None:
        return any(refers_to(part, found.record) for part in parts)
    if parts:
        records = [*chart.of("MedicationAdministration"), *chart.of("Procedure")]
        return any(refers_to(part, each) for part in parts for each in records)
    at = tasks.moment(observation.get("effectiveDateTime"))
    began = tasks.moment(((found.plan or {}).get("period") or {}).get("start"))
    return at is not None and began is not None and abs(utc(at) - utc(began)) <= _NEAR
