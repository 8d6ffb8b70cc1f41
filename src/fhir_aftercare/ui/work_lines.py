"""Tasks and calls as staff read them: what is to be done and why, whose it is, what was tried, what was noted.

Wording and order only. A person who cannot be named is still told apart from the clinic and from the reader.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.timing import utc
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows import behind_tasks
from fhir_aftercare.flows.task_facts import attempts_of, business_of, is_form, is_review, owner_of
from fhir_aftercare.ui import people

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.flows.course_events import Call
    from fhir_aftercare.flows.open_chart import ChartView, OpenTask

Resource = dict[str, Any]

_MARKS: Final = {"overdue": "Overdue", "due": "Due", "coming": "Coming"}
_KINDS: Final = {
    "Organization": "the clinic's staff",
    "CareTeam": "the care team",
    "Patient": "the patient",
    "RelatedPerson": "a relative",
    "Practitioner": "a member of staff",
    "PractitionerRole": "a member of staff",
}


@dataclass(frozen=True, slots=True)
class TaskLine:
    """An open Task. ``group`` is escalated, overdue, due, patient (a form that the patient owes) or coming; ``state``
    and ``mark`` tell where it is in time.
    """

    id: str
    group: str
    what: str
    how: str
    state: str
    mark: str
    due: str
    priority: str
    reasons: tuple[str, ...]
    owner: str
    tried: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallLine:
    """Something that was done about a Task: a call, what came of it, or a note."""

    at: str
    what: str
    said: str
    by: str


@dataclass(frozen=True, slots=True)
class Names:
    """Who people are, for a reader: ``me`` is the reader's reference, ``known`` holds those whose name was read."""

    me: str | None
    known: Mapping[str, Resource]

    def of(self, reference: str | None, display: str | None = None) -> str:
        """Give who a reference is; empty for none."""
        place = location_of(reference)
        if place is None:
            return display or ""
        if place.reference == self.me:
            return "you"
        if place.reference in self.known:
            return people.name_of(self.known[place.reference])
        return display or _KINDS.get(place.type, place.type)


def task_line(task: OpenTask, view: ChartView, zone: ZoneInfo, names: Names) -> TaskLine:
    """Give an open Task in words."""
    resource, state = task.resource, task.state if task.state in _MARKS else "due"
    calls = [each for each in view.calls if each.task == task.reference]
    return TaskLine(
        id=task.reference.rpartition("/")[2],
        group=_group(task, state),
        what=title(resource),
        how="" if is_form(resource) or is_review(resource) else str(resource.get("description") or ""),
        state=state,
        mark=_MARKS[state],
        due=_due(task, zone),
        priority="" if task.priority == "routine" else str(task.priority),
        reasons=tuple(reasons_of(resource)),
        owner=_owner(resource, names),
        tried=tuple(_tried(resource, calls, zone, names)),
        notes=tuple(f"{each.said} ({each.by}, {each.at})" for _, each in notes_of(resource, zone, names)),
    )


def _group(task: OpenTask, state: str) -> str:
    if task.priority != "routine" or is_review(task.resource):
        return "escalated"
    return "patient" if is_form(task.resource) and state != "coming" else state


def title(task: Resource) -> str:
    """Give what a Task is called: a form by its own name, all else by what it is."""
    described, kind = task.get("description"), (task.get("code") or {}).get("text")
    codings = (task.get("code") or {}).get("coding") or [{}]
    named = (described, kind) if is_form(task) else (kind, described)
    return str(next((each for each in (*named, codings[0].get("display")) if each), "Task without a description"))


def call_lines(view: ChartView, zone: ZoneInfo, names: Names) -> tuple[CallLine, ...]:
    """Give what was done about staff's Tasks that are closed, newest first: calls, outcomes, notes.

    What was done about open ones stands with them.
    """
    waiting = {each.reference for each in view.open_tasks}
    found = [(utc(each.at), call_line(each, zone, names)) for each in view.calls if each.task not in waiting]
    for task in view.closed_tasks:
        if not is_form(task):
            found += [*notes_of(task, zone, names), *ends_of(task, zone, names)]
    return joined(found)


def joined(found: Iterable[tuple[datetime, CallLine]]) -> tuple[CallLine, ...]:
    """Give what was done, newest first; as one line what was done in one go: a call, and the note of it."""
    lines = [line for _, line in sorted(found, key=lambda each: each[0], reverse=True)]
    return tuple(_in_one(list(group)) for _, group in groupby(lines, key=lambda each: (each.at, each.what, each.by)))


def _in_one(lines: list[CallLine]) -> CallLine:
    said = ". ".join(each.said.rstrip(".") for each in lines) + "."
    return replace(lines[0], said=said[0].upper() + said[1:])


def _due(task: OpenTask, zone: ZoneInfo) -> str:
    due = f"by {wording.short_text(task.due, zone, with_zone=True)}" if task.due is not None else "no time set"
    if task.state == "coming" and task.opens is not None:
        return f"from {wording.short_text(task.opens, zone)}, {due}"
    return due


def reasons_of(task: Resource) -> Iterator[str]:
    """Give why a Task was raised, without what machines need of it."""
    return (each.words for each in behind_tasks.reasons_of(task))


def _owner(task: Resource, names: Names) -> str:
    display = (task.get("owner") or {}).get("display")
    who = names.of(owner_of(task), display)
    return f"claimed by {who}" if business_of(task) == "claimed" and who else who


def _tried(task: Resource, calls: list[Call], zone: ZoneInfo, names: Names) -> Iterator[str]:
    made = max(len(attempts_of(task)), len(calls))
    if made:
        yield f"{made} attempt{'' if made == 1 else 's'}"
    for each in calls:
        line = call_line(each, zone, names)
        yield f"{line.at} {line.said}" + (f" ({line.by})" if line.by else "")


def call_line(call: Call, zone: ZoneInfo, names: Names) -> CallLine:
    """Give one attempt in words."""
    said = "reached" if call.reached else "no answer"
    return CallLine(wording.short_text(call.at, zone), call.what, said, names.of(call.by))


def notes_of(task: Resource, zone: ZoneInfo, names: Names) -> Iterator[tuple[datetime, CallLine]]:
    """Give the notes of a Task with their times."""
    for each in task.get("note") or ():
        at = tasks.moment(each.get("time")) or tasks.moment(task.get("authoredOn"))
        if at is None or not each.get("text"):
            continue
        author = each.get("authorReference") or {}
        by = names.of(author.get("reference") or each.get("authorString"), author.get("display"))
        yield utc(at), CallLine(wording.short_text(at, zone), title(task), str(each["text"]), by or "not known by whom")


def ends_of(task: Resource, zone: ZoneInfo, names: Names) -> Iterator[tuple[datetime, CallLine]]:
    """Give how a Task ended, where somebody said so or it could not be done."""
    at = tasks.moment((task.get("executionPeriod") or {}).get("end")) or tasks.moment(task.get("lastModified"))
    outcomes = tasks.texts(task.get("output"), terms.OUTPUT_OUTCOME)
    if task.get("status") == "failed":
        outcomes.append(str((task.get("statusReason") or {}).get("text") or "Not done"))
    for said in outcomes:
        if at is not None:
            yield utc(at), CallLine(wording.short_text(at, zone), title(task), said, names.of(owner_of(task)))
