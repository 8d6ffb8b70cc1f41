"""One decision as one transaction Bundle: conditional creates, and updates of the very version that was read.

Collects; it does not decide what is written. A reference to something made in the same transaction is the ``urn:uuid``
that ``create`` gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from fhir_aftercare.errors import CheckFailed
from fhir_aftercare.fhir.identifiers import token_query

if TYPE_CHECKING:
    from collections.abc import Sequence

Resource = dict[str, Any]


class Written(Protocol):
    """What a server said of one entry: ``ehr.answers.EntryAnswer`` fits."""

    @property
    def created(self) -> bool:
        """Whether the entry made a new resource."""

    @property
    def location(self) -> Any:
        """Where it is: an object with ``reference``."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything went: ``references`` maps each ``urn:uuid`` to ``Type/id``.

    ``all_new`` is False if a create found its resource already there: somebody else was first, and what was decided
    rests on a chart that has changed.
    """

    references: dict[str, str]
    all_new: bool


@dataclass(slots=True)
class Transaction:
    """What one decision writes. ``existing`` are the versions that its updates replace, by ``Type/id``.

    ``merged`` maps a patient's record to the one that replaced it, where this is about both.
    """

    entries: list[Resource] = field(default_factory=list)
    existing: dict[str, Resource] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    _shared: set[str] = field(default_factory=set)

    @property
    def own(self) -> list[Resource]:
        """The entries that belong to this decision alone."""
        return [entry for entry in self.entries if entry["fullUrl"] not in self._shared]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write but what is shared by all decisions."""
        return not self.own

    def create(self, resource: Resource, full_url: str, *, shared: bool = False, tag: bool = False) -> str:
        """Add a conditional create by the resource's first identifier (or by its first ``meta.tag``), and give its urn.

        ``shared``: it belongs to no single decision (the Device): that it exists already tells nothing.
        """
        if not any(entry["fullUrl"] == full_url for entry in self.entries):
            query = token_query("_tag", resource["meta"]["tag"][0]) if tag else _by_identifier(resource)
            request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": query}
            self.entries.append({"fullUrl": full_url, "resource": resource, "request": request})
            if shared:
                self._shared.add(full_url)
        return full_url

    def update(self, resource: Resource, before: Resource) -> str:
        """Add an update of the version ``before``, and give the reference ``Type/id``.

        A second one replaces the first, so it must build on ``current``. One that changes nothing is left out. Raises
        ``CheckFailed`` without the version that is replaced.
        """
        version = (before.get("meta") or {}).get("versionId")
        if not version:
            raise CheckFailed("An update needs the version it replaces.", where=resource["resourceType"])
        reference = f"{resource['resourceType']}/{resource['id']}"
        request = {"method": "PUT", "url": reference, "ifMatch": f'W/"{version}"'}
        entry = {"fullUrl": reference, "resource": resource, "request": request}
        known = next((index for index, other in enumerate(self.entries) if other["fullUrl"] == reference), None)
        if known is not None:
            self.entries[known] = entry
        elif resource != before:
            self.entries.append(entry)
            self.existing[reference] = before
        return reference

    def current(self, resource: Resource) -> Resource:
        """Give a resource as this transaction will leave it: a second change of it must build on the first."""
        reference = f"{resource['resourceType']}/{resource['id']}"
        return next((entry["resource"] for entry in self.entries if entry["fullUrl"] == reference), resource)

    def written(self) -> list[tuple[str, Resource]]:
        """Give what belongs to this decision: reference (``urn:uuid`` or ``Type/id``) and resource."""
        return [(entry["fullUrl"], entry["resource"]) for entry in self.own]

    def bundle(self) -> Resource:
        """Give the Bundle to send. An update needs no fullUrl: it is known by its request."""
        entries = [
            entry if entry["fullUrl"].startswith("urn:") else {k: v for k, v in entry.items() if k != "fullUrl"}
            for entry in self.entries
        ]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    def places(self, answers: Sequence[Written]) -> Places:
        """Give where a server put the entries, from its answers in the order sent."""
        references: dict[str, str] = {}
        all_new = True
        for entry, answer in zip(self.entries, answers, strict=True):
            if answer.location is not None:
                references[entry["fullUrl"]] = answer.location.reference
            if entry["request"]["method"] == "POST" and not answer.created and entry["fullUrl"] not in self._shared:
                all_new = False
        return Places(references, all_new)


def _by_identifier(resource: Resource) -> str:
    identifier = resource.get("identifier")
    first = identifier[0] if isinstance(identifier, list) and identifier else identifier
    if not first:
        raise CheckFailed("A create needs a business identifier.", where=resource["resourceType"])
    return token_query("identifier", first)
