"""Under which id a further infusion of a visit is recorded: one that no record of it carries, taken back or not.

An id that was taken back stays taken back (``record_infusion``), so a true infusion after an error has one of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fhir_aftercare.flows.open_visit import INFUSIONS
from fhir_aftercare.flows.situation import drug_records, find_episode

if TYPE_CHECKING:
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.open_visit import VisitView


def next_infusion(context: ClinicContext, visit: VisitView) -> str | None:
    """Give the id for an infusion that starts now; None if the visit has as many as can be told apart."""
    episode = find_episode(visit.chart, context.clinic, context.identifiers, None, visit.as_of)
    system = context.identifiers.system("drug-record")
    known = {
        each.get("value")
        for record in drug_records(visit.chart)
        for each in record.get("identifier") or ()
        if each.get("system") == system
    }
    key = episode.infusion_key
    return next((each for each in INFUSIONS if context.identifiers.value(*key, each) not in known), None)
