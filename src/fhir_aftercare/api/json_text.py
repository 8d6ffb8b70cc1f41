"""How deeply a JSON text is nested, found without parsing it and in time linear in its length.

Judges depth only: whether it is JSON is the parser's business.
"""

from __future__ import annotations

import re
from typing import Final

# Always matches at a quote, even in a string that never ends: else each quote in it would start a new search.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
_ALL_BUT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")


def deeper_than(text: bytes, limit: int) -> bool:
    """Tell whether arrays and objects are nested more than ``limit`` deep."""
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    rest = _STRING.sub(b"", text).translate(_ONE_KIND, _ALL_BUT_BRACKETS)
    for _ in range(limit):  # each pass takes away the innermost level
        fewer = rest.replace(b"[]", b"")
        if len(fewer) == len(rest):  # what is left does not match: closing ones, then opening ones that never end
            return rest.count(b"[") > limit
        rest = fewer
    return b"[" in rest
