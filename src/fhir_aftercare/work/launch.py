"""DBOS in this process: told what to work on, started beside the application's own loop, and ended.

What is done with the work it hands out is the business of ``engine``. There is one DBOS in a process; it can be started
again after it has ended.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dbos import DBOS, DBOSConfig
from sqlalchemy import event

from fhir_aftercare.work.board import queue_of
from fhir_aftercare.work.place import APPLICATION, ENDED, SCHEMA, SERIALIZER, VERSION, open_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from sqlalchemy.engine import URL

    from fhir_aftercare.work.board import Board

_MIGRATING_SECONDS: Final = 60.0
_LAUNCHING_SECONDS: Final = 30.0
_ENDING_SECONDS: Final = 2.0
_CONNECTIONS: Final = 6
_SPARE_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a clinic's work one process does at once, and how much is begun in a minute (None: no limit)."""

    concurrency: int = 4
    per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a process looks for work and tells that it lives, when another is taken for dead, and the end.

    ``grace`` is how long work may go on when the process ends; ``keep`` is how long finished work is remembered, and
    with it that a signal was known.
    """

    poll: timedelta = timedelta(milliseconds=200)
    beat: timedelta = timedelta(seconds=5)
    dead_after: timedelta = timedelta(seconds=30)
    grace: timedelta = timedelta(seconds=6)
    keep: timedelta = timedelta(days=14)


@asynccontextmanager
async def launched(
    board: Board, url: URL, executor_id: str, clinics: Mapping[str, Limits], pace: Pace
) -> AsyncIterator[Callable[[], None]]:
    """Let DBOS hand out the work of these clinics while the block runs; what is given ends that before the block does.

    Raises ``StoreUnavailable``.
    """
    await board.ask(partial(_migrate, url), seconds=_MIGRATING_SECONDS)
    for clinic, limits in clinics.items():
        await board.declare(clinic, limits.concurrency, limits.per_minute, pace.poll)
    engine = open_engine(url, pool_size=_CONNECTIONS)
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": url.render_as_string(hide_password=False),
        "system_database_engine": engine,
        "dbos_system_schema": SCHEMA,
        "serializer": SERIALIZER,
        "application_version": VERSION,
        "executor_id": executor_id,
        "enable_otlp": False,
        "log_level": "WARNING",
        "use_listen_notify": False,
        "run_migrations": False,
        # Each end of a piece is written in a thread, which waits while the database is away.
        "max_executor_threads": sum(limits.concurrency for limits in clinics.values()) + _SPARE_THREADS,
        # Nothing here is notified: this is how long the end waits for the thread that looks for it.
        "notification_listener_polling_interval_sec": 0.1,
    }
    dbos = DBOS(config=config)
    try:
        # The work of a clinic that does not run here, since its settings are faulty, waits until it does again.
        DBOS.listen_queues([queue_of(clinic) for clinic in clinics])
        # In a thread: in the loop it would hold up everything, and make the loop's threads its own.
        await board.ask(DBOS.launch, seconds=_LAUNCHING_SECONDS)
        yield partial(_take_nothing, dbos)
    finally:
        # Whoever waits for a database that is away must not wait beyond the end of the process.
        event.listen(engine, "do_connect", _refuse)
        await asyncio.to_thread(_end, dbos)
        engine.dispose()


def _take_nothing(dbos: DBOS) -> None:
    for each in dbos.background_thread_stop_events:
        each.set()


def _end(dbos: DBOS) -> None:
    _take_nothing(dbos)
    until = time.monotonic() + _ENDING_SECONDS
    while time.monotonic() < until and _is_taking():
        time.sleep(0.01)
    DBOS.destroy()


def _is_taking() -> bool:
    # What was just taken is begun in DBOS's loop: that has to be there until then.
    return any(thread.name.startswith("queue-worker-") and thread.is_alive() for thread in threading.enumerate())


def _refuse(*_: Any) -> None:
    raise RuntimeError(ENDED)


def _migrate(url: URL) -> Any:
    DBOS.migrate(url.render_as_string(hide_password=False), schema=SCHEMA)
