"""What a FHIR server answered: a resource, the entries of a Bundle, or one typed error.

Judges status, body and headers of answers that arrived; it neither sends nor repeats anything. Messages name method,
resource type and status only: what the server said (it may quote patient data) is kept in ``outcome``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.ehr.retry import parse_retry_after
from fhir_aftercare.errors import (
    FhirBroken,
    FhirGone,
    FhirMalformed,
    FhirNotFound,
    FhirRejected,
    FhirServerError,
    FhirStale,
    FhirThrottled,
    FhirTimeout,
    FhirUnauthorized,
)
from fhir_aftercare.fhir import exact_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Resource = dict[str, Any]

_REFERENCE = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/([^/?#|]+?)(?:/_history/([^/?#|]+))?/?$")
_ETAG = re.compile(r'^(?:W/)?"?([^"]+)"?$')
_BY_STATUS: dict[int, type[FhirServerError]] = {
    401: FhirUnauthorized,
    403: FhirUnauthorized,
    404: FhirNotFound,
    408: FhirTimeout,
    409: FhirStale,
    410: FhirGone,
    412: FhirStale,
    429: FhirThrottled,
}
# Decided by the status alone: proxies answer these with pages of their own.
_BODY_DOES_NOT_MATTER = frozenset({401, 403, 408, 429})


@dataclass(frozen=True, slots=True)
class Location:
    """Where a server put a resource; ``version`` if it said so."""

    type: str
    id: str
    version: str | None = None

    @property
    def reference(self) -> str:
        """The relative literal reference, ``Type/id``."""
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer with its body read."""

    method: str
    resource_type: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def says(self) -> str:
        """The only text about this call that may go into a message."""
        return f"{self.method} {self.resource_type} answered {self.status}"

    def malformed(self, why: str) -> FhirMalformed:
        """Give the error for an answer that cannot be used, for a reason that quotes nothing of it."""
        return FhirMalformed(f"{self.says}: {why}.", http_status=self.status)

    def resource(self) -> Resource:
        """Give the resource of a successful answer; raises the typed error of any other (see ``errors.py``)."""
        if self.status >= 300:
            raise self.error()
        return self._json()

    def error(self) -> FhirServerError:
        """Give the typed error of an answer that is not 2xx."""
        if self.status < 400:
            return self.malformed("a redirect is not followed")
        outcome = None
        try:
            body = self._json() if self.content.strip() else {}
            outcome = body if body.get("resourceType") == "OperationOutcome" else None
        except FhirMalformed as fault:
            # A proxy's "404 page" says nothing about the resource: it must not pass for "there is none".
            if self.status < 500 and self.status not in _BODY_DOES_NOT_MATTER:
                return fault
        return error_of(self.status, f"{self.says}.", outcome, parse_retry_after(self.headers.get("retry-after")))

    def _json(self) -> Resource:
        try:
            body = exact_json.loads(self.content)
        except ValueError:
            raise self.malformed("the body is not JSON") from None
        if not isinstance(body, dict) or not isinstance(body.get("resourceType"), str):
            raise self.malformed("the body is not a FHIR resource")
        return body


def error_of(
    status: int,
    message: str,
    outcome: Mapping[str, Any] | None = None,
    retry_after: float | None = None,
) -> FhirServerError:
    """Give the typed error of an HTTP status ≥ 400 (of an answer, or of one entry of a batch)."""
    if status == 429 or (status == 503 and retry_after is not None):
        return FhirThrottled(message, retry_after=retry_after, http_status=status, outcome=outcome)
    fallback = FhirBroken if status >= 500 else FhirRejected
    return _BY_STATUS.get(status, fallback)(message, http_status=status, outcome=outcome)


def version_of(etag: str | None) -> str | None:
    """Give the version in an ETag, however it is written: ``W/"5"``, ``"5"`` or HAPI's bare ``5``."""
    match = _ETAG.match((etag or "").strip())
    return match[1] if match else None


def etag_of(resource: Mapping[str, Any]) -> str:
    """Give the ETag to send as ``If-Match`` for this resource; raises ``FhirMalformed`` if it carries no version."""
    version = (resource.get("meta") or {}).get("versionId")
    if not version:
        raise FhirMalformed(f"{resource.get('resourceType', 'The resource')} carries no meta.versionId.")
    return f'W/"{version}"'


def location_of(url: str | None) -> Location | None:
    """Give type, id and version of a reference or Location: relative or absolute, with or without version."""
    match = _REFERENCE.search(url or "")
    return Location(match[1], match[2], match[3]) if match else None


@dataclass(frozen=True, slots=True)
class EntryAnswer:
    """What became of one entry of a transaction. ``resource`` only if the server returned it."""

    status: int
    location: Location | None
    etag: str | None
    resource: Resource | None

    @property
    def created(self) -> bool:
        """Whether this entry made a new resource (a conditional create that found one answers 200)."""
        return self.status == 201


@dataclass(frozen=True, slots=True)
class BatchAnswer(EntryAnswer):
    """What became of one entry of a batch: ``error`` instead of a resource if that entry failed."""

    error: FhirServerError | None = None

    def unwrap(self) -> Resource:
        """Give the resource; raises this entry's error if it failed, ``FhirMalformed`` if it holds nothing."""
        if self.error:
            raise self.error
        if self.resource is None:
            raise FhirMalformed("A batch entry succeeded without a resource.", http_status=self.status)
        return self.resource


@dataclass(frozen=True, slots=True)
class TransactionAnswer:
    """What became of each entry of a transaction, in the order they were sent."""

    entries: tuple[EntryAnswer, ...]

    def __iter__(self) -> Iterator[EntryAnswer]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> EntryAnswer:
        return self.entries[index]


def entries_of(answer: Answer, sent: Sequence[Mapping[str, Any]]) -> list[BatchAnswer]:
    """Give one answer per entry sent; raises ``FhirMalformed`` if they cannot be matched."""
    bundle = answer.resource()
    entries = bundle.get("entry") or []
    if bundle["resourceType"] != "Bundle" or not isinstance(entries, list) or len(entries) != len(sent):
        raise answer.malformed(f"{len(sent)} entries were sent, and not as many were answered")
    return [_entry(answer, entry, request) for entry, request in zip(entries, sent, strict=True)]


def _entry(answer: Answer, entry: Any, sent: Mapping[str, Any]) -> BatchAnswer:
    response = entry.get("response") if isinstance(entry, dict) else None
    match = re.match(r"\s*(\d{3})\b", str((response or {}).get("status")))
    if not isinstance(response, dict) or not match:
        raise answer.malformed("an entry has no status")
    status = int(match[1])
    resource, outcome = entry.get("resource"), response.get("outcome")
    if status >= 400:
        if outcome is None and isinstance(resource, dict) and resource.get("resourceType") == "OperationOutcome":
            outcome = resource
        request = sent["request"]
        said = f"{request['method']} {type_of(request['url'])} in a Bundle answered {status}."
        return BatchAnswer(status, None, None, None, error_of(status, said, outcome))
    resource = resource if isinstance(resource, dict) and resource.get("resourceType") != "OperationOutcome" else None
    version = version_of(response.get("etag"))
    return BatchAnswer(status, _where(response, resource), f'W/"{version}"' if version else None, resource)


def _where(response: Mapping[str, Any], resource: Resource | None) -> Location | None:
    located = location_of(response.get("location"))
    if located or not resource or not resource.get("id"):
        return located
    return Location(resource["resourceType"], resource["id"], (resource.get("meta") or {}).get("versionId"))


def type_of(url: str) -> str:
    """Give the resource type (or operation) a relative URL speaks of, without ids or query: safe for messages."""
    first = url.split("?", 1)[0].strip("/").split("/", 1)[0]
    return first if re.fullmatch(r"\$?[A-Za-z][A-Za-z-]*", first) else "Bundle"
