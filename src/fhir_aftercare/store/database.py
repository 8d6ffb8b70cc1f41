"""One database of the service's own: SQLite in a file by default, PostgreSQL where several processes share it.

Opens, migrates, reports and closes it. What is in the tables is the business of the modules that use ``begin``.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from sqlite3 import SQLITE_BUSY, OperationalError
from typing import TYPE_CHECKING, Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import create_async_engine

from fhir_aftercare.errors import AftercareError, ConfigFault, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from sqlalchemy.engine import URL, Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

MIGRATIONS: Final = Path(__file__).parent / "migrations"
BUSY_SECONDS: Final = 10
# Any number nobody else uses as an advisory lock in this database.
_MIGRATION_LOCK: Final = 0x61667463
_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg"}


class Database:
    """The service's own database.

    ``url`` is ``sqlite:///path/to/file.db`` or ``postgresql://user:password@host/name``. Raises ``ConfigFault`` if it
    is neither; that the server is there is found out at the first use. ``pool_size`` counts for PostgreSQL.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self._url = _known(url)
        self._engine = _engine(self._url, pool_size)
        self._heads: set[str] | None = None

    @property
    def dialect(self) -> str:
        """Give ``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction: committed at the end of the block, rolled back if it raises.

        Keep the block short, wait for nothing else in it, and open no other within: on SQLite there is one connection.
        Raises ``StoreUnavailable`` if the database does not answer or refuses.
        """
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError, TimeoutError) as fault:
            if isinstance(fault, StatementError) and isinstance(fault.orig, AftercareError):
                raise fault.orig from fault  # a value our own types refused
            raise StoreUnavailable(f"The service's own database failed ({type(fault).__name__}).") from fault

    async def upgrade(self, revision: str = "head") -> None:
        """Bring the tables to a revision, forward. Safe when several processes start at once: one of them does it."""
        if self.dialect == "sqlite" and self._url.database:
            await asyncio.to_thread(Path(self._url.database).parent.mkdir, mode=0o700, parents=True, exist_ok=True)
        await self._migrate(command.upgrade, revision)

    async def downgrade(self, revision: str) -> None:
        """Take the tables back to a revision (``base`` drops them all)."""
        await self._migrate(command.downgrade, revision)

    async def reachable(self) -> bool:
        """Tell whether the database answers."""
        try:
            async with self.begin() as connection:
                await connection.execute(text("SELECT 1"))
        except StoreUnavailable:
            return False
        return True

    async def at_head(self) -> bool:
        """Tell whether the tables are those this version of the software needs; False too if nothing answers."""
        if self._heads is None:
            self._heads = set(await asyncio.to_thread(_heads))
        try:
            async with self.begin() as connection:
                return set(await connection.run_sync(_current)) == self._heads
        except StoreUnavailable:
            return False

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    async def _migrate(self, move: Any, revision: str) -> None:
        async with self.begin() as connection:
            await connection.run_sync(_migrated, move, revision)


def default_url(environ: Mapping[str, str]) -> str:
    """Give the SQLite file in the user's state directory, where nothing else is set."""
    state = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".local" / "state")
    return f"sqlite:///{Path(state) / 'fhir-aftercare' / 'aftercare.db'}"


def _known(text_url: str) -> URL:
    where = "AFTERCARE_DATABASE_URL"
    try:
        url = make_url(text_url)
    except ArgumentError:  # its text quotes the URL, and that may hold a password
        raise ConfigFault(
            ["the database URL cannot be read; example: sqlite:////data/aftercare.db"], where=where
        ) from None
    driver = _DRIVERS.get(url.drivername, url.drivername)
    if driver not in _DRIVERS.values():
        raise ConfigFault([f"{url.drivername}: the database must be sqlite or postgresql"], where=where)
    if driver == _DRIVERS["sqlite"] and (not url.database or ":memory:" in url.database):
        raise ConfigFault(["SQLite needs a file: in memory its connections would share one transaction"], where=where)
    return url.set(drivername=driver)


def _engine(url: URL, pool_size: int) -> AsyncEngine:
    # Parameters in error messages and logs would be what was stored.
    common: dict[str, Any] = {"hide_parameters": True, "pool_timeout": BUSY_SECONDS}
    if url.drivername == _DRIVERS["sqlite"]:
        # One connection: SQLite lets one write at a time, and those who wait in line are served sooner than those who
        # find it busy and look again. Other processes are waited for by the timeout.
        engine = create_async_engine(url, pool_size=1, max_overflow=0, connect_args={"timeout": BUSY_SECONDS}, **common)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    return create_async_engine(
        url, pool_size=pool_size, pool_pre_ping=True, connect_args={"timeout": BUSY_SECONDS}, **common
    )


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # With a write-ahead log readers do not wait for the writer, and one fsync per checkpoint is durable enough for
    # replay guards: a power cut loses the last moments, never the file.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except OperationalError as fault:
        # Not waited for by SQLite. The file keeps its mode: whoever works on it now has switched it, or is about to.
        if fault.sqlite_errorcode != SQLITE_BUSY:
            raise
    cursor.close()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _heads() -> tuple[str, ...]:
    return tuple(ScriptDirectory.from_config(_config()).get_heads())


def _current(connection: Connection) -> tuple[str, ...]:
    return tuple(MigrationContext.configure(connection).get_current_heads())


def _migrated(connection: Connection, move: Any, revision: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    config = _config()
    config.attributes["connection"] = connection
    move(config, revision)
