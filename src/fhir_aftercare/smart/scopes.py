"""What access to ask for, in one table, written as SMART v2 or v1 scopes; and what was granted, read from either.

Decides which part of the request is missing from the grant. What is then not offered is the caller's to decide and to
say (integration §1.2 rows 12, 13).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote, unquote_plus

from fhir_aftercare.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Iterable

Level = Literal["patient", "user", "system"]
Version = Literal[1, 2]

_V2: Final = re.compile(r"(patient|user|system)/(\*|[A-Z][A-Za-z]*)\.(c?r?u?d?s?)(?:\?(.+))?")
_V1: Final = re.compile(r"(patient|user|system)/(\*|[A-Z][A-Za-z]*)\.(read|write|\*)")
_V1_MEANS: Final = {"read": "rs", "write": "cud", "*": "cruds"}
# RFC 6749 §3.3: what a scope may consist of.
_SCOPE_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_URI_PREFIXES: Final = ("http://smarthealthit.org/fhir/scopes/", "http://openid.net/specs/openid-connect-core-1_0#")
_REFRESH: Final = ("online_access", "offline_access")
_ACTIONS: Final = "cruds"


@dataclass(frozen=True, slots=True)
class Access:
    """One line of the table. ``can`` is any of ``cruds`` in that order; ``where`` narrows by search parameters.

    Raises ``ConfigFault`` for a line that is no SMART v2 scope.
    """

    level: Level
    type: str
    can: str
    where: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.can or not _V2.fullmatch(self.as_v2()):
            raise ConfigFault([f"{self.as_v2()!r} is not a SMART scope"], where="scopes")

    def as_v2(self) -> str:
        """Give the v2 scope, such as ``user/Observation.rs?category=survey``."""
        query = "&".join(f"{name}={quote(value, safe=':/|,.')}" for name, value in self.where)
        return f"{self.level}/{self.type}.{self.can}" + (f"?{query}" if query else "")

    def as_v1(self) -> tuple[str, ...]:
        """Give the v1 scopes that hold it: read for r or s, write for c, u or d. They are wider than v2 can be."""
        read = (f"{self.level}/{self.type}.read",) if set(self.can) & set("rs") else ()
        write = (f"{self.level}/{self.type}.write",) if set(self.can) & set("cud") else ()
        return read + write

    def covers(self, level: Level, type_: str, action: str, where: Iterable[tuple[str, str]] = ()) -> bool:
        """Tell whether this line allows one action (a letter of ``cruds``) on a type, narrowed by ``where``."""
        same = self.level == level and self.type in {type_, "*"} and action in self.can
        # Each condition of the grant must be one the caller keeps to anyway.
        return same and set(self.where) <= set(where)

    def common(self, other: Access) -> Access | None:
        """Give what both lines allow, None if nothing."""
        types = {self.type, other.type} - {"*"}
        can = "".join(action for action in self.can if action in other.can)
        if self.level != other.level or len(types) > 1 or not can:
            return None
        where = tuple(dict.fromkeys((*self.where, *other.where)))
        return Access(self.level, types.pop() if types else "*", can, where)


@dataclass(frozen=True, slots=True)
class ScopeTable:
    """All a client asks for. ``context`` are launch contexts such as ``patient`` or ``List?role=x``."""

    access: tuple[Access, ...]
    context: tuple[str, ...] = ("patient",)
    identity: bool = True
    refresh: Literal["online_access", "offline_access"] | None = None

    def for_launch(self, version: Version, *, from_ehr: bool) -> str:
        """Give the ``scope`` of an authorization request. An EHR launch has its context; alone, it is asked for."""
        launch = ["launch"] if from_ehr else []
        for name in self.context:
            type_, role, which = name.partition("?")
            launch.append(f"launch/{type_.lower()}{role}{which}")
        identity = ["openid", "fhirUser"] if self.identity else []
        refresh = [self.refresh] if self.refresh else []
        return " ".join([*launch, *identity, *refresh, *self.resources(version)])

    def for_backend(self, version: Version) -> str:
        """Give the ``scope`` of a client_credentials request: system level only. Raises ``ConfigFault`` otherwise."""
        if not self.access or any(line.level != "system" for line in self.access):
            raise ConfigFault(["backend services ask for system/ scopes, at least one and no other"], where="scopes")
        return " ".join(self.resources(version))

    def resources(self, version: Version) -> tuple[str, ...]:
        """Give the scopes for FHIR resources, each once, in the order of the table."""
        written = (
            (line.as_v2() for line in self.access) if version == 2 else (s for a in self.access for s in a.as_v1())
        )
        return tuple(dict.fromkeys(written))


@dataclass(frozen=True, slots=True)
class Granted:
    """What a token may do. ``text`` is the scope as granted; ``others`` are the scopes without a FHIR type."""

    text: str
    access: tuple[Access, ...]
    others: frozenset[str]

    def allows(
        self,
        type_: str,
        action: str,
        where: Iterable[tuple[str, str]] = (),
        *,
        levels: Iterable[Level] = ("user", "patient"),
    ) -> bool:
        """Tell whether one action (a letter of ``cruds``) on a type is granted at any of the levels."""
        where = tuple(where)
        return any(line.covers(level, type_, action, where) for line in self.access for level in levels)

    def missing(self, asked: ScopeTable) -> tuple[str, ...]:
        """Give what was asked for and not granted, as v2 scopes reduced to the missing actions.

        ``launch`` and ``launch/…`` are not looked at: whether there is a context shows in the context itself.
        """
        lacking = []
        for line in asked.access:
            letters = "".join(a for a in line.can if not self.allows(line.type, a, line.where, levels=(line.level,)))
            if letters:
                lacking.append(Access(line.level, line.type, letters, line.where).as_v2())
        wanted = ["openid", "fhirUser"] if asked.identity else []
        # A server may give the shorter or the longer kind of refresh token than was asked for.
        if asked.refresh and not self.others & set(_REFRESH):
            wanted.append(asked.refresh)
        return tuple(scope for scope in wanted if scope not in self.others) + tuple(lacking)

    def narrowed_to(self, earlier: Granted) -> Granted:
        """Give this grant without what an earlier one did not hold: nothing new is gained by a refresh."""
        both = (mine.common(theirs) for mine in self.access for theirs in earlier.access)
        kept = tuple(dict.fromkeys(line for line in both if line is not None))
        if set(self.access) <= set(earlier.access):  # as good as always
            kept = self.access
        others = self.others & earlier.others
        text = " ".join([*sorted(others), *(line.as_v2() for line in kept)])
        return Granted(text, kept, others)


def parse(text: str) -> Granted:
    """Read granted scopes: v1 and v2 mixed, any order, wildcards, URI forms. What is not understood grants nothing.

    Raises ``ValueError`` if the text breaks RFC 6749 §3.3 (control characters, quotes).
    """
    access: list[Access] = []
    others: set[str] = set()
    for scope in text.split(" "):
        if not scope:
            continue
        if not _SCOPE_TOKEN.fullmatch(scope):
            raise ValueError("a scope with characters that scopes cannot have")
        short = _without_uri(scope)
        lines = _resource(short)
        access += lines
        if not lines:
            others.add(short)
    return Granted(text, tuple(access), frozenset(others))


def _without_uri(scope: str) -> str:
    for prefix in _URI_PREFIXES:
        if scope.startswith(prefix):
            return scope.removeprefix(prefix)
    return scope


def _resource(scope: str) -> list[Access]:
    old = _V1.fullmatch(scope)
    if old:
        return [Access(old[1], old[2], _V1_MEANS[old[3]])]  # type: ignore[arg-type]
    new = _V2.fullmatch(scope)
    if not new or not new[3]:
        return []
    pairs = [pair.partition("=") for pair in (new[4] or "").split("&") if pair]
    if any(not (name and equals and value) for name, equals, value in pairs):
        return []
    where = tuple((unquote_plus(name), unquote_plus(value)) for name, _, value in pairs)
    return [Access(new[1], new[2], new[3], where)]  # type: ignore[arg-type]
