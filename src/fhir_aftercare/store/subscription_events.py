"""How many events of each topic subscription have arrived, so that a lost one is noticed.

One row for each clinic and subscription. Holds numbers and times only. Whether a number means that something was lost
is decided by the door that reads notifications; a row that is lost costs one sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, select
from sqlalchemy.dialects import postgresql, sqlite

from fhir_aftercare.store.schema import subscription_events as table

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Executable

    from fhir_aftercare.store.database import Database


@dataclass(frozen=True, slots=True)
class SubscriptionCount:
    """One row. ``number`` is the highest event number seen since the server began to count, ``last_told`` is aware."""

    clinic: str
    subscription: str
    number: int
    last_told: datetime


class SubscriptionEvents:
    """The rows of all clinics, in the service's own database. Every method raises ``StoreUnavailable``."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database, self._now = database, now

    async def last(self, clinic: str, subscription: str) -> int | None:
        """Give the highest event number of a subscription (``Subscription/12``); None if it never told anything."""
        key = (table.c.clinic == clinic, table.c.subscription == subscription)
        async with self._database.begin() as connection:
            found = (await connection.execute(select(table.c.number).where(*key))).scalar_one_or_none()
        return None if found is None else int(found)

    async def note(self, clinic: str, subscription: str, number: int, *, restarted: bool = False) -> None:
        """Note that events up to ``number`` have arrived. A lower number changes nothing, unless the server has
        ``restarted`` to count.
        """
        row = {"clinic": clinic, "subscription": subscription, "number": number, "last_told": self._now()}
        async with self._database.begin() as connection:
            await connection.execute(self._upsert(row, restarted=restarted))

    async def all(self) -> list[SubscriptionCount]:
        """Give every row, in the order of clinic and subscription."""
        async with self._database.begin() as connection:
            rows = (await connection.execute(select(table).order_by(table.c.clinic, table.c.subscription))).all()
        return [SubscriptionCount(row.clinic, row.subscription, int(row.number), row.last_told) for row in rows]

    def _upsert(self, row: dict[str, Any], *, restarted: bool) -> Executable:
        # Decided by the database, so that of two processes the later one does not take the number back.
        number: Any = row["number"]
        highest = number if restarted else case((table.c.number > number, table.c.number), else_=number)
        change = {"number": highest, "last_told": row["last_told"]}
        keys: dict[str, Any] = {"index_elements": [table.c.clinic, table.c.subscription], "set_": change}
        if self._database.dialect == "postgresql":
            return postgresql.insert(table).values(**row).on_conflict_do_update(**keys)
        return sqlite.insert(table).values(**row).on_conflict_do_update(**keys)
