"""Review the plan and sign it: what will be written, in words and as resources; then what is in force (ui §4.2).

    plan            review, or what is in force        plan/sign      write it, in one transaction
    item?of=Task/1  one resource as it is in the chart  plan/stand     stand for a plan that was made by itself

Signing looks again at what the plan rests on: if that is no longer what was shown, nothing is written and the page says
what changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.wording import LANGUAGES
from fhir_aftercare.errors import (
    AftercareError,
    FhirGone,
    FhirNotFound,
    FhirServerError,
    InvalidInput,
    NotFound,
    NotReady,
    WrongSubject,
)
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.fhir.tasks import has_code
from fhir_aftercare.flows.countersign import countersign, signatures
from fhir_aftercare.flows.discharge import DischargeRequest, discharge
from fhir_aftercare.flows.open_visit import Stage
from fhir_aftercare.flows.review_plan import PlanReview, review_plan
from fhir_aftercare.flows.situation import language_of, plan_zone
from fhir_aftercare.ui import people, plan
from fhir_aftercare.ui.desk import Desk, action, new_router, view
from fhir_aftercare.ui.plan_form import call_fields, read_form
from fhir_aftercare.ui.ready import criteria, escort
from fhir_aftercare.ui.typed import clock_text, day_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from fhir_aftercare.ui.plan_form import PlanForm

Resource = dict[str, Any]

router: Final = new_router()

_ITEM: Final = re.compile(r"(Task|ServiceRequest|CarePlan|Goal|Observation)/[A-Za-z0-9\-.]{1,64}")
_LANGUAGES: Final = {"en": "English", "es": "Español"}
# Where a flow's field stands on the page.
_FIELDS: Final = {
    "call.opens": "call_from",
    "call.due": "call_until",
    "left_at": "at",
    "zone": "zone",
    "language": "language",
    "override.reason": "override_reason",
    "override.by_name": "override_name",
}
_CHOSEN: Final = "resource"
Faults = list[tuple[str, str]]


@view(router, "plan")
async def show(desk: Desk) -> Response:
    """Show what would be written, with what was chosen so far; or what is in force."""
    desk.staff_only()
    form = _read(desk)
    found = await review_plan(desk.context, form.request, as_recorded="leaves" not in desk.form)
    if found.visit.stage is Stage.LEFT:
        return await _in_force(desk, found)
    return _page(desk, form, found, faults=list(form.faults))


@view(router, "plan/resources")
async def resources(desk: Desk) -> Response:
    """Show the very resources that signing would send: the list of them, and one that was chosen."""
    desk.staff_only()
    found = await review_plan(desk.context, _read(desk).request)
    written = found.decision.transaction.bundle()["entry"] if found.decision else []
    chosen = desk.form.get(_CHOSEN, "")
    entries = [
        (f"{each['request']['method']} {each['request']['url']}", _json(each["resource"]) if chosen == str(n) else "")
        for n, each in enumerate(written)
    ]
    return desk.page(
        "plan_resources.html",
        banner=people.banner(found.visit.patient, found.visit.as_of, desk.zone),
        view_name="plan",
        entries=entries,
        fields={name: value for name, value in desk.form.items() if name != _CHOSEN},
        choose=_CHOSEN,
    )


@action(router, "plan/sign")
async def sign(desk: Desk) -> Response:
    """Write the plan in one transaction, if what it rests on is still what was shown."""
    context, form = desk.writer("plan"), _read(desk)
    if form.faults:
        return _page(desk, form, await review_plan(context, form.request), status=422, faults=list(form.faults))
    found = await review_plan(context, form.request)
    if found.visit.stage is Stage.LEFT:  # somebody else was first, or the button was pressed twice
        return await desk.at(found.visit.encounter).done("plan", said="unchanged")
    changed = plan.changes(desk.form.get("seen", ""), plan.facts(found.visit, desk.zone))
    if changed:
        return _page(desk, form, found, status=422, changed=changed)
    try:
        done = await discharge(context, replace(form.request, encounter=found.visit.encounter))
    except NotReady as fault:
        reason = "The patient is not ready to leave: see what must be met, or decide otherwise with name and reason."
        return _page(desk, form, found, status=422, faults=[("unmet" if fault.unmet else "", reason)])
    except InvalidInput as fault:
        return _page(desk, form, found, status=422, faults=_faults(fault))
    number = 1 + sum(map(len, (done.tasks, done.service_requests)))
    return await desk.at(found.visit.encounter).done("plan", said="plan-signed", n=number)


@action(router, "plan/stand")
async def stand(desk: Desk) -> Response:
    """Sign a plan that was made by itself."""
    context = desk.writer("plan")
    found = await review_plan(context, _read(desk).request)
    if found.visit.plan is None:
        raise NotFound("There is no plan for this visit.", where="plan")
    await countersign(context, desk.patient, f"CarePlan/{found.visit.plan['id']}", desk.person)
    return await desk.at(found.visit.encounter).done("plan", said="countersigned")


@view(router, "item")
async def item(desk: Desk) -> Response:
    """Show one resource of the patient's plan as it is in the chart."""
    desk.staff_only()
    of = desk.query.get("of", "")
    if not _ITEM.fullmatch(of):
        raise NotFound("There is nothing of that kind here.", where="of")
    type_, _, id_ = of.partition("/")
    try:
        resource = await desk.context.fhir.read(type_, id_)
    except (FhirNotFound, FhirGone) as missing:
        raise NotFound("It is not in the chart.", where="of") from missing
    patient = {"resourceType": "Patient", "id": desk.patient.partition("/")[2]}
    if not any(refers_to(resource.get(name), patient) for name in ("subject", "for")):
        raise WrongSubject("It is another patient's.", where="of")
    clinic = desk.context.clinic
    line = plan.items([resource], clinic, desk.zone, written=True)[0]
    return desk.page("plan_item.html", view_name="plan", line=line, text=_json(resource))


# --- pages -----------------------------------------------------------------------------------------------------------
def _read(desk: Desk) -> PlanForm:
    plain = DischargeRequest(desk.patient, desk.place.visit, desk.now, mode="ask", person=desk.person)
    return read_form(desk.form, plain, desk.zone)


def _page(
    desk: Desk,
    form: PlanForm,
    found: PlanReview,
    *,
    status: int = 200,
    faults: Sequence[tuple[str, str]] = (),
    changed: Sequence[str] = (),
) -> Response:
    clinic, visit_, zone = desk.context.clinic, found.visit, desk.zone
    offered = call_fields(found.call, zone)
    typed = {
        "day": day_text(desk.now, zone),
        "at": clock_text(desk.now, zone),
        "language": language_of(visit_.patient, form.request.language, clinic),
        "zone": form.request.zone or plan_zone(visit_.plan, clinic).key,
        "leaves": "escort" if visit_.is_escorted else "",
        "call_phone": people.phone_of(visit_.patient),
        **{f"escort_{name}": getattr(escort(visit_.escort), name) for name in ("name", "relationship", "phone")},
        **offered,
        **{f"{name}_offered": value for name, value in offered.items()},
        **desk.form,
    }
    # What the review finds wrong, signing finds too.
    told = list(dict.fromkeys([*faults, *(_faults(found.fault) if isinstance(found.fault, InvalidInput) else ())]))
    panel = found.decision.panel if found.decision else visit_.panel
    return desk.at(found.visit.encounter).page(
        "plan.html",
        status=status,
        banner=people.banner(visit_.patient, visit_.as_of, zone),
        view_name="plan",
        nothing=plan.nothing(visit_),
        items=plan.grouped(plan.items(_written(found), clinic, zone, written=False)),
        unmet=[each for each in criteria(panel, zone) if each.state != "met" and each.required] if panel else [],
        overridden=form.request.override is not None,
        rests_on=plan.facts(visit_, zone),
        seen=plan.packed(plan.facts(visit_, zone)),
        typed=typed,
        languages=[(each, _LANGUAGES[each]) for each in LANGUAGES],
        faults=told,
        changed=changed,
        fault=found.fault if not isinstance(found.fault, InvalidInput) else None,
        why=desk.why_not("plan"),
        protocol=desk.context.protocol.infusion.canonical,
    )


async def _in_force(desk: Desk, found: PlanReview) -> Response:
    clinic, visit_ = desk.context.clinic, found.visit
    zone = plan_zone(visit_.plan, clinic)
    own = visit_.plan or {}
    signed, gap = await _signed(desk, own)
    children = plan.items([own, *visit_.plan_children], clinic, zone, written=True)
    return desk.at(found.visit.encounter).page(
        "plan_in_force.html",
        banner=people.banner(visit_.patient, visit_.as_of, desk.zone),
        view_name="plan",
        items=plan.grouped(children),
        zone=zone.key,
        standing=str(own.get("status")),
        signed=signed,
        gap=gap,
        signatures_gap=gap,
        can_sign=own.get("status") == "active" and desk.person is not None and not desk.why_not("plan"),
        mine=any(reference == desk.person for reference, _, _ in signed),
        gaps=list(visit_.gaps),
        why=desk.why_not("plan"),
    )


async def _signed(desk: Desk, own: Resource) -> tuple[list[tuple[str, str, str]], bool]:
    """Give who stands for the plan (reference, name, when), and whether that could not be read."""
    try:
        found = await signatures(desk.context, f"CarePlan/{own['id']}")
    except FhirServerError:
        return [], True
    latest = {each.reference: each for each in found}.values()
    return [(each.reference, people.name_of(each.person), people.when(each.at, desk.zone)) for each in latest], False


def _written(found: PlanReview) -> list[Resource]:
    """Give what would be written. That the patient left before ready is written only if it happens."""
    if found.decision is None:
        return []
    written = [resource for _, resource in found.decision.transaction.written()]
    return [each for each in written if not has_code(each, terms.DISCHARGED_NOT_READY)]


def _faults(fault: AftercareError) -> Faults:
    return [(_FIELDS.get(each, ""), fault.message) for each in fault.where] or [("", fault.message)]


def _json(resource: Resource) -> str:
    shown = {name: value for name, value in resource.items() if name != "text"}
    return json.dumps(shown, indent=1, ensure_ascii=False, default=str)
