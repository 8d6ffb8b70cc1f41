"""Every code we write or understand is in tests/data/terminology.json, with its mark and source, and spelled right.

The marks are those of the clinical reference: A read in an HL7 artefact, B in a project that checks its codes or in two
sources, C in one source, P in a published text, M from memory (no display is written for those); "own" is our own.
A new code is added there first, with where it was read.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.fhir import terms
from profiles.lock import EXAMPLES, ROOT, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS: list[dict[str, Any]] = json.loads((ROOT / "tests" / "data" / "terminology.json").read_text("utf-8"))
KNOWN = {(row["system"], row["code"]): row for row in ROWS}
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TERMS = ROOT / "src" / "fhir_aftercare" / "fhir" / "terms.py"
EXAMPLE_IDENTIFIERS = "https://clinic.example.com/id/"

Coding = tuple[str, str, str | None]


def of_terms(value: Any) -> Iterator[Coding]:
    if isinstance(value, terms.Code):
        yield value.system, value.code, value.display
    elif isinstance(value, dict):
        yield from of_terms(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from of_terms(each)


def of_json(value: Any, system: str | None = None) -> Iterator[Coding]:
    """Give codings, quantities, and the concepts a CodeSystem defines or a ValueSet lists."""
    if isinstance(value, list):
        for each in value:
            yield from of_json(each, system)
    elif isinstance(value, dict):
        here = value.get("system") or (value.get("url") if value.get("resourceType") == "CodeSystem" else None)
        found = here or system
        if isinstance(value.get("code"), str) and isinstance(found, str):
            yield found, value["code"], value.get("display")
        for name, each in value.items():
            yield from of_json(each, found if name == "concept" else None)


def used() -> list[tuple[str, Coding]]:
    files = {**read(), **read(EXAMPLES)}
    found = [("terms.py", coding) for coding in of_terms(list(vars(terms).values()))]
    found += [(name, coding) for name, each in files.items() for coding in of_json(each)]
    return [(where, coding) for where, coding in found if not coding[0].startswith(EXAMPLE_IDENTIFIERS)]


def test_the_fixture_lists_each_code_once_with_its_mark_and_source() -> None:
    assert [key for key, times in Counter((row["system"], row["code"]) for row in ROWS).items() if times > 1] == []
    for row in ROWS:
        assert row.keys() == {"system", "code", "display", "mark", "source"}
        assert row["mark"] in {"A", "B", "C", "P", "M", "own"}
        assert row["source"]
        assert (row["mark"] == "own") == row["system"].startswith(terms.BASE)


def test_every_code_used_is_in_the_fixture() -> None:
    assert sorted({(where, system, code) for where, (system, code, _) in used() if (system, code) not in KNOWN}) == []


def test_every_display_is_the_one_of_the_fixture() -> None:
    wrong = [
        (where, code, display)
        for where, (system, code, display) in used()
        if display and display != KNOWN.get((system, code), {}).get("display")
    ]
    assert wrong == []


def test_a_code_from_memory_has_no_display() -> None:
    assert [row["code"] for row in ROWS if row["mark"] == "M" and row["display"]] == []
    assert [code for _, (system, code, display) in used() if KNOWN[system, code]["mark"] == "M" and display] == []


# --- check digits ----------------------------------------------------------------------------------------------------
def loinc_digit_is_right(code: str) -> bool:
    """Mod 10 (Luhn). The letters of an answer code count 5 before an even number of digits, 8 before an odd one."""
    body, digit = code.removeprefix("LA").split("-")
    total = (8 if len(body) % 2 else 5) if code.startswith("LA") else 0
    for at, each in enumerate(reversed(body)):
        doubled = int(each) * (2 if at % 2 == 0 else 1)
        total += doubled // 10 + doubled % 10
    return (10 - total % 10) % 10 == int(digit)


_PRODUCT = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTATION = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def snomed_digit_is_right(code: str) -> bool:
    """Verhoeff's dihedral check over a whole SNOMED CT identifier."""
    check = 0
    for at, each in enumerate(reversed(code)):
        check = int(_PRODUCT[check][int(_PERMUTATION[at % 8][int(each)])])
    return check == 0


@pytest.mark.parametrize("code", [row["code"] for row in ROWS if row["system"] == terms.LOINC])
def test_the_check_digit_of_a_loinc_code(code: str) -> None:
    assert loinc_digit_is_right(code)


@pytest.mark.parametrize("code", [row["code"] for row in ROWS if row["system"] == terms.SNOMED])
def test_the_check_digit_of_a_snomed_code(code: str) -> None:
    assert 6 <= len(code) <= 18
    assert snomed_digit_is_right(code)


@pytest.mark.parametrize("right", ["LA33-6", "LA9194-7", "LA18976-3", "LA22878-5"])
def test_answer_codes_of_any_length_are_understood(right: str) -> None:
    assert loinc_digit_is_right(right)


@pytest.mark.parametrize("wrong", ["44261-5", "44216-6", "LA6568-6"])
def test_a_mistyped_loinc_code_is_noticed(wrong: str) -> None:
    assert not loinc_digit_is_right(wrong)


@pytest.mark.parametrize("wrong", ["422587006", "422578007"])
def test_a_mistyped_snomed_code_is_noticed(wrong: str) -> None:
    assert not snomed_digit_is_right(wrong)


# --- codes live in terms.py, once ------------------------------------------------------------------------------------
LOINC_SHAPED = re.compile(r"/?(LA)?\d{1,5}-\d")
SNOMED_SHAPED = re.compile(r"\d{6,18}")


def literals(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def code_literals(source: str) -> list[str]:
    return [each for each in literals(source) if LOINC_SHAPED.fullmatch(each) or SNOMED_SHAPED.fullmatch(each)]


@pytest.mark.parametrize("path", [path for path in SOURCES if path != TERMS], ids=lambda path: path.name)
def test_no_code_is_written_outside_the_terms(path: Path) -> None:
    assert code_literals(path.read_text("utf-8")) == []


def test_a_code_outside_the_terms_is_noticed() -> None:
    source = 'a = {"code": "44261-6"}; b = "LA6568-5"; c = "35489007"; d = "2026-11"'
    assert set(code_literals(source)) == {"44261-6", "LA6568-5", "35489007"}
