"""Business identifiers: one thing, one value; two things, two values; nothing of a patient in any of them."""

from __future__ import annotations

import uuid
from urllib.parse import unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fhir_aftercare.fhir.identifiers import Identifiers, token_query

IDS = Identifiers("https://clinic.example.com")
keys = st.lists(st.text(max_size=6), min_size=1, max_size=4).map(tuple)


@given(keys, keys)
def test_two_keys_never_have_one_value_whatever_their_parts_hold(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assume(one != other)
    assert IDS.value(*one) != IDS.value(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("harbor", "1.2", "3"), ("harbor", "1", "2.3")),  # FHIR ids may hold dots: OIDs do
        (("harbor", "a\x1fb"), ("harbor", "a", "b")),
        (("harbor", "a", ""), ("harbor", "a")),
        (('a","b',), ("a", "b")),
    ],
)
def test_parts_do_not_run_into_each_other(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert IDS.value(*one) != IDS.value(*other)


@given(keys)
def test_a_value_is_the_same_every_time_and_a_uuid(key: tuple[str, ...]) -> None:
    value = IDS.value(*key)
    assert value == Identifiers("https://clinic.example.com").value(*key)
    assert uuid.UUID(value).version == 5


def test_a_value_is_the_same_on_every_machine() -> None:
    assert IDS.value("harbor", "e1", 1, "no-driving") == "48207e1a-f561-5580-ad00-84b5542f2914"


def test_half_a_character_in_an_id_is_no_reason_to_fail() -> None:
    assert IDS.value("\ud800") != IDS.value("\ud801")


def test_numbers_and_their_digits_are_one() -> None:
    assert IDS.value("harbor", 1) == IDS.value("harbor", "1")


def test_another_base_or_kind_is_another_identifier() -> None:
    other = Identifiers("https://other.example.com")
    assert IDS.value("harbor", "e1") != other.value("harbor", "e1")
    assert IDS.identifier("plan", "e1") != IDS.identifier("activity", "e1")
    assert IDS.full_url("plan", "e1") != IDS.full_url("activity", "e1")


def test_an_identifier_is_its_kinds_system_and_the_value() -> None:
    assert IDS.identifier("plan", "e1") == {"system": "https://clinic.example.com/id/plan", "value": IDS.value("e1")}
    assert IDS.tag("e1") == {"system": "https://clinic.example.com/id/decision", "code": IDS.value("e1")}
    assert IDS.full_url("plan", "e1") == f"urn:uuid:{IDS.value('plan', 'e1')}"


@given(st.text(min_size=1))
def test_a_query_survives_whatever_a_value_holds(value: str) -> None:
    query = token_query("identifier", {"system": "https://ehr.example.com/a b", "value": value})
    name, _, token = query.partition("=")
    assert name == "identifier"
    assert not set(token.partition("|")[2]) & set("|,&=+ #")
    assert [unquote(part) for part in token.split("|")] == ["https://ehr.example.com/a b", value]


def test_a_tag_is_asked_for_by_its_code() -> None:
    tag = IDS.tag("e1")
    assert token_query("_tag", tag) == f"_tag={tag['system']}|{tag['code']}"


def test_10_2_one_submission_has_one_key_whatever_was_answered_and_each_task_its_own() -> None:
    task = IDS.value("harbor", "e1", "phq-9-tail")
    first = IDS.identifier("response", "harbor", "task", task, "1")
    assert first == IDS.identifier("response", "harbor", "task", task, "1")
    others = [
        IDS.identifier("response", "harbor", "task", task, "2"),
        IDS.identifier("response", "harbor", "task", IDS.value("harbor", "e2", "phq-9-tail"), "1"),
        IDS.identifier("observation", "harbor", "task", task, "1"),
    ]
    assert first not in others
