"""Reads searchset Bundles: what is a match, what came along with it, and where the next page is.

Pure: the client fetches, this decides what was fetched. Each resource is given once, even if pages overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urljoin

from fhir_aftercare.errors import FhirMalformed

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.ehr.answers import Resource

Mode = Literal["match", "include", "outcome"]

# Pages in a row may hold nothing new: what the server hides, or what moved while it was read. Not so many.
_IDLE: Final = 100


@dataclass(slots=True)
class SearchResult:
    """Everything a search found. ``complete`` is False if it was stopped at a limit and more was there."""

    matches: list[Resource] = field(default_factory=list)
    included: list[Resource] = field(default_factory=list)
    outcomes: list[Resource] = field(default_factory=list)
    complete: bool = True


class Pages:
    """Walks the pages of one search for ``resource_type``: remembers what was given and where it has been."""

    def __init__(self, resource_type: str, inside: Callable[[str], bool]) -> None:
        self._type, self._inside = resource_type, inside
        self._given: set[tuple[str, str]] = set()
        self._visited: set[str] = set()
        self._idle = 0

    def entries(self, bundle: Resource) -> list[tuple[Mode, Resource]]:
        """Give the resources of one page that were not on an earlier one.

        Raises ``FhirMalformed`` if it is no searchset, or an entry holds something that is not a resource.
        """
        entries = bundle.get("entry") or []
        if bundle.get("resourceType") != "Bundle" or not isinstance(entries, list):
            raise FhirMalformed(f"A search of {self._type} was not answered with a Bundle.")
        fresh = []
        for entry in entries:
            mode, resource = self._classified(entry)
            identity = (resource["resourceType"], str(resource.get("id", "")))
            if mode != "outcome" and identity[1]:
                if identity in self._given:
                    continue
                self._given.add(identity)
            fresh.append((mode, resource))
        self._idle = 0 if fresh else self._idle + 1
        return fresh

    def next_url(self, bundle: Resource, current: str) -> str | None:
        """Give the absolute address of the next page, or None at the end.

        Raises ``FhirMalformed`` if it leaves the FHIR base (it would carry our token there), runs in a circle, or
        so many pages in a row held nothing new that there will be no end of them.
        """
        links = [link for link in bundle.get("link") or [] if isinstance(link, dict) and link.get("relation") == "next"]
        if not links:
            return None
        try:
            url = urljoin(current, str(links[0].get("url") or ""))
        except ValueError:
            url = ""
        if not self._inside(url):
            raise FhirMalformed(
                f"A search of {self._type} was answered with a next page outside the FHIR base.",
                remedy="Set the FHIR base URL to the address the server itself uses in its links.",
            )
        if url in self._visited or self._idle > _IDLE:
            raise FhirMalformed(f"The pages of a search of {self._type} run in a circle.")
        self._visited.add(url)
        return url

    def _classified(self, entry: Any) -> tuple[Mode, Resource]:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise FhirMalformed(f"A search of {self._type} was answered with an entry that holds no resource.")
        kind = resource["resourceType"]
        mode = (entry.get("search") or {}).get("mode")
        if kind == "OperationOutcome" or mode == "outcome":
            return "outcome", resource
        if mode in {"match", "include"}:
            return mode, resource
        return ("match" if kind == self._type else "include"), resource
