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

_TEXTS: Final[Mapping[str, str]] = {
    "started": "to chart {at} · the infusion has started.",
    "row-saved": "to chart {at} · {n} observations.",
    "row-saved-one": "to chart {at} · 1 observation.",
    "ended": "to chart {at} · the infusion has ended.",
    "not-done": "to chart {at} · the infusion is not done.",
    "corrected": "to chart {at} · corrected. What stood there before stays in the history.",
    "awaiting": "to chart {at} · corrected. The restrictions could end earlier: a clinician must agree to that.",
    "taken-back": "to chart {at} · taken back as entered in error.",
    "claimed": "to the chart at {at}: you have taken it.",
    "released": "to the chart at {at}: it is the clinic's again.",
    "reassigned": "to the chart at {at}: handed on.",
    "completed": "to the chart at {at}: done.",
    "closed": "to the chart at {at}: closed.",
    "reached": "to the chart at {at}: reached.",
    "no-answer": "to the chart at {at}: no answer. It is due again at the next try.",
    "escalated": "to the chart at {at}: no answer. That was the last try, and the named clinician is asked to look.",
    "checked": "to the chart at {at}.",
    "unchanged": "at {at}: all of it was in the chart already.",
    "countersigned": "to the chart at {at}: you stand for this plan.",
    "plan-signed": "to the chart at {at}: {n} items.",
}


def said(query: Mapping[str, str], now: datetime, zone: ZoneInfo) -> str | None:
    """Give the sentence for what was done, with the time of day in ``zone`` and how many of it; None if nothing was."""
    text = _TEXTS.get(query.get(SAID, ""))
    if text is None:
        return None
    there, number = local(now, zone), query.get(NUMBER, "")
    return text.format(at=f"{there:%H:%M}", n=number if number.isdecimal() and len(number) < 5 else "")
