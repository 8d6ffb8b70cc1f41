"""Which browser is which: the value of its cookie, as a digest, and an id of ours that stays while the value changes.

A new value takes the place of the old one when it has come back once: an answer that got lost signs nobody out. Until
then the old one opens what it opened before, and nothing newer. What a browser launched is in ``launch_sessions``.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, bindparam, delete, exists, insert, or_, select, update

from fhir_aftercare.smart.faults import SessionOver
from fhir_aftercare.smart.session import digest
from fhir_aftercare.store.schema import browser_cookies as cookies
from fhir_aftercare.store.schema import browsers as table

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from fhir_aftercare.store.database import Database

# Longer than a session lasts, and than a launch may take.
_UNSEEN: Final = timedelta(hours=24)
_UNFINISHED: Final = timedelta(minutes=30)


_others = cookies.alias()
_earlier = exists().where(_others.c.browser == cookies.c.browser, _others.c.generation < cookies.c.generation)
# The browser whose cookie has a ``value``, as a digest: for ``browser_in``.
KNOWN_BY: Final = (
    select(table.c.id, table.c.clinic, cookies.c.generation, _earlier.label("has_earlier"))
    .join(cookies, cookies.c.browser == table.c.id)
    .where(cookies.c.cookie == bindparam("value"))
)


@dataclass(frozen=True, slots=True)
class Browser:
    """One browser, as its cookie shows it. ``id`` is secret and stays here; ``clinic`` is the one it launched last.

    ``generation``: the cookie opens launches of this generation and earlier ones.
    """

    id: str = field(repr=False)
    clinic: str
    generation: int = 0

    @property
    def digest(self) -> str:
        """What its launches are kept under."""
        return digest(self.id)


class Browsers:
    """The rows. Every method raises ``StoreUnavailable``."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database, self._now = database, now

    async def begin(self, clinic: str) -> str:
        """Make a new browser and give the value for its cookie: 256 random bits, never one that a caller sent."""
        id_, cookie = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        row = {"id": id_, "clinic": clinic, "generation": 0, "seen_at": self._now()}
        async with self._database.begin() as connection:
            await connection.execute(insert(table).values(**row))
            await connection.execute(insert(cookies).values(**_cookie(cookie, id_, 0)))
        return cookie

    async def of(self, cookie: str | None) -> Browser | None:
        """Give the browser whose cookie has this value, None if nobody's has; earlier values open nothing any more."""
        if not cookie:
            return None
        async with self._database.begin() as connection:
            row = (await connection.execute(KNOWN_BY, {"value": digest(cookie)})).one_or_none()
            return await browser_in(row, connection) if row is not None else None

    async def launching(self, browser: Browser, clinic: str) -> None:
        """Note that a browser launches a clinic's EHR."""
        change = update(table).where(table.c.id == browser.id).values(clinic=clinic, seen_at=self._now())
        async with self._database.begin() as connection:
            await connection.execute(change)

    async def renamed(self, browser: Browser) -> tuple[str, int]:
        """Give a new value for the browser's cookie, and its generation. Raises ``SessionOver`` if it was forgotten."""
        cookie = secrets.token_urlsafe(32)
        change = update(table).where(table.c.id == browser.id)
        change = change.values(generation=table.c.generation + 1, seen_at=self._now())
        async with self._database.begin() as connection:
            generation = (await connection.execute(change.returning(table.c.generation))).scalar_one_or_none()
            if generation is None:
                raise SessionOver("This browser was signed out in the meantime.")
            await connection.execute(insert(cookies).values(**_cookie(cookie, browser.id, generation)))
        return cookie, int(generation)

    async def forget(self, browser: Browser) -> None:
        """Delete it: its cookie opens nothing any more."""
        async with self._database.begin() as connection:
            await connection.execute(delete(table).where(table.c.id == browser.id))

    async def purge(self) -> int:
        """Delete those that launched nothing for a day, or never finished a launch, and give how many that were.

        Anybody may begin a launch: what that leaves here must not stay for long.
        """
        never = and_(table.c.generation == 0, table.c.seen_at < self._now() - _UNFINISHED)
        async with self._database.begin() as connection:
            gone = delete(table).where(or_(table.c.seen_at < self._now() - _UNSEEN, never))
            return int((await connection.execute(gone)).rowcount)


async def browser_in(row: Row[Any], connection: AsyncConnection) -> Browser:
    """Give the browser of a row that was found; the values its cookie had before are forgotten."""
    if row.has_earlier:
        earlier = (cookies.c.browser == row.id, cookies.c.generation < row.generation)
        await connection.execute(delete(cookies).where(*earlier))
    return Browser(row.id, row.clinic, row.generation)


def _cookie(value: str, browser: str, generation: int) -> dict[str, Any]:
    return {"cookie": digest(value), "browser": browser, "generation": generation}
