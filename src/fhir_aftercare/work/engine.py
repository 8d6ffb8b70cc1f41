"""The engine: does the work that the board keeps, in the application's own loop, and takes over what others left.

One attempt is one workflow of DBOS. What fails and may succeed later is followed by a further attempt; what cannot is
put aside with its code. DBOS does not notice that a process died: a living one gives its work back to the queue
(design §6). Doing a piece twice is harmless, so a process that only was slow does no harm either.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from dbos import DBOS

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.work.board import Board
from fhir_aftercare.work.items import Attempt, Refused, code_of, safe_outcome
from fhir_aftercare.work.launch import Limits, Pace, launched
from fhir_aftercare.work.place import WORKFLOW, open_engine, quiet, work_url
from fhir_aftercare.work.retry import Retries
from fhir_aftercare.work.takeover import Takeover, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fhir_aftercare.work.items import State, WorkItem

__all__ = ["Engine", "Job", "Limits", "OnEnd", "Pace", "Worker"]

# Given clinic and ids; gives a word for the outcome. Raises what ``AftercareError`` it will: that decides what follows.
Job = Callable[[str, Mapping[str, str]], Awaitable[str]]
# Told of each piece that came to an end: the job, and its word or an error's code.
OnEnd = Callable[[str, str], None]

_CONNECTIONS: Final = 6
_PRUNE_EVERY: Final = timedelta(hours=1)
_CUT_OFF: Final = timedelta(seconds=1)
# Between two tries to note that work is to be done again, while the database is away.
_AGAIN: Final = 2.0

log = structlog.get_logger(__name__)


class Engine:
    """Does durable work. There is one in a process: DBOS is."""

    def __init__(
        self, board: Board, takeover: Takeover, jobs: Mapping[str, Job], retries: Retries, on_end: OnEnd | None
    ) -> None:
        self.board, self._takeover = board, takeover
        self._jobs, self._retries, self._on_end = jobs, retries, on_end
        self._active: dict[object, tuple[str, asyncio.Task[Any]]] = {}
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._stopping = False

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        database_url: str,
        jobs: Mapping[str, Job],
        clinics: Mapping[str, Limits],
        *,
        executor_id: str | None = None,
        pace: Pace | None = None,
        retries: Retries | None = None,
        on_end: OnEnd | None = None,
    ) -> AsyncIterator[Engine]:
        """Do the work of these clinics while the block runs.

        At its end nothing new is begun, and what runs is given a moment; the rest is done by whoever comes next.
        Raises ``ConfigFault``, and ``StoreUnavailable`` if the database does not answer. One at a time in a process.
        """
        global _current  # noqa: PLW0603  (DBOS calls a registered function: it must find the engine)
        if _current is not None:
            raise RuntimeError("An engine is running in this process.")
        quiet()
        pace = pace or Pace()
        url = work_url(database_url)
        own = executor_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        board = Board(open_engine(url, pool_size=_CONNECTIONS), threads=_CONNECTIONS)
        takeover = Takeover(board, own, pace.beat, pace.dead_after)
        engine = _current = cls(board, takeover, jobs, retries or Retries(), on_end)
        try:
            await takeover.begin()
            async with launched(board, url, own, clinics, pace) as take_nothing:
                tasks = [
                    asyncio.create_task(takeover.run(engine.doing)),
                    asyncio.create_task(engine._prune(pace.keep)),
                ]
                try:
                    yield engine
                finally:
                    take_nothing()
                    await engine._stop(tasks, pace.grace)
            await takeover.end()
        finally:
            _current = None
            await board.close()

    async def submit(
        self,
        job: str,
        clinic: str,
        work_id: str,
        ids: Mapping[str, str],
        *,
        delay: timedelta | None = None,
        budget: timedelta | None = None,
    ) -> bool:
        """Keep a piece of work: committed when this returns, True if it is new.

        ``delay``: it is not begun earlier. ``budget`` is how long it may wait in all after failures, if not as usual.
        Raises ``InvalidInput``, ``StoreUnavailable``.
        """
        return await self.board.put(Attempt(job, clinic, ids, work_id, budget=budget), delay=delay)

    async def items(
        self, *, clinic: str | None = None, states: Sequence[State] | None = None, limit: int = 1_000
    ) -> list[WorkItem]:
        """Give what is kept, newest change first; without ``states`` all that is not done."""
        if states is None:
            return await self.board.items(clinic=clinic, limit=limit)
        return await self.board.items(clinic=clinic, states=states, limit=limit)

    async def retry(self, work_id: str) -> bool:
        """Let refused work be done again. Raises ``NotFound``, ``StoreUnavailable``."""
        return await self.board.retry(work_id)

    async def drain(self, within: timedelta) -> bool:
        """Wait until nothing waits or runs; False if something still does at the end of that time."""
        return await self.board.drained(within)

    async def counts(self, clinic: str | None = None) -> dict[str, int]:
        """Give how many pieces, of a clinic or of all, are ``waiting``, ``running``, ``refused``.

        Raises ``StoreUnavailable``.
        """
        return await self.board.counts(clinic)

    async def workers(self) -> list[Worker]:
        """Give the processes that do this work, or lately did, and which of them are silent: what an alarm looks at.

        Raises ``StoreUnavailable``.
        """
        return await self._takeover.workers()

    def doing(self) -> set[str]:
        """Give the ids of the attempts that this process makes now."""
        return {attempt for attempt, _ in self._active.values()}

    async def attempt(self, given: Attempt) -> dict[str, Any]:
        """Have an attempt made and give what is stored of it. Raises ``Refused`` for what cannot succeed.

        Called in DBOS's own loop and thread; the job is done in the application's.
        """
        key = object()
        here = asyncio.current_task()
        assert here is not None  # noqa: S101  (for the type checker: a coroutine runs in a task)
        # Not at the end of this function: the outcome is written after it.
        here.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._end, key))
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._made(key, given), self._loop))

    def _end(self, key: object) -> None:
        self._active.pop(key, None)
        self._ended.set()

    async def _made(self, key: object, given: Attempt) -> dict[str, Any]:
        if self._stopping:
            await asyncio.Event().wait()  # not ours any more: it is given back as it is
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (for the type checker)
        self._active[key] = (given.id, task)
        job = self._jobs.get(given.job)
        if job is None:  # of a release that did more than this one
            self._tell(given.job, "unknown-job")
            raise Refused("unknown-job")
        try:
            outcome = await job(given.clinic, given.ids)
        except AftercareError as error:
            return await self._failed(given, error)
        except Exception as error:
            log.exception("job failed", job=given.job, clinic=given.clinic)
            return await self._failed(given, error)
        self._tell(given.job, outcome)
        return {"outcome": outcome}

    async def _failed(self, given: Attempt, error: Exception) -> dict[str, Any]:
        code, outcome = code_of(error), safe_outcome(error)
        wait = self._retries.wait(error, given.n, given.waited, given.budget)
        if wait is None:
            log.warning("work refused", job=given.job, clinic=given.clinic, code=code, attempts=given.n)
            self._tell(given.job, code)
            raise Refused(code, outcome) from None
        log.info("work put off", job=given.job, clinic=given.clinic, code=code, attempts=given.n)
        await self._put_off(given.after(wait, code, outcome), wait)
        return {"again": given.n + 1}

    async def _put_off(self, attempt: Attempt, wait: timedelta) -> None:
        """Keep the next attempt. If the database is away this waits until it is back: the work must not be lost."""
        while True:
            try:
                await self.board.follow(attempt, delay=wait)
            except AftercareError as fault:
                log.warning("next attempt not noted yet", job=attempt.job, clinic=attempt.clinic, code=fault.code)
                await asyncio.sleep(_AGAIN)
            else:
                return

    def _tell(self, job: str, outcome: str) -> None:
        if self._on_end is None:
            return
        try:
            self._on_end(job, outcome)
        except Exception:  # what counts the work must not undo it
            log.exception("end of work not counted", job=job)

    async def _stop(self, tasks: Sequence[asyncio.Task[None]], grace: timedelta) -> None:
        """Begin nothing new, and let what runs end within a moment; the rest is cut off where it is."""
        self._stopping = True
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if not await self._idle(grace):
            log.warning("work left to be taken over", count=len(self._active))
            for _, task in self._active.values():
                task.cancel()
            await self._idle(_CUT_OFF)

    async def _idle(self, within: timedelta) -> bool:
        """Wait until all has ended that this process does; False if something has not at the end of that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                while self._active:
                    self._ended.clear()
                    await self._ended.wait()
        return not self._active

    async def _prune(self, keep: timedelta) -> None:
        while True:
            try:
                await self.board.prune(datetime.now(UTC) - keep)
            except AftercareError as fault:
                log.warning("finished work not pruned", code=fault.code)
            await asyncio.sleep(_PRUNE_EVERY.total_seconds())


_current: Engine | None = None


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
async def _attempt(job: str, clinic: str, ids: dict[str, str], trail: dict[str, Any]) -> dict[str, Any]:
    if _current is None:  # between two engines of one process: it stays as it is, and is taken over
        await asyncio.Event().wait()
    assert _current is not None  # noqa: S101  (for the type checker)
    return await _current.attempt(Attempt.of(job, clinic, ids, trail))
