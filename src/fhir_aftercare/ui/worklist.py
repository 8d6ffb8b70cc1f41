"""The worklist in words: each Task with what presses, for whom, what was tried; and the filters that led there.

Wording only. What is on the list, and in which order, is ``flows.worklist``'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.timing import utc
from fhir_aftercare.care.worklist import UNREACHABLE, WorkState
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.behind_tasks import reasons_of
from fhir_aftercare.flows.worklist import NOW
from fhir_aftercare.ui import people
from fhir_aftercare.ui.work_lines import Names, title

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime, timedelta
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.flows.behind_tasks import Behind, ReviewReason
    from fhir_aftercare.flows.task_facts import Move
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
# Between the id of a Task and the version of it that was shown, as FHIR writes it.
VERSION: Final = "/_history/"
# As many reasons of one Task as a list has room for; the page of the Task has all.
_MOST_REASONS: Final = 2
# The states in the order in which they are listed.
_ORDER: Final = tuple(WorkState)


@dataclass(frozen=True, slots=True)
class ReasonLine:
    """Why a Task was raised: ``words``, the rule's ``source``, ``said`` what was answered and when.

    ``answers`` is the id of the Observation whose answers these are. All but the words may be empty.
    """

    words: str
    source: str
    said: str
    answers: str


@dataclass(frozen=True, slots=True)
class WorkRow:
    """One Task. ``versioned`` is its id with the version shown, ``state`` the key of its mark, ``patient`` a reference.

    ``more`` counts the reasons there is no room for.
    """

    id: str
    versioned: str
    state: str
    mark: str
    word: str
    name: str
    born: str
    patient: str
    what: str
    reasons: tuple[ReasonLine, ...]
    more: int
    when: str
    phone: str
    tried: str
    owner: str
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class Tab:
    """One choice of a filter, with how many are listed under it (empty: not known here)."""

    key: str
    name: str
    count: str
    current: bool


@dataclass(frozen=True, slots=True)
class WorklistView:
    """The page. ``next`` is the cursor of the page after this one, empty on the last; ``gap``: scores are missing."""

    rows: tuple[WorkRow, ...]
    states: tuple[Tab, ...]
    owners: tuple[Tab, ...]
    as_of: str
    next: str
    empty: str
    gap: bool


@dataclass(frozen=True, slots=True)
class Filters:
    """What the address says: which states, whose work, after which place of the list (empty: its beginning)."""

    state: str = "now"
    owner: str = "all"
    after: str = ""

    @property
    def query(self) -> dict[str, str]:
        """They as an address has them: without the usual ones."""
        usual = Filters()
        pairs = ((name, getattr(self, name), getattr(usual, name)) for name in ("state", "owner", "after"))
        return {name: given for name, given, expected in pairs if given != expected}


def worklist_view(
    page: WorklistPage,
    behind: Behind,
    clinic: Clinic,
    *,
    filters: Filters,
    me: str | None,
    coming: WorklistRow | None = None,
) -> WorklistView:
    """Give the page; ``me`` is who reads it. ``coming`` is what is due next if nothing is now."""
    state, owner, zone = filters.state, filters.owner, clinic.zone
    names = Names(me, behind.persons)
    rows = tuple(_row(each, page.as_of, behind, clinic, names) for each in page.rows)
    return WorklistView(
        rows=rows,
        states=tuple(_state_tabs(page, state, begins=not filters.after)),
        owners=tuple(Tab(key, name, "", key == owner) for key, name in OWNERS.items() if key == "all" or me),
        as_of=wording.short_text(page.as_of, zone, with_zone=True),
        next=packed(page.next),
        empty=_empty(state, owner, begins=not filters.after) + (f" {_coming(coming, zone)}" if coming else ""),
        gap=behind.gap,
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


def _state_tabs(page: WorklistPage, state: str, *, begins: bool) -> Iterator[Tab]:
    """Give the tabs with how many stand under each, where the list that is shown from its beginning tells.

    What is escalated may be overdue or due as well, and then is listed under both.
    """
    for key, name in _STATE_NAMES.items():
        told = begins and (key == state or (state == "now" and key != WorkState.COMING))
        yield Tab(key, name, _count(page, key) if told else "", key == state)


def _count(page: WorklistPage, key: str) -> str:
    if key == "now":
        number, is_all = len(page.rows), page.next is None
    else:
        state = WorkState(key)
        number = sum(_is(row, state, page) for row in page.rows)
        # What comes after the rows of its own state in the list is none of it.
        is_all = page.next is None or _ORDER.index(page.rows[-1].state) > _ORDER.index(state)
    return f"{number}{'' if is_all else '+'}"


def _is(row: WorklistRow, state: WorkState, page: WorklistPage) -> bool:
    if row.state is not WorkState.ESCALATED or state is WorkState.ESCALATED:
        return row.state is state
    if row.overdue_by is not None:
        return state is WorkState.OVERDUE
    return state is (WorkState.COMING if row.opens is not None and utc(row.opens) > utc(page.as_of) else WorkState.DUE)


def _empty(state: str, owner: str, *, begins: bool) -> str:
    whose = " of yours" if owner == "mine" else ""
    further = "" if begins else " further"
    word = {"now": "due"}.get(state, state)
    return f"Nothing{further}{whose} is {word}."


def _coming(row: WorklistRow, zone: ZoneInfo) -> str:
    return f"Next: {title(row.resource)}, {people.name_of(row.subject)}, {when_of(row, zone)}."


def _row(row: WorklistRow, as_of: datetime, behind: Behind, clinic: Clinic, names: Names) -> WorkRow:
    (mark, word), zone = MARKS[row.state], clinic.zone
    subject = row.subject or {}
    id_, reasons = row.task.partition("/")[2], list(reasons_of(row.resource))
    newest = list(reversed(reasons))[:_MOST_REASONS]
    return WorkRow(
        id=id_,
        versioned=f"{id_}{VERSION}{row.version}" if row.version else id_,
        state=row.state.value,
        mark=mark,
        word=word,
        name=people.name_of(subject),
        born=people.born_of(subject, as_of, zone),
        patient=row.patient or "",
        what=title(row.resource),
        reasons=tuple(reason_line(each, row.patient, behind, zone) for each in newest),
        more=len(reasons) - len(newest),
        when=when_of(row, zone),
        phone=phone_for(row.resource, subject),
        tried=f"{row.attempts} of {clinic.policy.call_attempts_max} tried" if row.attempts else "",
        owner=names.of(row.owner),
        moves=offered(row.legal_moves, names.me),
    )


def reason_line(reason: ReviewReason, patient: str | None, behind: Behind, zone: ZoneInfo) -> ReasonLine:
    """Give a reason with the score it rests on and when that was answered, as far as they are known."""
    score = behind.score(patient, reason)
    said = []
    if score is not None:
        said.append(f"PHQ-9 {score.total}" if score.total is not None else "PHQ-9 without a total")
    if reason.at is not None:
        at = wording.short_text(reason.at, zone)
        said.append(at if reason.key == UNREACHABLE else f"reported {at}")
    return ReasonLine(reason.words, reason.source, ", ".join(said), score.source.rpartition("/")[2] if score else "")


def offered(moves: tuple[Move, ...], me: str | None) -> tuple[Move, ...]:
    """Give the moves a page offers: nobody can take a Task where the EHR does not say who signed in."""
    return moves if me is not None else tuple(each for each in moves if each != "claim")


def phone_for(task: Resource, patient: Resource) -> str:
    """Give the number to call: the one that was agreed on for this Task, else the patient's; empty if none is known."""
    return next(iter(tasks.texts(task.get("input"), terms.INPUT_CALL_PHONE)), "") or people.phone_of(patient)


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
