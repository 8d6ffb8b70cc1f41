"""The one cookie: opaque, random, and written by hand, as an EHR's iframe needs it (integration §1.4).

``Partitioned`` keeps it alive where third-party cookies are blocked; the ``__Host-`` name keeps every other host and
path from setting it. It has no end of its own: it goes with the browser, and the server ends what it opens.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.requests import Request

NAME: Final = "__Host-aftercare"
_LEFT: Final = "__Host-aftercare-left"
# By hand: Starlette writes Partitioned only on Python 3.14 and later.
_ATTRIBUTES: Final = "Path=/; Secure; HttpOnly; SameSite=None; Partitioned"
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def given(request: Request) -> str | None:
    """Give the value that the browser sent, as it is; None if it sent none."""
    return request.cookies.get(NAME)


def readable(value: str | None) -> str | None:
    """Give a value that may be one of ours, else None."""
    return value if value is not None and _VALUE.fullmatch(value) else None


def setting(value: str) -> str:
    """Give the ``Set-Cookie`` header for a value."""
    return f"{NAME}={value}; {_ATTRIBUTES}"


def leaving() -> str:
    """Give a ``Set-Cookie`` header that says nothing, and makes a browser forget the pages it keeps for going back.

    Chromium 156, measured: of a window's pages it keeps those with ``no-store`` too, until a cookie of theirs changes
    that is neither partitioned nor open to scripts. ``Clear-Site-Data`` does not do it.
    """
    return f"{_LEFT}={secrets.token_urlsafe(8)}; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Strict"


def dropping() -> str:
    """Give the ``Set-Cookie`` header that takes the cookie back."""
    return f"{NAME}=; Max-Age=0; {_ATTRIBUTES}"
