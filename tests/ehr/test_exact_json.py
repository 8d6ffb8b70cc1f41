"""Numbers come back exactly as they were written; what JSON has no form for is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.fhir import exact_json

# FHIR's own grammar for decimal, without the exponent (whose letter and sign may be rewritten).
PLAIN = st.from_regex(r"-?(0|[1-9][0-9]{0,20})\.[0-9]{1,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | TEXTS
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Equal, and with the same number of digits: Decimal('1.50') == Decimal('1.5') is not enough here."""
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Decimal) or isinstance(right, Decimal):
        return Decimal(left).as_tuple() == Decimal(right).as_tuple()
    return type(left) is type(right) and left == right


@given(PLAIN)
def test_a_decimal_keeps_its_text(text: str) -> None:
    document = f'{{"value":{text}}}'.encode()
    assert exact_json.dumps(exact_json.loads(document)) == document


@given(DOCUMENTS)
def test_write_then_read_gives_the_same_document(document: Any) -> None:
    assert same(exact_json.loads(exact_json.dumps(document)), document)


@given(DOCUMENTS)
def test_what_is_written_is_plain_json(document: Any) -> None:
    json.loads(exact_json.dumps(document))


@pytest.mark.parametrize(
    "text",
    ["1.50", "0.010", "-0.0", "0.00000001", "120.0", "123456789012345678901234567890.10", "99999999999999999999"],
)
def test_known_texts_survive(text: str) -> None:
    assert exact_json.dumps(exact_json.loads(f"[{text}]")) == f"[{text}]".encode()


@pytest.mark.parametrize("text", ["1E+2", "1.0E-100"])
def test_an_exponent_keeps_its_precision(text: str) -> None:
    assert exact_json.loads(exact_json.dumps(exact_json.loads(text))).as_tuple() == Decimal(text).as_tuple()


@pytest.mark.parametrize(
    "text", ["", "{", '{"a":1', "[NaN]", "[Infinity]", "[1e9999999999999999999]", "<html/>", "[" * 100_000]
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        exact_json.loads(text)


@pytest.mark.parametrize(
    "value",
    [
        {"value": float("nan")},
        [{"value": [float("inf")]}],
        Decimal("NaN"),
        datetime(2026, 3, 7, tzinfo=UTC),
        "\ud800",
        {1: "key"},
        2**64,
        object(),
    ],
)
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        exact_json.dumps(value)


def test_null_itself_is_allowed() -> None:
    assert exact_json.dumps({"given": [None, "Ada"]}) == b'{"given":[null,"Ada"]}'
