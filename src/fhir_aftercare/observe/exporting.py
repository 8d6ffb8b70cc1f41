"""Spans on their way out: an allow-list of attributes, no events, no status texts. Needs the extra ``tracing``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

EXPORTED: Final = frozenset(
    {
        *("http.request.method", "http.route", "http.response.status_code", "url.scheme", "error.type"),
        *("network.protocol.version", "server.port"),
        *("fhir.interaction", "fhir.resource_type", "fhir.outcome"),
    }
)


class Redacting(SpanExporter):
    """Passes spans on with nothing in them that could name a patient."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Pass on the redacted copies."""
        return self._inner.export([_redacted(span) for span in spans])

    def shutdown(self) -> None:
        """Close what is behind it."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have what is behind it send what it holds."""
        return self._inner.force_flush(timeout_millis)


def provider(exporter: SpanExporter) -> TracerProvider:
    """Give a tracer provider that exports through the allow-list. Whoever asked for it shuts it down."""
    made = TracerProvider(resource=Resource.create({"service.name": "fhir-aftercare"}), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(Redacting(exporter)))
    return made


def to_collector(endpoint: str) -> SpanExporter:
    """Give the exporter to an OTLP collector by its base address."""
    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")


def _redacted(span: ReadableSpan) -> ReadableSpan:
    attributes = {name: value for name, value in (span.attributes or {}).items() if name in EXPORTED}
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
