"""An inbox that only remembers, for tests of the doors: ``from intake.inboxes import RecordingInbox``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fhir_aftercare.errors import StoreUnavailable

if TYPE_CHECKING:
    from fhir_aftercare.flows.signal import DischargeSignal


@dataclass
class RecordingInbox:
    """Keeps every signal once, as the real one does.

    ``taken``: the signals kept, in order; ``told``: how often any was handed in; ``looks``: the clinics that are to be
    swept. ``failures``: so many of the next calls raise ``StoreUnavailable``; ``seconds``: what each call takes.
    """

    taken: list[DischargeSignal] = field(default_factory=list)
    told: int = 0
    looks: list[str] = field(default_factory=list)
    failures: int = 0
    seconds: float = 0.0

    async def take(self, signal: DischargeSignal) -> bool:
        """Keep a signal; False if it is known."""
        self.told += 1
        await self._work()
        if any(each.work_id == signal.work_id for each in self.taken):
            return False
        self.taken.append(signal)
        return True

    async def look(self, clinic: str) -> bool:
        """Keep that a clinic is to be swept."""
        await self._work()
        self.looks.append(clinic)
        return True

    async def _work(self) -> None:
        await asyncio.sleep(self.seconds)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("The service's own database failed (for the test).")


class KeptWork(RecordingInbox):
    """The inbox, and the work too, of a service without an engine: all of it waits."""

    async def counts(self, clinic: str | None = None) -> dict[str, int]:
        """Count it, a clinic's or all."""
        waiting = sum(clinic in (None, each.clinic) for each in self.taken)
        return {"waiting": waiting, "running": 0, "refused": 0}
