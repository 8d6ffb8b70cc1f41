"""A FHIR server made of arithmetic: many finished encounters, answered at once, with the faults a test asks for.

It holds none of them: encounter number ``n`` was last changed ``n`` times ``apart`` after ``first``. What memory is
used then is the sweep's.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlencode

import httpx
import orjson

from fhir_aftercare.ehr.client import FhirClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Resource = dict[str, Any]

BASE: Final = "http://many.localhost/fhir"
FIRST: Final = datetime(2026, 9, 1, tzinfo=UTC)


@dataclass
class Many:
    """``refused`` gives the HTTP status a search is refused with. ``links_only``: it does not say that it sorts.

    ``whole_seconds``: all that was changed in one second has one time.
    """

    encounters: int
    now: datetime
    first: datetime = FIRST
    apart: timedelta = timedelta(seconds=1)
    tells_time: bool = True
    tells_changes: bool = True
    links_only: bool = False
    reverse: bool = False
    whole_seconds: bool = False
    refused: Callable[[str, dict[str, str]], int | None] = lambda _type, _params: None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    keep_asked: bool = True

    def encounter(self, number: int) -> Resource:
        """Give one encounter, as changed once."""
        changed = self.first + number * self.apart
        changed = changed.replace(microsecond=0) if self.whole_seconds else changed
        meta = {"versionId": "1", "lastUpdated": changed.isoformat()} if self.tells_changes else {"versionId": "1"}
        return {
            "resourceType": "Encounter",
            "id": f"e{number}",
            "meta": meta,
            "status": "finished",
            "subject": {"reference": f"Patient/p{number}"},
            "period": {"start": (changed - timedelta(hours=2)).isoformat(), "end": changed.isoformat()},
        }

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a search of Encounter by last change, by date, by id or by patient; others find nothing."""
        type_ = request.url.path.rpartition("/")[2]
        params = {name: values[-1] for name, values in parse_qs(request.url.query.decode()).items()}
        if self.keep_asked:
            self.asked.append((type_, params))
        status = self.refused(type_, params)
        if status is not None:
            outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-supported"}]}
            return httpx.Response(status, json=outcome)
        start = int(params.get("_offset", 0))
        numbers = self._numbers(params) if type_ == "Encounter" else range(0)
        count = int(params.get("_count", 50))
        page = numbers[start : start + count]
        links = [{"relation": "self", "url": f"{BASE}/{type_}?{urlencode(params)}"}] if not self.links_only else []
        if start + count < len(numbers):
            more = urlencode({**params, "_offset": start + count})
            links.append({"relation": "next", "url": f"{BASE}/{type_}?{more}"})
        bundle = {
            "resourceType": "Bundle",
            "type": "searchset",
            "link": links,
            "entry": [{"resource": self.encounter(n), "search": {"mode": "match"}} for n in page],
        }
        if self.tells_time:
            bundle["meta"] = {"lastUpdated": self.now.isoformat()}
        return httpx.Response(200, content=orjson.dumps(bundle))

    def _numbers(self, params: dict[str, str]) -> range:
        if "_id" in params:
            id_ = params["_id"].removeprefix("e")
            known = id_.isdigit() and int(id_) < self.encounters
            return range(int(id_), int(id_) + 1) if known else range(0)
        if "patient" in params:
            number = int(params["patient"].removeprefix("Patient/p"))
            return range(number, number + 1)
        since = params.get("_lastUpdated") or params.get("date")
        after = datetime.fromisoformat(since.removeprefix("ge")) if since else self.first
        begin = max(0, ceil((after - self.first) / self.apart)) if self.apart else 0
        found = range(min(begin, self.encounters), self.encounters)
        return found[::-1] if self.reverse else found


@asynccontextmanager
async def reached(many: Many) -> AsyncIterator[FhirClient]:
    """Give a client of it. Each answer lets the event loop run once, as any network does: it drops timers there."""

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        return many.answer(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        yield FhirClient(BASE, http, max_attempts=1)
