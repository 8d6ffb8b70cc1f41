"""What time it is. Every flow asks a clock it was given, so that tests and the demo can set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Give the present instant, in UTC."""
    return datetime.now(UTC)


class SettableClock:
    """A clock that stands still until it is moved: for tests and the demo."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def __call__(self) -> datetime:
        """Give the instant it is set to."""
        return self._now

    def move_to(self, now: datetime) -> None:
        """Set it to an aware instant, before or after the present one."""
        self._now = now

    def advance(self, by: timedelta) -> None:
        """Move it on."""
        self._now += by
