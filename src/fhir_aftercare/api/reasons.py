"""Says what does not fit a route's schema without repeating what was sent.

Pydantic's texts are used where they speak of the rule; where they quote the input or another error's text, a text of
our own stands instead. A validator of ours that wants its words to reach the caller raises ``PydanticCustomError``:
the text of a plain ``ValueError`` may quote anything and is not passed on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.api.faults import HttpFault, InvalidRequest, KeyMissing, MalformedBody, PreconditionRequired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi.exceptions import RequestValidationError

MOST_FAULTS: Final = 25
_NAME: Final = re.compile(r"[A-Za-z_][\w-]{0,63}")
# The types whose text quotes the input, by what the field should be.
_OWN_WORDS: Final = {
    "date_parsing": "Input should be a valid date",
    "date_from_datetime_parsing": "Input should be a valid date",
    "time_parsing": "Input should be a valid time",
    "datetime_parsing": "Input should be a valid date and time",
    "datetime_object_invalid": "Input should be a valid date and time",
    "datetime_from_date_parsing": "Input should be a valid date and time",
    "time_delta_parsing": "Input should be a valid duration",
    "url_parsing": "Input should be a valid URL",
    "url_syntax_violation": "Input should be a valid URL",
    "uuid_parsing": "Input should be a valid UUID",
    "union_tag_invalid": "Input should be one of the kinds the schema names",
}
# Headers without which a request is not judged further, each with an error of its own.
_MISSING: Final[dict[tuple[str, ...], tuple[type[HttpFault], str]]] = {
    ("header", "Idempotency-Key"): (KeyMissing, "This route needs an Idempotency-Key."),
    ("header", "If-Match"): (PreconditionRequired, "A change must name the version it changes."),
}
_QUOTING: Final = frozenset({"error", "tag"})


def of_request(raised: RequestValidationError) -> HttpFault:
    """Give FastAPI's error as ours.

    ``MalformedBody`` if the body is no JSON, ``KeyMissing`` or ``PreconditionRequired`` if the header is missing that
    everything hangs on, else ``InvalidRequest``.
    """
    errors: Sequence[Any] = raised.errors()
    for error in errors:
        if error["type"] == "missing" and tuple(error["loc"]) in _MISSING:
            kind, said = _MISSING[tuple(error["loc"])]
            return kind(said, where=error["loc"][-1])
        if error["type"] == "json_invalid":
            position = error["loc"][-1]
            at = f" (at character {position})" if isinstance(position, int) else ""
            return MalformedBody(f"The body is not JSON{at}.", where="body")
    return InvalidRequest([(_place(error["loc"]), _reason(error)) for error in errors[:MOST_FAULTS]])


def _reason(error: Any) -> str:
    own = _OWN_WORDS.get(error["type"])
    if own:
        return own
    if _QUOTING & set(error.get("ctx") or ()):
        return "The value is not acceptable"
    return str(error["msg"])


def _place(loc: Sequence[int | str]) -> str:
    """Give ``("body", "checks", 2, "systolic")`` as ``checks[2].systolic``, as the core names its fields."""
    parts = loc[1:] if len(loc) > 1 and loc[0] == "body" else loc
    place = ""
    for part in parts:
        if isinstance(part, int):
            place += f"[{part}]"
        else:  # an unknown field is named by the caller, who may have put anything there
            name = part if _NAME.fullmatch(part) else "(unnamed)"
            place += f".{name}" if place else name
    return place or "body"
