"""Review a plan before it is signed: the visit as it stands, and the very transaction that signing would send.

    one batch → the visit (open_visit) and the decision (discharge) on the same chart; nothing is written

A plan that is in force already is shown as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows import open_visit
from fhir_aftercare.flows.chart import read_chart, require
from fhir_aftercare.flows.discharge import DischargeDecision, DischargeRequest, decide, sections
from fhir_aftercare.flows.open_visit import Stage, VisitView

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.flows.chart import Chart, Section
    from fhir_aftercare.flows.context import ClinicContext


@dataclass(frozen=True, slots=True)
class PlanReview:
    """``decision`` is what would be written, None where there is nothing to sign; ``fault`` says why it cannot be.

    ``call`` is when the protocol lets the follow-up call be made (from, until), before anything was agreed about it.
    """

    visit: VisitView
    decision: DischargeDecision | None = None
    fault: AftercareError | None = None
    call: tuple[datetime, datetime] | None = None


async def review_plan(context: ClinicContext, request: DischargeRequest, *, as_recorded: bool = False) -> PlanReview:
    """Read the chart once and decide on it as if the patient had left, whatever is not met yet.

    ``as_recorded``: nobody has said yet how the patient leaves, and an escort who is recorded as here counts as told.

    Raises ``NotFound``, ``WrongSubject``, and what a failure of the whole batch becomes.
    """
    if request.encounter is None:
        request = replace(request, encounter=await open_visit.find_encounter(context, request.patient))
    chart = await read_chart(context.fhir, _sections(context, request))
    return look(context, request, chart, as_recorded=as_recorded)


def _sections(context: ClinicContext, request: DischargeRequest) -> list[Section]:
    request = replace(request, person=None)  # who signs is looked for when it is signed
    wanted = [*open_visit.sections(context, request.patient, request.encounter)]
    if request.encounter is not None:
        known = {each.query for each in wanted}
        wanted += [each for each in sections(context, request) if each.query not in known]
    return wanted


def look(context: ClinicContext, request: DischargeRequest, chart: Chart, *, as_recorded: bool = False) -> PlanReview:
    """Say what signing would write. Pure."""
    visit = open_visit.look(context, chart)
    if visit.stage is not Stage.ENDED:
        return PlanReview(visit)
    if as_recorded and visit.is_escorted:
        request = replace(request, escort="present")
    agreed, plain = request.call, replace(request, mode="happened", call=None)
    try:
        require(chart)
        decision = decide(context, plain, chart)
        if decision.fault is not None:
            raise decision.fault
        call = _call_window(decision)
        if agreed is not None:
            decision = decide(context, replace(plain, call=agreed), chart)
    except AftercareError as fault:
        return PlanReview(visit, fault=fault)
    return PlanReview(visit, decision, call=call)


def _call_window(decision: DischargeDecision) -> tuple[datetime, datetime] | None:
    for _, resource in decision.transaction.written():
        if resource["resourceType"] == "Task" and tasks.has_code(resource, terms.FOLLOW_UP_CALL):
            opens, due, _ = tasks.window_of(resource)
            return (opens, due) if opens is not None and due is not None else None
    return None
