"""Traces through FastAPI's own OpenTelemetry support, exported to the collector that is set, if one is.

FastAPI puts the path and the query of a request into its span, so every span passes an allow-list of attributes before
it leaves the process: names are templates, ids stay here. Without a collector nothing of this costs anything.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanKind, StatusCode

from fhir_aftercare.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.sdk.trace import TracerProvider

    from fhir_aftercare.ehr.transport import CallRecord

# FastAPI's logs hold stack traces with their texts; its metrics repeat ours.
OFF: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


@dataclass(frozen=True, slots=True)
class Tracing:
    """A tracer provider of our own and the two places it is needed in."""

    provider: TracerProvider

    @property
    def config(self) -> TelemetryConfig:
        """What ``FastAPI(telemetry=…)`` takes."""
        return {**OFF, "tracing": True, "operation_spans": False, "tracer_provider": self.provider}

    def on_call(self) -> Callable[[CallRecord], None]:
        """Give what ``FhirClient(on_call=…)`` takes: one span for each round trip, below the request's."""
        tracer = self.provider.get_tracer("fhir_aftercare")

        def record_span(record: CallRecord) -> None:
            ended = time.time_ns()
            attributes: dict[str, str | int] = {
                "http.request.method": record.method,
                "fhir.interaction": record.kind,
                "fhir.resource_type": record.resource_type,
                "fhir.outcome": record.outcome,
            }
            if record.status is not None:
                attributes["http.response.status_code"] = record.status
            span = tracer.start_span(
                f"FHIR {record.kind} {record.resource_type}",
                kind=SpanKind.CLIENT,
                attributes=attributes,
                start_time=ended - int(record.seconds * 1e9),
            )
            if record.outcome != "ok":
                span.set_status(StatusCode.ERROR)
            span.end(ended)

        return record_span


@contextmanager
def tracing(endpoint: str | None, *, exporter: Any = None) -> Iterator[Tracing | None]:
    """Trace to an OTLP collector (``http://collector:4318``) while the block runs; None if there is no endpoint.

    ``exporter`` stands in for it in tests. Raises ``ConfigFault`` if the extra ``tracing`` is not installed.
    """
    if endpoint is None and exporter is None:
        yield None
        return
    try:
        from fhir_aftercare.observe import exporting  # noqa: PLC0415  (an extra, and slow to import)
    except ImportError as fault:
        raise ConfigFault(
            ["traces need the extra: pip install 'fhir-aftercare[tracing]'"], where="AFTERCARE_OTLP_ENDPOINT"
        ) from fault
    provider = exporting.provider(exporter or exporting.to_collector(endpoint or ""))
    try:
        yield Tracing(provider)
    finally:
        provider.shutdown()


def both(*told: Callable[[CallRecord], None] | None) -> Callable[[CallRecord], None]:
    """Give one ``on_call`` that tells several (metrics, traces); None among them is left out."""
    listeners = [one for one in told if one is not None]

    def tell(record: CallRecord) -> None:
        for listener in listeners:
            listener(record)

    return tell
