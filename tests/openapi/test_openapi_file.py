"""openapi/openapi.yaml is the application's, is valid, and says of every operation all that a caller needs."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml
from fastapi import FastAPI
from openapi_spec_validator import OpenAPIV31SpecValidator
from typer.testing import CliRunner

from fhir_aftercare.api import document
from fhir_aftercare.api.catalogue import CATALOGUE, all_kinds
from fhir_aftercare.api.models import CheckIn, InfusionIn
from fhir_aftercare.care.infusion import LIMITS
from fhir_aftercare.care.record_check import check_record
from fhir_aftercare.cli import openapi as command
from fhir_aftercare.config import Settings
from fhir_aftercare.errors import OutOfRange
from fhir_aftercare.service import create_app
from openapi.document import Operation, codes, followed, operations, schema_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

Document = dict[str, Any]

FILE = Path(__file__).resolve().parents[2] / "openapi" / "openapi.yaml"
# Callers generate code from these names: one that goes or changes breaks them. New ones are added here.
OPERATION_IDS = frozenset(
    {
        "askDischarge", "correctInfusion", "countWork", "getAftercare", "getTask", "getWorklist", "judgeReadiness",
        "listTasks", "livez", "moveTask", "previewAskDischarge", "previewCorrection", "previewInfusion",
        "previewReportDischarge", "previewResponse", "readStoredAnswers", "readyz", "recordInfusion",
        "reportDischarge", "reportDischarges", "retractObservation", "sendSignal", "submitResponse",
    }
)  # fmt: skip
FORMS = ("problem", "outcome")
# Named by no route: what the framework says of an address, and a key that is missing (none is demanded: every call is
# idempotent by itself).
ANYWHERE = frozenset(
    {
        "no-such-route", "method-not-allowed", "not-acceptable", "request-refused", "too-many-requests",
        "config-fault", "idempotency-key-missing",
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def openapi() -> Document:
    found: Document = yaml.safe_load(FILE.read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def every(openapi: Document) -> dict[str, Operation]:
    return operations(openapi)


def run(*arguments: str) -> Any:
    app = typer.Typer()
    app.command("openapi")(command.openapi)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, ["openapi", *arguments])


# --- the file and the application ------------------------------------------------------------------------------------
def test_the_file_is_what_the_application_says() -> None:
    checked = run(str(FILE), "--check")
    assert checked.exit_code == 0, checked.stderr


def test_the_same_document_is_served(openapi: Document) -> None:
    assert create_app(Settings.model_construct()).openapi() == openapi


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERCARE_PORT", "no number")
    monkeypatch.setenv("AFTERCARE_CLINICS", "/nowhere")
    assert command.document_text() == FILE.read_text("utf-8")


def test_a_file_that_is_old_is_told_with_what_changed_and_the_remedy(tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(FILE.read_text("utf-8").replace("operationId: askDischarge", "operationId: ask"), "utf-8")
    checked = run(str(old), "--check")
    assert checked.exit_code == 1
    assert "+      operationId: askDischarge" in checked.stderr
    assert "make openapi" in checked.stderr
    assert "operationId: ask\n" in old.read_text("utf-8")


def test_it_is_written_where_asked_or_to_standard_output(tmp_path: Path) -> None:
    new = tmp_path / "folder" / "new.yaml"
    assert run(str(new)).exit_code == 0
    assert new.read_text("utf-8") == FILE.read_text("utf-8") == run("-").stdout


# --- the document ----------------------------------------------------------------------------------------------------
def test_it_is_valid_openapi_3_1(openapi: Document) -> None:
    assert openapi["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(openapi).iter_errors()] == []


def test_every_reference_leads_somewhere_and_nothing_is_left_over(
    openapi: Document, every: dict[str, Operation]
) -> None:
    named = set(re.findall(r"'?\$ref'?: '?(#/[^'\s]+)", FILE.read_text("utf-8")))
    for reference in named:
        followed(openapi, {"$ref": reference})
    schemes = {name for each in every.values() for need in each.definition.get("security", ()) for name in need}
    named |= {f"#/components/securitySchemes/{name}" for name in schemes}
    there = {f"#/components/{kind}/{name}" for kind, parts in openapi["components"].items() for name in parts}
    # Of errors there is an example of each, whether a route names it or any address may answer it.
    errors = {f"#/components/examples/{entry.code}.{form}" for entry in CATALOGUE.values() for form in FORMS}
    assert there == named | errors


def test_the_names_of_operations_are_unique_and_stay(openapi: Document, every: dict[str, Operation]) -> None:
    ids = Counter(each["operationId"] for item in openapi["paths"].values() for each in item.values())
    assert set(ids.values()) == {1}
    assert every.keys() == OPERATION_IDS, "a change breaks callers who generate code; if it is meant, change the list"
    assert all(re.fullmatch(r"[a-z][A-Za-z]{3,40}", name) for name in every)


def test_every_operation_says_what_it_is_for(openapi: Document, every: dict[str, Operation]) -> None:
    described = {tag["name"] for tag in openapi["tags"]}
    for name, operation in every.items():
        definition = operation.definition
        assert 10 <= len(definition["summary"]) <= 90, name
        assert len(definition.get("description", "")) > 20, name
        assert len(definition["tags"]) == 1
        assert set(definition["tags"]) <= described, f"{name}: add its tag to TAGS in api/document.py"
        for parameter in definition.get("parameters", ()):
            assert parameter.get("description"), (name, parameter["name"])
    assert openapi["info"]["description"]


def test_every_body_has_examples_that_fit_its_schema(openapi: Document, every: dict[str, Operation]) -> None:
    for name, operation in every.items():
        for media in operation.definition.get("requestBody", {}).get("content", {}).values():
            assert media.get("examples"), f"{name} has no example of its body"
            for example in media["examples"].values():
                assert example["summary"]
                assert schema_faults(openapi, media["schema"], example["value"]) == [], name


def test_every_answer_has_examples_that_fit_its_schema(openapi: Document, every: dict[str, Operation]) -> None:
    for name, operation in every.items():
        assert any(status < "300" for status, _ in operation.responses())
        for status, response in operation.responses():
            assert response["description"]
            if status in {"204", "304"}:
                assert "content" not in response
                continue
            for media in response["content"].values():
                assert media["schema"]
                assert media.get("examples"), f"{name} {status} has no example: see tests/openapi/story.py"
                for example in media["examples"].values():
                    shown = followed(openapi, example)
                    assert shown["summary"]
                    assert schema_faults(openapi, media["schema"], shown["value"]) == [], (name, status)


def test_every_recorded_answer_is_of_an_operation_and_status_that_there_is(every: dict[str, Operation]) -> None:
    for name, statuses in document.recorded().items():
        assert statuses.keys() <= set(every[name].definition["responses"]), name


def test_every_error_that_a_route_can_answer_is_in_the_file(openapi: Document, every: dict[str, Operation]) -> None:
    named = {code for each in every.values() for _, response in each.responses() for code in codes(openapi, response)}
    known = {kind.code for kind in all_kinds()}
    assert known == {kind.code for kind in CATALOGUE}
    assert named <= known
    assert known - named <= ANYWHERE
    assert set(openapi["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == known


def test_an_error_has_the_status_it_stands_under(openapi: Document, every: dict[str, Operation]) -> None:
    by_code = {entry.code: entry for entry in CATALOGUE.values()}
    for operation in every.values():
        for status, response in operation.responses():
            assert {str(by_code[code].kind.status) for code in codes(openapi, response)} <= {status}


def test_no_text_is_cut_or_left_as_the_framework_made_it(openapi: Document) -> None:
    text = FILE.read_text("utf-8")
    for word in ("Successful Response", "HTTPValidationError", "TODO", "&id0", "*id0"):
        assert word not in text


# --- what it says of limits is what is done --------------------------------------------------------------------------
def limits(openapi: Document, schema: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, described in openapi["components"]["schemas"][schema]["properties"].items():
        for each in described.get("anyOf", [described]):
            if "maximum" in each:
                yield name, each


def test_the_limits_in_the_file_are_those_of_the_core(openapi: Document) -> None:
    told = dict(limits(openapi, "CheckIn"))
    assert told.keys() == LIMITS.keys()
    for name, limit in LIMITS.items():
        assert (told[name]["minimum"], told[name]["maximum"]) == (limit.low, limit.high), name


@pytest.mark.parametrize(("dose", "refused"), [("0", True), ("0.01", False), ("1000", False), ("1000.01", True)])
def test_the_limits_of_a_dose_are_those_of_the_core(openapi: Document, dose: str, refused: bool) -> None:
    ((_, told),) = limits(openapi, "InfusionIn")
    assert (told["exclusiveMinimum"], told["maximum"]) == (0, 1000)
    value = Decimal(dose)
    assert (not 0 < value <= 1000) is refused
    start = "2026-09-16T13:00:00-04:00"
    body = InfusionIn(patient="Patient/1", encounter="Encounter/1", status="stopped", start=start, dose_mg=value)  # type: ignore[arg-type]
    if refused:
        with pytest.raises(OutOfRange):
            check_record(body.request().record, body.start)
    else:
        check_record(body.request().record, body.start)


@pytest.mark.parametrize("value", ["124", True, 124.5, [124], {"value": 124}])
def test_nothing_but_a_whole_number_is_a_whole_number(value: Any) -> None:
    with pytest.raises(ValueError, match="Input should be a"):
        CheckIn(at="2026-09-16T13:00:00-04:00", systolic=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [0, 1758042000, "1758042000", "2026-09-16", "2026-09-16 13:00:00-04:00", "0001-01-01T00:00:00Z", "now", True],
)
def test_nothing_but_a_date_and_time_is_a_time(value: Any) -> None:
    with pytest.raises(ValueError, match="date and time"):
        CheckIn(at=value)


def test_a_document_of_an_application_without_routes_can_be_made() -> None:
    app = FastAPI()
    made = app.openapi()
    document.finish(made)
    assert made["paths"] == {}
