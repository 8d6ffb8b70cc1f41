"""Which failures of a job may succeed later, and how long to wait before the next attempt.

Decides only; nothing here waits or keeps anything. A fault nobody has thought of is not repeated: it is shown.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from fhir_aftercare.errors import (
    AftercareError,
    FhirBroken,
    FhirMalformed,
    FhirStale,
    FhirThrottled,
    FhirTimeout,
    FhirUnauthorized,
    FhirUnreachable,
    Stale,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# 401: the token ran out, and the next attempt fetches a new one. A cut or foreign body is mostly a proxy's.
_LATER: Final = (FhirUnreachable, FhirTimeout, FhirThrottled, FhirBroken, FhirMalformed, FhirStale, Stale)
# Of errors this module does not know (our own database, the token endpoint) the issue code tells.
_PASSING: Final = frozenset({"transient", "timeout", "throttled"})
_LONG_AFTER_ANY_BUDGET: Final = 1e9  # seconds; a header may name more than a timedelta holds


def may_succeed_later(error: BaseException) -> bool:
    """Tell whether the same work may succeed at another time, with nobody doing anything about it (design §6)."""
    if isinstance(error, FhirUnauthorized):
        return error.http_status == 401
    return isinstance(error, _LATER) or (isinstance(error, AftercareError) and error.issue in _PASSING)


@dataclass(frozen=True, slots=True)
class Retries:
    """How failed work is repeated: waits double from ``first`` up to ``longest``, until their sum exceeds ``budget``.

    Half of each wait is random, so that what failed together is not repeated together. ``chance`` gives 0 to 1.
    """

    first: timedelta = timedelta(seconds=2)
    longest: timedelta = timedelta(minutes=15)
    budget: timedelta = timedelta(hours=24)
    chance: Callable[[], float] = random.SystemRandom().random

    def wait(
        self, error: BaseException, attempt: int, waited: timedelta, budget: timedelta | None = None
    ) -> timedelta | None:
        """Give how long to wait after failed ``attempt`` (from 1), or None if there is to be no further one.

        ``waited`` is the sum of all waits before; ``budget``, if given, holds instead of the usual one. A server that
        names a time is not asked earlier, even if that is longer than ``longest``.
        """
        if not may_succeed_later(error):
            return None
        # The power is bounded: it would overflow long after it has stopped to matter.
        most = min(self.longest, self.first * 2.0 ** min(attempt - 1, 30))
        pause = most * (0.5 + 0.5 * self.chance())
        if isinstance(error, FhirThrottled) and error.retry_after is not None:
            named = timedelta(seconds=min(error.retry_after, _LONG_AFTER_ANY_BUDGET))
            pause = max(pause, named + self.first * self.chance())
        return pause if waited + pause <= (self.budget if budget is None else budget) else None
