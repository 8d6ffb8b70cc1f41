"""How the client writes addresses and ETags. Ids and queries are quoted here, so that none can reach another path."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from fhir_aftercare.ehr.answers import version_of
from fhir_aftercare.errors import CheckFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Params = Mapping[str, str | Sequence[str]] | Sequence[tuple[str, str]]


def path(type_: str, *steps: str) -> str:
    """Give ``Type/id/…`` below the base. Raises ``CheckFailed`` for a step that is empty or would climb out."""
    for step in (type_, *steps):
        if step in {"", ".", ".."}:
            raise CheckFailed("An address needs a resource type and an id.", where=type_)
    return "/".join(quote(step, safe="$") for step in (type_, *steps))


def query(type_: str, params: Params) -> str:
    """Give ``Type?name=value&…``; a list of values repeats the name (FHIR: all of them must hold)."""
    pairs = params.items() if hasattr(params, "items") else params
    flat = [(name, value) for name, given in pairs for value in ([given] if isinstance(given, str) else given)]
    encoded = urlencode(flat, quote_via=quote, safe=":,$")
    return f"{path(type_)}?{encoded}" if encoded else path(type_)


def if_match(etag: str) -> str:
    """Give the weak ETag FHIR asks for, from a version or an ETag in any form. Raises ``CheckFailed`` if empty."""
    version = version_of(etag)
    if not version:
        raise CheckFailed("An update needs the version it replaces.", where="If-Match")
    return f'W/"{version}"'
