"""The EHRs' style documents: read over the bounded HTTP of launches, kept for a while, and never missed.

An address comes from a token answer and was checked against the origins that the EHR may name (``smart.context``).
Whatever goes wrong, the pages keep our own style: a style is worth no error and no waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from fhir_aftercare.smart.faults import SmartFault
from fhir_aftercare.ui.theme import sheet

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from fhir_aftercare.smart.http import BoundedHttp

KEPT: Final = timedelta(hours=1)
# After a failure: so that an EHR that is slow is not waited for on each page.
TRIED_AGAIN: Final = timedelta(minutes=5)
MOST: Final = 64
LARGEST: Final = 16_000
# The page is not drawn before its sheets are there.
_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Styles:
    """Style sheets by the address of the document, in memory alone: at most ``MOST``, the oldest go first."""

    http: BoundedHttp
    now: Callable[[], datetime]
    _kept: OrderedDict[str, tuple[datetime, str]] = field(default_factory=OrderedDict, repr=False)

    async def of(self, url: str, clinic: str) -> str:
        """Give the style sheet of a document; empty: our own style."""
        known = self._kept.get(url)
        if known is not None and self.now() < known[0]:
            return known[1]
        text = await self._read(url, clinic)
        self._kept.pop(url, None)
        self._kept[url] = (self.now() + (KEPT if text is not None else TRIED_AGAIN), text or "")
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return text or ""

    async def _read(self, url: str, clinic: str) -> str | None:
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await self.http.get(url, "style", size=LARGEST)
            return sheet(answer.json_object())
        except SmartFault as fault:
            log.warning("style not read", clinic=clinic, code=fault.code)
        except TimeoutError:
            log.warning("style not read", clinic=clinic, code="timeout")
        return None
