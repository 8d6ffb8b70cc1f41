"""The clinic's worklist: the open Tasks of all its patients, what presses most first (design §4.5, §10.14).

Where the server knows our search parameter ``task-due``, one batch asks for the beginning of each part of the list;
else all open Tasks are walked through and ordered here. Either way no more than a page is held at once, and a Task that
the server has not indexed, or that nobody gave a due date, is on the list all the same. A page goes on where the last
one ended, by a place in our order and not by a page of the server, which it forgets.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from fhir_aftercare.care.escalation_rules import Level
from fhir_aftercare.care.timing import local
from fhir_aftercare.care.worklist import (
    GROUPS,
    NEVER,
    Earliest,
    Place,
    Waiting,
    WorkState,
    first_group,
    overdue_by,
    place_of,
    state_of,
    states_of,
)
from fhir_aftercare.ehr import urls
from fhir_aftercare.ehr.paging import Pages
from fhir_aftercare.errors import InvalidInput, OutOfRange
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.chart import OPEN_TASKS
from fhir_aftercare.flows.task_facts import attempts_of, is_ours, legal_moves, owner_of, patient_of, version_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from datetime import timedelta

    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.task_facts import Move

Resource = dict[str, Any]
Position = tuple[str | int, ...]

NOW: Final = frozenset({WorkState.ESCALATED, WorkState.OVERDUE, WorkState.DUE})
LARGEST_PAGE: Final = 200
_WALKED: Final = "200"  # Tasks on a page of the server, where many are walked through
# More Tasks than fit on a page: those found twice, those due in the second the last page ended in, and one that is due
# later than all that are kept, which shows that nothing further needs to be read.
_SLACK: Final = 10
_ABOVE_ROUTINE: Final = ",".join(level.priority for level in Level if level > Level.ROUTINE)
# Whom R4 lets own a Task: a server refuses to search for any other.
_OWNER: Final = re.compile(
    r"(Practitioner|PractitionerRole|Organization|CareTeam|HealthcareService|Patient|Device|RelatedPerson)"
    r"/[A-Za-z0-9\-.]{1,64}"
)
_SEARCH: Final = terms.SEARCH_TASK_DUE.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class WorklistRequest:
    """Which part of the list: what is in any of ``states``, of one ``owner`` (a FHIR reference) or of all.

    ``cursor`` is ``WorklistPage.next`` of the page before. ``ahead``: so many more Tasks than rows are read at once.
    """

    states: frozenset[WorkState] = NOW
    owner: str | None = None
    cursor: Position | None = None
    limit: int = 50
    ahead: int = _SLACK


@dataclass(frozen=True, slots=True)
class PatientName:
    """A patient's name as the chart has it; ``text`` if it is given as a whole."""

    family: str | None
    given: tuple[str, ...]
    text: str | None


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """One open Task. ``state`` is what it is listed under; ``overdue_by`` is told of escalated ones too.

    ``subject`` is the Patient and ``resource`` the Task as read; ``subject`` and ``name`` are None if it was not found.
    """

    task: str
    version: str | None
    patient: str | None
    name: PatientName | None
    code: Resource
    state: WorkState
    priority: str
    opens: datetime | None
    due: datetime | None
    overdue_by: timedelta | None
    attempts: int
    owner: str | None
    legal_moves: tuple[Move, ...]
    resource: Resource
    subject: Resource | None


@dataclass(frozen=True, slots=True)
class WorklistPage:
    """Rows in order, as things stood at ``as_of``: all pages of one reading tell of the same instant.

    ``next`` is the cursor of the page after it, None on the last; it holds no patient data.
    """

    rows: tuple[WorklistRow, ...]
    next: Position | None
    as_of: datetime


@dataclass(frozen=True, slots=True)
class _Source:
    """One search; ``ordered``: its matches come in the order they are due."""

    query: Mapping[str, str]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class _Reading:
    """One page being gathered: what is sought, the Tasks kept so far, the patients that came along with them."""

    context: ClinicContext
    request: WorklistRequest
    as_of: datetime
    kept: Earliest[tuple[Resource, Waiting]]
    patients: dict[str, Resource] = field(default_factory=dict)

    def offer(self, task: Resource) -> Place | None:
        """Keep a Task if it belongs on the page, and give its place; None if it is not on the list at all."""
        if not (tasks.is_open(task) and is_ours(task, self.context.identifiers)):
            return None
        work = _waiting(task)
        place = place_of(work, self.as_of)
        if not self.request.states.isdisjoint(states_of(work, self.as_of)):
            self.kept.offer(place, (task, work))
        return place


async def worklist(context: ClinicContext, request: WorklistRequest) -> WorklistPage:
    """Give one page of the list.

    Raises ``InvalidInput`` (``limit``, ``states``, ``cursor``, ``owner``), and what failures of the FHIR server become.
    """
    _check(request)
    as_of, after = _position(context, request)
    reading = _Reading(context, request, as_of, Earliest(request.limit + 1, after))
    if await _knows_task_due(context.fhir):
        await _gather(reading, _by_due(reading, after))
    else:
        await _walk(reading, _Source(_open_tasks(context, request)))
    found = list(reading.kept)
    page = found[: request.limit]
    await _add_patients(reading, [task for _, (task, _) in page])
    next_ = (int(as_of.timestamp()), *page[-1][0]) if len(found) > request.limit else None
    return WorklistPage(tuple(_row(reading, *each) for _, each in page), next_, local(as_of, context.clinic.zone))


def _check(request: WorklistRequest) -> None:
    if not 1 <= request.limit <= LARGEST_PAGE:
        raise OutOfRange(f"A page has 1 to {LARGEST_PAGE} rows.", where="limit")
    if not request.states:
        raise InvalidInput("Name at least one state: " + ", ".join(WorkState) + ".", where="states")
    if request.owner is not None and not _OWNER.fullmatch(request.owner):
        raise InvalidInput("The owner is a reference, such as Practitioner/1.", where="owner")


def _position(context: ClinicContext, request: WorklistRequest) -> tuple[datetime, Place | None]:
    """Give the instant of the reading, to the second, and the place after which the page begins."""
    if request.cursor is None:
        return context.clock().astimezone(UTC).replace(microsecond=0), None
    match request.cursor:
        case (int(at), int(group), int(due), str(id_)) if 0 <= group < GROUPS and 0 <= due <= NEVER:
            try:
                return datetime.fromtimestamp(at, UTC), (group, due, id_)
            except (OverflowError, OSError, ValueError):
                pass
    raise InvalidInput("The cursor is not of this list.", where="cursor")


async def _knows_task_due(fhir: FhirClient) -> bool:
    """Tell whether the server lists our search parameter, and not another one of the same name."""
    statement = await fhir.capabilities()
    return any(
        each.get("name") == _SEARCH
        and str(each.get("definition", terms.SEARCH_TASK_DUE)).partition("|")[0] == terms.SEARCH_TASK_DUE
        for rest in statement.get("rest") or ()
        for kind in rest.get("resource") or ()
        if kind.get("type") == "Task"
        for each in kind.get("searchParam") or ()
    )


# --- which searches --------------------------------------------------------------------------------------------------
def _open_tasks(context: ClinicContext, request: WorklistRequest) -> dict[str, str]:
    query = {"identifier": context.identifiers.system("activity") + "|", "status": OPEN_TASKS}
    return {**query, "owner": request.owner} if request.owner else query


def _by_due(reading: _Reading, after: Place | None) -> list[_Source]:
    """Give the searches for what the page can hold: it begins after ``after``, if that is given.

    With few conditions each: servers plan searches of many badly (measured on HAPI: seconds). What several of them find
    is kept once.
    """
    common = _open_tasks(reading.context, reading.request)
    found = []
    if after is None or after[0] < first_group(WorkState.OVERDUE):  # few, by their nature: in any order
        found.append(_Source({**common, "priority": _ABOVE_ROUTINE}))
    if reading.request.states - {WorkState.ESCALATED}:
        since = _since(reading, after)
        bound = {_SEARCH: f"ge{tasks.instant(since)}"} if since else {}
        found.append(_Source({**common, **bound, "_sort": _SEARCH}, ordered=True))
        found.append(_Source({**common, f"{_SEARCH}:missing": "true"}))
    return found


def _since(reading: _Reading, after: Place | None) -> datetime | None:
    """Give since when what is sought by its due date is due; None: ever.

    While due and coming are both wanted, one that is coming may be due before the place among those that are due.
    """
    states, (group, due, _) = reading.request.states, after or (0, 0, "")
    overdue, coming = first_group(WorkState.OVERDUE), first_group(WorkState.COMING)
    if WorkState.OVERDUE in states and group < overdue:
        return None
    both = states >= {WorkState.DUE, WorkState.COMING}
    begins = group == coming or (group > overdue and not both) or (group == overdue and WorkState.OVERDUE in states)
    return datetime.fromtimestamp(due, UTC) if begins else reading.as_of


# --- searching -------------------------------------------------------------------------------------------------------
async def _gather(reading: _Reading, sources: Sequence[_Source]) -> None:
    """Read the beginning of every source in one round trip; walk on only where that was not enough."""
    more = {"_include": "Task:subject", "_count": str(reading.request.limit + reading.request.ahead)}
    answers = await reading.context.fhir.batch([urls.query("Task", {**each.query, **more}) for each in sources])
    for source, answer in zip(sources, answers, strict=True):
        bundle = answer.unwrap()
        last: Place | None = None
        for _, resource in Pages("Task", lambda _: False).entries(bundle):
            if resource["resourceType"] == "Patient":
                reading.patients[f"Patient/{resource['id']}"] = resource
            elif resource["resourceType"] == "Task":
                last = reading.offer(resource) or last
        goes_on = any(link.get("relation") == "next" for link in bundle.get("link") or ())
        if goes_on and not _is_enough(reading, source, last):
            await _walk(reading, source)


async def _walk(reading: _Reading, source: _Source) -> None:
    """Offer every match of a source, page after page, until nothing that follows can be on the page."""
    query = {**source.query, "_count": _WALKED}
    search = cast("AsyncGenerator[Resource, None]", reading.context.fhir.search("Task", query))
    async with aclosing(search) as matches:
        async for task in matches:
            if _is_enough(reading, source, reading.offer(task)):
                return


def _is_enough(reading: _Reading, source: _Source, last: Place | None) -> bool:
    """Tell whether no match after this one, due no earlier, can stand before what is kept."""
    if not source.ordered or last is None or last[1] == NEVER:  # what we read no date in tells nothing of the next
        return False
    late = last[1] < int(reading.as_of.timestamp())
    follow = (WorkState.OVERDUE, WorkState.DUE, WorkState.COMING) if late else (WorkState.DUE, WorkState.COMING)
    groups = [first_group(each) for each in follow if each in reading.request.states]
    return not groups or not reading.kept.wants((groups[0], last[1], ""))


async def _add_patients(reading: _Reading, page: Sequence[Resource]) -> None:
    """Read the patients that did not come along with their Tasks, in one search."""
    wanted = {patient_of(task) for task in page} - reading.patients.keys()
    missing = sorted(each.partition("/")[2] for each in wanted if each is not None)
    if not missing:
        return
    query = {"_id": ",".join(missing), "_count": _WALKED}
    async for patient in reading.context.fhir.search("Patient", query):
        reading.patients[f"Patient/{patient['id']}"] = patient


# --- rows ------------------------------------------------------------------------------------------------------------
def _waiting(task: Resource) -> Waiting:
    opens, due, _ = tasks.window_of(task)
    priority = task.get("priority")
    level = Level[str(priority).upper()] if priority in tasks.LEVELS else Level.ROUTINE
    return Waiting(str(task["id"]), level, opens, due)


def _row(reading: _Reading, task: Resource, work: Waiting) -> WorklistRow:
    patient = patient_of(task)
    subject = reading.patients.get(patient or "")
    return WorklistRow(
        task=f"Task/{task['id']}",
        version=version_in(task),
        patient=patient,
        name=name_of(subject) if subject else None,
        code=task.get("code") or {},
        state=state_of(work, reading.as_of),
        priority=work.level.priority,
        opens=work.opens,
        due=work.due,
        overdue_by=overdue_by(work, reading.as_of),
        attempts=len(attempts_of(task)),
        owner=owner_of(task),
        legal_moves=legal_moves(task),
        resource=task,
        subject=subject,
    )


def name_of(patient: Resource) -> PatientName | None:
    """Give the name a patient goes by: the official one, else the usual one, else the first that is still in use."""
    names = [each for each in patient.get("name") or () if each.get("use") not in {"old", "maiden"}]
    ranks = {"official": 0, "usual": 1}
    chosen = min(names, key=lambda each: ranks.get(str(each.get("use")), 2), default=None)
    if chosen is None:
        return None
    return PatientName(chosen.get("family"), tuple(chosen.get("given") or ()), chosen.get("text"))
