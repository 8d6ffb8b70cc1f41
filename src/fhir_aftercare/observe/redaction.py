"""What may stand in a log line: the keys named here, with short plain values. Everything else is masked.

An allow-list, since nobody can list all the ways a patient's data may be spelled. Texts of exceptions are dropped
(they quote what they were given) unless they are ours, which are written to be safe.
"""

from __future__ import annotations

import re
import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.errors import AftercareError

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, MutableMapping
    from types import TracebackType

MASK: Final = "[withheld]"
LONGEST: Final = 200
ALLOWED: Final = frozenset(
    {
        *("timestamp", "level", "logger", "event", "request_id", "trace_id", "span_id"),
        *("method", "route", "status", "ms", "seconds", "code", "error", "http_status"),
        *("kind", "resource_type", "outcome", "attempt", "count", "version", "revision"),
        *("job", "attempts", "source"),
        *("clinic", "component", "host", "port", "pid", "file", "setting", "signal", "workflow"),
    }
)
# Libraries whose fixed texts are known to name nothing of a request; numbers put into them may stay.
_TRUSTED: Final = ("uvicorn", "alembic", "fhir_aftercare")
_WARNING: Final = re.compile(r"\A(?P<place>[^\n]*?:\d+): (?P<kind>\w+):")
_PLACEHOLDER: Final = re.compile(
    r"%(?:\((?P<name>\w+)\))?[-#0 +]*(?:\*|\d+)?(?:\.(?:\*|\d+))?[hlL]?(?P<type>[a-zA-Z%])"
)
_MOST_FRAMES: Final = 25


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask every value that is not allowed: a structlog processor, to stand right before the renderer."""
    for key, value in event.items():
        if key == "fault" and isinstance(value, list):
            continue  # made by ``describe``: class names and places only
        if key not in ALLOWED or not _plain(value):
            event[key] = MASK
    return event


def _plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST and value.isprintable()
    return value is None or isinstance(value, bool | int | float)


def safe_message(record: logging.LogRecord) -> str:
    """Give of a library's log record what may be shown: its fixed text with the arguments masked, or its place."""
    trusted = record.name.partition(".")[0] in _TRUSTED
    if record.name == "py.warnings":
        # The arguments hold the formatted warning; its text may quote a value, its place and class do not.
        found = _WARNING.match(record.getMessage())
        return f"{found['kind']} at {found['place']}"[:LONGEST] if found else MASK
    if not isinstance(record.msg, str) or not (trusted or record.args):
        return f"{MASK} {record.module}:{record.lineno}"
    if not record.args:
        return " ".join(record.msg.split())[:LONGEST]
    return " ".join(_filled(record.msg, record.args, keep_numbers=trusted).split())[:LONGEST]


def _filled(text: str, args: Any, *, keep_numbers: bool) -> str:
    values = iter(args if isinstance(args, tuple) else ())

    def fill(found: re.Match[str]) -> str:
        if found["type"] == "%":
            return "%"
        value = next(values, None)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return str(value) if keep_numbers and number else MASK

    return _PLACEHOLDER.sub(fill, text)


def describe(fault: BaseException) -> list[dict[str, Any]]:
    """Give an exception and its causes as classes and places in the code, the outermost first."""
    found: list[dict[str, Any]] = []
    seen: set[int] = set()
    current: BaseException | None = fault
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        told: dict[str, Any] = {"type": _class_name(current), "at": list(_frames(current.__traceback__))}
        if isinstance(current, AftercareError):
            told["message"] = current.message
        if isinstance(current, BaseExceptionGroup):
            told["of"] = [described for one in current.exceptions for described in describe(one)]
        found.append(told)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return found


def _class_name(fault: BaseException) -> str:
    kind = type(fault)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _frames(trace: TracebackType | None) -> Iterator[str]:
    for frame in traceback.extract_tb(trace)[-_MOST_FRAMES:]:
        yield f"{'/'.join(PurePath(frame.filename).parts[-2:])}:{frame.lineno} {frame.name}"
