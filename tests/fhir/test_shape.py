"""What was found good is not looked at twice, and nothing bad ever passes for it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fhir_aftercare.fhir import check
from fhir_aftercare.fhir.shape import KnownShapes, shape_of
from profiles.lock import EXAMPLES, read

GOOD = [each for each in read(EXAMPLES).values() if each["resourceType"] in check.WRITTEN]


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Give the way to each string of a resource."""
    if isinstance(value, dict):
        return [found for name, each in value.items() for found in places(each, (*way, name))]
    if isinstance(value, list):
        return [found for at, each in enumerate(value) for found in places(each, (*way, at))]
    return [way] if isinstance(value, str) and way != ("resourceType",) else []


def put(resource: dict[str, Any], way: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(resource)
    inner: Any = found
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    return found


def is_good(resource: dict[str, Any]) -> bool:
    try:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    except (ValidationError, ValueError, KeyError, TypeError):
        return False
    return True


STRINGS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["", " ", "2026-13-01T00:00:00Z", "2026-02-30T10:00:00-05:00", "2026-09-16T13:40:00-04:00", "Patient/1"]
    ),
    st.uuids().map(str),
    st.text("ab ", min_size=65, max_size=90),
    st.datetimes().map(lambda at: at.isoformat(timespec="seconds") + "-05:00"),
)


@given(st.data())
def test_resources_of_one_shape_are_judged_alike(data: st.DataObject) -> None:
    resource = data.draw(st.sampled_from(GOOD))
    way = data.draw(st.sampled_from(places(resource)))
    one, other = (put(resource, way, data.draw(STRINGS)) for _ in range(2))
    if shape_of(one) == shape_of(other):
        assert is_good(one) == is_good(other)


@pytest.mark.parametrize("resource", GOOD, ids=lambda each: each["id"])
def test_other_ids_and_times_are_the_same_shape(resource: dict[str, Any]) -> None:
    text = str(resource)
    assert shape_of(resource) == shape_of(copy.deepcopy(resource)), text
    assert shape_of(put(resource, ("resourceType",), "Basic")) != shape_of(resource)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-09-16T13:40:00-04:00", "2027-01-02T07:00:00-05:00"),
        ("Patient/1", "Patient/b2"),
        ("urn:uuid:bd175b9b-3ac5-5a5e-a50e-a657e174c88c", "urn:uuid:9bc21026-f4fc-5d22-8032-77e0a7a5364f"),
    ],
)
def test_what_differs_from_patient_to_patient_is_one_shape(one: str, other: str) -> None:
    assert shape_of({"a": one}) == shape_of({"a": other})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("active", "bogus"),
        (1, True),
        (1, "1"),
        ("2026-09-16T13:40:00-04:00", "2026-09-16T25:40:00-04:00"),
        ([], [[]]),
        ({}, []),
    ],
)
def test_what_the_models_tell_apart_is_another_shape(one: Any, other: Any) -> None:
    assert shape_of({"a": one}) != shape_of({"a": other})


def test_a_fault_is_found_however_often_it_comes() -> None:
    bad = put(GOOD[0], ("status",), "")
    assert [bool(check.faults_of(bad)) for _ in range(3)] == [True, True, True]


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fhir_aftercare.fhir.shape._MOST", 3)
    known = KnownShapes()
    for shape in range(10):
        known.add(shape)
        assert known.has(shape)
    assert len(known._good) <= 3
