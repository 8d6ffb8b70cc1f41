"""Take back the aftercare of a visit that the EHR has given to another patient.

    plan on the old patient → that patient's chart, without what is the new one's → care.correction → one transaction

Nothing is copied or given another subject: the right patient's plan is made anew (fhir-model §1.6).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.correction import Change
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.fhir import careplan
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows import correct
from fhir_aftercare.flows.correction_request import CorrectionRequest
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.settle import settle

if TYPE_CHECKING:
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

_WHY: Final = "The EHR has given the visit to another patient."


def plans_elsewhere(chart: Chart) -> tuple[Resource, ...]:
    """Give the living infusion plans in a visit's chart that are not its patient's."""
    return tuple(
        each
        for each in chart.of("CarePlan")
        if careplan.is_kind(each, "infusion")
        and each.get("status") not in careplan.ENDED
        and not refers_to(each.get("subject"), chart.patient)
    )


async def take_back_elsewhere(context: ClinicContext, plan: Resource, encounter: str) -> bool:
    """Take back such a plan with all that hangs on it; tells whether anything was written.

    Raises ``InvalidInput`` if the record of the drug still is the old patient's: the EHR contradicts itself then, and
    people must mend that first.
    """
    place = location_of(str((plan.get("subject") or {}).get("reference")))
    if place is None:
        return False
    request = CorrectionRequest(place.reference, encounter, None, Change.WRONG_PATIENT, _WHY, plan=reference_of(plan))
    # The Encounter itself is the other patient's by now.
    parts = [each for each in correct.sections(context, request) if each.name != "encounter"]
    settled = await settle(
        context, place.reference, parts, lambda chart: correct.decide(context, request, _without_others(chart))
    )
    return settled.wrote


def _without_others(chart: Chart) -> Chart:
    """Give the chart with what is its patient's, and what is nobody's."""
    kept = {
        type_: tuple(
            each
            for each in resources
            if not (about := each.get("subject") or each.get("for")) or refers_to(about, chart.patient)
        )
        for type_, resources in chart.resources.items()
    }
    return replace(chart, resources=kept)
