"""What a FHIR request is: which interaction, on which type, and which letter of ``cruds`` it needs (SMART 2.2 scopes).

Pure. Whether a token has that letter is decided in ``rights``; entries of a Bundle are read the same way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from fhir_aftercare.sandbox.ehr.rights import Denied

_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,63}")
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
# Operations that are passed on, with the letters their type must be granted. Others are refused: what they read is
# not known here.
_OPERATIONS: Final = {
    "$validate": "",
    "$expand": "r",
    "$lookup": "r",
    "$validate-code": "r",
    "$translate": "r",
    "$everything": "rs",
}
_SHAPES: Final = {
    "GET": ("search", "s"),
    "POST _search": ("search", "s"),
    "POST": ("create", "c"),
    "PUT": ("update", "us"),
    "PATCH": ("patch", "us"),
    "DELETE": ("delete", "ds"),
    "GET _history": ("history", "s"),
    "GET id": ("read", "r"),
    "PUT id": ("update", "u"),
    "PATCH id": ("patch", "u"),
    "DELETE id": ("delete", "d"),
    "GET id _history": ("history", "r"),
    "GET id _history id": ("read", "r"),
}
_BY_QUERY: Final = ("update", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Interaction:
    """One FHIR interaction.

    ``letters`` must all be granted for ``type`` ("*": for every type at once). ``asks`` are its search parameters.
    ``conditional`` means that the store looks for the resource by itself, so nobody can look at it before.
    """

    name: str
    letters: str = ""
    type: str = "*"
    id: str | None = None
    path: str = ""
    asks: tuple[tuple[str, str], ...] = field(default=())
    conditional: bool = False

    @property
    def writes(self) -> bool:
        """Whether it changes the store."""
        return self.name in {"create", "update", "patch", "delete"}

    @property
    def searches(self) -> bool:
        """Whether it answers with a Bundle of matches that a filter can narrow."""
        return self.name == "search"


def read(method: str, path: str, query: str, *, if_none_exist: str | None = None) -> Interaction:
    """Read a request below the FHIR base. Raises ``Denied`` (404, 405 or 403) for what is not an interaction here."""
    steps = [step for step in path.split("/") if step]
    try:
        asks = tuple(parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=200))
    except ValueError:
        raise Denied(400, "invalid", "The query cannot be read.") from None
    whole = "/".join(steps)
    if any(step in {".", ".."} or not re.fullmatch(r"[\w\-.$]+", step, re.ASCII) for step in steps):
        raise Denied(404, "not-found", "There is no such address.")
    if not steps:
        return _of_system(method, asks)
    if steps == ["metadata"] and method == "GET":
        return Interaction("capabilities", path=whole, asks=asks)
    if steps == ["_history"] and method == "GET":
        return Interaction("history", "s", path=whole, asks=asks)
    if not _TYPE.fullmatch(steps[0]):
        raise Denied(403, "forbidden", "This operation is not open to apps.")
    name, letters, type_ = _of_type(method, steps)
    id_ = steps[1] if len(steps) > 1 and type_ == steps[0] and _kind(steps[1]) == "id" else None
    conditional = (name == "create" and if_none_exist is not None) or (id_ is None and name in _BY_QUERY)
    return Interaction(name, letters, type_, id_, whole, asks, conditional)


def _of_system(method: str, asks: tuple[tuple[str, str], ...]) -> Interaction:
    if method == "POST":
        return Interaction("bundle")
    if method == "GET" and "_getpages" in dict(asks):  # HAPI's next page; what it holds is judged entry by entry
        return Interaction("page", asks=asks)
    raise Denied(403, "forbidden", "Searching all types at once is not open to apps.")


def _of_type(method: str, steps: list[str]) -> tuple[str, str, str]:
    """Give name, letters and type of what is asked below a type."""
    operations = [step for step in steps[1:] if step.startswith("$")]
    if operations:
        if operations[0] not in _OPERATIONS or method not in {"GET", "POST"} or steps[-1] != operations[0]:
            raise Denied(403, "forbidden", "This operation is not open to apps.")
        return "operation", _OPERATIONS[operations[0]], "*" if operations[0] == "$everything" else steps[0]
    shape = " ".join([method, *(_kind(step) for step in steps[1:])])
    if shape == "GET id id" and steps[0] == "Patient" and _TYPE.fullmatch(steps[2]):  # the patient's compartment
        return "search", "s", steps[2]
    if shape not in _SHAPES:
        raise Denied(405, "not-supported", f"{method} is not possible here.")
    return *_SHAPES[shape], steps[0]


def _kind(step: str) -> str:
    if step.startswith("_"):
        return step
    return "id" if _ID.fullmatch(step) else "?"
