"""Names under ``localhost``: browsers send them to this machine (RFC 6761 §6.3), Python's resolver often does not.

With this transport a server finds ``http://ehr.localhost:8001`` and ``http://app.localhost:8000`` as its browser does.
"""

from __future__ import annotations

import httpx


class LocalNames(httpx.AsyncBaseTransport):
    """Sends requests for ``*.localhost`` to 127.0.0.1 with the ``Host`` they name; all others as they are."""

    def __init__(self, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._inner = inner or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        if not request.url.host.endswith(".localhost"):
            return await self._inner.handle_async_request(request)
        local = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return await self._inner.handle_async_request(local)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
