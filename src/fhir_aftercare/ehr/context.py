"""Which headers of the request being served go along to the FHIR server.

The doors (API, pages, intake) set them once per request; the client adds them to every call made meanwhile, so that one
id finds the whole story in both servers' logs. Only ids for tracing pass: nothing else of a caller's request does.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORWARDED: Final = frozenset({"x-request-id", "x-correlation-id", "traceparent", "tracestate"})

outgoing_headers: ContextVar[Mapping[str, str]] = ContextVar("outgoing_headers", default={})  # noqa: B039 (never changed)


@contextmanager
def forwarding(headers: Mapping[str, str]) -> Iterator[None]:
    """Send those of ``headers`` that are in ``FORWARDED`` with every FHIR call made inside the block."""
    kept = {name: value for name, value in headers.items() if name.lower() in FORWARDED}
    before = outgoing_headers.set(kept)
    try:
        yield
    finally:
        outgoing_headers.reset(before)
