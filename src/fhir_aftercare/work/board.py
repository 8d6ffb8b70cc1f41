"""What is known of all work, whoever does it: take, list, retry, forget. Runs nothing.

Asks DBOS's tables in threads of its own, with a time limit: an answer that does not come is ``StoreUnavailable``.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from fhir_aftercare.errors import NotFound, StoreUnavailable
from fhir_aftercare.work.items import (
    STATES,
    Attempt,
    attempt_id,
    attempt_of,
    checked,
    is_superseded,
    item_of,
    later_attempts,
    latest,
)
from fhir_aftercare.work.place import VERSION, WORKFLOW, now, open_client, open_engine, statuses, work_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from dbos import DBOSClient, EnqueueOptions, WorkflowStatus
    from sqlalchemy.engine import Engine

    from fhir_aftercare.work.items import State, WorkItem

T = TypeVar("T")

OPEN: Final = (*STATES["waiting"], *STATES["running"])
UNFINISHED: Final[tuple[State, ...]] = ("waiting", "running", "refused")
_PAGE: Final = 500
_SECONDS: Final = 10.0
# A list of many thousands takes its time; nobody at the other end of a line waits for it.
_LIST_SECONDS: Final = 60.0


def queue_of(clinic: str) -> str:
    """Give the name of a clinic's queue."""
    return f"work.{clinic}"


class Board:
    """All work in one database. Every method raises ``StoreUnavailable`` if that fails or does not answer."""

    def __init__(self, engine: Engine, *, threads: int = 4) -> None:
        self.engine = engine
        self._client: DBOSClient = open_client(engine)
        # Not the loop's own threads: those hang while DBOS waits for a database to come back.
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="work-board")

    async def ask(self, call: Callable[[], T], *, seconds: float = _SECONDS) -> T:
        """Give what a blocking call gives, in a thread."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except (SQLAlchemyError, OSError, TimeoutError) as fault:
            raise StoreUnavailable(f"The database of the work failed ({type(fault).__name__}).") from fault

    async def declare(self, clinic: str, concurrency: int, per_minute: int | None, poll: timedelta) -> None:
        """Make a clinic's queue, or change it: ``concurrency`` is for each process, ``per_minute`` for all together."""
        call = partial(
            self._client.register_queue,
            queue_of(clinic),
            # Not a number for all processes: what a dead one held would stay taken.
            worker_concurrency=concurrency,
            limiter={"limit": per_minute, "period": 60} if per_minute else None,
            polling_interval_sec=poll.total_seconds(),
        )
        await self.ask(call)

    async def put(self, attempt: Attempt, *, delay: timedelta | None = None) -> bool:
        """Take an attempt: committed when this returns. False if it was known. Raises ``InvalidInput``."""
        checked(attempt.work_id, attempt.ids)
        options: EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": queue_of(attempt.clinic),
            "workflow_id": attempt.id,
            "workflow_id_reuse_policy": "reject",
            "app_version": VERSION,
        }
        if delay is not None:
            options["delay_seconds"] = delay.total_seconds()
        try:
            await self.ask(partial(self._client.enqueue, options, *attempt.stored()))
        except dbos_error.DBOSWorkflowIDInUseError:
            return False
        return True

    async def follow(self, attempt: Attempt, *, delay: timedelta) -> None:
        """Take the next attempt after a failed one, and forget the one before that."""
        await self.put(attempt, delay=delay)
        if attempt.n > 3:  # the first one stays: it is how a repeated signal is known
            await self.delete([attempt_id(attempt.work_id, attempt.n - 2)])

    async def items(
        self, *, clinic: str | None = None, states: Sequence[State] = UNFINISHED, limit: int = 1_000
    ) -> list[WorkItem]:
        """Give the newest items, at most ``limit``, in the order in which their states changed, newest first."""
        found: list[tuple[int, WorkItem]] = []
        seen, wanted = 0, [status for state in states for status in STATES[state]]
        while wanted and len(found) < limit:
            page = await self.rows(status=wanted, limit=_PAGE, offset=seen, sort_desc=True)
            for row in page:
                item, attempt = item_of(row), attempt_of(row)
                if item and attempt and clinic in (None, item.clinic):
                    found.append((attempt.n, item))
            seen += len(page)
            if len(page) < _PAGE:
                break
        return sorted(latest(found), key=lambda item: item.last_at, reverse=True)[:limit]

    async def retry(self, work_id: str) -> bool:
        """Let work be done again that was refused, or now that waits for its next attempt. False if it is neither.

        Its time for further attempts begins anew. Raises ``NotFound``.
        """
        rows = await self.rows(workflow_ids=[work_id])
        rows += await self.rows(workflow_id_prefix=later_attempts(work_id))
        attempts = [(attempt, row) for row in rows if (attempt := attempt_of(row)) and not is_superseded(row)]
        if not attempts:
            raise NotFound("There is no work of that id.", remedy="List the work: fhir-aftercare work list.")
        attempt, row = max(attempts, key=lambda each: each[0].n)
        if row.status == "DELAYED":
            await self.ask(partial(self._client.set_workflow_delay, row.workflow_id, delay_seconds=0))
            return True
        if row.status not in STATES["refused"]:
            return False
        if attempt.n == 1:
            return await self._rewind(attempt)
        again = replace(attempt, n=attempt.n + 1, waited=timedelta())
        new = await self.put(again)
        await self.delete([row.workflow_id])
        return new

    async def _rewind(self, attempt: Attempt) -> bool:
        """Do the first attempt again in its own place, since its row is how a repeated signal is known."""
        queue = queue_of(attempt.clinic)
        call = partial(self._client.rewind_workflow, attempt.id, queue_name=queue, application_version=VERSION)
        try:
            await self.ask(call)
        except dbos_error.DBOSException:  # another process was first
            return False
        return True

    async def counts(self, clinic: str | None = None) -> dict[str, int]:
        """Give how many pieces of work, of a clinic or of all, are in each state but done."""
        return await self.ask(partial(self._counts, clinic))

    def _counts(self, clinic: str | None) -> dict[str, int]:
        with self.engine.connect() as connection:
            rows = statuses(connection.dialect.name)
            wanted = [status for state in UNFINISHED for status in STATES[state]]
            query = (
                sa.select(rows.c.status, sa.func.count())
                .where(rows.c.name == WORKFLOW, rows.c.status.in_(wanted))
                .group_by(rows.c.status)
            )
            if clinic is not None:
                query = query.where(rows.c.queue_name == queue_of(clinic))
            found = {str(status): int(count) for status, count in connection.execute(query)}
        return {state: sum(found.get(status, 0) for status in STATES[state]) for state in UNFINISHED}

    async def busy(self) -> bool:
        """Tell whether anything waits or runs."""
        return bool(await self.rows(status=list(OPEN), limit=1, load_input=False, load_output=False))

    async def drained(self, within: timedelta, *, look: float = 0.5) -> bool:
        """Wait until nothing waits or runs; False if something still does at the end of that time."""
        end = asyncio.get_running_loop().time() + within.total_seconds()
        while await self.busy():
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            await asyncio.sleep(min(look, left))
        return True

    async def owned(self) -> list[WorkflowStatus]:
        """Give what runs, by whichever process."""
        found: list[WorkflowStatus] = []
        while True:
            page = await self.rows(
                status=list(STATES["running"]), limit=_PAGE, offset=len(found), load_input=False, load_output=False
            )
            found += page
            if len(page) < _PAGE:
                return found

    async def release(self, rows: Sequence[WorkflowStatus], *, died: bool = True) -> int:
        """Give running work back to its queues, for any process to do, and give how much that was.

        What another process has taken meanwhile is left alone. ``died`` is counted: see ``begun``.
        """
        return await self.ask(partial(self._release, rows, died=died)) if rows else 0

    def _release(self, rows: Sequence[WorkflowStatus], *, died: bool) -> int:
        ids, executors = [row.workflow_id for row in rows], {row.executor_id for row in rows if row.executor_id}
        with self.engine.begin() as connection:
            table = statuses(connection.dialect.name)
            given: dict[str, Any] = {"status": "ENQUEUED", "owner_xid": None, "started_at_epoch_ms": None}
            given["updated_at"] = int(now(connection) * 1000)
            if not died:
                given["recovery_attempts"] = table.c.recovery_attempts - 1
            update = sa.update(table).values(given)
            # The same as DBOS does for the work of one process; its client offers it without looking at the owner.
            mine = table.c.workflow_uuid.in_(ids) & table.c.executor_id.in_(executors)
            return connection.execute(update.where(mine & table.c.status.in_(STATES["running"]))).rowcount

    async def put_aside(self, row: WorkflowStatus) -> None:
        """End an attempt as refused."""
        await self.ask(partial(self._client.cancel_workflow, row.workflow_id))

    async def prune(self, before: datetime) -> int:
        """Forget what was done before a time, and give how much that was. What was refused is kept."""
        pruned, kept = 0, 0
        while True:
            page = await self.rows(
                status=list(STATES["done"]),
                completed_before=before.astimezone(UTC).isoformat(),
                limit=_PAGE,
                offset=kept,
            )
            ids: list[str] = []
            for row in page:
                attempt = attempt_of(row)
                if attempt is None or is_superseded(row):  # goes with the last attempt of its work, in one transaction
                    kept += 1
                    continue
                ids += [attempt_id(attempt.work_id, n) for n in range(1, attempt.n + 1)]
                pruned += 1
            await self.delete(ids)
            if len(page) < _PAGE:
                return pruned

    async def delete(self, workflow_ids: Sequence[str]) -> None:
        """Forget attempts."""
        if workflow_ids:
            await self.ask(partial(self._client.delete_workflows, list(workflow_ids)))

    async def rows(self, **filters: Any) -> list[WorkflowStatus]:
        """Give attempts as DBOS lists them, oldest first."""
        call = partial(self._client.list_workflows, name=WORKFLOW, **filters)
        return await self.ask(call, seconds=_LIST_SECONDS)

    async def close(self) -> None:
        """Close every connection; what is still asked is waited for."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._client.destroy()
        self.engine.dispose()


@asynccontextmanager
async def open_board(database_url: str, *, threads: int = 2) -> AsyncIterator[Board]:
    """Give the board of a database, for as long as the block lasts. Raises ``ConfigFault``."""
    board = Board(open_engine(work_url(database_url), pool_size=threads), threads=threads)
    try:
        yield board
    finally:
        await board.close()
