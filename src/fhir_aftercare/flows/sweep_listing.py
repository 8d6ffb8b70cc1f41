"""One search of a sweep, read page by page: what has changed since an instant, in constant memory.

Each further page is asked for by where the last one ended, and not by the server's link: servers that page by offset
leave out what moves while it is read, others forget their pages. Only where a server does not sort, or has more of one
instant than fit on a page, its links are followed; and in a search by date, where what lasts overlaps every page. Then
the ids that were given are remembered, and nothing else of them.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qs, urlsplit

from fhir_aftercare.ehr.paging import Pages
from fhir_aftercare.errors import FhirMalformed
from fhir_aftercare.fhir import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from fhir_aftercare.ehr.client import FhirClient

Resource = dict[str, Any]

CHANGED: Final = "_lastUpdated"


class By(Enum):
    """What an instant is compared with: when a resource was last changed, or when what it tells of took place."""

    CHANGED = "changed"
    DATE = "date"


# The R4 search parameter of the date.
_DATES: Final[Mapping[str, str]] = {
    "Encounter": "date",
    "MedicationAdministration": "effective-time",
    "Procedure": "date",
    "QuestionnaireResponse": "authored",
}


@dataclass(slots=True)
class Listing:
    """A search of ``type`` with ``query``, ``page`` resources at a time.

    ``server_time`` is what the server's clock said when the first page was made, None where it does not tell.
    """

    fhir: FhirClient
    type: str
    query: Mapping[str, str]
    by: By = By.CHANGED
    page: int = 100
    server_time: datetime | None = None

    async def since(self, since: datetime | None) -> AsyncIterator[Resource]:
        """Yield every match that is not older than ``since`` (None: all), oldest first where the server sorts.

        What changes meanwhile may come twice. Raises what the client raises, and ``FhirMalformed`` if the server gives
        the same page for ever; then not all was given.
        """
        given: set[str] = set()
        before: set[str] = set()
        since = _floor(since)
        while True:
            bundle = await self.fhir.search_bundle(self.type, self._params(since))
            self.server_time = self.server_time or time_of(bundle)
            found = Pages(self.type, lambda _: False).entries(bundle)
            page = [resource for mode, resource in found if mode == "match"]
            for each in page:
                if _name(each) not in given:
                    yield each
            if not _goes_on(bundle):
                return
            last = _end_of(page) if self.by is By.CHANGED and _is_sorted(bundle) else None
            ids = {str(each.get("id")) for each in page}
            if last is not None and (since is None or last > since):
                if ids <= before:
                    raise FhirMalformed(f"A search of {self.type} does not go on: it gives one page again and again.")
                before = ids
                given, since = {_name(each) for each in page if _place(each) == last}, last
                continue
            given |= {_name(each) for each in page}
            beyond: Resource | None = None
            async with aclosing(self._linked(since)) as rest:
                async for each in rest:
                    if _name(each) not in given:
                        yield each
                    if last is not None and since is not None and _is_beyond(each, max(last, since)):
                        beyond = each
                        break
            if beyond is None:
                return
            given, since, before = {_name(beyond)}, _place(beyond), set()

    def _params(self, since: datetime | None) -> dict[str, str]:
        name = CHANGED if self.by is By.CHANGED else _DATES[self.type]
        bound = {} if since is None else {name: f"ge{_written(since)}"}
        return {**self.query, **bound, "_sort": name, "_count": str(self.page)}

    def _linked(self, since: datetime | None) -> AsyncGenerator[Resource, None]:
        return cast("AsyncGenerator[Resource, None]", self.fhir.search(self.type, self._params(since)))


def _place(resource: Resource) -> datetime | None:
    return _floor(changed_at(resource))


def _end_of(page: Sequence[Resource]) -> datetime | None:
    """Give the place of a page's last resource; None if the page is not in order, or does not tell."""
    places = [_place(each) for each in page]
    known = [each for each in places if each is not None]
    return known[-1] if known and len(known) == len(places) and known == sorted(known) else None


def _is_beyond(resource: Resource, last: datetime) -> bool:
    """Tell whether a resource is of a later second: asked from there, also a server that compares seconds goes on."""
    place = _place(resource)
    return place is not None and place.replace(microsecond=0) > last.replace(microsecond=0)


def changed_at(resource: Resource) -> datetime | None:
    """Give when the server says that a resource was last changed."""
    return tasks.moment((resource.get("meta") or {}).get("lastUpdated"))


def time_of(bundle: Resource) -> datetime | None:
    """Give what the server's clock said when it answered, if the answer tells."""
    return changed_at(bundle)


def _written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _floor(moment: datetime | None) -> datetime | None:
    """Give an instant to the millisecond: no finer can be asked for everywhere."""
    return None if moment is None else moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _name(resource: Resource) -> str:
    return f"{resource.get('id')}/{(resource.get('meta') or {}).get('versionId')}"


def _goes_on(bundle: Resource) -> bool:
    return any(link.get("relation") == "next" for link in bundle.get("link") or () if isinstance(link, dict))


def _is_sorted(bundle: Resource) -> bool:
    """Tell whether the server says that it sorted: its link to itself holds what it has understood (R4 search)."""
    links = [link for link in bundle.get("link") or () if isinstance(link, dict) and link.get("relation") == "self"]
    return any("_sort" in parse_qs(urlsplit(str(link.get("url"))).query) for link in links)
