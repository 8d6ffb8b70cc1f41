"""What happens to every request before and after its route: an id, limits, headers, one line in the log, one count.

Pure ASGI, in this order from the outside: ``RequestScope`` (id, log, metrics, headers, unforeseen errors), ``Limits``
(body, depth, time). Neither knows a route; addresses are logged and counted as templates, never with values.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from opentelemetry import propagate, trace
from starlette.requests import ClientDisconnect

from fhir_aftercare.api.faults import BodyTooDeep, BodyTooLarge, RequestTimeout, UnsupportedBody
from fhir_aftercare.api.json_text import deeper_than
from fhir_aftercare.api.problems import answer
from fhir_aftercare.api.scope import CODE, REQUEST_ID, route_template
from fhir_aftercare.ehr.context import forwarding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE: Final = re.compile(r"[ -~]{1,512}")
_TRACED: Final = frozenset({b"x-request-id", b"traceparent", b"tracestate"})
# Where a response says nothing of its own: nothing is kept, guessed, told on or framed. Pages set their own policy.
_DEFAULTS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")
_QUIET: Final = frozenset({"/livez", "/readyz"})
_GONE: Final = 499

log = structlog.get_logger(__name__)


class RequestObserver(Protocol):
    """Is told of every request when it is done. ``observe.Metrics`` is one."""

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count it."""


class RequestScope:
    """Gives each request its id, forwards it with the trace to the FHIR server, and ends it in an orderly way.

    ``X-Request-Id`` is taken over if it is 1 to 64 letters, digits, dots, hyphens or underscores, else made.
    An exception nobody handled becomes a problem document; its text is logged nowhere.
    """

    def __init__(self, app: ASGIApp, *, observer: RequestObserver | None = None) -> None:
        self._app, self._observer = app, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), _GONE
        outgoing = _forwarded(scope)
        scope[REQUEST_ID] = outgoing["x-request-id"]

        async def finishing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _with_defaults(message.get("headers", ()), scope)}
            await send(message)

        with forwarding(outgoing), structlog.contextvars.bound_contextvars(request_id=scope[REQUEST_ID]):
            try:
                await self._app(scope, receive, finishing)
            except ClientDisconnect:
                status = _GONE
            except Exception as fault:
                if status != _GONE:  # too late for an answer: the server cuts the connection
                    raise
                await answer(fault, scope)(scope, receive, finishing)
            finally:
                self._done(scope, status, time.perf_counter() - started)

    def _done(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = route_template(scope), scope["method"]
        if self._observer:
            self._observer.request(method, route, status, seconds)
        say = log.debug if route in _QUIET and status < 400 else log.info
        code = {"code": scope[CODE]} if CODE in scope else {}
        say("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1), **code)


@dataclass(frozen=True, slots=True)
class LimitValues:
    """The bounds of one request: bytes, levels of nesting, seconds."""

    body: int = 2_000_000
    depth: int = 64
    seconds: float = 60.0


class Limits:
    """Refuses bodies that are too large, too deep or packed, and ends what takes too long.

    A body is read whole before the route sees it: it is bounded, and every route needs all of it.
    """

    def __init__(self, app: ASGIApp, *, values: LimitValues | None = None) -> None:
        self._app, self._values = app, values or LimitValues()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within the limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        timer = asyncio.timeout(self._values.seconds)
        try:
            async with timer:
                await self._app(scope, await self._checked(scope, receive), send)
        except TimeoutError:
            if not timer.expired():
                raise
            said = f"The request was not done within {self._values.seconds:g} seconds."
            raise RequestTimeout(said) from None

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        headers = {name: value for name, value in scope["headers"] if name.startswith((b"content-", b"transfer-"))}
        length = headers.get(b"content-length", b"")
        if not length and b"transfer-encoding" not in headers and scope.get("http_version", "1.1")[0] == "1":
            return receive
        if headers.get(b"content-encoding", b"identity").strip().lower() not in {b"", b"identity"}:
            raise UnsupportedBody("The body comes packed.", where="Content-Encoding")
        if length.isdigit() and int(length) > self._values.body:
            raise self._too_large()
        body = await self._read(receive)
        if b"json" in headers.get(b"content-type", b"").lower() and deeper_than(body, self._values.depth):
            raise BodyTooDeep(f"The body is nested more than {self._values.depth} levels deep.", where="body")
        return _replayed(body, receive)

    async def _read(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._values.body:
                raise self._too_large()
            chunks.append(chunk)
            more = message.get("more_body", False)
        return b"".join(chunks)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is larger than {self._values.body} bytes.", where="body")


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _forwarded(scope: Scope) -> dict[str, str]:
    """Give the headers that go along to the FHIR server: our id, and the trace as far as it is a valid one."""
    given = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _TRACED}
    known = given.get(b"x-request-id", "")
    outgoing = {"x-request-id": known if _ID.fullmatch(known) else secrets.token_hex(16)}
    if trace.get_current_span().get_span_context().is_valid:  # ours continues the caller's trace
        propagate.inject(outgoing)
    elif _TRACEPARENT.fullmatch(given.get(b"traceparent", "")):
        outgoing["traceparent"] = given[b"traceparent"]
        if _TRACESTATE.fullmatch(given.get(b"tracestate", "")):
            outgoing["tracestate"] = given[b"tracestate"]
    return outgoing


def _with_defaults(given: Iterable[tuple[bytes, bytes]], scope: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    headers = list(given)
    names = {name.lower() for name, _ in headers}
    headers += [header for header in _DEFAULTS if header[0] not in names]
    if scope.get("scheme") == "https":
        headers.append(_HSTS)
    headers.append((b"x-request-id", scope[REQUEST_ID].encode()))
    return headers
