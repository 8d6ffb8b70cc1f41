"""Logs: whatever is logged, by us or by a library, no patient is in it."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import subprocess
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.errors import FhirTimeout, StoreUnavailable
from fhir_aftercare.observe.logs import configure
from fhir_aftercare.observe.redaction import ALLOWED, MASK, describe, redact
from fhir_aftercare.store.database import Database
from fhir_aftercare.store.schema import idempotency_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENT = "Rivera"


@contextmanager
def logged(level: str = "debug") -> Iterator[list[dict[str, Any]]]:
    """Collect the lines logged in the block, as they would stand on stderr, and put everything back."""
    root, out = logging.getLogger(), io.StringIO()
    before, was = root.handlers[:], root.level
    lines: list[dict[str, Any]] = []
    configure(level, out)
    try:
        yield lines
    finally:
        lines += [json.loads(line) for line in out.getvalue().splitlines()]
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers, root.level = before, was


def test_a_line_is_one_json_object_with_time_level_and_the_requests_id() -> None:
    with logged() as lines, structlog.contextvars.bound_contextvars(request_id="abc"):
        structlog.get_logger().info("request", status=200, route="/v1/{clinic}", ms=1.5)
    (line,) = lines
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": "abc",
        "status": 200,
        "route": "/v1/{clinic}",
        "ms": 1.5,
    }


def test_a_key_nobody_allowed_is_masked_and_its_name_stays() -> None:
    with logged() as lines:
        structlog.get_logger().warning("odd", patient=PATIENT, answers=[1, 2], status=500)
    assert (lines[0]["patient"], lines[0]["answers"], lines[0]["status"]) == (MASK, MASK, 500)


@pytest.mark.parametrize("value", ["x" * 201, "two\nlines", {"name": PATIENT}, [PATIENT], object(), b"x", "\x1b[31m"])
def test_an_allowed_key_takes_short_plain_values_only(value: Any) -> None:
    with logged() as lines:
        structlog.get_logger().info("odd", outcome=value)
    assert lines[0]["outcome"] == MASK


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())))
def test_whatever_the_keys_are_only_the_allowed_ones_keep_their_value(event: dict[str, Any]) -> None:
    for key, value in redact(None, "info", dict(event)).items():
        assert value == MASK or key in ALLOWED


def test_an_exception_is_told_by_class_and_place_and_its_text_is_not() -> None:
    with logged() as lines:
        try:
            try:
                {}[PATIENT]
            except KeyError as fault:
                raise FhirTimeout("GET Task: no whole answer came.") from fault
        except FhirTimeout:
            structlog.get_logger().exception("failed")
    outer, inner = lines[0]["fault"]
    assert outer["type"] == "fhir_aftercare.errors.FhirTimeout"
    assert outer["message"] == "GET Task: no whole answer came."
    assert (inner["type"], "message" in inner) == ("KeyError", False)
    assert inner["at"][0].startswith("observe/test_logs.py:")
    assert PATIENT not in str(lines)


def test_exceptions_in_groups_and_in_circles_are_told_too() -> None:
    first, second = ValueError(PATIENT), TypeError(PATIENT)
    first.__cause__, second.__cause__ = second, first
    told = describe(ExceptionGroup(PATIENT, [first, KeyError(PATIENT)]))
    assert [one["type"] for one in told[0]["of"]] == ["ValueError", "TypeError", "KeyError"]
    assert PATIENT not in str(told)


def test_a_librarys_line_keeps_its_fixed_text_and_loses_what_was_put_in() -> None:
    with logged() as lines:
        logging.getLogger("somelib").warning("cannot read %s of %r (%d%%, %5.1f)", PATIENT, {"a": PATIENT}, 7, 1.0)
        logging.getLogger("somelib").warning("cannot read " + PATIENT)  # noqa: G003
        logging.getLogger("somelib").warning("%(name)s", {"name": PATIENT})
        logging.getLogger("somelib").warning({"name": PATIENT})
        logging.getLogger("uvicorn.error").info("Uvicorn running on %s://%s:%d", "http", PATIENT, 8000)
        logging.getLogger("uvicorn.error").info("Application startup complete.")
    assert [line["event"] for line in lines] == [
        f"cannot read {MASK} of {MASK} ({MASK}%, {MASK})",
        lines[1]["event"],
        MASK,
        lines[3]["event"],
        f"Uvicorn running on {MASK}://{MASK}:8000",
        "Application startup complete.",
    ]
    assert lines[1]["event"].startswith(f"{MASK} test_logs:")
    assert lines[0]["logger"] == "somelib"
    assert PATIENT not in str(lines)


def test_the_trace_of_a_librarys_exception_is_redacted_as_ours_are() -> None:
    def fail() -> None:
        raise ValueError(PATIENT)

    with logged() as lines:
        try:
            fail()
        except ValueError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    assert lines[0]["event"] == "Exception in ASGI application"
    assert lines[0]["fault"][0]["type"] == "ValueError"
    assert PATIENT not in str(lines)


def test_a_warning_keeps_its_class_and_place_only() -> None:
    with logged() as lines, warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"cannot serialize {PATIENT}", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert lines[0]["event"].startswith("UserWarning at ")
    assert PATIENT not in str(lines)


async def test_a_forgotten_task_that_failed_does_not_quote_its_error() -> None:
    async def fail() -> None:
        raise ValueError(PATIENT)

    with logged() as lines:
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()
    assert lines, "asyncio says that a task's exception was never retrieved"
    assert PATIENT not in str(lines)


async def test_urls_and_statements_are_not_logged_even_at_debug(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    with logged("debug") as lines:
        transport = httpx.MockTransport(lambda _: httpx.Response(200))
        async with httpx.AsyncClient(transport=transport) as http:
            await http.get(f"http://fhir.localhost/Patient?name={PATIENT}")
        await database.upgrade()
        with pytest.raises(StoreUnavailable):
            async with database.begin() as connection:
                await connection.execute(insert(idempotency_keys).values(id=PATIENT))
        await database.close()
    assert PATIENT not in str(lines)
    assert not [line for line in lines if line.get("logger") in {"httpx", "sqlalchemy.engine.Engine", "aiosqlite"}]


async def test_a_whole_request_that_fails_logs_nothing_of_its_patient() -> None:
    app = make_app("Test", "1", Machinery(docs=False))

    @app.post("/patients/{patient}")
    async def fail(patient: str, body: dict[str, str]) -> None:
        raise KeyError(patient, body)

    with logged("debug") as lines:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://a.localhost") as http:
            await http.post(f"/patients/{PATIENT}?name={PATIENT}", json={"name": PATIENT})
            await http.post(f"/patients/{PATIENT}", json=[PATIENT])
    assert [line["event"] for line in lines] == ["unexpected error", "request", "request"]
    assert lines[0]["request_id"] == lines[1]["request_id"]
    assert PATIENT not in str(lines)


def test_levels_below_the_one_set_are_left_out() -> None:
    with logged("warning") as lines:
        structlog.get_logger().info("quiet")
        logging.getLogger("somelib").info("quiet")
        structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines] == ["loud"]


def test_configured_twice_each_line_still_comes_once() -> None:
    with logged() as lines:
        out = io.StringIO()
        configure("info", out)
        configure("info", out)
        logging.getLogger("somelib").warning("once %s", "x")
    assert lines == []
    assert len(out.getvalue().splitlines()) == 1


def test_by_default_logs_go_to_stderr() -> None:
    program = "import structlog, fhir_aftercare.observe.logs as l; l.configure(); structlog.get_logger().info('hello')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert json.loads(done.stderr)["event"] == "hello"
