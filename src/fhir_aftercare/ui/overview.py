"""The overview page in words: what one chart says, as the short texts and marks that the template prints.

Decides wording and order only. What is due, open or unknown is ``flows.open_chart``'s to say; a part that could not be
read, or that the EHR did not grant, is named as such and never shown as empty (design §4.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.errors import FhirUnauthorized
from fhir_aftercare.smart import scopes
from fhir_aftercare.ui import people

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.errors import AftercareError
    from fhir_aftercare.flows.open_chart import ChartView, OpenTask, Trend

Resource = dict[str, Any]

MOST_POINTS: Final = 12
MOST_COMING: Final = 6
_NOT_GRANTED: Final = "The EHR did not grant access to this. It is not empty, it is not known here."
_NOT_READ: Final = "This could not be read from the chart. It is not empty, it is not known. Try again."
_INSTRUMENTS: Final = {"phq-9": "PHQ-9", "gad-7": "GAD-7"}
_STATES: Final = {"overdue": "Overdue", "due": "Due", "coming": "Coming"}
# What the types a scope may name are called on the page.
_TYPES: Final = {
    "CarePlan": "plans",
    "Goal": "goals",
    "Observation": "scores and vital signs",
    "Patient": "the patient's details",
    "QuestionnaireResponse": "answers",
    "ServiceRequest": "restrictions",
    "Task": "tasks",
}
_OTHERS: Final = {
    "openid": "who you are",
    "fhirUser": "who you are in the chart",
    "online_access": "staying signed in: when the sign-in runs out, open the app again",
    "offline_access": "staying signed in: when the sign-in runs out, open the app again",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the page: its lines, or why they are not known, or what it says when there are none."""

    lines: tuple[Any, ...]
    gap: str | None
    empty: str


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A plan: what it is, how it stands, from when until when."""

    kind: str
    title: str
    status: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A Task. ``state`` is overdue, due or coming, ``mark`` the word for it, ``priority`` empty for a routine one."""

    what: str
    state: str
    mark: str
    priority: str
    due: str


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """The scores of one instrument: what the newest says, and the last ones, newest first."""

    instrument: str
    summary: str
    points: tuple[tuple[str, int, str], ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page shows. ``scores`` is None for a patient: numbers are explained by people, not by a page."""

    as_of: str
    next_due: str
    restricted_until: str | None
    tasks: Part
    plans: Part
    scores: Part | None
    coming: Part
    not_offered: tuple[str, ...]


def overview(view: ChartView, *, zone: ZoneInfo, missing: Sequence[str], staff: bool) -> Overview:
    """Give the page of a chart. Times are in ``zone``; ``missing`` are the scopes asked for and not granted.

    Without ``staff`` the page is for the patient or a relative:
    only the patient's own Tasks, no scores (ui §4).
    """
    withheld = {line.type for scope in missing for line in scopes.parse(scope).access if set(line.can) & set("rs")}

    def part(lines: Iterable[Any], section: str, type_: str, empty: str) -> Part:
        return Part(tuple(lines), _gap(view.gaps, section, granted=type_ not in withheld), empty)

    tasks = [each for each in view.open_tasks if staff or _is_patients(each, view.patient)]
    due = min((each.due for each in tasks if each.due is not None and each.due >= view.as_of), default=None)
    plans = [*(("Course", each) for each in view.courses), *(("Infusion", each) for each in view.infusion_plans)]
    scores = (_scores(each, zone) for each in view.trends if each.points)
    open_tasks = part((_task(each, zone) for each in tasks), "open tasks", "Task", "No tasks are open.")
    all_plans = part((_plan(*each, zone) for each in plans), "plans", "CarePlan", "No aftercare plan yet.")
    restricted_until = _when(view.restricted_until, zone)
    if all_plans.gap or "ServiceRequest" in withheld:  # restrictions come with the plans
        restricted_until = people.NOT_KNOWN
    return Overview(
        as_of=wording.short_text(view.as_of, zone, with_zone=True),
        next_due=people.NOT_KNOWN if open_tasks.gap else _when(due, zone) or "Nothing is due.",
        restricted_until=restricted_until,
        tasks=open_tasks,
        plans=all_plans,
        scores=part(scores, "scores", "Observation", "No scores yet.") if staff else None,
        coming=part(_coming(view, zone), "coming forms", "", "No forms are coming."),
        not_offered=tuple(dict.fromkeys(map(_lacking, missing))),
    )


def _is_patients(task: OpenTask, patient: Resource) -> bool:
    return bool((task.resource.get("owner") or {}).get("reference") == f"Patient/{patient['id']}")


def _coming(view: ChartView, zone: ZoneInfo) -> Iterator[tuple[str, str]]:
    for each in view.coming[:MOST_COMING]:
        yield each.title, f"from {wording.short_text(each.opens, zone)}"
    if len(view.coming) > MOST_COMING:
        yield "Later", f"{len(view.coming) - MOST_COMING} more"


def _gap(gaps: Mapping[str, AftercareError], section: str, *, granted: bool) -> str | None:
    fault = gaps.get(section)
    if not granted or isinstance(fault, FhirUnauthorized):
        return _NOT_GRANTED
    return _NOT_READ if fault is not None else None


def _when(moment: datetime | None, zone: ZoneInfo) -> str | None:
    return wording.short_text(moment, zone, with_zone=True) if moment is not None else None


def _task(task: OpenTask, zone: ZoneInfo) -> TaskLine:
    what = task.resource.get("description") or _text(task.resource.get("code")) or "Task without a description"
    due = f"by {_when(task.due, zone)}" if task.due is not None else "no time set"
    if task.state == "coming" and task.opens is not None:
        due = f"from {wording.short_text(task.opens, zone)}, {due}"
    return TaskLine(
        what=str(what),
        state=task.state if task.state in _STATES else "due",
        mark=_STATES.get(task.state, "Due"),
        priority="" if task.priority == "routine" else str(task.priority),
        due=due,
    )


def _plan(kind: str, plan: Resource, zone: ZoneInfo) -> PlanLine:
    period = plan.get("period") or {}
    return PlanLine(
        kind=kind,
        title=str(plan.get("title") or "Plan without a title"),
        status=str(plan.get("status") or "not known"),
        start=people.when(period.get("start"), zone),
        end=f"until {people.when(period['end'], zone)}" if period.get("end") else "no end set",
    )


def _scores(trend: Trend, zone: ZoneInfo) -> ScoreLine:
    newest = trend.points[-1]
    said = [f"{newest.total} on {wording.short_text(newest.at, zone)}"]
    if trend.baseline is None:
        said.append("no baseline")
    elif trend.baseline is not newest:
        change = newest.total - trend.baseline.total
        moved = f"{'down' if change < 0 else 'up'} {abs(change)}" if change else "unchanged"
        said.append(f"{moved} from {trend.baseline.total}")
    if trend.outcome is not None:
        named = ("remission", "response", "worsening", "relapse")
        said += [word for word in named if getattr(trend.outcome, word)]
    shown = trend.points[-MOST_POINTS:][::-1]
    return ScoreLine(
        instrument=_INSTRUMENTS.get(trend.instrument, trend.instrument),
        summary=" · ".join(said),
        points=tuple((wording.short_text(each.at, zone), each.total, _note(each.item9)) for each in shown),
        left_out=len(trend.points) - len(shown),
    )


def _note(item9: int | None) -> str:
    return f"item 9 answered {item9}" if item9 else ""


def _lacking(scope: str) -> str:
    """Give a scope that was not granted in words, with the scope itself for whoever registers the app."""
    if scope in _OTHERS:
        return f"{_OTHERS[scope]} ({scope})"
    lines = scopes.parse(scope).access
    what = _TYPES.get(lines[0].type, lines[0].type) if lines else scope
    can = set(lines[0].can) if lines else set()
    doing = " and ".join(word for word, letters in (("reading", "rs"), ("writing", "cud")) if can & set(letters))
    return f"{doing or 'using'} {what} ({scope})"


def _text(concept: Any) -> str | None:
    if not isinstance(concept, dict):
        return None
    codings = concept.get("coding") or [{}]
    text = concept.get("text") or codings[0].get("display")
    return str(text) if text else None
