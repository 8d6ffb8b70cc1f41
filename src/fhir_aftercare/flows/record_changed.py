"""What the record of the drug says now that the plan does not: taken back, not done, ended at another time.

Looks only: what is to be corrected is said as a ``CorrectionRequest``, and ``correct`` does it (fhir-model §1.6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.correction import Change
from fhir_aftercare.care.timing import utc
from fhir_aftercare.fhir import corrections, terms
from fhir_aftercare.fhir.findings import read_administrations
from fhir_aftercare.flows.correction_request import CorrectionRequest
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.moving import told_times
from fhir_aftercare.flows.situation import drug_records
from fhir_aftercare.flows.which_infusion import find_infusion

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.which_infusion import Infusion

Resource = dict[str, Any]

_TAKEN_BACK: Final = frozenset({"not-done", "entered-in-error"})
_WHY: Final = "The record of the drug was changed in the EHR."


def correction_of(context: ClinicContext, chart: Chart, plan: Resource) -> CorrectionRequest | None:
    """Give what is to be corrected of a living plan of the chart's encounter; None if it says what the record says.

    A record that is gone altogether says nothing: the plan stays.
    """
    encounter = reference_of(chart.encounter) if chart.encounter else None
    infusion = find_infusion(context, chart, encounter, None, reference_of(plan))
    change = _change(context, chart, plan, infusion)
    if change is None:
        return None
    # Our own record is left as it is; that its times are named says that they count.
    ours = corrections.period_of(infusion.record)[0] if infusion.record and not change.retracts else None
    return CorrectionRequest(
        patient=reference_of(chart.patient),
        encounter=encounter,
        infusion=None,
        kind=change,
        reason=_WHY,
        start=ours,
        plan=reference_of(plan),
    )


def _change(context: ClinicContext, chart: Chart, plan: Resource, infusion: Infusion) -> Change | None:
    _, told = told_times(chart, plan)
    if not infusion.given:
        return _taken_back(context, chart, plan)
    ends = [each.end for each in infusion.given]
    if told is None or any(each is None for each in ends):
        return None
    estimated = any(each.get("url") == terms.EXT_ANCHOR_ESTIMATED for each in plan.get("extension") or ())
    last = max((each for each in ends if each is not None), key=utc)
    return Change.END_MOVED if estimated or _second(last) != _second(told) else None


def _taken_back(context: ClinicContext, chart: Chart, plan: Resource) -> Change | None:
    """Give why no drug was given in the plan's episode, if a record says so."""
    clinic, told = context.clinic, [each for each in told_times(chart, plan) if each is not None]
    found = [each for each in drug_records(chart) if each.get("status") in _TAKEN_BACK]
    near = [
        str(resource["status"])
        for resource in found
        for given in read_administrations([{**resource, "status": "completed"}, *chart.of("Medication")], clinic)
        if any(abs(utc(given.start) - utc(each)) <= clinic.policy.episode_gap for each in told)
    ]
    if not near:
        return None
    return Change.ENTERED_IN_ERROR if set(near) == {"entered-in-error"} else Change.NOT_DONE


def _second(moment: datetime) -> datetime:
    return utc(moment).replace(microsecond=0)
