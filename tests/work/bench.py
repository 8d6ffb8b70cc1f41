"""What the tests of durable work are done with: a quick pace, jobs that do as they are told, and a way to wait."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from fhir_aftercare.work.engine import Engine, Limits, Pace
from fhir_aftercare.work.retry import Retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

CLINIC = "harbor"
QUICK = Pace(
    poll=timedelta(milliseconds=20),
    beat=timedelta(milliseconds=200),
    dead_after=timedelta(seconds=1),
    grace=timedelta(milliseconds=200),
)
SOON = Retries(first=timedelta(milliseconds=50), longest=timedelta(milliseconds=50), chance=lambda: 0.5)


class Hands:
    """One job, ``do``: its errors are raised in turn, then it says "ok". ``hold`` keeps it from coming to an end."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.begun: list[tuple[str, dict[str, str], float]] = []
        self.at_once, self.most_at_once = 0, 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.told: list[tuple[str, str]] = []

    async def do(self, clinic: str, ids: Mapping[str, str]) -> str:
        self.begun.append((clinic, dict(ids), time.monotonic()))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.hold.wait()
        finally:
            self.at_once -= 1
        if self.errors:
            raise self.errors.pop(0)
        return "ok"

    def running(
        self,
        url: str,
        *,
        clinics: Mapping[str, Limits] | None = None,
        pace: Pace = QUICK,
        retries: Retries = SOON,
    ) -> AbstractAsyncContextManager[Engine]:
        return Engine.running(
            url,
            {"do": self.do},
            clinics or {CLINIC: Limits()},
            pace=pace,
            retries=retries,
            on_end=lambda job, outcome: self.told.append((job, outcome)),
        )


async def until(true: Callable[[], bool | Awaitable[bool]], within: float = 10.0) -> None:
    """Wait until something is so; fails if it is not in time."""
    async with asyncio.timeout(within):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


async def drained(engine: Engine, within: float = 10.0) -> None:
    assert await engine.board.drained(timedelta(seconds=within), look=0.02)
