"""Every request: its id, its limits, its headers, and one line about it that names no patient."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response, StreamingResponse
from structlog.testing import capture_logs

from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.api.bodies import FhirResponse, JsonRoute
from fhir_aftercare.api.json_text import deeper_than
from fhir_aftercare.api.middleware import LimitValues
from fhir_aftercare.ehr.context import outgoing_headers
from fhir_aftercare.observe.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

JSON = {"content-type": "application/json"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LIMITS = LimitValues(body=1000, depth=10, seconds=0.2)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def app(metrics: Metrics) -> FastAPI:
    made = make_app("Test", "1", Machinery(limits=LIMITS, metrics=metrics, docs=False))
    inner = APIRouter(prefix="/patients/{patient}", route_class=JsonRoute)

    @inner.get("/summary")
    async def summary(patient: str) -> dict[str, str]:
        return dict(outgoing_headers.get())

    @inner.post("/echo")
    async def echo(patient: str, body: dict[str, Any]) -> Response:
        return FhirResponse(body)

    @inner.post("/raw")
    async def raw(request: Request) -> Response:
        body = await request.body()
        return Response(str(len(body)))

    @inner.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(5)

    @inner.get("/own-timeout")
    async def own_timeout() -> None:
        raise TimeoutError

    @inner.get("/policy")
    async def policy() -> Response:
        return Response("x", headers={"Cache-Control": "max-age=60", "Content-Security-Policy": "default-src 'self'"})

    @inner.get("/breaks-off")
    async def breaks_off() -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"a"
            raise KeyError("Rivera")

        return StreamingResponse(parts())

    outer = APIRouter(prefix="/v1/clinics/{clinic}")
    outer.include_router(inner)
    made.include_router(outer)
    return made


BASE = "/v1/clinics/harbor/patients/4711"
TEMPLATE = "/v1/clinics/{clinic}/patients/{patient}"


async def test_a_good_request_id_is_taken_over_and_goes_to_the_fhir_server_with_the_trace(
    app: FastAPI, reach: Callable[..., Any]
) -> None:
    sent = {"X-Request-Id": "job-7.1_A", "traceparent": TRACE, "tracestate": "a=1", "authorization": "Bearer x"}
    async with reach(app) as http:
        answer = await http.get(f"{BASE}/summary", headers=sent)
    assert answer.headers["x-request-id"] == "job-7.1_A"
    assert answer.json() == {"x-request-id": "job-7.1_A", "traceparent": TRACE, "tracestate": "a=1"}


@pytest.mark.parametrize("bad", ["", "a" * 65, "a b", "é", "<script>", "a\tb", "Rivera, Ana"])
async def test_a_bad_request_id_is_replaced(app: FastAPI, reach: Callable[..., Any], bad: str) -> None:
    async with reach(app) as http:
        answer = await http.get(f"{BASE}/summary", headers={"X-Request-Id": bad.encode("latin-1")})
    made = answer.headers["x-request-id"]
    assert made != bad
    assert len(made) == 32
    assert answer.json() == {"x-request-id": made}


@pytest.mark.parametrize(
    "bad", ["nonsense", TRACE.upper(), "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff" + TRACE[2:]]
)
async def test_a_bad_traceparent_goes_no_further_and_takes_its_state_along(
    app: FastAPI, reach: Callable[..., Any], bad: str
) -> None:
    async with reach(app) as http:
        answer = await http.get(f"{BASE}/summary", headers={"traceparent": bad, "tracestate": "a=1"})
    assert set(answer.json()) == {"x-request-id"}


async def test_nothing_is_left_of_a_request_when_the_next_one_comes(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        await http.get(f"{BASE}/summary", headers={"traceparent": TRACE})
    assert outgoing_headers.get() == {}


async def test_a_body_above_the_limit_is_refused_by_its_announced_length(
    app: FastAPI, reach: Callable[..., Any]
) -> None:
    async with reach(app) as http:
        answer = await http.post(f"{BASE}/raw", content=b"x" * 1001, headers=JSON)
        allowed = await http.post(f"{BASE}/raw", content=b"x" * 1000, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert (allowed.status_code, allowed.text) == (200, "1000")


async def test_a_streamed_body_is_read_no_further_than_the_limit(app: FastAPI, reach: Callable[..., Any]) -> None:
    given_out = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given_out
        while True:
            given_out += 100
            yield b"x" * 100

    async with reach(app) as http:
        answer = await http.post(f"{BASE}/raw", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert given_out <= 1300


async def test_a_body_that_comes_in_pieces_arrives_whole(app: FastAPI, reach: Callable[..., Any]) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"a"', b":", b"1}"):
            yield piece

    async with reach(app) as http:
        assert (await http.post(f"{BASE}/echo", content=pieces(), headers=JSON)).json() == {"a": 1}


async def test_a_body_that_never_ends_is_cut_off_by_the_time_limit(app: FastAPI, reach: Callable[..., Any]) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.02)
            yield b" "

    async with reach(app) as http:
        answer = await http.post(f"{BASE}/raw", content=dripping(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (504, "request-timeout")


@pytest.mark.parametrize("kind", ["application/json", "application/fhir+json; charset=utf-8", "Application/JSON"])
async def test_a_body_nested_too_deeply_is_refused_before_it_is_parsed(
    app: FastAPI, reach: Callable[..., Any], kind: str
) -> None:
    deep, fits = '{"a":' * 11 + "1" + "}" * 11, '{"a":' * 10 + "1" + "}" * 10
    async with reach(app) as http:
        answer = await http.post(f"{BASE}/echo", content=deep, headers={"content-type": kind})
        allowed = await http.post(f"{BASE}/echo", content=fits, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (400, "body-too-deep")
    assert allowed.status_code == 200


async def test_a_packed_body_and_one_that_is_no_json_are_refused(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        packed = await http.post(f"{BASE}/echo", content=b"{}", headers={**JSON, "content-encoding": "gzip"})
        form = await http.post(f"{BASE}/echo", data={"a": "1"})
        untyped = await http.post(f"{BASE}/echo", content=b"{}")
    for answer in (packed, form, untyped):
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-body")


async def test_numbers_come_in_and_go_out_digit_for_digit(app: FastAPI, reach: Callable[..., Any]) -> None:
    body = b'{"a":1.50,"b":0.1000000000000000055,"c":1e-7}'
    async with reach(app) as http:
        answer = await http.post(f"{BASE}/echo", content=body, headers=JSON)
    assert answer.headers["content-type"] == "application/fhir+json"
    assert answer.content == b'{"a":1.50,"b":0.1000000000000000055,"c":0.0000001}'


@pytest.mark.parametrize("body", [b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":"\xff"}', b'{"a":', b"nonsense", b"\x00"])
async def test_what_is_not_json_to_fhir_is_a_400(app: FastAPI, reach: Callable[..., Any], body: bytes) -> None:
    async with reach(app) as http:
        answer = await http.post(f"{BASE}/echo", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-body")


async def test_a_request_that_takes_too_long_ends_in_a_504_with_a_remedy(
    app: FastAPI, reach: Callable[..., Any]
) -> None:
    started = time.monotonic()
    async with reach(app) as http:
        answer = await http.get(f"{BASE}/slow")
    assert time.monotonic() - started < 2
    assert (answer.status_code, answer.json()["code"]) == (504, "request-timeout")
    assert "Repeat the request" in answer.json()["remedy"]


async def test_a_time_out_inside_a_route_is_not_taken_for_the_time_limit(
    app: FastAPI, reach: Callable[..., Any]
) -> None:
    async with reach(app) as http:
        assert (await http.get(f"{BASE}/own-timeout")).json()["code"] == "internal"


@pytest.mark.parametrize("path", [f"{BASE}/summary", "/nowhere", f"{BASE}/slow", f"{BASE}/own-timeout"])
async def test_every_answer_carries_the_security_headers(app: FastAPI, reach: Callable[..., Any], path: str) -> None:
    async with reach(app) as http:
        headers = (await http.get(path)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["x-request-id"]
    assert "strict-transport-security" not in headers


async def test_a_route_may_set_its_own_policy_and_https_adds_hsts(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.localhost") as http:
        headers = (await http.get(f"{BASE}/policy")).headers
    assert headers.get_list("cache-control") == ["max-age=60"]
    assert headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert headers["strict-transport-security"]


async def test_each_request_is_one_log_line_without_path_or_query(app: FastAPI, reach: Callable[..., Any]) -> None:
    with capture_logs() as lines:
        async with reach(app) as http:
            await http.get(f"{BASE}/summary?name=Rivera")
            await http.get("/nowhere/Rivera?mrn=4711")
            await http.post(f"{BASE}/echo", content=b"{", headers=JSON)
    told = [(line["method"], line["route"], line["status"], line.get("code")) for line in lines]
    assert told == [
        ("GET", f"{TEMPLATE}/summary", 200, None),
        ("GET", "(other)", 404, "no-such-route"),
        ("POST", f"{TEMPLATE}/echo", 400, "malformed-body"),
    ]
    assert "Rivera" not in str(lines)
    assert "4711" not in str(lines)


async def test_each_request_is_counted_by_template_and_class_of_status(
    app: FastAPI, metrics: Metrics, reach: Callable[..., Any]
) -> None:
    async with reach(app) as http:
        await http.get(f"{BASE}/summary")
        await http.request("BREW", "/nowhere/4711")
    text = metrics.text()
    assert f'aftercare_http_requests_total{{method="GET",route="{TEMPLATE}/summary",status="2xx"}} 1.0' in text
    assert 'aftercare_http_requests_total{method="other",route="(other)",status="4xx"} 1.0' in text
    assert f'aftercare_http_request_seconds_count{{method="GET",route="{TEMPLATE}/summary"}} 1.0' in text
    assert "4711" not in text


async def test_an_answer_that_breaks_off_is_left_to_the_server_to_cut(app: FastAPI, reach: Callable[..., Any]) -> None:
    with pytest.raises(KeyError):
        async with reach(app) as http:
            await http.get(f"{BASE}/breaks-off")


async def test_who_hangs_up_while_sending_gets_no_answer_and_leaves_no_error(app: FastAPI) -> None:
    messages: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"{BASE}/echo"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "http_version": "1.1"}
    with capture_logs() as lines:
        await app({**scope, "headers": [(b"content-length", b"9")]}, receive, send)
    assert sent == []
    assert [(line["event"], line["status"]) for line in lines] == [("request", 499)]


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((depth_of(inner) for inner in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(inner) for inner in value), default=0)
    return 0


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.text(st.sampled_from('ab"\\[]{}')) | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.sampled_from('a"\\[]{}')), inner),
    ),
    st.integers(0, 6),
)
def test_depth_is_judged_as_a_parser_would(value: Any, limit: int) -> None:
    assert deeper_than(json.dumps(value).encode(), limit) is (depth_of(value) > limit)


@given(st.binary(max_size=200), st.integers(0, 5))
def test_no_text_at_all_breaks_the_judgement_of_depth(text: bytes, limit: int) -> None:
    assert deeper_than(text, limit) in {True, False}


@pytest.mark.parametrize(
    "text",
    [
        b'"' + b'\\"' * 500_000,
        b'"' + b'\\"' * 500_000 + b"\\",
        b"[" * 1_000_000,
        b"[]" * 500_000,
        b"]" * 1_000_000 + b"[" * 100,
        b'["' * 300_000,
        (b"[" * 60 + b"]" * 60) * 8000,
    ],
    ids=["open string", "open string, lone backslash", "descent", "flat", "closing", "quotes", "deep and wide"],
)
def test_a_hostile_text_takes_no_longer_than_its_length(text: bytes) -> None:
    started = time.perf_counter()
    deeper_than(b"[[[[" * 20 + text, 64)
    deeper_than(text, 64)
    assert time.perf_counter() - started < 2
