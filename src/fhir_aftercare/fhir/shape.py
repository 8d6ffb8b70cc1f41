"""What the models have found good before, they need not look at again.

Building fhir.resources' models takes most of the time of a discharge, and one discharge looks much like the next: the
same elements with other ids, references and times. The *shape* of a resource is all that the models judge by: its
elements, and of each value what a regular expression of R4 could tell apart. Only hashes of good shapes are kept, so no
patient's data stays here; anything new, and anything bad, is always looked at in full.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

_LONGEST_LITERAL: Final = 64
_MOST: Final = 4096
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_KNOWN: Final = re.compile(
    rf"(?P<uuid>{_UUID})|(?P<urn>urn:uuid:{_UUID})|(?P<reference>[A-Z][A-Za-z]{{1,40}}/[A-Za-z0-9\-.]{{1,64}})"
    r"|(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d))"
)


class KnownShapes:
    """The shapes that were found good, at most ``_MOST`` of them."""

    def __init__(self) -> None:
        self._good: set[int] = set()

    def has(self, shape: int) -> bool:
        """Tell whether this shape was found good."""
        return shape in self._good

    def add(self, shape: int) -> None:
        """Remember a shape that the models have found good."""
        if len(self._good) >= _MOST:
            self._good.clear()
        self._good.add(shape)


def shape_of(resource: dict[str, Any]) -> int:
    """Give the hash of a resource's shape: equal for resources that the models must judge alike."""
    return hash(_shape(resource))


def _shape(value: Any) -> Hashable:
    if type(value) is dict:
        return ("{", *((name, _shape(each)) for name, each in value.items()))
    if type(value) is list:
        return ("[", *map(_shape, value))
    if type(value) is str:
        return _kind(value)
    if isinstance(value, Decimal):
        return ("decimal", value.is_finite(), value > 0 if value.is_finite() else None)
    return (type(value).__name__, value)


def _kind(text: str) -> Hashable:
    found = _KNOWN.fullmatch(text)
    if found is not None:
        if found.lastgroup != "time" or _is_time(text):
            return ("~", found.lastgroup)
        return ("=", text)
    if len(text) <= _LONGEST_LITERAL:
        return ("=", text)
    # Of a long text the models can tell only whether it holds spaces, and whether it begins or ends with one.
    return ("text", len(text.split(None, 1)) > 1, text == text.strip(), text.isprintable(), len(text) > 1_000_000)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
