"""Makes the sandbox's FHIR store refuse what a real server refuses, so that nothing passes here and fails there.

sekmet-fhir stores references to nothing, codes that do not exist and rounded decimals, ignores unknown search
parameters, and looks before it creates without holding on. Each rule below closes one of these gaps, for single calls
and for the entries of a Bundle alike. What HAPI answers is the measure: the contract tests run on both.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sekmet.fhir import router, search, store
from sekmet.fhir.common import FhirError, parse_reference, walk_references
from sekmet.fhir.service import FhirService, Result
from sekmet.fhir.store import Store

from fhir_aftercare.fhir import exact_json
from fhir_aftercare.fhir.required_codes import unknown_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sekmet.context import AppContext


def harden(context: AppContext) -> None:
    """Put the strict rules into a running store. The classes are swapped because sekmet makes the objects itself."""
    context.store.__class__ = StrictStore
    context.service.__class__ = StrictService
    exact = SimpleNamespace(
        loads=exact_json.loads,
        dumps=lambda value, **_: exact_json.dumps(value).decode(),
        JSONDecodeError=ValueError,
    )
    router.json = search.json = store.json = exact


class StrictStore(Store):  # type: ignore[misc]  # sekmet ships no types
    """Refuses to commit what leaves a reference pointing at nothing (HAPI-1094, and 409 for deletions)."""

    _written: list[dict[str, Any]]
    _removed: list[tuple[str, str]]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Check once, before the outermost transaction commits: its resources may refer to each other."""
        with super().transaction():
            if self._depth == 1:
                self._written, self._removed = [], []
            yield
            if self._depth == 1:
                self._check()

    def _write(self, resource: dict[str, Any], *more: Any, **named: Any) -> dict[str, Any]:
        with self.transaction():
            written: dict[str, Any] = super()._write(resource, *more, **named)
            self._written.append(written)
        return written

    def delete(self, rtype: str, rid: str, origin: str = "internal") -> bool:
        """Delete, unless something that stays refers to it."""
        with self.transaction():
            self._removed.append((rtype, rid))
            return bool(super().delete(rtype, rid, origin))

    def _check(self) -> None:
        for resource in self._written:
            for found in walk_references(resource):
                if "language" not in found:  # an Expression has a "reference" too, to a Library's address
                    self._check_reference(found["reference"])
        for rtype, rid in self._removed:
            if self.query("SELECT 1 FROM idx WHERE rtype=? AND rid=? LIMIT 1", (rtype, rid)):
                raise FhirError(409, f"{rtype}/{rid} is referred to and cannot be deleted", "conflict")

    def _check_reference(self, reference: str) -> None:
        if reference.startswith("#"):
            return
        rtype, rid, _ = parse_reference(reference)
        if rtype is None or "://" in reference:
            raise FhirError(400, "References must be of the form Type/id on this server", "processing")
        if not self.exists(rtype, rid):
            raise FhirError(400, f"Resource {rtype}/{rid} not found, specified in a reference", "processing")


class StrictService(FhirService):  # type: ignore[misc]  # sekmet ships no types
    """Refuses unknown search parameters and codes; one conditional write at a time."""

    def search(self, rtype: str, params: Any, strict: bool = True, extra_where: Any = None) -> Result:  # noqa: ARG002
        """Search as if ``Prefer: handling=strict`` were always sent, also inside a batch."""
        return super().search(rtype, params, strict=True, extra_where=extra_where)

    def create(self, *args: Any, **named: Any) -> Result:
        """Look and create under one lock: otherwise two equal conditional creates both find nothing."""
        with self.store.transaction():
            return super().create(*args, **named)

    def conditional_update(self, *args: Any, **named: Any) -> Result:
        """Look and write under one lock."""
        with self.store.transaction():
            return super().conditional_update(*args, **named)

    def _check_body(self, rtype: str, body: Any, origin: str) -> list[dict[str, Any]]:
        issues: list[dict[str, Any]] = super()._check_body(rtype, body, origin)
        for path in unknown_codes(body):
            raise FhirError(400, f"Unknown code at {path}", "value", expression=[path])
        return issues
