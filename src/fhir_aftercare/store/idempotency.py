"""Which requests were made before: one row for each client, route and Idempotency-Key.

Decides whether a request runs, is a replay, or must wait. Keeps a hash of the request, the status and references of
what was written (design §9.13). A process that dies while it holds a key leaves a lease that ends by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from fhir_aftercare.errors import ConfigFault, StoreUnavailable
from fhir_aftercare.store.schema import idempotency_keys as table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sqlalchemy import Executable
    from sqlalchemy.engine import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from fhir_aftercare.store.database import Database

SHORTEST_TTL: Final = timedelta(hours=24)
LONGEST_TTL: Final = timedelta(hours=72)

log = structlog.get_logger(__name__)


class Outcome(Enum):
    """What a request with an Idempotency-Key is."""

    RUN = "new, or left unfinished: run it"
    REPLAY = "done before: read it again and answer with the status kept"
    OTHER = "the key was used for another request"
    RUNNING = "the first request is not done yet"


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim. ``owner`` is needed to finish what RUN began; ``wait`` is what is left of the lease."""

    outcome: Outcome
    id: str
    owner: str = ""
    status: int | None = None
    written: tuple[str, ...] = ()
    wait: timedelta = timedelta(0)


def key_id(client: str, route: str, key: str) -> str:
    """Give the row's id. ``route`` is method and path template."""
    return _hash(client.encode(), route.encode(), key.encode())


def fingerprint(path: str, query: bytes, body: bytes) -> str:
    """Give what must be the same when a request is repeated: where it goes and what it says, as a hash."""
    return _hash(path.encode(), query, body)


class IdempotencyKeys:
    """The table's guardian.

    ``ttl`` (24 to 72 h) is how long a done request is remembered, ``lease`` how long a running one may take: longer
    than the API's time limit. Every method raises ``StoreUnavailable`` if the database fails.
    """

    def __init__(
        self,
        database: Database,
        *,
        ttl: timedelta = timedelta(hours=48),
        lease: timedelta = timedelta(seconds=90),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not SHORTEST_TTL <= ttl <= LONGEST_TTL:
            raise ConfigFault(["idempotency keys are kept for 24 to 72 hours"], where="AFTERCARE_IDEMPOTENCY_HOURS")
        self._database, self._ttl, self._lease, self._now = database, ttl, lease, now

    async def claim(self, id_: str, fingerprint_: str) -> Claim:
        """Say what this request is, and take the key if it is to run."""
        now, owner = self._now(), secrets.token_hex(16)
        mine = {
            "fingerprint": fingerprint_,
            "state": "running",
            "owner": owner,
            "lease_until": now + self._lease,
            "expires_at": now + self._ttl,
            "status": None,
            "written": [],
        }
        async with self._database.begin() as connection:
            # The write comes first: it takes the lock, so that nobody changes the row before it is read.
            if await _rows(connection, self._insert({"id": id_, **mine})):
                return Claim(Outcome.RUN, id_, owner)
            row = (await connection.execute(select(table).where(table.c.id == id_))).one_or_none()
            if row is None:  # purged in between; the next attempt finds it free
                return Claim(Outcome.RUNNING, id_, wait=timedelta(seconds=1))
            settled = self._settled(row, fingerprint_, now)
            if settled:
                return settled
            unchanged = (table.c.id == id_, table.c.owner == row.owner, table.c.state == row.state)
            if await _rows(connection, update(table).where(*unchanged).values(**mine)):
                return Claim(Outcome.RUN, id_, owner, written=tuple(row.written))
        return Claim(Outcome.RUNNING, id_, wait=self._lease)

    async def done(self, claim: Claim, status: int, written: Sequence[str]) -> None:
        """Remember a request that ended well, for ``ttl`` from now. Without effect if the lease went to another."""
        values = {
            "state": "done",
            "status": status,
            "written": list(written),
            "expires_at": self._now() + self._ttl,
        }
        await self._change(update(table).where(*_held(claim)).values(**values))

    async def failed(self, claim: Claim, written: Sequence[str] = ()) -> None:
        """Give the key back after a failure of unknown outcome: the same request may run again, no other."""
        values = {"state": "failed", "lease_until": self._now(), "written": list(written)}
        await self._change(update(table).where(*_held(claim)).values(**values))

    async def forget(self, claim: Claim) -> None:
        """Give the key back after a refusal that wrote nothing: any request may use it."""
        await self._change(delete(table).where(*_held(claim)))

    async def purge(self) -> int:
        """Delete what has expired and give how many rows that were."""
        async with self._database.begin() as connection:
            return await _rows(connection, delete(table).where(table.c.expires_at <= self._now()))

    def _settled(self, row: Row[Any], fingerprint_: str, now: datetime) -> Claim | None:
        """Give what a row decides, or None if it may be taken over."""
        if row.expires_at <= now:
            return None
        if row.fingerprint != fingerprint_:
            return Claim(Outcome.OTHER, row.id)
        if row.state == "done":
            return Claim(Outcome.REPLAY, row.id, status=row.status, written=tuple(row.written))
        if row.state == "running" and row.lease_until > now:
            return Claim(Outcome.RUNNING, row.id, wait=row.lease_until - now)
        return None

    def _insert(self, values: dict[str, Any]) -> Executable:
        if self._database.dialect == "postgresql":
            return postgresql.insert(table).values(**values).on_conflict_do_nothing()
        return sqlite.insert(table).values(**values).on_conflict_do_nothing()

    async def _change(self, statement: Executable) -> None:
        async with self._database.begin() as connection:
            await connection.execute(statement)


@asynccontextmanager
async def purging(keys: IdempotencyKeys, every: timedelta = timedelta(hours=1)) -> AsyncIterator[None]:
    """Purge at the start and then ``every`` so often while the block runs; a database that fails is asked again."""

    async def repeat() -> None:
        while True:
            try:
                log.debug("idempotency keys purged", count=await keys.purge())
            except StoreUnavailable as fault:
                log.warning("idempotency keys not purged", code=fault.code)
            await asyncio.sleep(every.total_seconds())

    task = asyncio.create_task(repeat(), name="purge idempotency keys")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _held(claim: Claim) -> tuple[Any, Any]:
    return table.c.id == claim.id, table.c.owner == claim.owner


async def _rows(connection: AsyncConnection, statement: Executable) -> int:
    return int((await connection.execute(statement)).rowcount)


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:  # with its length before it, so that ("ab", "c") and ("a", "bc") differ
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
