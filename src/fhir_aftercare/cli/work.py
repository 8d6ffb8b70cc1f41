"""``fhir-aftercare work``: what the service has still to do, what was refused and why, and to have it done again.

Reads and changes the list; the running service does the work. What is shown are states, codes and references, never
what a patient is called by elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from fhir_aftercare.config import read_settings
from fhir_aftercare.errors import AftercareError, StoreUnavailable
from fhir_aftercare.store.database import default_url
from fhir_aftercare.work.board import UNFINISHED, open_board
from fhir_aftercare.work.items import STATES
from fhir_aftercare.work.launch import Pace
from fhir_aftercare.work.place import is_made, work_url
from fhir_aftercare.work.takeover import workers_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fhir_aftercare.work.board import Board
    from fhir_aftercare.work.items import State, WorkItem

T = TypeVar("T")

app = typer.Typer(name="work", help="See, repeat and wait for the service's own work.", no_args_is_help=True)

_MOST = 10_000
_TIME = "%Y-%m-%d %H:%M:%SZ"
_NONE = "No work was ever kept in this database."
# Of what a signal is about, only references are shown: an identifier of a hospital names a person.
_SHOWN = ("encounter", "patient", "response", "source", "kind")

_Clinic = Annotated[str | None, typer.Option("--clinic", help="Only this clinic's.")]


@app.command("list")
def list_work(
    clinic: _Clinic = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", help=f"{', '.join(STATES)}; more than once. Default: not done.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=_MOST, help="How many, the newest first.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="For tools.")] = False,
) -> None:
    """List work that waits, runs or was refused, with the code and the issues of what refused it."""
    states = _states(state)
    items = _with_board(lambda board: board.items(clinic=clinic, states=states, limit=limit)) or []
    if as_json:
        typer.echo(json.dumps([_plain(each) for each in items], indent=1))
        return
    _show(items)


@app.command("retry")
def retry(
    work_id: Annotated[str | None, typer.Argument(help="The id, as `work list` shows it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that was refused.")] = False,
    clinic: _Clinic = None,
) -> None:
    """Have refused work done again, or work that waits for its next attempt done now."""
    if (work_id is None) != every:
        typer.echo("Give the id of one piece of work, or --all.", err=True)
        raise typer.Exit(2)

    async def again(board: Board) -> int:
        if work_id:
            return int(await board.retry(work_id))
        refused = await board.items(clinic=clinic, states=("refused",), limit=_MOST)
        return sum([await board.retry(each.id) for each in refused])

    count = _with_board(again)
    if count is None:
        typer.echo(f"{_NONE} Is AFTERCARE_DATABASE_URL the one of the service?", err=True)
        raise typer.Exit(1)
    if work_id and not count:
        typer.echo("It is done, or being done: there is nothing to repeat.", err=True)
        raise typer.Exit(1)
    typer.echo("It will be done again." if work_id else f"Of what was refused, {count} will be done again.", err=True)


@app.command("drain")
def drain(
    within: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most.")] = 300.0,
) -> None:
    """Wait until nothing waits or runs, such as before a change of the database. Exit code 1: the time is over."""

    async def drained(board: Board) -> tuple[bool, dict[str, int]]:
        if await board.busy() and not any(each.living for each in await workers_of(board, Pace().dead_after)):
            typer.echo("No process does this work now: start the service, fhir-aftercare serve.", err=True)
        done = await board.drained(timedelta(seconds=within))
        return done, await board.counts()

    found = _with_board(drained)
    done, counts = found or (True, dict.fromkeys(UNFINISHED, 0))
    typer.echo(", ".join(f"{count} {state}" for state, count in counts.items()), err=True)
    if not done:
        raise typer.Exit(1)


def _states(given: list[str] | None) -> Sequence[State]:
    known: dict[str, State] = {each: each for each in STATES}
    wrong = [each for each in given or () if each not in known]
    if wrong:
        typer.echo(f"--state: {', '.join(wrong)}: must be one of {', '.join(known)}.", err=True)
        raise typer.Exit(2)
    return [known[each] for each in given] if given else UNFINISHED


def _with_board(call: Callable[[Board], Awaitable[T]]) -> T | None:
    """Give what is found on the board; None if no work was ever kept. Leaves with the reason if it cannot be asked."""

    async def asked(url: str) -> T:
        async with open_board(url) as board:
            return await call(board)

    try:
        url = read_settings().database_url or default_url(os.environ)
        return asyncio.run(asked(url)) if is_made(work_url(url)) else None
    except AftercareError as fault:
        _refuse(fault)
    except SQLAlchemyError as fault:
        _refuse(StoreUnavailable(f"The database of the work failed ({type(fault).__name__})."))


def _plain(item: WorkItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "job": item.job,
        "clinic": item.clinic,
        "state": item.state,
        "about": _about(item),
        "attempts": item.attempts,
        "code": item.code,
        "issues": list(item.outcome),
        "result": item.result,
        "changed": item.last_at.isoformat(),
        "next": item.next_at.isoformat() if item.next_at else None,
    }


def _about(item: WorkItem) -> dict[str, str]:
    return {name: item.ids[name] for name in _SHOWN if name in item.ids}


def _show(items: Sequence[WorkItem]) -> None:
    if not items:
        typer.echo("There is none.", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "clinic", "job", "state", "tries", "changed", "next try", "about", "result"):
        table.add_column(heading, overflow="fold")
    for each in items:
        next_at = f"{each.next_at:{_TIME}}" if each.next_at else ""
        why = " ".join([each.code or each.result or "", *(_issue(issue) for issue in each.outcome)]).strip()
        about = " ".join(_about(each).values())
        tries, changed = str(each.attempts), f"{each.last_at:{_TIME}}"
        table.add_row(each.id, each.clinic, each.job, each.state, tries, changed, next_at, about, why)
    Console(width=None if Console().is_terminal else 250, highlight=False, markup=False).print(table)


def _issue(issue: Any) -> str:
    parts = [issue.get("severity"), issue.get("code"), *(issue.get("details") or ()), issue.get("hapi")]
    return "/".join(str(part) for part in parts if part)


def _refuse(fault: AftercareError) -> NoReturn:
    typer.echo(f"{fault.message}\n{fault.remedy}", err=True)
    raise typer.Exit(1) from None
