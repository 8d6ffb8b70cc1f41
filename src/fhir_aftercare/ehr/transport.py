"""One call to the FHIR server, made safe: inside the base, bounded in time and size, repeated only where harmless.

Knows HTTP, tokens and waiting; knows nothing of resources beyond their type's name.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import httpx

from fhir_aftercare.ehr.answers import Answer
from fhir_aftercare.ehr.context import outgoing_headers
from fhir_aftercare.ehr.retry import Repeat, RetryPolicy
from fhir_aftercare.errors import (
    AftercareError,
    ConfigFault,
    FhirBroken,
    FhirMalformed,
    FhirServerError,
    FhirStale,
    FhirTimeout,
    FhirUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

FHIR_JSON: Final = "application/fhir+json"
DEFAULT_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0, pool=10.0)
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class TokenProvider(Protocol):
    """Gives access tokens for one FHIR server."""

    async def token(self) -> str:
        """Give a token believed to be valid."""

    async def renew(self) -> str:
        """Give a fresh token: the last one was answered with 401."""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One HTTP round trip. Holds no id, no query and no text of an answer, so it may be logged and counted.

    ``kind`` is the interaction (``read``, ``search``, ``page``, ``batch``, ``transaction``, …), ``status`` is None if
    no answer came, ``outcome`` is ``ok`` or the error's code.
    """

    method: str
    kind: str
    resource_type: str
    status: int | None
    seconds: float
    outcome: str


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be sent. ``url`` is relative to the base, or absolute and inside it."""

    method: str
    url: str
    kind: str
    resource_type: str
    repeat: Repeat
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


class Transport:
    """Sends calls to one FHIR base. The token never goes anywhere else."""

    def __init__(
        self,
        base_url: str,
        http: httpx.AsyncClient,
        *,
        token: TokenProvider | None,
        timeout: httpx.Timeout,
        policy: RetryPolicy,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_call: Callable[[CallRecord], None] | None = None,
        max_body: int = 20_000_000,
        longest_call: float = 120.0,
    ) -> None:
        self.base = httpx.URL(base_url.rstrip("/"))
        if self.base.scheme not in {"http", "https"} or not self.base.host or self.base.query or self.base.fragment:
            raise ConfigFault(["the FHIR base URL must be an absolute http(s) URL without query"], where="fhir base")
        self._http, self._token, self._timeout, self._policy = http, token, timeout, policy
        self._clock, self._sleep, self._on_call = clock, sleep, on_call
        self._max_body, self._longest_call = max_body, longest_call

    def absolute(self, url: str) -> str:
        """Give the whole address of a URL that may be relative to the base."""
        return url if url.startswith(("http://", "https://")) else f"{self.base}/{url}".rstrip("/")

    def inside(self, url: str) -> bool:
        """Whether an absolute URL is of the base's origin and below its path."""
        try:
            target = httpx.URL(url)
        except httpx.InvalidURL:
            return False
        if target.userinfo or _origin(target) != _origin(self.base):
            return False
        root = self.base.path.rstrip("/")
        climbs = any(step in {".", ".."} for step in target.path.split("/"))  # .path is percent-decoded
        return not climbs and (target.path == root or target.path.startswith(f"{root}/"))

    async def send(self, call: Call) -> Answer:
        """Make the call, again where that is harmless, and give the answer (2xx or 304).

        Raises the typed error of the last attempt: any ``FhirServerError`` of ``errors.py``.
        """
        url = self.absolute(call.url)
        if not self.inside(url):
            raise FhirMalformed(f"{call.method} {call.resource_type}: the address is outside the FHIR base.")
        attempt, waited, unsure = 0, 0.0, None
        while True:
            attempt += 1
            try:
                return await self._authorized(call, url)
            except FhirServerError as error:
                if isinstance(error, FhirStale) and unsure and call.repeat is Repeat.GUARDED:
                    # Perhaps our own first attempt made it stale: "unknown" is the truth.
                    raise _unknown(call, unsure) from error
                pause = self._policy.wait(error, attempt, waited) if call.repeat.allows(error) else None
                if pause is None:
                    raise
                if isinstance(error, FhirBroken):
                    unsure = error
                waited += pause
                await self._sleep(pause)

    async def _authorized(self, call: Call, url: str) -> Answer:
        if self._token is None:
            return await self._recorded(call, url, None)
        answer = await self._recorded(call, url, await self._token.token(), may_renew=True)
        if answer.status == 401:
            answer = await self._recorded(call, url, await self._token.renew())
        return answer

    async def _recorded(self, call: Call, url: str, token: str | None, *, may_renew: bool = False) -> Answer:
        started, status, outcome = self._clock(), None, "internal"
        try:
            answer = await self._once(call, url, token)
            status, outcome = answer.status, "ok"
            if status >= 300 and status != 304:
                error = answer.error()
                outcome = error.code
                if not (status == 401 and may_renew):
                    raise error
        except AftercareError as error:
            outcome = error.code
            raise
        else:
            return answer
        finally:
            if self._on_call:
                seconds = self._clock() - started
                self._on_call(CallRecord(call.method, call.kind, call.resource_type, status, seconds, outcome))

    async def _once(self, call: Call, url: str, token: str | None) -> Answer:
        says = f"{call.method} {call.resource_type}"
        headers = {**outgoing_headers.get(), "Accept": FHIR_JSON, **call.headers}
        if call.content is not None:
            headers.setdefault("Content-Type", FHIR_JSON)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = self._http.build_request(
            call.method, url, headers=headers, content=call.content, timeout=self._timeout
        )
        try:
            async with asyncio.timeout(self._longest_call):
                response = await self._http.send(request, stream=True, follow_redirects=False)
                try:
                    content = await self._body(response, says)
                finally:
                    await response.aclose()
        except _NOT_SENT as fault:
            raise FhirUnreachable(f"{says}: no connection to the FHIR server.") from fault
        except httpx.DecodingError as fault:
            raise FhirMalformed(f"{says}: the body cannot be unpacked.") from fault
        except (httpx.TransportError, TimeoutError) as fault:
            raise FhirTimeout(f"{says}: no whole answer came ({type(fault).__name__}).") from fault
        return Answer(call.method, call.resource_type, response.status_code, response.headers, content)

    async def _body(self, response: httpx.Response, says: str) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > self._max_body:
                raise FhirMalformed(f"{says}: the answer is larger than {self._max_body} bytes.")
            chunks.append(chunk)
        return b"".join(chunks)


def _unknown(call: Call, before: FhirServerError) -> FhirTimeout:
    said = f"{call.method} {call.resource_type}: stale after an answer {before.http_status}; it may be our own write."
    return FhirTimeout(said, http_status=before.http_status)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
