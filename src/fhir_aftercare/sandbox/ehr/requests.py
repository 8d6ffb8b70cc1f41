"""How requests to the authorization server are read, and how it refuses: each parameter once, forms as forms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_BYTES: Final = 64_000
# RFC 6749 §5.2: what an error_description may not hold.
_NOT_DESCRIPTIVE: Final = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_FORM: Final = "application/x-www-form-urlencoded"


class Refused(Exception):
    """An OAuth error. ``why`` is the ``error_description``: it names parameters, rules and scopes, no other values."""

    def __init__(self, error: str, why: str, status: int = 400) -> None:
        super().__init__(f"{error}: {why}")
        self.error, self.why, self.status = error, _NOT_DESCRIPTIVE.sub("?", why), status


async def body_of(request: Request, most: int) -> bytes | None:
    """Give the body, None if it is longer than ``most`` bytes."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > most:
            return None
    return bytes(content)


async def read_form(request: Request) -> dict[str, str]:
    """Read a form whose parameters stand once each. Raises ``Refused``."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Refused("invalid_request", f"the body must be {_FORM}")
    body = await body_of(request, MOST_BYTES)
    if body is None:
        raise Refused("invalid_request", "the body is too long", 413)
    return once(body.decode("ascii", errors="replace"))


def once(text: str) -> dict[str, str]:
    """Read form-encoded parameters that stand once each (RFC 6749 §3.1). Raises ``Refused``."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=100)
    except ValueError:
        raise Refused("invalid_request", "the parameters cannot be read") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise Refused("invalid_request", "a parameter is given twice")
    return given
