"""Stores in memory: for tests, and for one process whose launches need not outlive it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from fhir_aftercare.smart.launch import LaunchRecord
    from fhir_aftercare.smart.session import LaunchSession


class MemoryLaunchStore:
    """A ``LaunchStore``. No step waits for anything, so each is atomic."""

    def __init__(self) -> None:
        self._records: dict[str, LaunchRecord] = {}

    async def add(self, record: LaunchRecord) -> None:
        """Keep a new record."""
        self._records[record.state] = record

    async def take(self, state: str) -> LaunchRecord | None:
        """Mark the record as used and give it as it was before."""
        record = self._records.get(state)
        if record is not None:
            self._records[state] = replace(record, used=True)
        return record

    async def purge(self, began_before: datetime) -> int:
        """Delete older records and give how many that were."""
        old = [state for state, record in self._records.items() if record.began_at < began_before]
        for state in old:
            del self._records[state]
        return len(old)


class MemoryTokenStore:
    """A ``TokenStore``."""

    def __init__(self) -> None:
        self._sessions: dict[str, LaunchSession] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, launch_id: str) -> LaunchSession | None:
        """Give the session, None if there is none."""
        return self._sessions.get(launch_id)

    async def put(self, session: LaunchSession) -> None:
        """Keep the session in place of an earlier one."""
        self._sessions[session.launch_id] = session

    async def drop(self, launch_id: str) -> None:
        """Forget the session."""
        self._sessions.pop(launch_id, None)

    async def of_clinic(self, clinic: str) -> Sequence[str]:
        """Give the launch ids of a clinic's sessions."""
        return [id_ for id_, session in self._sessions.items() if session.clinic == clinic]

    @asynccontextmanager
    async def alone(self, launch_id: str) -> AsyncIterator[None]:
        """Hold the session for the block."""
        lock = self._locks.setdefault(launch_id, asyncio.Lock())
        async with lock:
            yield
        if launch_id not in self._sessions and not lock.locked():
            self._locks.pop(launch_id, None)
