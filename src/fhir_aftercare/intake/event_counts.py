"""Whether events of a topic subscription were lost: their numbers must run on (R5 backport; integration §2.1).

A number that is missing, a server that counts anew, or one that says its subscription failed: each means that something
may have been lost, and the clinic is swept. Numbers that arrive out of order cost a sweep too, which is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from fhir_aftercare.intake.backport_bundle import Notification

# So far behind nothing is repeated: the server has begun to count anew.
_FAR_BEHIND: Final = 20
_FAILED: Final = frozenset({"error", "off", "entered-in-error"})


class EventCounter(Protocol):
    """Remembers the highest event number of each subscription. ``store.subscription_events`` is one."""

    async def last(self, clinic: str, subscription: str) -> int | None:
        """Give the highest number, None if the subscription never told anything."""

    async def note(self, clinic: str, subscription: str, number: int, *, restarted: bool = False) -> None:
        """Note that events up to ``number`` have arrived."""


@dataclass(frozen=True, slots=True)
class Count:
    """What a notification's numbers mean: the number to note (None: nothing), and whether to sweep.

    ``missing``: how many events did not arrive, as far as it can be told.
    """

    number: int | None
    restarted: bool = False
    sweep: bool = False
    missing: int = 0


def count(last: int | None, told: Notification, *, new: bool) -> Count:
    """Judge a notification by the highest number before it; ``new``: it told of something not known yet.

    A handshake begins the count: of a subscription that was known it means that it was made active again, and what
    happened meanwhile was told to nobody. An answer to a query tells old events again, so it counts nothing.
    """
    failed = told.status in _FAILED
    if told.type == "query-event":
        return Count(None, sweep=failed)
    total = told.total or 0
    if told.type == "handshake":
        return Count(total, restarted=True, sweep=failed or last is not None)
    # Beside numbers the total tells of events that are still under way.
    known, first, highest = last or 0, min(told.numbers, default=total + 1), max(told.numbers, default=total)
    restarted = (new or not told.numbers) and _begins_anew(known, highest)
    missing = 0 if restarted else max(0, first - known - 1)
    return Count(highest, restarted=restarted, sweep=failed or restarted or missing > 0, missing=missing)


def _begins_anew(known: int, highest: int) -> bool:
    return highest <= known - _FAR_BEHIND or highest <= 1 < known
