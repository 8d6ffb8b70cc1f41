"""Look again at the visits of a patient's recent infusion plans: the EHR may have changed them and told nobody.

For a sweep: a visit that was reopened is neither finished nor new, so no search for finished visits finds it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.timing import utc
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.errors import NotFound, WrongSubject
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.find_visits import Visit
from fhir_aftercare.flows.follow_signal import follow_visit

if TYPE_CHECKING:
    from fhir_aftercare.flows.context import ClinicContext

# Later a visit is no longer reopened by mistake, and what was owed on the day has been done.
_RECENT: Final = timedelta(days=3)


async def recheck_visits(context: ClinicContext, patient: str) -> bool:
    """Follow each visit of the patient's (``Patient/7``) recent plans; tells whether anything was written.

    Raises what ``follow_visit`` raises.
    """
    category = f"{terms.INFUSION_PLAN.system}|{terms.INFUSION_PLAN.code}"
    query = {"subject": patient, "category": category, "status": "active,on-hold"}
    now, changed = context.clock(), False
    for plan in (await context.fhir.search_all("CarePlan", query)).matches:
        place = location_of((plan.get("encounter") or {}).get("reference"))
        began = tasks.moment((plan.get("period") or {}).get("start"))
        if place is None or began is None or utc(now) - utc(began) > _RECENT:
            continue
        try:
            found = await follow_visit(context, Visit(patient, place.reference, now))
        except (NotFound, WrongSubject):  # deleted, or another patient's by now: that patient's sweep finds it
            continue
        changed = changed or found.changed
    return changed
