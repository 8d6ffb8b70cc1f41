"""What the doors hand signals to: a sender is told yes only after ``take`` returned (design §2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fhir_aftercare.flows.signal import DischargeSignal


class Inbox(Protocol):
    """Takes signals to be followed later. ``app.state.inbox`` is one."""

    async def take(self, signal: DischargeSignal) -> bool:
        """Return when the signal is durable: True if it is new work, False if it was known.

        Raises ``StoreUnavailable`` or another ``AftercareError``: then the sender must not be told yes.
        """

    async def look(self, clinic: str) -> bool:
        """Return when it is durable that a sweep of the clinic will begin after this call.

        True if that is a new sweep, False if one was waiting already (one that runs does not count: it may have passed
        what changed). Raises as ``take``.
        """
