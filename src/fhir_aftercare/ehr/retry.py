"""When a call to the FHIR server may be made again, and how long to wait before.

A call is repeated only if doing it twice ends in the same state as doing it once. Nothing here sends anything.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import FhirBroken, FhirServerError, FhirStale, FhirThrottled, FhirTimeout, FhirUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_UNDECIDED = (FhirUnreachable, FhirThrottled, FhirBroken)


class Repeat(Enum):
    """What a second attempt of a call would do."""

    NEVER = "it might write twice"
    GUARDED = "If-Match: a second attempt is refused if the first one won"
    CREATES = "conditional creates: whoever loses a race finds the winner's resource next time"
    READS = "nothing is written"

    def allows(self, error: FhirServerError) -> bool:
        """Whether a call of this kind may be made again after ``error``."""
        match self:
            case Repeat.NEVER:
                return False
            case Repeat.GUARDED:  # after a timeout the first attempt may have won: only the caller can look
                return isinstance(error, _UNDECIDED)
            case Repeat.CREATES:
                return isinstance(error, (*_UNDECIDED, FhirTimeout, FhirStale))
            case Repeat.READS:
                return isinstance(error, (*_UNDECIDED, FhirTimeout))


def of_entries(entries: Iterable[Mapping[str, Any]]) -> Repeat:
    """The weakest promise any entry of a Bundle gives (an entry without condition makes the whole unrepeatable)."""
    promises = {_of_request(entry.get("request") or {}) for entry in entries}
    for weakest in (Repeat.NEVER, Repeat.GUARDED, Repeat.CREATES):
        if weakest in promises:
            return weakest
    return Repeat.READS


def _of_request(request: Mapping[str, Any]) -> Repeat:
    match request.get("method"):
        case "GET" | "HEAD":
            return Repeat.READS
        case "POST" if request.get("ifNoneExist"):
            return Repeat.CREATES
        case "PUT" if request.get("ifMatch"):
            return Repeat.GUARDED
        case _:
            return Repeat.NEVER


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of repeating. Seconds; ``budget`` limits the sum of all waits of one call."""

    max_attempts: int = 5
    first_wait: float = 0.1
    longest_wait: float = 5.0
    longest_retry_after: float = 30.0
    budget: float = 60.0
    chance: Callable[[], float] = random.SystemRandom().random

    def wait(self, error: FhirServerError, attempt: int, waited: float) -> float | None:
        """Seconds to wait after failed ``attempt`` (counted from 1), or None to give up.

        Full jitter, so that those who collided once do not collide again. A server that names a time is never asked
        earlier: if that is longer than we wait, the error goes to the caller at once.
        """
        if attempt >= self.max_attempts:
            return None
        if isinstance(error, FhirThrottled) and error.retry_after is not None:
            if error.retry_after > self.longest_retry_after:
                return None
            pause = error.retry_after + self.first_wait * self.chance()
        else:
            pause = min(self.longest_wait, self.first_wait * 2.0**attempt) * self.chance()
        return pause if waited + pause <= self.budget else None


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds named by a ``Retry-After`` header, given as seconds or as an HTTP date; None if absent or unreadable."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000" is how the library marks a date of unknown zone; HTTP dates are GMT
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
