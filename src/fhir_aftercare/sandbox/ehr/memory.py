"""What the pretend EHR remembers: in memory, each thing for its time, and never more than a set number of things."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

V = TypeVar("V")


class Bounded(Generic[V]):
    """Things by key. Each dies at its time (seconds since 1970); when there are too many, the oldest goes first."""

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self._most, self._now = most, now
        self._kept: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def put(self, key: str, value: V, life: float) -> None:
        """Keep something for ``life`` seconds."""
        if len(self._kept) >= self._most:
            now = self._now()
            for old in [name for name, (until, _) in self._kept.items() if until <= now]:
                del self._kept[old]
        while len(self._kept) >= self._most:
            self._kept.popitem(last=False)
        self._kept[key] = (self._now() + life, value)

    def get(self, key: str) -> V | None:
        """Give what is kept, None if nothing is, or no more."""
        until, value = self._kept.get(key, (0.0, None))
        return value if until > self._now() else None

    def take(self, key: str) -> V | None:
        """Give what is kept and forget it: the next to ask gets None."""
        value = self.get(key)
        self._kept.pop(key, None)
        return value

    def values(self) -> Iterator[V]:
        """Give all that lives."""
        now = self._now()
        return (value for until, value in list(self._kept.values()) if until > now)

    def __len__(self) -> int:
        return len(self._kept)
