"""Which processes live, and what becomes of the work of one that does not: it goes back to its queue.

Each process notes that it lives, by the database's clock. What processes die of again and again is put aside, so that
it takes no further one along (design §6).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema, CreateTable

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.work.place import now, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbos import WorkflowStatus

    from fhir_aftercare.work.board import Board

# So often a piece of work may be begun by processes that die before it is put aside: a restart at a bad moment is no
# fault of the work.
_BEGUN: Final = 6
_REMEMBERED: Final = timedelta(hours=1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that does work, or did within the hour. ``silent`` is for how long it has not told that it lives."""

    executor: str
    silent: timedelta
    living: bool


class Takeover:
    """Notes that process ``own`` lives, every ``beat``, and gives back the work of those silent for ``dead_after``."""

    def __init__(self, board: Board, own: str, beat: timedelta, dead_after: timedelta) -> None:
        self._board, self._own, self._beat, self._dead_after = board, own, beat, dead_after
        self._idle: set[str] = set()

    async def begin(self) -> None:
        """Note that this process lives. Raises ``StoreUnavailable``."""
        await self._board.ask(self._make)
        await self._board.ask(self._note)

    async def run(self, doing: Callable[[], set[str]]) -> None:
        """Note it, and look after the others, until cancelled. ``doing`` gives the attempts this process makes."""
        while True:
            try:
                await self.look(doing())
            except AftercareError as fault:
                log.warning("work of other processes not looked at", code=fault.code)
            await asyncio.sleep(self._beat.total_seconds())

    async def look(self, doing: set[str]) -> int:
        """Do it once, and give how much work was given back. Raises ``StoreUnavailable``."""
        await self._board.ask(self._note)
        living = {worker.executor for worker in await self.workers() if worker.living}
        rows = await self._board.owned()
        left = [row for row in rows if row.executor_id not in living] + self._strays(rows, doing)
        back: list[WorkflowStatus] = []
        for row in left:
            if (row.recovery_attempts or 0) >= _BEGUN:
                log.error("work put aside: processes died of it", count=row.recovery_attempts)
                await self._board.put_aside(row)
            else:
                back.append(row)
        given = await self._board.release(back)
        if given:
            log.warning("work of a dead process taken over", count=given)
        return given

    def _strays(self, rows: list[WorkflowStatus], doing: set[str]) -> list[WorkflowStatus]:
        """Give what this process took and does not do, twice in a row: its begin or its end could not be written."""
        idle = {row.workflow_id for row in rows if row.executor_id == self._own and row.workflow_id not in doing}
        twice, self._idle = idle & self._idle, idle
        return [row for row in rows if row.workflow_id in twice]

    async def end(self) -> None:
        """Give back what this process leaves, and note that it is gone: others need not wait to take over."""
        try:
            own = [row for row in await self._board.owned() if row.executor_id == self._own]
            await self._board.release(own, died=False)
            await self._board.ask(partial(self._forget, self._own))
        except AftercareError as fault:
            log.warning("end of this process not noted", code=fault.code)

    async def workers(self) -> list[Worker]:
        """Give the processes that were heard of within the hour. Raises ``StoreUnavailable``."""
        return await workers_of(self._board, self._dead_after, own=self._own)

    def _make(self) -> None:
        for again in (True, False):
            try:
                with self._board.engine.begin() as connection:
                    table = _table(connection.dialect.name)
                    if table.schema:
                        connection.execute(CreateSchema(table.schema, if_not_exists=True))
                    connection.execute(CreateTable(table, if_not_exists=True))
            except DBAPIError:  # PostgreSQL: another process makes it at this moment
                if not again:
                    raise
            else:
                return

    def _note(self) -> None:
        with self._board.engine.begin() as connection:
            table = _table(connection.dialect.name)
            moment = now(connection)
            noted = sa.update(table).where(table.c.executor == self._own).values(beat=moment)
            if not connection.execute(noted).rowcount:
                connection.execute(sa.insert(table).values(executor=self._own, beat=moment))
            connection.execute(sa.delete(table).where(table.c.beat < moment - _REMEMBERED.total_seconds()))

    def _forget(self, executor: str) -> None:
        with self._board.engine.begin() as connection:
            table = _table(connection.dialect.name)
            connection.execute(sa.delete(table).where(table.c.executor == executor))


async def workers_of(board: Board, dead_after: timedelta, *, own: str | None = None) -> list[Worker]:
    """Give the processes that were heard of within the hour; ``own`` lives, since it asks.

    Raises ``StoreUnavailable``.
    """

    def read() -> list[Worker]:
        with board.engine.begin() as connection:
            table = _table(connection.dialect.name)
            moment = now(connection)
            found = connection.execute(sa.select(table.c.executor, table.c.beat).order_by(table.c.executor)).all()
        silent = {executor: timedelta(seconds=max(0.0, moment - beat)) for executor, beat in found}
        return [Worker(name, quiet, name == own or quiet < dead_after) for name, quiet in silent.items()]

    return await board.ask(read)


def _table(dialect: str) -> sa.Table:
    return sa.Table(
        "workers",
        sa.MetaData(schema=schema_of(dialect)),
        sa.Column("executor", sa.String(200), primary_key=True),
        sa.Column("beat", sa.Float, nullable=False),
    )
