"""Two bases, one place: the store's own base URL in its answers becomes the EHR's, and the other way in requests.

Texts are changed only where a JSON string, a header or a parameter begins with the base; numbers and all else stay
byte for byte as they were.
"""

from __future__ import annotations

import re


class Bases:
    """Rewrites addresses between the EHR's FHIR base and that of the store behind it."""

    def __init__(self, own: str, store: str) -> None:
        self.own, self.store = own.rstrip("/"), store.rstrip("/")
        self._outward, self._inward = _beginnings(self.store), _beginnings(self.own)

    def outward(self, content: bytes) -> bytes:
        """Give a JSON body of the store as the EHR sends it."""
        return self._outward.sub(b'"' + self.own.encode(), content)

    def inward(self, content: bytes) -> bytes:
        """Give a JSON body of an app as the store is sent it."""
        return self._inward.sub(b'"' + self.store.encode(), content)

    def text_outward(self, text: str) -> str:
        """Do the same for one address."""
        return _swapped(text, self.store, self.own)

    def text_inward(self, text: str) -> str:
        """Do the same for one address."""
        return _swapped(text, self.own, self.store)


def _beginnings(base: str) -> re.Pattern[bytes]:
    return re.compile(b'"' + re.escape(base.encode()) + rb'(?=["/?#|])')


def _swapped(text: str, old: str, new: str) -> str:
    rest = text.removeprefix(old)
    return new + rest if text.startswith(old) and rest[:1] in {"", "/", "?", "#", "|"} else text
