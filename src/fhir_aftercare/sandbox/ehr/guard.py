"""What holds for every address of the pretend EHR: its own Host only, no posts from strange pages, nothing cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Posted to by the EHR's own pages; every other address has its own proof of who asks.
_OWN_FORMS: Final = ("/faults", "/auth/decide")
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with that a browser says "Origin: null" even where a page posts to itself.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Pragma": "no-cache",
}


class Guard:
    """ASGI middleware. Another ``Host`` is refused, so that no page can reach in here by a name of its own."""

    def __init__(self, app: ASGIApp, origin: str) -> None:
        self._app, self._origin, self._host = app, origin, urlsplit(origin).netloc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = None
        if headers.get("host", "").lower() != self._host.lower():
            refusal = PlainTextResponse(f"This pretend EHR is at {self._origin} only.", 421)
        elif scope["path"] in _OWN_FORMS and headers.get("origin", self._origin) != self._origin:
            refusal = PlainTextResponse("This may be posted by the pretend EHR's own pages only.", 403)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        await (refusal or self._app)(scope, receive, guarded)
