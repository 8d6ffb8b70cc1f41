"""SMART scopes as the server sees them: strict syntax, what a client may ask for, what is granted.

Which FHIR call a granted scope allows is decided in ``rights``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

_V2: Final = re.compile(r"(patient|user|system)/(\*|[A-Z][A-Za-z]+)\.(c?r?u?d?s?)(?:\?(\S+))?")
_V1: Final = re.compile(r"(patient|user|system)/(\*|[A-Z][A-Za-z]+)\.(read|write|\*)")
_V1_MEANS: Final = {"read": "rs", "write": "cud", "*": "cruds"}
_WORDS: Final = (
    "launch",
    "launch/patient",
    "launch/encounter",
    "openid",
    "fhirUser",
    "online_access",
    "offline_access",
)
_API: Final = re.compile(r"[a-z][a-z0-9-]*/[a-z][a-z0-9-]*\.[a-z]+")
# The search parameters a v2 scope may be narrowed by here, and the elements they look at.
CONDITIONS: Final = {
    "category": "category",
    "code": "code",
    "status": "status",
    "intent": "intent",
    "clinical-status": "clinicalStatus",
    "verification-status": "verificationStatus",
}


@dataclass(frozen=True, slots=True)
class ResourceScope:
    """Access to one type of resource. ``can`` are letters of ``cruds``; ``old`` if it was written in v1 syntax."""

    level: str
    type: str
    can: str
    where: tuple[tuple[str, str], ...]
    text: str
    old: bool = False

    def covers(self, letter: str, type_: str) -> bool:
        """Tell whether it speaks of this action (a letter of ``cruds``) on this type."""
        return letter in self.can and self.type in {type_, "*"}

    def without(self, letters: str) -> ResourceScope | None:
        """Give it without some letters; None if nothing is left. A v1 scope cannot be cut: it goes whole."""
        left = "".join(letter for letter in self.can if letter not in letters)
        if left == self.can:
            return self
        if not left or self.old:
            return None
        text = re.sub(r"\.[cruds]+", f".{left}", self.text, count=1)
        return replace(self, can=left, text=text)


@dataclass(frozen=True, slots=True)
class Scopes:
    """A parsed scope: ``resources`` name FHIR types, ``words`` are all others."""

    resources: tuple[ResourceScope, ...] = ()
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(dict.fromkeys([*self.words, *(scope.text for scope in self.resources)]))

    @property
    def levels(self) -> frozenset[str]:
        """The levels spoken of: patient, user, system."""
        return frozenset(scope.level for scope in self.resources)

    def within(self, other: Scopes) -> bool:
        """Tell whether nothing is in it that is not, letter by letter, in the other."""
        return set(self.words) <= set(other.words) and {s.text for s in self.resources} <= {
            s.text for s in other.resources
        }


def parse(text: str) -> Scopes:
    """Read a scope parameter. Raises ``ValueError``, naming the scope, for syntax SMART does not have and for doubles.

    v1 and v2 are both read; ``cruds`` in that order only; conditions only by ``CONDITIONS``.
    """
    parts = text.split(" ")
    if len(set(parts)) != len(parts):
        raise ValueError("a scope is given twice")
    resources: list[ResourceScope] = []
    words: list[str] = []
    for part in parts:
        resource = _resource(part)
        if resource is not None:
            resources.append(resource)
        elif part in _WORDS or _API.fullmatch(part):
            words.append(part)
        else:
            raise ValueError(f"{part[:80]!r} is not a SMART scope that is known here")
    return Scopes(tuple(resources), tuple(words))


def allowed(asked: Scopes, registered: Scopes) -> Scopes:
    """Give what may be granted of what was asked: v2 scopes as asked; v1 scopes keep their text but allow no more than
    the registered letters and conditions, which v1 has no way to write.

    Raises ``ValueError`` for what the client is not registered for.
    """
    strange = [word for word in asked.words if word not in registered.words]
    if strange:
        raise ValueError(f"the client is not registered for {strange[0]}")
    resources: list[ResourceScope] = []
    for scope in asked.resources:
        lines = [mine for mine in registered.resources if mine.level == scope.level and mine.type in {scope.type, "*"}]
        kept = _cut(scope, lines) if scope.old else _whole(scope, lines)
        if not kept:
            raise ValueError(f"the client is not registered for {scope.text}")
        resources += kept
    return replace(asked, resources=tuple(resources))


def withheld(granted: Scopes, held_back: str) -> Scopes:
    """Give the grant without what is held back, such as ``user/CarePlan.cu online_access``. Raises ``ValueError``."""
    if not held_back.strip():
        return granted
    back = parse(" ".join(held_back.split()))
    left: list[ResourceScope] = []
    for scope in granted.resources:
        same = [b.can for b in back.resources if b.level == scope.level and b.type in {scope.type, "*"}]
        cut = scope.without("".join(same))
        if cut is not None:
            left.append(cut)
    return Scopes(tuple(left), tuple(word for word in granted.words if word not in back.words))


def holds(where: Iterable[tuple[str, str]], resource: dict[str, object]) -> bool:
    """Tell whether a resource meets the conditions of a scope (token search: ``system|code``, ``code``, ``a,b``)."""
    return all(_meets(resource.get(CONDITIONS[name]), value) for name, value in where)


def _cut(scope: ResourceScope, lines: list[ResourceScope]) -> list[ResourceScope]:
    both = [(mine, "".join(letter for letter in scope.can if letter in mine.can)) for mine in lines]
    return [replace(scope, can=letters, where=mine.where) for mine, letters in both if letters]


def _whole(scope: ResourceScope, lines: list[ResourceScope]) -> list[ResourceScope]:
    fitting = [mine.can for mine in lines if set(mine.where) <= set(scope.where)]
    return [scope] if set(scope.can) <= set("".join(fitting)) else []


def _resource(text: str) -> ResourceScope | None:
    old = _V1.fullmatch(text)
    if old:
        return ResourceScope(old[1], old[2], _V1_MEANS[old[3]], (), text, old=True)
    new = _V2.fullmatch(text)
    if not new or not new[3]:
        return None
    pairs = [pair.partition("=") for pair in new[4].split("&")] if new[4] else []
    where = tuple((unquote_plus(name), unquote_plus(value)) for name, _, value in pairs)
    if any(name not in CONDITIONS or not value for name, value in where):
        return None
    return ResourceScope(new[1], new[2], new[3], where, text)


def _meets(element: object, value: str) -> bool:
    codings = list(_codings(element))
    for wanted in value.split(","):
        system, bar, code = wanted.rpartition("|")
        for has_system, has_code in codings:
            if (not bar or system == has_system) and code in {has_code, ""}:
                return True
    return False


def _codings(element: object) -> Iterable[tuple[str, str]]:
    if isinstance(element, str):
        yield "", element
    elif isinstance(element, list):
        for each in element:
            yield from _codings(each)
    elif isinstance(element, dict):
        yield from _codings(element.get("coding"))
        if isinstance(element.get("code"), str):
            yield str(element.get("system", "")), element["code"]
