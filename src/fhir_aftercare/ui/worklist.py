"""The worklist in words: each Task with what presses, for whom, what was tried; and the filters that led there.

Wording only. What is on the list, and in which order, is ``flows.worklist``'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.worklist import WorkState
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.worklist import NOW
from fhir_aftercare.ui import people
from fhir_aftercare.ui.work_lines import Names, reasons_of, title

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.flows.worklist import WorklistPage, WorklistRow

Resource = dict[str, Any]

MARKS: Final[Mapping[WorkState, tuple[str, str]]] = {
    WorkState.ESCALATED: ("‼", "Escalated"),
    WorkState.OVERDUE: ("!", "Overdue"),
    WorkState.DUE: ("•", "Due"),
    WorkState.COMING: ("◦", "Coming"),
}
# What the filter in the address may say, and which states it means.
STATES: Final[Mapping[str, frozenset[WorkState]]] = {
    "now": NOW,
    **{state.value: frozenset({state}) for state in WorkState},
}
_STATE_NAMES: Final = {
    "now": "All that is due",
    "escalated": "Escalated",
    "overdue": "Overdue",
    "due": "Due",
    "coming": "Coming",
}
OWNERS: Final = {"all": "All", "mine": "Mine"}


@dataclass(frozen=True, slots=True)
class WorkRow:
    """One Task. ``state`` is the key of its mark; ``encounter`` and ``patient`` are references for links."""

    id: str
    version: str
    state: str
    mark: str
    word: str
    name: str
    born: str
    patient: str
    what: str
    reasons: tuple[str, ...]
    when: str
    phone: str
    tried: str
    owner: str
    moves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tab:
    """One choice of a filter, with how many are listed under it (empty: not known here)."""

    key: str
    name: str
    count: str
    current: bool


@dataclass(frozen=True, slots=True)
class WorklistView:
    """The page. ``next`` is the cursor of the page after this one, empty on the last."""

    rows: tuple[WorkRow, ...]
    states: tuple[Tab, ...]
    owners: tuple[Tab, ...]
    as_of: str
    next: str
    empty: str


def worklist_view(
    page: WorklistPage, clinic: Clinic, zone: ZoneInfo, *, state: str, owner: str, me: str | None, cursor: str
) -> WorklistView:
    """Give the page; times in ``zone``. ``state`` and ``owner`` are the filters, ``me`` who reads it."""
    names = Names(me, {})
    rows = tuple(_row(each, clinic, zone, names) for each in page.rows)
    return WorklistView(
        rows=rows,
        states=tuple(_state_tabs(page, state, whole=state == "now" and not cursor)),
        owners=tuple(Tab(key, name, "", key == owner) for key, name in OWNERS.items() if key == "all" or me),
        as_of=wording.short_text(page.as_of, zone, with_zone=True),
        next=packed(page.next),
        empty=_empty(state, owner),
    )


def packed(cursor: tuple[str | int, ...] | None) -> str:
    """Give a cursor as one text for an address; empty for none."""
    return ".".join(str(each) for each in cursor) if cursor is not None else ""


def unpacked(text: str) -> tuple[str | int, ...] | None:
    """Give what ``packed`` made a text of; what is none of ours is given on, and refused by the list."""
    if not text:
        return None
    at, group, due, *rest = [*text.split(".", 3), "", "", ""][:4]
    numbers = tuple(
        int(each) if each.isascii() and each.isdecimal() and len(each) < 20 else each for each in (at, group, due)
    )
    return (*numbers, *rest)


def _state_tabs(page: WorklistPage, state: str, *, whole: bool) -> list[Tab]:
    """Give the tabs; how many there are is known where all that is due is listed from its beginning."""
    more = "+" if page.next is not None else ""
    counts = {each.value: sum(row.state is each for row in page.rows) for each in WorkState}
    found = []
    for key, name in _STATE_NAMES.items():
        number = len(page.rows) if key == "now" else counts.get(key, 0)
        known = whole and key != WorkState.COMING
        found.append(Tab(key, name, f"{number}{more}" if known else "", key == state))
    return found


def _empty(state: str, owner: str) -> str:
    whose = " of yours" if owner == "mine" else ""
    words = {"now": "due", "escalated": "escalated", "overdue": "overdue", "due": "due", "coming": "coming"}
    return f"Nothing{whose} is {words[state]}."


def _row(row: WorklistRow, clinic: Clinic, zone: ZoneInfo, names: Names) -> WorkRow:
    mark, word = MARKS[row.state]
    subject = row.subject or {}
    banner = people.banner(subject, row.due, zone) if row.subject and row.due else None
    return WorkRow(
        id=row.task.partition("/")[2],
        version=row.version or "",
        state=row.state.value,
        mark=mark,
        word=word,
        name=people.name_of(row.subject),
        born=banner.born if banner else people.when(subject.get("birthDate"), zone),
        patient=row.patient or "",
        what=title(row.resource),
        reasons=tuple(reasons_of(row.resource)),
        when=when_of(row, zone),
        phone=phone_for(row.resource, subject),
        tried=f"{row.attempts} of {clinic.policy.call_attempts_max} tried" if row.attempts else "",
        owner=names.of(row.owner),
        moves=row.legal_moves,
    )


def phone_for(task: Resource, patient: Resource) -> str:
    """Give the number to call: the one that was agreed on for this Task, else the patient's; empty if none is known."""
    agreed = next(
        (
            str(each["valueString"])
            for each in task.get("input") or ()
            if each.get("valueString") and tasks.has_code({"code": each.get("type")}, terms.INPUT_CALL_PHONE)
        ),
        "",
    )
    return agreed or people.phone_of(patient)


def when_of(row: WorklistRow, zone: ZoneInfo) -> str:
    """Say how late a Task is, or when it is due."""
    if row.due is None:
        return "no time set"
    due = wording.short_text(row.due, zone)
    if row.overdue_by is not None:
        return f"overdue {span(row.overdue_by)}, due {due}"
    if row.state is WorkState.COMING and row.opens is not None:
        return f"from {wording.short_text(row.opens, zone)}, due {due}"
    return f"due {due}"


def span(time: timedelta) -> str:
    """Say how long a time is, no more precise than people need: minutes, hours, days."""
    minutes = int(time.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"
