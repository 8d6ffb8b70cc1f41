"""Expressions of the protocol: they mean what FHIRPath means, and what is not understood is refused as a whole."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import fhirpathpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir.expression import CHOICES, PARAMETERS, Type, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.fhir.expression import Value

VALUES: dict[str, Value] = {
    "patientHasLeft": True,
    "courseActive": False,
    "phq9Baseline": False,
    "gad7Baseline": True,
    "readinessMet": False,
    "integrationSession": False,
    "escortNamed": True,
    "estimatedEnd": False,
    "escort": "left-alone",
    "unmetText": "oriented, walks unaided",
    "releaseText": "Do not drive before 07:00.",
    "infusionNumber": 3,
    "ageYears": 41,
}


def refused(text: str) -> ProtocolFault:
    with pytest.raises(ProtocolFault) as fault:
        parse(text, file="PlanDefinition-x.json", action="no-driving")
    return fault.value


# --- the same answers as FHIRPath ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Made:
    """An expression as text, how loosely it binds (0 is `or`), and what it must give."""

    text: str
    level: int
    value: Any


LEVELS = {"or": 0, "and": 1, "=": 2, "!=": 2, "<": 3, "<=": 3, ">": 3, ">=": 3, "&": 4, "+": 4}
TIGHT = 5
MEANS: dict[str, Callable[[Any, Any], Any]] = {
    "or": lambda a, b: a or b,
    "and": lambda a, b: a and b,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "&": operator.add,
    "+": operator.add,
}
# Not a backslash: fhirpathpy leaves it escaped.
PLAIN_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\\"), max_size=6)


def join(left: Made, sign: str, right: Made) -> Made:
    """Write two expressions with an operator, in parentheses only where precedence needs them."""
    level = LEVELS[sign]
    first = left.text if left.level >= level else f"({left.text})"
    second = right.text if right.level > level else f"({right.text})"
    return Made(f"{first} {sign} {second}", level, MEANS[sign](left.value, right.value))


def invert(made: Made) -> Made:
    text = made.text if made.level == TIGHT else f"({made.text})"
    return Made(f"{text}.not()", TIGHT, not made.value)


def names(kind: Type, *but: str) -> st.SearchStrategy[Made]:
    known = [name for name, each in PARAMETERS.items() if each is kind and name not in but]
    written = st.sampled_from(["%{}", "%`{}`"])
    return st.builds(lambda name, form: Made(form.format(name), TIGHT, VALUES[name]), st.sampled_from(known), written)


def strings() -> st.SearchStrategy[Made]:
    literal = PLAIN_TEXT.map(lambda text: Made("'" + text.replace("'", "\\'") + "'", TIGHT, text))
    return st.recursive(
        literal | names(Type.STRING, "escort"),
        lambda inner: st.builds(join, inner, st.sampled_from(["&", "+"]), inner),
        max_leaves=4,
    )


NUMBERS = (
    names(Type.INTEGER)
    | st.integers(0, 9_999).map(lambda number: Made(str(number), TIGHT, number))
    | st.decimals(0, 99, places=2).map(lambda number: Made(str(number), TIGHT, number))
)
ESCORT = st.builds(
    join,
    st.just(Made("%escort", TIGHT, VALUES["escort"])),
    st.sampled_from(["=", "!="]),
    st.sampled_from(sorted(CHOICES["escort"])).map(lambda word: Made(f"'{word}'", TIGHT, word)),
)
ANY_COMPARISON = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
BOOLEANS = st.recursive(
    names(Type.BOOLEAN)
    | st.booleans().map(lambda value: Made(str(value).lower(), TIGHT, value))
    | st.builds(join, NUMBERS, ANY_COMPARISON, NUMBERS)
    | st.builds(join, strings(), ANY_COMPARISON, strings())
    | ESCORT,
    lambda inner: st.builds(join, inner, st.sampled_from(["or", "and", "=", "!="]), inner) | inner.map(invert),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(BOOLEANS | strings())
def test_a_well_typed_expression_means_what_fhirpath_means(made: Made) -> None:
    expression = parse(made.text)
    found = expression.evaluate(VALUES)
    assert found == made.value
    assert type(found) is type(made.value)
    assert fhirpathpy.evaluate({}, made.text, VALUES) == [found]


@settings(deadline=None, max_examples=50)
@given(BOOLEANS | strings(), st.sampled_from(["x", ")", "'more'", "%escort", "true", "not()", ";", "// why", "= "]))
def test_nothing_may_follow_the_end_of_an_expression(made: Made, rest: str) -> None:
    assert refused(f"{made.text} {rest}").expression == f"{made.text} {rest}"


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from(["true", "%escort", "%nope", "'a'", "'", "1", ".5", "(", ")", ".not()", ".", "and", "or", "=",
                         "<", "&", "not", "\\", "é", "%`", "\n", "1e9", "{}", "5 'mg'"])
        | st.text(max_size=3),
        max_size=9,
    ).map(" ".join)
)  # fmt: skip
def test_any_text_is_either_understood_or_refused(text: str) -> None:
    try:
        expression = parse(text)
    except ProtocolFault:
        return
    assert isinstance(expression.evaluate(VALUES), bool | str | int | Decimal)


# --- refused, where other engines are silent -------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text", ["true or garbage", "%patientHasLeft = true x", "true )", "(true", "1..2", "'it''s'", "1 1"]
)
def test_what_fhirpathpy_takes_in_silence_is_refused(text: str) -> None:
    assert fhirpathpy.evaluate({}, text, VALUES) != []
    refused(text)


def test_a_fault_names_file_action_expression_and_what_to_write() -> None:
    fault = refused("%patientHasLeft = treu")
    assert (fault.file, fault.action, fault.expression) == (
        "PlanDefinition-x.json", "no-driving", "%patientHasLeft = treu",
    )  # fmt: skip
    assert "treu at character 19" in fault.message
    assert fault.remedy != ProtocolFault.default_remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "missing"),
        ("   ", "missing"),
        ("%escort =", "missing"),
        ("and true", "and at character 1"),
        ("%nope", "%nope is no parameter"),
        ("%PatientHasLeft", "no parameter"),
        ("patientHasLeft", "no literal and no parameter"),
        ("%anchorEnd + 24 'hours'", "%anchorEnd is no parameter"),
        ("not(true)", "stands after"),
        ("true.exists()", "only `not()`"),
        ("%escort.length() > 3", "only `not()`"),
        ("%escort.not()", "for booleans, not for string"),
        ("true xor false", "over, but xor"),
        ("true implies false", "over, but implies"),
        ("%escort in ('named')", "over, but in"),
        ("-1 < 0", "begins nothing"),
        ("2 * 3 = 6", "begins nothing"),
        ("%infusionNumber + 1", "joins strings, not integer and integer"),
        ("'Infusion ' & %infusionNumber", "joins strings, not string and integer"),
        ("%infusionNumber and true", "boolean"),
        ("'true' = true", "cannot compare string with boolean"),
        ("%infusionNumber = '3'", "cannot compare integer with string"),
        ("true > false", "cannot compare booleans"),
        ("1 < 2 < 3", "cannot compare boolean with integer"),
        ("'no end", "begins nothing"),
        ('"named" = %escort', "begins nothing"),
        ("'\\x'", "no escape"),
        ("'\\uD83D'", "half a character"),
        ("2147483648 > 1", "too large"),
        ("1." + "0" * 40 + " > 1", "more than 28 digits"),
        ("(" * 5000 + "true", "nested"),
        ("true" + " and true" * 5000, "more than 200 operators"),
        ("true" + ".not()" * 5000, "more than 200 operators"),
        ("@2026-01-01 < today()", "begins nothing"),
        ("true\u00a0and false", "begins nothing"),
        ("{}", "begins nothing"),
    ],
)
def test_what_is_not_in_the_language_is_refused(text: str, said: str) -> None:
    assert said in refused(text).message


@pytest.mark.parametrize("text", ["%escort = 'left-alon'", "'Named' != %escort", "(%escort) = 'none' or true"])
def test_a_word_a_parameter_never_has_is_refused(text: str) -> None:
    fault = refused(text)
    assert "%escort is never" in fault.message
    assert "left-alone" in fault.remedy


# --- values ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_may_stand_alone(name: str) -> None:
    expression = parse(f"%{name}")
    assert (expression.type, expression.names) == (PARAMETERS[name], {name})
    assert expression.evaluate(VALUES) == VALUES[name]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"'it\'s'", "it's"),
        (r"'\"\`\\\/'", '"`\\/'),
        (r"'\r\n\t\f'", "\r\n\t\f"),
        (r"'\u00f3'", "ó"),
        (r"'\uD83D\uDE00'", "😀"),
        ("'two\nlines'", "two\nlines"),
        ("''", ""),
        ("1.50", Decimal("1.50")),
        ("true.not().not()", True),
        ("%infusionNumber = 3.0", True),
        ("%infusionNumber>2.5and%escort!='named'", True),
        ("'a' & 'b' = 'ab' and 1 < 2 = true or false", True),
        ("%unmetText & '.'", "oriented, walks unaided."),
    ],
)
def test_literals_and_operators(text: str, value: Value) -> None:
    assert parse(text).evaluate(VALUES) == value


def test_the_names_an_expression_depends_on_are_known() -> None:
    expression = parse("%patientHasLeft = true and (%escort = 'named' or %patientHasLeft)")
    assert expression.names == {"patientHasLeft", "escort"}
    assert parse("'%escort'").names == frozenset()


def test_a_parameter_without_a_value_is_a_fault_even_where_it_would_not_matter() -> None:
    expression = parse("true or %ageYears > 17", file="PlanDefinition-x.json", action="no-driving")
    known = {name: value for name, value in VALUES.items() if name != "ageYears"}
    with pytest.raises(ProtocolFault, match="%ageYears has no value") as fault:
        expression.evaluate(known)
    assert (fault.value.file, fault.value.action) == ("PlanDefinition-x.json", "no-driving")
    assert fault.value.expression == "true or %ageYears > 17"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patientHasLeft", 1),
        ("patientHasLeft", "true"),
        ("infusionNumber", True),
        ("infusionNumber", "3"),
        ("infusionNumber", Decimal(3)),
        ("unmetText", 3),
        ("escort", False),
        ("escort", "with Sam Rivera"),
    ],
)
def test_a_value_of_the_wrong_type_is_a_fault_that_does_not_show_it(name: str, value: Value) -> None:
    with pytest.raises(ProtocolFault, match=f"The value of %{name} is no") as fault:
        parse(f"%{name}").evaluate({**VALUES, name: value})
    assert "Rivera" not in str(fault.value)


def test_expressions_are_equal_by_what_they_say() -> None:
    assert parse("%escort", file="a.json") == parse("%escort", file="b.json")
    assert parse("%escort") != parse("%unmetText")
