"""Where work is kept: DBOS's tables, in a file beside the service's own or in a schema of their own, and how to get in.

Opens and prepares; what is asked and written there is the business of ``board`` and ``takeover``.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from sqlite3 import SQLITE_BUSY, OperationalError
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from dbos import DBOSClient, DBOSPortableJSONSerializer, PortableWorkflowError
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.work.items import Refused

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Engine

APPLICATION: Final = "fhir-aftercare"
SCHEMA: Final = "aftercare_work"
# Never changed with a release: DBOS gives work to processes of the same version only, and pending work must go on.
VERSION: Final = "1"
ENDED: Final = "The engine of durable work has ended."
WORKFLOW: Final = "attempt"
# Plain JSON: what is stored can be read by anybody, and reading it runs nothing (pickle does).
SERIALIZER: Final = DBOSPortableJSONSerializer()

_POSTGRES: Final = frozenset({"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"})
_SQLITE: Final = frozenset({"sqlite", "sqlite+aiosqlite"})
_BUSY_SECONDS: Final = 10
_IDLE_SECONDS: Final = 60
_SILENT_SECONDS: Final = 30.0
_SAME: Final = 60  # characters at the beginning, by which two messages are the same


def work_url(database_url: str) -> URL:
    """Give the URL of the database that holds the work, of that of the service's own database.

    Raises ``ConfigFault`` if that is neither SQLite in a file nor PostgreSQL.
    """
    where = "AFTERCARE_DATABASE_URL"
    try:
        url = sa.make_url(database_url)
    except ArgumentError:  # its text quotes the URL, and that may hold a password
        raise ConfigFault(
            ["the database URL cannot be read; example: sqlite:////data/aftercare.db"], where=where
        ) from None
    if url.drivername in _POSTGRES:
        renamed = {"sslmode" if name == "ssl" else name: value for name, value in url.query.items()}
        return url.set(drivername="postgresql+psycopg", query=renamed)
    if url.drivername not in _SQLITE or not url.database or ":memory:" in url.database:
        raise ConfigFault([f"{url.drivername}: the database must be sqlite in a file or postgresql"], where=where)
    file = Path(url.database)
    return url.set(drivername="sqlite", database=str(file.with_name(f"{file.stem}-work{file.suffix or '.db'}")))


def open_engine(url: URL, *, pool_size: int) -> Engine:
    """Give a pool of connections to the database of ``work_url``; nothing is connected yet."""
    # Parameters in error messages and logs would be what was stored.
    common: dict[str, Any] = {"hide_parameters": True, "pool_size": pool_size, "max_overflow": 0}
    common["pool_timeout"] = _BUSY_SECONDS
    if url.drivername == "sqlite":
        Path(str(url.database)).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, **common)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    more = {"connect_timeout": _BUSY_SECONDS, "application_name": APPLICATION}
    engine = sa.create_engine(url, pool_pre_ping=True, connect_args=more, **common)
    event.listen(engine, "connect", _prepare_postgres)
    return engine


def open_client(engine: Engine) -> DBOSClient:
    """Give what asks and writes. Raises SQLAlchemy's errors if the database does not answer."""
    return DBOSClient(
        system_database_engine=engine,
        dbos_system_schema=SCHEMA,
        serializer=SERIALIZER,
        application_name=APPLICATION,
        retry_connection_errors=False,  # who waits for an answer is told, instead of waiting until it comes back
        lazy=True,
    )


def statuses(dialect: str) -> sa.TableClause:
    """Give what this package itself asks and writes of DBOS's table of workflows."""
    names = ("workflow_uuid", "status", "name", "queue_name", "executor_id", "owner_xid")
    numbers = ("recovery_attempts", "started_at_epoch_ms", "updated_at")
    columns = [sa.column(name, sa.Text) for name in names] + [sa.column(name, sa.BigInteger) for name in numbers]
    return sa.table("workflow_status", *columns, schema=schema_of(dialect))


def schema_of(dialect: str) -> str | None:
    """Give the schema of all tables here: SQLite has none."""
    return None if dialect == "sqlite" else SCHEMA


def now(connection: sa.Connection) -> float:
    """Give the database's time in seconds since 1970: the processes' own clocks may differ."""
    asked: Any = "SELECT extract(epoch FROM clock_timestamp())"
    if connection.dialect.name == "sqlite":
        asked = "SELECT (julianday('now') - 2440587.5) * 86400.0"
    return float(connection.execute(sa.text(asked)).scalar_one())


def is_made(url: URL) -> bool:
    """Tell whether any work was ever kept there; makes nothing. Raises SQLAlchemy's errors."""
    if url.drivername == "sqlite" and not Path(str(url.database)).exists():
        return False
    engine = open_engine(url, pool_size=1)
    try:
        return sa.inspect(engine).has_table("queues", schema=schema_of(url.get_backend_name()))
    finally:
        engine.dispose()


def quiet() -> None:
    """Let DBOS log through ``logging``, from warnings on, and not what is no fault: its handler is never made."""
    logger = logging.getLogger("dbos")
    if not any(isinstance(each, _Noise) for each in logger.filters):
        logger.addFilter(_Noise())
        logger.addHandler(logging.NullHandler())
    logger.setLevel(max(logger.level, logging.WARNING))


class _Noise(logging.Filter):
    """Drops what DBOS tells at length of things that are as they should be, and what it says again and again."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be logged."""
        if record.exc_info and _is_refusal(record.exc_info[1]):
            return False  # logged by us, with its code
        text = str(record.msg)
        if text.startswith("Asyncio task cancelled") or ENDED in text:
            return False  # the end of the process
        # While the database is away each queue says so several times in a second.
        begin, moment = text[:_SAME], time.monotonic()
        if moment - self._said.get(begin, -_SILENT_SECONDS) < _SILENT_SECONDS:
            return False
        self._said = {said: at for said, at in self._said.items() if moment - at < _SILENT_SECONDS} | {begin: moment}
        return True


def _is_refusal(error: BaseException | None) -> bool:
    # The latter: made by another process, which this one waited for.
    return isinstance(error, Refused) or (isinstance(error, PortableWorkflowError) and error.name == Refused.__name__)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = "IMMEDIATE"  # a transaction that reads and then writes would find it busy half way
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA foreign_keys=ON")
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except OperationalError as fault:
        # Not waited for by SQLite. The file keeps its mode: whoever works on it now has switched it, or is about to.
        if fault.sqlite_errorcode != SQLITE_BUSY:
            raise
    # One fsync for each commit: what was acknowledged outlives a power cut too.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _prepare_postgres(connection: Any, _record: Any) -> None:
    # A process that hangs must not hold its locks for ever.
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_SECONDS * 1000}")
    connection.commit()
