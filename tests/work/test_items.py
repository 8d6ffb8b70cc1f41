"""A piece of work as it is stored and shown: read by the next release, and without anything a server said in words."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.errors import FhirRejected, InvalidInput, NotFound
from fhir_aftercare.work.items import Attempt, checked, code_of, safe_outcome

ids = st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5)
issue = st.dictionaries(st.sampled_from(["severity", "code", "details"]), st.text(max_size=20), max_size=3)
attempts = st.builds(
    Attempt,
    job=st.text(max_size=20),
    clinic=st.text(max_size=20),
    ids=ids,
    work_id=st.text(min_size=1, max_size=50),
    n=st.integers(1, 1_000),
    waited=st.integers(0, 10**6).map(lambda seconds: timedelta(seconds=seconds)),
    budget=st.none() | st.integers(0, 10**6).map(lambda seconds: timedelta(seconds=seconds)),
)


@given(attempts, st.sampled_from(["fhir-broken", "not-yet"]), st.lists(issue, max_size=3))
def test_an_attempt_is_read_as_it_was_stored_and_what_a_later_release_adds_is_left_alone(
    first: Attempt, code: str, outcome: list[dict[str, str]]
) -> None:
    for attempt in (first, first.after(timedelta(seconds=3), code, tuple(outcome))):
        job, clinic, of, trail = json.loads(json.dumps(attempt.stored()))
        assert Attempt.of(job, clinic, of, {**trail, "added": {"later": 1}}) == attempt


def test_the_first_attempt_bears_the_id_of_the_work() -> None:
    first = Attempt("do", "harbor", {}, "harbor:rest:1")
    assert first.id == "harbor:rest:1"
    assert first.after(timedelta(), "fhir-broken", ()).id == "harbor:rest:1#2"


@pytest.mark.parametrize("work_id", ["", "  ", "a#2", "a\nb", "x" * 201])
def test_an_id_that_cannot_be_one_is_refused(work_id: str) -> None:
    with pytest.raises(InvalidInput):
        checked(work_id, {})


@pytest.mark.parametrize("value", [7, None, ["Patient/1"], "x" * 1_001])
def test_more_than_ids_is_refused_and_not_quoted(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked("w", {"patient": value})  # type: ignore[dict-item]
    assert caught.value.where == ("patient",)
    assert "xxx" not in caught.value.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_no_outcome_a_server_can_send_breaks_the_summary(found: object) -> None:
    for outcome in ({"issue": found}, {"issue": [found]}, {"issue": [{"details": found, "severity": found}]}):
        json.dumps(safe_outcome(FhirRejected("400", outcome=outcome)))


@given(st.text(min_size=3, max_size=40).map(lambda text: f"Ada {text} Lovelace"))
def test_what_a_server_says_in_words_is_not_kept(words: str) -> None:
    said = {
        "severity": "error",
        "code": words,
        "diagnostics": words,
        "expression": [words],
        "location": [words],
        "details": {"text": words, "coding": [{"code": words, "display": words}]},
    }
    assert safe_outcome(FhirRejected("400", outcome={"issue": [said]})) == ({"severity": "error"},)


def test_an_error_is_known_by_its_code() -> None:
    assert code_of(NotFound("x")) == "not-found"
    assert code_of(ValueError("Ada Lovelace")) == "internal"
    assert safe_outcome(ValueError("Ada Lovelace")) == ()
