"""The clinic's numbers: the defaults are those of the clinical reference, and no nonsense gets past."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.infusion import Dissociation
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.errors import OutOfRange

SOURCE = Path(__file__).parents[2] / "src/fhir_aftercare/care/policy.py"


def refused(**changes: object) -> OutOfRange:
    with pytest.raises(OutOfRange) as error:
        Policy(**changes)
    return error.value


def test_the_defaults_are_those_of_the_clinical_reference() -> None:
    policy = Policy()
    assert (policy.min_observation_with_escort, policy.min_observation_without_escort) == (
        timedelta(minutes=60),
        timedelta(minutes=120),
    )
    assert (policy.bp_limit_systolic, policy.bp_limit_diastolic) == (160, 100)
    assert (policy.bp_severe_systolic, policy.bp_severe_diastolic) == (180, 110)
    assert (policy.spo2_watch, policy.spo2_urgent) == (94, 90)
    assert (policy.item9_high, policy.item9_low) == (timedelta(hours=1), timedelta(hours=24))
    assert policy.dissociation_to_leave is Dissociation.MILD
    assert (policy.remission_below, policy.relapse_at_least, policy.response_percent) == (5, 10, 50)


def test_every_number_names_its_source_above_it() -> None:
    body = SOURCE.read_text("utf-8").split("class Policy:")[1].split("def __post_init__")[0].split('"""')[2]
    for block in body.strip().split("\n\n"):
        comments = " ".join(line.strip() for line in block.splitlines() if line.strip().startswith("#"))
        if "write_all_items" not in block:
            assert re.search(r"(clinical §|design §|fhir-model §)\d", comments), block


def test_every_fault_is_named_at_once() -> None:
    error = refused(bp_limit_systolic=190, heart_rate_low=130, item9_low=timedelta(0), response_percent=0)
    assert set(error.where) == {
        *("bp_limit_systolic", "bp_severe_systolic", "heart_rate_low", "heart_rate_high"),
        *("item9_high", "item9_low", "response_percent"),
    }
    assert error.message.split("; ") == [
        "response_percent must be from 1 to 100",
        "item9_low must be longer than nothing",
        "bp_limit_systolic must be at most bp_severe_systolic",
        "item9_high must be at most item9_low",
        "heart_rate_low must be below heart_rate_high",
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"min_observation_with_escort": timedelta(hours=3)}, "min_observation_without_escort"),
        ({"bp_limit_diastolic": 120}, "bp_severe_diastolic"),
        ({"predose_systolic": 155}, "predose_systolic_65"),
        ({"predose_hold_systolic": 190}, "bp_severe_systolic"),
        ({"bp_severe_diastolic": 180}, "bp_severe_systolic"),
        ({"spo2_urgent": 95}, "spo2_watch"),
        ({"respiratory_rate_low": 24}, "respiratory_rate_high"),
        ({"moaa_s_to_leave": 3}, "moaa_s_urgent"),
        ({"course_join": timedelta(days=200)}, "course_max_gap"),
        ({"remission_below": 11}, "relapse_at_least"),
        ({"emergency": timedelta(hours=2)}, "item9_high"),
        ({"call_attempts_max": 0}, "call_attempts_max"),
        ({"nausea_max_to_leave": 11}, "nausea_max_to_leave"),
        ({"horizon": timedelta(days=-1)}, "horizon"),
    ],
)
def test_a_relation_that_does_not_hold_is_refused(changes: dict[str, object], named: str) -> None:
    assert named in refused(**changes).where


@pytest.mark.parametrize("field", ["item9_high", "item9_low", "item9_unknown"])
def test_no_clinic_may_wait_longer_than_a_day_with_item_nine(field: str) -> None:
    assert field in refused(**{field: timedelta(hours=25)}).where


@pytest.mark.parametrize("level", [Dissociation.MODERATE, Dissociation.SEVERE])
def test_no_clinic_may_send_a_dissociated_patient_home(level: Dissociation) -> None:
    assert refused(dissociation_to_leave=level).where == ("dissociation_to_leave",)


def test_a_stricter_clinic_is_welcome() -> None:
    strict = replace(
        Policy(),
        bp_limit_systolic=150,
        dissociation_to_leave=Dissociation.ABSENT,
        min_observation_with_escort=timedelta(hours=2),
        spo2_watch=96,
        item9_low=timedelta(hours=8),
    )
    assert strict.spo2_watch == 96


NUMBERS = [each.name for each in fields(Policy) if type(getattr(Policy(), each.name)) is int]


@given(st.sampled_from(NUMBERS), st.integers(-1_000, 1_000))
def test_a_number_is_taken_as_it_is_or_refused_by_name(name: str, number: int) -> None:
    try:
        policy = replace(Policy(), **{name: number})
    except OutOfRange as error:
        named = error.where
    else:
        named = (name,)
        assert getattr(policy, name) == number
    assert name in named
