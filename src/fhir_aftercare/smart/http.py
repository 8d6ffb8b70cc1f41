"""One call to an authorization server, bounded: time, size, no redirect, no packed body, one JSON object or an error.

Used for discovery, keys and tokens; never for FHIR. What is asked for and what the answer means is the caller's.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import httpx

from fhir_aftercare.smart.faults import AnswerRefused, EhrTimeout, EhrUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_FORM: Final = "application/x-www-form-urlencoded"
# A packed body of a few kilobytes can be unpacked to gigabytes before any size can be checked.
_PLAIN: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a call may take in all (seconds), and how large its answer may be (bytes)."""

    seconds: float = 10.0
    size: int = 256_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. ``what`` names the call for messages."""

    what: str
    status: int
    content: bytes

    def json_object(self) -> dict[str, Any]:
        """Give the body as one JSON object; raises ``AnswerRefused`` if it is not, or names a member twice."""
        try:
            body = json.loads(self.content, object_pairs_hook=_no_member_twice, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise AnswerRefused(f"{self.what}: the answer is not JSON.", where=self.what) from None
        if not isinstance(body, dict):
            raise AnswerRefused(f"{self.what}: the answer is not a JSON object.", where=self.what)
        return body


def new_client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Give an httpx client for ``BoundedHttp``: certificates checked, TLS 1.2 or newer, no redirects."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return httpx.AsyncClient(verify=context, transport=transport, follow_redirects=False)


class BoundedHttp:
    """Sends over an httpx client that the caller opens and closes; the limits hold whatever that client's are."""

    def __init__(self, client: httpx.AsyncClient, limits: Limits | None = None) -> None:
        self._client, self._limits = client, limits or Limits()

    async def get(self, url: str, what: str, *, size: int | None = None) -> Answer:
        """Read a document; ``size`` overrides the largest answer. Raises as ``post`` does, and for any but 200."""
        answer = await self._send(self._client.build_request("GET", url, headers=_PLAIN), what, size)
        if answer.status != 200:
            raise AnswerRefused(f"{what}: answered {answer.status}.", where=what)
        return answer

    async def post(
        self, url: str, form: Sequence[tuple[str, str]], what: str, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Post a form and give the answer with any status below 500 that is no redirect.

        Raises ``EhrUnreachable`` (no connection, 429 or 5xx), ``EhrTimeout`` and ``AnswerRefused``.
        """
        sent = {**_PLAIN, "Content-Type": _FORM, **(headers or {})}
        request = self._client.build_request("POST", url, headers=sent, content=urlencode(form).encode("ascii"))
        return await self._send(request, what, None)

    async def _send(self, request: httpx.Request, what: str, size: int | None) -> Answer:
        request.extensions["timeout"] = httpx.Timeout(self._limits.seconds).as_dict()
        try:
            async with asyncio.timeout(self._limits.seconds):
                response = await self._client.send(request, stream=True, follow_redirects=False, auth=None)
                try:
                    content = await _body(response, what, size or self._limits.size)
                finally:
                    await response.aclose()
        except _NOT_SENT as fault:
            raise EhrUnreachable(f"{what}: no connection.", where=what) from fault
        except (httpx.TransportError, TimeoutError) as fault:
            raise EhrTimeout(f"{what}: no whole answer came ({type(fault).__name__}).", where=what) from fault
        status = response.status_code
        if status >= 500 or status == 429:
            raise EhrUnreachable(f"{what}: answered {status}.", where=what, http_status=status)
        if 300 <= status < 400 or status < 200:
            raise AnswerRefused(f"{what}: answered {status}; a redirect is not followed.", where=what)
        return Answer(what, status, content)


async def _body(response: httpx.Response, what: str, limit: int) -> bytes:
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise AnswerRefused(f"{what}: the answer is packed, though that was not asked for.", where=what)
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():  # not packed, so these are the bytes as sent
        size += len(chunk)
        if size > limit:
            raise AnswerRefused(f"{what}: the answer is larger than {limit} bytes.", where=what)
        chunks.append(chunk)
    return b"".join(chunks)


def _no_member_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
