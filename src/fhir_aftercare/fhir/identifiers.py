"""Business identifiers: the same clinical thing always gets the same value, on every server and from every door.

A value is the uuid5 of its key. Raw EHR values never appear in one: they may hold ``|``, commas or spaces, which break
``ifNoneExist`` (measured), and they may be patient data. The protocol's version and dates are never part of a key.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal
from urllib.parse import quote

Kind = Literal[
    "infusion", "plan", "activity", "observation", "response", "goal", "drug-record", "device", "decision", "demo"
]


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Makes identifiers under one clinic's ``identifier_base`` (an absolute URL without a trailing slash)."""

    base: str

    def system(self, kind: Kind) -> str:
        """Give the identifier system of one kind: ``{base}/id/<kind>``."""
        return f"{self.base}/id/{kind}"

    def value(self, *key: str | int) -> str:
        """Give the uuid5 of a key's parts. As a JSON array no two keys read alike, whatever text a part holds."""
        return _value(self.base, tuple(str(part) for part in key))

    def identifier(self, kind: Kind, *key: str | int) -> dict[str, str]:
        """Give a FHIR Identifier."""
        return {"system": self.system(kind), "value": self.value(*key)}

    def full_url(self, kind: Kind, *key: str | int) -> str:
        """Give the ``urn:uuid`` under which a transaction's other entries refer to this one."""
        return f"urn:uuid:{self.value(kind, *key)}"

    def tag(self, *key: str | int) -> dict[str, str]:
        """Give a ``meta.tag``: Provenance has no identifier in R4, so its decision is tagged."""
        return {"system": self.system("decision"), "code": self.value(*key)}


# A page asks for the keys of a hundred forms to come, the same ones each time it is opened.
@lru_cache(maxsize=4096)
def _value(base: str, key: tuple[str, ...]) -> str:
    return str(uuid.uuid5(_namespace(base), json.dumps(key)))


@cache
def _namespace(base: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, base)


def token_query(parameter: str, identifier: dict[str, str]) -> str:
    """Give the ``ifNoneExist`` query ``parameter=system|value`` of an Identifier or a tag Coding."""
    value = identifier.get("value") or identifier["code"]
    return f"{parameter}={quote(identifier['system'], safe=':/')}|{quote(value, safe='')}"


def escaped(value: str) -> str:
    """Give a text as one part of a search parameter: ``$``, ``,``, ``|`` and the backslash are escaped (R4)."""
    return "".join(f"\\{each}" if each in "$,|\\" else each for each in value)
