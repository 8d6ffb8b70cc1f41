"""Where a page stands: which launch, whose chart, which visit; and the addresses of the pages beside it.

The launch stands in the path, so that tabs never mix; a patient other than the one whose chart is open in the EHR
stands in it too, and such a page always says whose it is. Only ids of the FHIR server, never a name or a number that
people use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

VISIT: Final = "visit"


@dataclass(frozen=True)
class Place:
    """``patient`` and ``visit`` are FHIR references or None, ``other`` tells of a patient who is not the launch's."""

    launch_id: str
    patient: str | None
    visit: str | None = None
    other: bool = False

    @cached_property
    def base(self) -> str:
        """The address that the pages of this patient are below."""
        base = address_of(self.launch_id)
        return f"{base}of/{quote(_id(self.patient), safe='')}/" if self.other else base

    def at(self, view: str, **query: str | int | None) -> str:
        """Give the address of a page of this patient and visit."""
        return f"{self.base}{view}{self._query(query)}"

    def beside(self, view: str, **query: str | int | None) -> str:
        """Give it as a page of this patient right below ``base`` may write it: short."""
        return f"./{view}{self._query(query)}"

    def _query(self, query: Mapping[str, str | int | None]) -> str:
        if not query:
            return self._visit
        given = {VISIT: _id(self.visit) or None, **query}
        said = urlencode({name: value for name, value in given.items() if value is not None})
        return f"?{said}" if said else ""

    @cached_property
    def _visit(self) -> str:
        return f"?{urlencode({VISIT: _id(self.visit)})}" if self.visit else ""

    def home(self, view: str, **query: str | int | None) -> str:
        """Give the address of a page that is about no single patient."""
        return self.of_nobody.at(view, **query)

    @cached_property
    def of_nobody(self) -> Place:
        """The place of pages that are about no single patient."""
        return replace(self, patient=None, visit=None, other=False)

    def of(self, patient: str, visit: str | None = None, *, launched: str | None = None) -> Place:
        """Give the place of a patient and visit; ``launched`` is the patient whose chart is open in the EHR."""
        return replace(self, patient=patient, visit=visit, other=patient != launched)


def address_of(launch_id: str) -> str:
    """Give the page a launch lands on."""
    return f"/app/l/{quote(launch_id, safe='')}/"


def _id(reference: str | None) -> str:
    return (reference or "").rpartition("/")[2]
