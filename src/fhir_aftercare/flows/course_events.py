"""What happened beside the scores, read out of a chart: infusions with their numbers, forms nobody answered, calls.

Looks only; a step of ``open_chart``. A form counts as missed as soon as its time to answer is over, whether the sweep
has closed its Task or not: a picture must not depend on when that ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.expiry import is_over
from fhir_aftercare.care.timing import utc
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.fhir import careplan, tasks
from fhir_aftercare.fhir.lint_rules_forms import instrument_of
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.running_course import infusions_of
from fhir_aftercare.flows.situation import parts_of
from fhir_aftercare.flows.task_facts import business_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from fhir_aftercare.care.instruments import InstrumentKey
    from fhir_aftercare.care.outcome import Point
    from fhir_aftercare.fhir.definitions import Protocol
    from fhir_aftercare.flows.chart import Chart

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GivenInfusion:
    """An infusion whose patient has left: its number in its course, its end E, its CarePlan."""

    number: int
    end: datetime
    plan: str


@dataclass(frozen=True, slots=True)
class MissedForm:
    """A scored form that was asked and not answered in its time."""

    instrument: InstrumentKey
    opens: datetime
    due: datetime


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt to reach the patient: for which Task, what about, by whom (a reference), reached or not."""

    task: str
    what: str
    at: datetime
    reached: bool
    by: str | None


def infusions_in(chart: Chart) -> list[GivenInfusion]:
    """Give the infusions of all courses, oldest first; those of no course are counted among themselves."""
    plans = chart.of("CarePlan")
    found: dict[str, GivenInfusion] = {}
    for course in (each for each in plans if careplan.is_kind(each, "course")):
        for number, each in enumerate(infusions_of(chart, course), start=1):
            found.setdefault(reference_of(each.plan), GivenInfusion(number, each.end, reference_of(each.plan)))
    named = {reference_of(part) for each in plans for part in parts_of(chart, each)}
    alone = sorted(_ends(chart, named), key=lambda each: utc(each[0]))
    for number, (end, plan) in enumerate(alone, start=1):
        found[plan] = GivenInfusion(number, end, plan)
    return sorted(found.values(), key=lambda each: utc(each.end))


def _ends(chart: Chart, named: set[str]) -> Iterator[tuple[datetime, str]]:
    for plan in chart.of("CarePlan"):
        end = tasks.moment((plan.get("period") or {}).get("start"))
        living = careplan.is_kind(plan, "infusion") and plan.get("status") not in {*careplan.ENDED, "draft"}
        if living and end is not None and reference_of(plan) not in named:
            yield end, reference_of(plan)


def missed_in(chart: Chart, protocol: Protocol, points: Sequence[Point], now: datetime) -> list[MissedForm]:
    """Give the PHQ-9 and GAD-7 that were asked and not answered, by Task or by a score from elsewhere, oldest first."""
    scored = {form.url: found.instrument.key for form in protocol.forms.values() if (found := instrument_of(form))}
    missed = []
    for task in chart.of("Task"):
        key, (opens, due, _) = scored.get(tasks.asks_for(task) or ""), tasks.window_of(task)
        if key is None or opens is None or due is None or not _is_missed(task, now):
            continue
        if not any(each.instrument == key and tasks.is_in_window(task, each.at) for each in points):
            missed.append(MissedForm(key, opens, due))
    return sorted(missed, key=lambda each: utc(each.due))


def _is_missed(task: Resource, now: datetime) -> bool:
    if not tasks.is_open(task):
        return business_of(task) == "missed"
    return task.get("status") != "on-hold" and is_over(tasks.window_of(task)[2], now)


def calls_in(chart: Chart) -> list[Call]:
    """Give the attempts that were made for Tasks, newest first."""
    found = []
    for fact in chart.of("Communication"):
        places = [location_of(each.get("reference")) for each in fact.get("partOf") or ()]
        task = next((each.reference for each in places if each is not None and each.type == "Task"), None)
        at = tasks.moment(fact.get("sent"))
        if task is None or at is None or fact.get("status") not in {"completed", "not-done"}:
            continue
        about = next((each.get("text") for each in fact.get("category") or () if each.get("text")), "Call")
        by = location_of((fact.get("sender") or {}).get("reference"))
        reached = fact["status"] == "completed"
        found.append(Call(task, str(about), at, reached, by.reference if by else None))
    return sorted(found, key=lambda each: utc(each.at), reverse=True)
