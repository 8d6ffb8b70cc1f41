"""Counts for Prometheus, served on a port of their own that is not open to callers.

Labels are kinds and templates, never ids: what could be anything is checked against a short form first, and counted as
``other`` if it has another one.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    start_http_server,
)

from fhir_aftercare.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fhir_aftercare.care.escalation import Reason
    from fhir_aftercare.care.instruments import Score
    from fhir_aftercare.ehr.transport import CallRecord

OTHER: Final = "other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_RESOURCE_TYPE: Final = re.compile(r"\$?[A-Za-z][A-Za-z-]{0,40}")
_WORD: Final = re.compile(r"[a-z][a-z0-9-]{0,40}")
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """All counts of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = self._counter("http_requests", "Requests served.", "method", "route", "status")
        self._request_seconds = self._histogram("http_request_seconds", "Time to serve a request.", "method", "route")
        self._calls = self._counter("fhir_calls", "FHIR round trips.", "kind", "resource_type", "outcome")
        self._call_seconds = self._histogram("fhir_call_seconds", "Time of a FHIR round trip.", "kind")
        self._plans = self._counter("plans", "Aftercare plans looked at, by what became of them.", "outcome")
        self._answers = self._counter("answers", "Questionnaires answered.", "instrument", "outcome")
        self._escalations = self._counter("escalations", "Reasons given to a clinician to look.", "level")
        self._replays = self._counter("idempotent_replays", "Requests recognised as repeated.", "route")
        self._work = self._counter("work", "Durable work ended, by what became of it.", "job", "outcome")
        self._items = Gauge("aftercare_work_items", "Durable work by state.", ["state"], registry=self.registry)
        self._clinics = Gauge("aftercare_clinics", "Clinics by state.", ["state"], registry=self.registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; ``route`` is a path template, ``status`` the HTTP status."""
        known = method if method in _METHODS else OTHER
        self._requests.labels(known, route, f"{status // 100}xx").inc()
        self._request_seconds.labels(known, route).observe(seconds)

    def fhir_call(self, record: CallRecord) -> None:
        """Count one round trip to a FHIR server: for ``FhirClient(on_call=…)``."""
        kind = _word(record.kind)
        type_ = record.resource_type if _RESOURCE_TYPE.fullmatch(record.resource_type) else OTHER
        self._calls.labels(kind, type_, _word(record.outcome)).inc()
        self._call_seconds.labels(kind).observe(record.seconds)

    def plan(self, outcome: str) -> None:
        """Count one plan looked at; ``outcome`` such as ``created``, ``unchanged``, ``failed``."""
        self._plans.labels(_word(outcome)).inc()

    def answered(self, instrument: str, outcome: str) -> None:
        """Count one answered questionnaire; ``outcome`` such as ``scored``, ``incomplete``, ``refused``."""
        self._answers.labels(_word(instrument), _word(outcome)).inc()

    def escalation(self, level: str) -> None:
        """Count one reason for a clinician to look; ``level`` is a FHIR priority."""
        self._escalations.labels(_word(level)).inc()

    def read(self, scores: Iterable[Score], reasons: Iterable[Reason]) -> None:
        """Count what answers said that were not read before: each score, and each reason for a clinician to look."""
        for score in scores:
            self.answered(score.instrument.key, "incomplete" if score.total is None else "scored")
        for reason in reasons:
            self.escalation(reason.level.priority)

    def worked(self, job: str, outcome: str) -> None:
        """Count one piece of durable work that came to an end; ``outcome`` is the job's word, or an error's code."""
        self._work.labels(_word(job), _word(outcome)).inc()

    def work(self, counts: Mapping[str, int]) -> None:
        """Set how much durable work waits, runs and was refused."""
        for state, count in counts.items():
            self._items.labels(_word(state)).set(count)

    def replayed(self, route: str) -> None:
        """Count one repeated request; ``route`` is a path template."""
        self._replays.labels(route).inc()

    def clinics(self, running: int, refused: int) -> None:
        """Set how many clinics run and how many were refused for their settings."""
        self._clinics.labels("running").set(running)
        self._clinics.labels("refused").set(refused)

    def text(self) -> str:
        """Give all counts as Prometheus reads them."""
        return generate_latest(self.registry).decode()

    @contextmanager
    def served(self, port: int, host: str = "127.0.0.1") -> Iterator[int]:
        """Serve ``/metrics`` from a thread while the block runs, and give the port (0 asks for a free one).

        Raises ``ConfigFault`` if the port is taken.
        """
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as fault:
            raise ConfigFault(
                [f"port {port} of {host} cannot be used for metrics"], where="AFTERCARE_METRICS_PORT"
            ) from (fault)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"aftercare_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"aftercare_{name}", text, labels, registry=self.registry, buckets=_SECONDS)


def _word(value: str) -> str:
    return value if _WORD.fullmatch(value) else OTHER
