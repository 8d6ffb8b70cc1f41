"""Open the handout: what one infusion's plan tells its patient to do, in a language that the patient reads (ui §4.6).

    the visit's plan, signed → its Tasks and restrictions as they are in the chart → care.handout.Facts
    not signed yet, for staff → the same of what a discharge would write now, marked as a draft

Looks only. The chart's words stand as they are; into another language they are put by the protocol that they came from,
and what it does not know is kept as it is and counted. Incomplete advice is none: then it says why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.handout import AskedForm, Facts
from fhir_aftercare.care.timing import utc
from fhir_aftercare.errors import FhirServerError
from fhir_aftercare.fhir import careplan, tasks, terms
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows import discharge
from fhir_aftercare.flows.chart import patient_section, plan_sections, read_chart, require
from fhir_aftercare.flows.discharge import DischargeRequest
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.handout_words import Words
from fhir_aftercare.flows.open_visit import Stage, find_encounter, look
from fhir_aftercare.flows.situation import children, is_task, language_of, plan_zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.open_visit import VisitView

Resource = dict[str, Any]

_CALLS: Final = (terms.FOLLOW_UP_CALL, terms.SAME_EVENING_CALL)
_CARRYING_OUT: Final = frozenset({"Task", "ServiceRequest"})


class Missing(StrEnum):
    """Why there is no handout."""

    NO_PLAN = "no-plan"
    NOT_ENDED = "not-ended"
    NOT_SIGNED = "not-signed"
    NOT_READ = "not-read"
    NOT_APPLIED = "not-applied"
    NO_WORDS = "no-words"


@dataclass(frozen=True, slots=True)
class HandoutView:
    """The handout's facts, or why there are none. ``language`` is the patient's, as far as we have words in it.

    ``in_own_language``: the chart asks for no language that we have none in. ``as_written`` counts the chart's texts
    that the protocol does not know: nor do we know their language.
    """

    patient: Resource
    encounter: str | None
    as_of: datetime
    language: str
    facts: Facts | None = None
    missing: Missing | None = None
    as_written: int = 0
    in_own_language: bool = True


@dataclass(frozen=True, slots=True)
class _Found:
    """A plan's day and zone, and the Tasks and restrictions that carry it out, or would."""

    day: datetime
    zone: ZoneInfo
    resources: Sequence[Resource]
    draft: bool


async def open_handout(
    context: ClinicContext, patient: str, encounter: str | None, *, language: str | None = None, drafts: bool = False
) -> HandoutView:
    """Read the patient's handout; references are ``Type/id``, ``encounter`` None for the visit that matters now.

    ``language``: another one than the patient's. ``drafts``: also of a plan that nobody has signed. Raises
    ``NotFound``, ``WrongSubject``, and what a failure of the whole batch becomes.
    """
    now = context.clock()
    visit = encounter or (await find_encounter(context, patient) if drafts else None)
    request = DischargeRequest(patient, visit, now, language=language)
    whole = drafts and visit is not None
    sections = discharge.sections(context, request) if whole else [patient_section(patient), *plan_sections(patient)]
    chart = await read_chart(context.fhir, sections)
    own = language_of(chart.patient, None, context.clinic)
    view = HandoutView(chart.patient, visit, now, own, in_own_language=_speaks(chart.patient, own))
    found = _found(context, chart, request, look(context, chart) if whole else None)
    if isinstance(found, Missing):
        return replace(view, missing=found)
    words = Words(context, language or own, found.zone)
    facts = _facts(context, chart, found, words)
    # Without what was taught and ordered it would be a list of telephones that looks like advice.
    if not facts.warnings or not facts.restrictions:
        return replace(view, missing=Missing.NO_WORDS)
    return replace(view, facts=facts, as_written=words.unknown)


def _found(
    context: ClinicContext, chart: Chart, request: DischargeRequest, visit: VisitView | None
) -> _Found | Missing:
    """Find the plan: the visit's, if something was given in it, else the newest. ``visit`` is looked at for a draft."""
    if "plans" in chart.gaps:
        return Missing.NOT_READ
    given = visit is not None and bool(visit.given)
    plan = visit.plan if visit is not None and given else _newest(chart, request.encounter)
    if plan is not None and plan["status"] != "draft":
        return _signed(context, chart, plan)
    if visit is not None and given:
        return _draft(context, chart, request, visit)
    return Missing.NO_PLAN if plan is None else Missing.NOT_SIGNED


def _newest(chart: Chart, encounter: str | None) -> Resource | None:
    """Give the newest living plan of an infusion, that of the encounter before all."""
    plans = [
        each
        for each in chart.of("CarePlan")
        if careplan.is_kind(each, "infusion") and each.get("status") not in careplan.ENDED
    ]

    def order(plan: Resource) -> tuple[bool, float]:
        began = tasks.moment((plan.get("period") or {}).get("start"))
        return _is_of(plan, encounter), began.timestamp() if began else 0.0

    return max(plans, key=order, default=None)


def _is_of(plan: Resource, encounter: str | None) -> bool:
    given = str((plan.get("encounter") or {}).get("reference", "")).split("/_history/")[0]
    return encounter is not None and (given == encounter or given.endswith(f"/{encounter}"))


def _signed(context: ClinicContext, chart: Chart, plan: Resource) -> _Found | Missing:
    began = tasks.moment((plan.get("period") or {}).get("start"))
    if began is None:
        return Missing.NO_WORDS
    return _Found(began, plan_zone(plan, context.clinic), _carrying_out(chart, plan), draft=False)


def _carrying_out(chart: Chart, plan: Resource | None) -> list[Resource]:
    """Give what carries out a plan and the course it is part of."""
    if plan is None:
        return []
    parts = plan.get("partOf") or ()
    courses = (each for each in chart.of("CarePlan") if any(refers_to(reference, each) for reference in parts))
    return [child for each in (plan, *courses) for child in children(chart, each)]


def _draft(context: ClinicContext, chart: Chart, request: DischargeRequest, visit: VisitView) -> _Found | Missing:
    """Give what would be written if the patient left now. What is still open at signing is not in it: the agreed time
    of the call, another zone, sedatives that were given.
    """
    if visit.stage is Stage.RUNNING or visit.anchor is None or visit.anchor.end is None:
        return Missing.NOT_ENDED
    try:
        decision = discharge.decide(context, request, require(chart))
    except FhirServerError:
        return Missing.NOT_READ
    if decision.fault is not None:
        return Missing.NOT_APPLIED
    there = {reference_of(each): each for each in _carrying_out(chart, visit.plan)}
    there |= {where: each for where, each in decision.transaction.written() if each["resourceType"] in _CARRYING_OUT}
    return _Found(visit.anchor.end, plan_zone(visit.plan, context.clinic), list(there.values()), draft=True)


def _facts(context: ClinicContext, chart: Chart, found: _Found, words: Words) -> Facts:
    living = [each for each in found.resources if each.get("status") not in careplan.ENDED]
    work = [each for each in living if is_task(each)]
    taught = [each for each in work if tasks.has_code(each, terms.TEACH_BACK)]
    now = context.clock()
    return Facts(
        clinic=context.clinic,
        language=words.language,
        zone=found.zone,
        day=found.day,
        now=now,
        name=_first_name(chart.patient),
        escort=_escort(work),
        restrictions=[words.restriction(each) for each in living if each.get("doNotPerform")],
        taught=[words.of(text) for text in _inputs(taught, terms.INPUT_RESTRICTION)],
        self_care=[words.of(text) for text in _inputs(taught, terms.INPUT_SELF_CARE)],
        warnings=[words.of(text) for text in _inputs(taught, terms.INPUT_WARNING_SIGN)],
        calls=sorted(_calls(work), key=lambda each: utc(each[1])),
        forms=[
            AskedForm(words.of(str(each["description"])), opens)
            for each, opens, due in _asked(work, reference_of(chart.patient))
            if utc(due) > utc(now)
        ],
        draft=found.draft,
    )


def _calls(work: Sequence[Resource]) -> Iterator[tuple[datetime | None, datetime]]:
    for task in work:
        opens, due, _ = tasks.window_of(task)
        if due is not None and tasks.is_open(task) and any(tasks.has_code(task, code) for code in _CALLS):
            yield opens, due


def _asked(work: Sequence[Resource], patient: str) -> Iterator[tuple[Resource, datetime, datetime]]:
    for task in work:
        opens, due, _ = tasks.window_of(task)
        own = (task.get("owner") or {}).get("reference") == patient
        if own and tasks.is_open(task) and tasks.asks_for(task) and opens and due and task.get("description"):
            yield task, opens, due


def _inputs(work: Sequence[Resource], code: terms.Code) -> list[str]:
    return [text for task in work for text in tasks.texts(task.get("input"), code)]


def _escort(work: Sequence[Resource]) -> str | None:
    """Give the escort's first name; None if there is none, or the patient left alone."""
    escorts = [each for each in work if tasks.has_code(each, terms.ESCORT_HOME) and each.get("status") != "failed"]
    names = [name.split() for name in _inputs(escorts, terms.INPUT_ESCORT_NAME)]
    return next((name[0] for name in names if name), None)


def _speaks(patient: Resource, language: str) -> bool:
    """Tell whether the language is the one the patient prefers, or the chart names none."""
    preferred = [each for each in patient.get("communication") or () if each.get("preferred")]
    codings = [coding for each in preferred for coding in (each.get("language") or {}).get("coding") or ()]
    return not codings or any(str(each.get("code", "")).split("-", 1)[0].lower() == language for each in codings)


def _first_name(patient: Resource) -> str | None:
    """Give the name the patient is called by; None if the chart has none."""
    names = patient.get("name")
    given = [each for each in names if isinstance(each, dict)] if isinstance(names, list) else []
    order = {"usual": 0, "official": 1}
    for name in sorted(given, key=lambda each: order.get(str(each.get("use")), 2)):
        first = next(iter(name.get("given") or ()), None)
        if isinstance(first, str) and first.strip():
            return first.strip()
    return None
