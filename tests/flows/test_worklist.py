"""The clinic's worklist: everything open, of this clinic alone, what presses most first; the same on every server."""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.timing import Window
from fhir_aftercare.care.worklist import NEVER, WorkState
from fhir_aftercare.ehr.answers import BatchAnswer
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import FhirBroken, InvalidInput
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.flows.worklist import (
    LARGEST_PAGE,
    PatientName,
    WorklistPage,
    WorklistRequest,
    WorklistRow,
    name_of,
    worklist,
)
from flows.cases import leaving, visit
from servers import ServerFailed
from world import END, START, make_world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers import Server
    from world import World

Resource = dict[str, Any]

NOW = START + timedelta(hours=21)
HOUR = timedelta(hours=1)
ALL = frozenset(WorkState)
TASK_DUE = Path(__file__).resolve().parents[2] / "profiles" / "SearchParameter-task-due.json"


class Told(FhirClient):
    """Has been told what the server can do: HAPI takes seconds to say so, and here it does not change."""

    def __init__(self, *args: Any, statement: Resource, **options: Any) -> None:
        super().__init__(*args, **options)
        self._statement = statement

    async def capabilities(self) -> Resource:
        return self._statement


def parameters_of(statement: Resource) -> list[Resource]:
    kinds = statement["rest"][0]["resource"]
    return [each for kind in kinds if kind["type"] == "Task" for each in kind["searchParam"]]


@pytest.fixture(scope="session")
async def statement(server: Server) -> Resource:
    """What the server says of itself, once it has our search parameter: the sandbox has it, HAPI is given it."""
    if server.name == "hapi":
        await server.http.put(f"{server.base_url}/SearchParameter/task-due", json=json.loads(TASK_DUE.read_text()))
    for _ in range(30):
        found = await server.client().capabilities()
        if any(each["name"] == "task-due" for each in parameters_of(found)):
            return found
        await asyncio.sleep(1)
    raise ServerFailed("The server does not list task-due, which it was given.")


def told(world: World, statement: Resource) -> World:
    server = world.server
    client = Told(server.base_url, server.http, on_call=world.calls.append, statement=statement)
    world.context = replace(world.context, fhir=client)
    return world


@pytest.fixture
async def plain(server: Server, statement: Resource) -> World:
    """A clinic on a server that knows task-due."""
    return told(await make_world(server, now=NOW), statement)


@pytest.fixture(params=["by task-due", "filtered here"])
async def clinic(request: pytest.FixtureRequest, plain: World, statement: Resource) -> World:
    if request.param == "by task-due":
        return plain
    unaware = copy.deepcopy(statement)
    parameters = parameters_of(unaware)
    parameters[:] = [each for each in parameters if each["name"] != "task-due"]
    for kind in unaware["rest"][0]["resource"]:
        if kind["type"] == "Task":
            kind["searchParam"] = parameters
    return told(plain, unaware)


def task(
    world: World, patient: str, opens: float, due: float, priority: str = "routine", **more: Any
) -> tuple[Resource, str]:
    """Give a Task that opens and is due so many hours from now, and its ``urn:uuid``."""
    key = uuid.uuid4().hex
    code = more.pop("code", terms.FOLLOW_UP_CALL)
    work = tasks.Work(
        identifier=world.context.identifiers.identifier("activity", key),
        code=code.concept(),
        priority=priority,
        description=None,
        patient=patient,
        requester=world.organization,
        owner=more.pop("owner", world.organization),
        authored_on=START,
        window=Window(NOW + opens * HOUR, NOW + due * HOUR, NOW + due * HOUR, None),
    )
    return {**tasks.make(work), **more}, f"urn:uuid:{uuid.uuid4()}"


async def put(world: World, made: Sequence[tuple[Resource, str]]) -> list[str]:
    """Write Tasks and give their references."""
    entries = [
        {"fullUrl": urn, "resource": each, "request": {"method": "POST", "url": each["resourceType"]}}
        for each, urn in made
    ]
    answer = await world.server.client().transaction(
        {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    )
    return [each.location.reference for each in answer if each.location]


async def read_all(world: World, limit: int, **more: Any) -> list[WorklistPage]:
    """Turn the pages to the end."""
    pages = [await worklist(world.context, WorklistRequest(limit=limit, **more))]
    while pages[-1].next is not None:
        pages.append(await worklist(world.context, WorklistRequest(limit=limit, cursor=pages[-1].next, **more)))
        assert len(pages) < 100
    return pages


def references(pages: Sequence[WorklistPage]) -> list[str]:
    return [row.task for page in pages for row in page.rows]


@pytest.fixture
async def busy(clinic: World) -> tuple[World, list[str]]:
    """A clinic with work in every state, and the references in the order they belong in."""
    ana, wei = await clinic.patient("Rivera"), await clinic.patient("Chen")
    in_order = [
        task(clinic, ana, -1, 3, "stat"),
        task(clinic, wei, -9, -2, "asap"),
        task(clinic, ana, 2, 5, "asap"),
        task(clinic, wei, -1, 40, "urgent"),
        task(clinic, ana, -90, -40),
        task(clinic, wei, -9, -3),
        task(clinic, wei, -1, 1),
        task(clinic, ana, -1, 60),
        task(clinic, wei, 1, 2),
        task(clinic, ana, 48, 99),
    ]
    shuffled = in_order[1::2] + in_order[::2]
    put_down = dict(zip((urn for _, urn in shuffled), await put(clinic, shuffled), strict=True))
    return clinic, [put_down[urn] for _, urn in in_order]


# --- order and rows --------------------------------------------------------------------------------------------------
async def test_escalated_then_overdue_then_due_then_coming(busy: tuple[World, list[str]]) -> None:
    world, in_order = busy
    page = await worklist(world.context, WorklistRequest(ALL))
    assert [row.task for row in page.rows] == in_order
    assert [row.state for row in page.rows] == [
        *["escalated"] * 4, *["overdue"] * 2, *["due"] * 2, *["coming"] * 2,
    ]  # fmt: skip
    assert page.next is None
    assert page.as_of == NOW
    assert page.as_of.tzinfo is world.context.clinic.zone


async def test_usually_it_shows_what_can_be_done_now(busy: tuple[World, list[str]]) -> None:
    world, in_order = busy
    page = await worklist(world.context, WorklistRequest())
    assert [row.task for row in page.rows] == in_order[:8]


async def test_a_row_tells_all_that_is_needed_to_act(clinic: World) -> None:
    patient = await clinic.patient("Chen")
    due = task(clinic, patient, -9, -3, owner=clinic.nurse)
    (reference,) = await put(clinic, [due])
    await move_task(clinic.context, MoveRequest(reference, "attempt", person=clinic.nurse, outcome="no-answer"))
    (row,) = (await worklist(clinic.context, WorklistRequest())).rows
    assert (row.task, row.patient, row.owner) == (reference, patient, clinic.nurse)
    assert row.name == PatientName("Chen", ("Ana",), None)
    assert (row.state, row.priority, row.overdue_by, row.attempts) == ("overdue", "routine", 3 * HOUR, 1)
    assert (row.opens, row.due) == (NOW - 9 * HOUR, NOW - 3 * HOUR)
    assert row.code == terms.FOLLOW_UP_CALL.concept()
    assert row.legal_moves == ("attempt", "complete", "fail", "decline", "reassign")
    assert row.version == row.resource["meta"]["versionId"]
    assert row.subject is not None
    assert row.subject["birthDate"] == "1988-03-04"
    moved = MoveRequest(row.task, "attempt", clinic.nurse, outcome="reached", if_match=row.version)
    assert (await move_task(clinic.context, moved)).changed, "the version on the list is the one to send"
    assert (await worklist(clinic.context, WorklistRequest())).rows == ()


async def test_a_page_costs_one_round_trip_with_the_patients_in_it(plain: World) -> None:
    patient = await plain.patient()
    urgent = task(plain, patient, -1, -5, "urgent")
    await put(plain, [urgent, *(task(plain, patient, -90, hours) for hours in range(-9, 9))])
    plain.round_trips()
    pages = await read_all(plain, 5)
    assert [len(page.rows) for page in pages] == [5, 5, 5, 4]
    assert plain.round_trips() == ["batch"] * 4
    assert all(row.name is not None for page in pages for row in page.rows)


async def test_who_reads_ahead_need_not_walk_over_what_is_still_to_come(plain: World) -> None:
    """Forms open for days are due after many that cannot be answered yet."""
    patient = await plain.patient()
    due = await put(plain, [task(plain, patient, -1, 99)])
    await put(plain, [task(plain, patient, 1, 2) for _ in range(20)])
    for ahead, kinds in ((10, ["batch", "search"]), (40, ["batch"])):
        plain.round_trips()
        page = await worklist(plain.context, WorklistRequest(limit=2, ahead=ahead))
        assert [row.task for row in page.rows] == due
        assert plain.round_trips() == kinds


async def test_what_the_server_can_do_is_asked_once(server: Server, statement: Resource) -> None:
    world = await make_world(server, now=NOW)
    for _ in range(2):
        await worklist(world.context, WorklistRequest())
    assert world.round_trips() == ["capabilities", "batch", "batch"]


@pytest.mark.parametrize(
    ("parameter", "kinds"),
    [
        ({"name": "task-due", "type": "date"}, ["batch"]),
        ({"name": "task-due", "definition": f"{terms.SEARCH_TASK_DUE}|1.0.0"}, ["batch"]),
        ({"name": "task-due", "definition": "https://ehr.example.org/SearchParameter/task-due"}, ["search"]),
        ({"name": "due", "type": "date"}, ["search"]),
    ],
)
async def test_a_parameter_that_only_has_the_same_name_is_not_ours(
    small_world: World, parameter: Resource, kinds: list[str]
) -> None:
    says = {"rest": [{"mode": "server", "resource": [{"type": "Task", "searchParam": [parameter]}]}]}
    world = told(small_world, says)
    await worklist(world.context, WorklistRequest())
    assert world.round_trips() == kinds


async def test_a_clinic_with_nothing_to_do_has_an_empty_list(clinic: World) -> None:
    assert (await worklist(clinic.context, WorklistRequest(ALL))).rows == ()


# --- filters ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        ({"escalated"}, [0, 1, 2, 3]),
        ({"overdue"}, [1, 4, 5]),
        ({"due"}, [0, 3, 6, 7]),
        ({"coming"}, [2, 8, 9]),
        ({"overdue", "coming"}, [1, 2, 4, 5, 8, 9]),
    ],
)
async def test_a_filter_shows_everything_of_which_it_is_true(
    busy: tuple[World, list[str]], states: set[str], wanted: list[int]
) -> None:
    """Also what is listed under another state: an urgent call that is late is overdue too."""
    world, in_order = busy
    asked = frozenset(WorkState(each) for each in states)
    for limit in (50, 2):
        assert references(await read_all(world, limit, states=asked)) == [in_order[each] for each in wanted]


async def test_somebodys_own_list_holds_what_is_theirs(clinic: World) -> None:
    patient = await clinic.patient()
    mine = task(clinic, patient, -1, 4, owner=clinic.nurse)
    first, _ = await put(clinic, [mine, task(clinic, patient, -1, 3)])
    page = await worklist(clinic.context, WorklistRequest(owner=clinic.nurse))
    assert [row.task for row in page.rows] == [first]


async def test_what_has_ended_and_what_is_others_is_not_on_the_list(clinic: World) -> None:
    neighbour = await make_world(clinic.server, now=NOW)
    patient = await clinic.patient()
    foreign, urn = task(clinic, patient, -1, 1)
    foreign["identifier"] = [{"system": "https://ehr.example.org/tasks", "value": uuid.uuid4().hex}]
    ended = {"status": "completed", "businessStatus": terms.BUSINESS_STATUSES["reached"].concept()}
    await put(clinic, [(foreign, urn), task(neighbour, patient, -1, 1), task(clinic, patient, -1, 1, **ended)])
    (ours,) = await put(clinic, [task(clinic, patient, -1, 1)])
    assert references(await read_all(clinic, 50, states=ALL)) == [ours]


# --- pages -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("limit", [1, 3, 4, 10])
async def test_pages_hold_everything_once_and_in_order(busy: tuple[World, list[str]], limit: int) -> None:
    world, in_order = busy
    pages = await read_all(world, limit, states=ALL)
    assert references(pages) == in_order
    assert [len(page.rows) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert all(row.name is not None for page in pages for row in page.rows)


async def test_while_pages_are_turned_time_stands_still(busy: tuple[World, list[str]]) -> None:
    """What was due on the first page is not overdue on the next, or it would stand on both or on none."""
    world, in_order = busy
    first = await worklist(world.context, WorklistRequest(ALL, limit=6))
    world.clock.advance(timedelta(days=3))
    rest = await worklist(world.context, WorklistRequest(ALL, cursor=first.next, limit=6))
    assert references([first, rest]) == in_order
    assert rest.as_of == first.as_of == NOW


async def test_what_is_done_while_pages_are_turned_takes_nothing_with_it(busy: tuple[World, list[str]]) -> None:
    world, in_order = busy
    first = await worklist(world.context, WorklistRequest(ALL, limit=5))
    for reference in (in_order[4], in_order[5]):  # the last of this page, the first of the next
        await move_task(world.context, MoveRequest(reference, "complete", world.nurse))
    rest = await worklist(world.context, WorklistRequest(ALL, cursor=first.next, limit=9))
    assert references([rest]) == in_order[6:]


async def test_many_calls_due_at_the_same_second_are_all_on_the_list(
    clinic: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clinic closes at 18: all its calls of a day are due then. Here they fill several pages of the server."""
    monkeypatch.setattr("fhir_aftercare.flows.worklist._WALKED", "30")
    patient = await clinic.patient()
    made = await put(clinic, [task(clinic, patient, -1, 3) for _ in range(75)])
    pages = await read_all(clinic, 30)
    assert sorted(references(pages)) == sorted(made)
    assert [len(page.rows) for page in pages] == [30, 30, 15]
    assert all(row.name is not None for page in pages for row in page.rows)


async def test_what_is_due_is_found_among_much_that_is_still_to_come(clinic: World) -> None:
    """A form open for days is due after many calls that cannot be made yet; it comes before them all the same."""
    patient = await clinic.patient()
    coming = await put(clinic, [task(clinic, patient, 2, 3 + number) for number in range(12)])
    (form,) = await put(clinic, [task(clinic, patient, -1, 200, code=terms.TEACH_BACK)])
    for states in (ALL, frozenset({WorkState.DUE})):
        pages = await read_all(clinic, 2, states=states)
        assert references(pages) == [form, *(coming if states == ALL else [])]


async def test_work_without_a_due_date_or_a_patient_does_not_vanish(clinic: World) -> None:
    patient = await clinic.patient()
    undated, urn = task(clinic, patient, -1, 3)
    del undated["restriction"]
    urgent, urn_urgent = task(clinic, patient, -1, 3, "urgent")
    del urgent["restriction"], urgent["for"]
    unranked, urn_unranked = task(clinic, patient, -1, 3)
    del unranked["priority"]
    *others, last, first = await put(
        clinic, [task(clinic, patient, -1, 1), (unranked, urn_unranked), (undated, urn), (urgent, urn_urgent)]
    )
    for limit in (50, 1):
        assert references(await read_all(clinic, limit)) == [first, *others, last]


@pytest.mark.parametrize(
    "cursor",
    [
        (),
        (1, 2, 3),
        (1, 2, 3, 4),
        ("1", 2, 3, "4"),
        (1, 9, 3, "4"),
        (1, 2, -3, "4"),
        (2**70, 2, 3, "4"),
        (1, 2, NEVER + 9, "4"),
    ],
)
async def test_a_cursor_of_something_else_is_refused(small_world: World, cursor: tuple[str | int, ...]) -> None:
    with pytest.raises(InvalidInput) as refused:
        await worklist(small_world.context, WorklistRequest(cursor=cursor))
    assert refused.value.where == ("cursor",)
    assert small_world.round_trips() == []


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": LARGEST_PAGE + 1}, "limit"),
        ({"states": frozenset()}, "states"),
        ({"owner": "Practitioner/1&status=completed"}, "owner"),
        ({"owner": "Okafor"}, "owner"),
        ({"owner": "Encounter/1"}, "owner"),
    ],
)
async def test_what_cannot_be_asked_is_refused(small_world: World, asked: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await worklist(small_world.context, WorklistRequest(**asked))
    assert refused.value.where == (where,)


# --- the whole -------------------------------------------------------------------------------------------------------
async def test_from_a_discharge_to_an_escalation_on_the_list(plain: World) -> None:
    patient, encounter = await visit(plain)
    await discharge(plain.context, leaving(plain, patient, encounter, start=START, end=END))
    plain.clock.move_to(NOW)

    async def rows(**more: Any) -> list[WorklistRow]:
        return [row for page in await read_all(plain, 50, **more) for row in page.rows]

    everything = await rows(states=ALL)
    assert {row.patient for row in everything} == {patient}
    assert {row.state for row in everything} > {WorkState.DUE, WorkState.COMING}
    call = next(row for row in everything if row.code["text"] == "Telephone follow-up")
    for _ in range(3):
        await move_task(plain.context, MoveRequest(call.task, "attempt", plain.nurse, outcome="no-answer"))
        plain.clock.advance(HOUR)
    escalated = {row.code["text"]: row for row in await rows() if row.state is WorkState.ESCALATED}
    assert escalated.keys() == {"Left before ready", "Clinical review"}, "nothing told that she was ready"
    assert call.task not in {row.task for row in await rows(states=ALL)}
    review = escalated["Clinical review"]
    assert (review.priority, review.patient) == ("urgent", patient)
    done = MoveRequest(review.task, "complete", plain.nurse, outcome="Reached her sister: she is well.")
    await move_task(plain.context, done)
    assert review.task not in {row.task for row in await rows(states=ALL)}


class Silent(Told):
    """Answers the entries of a batch with errors, one by one."""

    async def batch(self, entries: Sequence[Any]) -> list[BatchAnswer]:
        return [BatchAnswer(500, None, None, None, FhirBroken("GET Task in a Bundle answered 500.")) for _ in entries]


async def test_a_search_that_failed_is_no_empty_list(small_world: World) -> None:
    server = small_world.server
    silent = Silent(server.base_url, server.http, statement=await server.client().capabilities())
    with pytest.raises(FhirBroken):
        await worklist(replace(small_world.context, fhir=silent), WorklistRequest())


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ([], None),
        ([{"family": "Chen", "given": ["Wei", "Li"]}], PatientName("Chen", ("Wei", "Li"), None)),
        ([{"use": "old", "family": "Then"}, {"text": "Wei Chen"}], PatientName(None, (), "Wei Chen")),
        ([{"use": "nickname", "given": ["W"]}, {"use": "official", "family": "Chen"}], PatientName("Chen", (), None)),
        ([{"use": "maiden", "family": "Then"}], None),
    ],
)
def test_a_patient_is_called_by_the_name_in_use(names: list[Resource], wanted: PatientName | None) -> None:
    assert name_of({"resourceType": "Patient", "name": names}) == wanted
