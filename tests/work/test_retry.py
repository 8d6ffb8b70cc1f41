"""Which failures may pass, and how long is waited for that."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.errors import (
    AftercareError,
    CheckFailed,
    ConfigFault,
    FhirBroken,
    FhirGone,
    FhirMalformed,
    FhirNotFound,
    FhirRejected,
    FhirServerError,
    FhirStale,
    FhirThrottled,
    FhirTimeout,
    FhirUnauthorized,
    FhirUnreachable,
    InvalidInput,
    NotFound,
    ProtocolFault,
    Stale,
    StoreUnavailable,
    WrongSubject,
)
from fhir_aftercare.work.faults import NotYet
from fhir_aftercare.work.retry import Retries, may_succeed_later

LATER = [
    FhirUnreachable("x"),
    FhirTimeout("x"),
    FhirThrottled("x"),
    FhirBroken("x"),
    FhirMalformed("x"),
    FhirStale("x"),
    FhirUnauthorized("x", http_status=401),
    Stale("x"),
    StoreUnavailable("x"),
    NotYet("x"),
]
NEVER = [
    FhirRejected("x"),
    FhirUnauthorized("x", http_status=403),
    FhirNotFound("x"),
    FhirGone("x"),
    FhirServerError("x"),
    InvalidInput("x"),
    WrongSubject("x"),
    ProtocolFault("x"),
    CheckFailed("x"),
    ConfigFault(["x"]),
    NotFound("x"),
    AftercareError("x"),
    ZeroDivisionError(),
]
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("error", LATER, ids=lambda error: type(error).__name__)
def test_what_may_pass_by_itself_is_tried_again(error: Exception) -> None:
    assert may_succeed_later(error)
    assert Retries().wait(error, 1, timedelta()) is not None


@pytest.mark.parametrize("error", NEVER, ids=lambda error: type(error).__name__)
def test_what_somebody_must_mend_is_not(error: Exception) -> None:
    assert not may_succeed_later(error)
    assert Retries().wait(error, 1, timedelta()) is None


@given(attempt=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_waits_double_up_to_the_longest_and_half_of_each_is_chance(attempt: int, chance: float) -> None:
    retries = Retries(first=2 * SECOND, longest=900 * SECOND, chance=lambda: chance)
    most = min(900.0, 2.0 * 2 ** min(attempt - 1, 20))
    wait = retries.wait(FhirBroken("x"), attempt, timedelta())
    assert wait is not None
    assert most / 2 - 1e-3 <= wait.total_seconds() <= most + 1e-3


@given(named=st.floats(0, 1e300), chance=st.floats(0, 1), attempt=st.integers(1, 50))
def test_a_server_that_names_a_time_is_never_asked_earlier(named: float, chance: float, attempt: int) -> None:
    retries = Retries(chance=lambda: chance)
    wait = retries.wait(FhirThrottled("x", retry_after=named), attempt, timedelta())
    if wait is None:
        assert named > (retries.budget - retries.longest - retries.first).total_seconds()
    else:
        assert wait.total_seconds() >= named - 1e-3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_all_waits_together_never_exceed_the_budget(chances: list[float]) -> None:
    left = iter(chances * 100)
    retries = Retries(budget=3_600 * SECOND, chance=lambda: next(left))
    waited, attempt = timedelta(), 1
    while (wait := retries.wait(FhirBroken("x"), attempt, waited)) is not None:
        waited, attempt = waited + wait, attempt + 1
    assert timedelta() < waited <= 3_600 * SECOND


def test_work_may_have_a_budget_of_its_own() -> None:
    assert Retries().wait(FhirBroken("x"), 1, timedelta(), budget=SECOND / 2) is None
    assert Retries().wait(FhirBroken("x"), 1, timedelta(days=2), budget=timedelta(days=3)) is not None
