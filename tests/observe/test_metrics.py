"""Metrics: what is counted, and that no label can name a patient."""

from __future__ import annotations

import threading

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.ehr.transport import CallRecord
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.observe.metrics import Metrics

CALL = CallRecord("GET", "search", "Task", 200, 0.012, "ok")


def test_fhir_calls_are_counted_by_kind_resource_type_and_outcome() -> None:
    metrics = Metrics()
    metrics.fhir_call(CALL)
    metrics.fhir_call(CallRecord("POST", "transaction", "Bundle", None, 3.0, "fhir-timeout"))
    metrics.fhir_call(CallRecord("GET", "operation", "$everything", 200, 0.1, "ok"))
    text = metrics.text()
    assert 'aftercare_fhir_calls_total{kind="search",outcome="ok",resource_type="Task"} 1.0' in text
    assert 'kind="transaction",outcome="fhir-timeout",resource_type="Bundle"} 1.0' in text
    assert 'resource_type="$everything"} 1.0' in text
    assert 'aftercare_fhir_call_seconds_bucket{kind="search",le="0.025"} 1.0' in text


def test_what_happened_to_patients_is_counted_without_them() -> None:
    metrics = Metrics()
    metrics.plan("created")
    metrics.answered("phq-9", "scored")
    metrics.escalation("stat")
    metrics.replayed("/v1/clinics/{clinic}/discharges")
    metrics.clinics(3, 1)
    text = metrics.text()
    for line in (
        'aftercare_plans_total{outcome="created"} 1.0',
        'aftercare_answers_total{instrument="phq-9",outcome="scored"} 1.0',
        'aftercare_escalations_total{level="stat"} 1.0',
        'aftercare_idempotent_replays_total{route="/v1/clinics/{clinic}/discharges"} 1.0',
        'aftercare_clinics{state="running"} 3.0',
        'aftercare_clinics{state="refused"} 1.0',
        "process_resident_memory_bytes",
    ):
        assert line in text


@given(st.text(st.characters(categories=["Lu", "Nd", "P", "Zs"]), min_size=1))
def test_a_label_that_is_no_word_is_counted_as_other(value: str) -> None:
    metrics = Metrics()
    metrics.plan(f"Rivera {value}")
    metrics.fhir_call(CallRecord("GET", f"read {value}", f"Patient/{value}", 200, 0.1, f"{value}!"))
    samples = [
        sample
        for family in metrics.registry.collect()
        for sample in family.samples
        if family.name in {"aftercare_plans", "aftercare_fhir_calls"}
    ]
    assert {label for sample in samples for label in sample.labels.values()} == {"other"}


def test_two_sets_of_metrics_do_not_share_counts() -> None:
    one, other = Metrics(), Metrics()
    one.plan("created")
    assert 'aftercare_plans_total{outcome="created"}' not in other.text()


def test_they_are_served_on_a_port_of_their_own_until_the_block_ends() -> None:
    metrics = Metrics()
    metrics.plan("created")
    threads = threading.active_count()
    with metrics.served(0) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert 'aftercare_plans_total{outcome="created"} 1.0' in answer.text
        with pytest.raises(ConfigFault) as refused, Metrics().served(port):
            pass
        assert refused.value.where == ("AFTERCARE_METRICS_PORT",)
    assert threading.active_count() == threads
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")
