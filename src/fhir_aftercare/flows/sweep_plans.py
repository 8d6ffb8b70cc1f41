"""Find the patients whose plans are to be tended as time passes; tend one: complete what lacks, close what is over.

    CarePlans that go on, pressing Tasks nobody took → patients → job → reconcile, then tend_plans

Finding writes nothing. To complete comes first: a plan that lacks its last open child would be taken for one in which
all has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from fhir_aftercare.errors import FhirServerError
from fhir_aftercare.flows.reconcile import reconcile
from fhir_aftercare.flows.sweep_listing import Listing
from fhir_aftercare.flows.sweep_run import Recent, is_refused, known_patients
from fhir_aftercare.flows.task_facts import patient_of
from fhir_aftercare.flows.tend_plans import tend_plans
from fhir_aftercare.flows.untaken_task import PRESSING, is_taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.reconcile import Reconciled
    from fhir_aftercare.flows.tend_plans import Tended

Resource = dict[str, Any]

log = structlog.get_logger(__name__)

NAME: Final = "plans"
_UNTAKEN: Final = "requested,received,ready,accepted"


@dataclass(frozen=True, slots=True)
class Found:
    """How many patients were handed on, and how many of them as new work."""

    patients: int
    new: int


@dataclass(frozen=True, slots=True)
class TendedPatient:
    """What was completed and what was tended of one patient's plans."""

    reconciled: Reconciled
    tended: Tended

    @property
    def outcome(self) -> str:
        """``changed`` or ``unchanged``, for whoever keeps the work."""
        return "changed" if self.reconciled.changed or self.tended.changed else "unchanged"


async def tend_all(
    context: ClinicContext,
    take: Callable[[str], Awaitable[bool]],
    *,
    patients: Sequence[str] | None = None,
    page: int = 100,
) -> Found:
    """Hand each patient (``Patient/7``) with a plan that goes on, or pressing work nobody took, to ``take``.

    ``take`` makes durable work of it (``tend_patient``), True if it is new. ``patients`` are handed on besides. In
    constant memory: a patient may come twice. Raises what ``take`` and failures of the FHIR server raise.
    """
    recent, seen, new = Recent(), 0, 0
    for source in (known_patients(context, patients, page), _with_untaken_work(context, page)):
        async for patient in source:
            if recent.is_new(patient):
                seen += 1
                new += await take(patient)
    log.info("swept", clinic=context.clinic.id, component=NAME, count=new)
    return Found(seen, new)


async def tend_patient(context: ClinicContext, patient: str) -> TendedPatient:
    """Complete and tend the plans of a patient (``Patient/7``). Done again, it changes nothing.

    Raises what ``reconcile`` and ``tend_plans`` raise.
    """
    reconciled = await reconcile(context, patient)
    return TendedPatient(reconciled, await tend_plans(context, patient))


async def _with_untaken_work(context: ClinicContext, page: int) -> AsyncIterator[str]:
    """Yield the patients of our pressing Tasks that nobody has taken: some belong to no plan (design §10.8)."""
    query = {
        "identifier": f"{context.identifiers.system('activity')}|",
        "status": _UNTAKEN,
        "priority": ",".join(PRESSING),
    }
    try:
        async for task in Listing(context.fhir, "Task", query, page=page).since(None):
            patient = patient_of(task)
            if patient is not None and not is_taken(task):
                yield patient
    except FhirServerError as error:
        if not is_refused(error):
            raise
        log.warning("search refused", clinic=context.clinic.id, resource_type="Task", http_status=error.http_status)
