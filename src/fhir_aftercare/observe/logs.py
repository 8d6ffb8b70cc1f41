"""One JSON object a line on stderr, from structlog and from every library that uses ``logging``, redacted alike.

Call ``configure`` once, at the start. Which keys may appear is decided in ``redaction``.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog
from opentelemetry import trace

from fhir_aftercare.observe.redaction import describe, redact, safe_message

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import TextIO

LEVELS: Final = ("debug", "info", "warning", "error")
# Their INFO lines hold URLs, statements or each request; ours say what is needed.
_QUIET: Final = ("httpx", "httpcore", "sqlalchemy", "aiosqlite", "asyncpg", "alembic", "asyncio", "authlib", "dbos")
# uvicorn gives its loggers handlers of their own, unless it is started with log_config=None.
_OWN_HANDLERS: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logs to ``stream`` (stderr) as redacted JSON lines. ``level`` is one of ``LEVELS``.

    May be called again, as tests do: the last call holds.
    """
    out, number = stream or sys.stderr, logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _trace_ids,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exception,
        redact,
        structlog.processors.JSONRenderer(serializer=_dumps),
    ]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(_Foreign(shared))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, _Foreign) or type(old) is logging.StreamHandler:
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    logging.captureWarnings(capture=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    for name in _OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    logging.getLogger("uvicorn.access").disabled = True


class _Foreign(logging.Formatter):
    """Formats a library's record as our own lines are."""

    def __init__(self, processors: list[Any]) -> None:
        super().__init__()
        self._processors = processors

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        event: Any = {"event": safe_message(record), "logger": record.name}
        if record.exc_info and record.exc_info[1]:
            event["exc_info"] = record.exc_info[1]
        for process in self._processors:
            event = process(None, record.levelname.lower(), event)
        return str(event)


def _exception(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raised = event.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()[1]
    elif isinstance(raised, tuple):
        raised = raised[1]
    event.pop("stack_info", None)
    if isinstance(raised, BaseException):
        event["fault"] = describe(raised)
    return event


def _trace_ids(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"], event["span_id"] = f"{context.trace_id:032x}", f"{context.span_id:016x}"
    return event


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event).decode()
