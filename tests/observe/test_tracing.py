"""Traces: one story from the caller through us to the FHIR server, and no patient in it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.ehr.transport import CallRecord
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.observe.metrics import Metrics
from fhir_aftercare.observe.tracing import Tracing, both, tracing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACE = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    with tracing(None, exporter=exporter) as made:
        assert made
        yield made


def spans(traced: Tracing, exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    traced.provider.force_flush()
    return list(exporter.get_finished_spans())


def app_of(traced: Tracing | None, sent: list[httpx.Request]) -> FastAPI:
    app = make_app("Test", "1", Machinery(tracing=traced, docs=False))
    router = APIRouter(prefix="/v1")

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(404, json={"resourceType": "OperationOutcome", "issue": []})

    @router.get("/patients/{patient}")
    async def read(patient: str) -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            on_call = both(Metrics().fhir_call, traced.on_call() if traced else None)
            await FhirClient("http://fhir.localhost/r4", http, on_call=on_call).read("Patient", patient)

    @router.get("/boom/{patient}")
    async def boom(patient: str) -> None:
        raise KeyError(patient)

    app.include_router(router)
    return app


async def get(app: FastAPI, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://a.localhost") as http:
        return await http.get(path, headers={"traceparent": TRACE})


async def test_the_callers_trace_goes_on_through_us_to_the_fhir_server(
    traced: Tracing, exporter: InMemorySpanExporter
) -> None:
    sent: list[httpx.Request] = []
    await get(app_of(traced, sent), "/v1/patients/4711?name=Rivera")
    call, served = spans(traced, exporter)
    assert served.name == "GET /v1/patients/{patient}"
    assert call.name == "FHIR read Patient"
    assert served.parent
    assert f"{served.parent.span_id:016x}" == PARENT_ID
    assert call.parent
    assert call.parent.span_id == served.get_span_context().span_id
    assert sent[0].headers["traceparent"] == f"00-{TRACE_ID}-{served.get_span_context().span_id:016x}-01"
    assert call.status.status_code is StatusCode.ERROR
    assert dict(call.attributes or {})["fhir.outcome"] == "fhir-not-found"
    assert dict(served.attributes or {})["http.response.status_code"] == 404


async def test_no_span_names_a_patient(traced: Tracing, exporter: InMemorySpanExporter) -> None:
    app = app_of(traced, [])
    await get(app, "/v1/patients/4711?name=Rivera")
    await get(app, "/v1/boom/4711?name=Rivera")
    await get(app, "/4711/Rivera")
    told = [span.to_json() for span in spans(traced, exporter)]
    assert len(told) == 4
    assert "4711" not in "".join(told).replace(TRACE_ID, "")
    assert "Rivera" not in "".join(told)


async def test_without_a_collector_the_callers_trace_is_passed_on_as_it_came() -> None:
    sent: list[httpx.Request] = []
    await get(app_of(None, sent), "/v1/patients/4711")
    assert sent[0].headers["traceparent"] == TRACE


def test_without_an_endpoint_there_is_no_tracing() -> None:
    with tracing(None) as made:
        assert made is None


def test_without_the_extra_the_setting_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fhir_aftercare.observe.exporting", None)
    monkeypatch.delattr("fhir_aftercare.observe.exporting", raising=False)
    with pytest.raises(ConfigFault, match="tracing"), tracing("http://collector.localhost:4318"):
        pass


def test_spans_go_to_the_collector_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from fhir_aftercare.observe import exporting  # noqa: PLC0415

    asked: list[str] = []
    inner = InMemorySpanExporter()

    def made(*, endpoint: str) -> InMemorySpanExporter:
        asked.append(endpoint)
        return inner

    monkeypatch.setattr(exporting, "OTLPSpanExporter", made)
    with tracing("http://collector.localhost:4318/") as traced:
        assert traced
        traced.on_call()(CallRecord("GET", "read", "Task", 200, 0.5, "ok"))
    assert asked == ["http://collector.localhost:4318/v1/traces"]
    (span,) = inner.get_finished_spans()
    assert span.end_time
    assert span.start_time
    assert 0.49 < (span.end_time - span.start_time) / 1e9 < 0.51
