"""Finished launches with their tokens, sealed, in the service's own database: a ``TokenStore`` shared by processes.

Also when each was last used, for the idle sign-out. In the clear stand ids, digests, the clinic and times. When a
token is refreshed is decided by ``smart.session``; how long is too long idle, by the pages.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from sqlalchemy import bindparam, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from fhir_aftercare.errors import StoreUnavailable
from fhir_aftercare.smart.session import LaunchSession
from fhir_aftercare.store.schema import launch_locks as locks
from fhir_aftercare.store.schema import launch_sessions as table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sqlalchemy import ColumnElement, Executable, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from fhir_aftercare.smart.vault import Vault
    from fhir_aftercare.store.database import Database

# Longer than the two bounded calls a refresh may make (discovery and token, 10 s each).
LEASE: Final = timedelta(seconds=30)
_FIRST_LOOK: Final = 0.02
_LONGEST_PAUSE: Final = 0.25
# One statement, so that of two requests neither revives what the other found idle.
_USE: Final = (
    update(table)
    .where(
        table.c.launch_id == bindparam("launch"),
        table.c.seen_at > bindparam("idle_since"),
        table.c.began_at > bindparam("too_long_ago"),
    )
    .values(seen_at=bindparam("now"))
)


class LaunchSessions:
    """The rows of all clinics. Every method raises ``StoreUnavailable``; what gives a session raises
    ``VaultFault`` too.

    ``lease`` is how long somebody may hold a session (``alone``) before others take it over.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lease: timedelta = LEASE,
    ) -> None:
        self._database, self._vault, self._now, self._lease = database, vault, now, lease
        self._here: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # What a ``TokenStore`` does

    async def get(self, launch_id: str) -> LaunchSession | None:
        """Give the session, None if there is none."""
        return await self._session(launch_id)

    async def put(self, session: LaunchSession) -> None:
        """Keep the session in place of an earlier one of its launch. Keeping it again is no use of it."""
        sealed = self._vault.seal(_place(session.launch_id), session.to_dict())
        first = {
            "launch_id": session.launch_id,
            "clinic": session.clinic,
            "browser": session.session,
            "generation": None,
            "handle": None,
            "sealed": sealed,
            "began_at": session.signed_in_at,
            "seen_at": self._now(),
        }
        async with self._database.begin() as connection:
            await connection.execute(self._upsert(table, first, {"sealed": sealed}))

    async def drop(self, launch_id: str) -> None:
        """Forget the session, if there is one."""
        async with self._database.begin() as connection:
            await connection.execute(delete(table).where(table.c.launch_id == launch_id))

    async def of_clinic(self, clinic: str) -> Sequence[str]:
        """Give the launch ids of a clinic's sessions."""
        return await self._ids(table.c.clinic == clinic)

    @asynccontextmanager
    async def alone(self, launch_id: str) -> AsyncIterator[None]:
        """Hold the session for the block: whoever else asks for it waits, in every process of the service.

        A lease, not a transaction: the block asks the EHR, and a database must not wait for that. Should a holder
        outlive its lease, a refresh token is still sent once: it is marked as spent before.
        """
        here = self._here.get(launch_id)
        if here is None:
            here = self._here[launch_id] = asyncio.Lock()
        async with here:
            owner = await self._taken(launch_id)
            try:
                yield
            finally:
                async with self._database.begin() as connection:
                    await connection.execute(
                        delete(locks).where(locks.c.launch_id == launch_id, locks.c.owner == owner)
                    )

    # Use and idleness

    async def used(self, launch_id: str, *, idle: timedelta, longest: timedelta) -> bool:
        """Note that a session is used now; False if it is over: unused for ``idle``, or ``longest`` after sign-in."""
        async with self._database.begin() as connection:
            return await noted(connection, launch_id, self._now(), idle=idle, longest=longest)

    async def idle(self, clinic: str, *, idle: timedelta, longest: timedelta) -> Sequence[str]:
        """Give the launch ids of a clinic's sessions that are over: unused for so long, or signed in so long ago."""
        now = self._now()
        over = or_(table.c.seen_at <= now - idle, table.c.began_at <= now - longest)
        return await self._ids(table.c.clinic == clinic, over)

    async def of_browser(self, browser: str) -> Sequence[str]:
        """Give the launch ids of a browser's sessions, by the digest of its id."""
        return await self._ids(table.c.browser == browser)

    async def purge(self) -> int:
        """Delete leases that ended unreleased, and give how many those were."""
        async with self._database.begin() as connection:
            return int((await connection.execute(delete(locks).where(locks.c.until <= self._now()))).rowcount)

    async def clinics(self) -> frozenset[str]:
        """Give the clinics that have sessions."""
        async with self._database.begin() as connection:
            return frozenset((await connection.execute(select(table.c.clinic).distinct())).scalars())

    # What opens a session

    async def bind(self, launch_id: str, generation: int) -> None:
        """Let its browser's cookies of this generation and later ones open a session; until then none does."""
        await self._set(launch_id, generation=generation)

    async def give_handle(self, launch_id: str, handle: str) -> None:
        """Keep the digest of what opens a session that was finished without a cookie."""
        await self._set(launch_id, handle=handle)

    async def by_handle(self, launch_id: str, handle: str) -> LaunchSession | None:
        """Give the session if this digest opens it."""
        return await self._session(launch_id, table.c.handle == handle)

    async def _session(self, launch_id: str, *where: ColumnElement[bool]) -> LaunchSession | None:
        query = select(table.c.sealed).where(table.c.launch_id == launch_id, *where)
        async with self._database.begin() as connection:
            sealed = (await connection.execute(query)).scalar_one_or_none()
        return unsealed(self._vault, launch_id, sealed) if sealed is not None else None

    async def _set(self, launch_id: str, **values: Any) -> None:
        async with self._database.begin() as connection:
            await connection.execute(update(table).where(table.c.launch_id == launch_id).values(**values))

    async def _ids(self, *where: ColumnElement[bool]) -> Sequence[str]:
        query = select(table.c.launch_id).where(*where).order_by(table.c.launch_id)
        async with self._database.begin() as connection:
            return list((await connection.execute(query)).scalars())

    async def _taken(self, launch_id: str) -> str:
        """Give the owner's name of a lease that was had, after waiting for it no longer than a lease lasts."""
        owner, pause = secrets.token_hex(16), _FIRST_LOOK
        give_up = asyncio.get_running_loop().time() + self._lease.total_seconds() + 5
        while not await self._leased(launch_id, owner):
            if asyncio.get_running_loop().time() > give_up:
                raise StoreUnavailable("A session is held by another process for too long.")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return owner

    async def _leased(self, launch_id: str, owner: str) -> bool:
        now = self._now()
        mine = {"owner": owner, "until": now + self._lease}
        take_over = self._upsert(locks, {"launch_id": launch_id, **mine}, mine, locks.c.until <= now)
        async with self._database.begin() as connection:
            return int((await connection.execute(take_over)).rowcount) == 1

    def _upsert(self, into: Table, whole: dict[str, Any], changed: dict[str, Any], where: Any = None) -> Executable:
        keys: dict[str, Any] = {"index_elements": [into.c.launch_id], "set_": changed, "where": where}
        if self._database.dialect == "postgresql":
            return postgresql.insert(into).values(**whole).on_conflict_do_update(**keys)
        return sqlite.insert(into).values(**whole).on_conflict_do_update(**keys)


async def noted(
    connection: AsyncConnection, launch_id: str, now: datetime, *, idle: timedelta, longest: timedelta
) -> bool:
    """Note that a session is used, as ``LaunchSessions.used`` does, and tell whether it was not over."""
    given = {"launch": launch_id, "now": now, "idle_since": now - idle, "too_long_ago": now - longest}
    return int((await connection.execute(_USE, given)).rowcount) == 1


def unsealed(vault: Vault, launch_id: str, sealed: str) -> LaunchSession:
    """Give the session that a row holds. Raises ``VaultFault``."""
    return LaunchSession.from_dict(vault.open(_place(launch_id), sealed))


def _place(launch_id: str) -> str:
    return f"session:{launch_id}"
