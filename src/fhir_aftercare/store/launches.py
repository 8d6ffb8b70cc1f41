"""Launches under way, in the service's own database: a ``LaunchStore`` that several processes share.

What the callback needs is sealed; in the clear stand a digest of the state, the clinic and the time. How long a launch
lives is decided by the launcher.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from fhir_aftercare.smart.launch import LaunchRecord
from fhir_aftercare.store.schema import launches as table

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.smart.vault import Vault
    from fhir_aftercare.store.database import Database


class SqlLaunchStore:
    """The rows of all clinics. Every method raises ``StoreUnavailable``; ``take`` raises ``VaultFault`` too."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault

    async def add(self, record: LaunchRecord) -> None:
        """Keep a new record."""
        row = {
            "state": record.state,
            "clinic": record.clinic,
            "sealed": self._vault.seal(_place(record.state), record.to_dict()),
            "used": record.used,
            "began_at": record.began_at,
        }
        async with self._database.begin() as connection:
            await connection.execute(insert(table).values(**row))

    async def take(self, state: str) -> LaunchRecord | None:
        """Mark the record with this state's digest as used and give it as it was before; None if there is none.

        Of several who take it at once, in any process, one finds it unused.
        """
        async with self._database.begin() as connection:
            # The write comes first: it takes the lock, so that nobody else finds the row unused.
            changed = await connection.execute(
                update(table).where(table.c.state == state, table.c.used.is_(False)).values(used=True)
            )
            sealed = (
                await connection.execute(select(table.c.sealed).where(table.c.state == state))
            ).scalar_one_or_none()
        if sealed is None:
            return None
        record = LaunchRecord.from_dict(self._vault.open(_place(state), sealed))
        return replace(record, used=changed.rowcount == 0)

    async def clinic_of(self, state: str) -> str | None:
        """Give the clinic of a launch by its state's digest, without using it up; None if there is none."""
        async with self._database.begin() as connection:
            found = await connection.execute(select(table.c.clinic).where(table.c.state == state))
            return found.scalar_one_or_none()

    async def purge(self, began_before: datetime) -> int:
        """Delete older records and give how many that were."""
        async with self._database.begin() as connection:
            return int((await connection.execute(delete(table).where(table.c.began_at < began_before))).rowcount)


def _place(state: str) -> str:
    return f"launch:{state}"
