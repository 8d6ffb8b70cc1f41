"""The one port to a FHIR server: read, search, batch, transact.

Every answer becomes a plain dict (unknown elements kept, decimals exact) or one typed error of ``errors.py``. What to
write is the caller's decision; whether a call may be repeated is ``retry``'s, what an answer means ``answers``'.
Every read asks the server not to answer from a cache: a repeated search would otherwise miss the latest write.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.ehr import urls
from fhir_aftercare.ehr.answers import (
    Answer,
    BatchAnswer,
    Location,
    Resource,
    TransactionAnswer,
    entries_of,
    location_of,
    version_of,
)
from fhir_aftercare.ehr.paging import Mode, Pages, SearchResult
from fhir_aftercare.ehr.retry import Repeat, RetryPolicy, of_entries
from fhir_aftercare.ehr.transport import DEFAULT_TIMEOUT, Call, CallRecord, TokenProvider, Transport
from fhir_aftercare.errors import FhirMalformed
from fhir_aftercare.fhir import exact_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    import httpx

    from fhir_aftercare.ehr.urls import Params

_UNCACHED: Final = {"Cache-Control": "no-cache"}
# Without it some servers ignore a parameter they do not know, and answer with everybody's resources.
_STRICT: Final = {**_UNCACHED, "Prefer": "handling=strict"}
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_WHOLE: Final = {**_UNCACHED, "Prefer": "return=representation"}


class Capabilities:
    """What one server says it can do, kept for a time: clients of the same server may share it."""

    def __init__(self, ttl: float = 3600.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl, self._clock = ttl, clock
        self._kept: tuple[float, Resource] | None = None
        self._asking = asyncio.Lock()

    async def of(self, ask: Callable[[], Awaitable[Resource]]) -> Resource:
        """Give the CapabilityStatement, asking with ``ask`` if it is not known or too old. Raises what that raises."""
        async with self._asking:
            if self._kept is None or self._clock() - self._kept[0] >= self._ttl:
                self._kept = (self._clock(), await ask())
            return self._kept[1]


class FhirClient:
    """A FHIR R4 server behind one base URL.

    ``http`` is shared and closed by its owner. With ``token``, each call carries a token, renewed once when answered
    with 401. ``on_call`` is told of every round trip. One round trip takes ``longest_call`` seconds at most, and its
    answer ``max_body`` bytes. ``clock`` and ``sleep`` are there for tests.
    """

    def __init__(
        self,
        base_url: str,
        http: httpx.AsyncClient,
        *,
        token: TokenProvider | None = None,
        timeout: httpx.Timeout = DEFAULT_TIMEOUT,
        max_attempts: int | None = None,
        policy: RetryPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_call: Callable[[CallRecord], None] | None = None,
        max_body: int = 20_000_000,
        longest_call: float = 120.0,
        capabilities_ttl: float = 3600.0,
        known: Capabilities | None = None,
    ) -> None:
        policy = policy or (RetryPolicy() if max_attempts is None else RetryPolicy(max_attempts=max_attempts))
        self._transport = Transport(
            base_url,
            http,
            token=token,
            timeout=timeout,
            policy=policy,
            clock=clock,
            sleep=sleep,
            on_call=on_call,
            max_body=max_body,
            longest_call=longest_call,
        )
        self._statement = known or Capabilities(capabilities_ttl, clock)

    @property
    def base_url(self) -> str:
        """The server's base, without a trailing slash."""
        return str(self._transport.base)

    # Single resources

    async def read(self, type_: str, id_: str) -> Resource:
        """Give the current version. Raises ``FhirNotFound``, ``FhirGone`` if it was deleted."""
        return _versioned(await self._get("read", type_, urls.path(type_, id_)))

    async def read_if_changed(self, type_: str, id_: str, etag: str) -> Resource | None:
        """Give the current version, or None if it is still the one of ``etag``."""
        answer = await self._get("read", type_, urls.path(type_, id_), headers={"If-None-Match": urls.if_match(etag)})
        return None if answer.status == 304 else _versioned(answer)

    async def vread(self, type_: str, id_: str, version: str) -> Resource:
        """Give one version of the past. Raises ``FhirNotFound``."""
        return _versioned(await self._get("vread", type_, urls.path(type_, id_, "_history", version)))

    async def history(self, type_: str, id_: str) -> list[Resource]:
        """Give all versions, newest first, deletions left out. Raises ``FhirNotFound``."""
        versions: list[Resource] = []
        url: str | None = urls.path(type_, id_, "_history")
        pages = Pages(type_, self._transport.inside)
        while url:
            bundle = (await self._get("history", type_, url)).resource()
            entries = bundle.get("entry") or []
            if bundle["resourceType"] != "Bundle" or not all(isinstance(entry, dict) for entry in entries):
                raise FhirMalformed(f"The history of {type_} was not answered with a Bundle.")
            versions += [entry["resource"] for entry in entries if entry.get("resource")]
            url = pages.next_url(bundle, self._transport.absolute(url))
        return versions

    async def create(self, resource: Resource, *, if_none_exist: str | None = None) -> Resource:
        """Create and give the resource as stored; with ``if_none_exist`` (a query), the existing one if there is one.

        Only a conditional create is repeated. Raises ``FhirStale`` if the query matches several.
        """
        type_ = resource["resourceType"]
        headers = {**_WHOLE, "If-None-Exist": if_none_exist} if if_none_exist else _WHOLE
        repeat = Repeat.CREATES if if_none_exist else Repeat.NEVER
        call = Call("POST", urls.path(type_), "create", type_, repeat, headers, exact_json.dumps(resource))
        answer = await self._transport.send(call)
        return await self._stored(answer, type_)

    async def update(self, resource: Resource, *, if_match: str) -> Resource:
        """Replace the version ``if_match`` (an ETag or a version) and give the resource as stored.

        Raises ``FhirStale`` if it is not the newest, ``FhirTimeout`` if it is unknown whether it was written.
        """
        type_ = resource["resourceType"]
        headers = {**_WHOLE, "If-Match": urls.if_match(if_match)}
        path = urls.path(type_, resource["id"])
        call = Call("PUT", path, "update", type_, Repeat.GUARDED, headers, exact_json.dumps(resource))
        answer = await self._transport.send(call)
        return await self._stored(answer, type_, Location(type_, resource["id"]))

    # Searches

    async def search(self, type_: str, params: Params = ()) -> AsyncIterator[Resource]:
        """Yield every match, page after page. Includes and outcomes are left out: see ``search_all``."""
        async for mode, resource in self._walk(type_, await self.search_bundle(type_, params)):
            if mode == "match":
                yield resource

    async def search_bundle(self, type_: str, params: Params = ()) -> Resource:
        """Give the first page as the server sent it."""
        return (await self._get("search", type_, urls.query(type_, params), headers=_STRICT)).resource()

    async def search_all(self, type_: str, params: Params = (), *, limit: int = 10_000) -> SearchResult:
        """Give all matches, includes and outcomes; ``complete`` is False if more than ``limit`` matches are there."""
        return await self.collect(type_, await self.search_bundle(type_, params), limit=limit)

    async def collect(self, type_: str, bundle: Resource, *, limit: int = 10_000) -> SearchResult:
        """Give all that a searchset (such as a batch entry's answer) and the pages after it hold."""
        found = SearchResult()
        async for mode, resource in self._walk(type_, bundle):
            if mode == "match" and len(found.matches) == limit:
                found.complete = False
                break
            {"match": found.matches, "include": found.included, "outcome": found.outcomes}[mode].append(resource)
        return found

    async def find(self, type_: str, params: Params) -> list[Resource]:
        """Give the matches on the first page of a search whose values must stand in no URL: those that name a person.

        A POST to ``_search``; the server's own links are not followed, since they may hold what was asked for.
        """
        content = urls.query(type_, params).partition("?")[2].encode()
        call = Call("POST", urls.path(type_, "_search"), "search", type_, Repeat.READS, {**_STRICT, **_FORM}, content)
        bundle = (await self._transport.send(call)).resource()
        return [each for mode, each in Pages(type_, self._transport.inside).entries(bundle) if mode == "match"]

    async def _walk(self, type_: str, bundle: Resource) -> AsyncIterator[tuple[Mode, Resource]]:
        pages, current = Pages(type_, self._transport.inside), self._transport.absolute(type_)
        while True:
            for mode, resource in pages.entries(bundle):
                yield mode, resource
            url = pages.next_url(bundle, current)
            if url is None:
                return
            bundle, current = (await self._get("page", type_, url, headers=_STRICT)).resource(), url

    # Several at once

    async def batch(self, entries: Sequence[str | Mapping[str, Any]]) -> list[BatchAnswer]:
        """Send independent requests in one round trip and give one answer each, in order: one may fail alone.

        An entry is a relative URL to GET (``"Task?patient=1"``) or a Bundle entry. Repeated only if every entry
        may be. A search's answer may have more pages: ``collect`` gives all of them.
        """
        whole = [_get_entry(entry) if isinstance(entry, str) else entry for entry in entries]
        return entries_of(await self._bundle("batch", whole, _STRICT), whole) if whole else []

    async def transaction(self, bundle: Mapping[str, Any]) -> TransactionAnswer:
        """Send a transaction Bundle: all of it is written, or nothing, and then the typed error is raised.

        Repeated if every entry is conditional (``ifNoneExist``, ``ifMatch``, GET); with an ``ifMatch`` in it neither
        ``FhirStale`` nor ``FhirTimeout`` is: the caller looks again and decides anew.
        """
        whole = bundle.get("entry") or []
        answers = entries_of(await self._bundle("transaction", whole, _WHOLE), whole)
        for answer in answers:
            if answer.error:
                raise answer.error
        return TransactionAnswer(tuple(answers))

    async def _bundle(self, kind: str, entries: Sequence[Mapping[str, Any]], headers: Mapping[str, str]) -> Answer:
        content = exact_json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries})
        return await self._transport.send(Call("POST", "", kind, "Bundle", of_entries(entries), headers, content))

    # The server itself

    async def operation(self, path: str, parameters: Resource | None = None) -> Resource:
        """Call an operation such as ``Patient/1/$everything`` by GET, or by POST with ``parameters`` (not repeated)."""
        name = path.rsplit("/", 1)[-1].split("?", 1)[0]
        if parameters is None:
            return (await self._get("operation", name, path)).resource()
        content = exact_json.dumps(parameters)
        call = Call("POST", path, "operation", name, Repeat.NEVER, _UNCACHED, content)
        return (await self._transport.send(call)).resource()

    async def capabilities(self) -> Resource:
        """Give the server's CapabilityStatement, asked for once per ``capabilities_ttl`` seconds."""

        async def ask() -> Resource:
            return (await self._get("capabilities", "metadata", "metadata")).resource()

        return await self._statement.of(ask)

    # Common to all

    async def _get(self, kind: str, type_: str, url: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        call = Call("GET", url, kind, type_, Repeat.READS, {**_UNCACHED, **(headers or {})})
        return await self._transport.send(call)

    async def _stored(self, answer: Answer, type_: str, known: Location | None = None) -> Resource:
        """Some servers answer a write without the resource, whatever is preferred: then it is read back."""
        if answer.content.strip():
            resource = _versioned(answer)
            if resource["resourceType"] == type_:
                return resource
        place = location_of(answer.headers.get("location") or answer.headers.get("content-location")) or known
        if place is None:
            raise answer.malformed("neither the resource nor its Location was given")
        return await (self.vread(type_, place.id, place.version) if place.version else self.read(type_, place.id))


def _get_entry(url: str) -> Mapping[str, Any]:
    return {"request": {"method": "GET", "url": url}}


def _versioned(answer: Answer) -> Resource:
    """Give the resource, with ``meta.versionId`` from the ETag where the server says its version only there."""
    resource = answer.resource()
    version = version_of(answer.headers.get("etag"))
    if version and resource["resourceType"] != "OperationOutcome":
        resource.setdefault("meta", {}).setdefault("versionId", version)
    return resource
