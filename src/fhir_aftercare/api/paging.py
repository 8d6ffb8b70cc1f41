"""Lists in pages: a cursor that says where the last page ended, in the body as ``next`` and as a ``Link`` header.

A cursor is a position in a stable order, not a promise or a permission: it is readable and unsigned, checked when it
comes back, and useless for another list or other filters. It must not hold patient data: give it sort keys and ids.
"""

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from fhir_aftercare.api.faults import InvalidCursor
from fhir_aftercare.api.scope import Scope

DEFAULT_LIMIT: Final = 50
LARGEST_LIMIT: Final = 200
LONGEST_CURSOR: Final = 1000
_VERSION: Final = 1
_OWN: Final = frozenset({"cursor", "limit"})

Item = TypeVar("Item")
Row = TypeVar("Row")
Position = tuple[str | int, ...]


class Page(BaseModel, Generic[Item]):
    """One page of a list. ``next`` is the cursor of the page after it, absent on the last."""

    items: list[Item]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Paging:
    """What of a list the caller wants: ``limit`` rows after ``after`` (None: from the start)."""

    limit: int
    after: Position | None
    scope: Scope

    def cut(self, rows: Sequence[Row], position: Callable[[Row], Position]) -> tuple[Sequence[Row], str | None]:
        """Give this page of all rows, and the cursor of the next.

        ``rows`` are in ascending order of ``position``, whose values differ from row to row; a row that has gone since
        the cursor was made takes nothing with it. Raises ``InvalidCursor`` if the cursor is of another shape.
        """
        start = 0
        if self.after is not None:
            shape = [type(part) for part in self.after]
            if rows and shape != [type(part) for part in position(rows[0])]:
                raise _unreadable()
            start = next((n for n, row in enumerate(rows) if position(row) > self.after), len(rows))
        page = rows[start : start + self.limit]
        more = start + self.limit < len(rows)
        return page, self.cursor(position(page[-1])) if more and page else None

    def cursor(self, position: Position) -> str:
        """Give the cursor of what comes after ``position``."""
        text = json.dumps([_VERSION, _list_of(self.scope), *position], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(zlib.crc32(text).to_bytes(4, "big") + text).decode().rstrip("=")

    def link(self, response: Response, cursor: str | None) -> None:
        """Set the ``Link`` header of a response to the next page, if there is one."""
        if cursor is not None:
            # Relative: behind a proxy we do not know by what name we are called.
            query = [pair for pair in _query(self.scope) if pair[0] != "cursor"]
            target = f"{self.scope.get('root_path', '')}{_path(self.scope)}?{urlencode([*query, ('cursor', cursor)])}"
            response.headers["link"] = f'<{target}>; rel="next"'


def _paging(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT, description="Rows on a page.")] = DEFAULT_LIMIT,
    cursor: Annotated[
        str | None, Query(max_length=LONGEST_CURSOR, description="`next` of the page before; absent: from the start.")
    ] = None,
) -> Paging:
    return Paging(limit, _read(cursor, request.scope) if cursor is not None else None, request.scope)


Paged = Annotated[Paging, Depends(_paging)]


def _read(cursor: str, scope: Scope) -> Position:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        checksum, text = raw[:4], raw[4:]
        found = json.loads(text) if zlib.crc32(text).to_bytes(4, "big") == checksum else None
    except (binascii.Error, ValueError) as fault:
        raise _unreadable() from fault
    if not isinstance(found, list) or len(found) < 3 or found[0] != _VERSION:
        raise _unreadable()
    position = tuple(found[2:])
    if not all(isinstance(part, str | int) and not isinstance(part, bool) for part in position):
        raise _unreadable()
    if found[1] != _list_of(scope):
        raise InvalidCursor("The cursor is of another list, or of other filters.", where="cursor")
    return position


def _unreadable() -> InvalidCursor:
    return InvalidCursor("The cursor cannot be read.", where="cursor")


def _list_of(scope: Scope) -> str:
    """Name the list and its filters, as a short hash: the page size may change on the way, nothing else."""
    filters = sorted(pair for pair in _query(scope) if pair[0] not in _OWN)
    return hashlib.sha256(repr((_path(scope), filters)).encode()).hexdigest()[:12]


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")
