"""What a page says at its top after something was done: by a key in the address, so that reloading is harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.timing import local

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

SAID: Final = "said"
NUMBER: Final = "n"

_TEXTS: Final[Mapping[str, str]] = {}


def said(query: Mapping[str, str], now: datetime, zone: ZoneInfo) -> str | None:
    """Give the sentence for what was done, with the time of day in ``zone`` and how many of it; None if nothing was."""
    text = _TEXTS.get(query.get(SAID, ""))
    if text is None:
        return None
    there, number = local(now, zone), query.get(NUMBER, "")
    return text.format(at=f"{there:%H:%M}", n=number if number.isdecimal() and len(number) < 5 else "")
