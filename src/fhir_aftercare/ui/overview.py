"""The overview page in words: what one chart says, as the short texts and marks that the template prints.

Decides wording and order only. What is due, open or unknown is ``flows.open_chart``'s to say; a part that could not be
read, or that the EHR did not grant, is named as such and never shown as empty (design §4.4). First comes where the
patient stands, then what is to be done, then how it came to be so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.errors import FhirUnauthorized
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.ui import people
from fhir_aftercare.ui.not_offered import not_offered, unreadable
from fhir_aftercare.ui.standing import explained, figure, standing
from fhir_aftercare.ui.work_lines import Names, call_lines, task_line, title

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.errors import AftercareError
    from fhir_aftercare.flows.open_chart import ChartView, OpenTask
    from fhir_aftercare.ui.not_offered import NotOffered
    from fhir_aftercare.ui.standing import Standing
    from fhir_aftercare.ui.work_lines import TaskLine

Resource = dict[str, Any]

_NOT_GRANTED: Final = "The EHR did not grant access to this. It is not empty, it is not known here."
_NOT_READ: Final = "This could not be read from the chart. It is not empty, it is not known. Try again."
_GROUPS: Final = {
    "escalated": "Escalated",
    "overdue": "Overdue",
    "due": "Due now",
    "patient": "Forms the patient owes",
    "coming": "Coming",
}
# So much of a group is open to the eye; a longer list of what others must do is folded.
_UNFOLDED: Final = 3


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the page: its lines, or why they are not known, or what it says when there are none."""

    lines: tuple[Any, ...]
    gap: str | None
    empty: str


@dataclass(frozen=True, slots=True)
class Group:
    """Open Tasks under one heading."""

    heading: str
    count: str
    lines: tuple[TaskLine, ...]
    folded: bool


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A plan: what it is, how it stands, from when until when."""

    kind: str
    title: str
    status: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page shows. ``facts`` are pairs of a label and what is known.

    For a patient there are no ``standings``, and no ``figures`` and ``calls``: people explain numbers, not a page.
    """

    as_of: str
    facts: tuple[tuple[str, str], ...]
    standings: tuple[Standing, ...]
    figures: Part | None
    explained: tuple[tuple[str, str], ...]
    tasks: Part
    plans: Part
    calls: Part | None
    coming: Part
    not_offered: NotOffered
    undrawn: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom the page is: ``staff`` or the patient (or a relative), ``person`` their reference.

    ``answers`` gives the address of a score's answers, ``linked`` whether the scores in the picture lead there, too;
    ``whole``: the whole history is drawn, not the newest course. ``missing`` are the scopes not granted.
    """

    staff: bool
    person: str | None
    missing: Sequence[str]
    answers: Callable[[str], str]
    linked: bool
    whole: bool


def overview(view: ChartView, policy: Policy, zone: ZoneInfo, reader: Reader) -> Overview:
    """Give the page of a chart; times are in ``zone``. Who is no staff sees own Tasks only, no scores, no calls."""
    staff, names = reader.staff, Names(reader.person, view.people)
    waiting = [each for each in view.open_tasks if staff or _is_patients(each, view.patient)]
    lines = [task_line(each, view, zone, names) for each in waiting]
    plans = [*(("Course", each) for each in view.courses), *(("Infusion", each) for each in view.infusion_plans)]
    trends = [each for each in view.trends if each.points and staff]
    drawn = [
        figure(each, view, policy, zone, whole=reader.whole, address=reader.answers, linked=reader.linked)
        for each in trends
    ]

    def part(lines: Iterable[Any], section: str, type_: str, empty: str) -> Part:
        return Part(tuple(lines), _gap(view.gaps, section, granted=type_ not in unreadable(reader.missing)), empty)

    return Overview(
        as_of=wording.short_text(view.as_of, zone, with_zone=True),
        facts=tuple(_facts(view, zone, reader, waiting)),
        standings=tuple(
            standing(each, view, zone, reader.answers, known=_knows_plans(view, reader)) for each in trends
        ),
        figures=part(drawn, "scores", "Observation", "No scores yet.") if staff else None,
        explained=explained(policy),
        tasks=part(_grouped(lines, staff=staff), "open tasks", "Task", "No tasks are open."),
        plans=part((_plan(*each, zone) for each in plans), "plans", "CarePlan", "No aftercare plan yet."),
        calls=part(call_lines(view, zone, names), "calls", "Communication", "No calls yet.") if staff else None,
        coming=part(_coming(view, zone), "coming forms", "", "No forms are coming."),
        not_offered=not_offered(reader.missing),
        undrawn=any(each.undrawn for each in drawn),
    )


def _facts(view: ChartView, zone: ZoneInfo, reader: Reader, waiting: Sequence[OpenTask]) -> Iterator[tuple[str, str]]:
    """Give what is known at a glance; what could not be read is not known, and said to be so."""
    withheld = unreadable(reader.missing)
    if reader.staff and ("scores" in view.gaps or "Observation" in withheld):
        yield "Scores", people.NOT_KNOWN
    known = "open tasks" not in view.gaps and "Task" not in withheld
    yield "Next due", _next_due(waiting, view, zone) if known else people.NOT_KNOWN
    if _knows_plans(view, reader) and "ServiceRequest" not in withheld:  # they come with the plans
        yield from _restrictions(view, zone)
    else:
        yield "Restrictions until", people.NOT_KNOWN
    if view.infusions and reader.staff:
        last = view.infusions[-1]
        yield "Last infusion", f"number {last.number} of the course, ended {wording.short_text(last.end, zone)}"


def _is_patients(task: OpenTask, patient: Resource) -> bool:
    return bool((task.resource.get("owner") or {}).get("reference") == f"Patient/{patient['id']}")


def _grouped(lines: Sequence[TaskLine], *, staff: bool) -> Iterator[Group]:
    for group, heading in _GROUPS.items():
        own = tuple(each for each in lines if each.group == group)
        late = sum(each.state == "overdue" for each in own)
        if own:
            yield Group(
                heading=heading if staff or group != "patient" else "To be answered",
                count=f"{len(own)}, {late} overdue" if group == "patient" and late else str(len(own)),
                lines=own,
                folded=group == "coming" or (group == "patient" and staff and len(own) > _UNFOLDED),
            )


def _knows_plans(view: ChartView, reader: Reader) -> bool:
    return "plans" not in view.gaps and "CarePlan" not in unreadable(reader.missing)


def _next_due(waiting: Sequence[OpenTask], view: ChartView, zone: ZoneInfo) -> str:
    due = [(each.due, each) for each in waiting if each.due is not None and each.due >= view.as_of]
    if not due:
        return f"Nothing ahead, {len(waiting)} open" if waiting else "Nothing is due."
    at, task = min(due, key=lambda each: each[0])
    return f"{wording.short_text(at, zone, with_zone=True)}, {title(task.resource)}"


def _restrictions(view: ChartView, zone: ZoneInfo) -> Iterator[tuple[str, str]]:
    """Give each restriction that is in force, driving first."""
    driving = [each for each in view.restrictions if tasks.has_code(each, terms.DRIVE_VEHICLE)]
    for each in (*driving, *(other for other in view.restrictions if other not in driving)):
        end = tasks.moment((each.get("occurrencePeriod") or {}).get("end"))
        if each.get("status") == "active" and end is not None and end > view.as_of:
            label = "No driving until" if each in driving else f"{_text(each.get('code')) or 'Restriction'} until"
            yield label, wording.short_text(end, zone, with_zone=True)


def _coming(view: ChartView, zone: ZoneInfo) -> Iterator[tuple[str, str]]:
    for each in view.coming:
        yield each.title, f"from {wording.short_text(each.opens, zone)}"


def _gap(gaps: Mapping[str, AftercareError], section: str, *, granted: bool) -> str | None:
    fault = gaps.get(section)
    if not granted or isinstance(fault, FhirUnauthorized):
        return _NOT_GRANTED
    return _NOT_READ if fault is not None else None


def _plan(kind: str, plan: Resource, zone: ZoneInfo) -> PlanLine:
    period = plan.get("period") or {}
    return PlanLine(
        kind=kind,
        title=str(plan.get("title") or "Plan without a title"),
        status=str(plan.get("status") or "not known"),
        start=people.when(period.get("start"), zone),
        end=f"until {people.when(period['end'], zone)}" if period.get("end") else "no end set",
    )


def _text(concept: Any) -> str | None:
    text = concept.get("text") if isinstance(concept, dict) else None
    return str(text) if text else None
