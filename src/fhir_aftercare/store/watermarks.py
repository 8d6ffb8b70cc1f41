"""How far each sweep of a clinic has come, when it last went well, and whether people were told that it does not.

One row for each clinic and sweep. Holds times, references and error codes only. A row that is lost costs a longer look
back, never an infusion: what is found again is known again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from fhir_aftercare.store.schema import sweeps as table
from fhir_aftercare.store.sweep_state import SweepState, Watermark

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Executable

    from fhir_aftercare.store.database import Database

_LONGEST_CODE: Final = 64


class Watermarks:
    """The rows of all clinics, in the service's own database. Every method raises ``StoreUnavailable``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, clinic: str, sweep: str) -> SweepState:
        """Give how far a sweep has come; an empty state if it never ran."""
        async with self._database.begin() as connection:
            row = (await connection.execute(select(table).where(*_key(clinic, sweep)))).one_or_none()
        return _state(row) if row is not None else SweepState(clinic, sweep)

    async def all(self) -> list[SweepState]:
        """Give every row, in the order of clinic and sweep."""
        async with self._database.begin() as connection:
            rows = (await connection.execute(select(table).order_by(table.c.clinic, table.c.sweep))).all()
        return [_state(row) for row in rows]

    async def started(self, clinic: str, sweep: str, at: datetime) -> None:
        """Note that a sweep began."""
        await self._put(clinic, sweep, last_started=at)

    async def finished(self, clinic: str, sweep: str, at: datetime, watermark: Watermark | None = None) -> None:
        """Note that a sweep went well, and how far it came (None: it has no watermark, or it stays)."""
        moved: dict[str, Any] = {}
        if watermark is not None:
            moved = {"watermark": watermark.at, "newest": watermark.newest, "witness": watermark.witness}
        await self._put(clinic, sweep, last_finished=at, last_error=None, **moved)

    async def failed(self, clinic: str, sweep: str, code: str) -> None:
        """Note the error code of a sweep that did not go well; its watermark stays."""
        await self._put(clinic, sweep, last_error=code[:_LONGEST_CODE])

    async def told(self, clinic: str, name: str, before: str | None, incident: str | None) -> bool:
        """Note what people were told; False if another process has noted something else since ``before`` was read."""
        statement: Executable = update(table).where(*_key(clinic, name), table.c.told == before).values(told=incident)
        if before is None:  # of what never ran there is no row
            values = {"told": incident}
            statement = self._upsert({"clinic": clinic, "sweep": name, **values}, values, table.c.told.is_(None))
        async with self._database.begin() as connection:
            return int((await connection.execute(statement)).rowcount) == 1

    async def _put(self, clinic: str, sweep: str, **values: Any) -> None:
        async with self._database.begin() as connection:
            await connection.execute(self._upsert({"clinic": clinic, "sweep": sweep, **values}, values))

    def _upsert(self, whole: dict[str, Any], changed: dict[str, Any], where: Any = None) -> Executable:
        keys: dict[str, Any] = {"index_elements": [table.c.clinic, table.c.sweep], "set_": changed, "where": where}
        if self._database.dialect == "postgresql":
            return postgresql.insert(table).values(**whole).on_conflict_do_update(**keys)
        return sqlite.insert(table).values(**whole).on_conflict_do_update(**keys)


def _key(clinic: str, sweep: str) -> Sequence[Any]:
    return table.c.clinic == clinic, table.c.sweep == sweep


def _state(row: Any) -> SweepState:
    mark = Watermark(row.watermark, row.newest, row.witness) if row.watermark is not None else None
    return SweepState(row.clinic, row.sweep, mark, row.last_started, row.last_finished, row.last_error, row.told)
