"""Errors as a caller sees them: the right form, a stable code, a remedy, and nothing of a patient."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import jsonschema_rs
import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError
from structlog.testing import capture_logs

from fhir_aftercare import errors
from fhir_aftercare.api import faults
from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.api.catalogue import CATALOGUE, Entry, all_kinds
from fhir_aftercare.api.openapi import FROM_FHIR
from fhir_aftercare.api.openapi import errors as described
from fhir_aftercare.api.problems import operation_outcome, problem, safe_issues
from openapi.document import codes, followed

if TYPE_CHECKING:
    from collections.abc import Callable

FHIR = {"accept": "application/fhir+json"}
UPSTREAM = {
    "resourceType": "OperationOutcome",
    "text": {"div": "<div>Rivera</div>"},
    "issue": [
        {
            "severity": "error",
            "code": "invariant",
            "diagnostics": "Patient Rivera born 1988",
            "details": {
                "coding": [
                    {"system": "https://hapi.example/codes", "code": "HAPI-0389", "display": "Rivera"},
                    {"system": "not a system Rivera", "code": "x"},
                    {"system": "https://hapi.example/codes", "code": "Ana Rivera"},
                ],
                "text": "Rivera",
            },
            "expression": ["Patient.name.where(family='Rivera')"],
        },
        {"severity": "Rivera", "code": "rivera"},
        "Rivera",
    ],
}


class Kind(Enum):
    A = "a"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")

    integer: int | None = None
    number: float | None = None
    exact: Decimal | None = None
    text: Annotated[str, Field(max_length=3, pattern="^a")] | None = None
    day: date | None = None
    clock: time | None = None
    moment: datetime | None = None
    span: timedelta | None = None
    ident: uuid.UUID | None = None
    address: AnyUrl | None = None
    flag: bool | None = None
    kind: Kind | None = None
    word: Literal["x"] | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    rows: list[Cat] = []
    ours: str | None = None
    theirs: str | None = None

    @field_validator("ours")
    @classmethod
    def _ours(cls, _: str) -> str:
        raise PydanticCustomError("odd", "Must be even")

    @field_validator("theirs")
    @classmethod
    def _theirs(cls, value: str) -> str:
        raise ValueError(f"cannot use {value}")


@pytest.fixture
def app() -> FastAPI:
    made = make_app("Test", "1", Machinery(docs=False))
    router = APIRouter(prefix="/v1")

    @router.get("/raise/{code}")
    async def raising(code: str) -> None:
        raise next(entry.example for entry in CATALOGUE.values() if entry.code == code)

    @router.get("/boom/{patient}")
    async def boom(patient: str) -> None:
        raise KeyError(patient)

    @router.get("/group")
    async def group() -> None:
        raise ExceptionGroup("several", [errors.FhirTimeout("no answer"), errors.FhirBroken("500")])

    @router.get("/mixed")
    async def mixed() -> None:
        raise ExceptionGroup("several", [errors.FhirTimeout("no answer"), KeyError("Rivera")])

    @router.get("/upstream")
    async def upstream() -> None:
        raise errors.FhirRejected("POST Bundle answered 422.", http_status=422, outcome=UPSTREAM)

    @router.get("/http/{status}")
    async def http(status: int) -> None:
        raise HTTPException(status, "Rivera", headers={"WWW-Authenticate": "Bearer"})

    @router.post("/sent", responses=described(errors.NotReady, *FROM_FHIR))
    async def sent(body: Sent, limit: int = 5) -> Sent:
        return body

    made.include_router(router)

    @made.get("/fhir/Patient/{id}")
    async def fhir(id: str) -> None:  # noqa: A002
        raise errors.NotFound("There is no such resource.")

    return made


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.code)
async def test_every_error_leaves_as_a_problem_with_the_documented_members(
    app: FastAPI, reach: Callable[..., Any], entry: Entry
) -> None:
    async with reach(app) as http:
        answer = await http.get(f"/v1/raise/{entry.code}", headers={"X-Request-Id": "abc-1"})
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == entry.kind.status == body["status"]
    assert body["type"] == f"https://fhir-aftercare.example.org/problems/{entry.code}"
    assert (body["code"], body["request_id"]) == (entry.code, "abc-1")
    assert body["remedy"]
    assert body["detail"] == entry.example.message
    assert body == {**entry.problem(), "instance": "urn:fhir-aftercare:request:abc-1", "request_id": "abc-1"}


def test_every_error_class_has_an_example_and_a_code_of_its_own() -> None:
    kinds = set(all_kinds())
    assert kinds == set(CATALOGUE), "an error class without example in api/catalogue.py, or the other way round"
    assert len({kind.code for kind in kinds}) == len(kinds)


async def test_who_prefers_fhir_gets_an_operation_outcome(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        answer = await http.get("/v1/raise/out-of-range", headers={**FHIR, "X-Request-Id": "abc-1"})
    assert answer.headers["content-type"] == "application/fhir+json"
    assert answer.status_code == 422
    (issue,) = answer.json()["issue"]
    assert (issue["severity"], issue["code"]) == ("error", "value")
    assert issue["details"]["coding"][0]["code"] == "out-of-range"
    assert issue["expression"] == ["checks[2].systolic"]
    assert "Check the value and its unit" in issue["diagnostics"]
    assert "abc-1" in issue["diagnostics"]


@pytest.mark.parametrize(
    ("accept", "fhir"),
    [
        ("application/fhir+json", True),
        ("application/fhir+json; fhirVersion=4.0, */*;q=0.1", True),
        ("application/json;q=0.5, application/fhir+json", True),
        ("application/fhir+json;q=0.5, application/json", False),
        ("application/fhir+json, application/problem+json", False),
        ("application/fhir+json;q=nonsense", False),
        ("application/fhir+json;q=nan", False),
        ("*/*", False),
        ("", False),
        (",;,q=,", False),
    ],
)
async def test_the_form_of_an_error_follows_accept(
    app: FastAPI, reach: Callable[..., Any], accept: str, fhir: bool
) -> None:
    async with reach(app) as http:
        answer = await http.get("/v1/nowhere", headers={"accept": accept})
    assert ("fhir" in answer.headers["content-type"]) is fhir


async def test_a_fhir_route_answers_in_fhir_unless_a_problem_is_asked_for(
    app: FastAPI, reach: Callable[..., Any]
) -> None:
    async with reach(app) as http:
        assert (await http.get("/fhir/Patient/1")).json()["resourceType"] == "OperationOutcome"
        asked = await http.get("/fhir/Patient/1", headers={"accept": "application/problem+json"})
        assert asked.json()["code"] == "not-found"


async def test_an_unforeseen_error_is_a_500_that_says_nothing_of_it(app: FastAPI, reach: Callable[..., Any]) -> None:
    with capture_logs() as lines:
        async with reach(app) as http:
            answer = await http.get("/v1/boom/Rivera")
            mixed = await http.get("/v1/mixed")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert (mixed.status_code, mixed.json()["code"]) == (500, "internal")
    assert "Rivera" not in f"{answer.text}{mixed.text}{lines}"
    assert lines[0]["fault"][0]["type"] == "KeyError"
    assert "test_problems.py" in lines[0]["fault"][0]["at"][-1]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_several_foreseen_errors_at_once_are_answered_as_the_first(
    app: FastAPI, reach: Callable[..., Any]
) -> None:
    async with reach(app) as http:
        assert (await http.get("/v1/group")).json()["code"] == "fhir-timeout"


@pytest.mark.parametrize("headers", [{}, FHIR], ids=["problem", "outcome"])
async def test_of_what_a_fhir_server_said_only_codes_pass(
    app: FastAPI, reach: Callable[..., Any], headers: dict[str, str]
) -> None:
    async with reach(app) as http:
        answer = await http.get("/v1/upstream", headers=headers)
    body = answer.json()
    issues = body["issue"][1:] if headers else body["upstream"]["issues"]
    kept = {"coding": [{"system": "https://hapi.example/codes", "code": "HAPI-0389"}]}
    assert issues == [
        {"severity": "error", "code": "invariant", "details": kept},
        {"severity": "error", "code": "unknown"},
    ]
    assert "rivera" not in answer.text.lower()


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["issue", "severity", "code", "details", "coding", "system"]), inner)
        ),
        max_leaves=20,
    )
)
def test_no_shape_of_an_outcome_breaks_the_answer(outcome: Any) -> None:
    sent = outcome if isinstance(outcome, dict) else {"issue": outcome}
    for issue in safe_issues(sent):
        assert set(issue) <= {"severity", "code", "details"}


def test_a_throttled_call_says_when_to_come_back() -> None:
    assert problem(errors.FhirThrottled("x", retry_after=3), "r")["status"] == 503


@pytest.mark.parametrize(
    ("code", "wait"),
    [
        ("fhir-throttled", "12"),
        ("still-running", "3"),
        ("fhir-unreachable", "5"),
        ("store-unavailable", "5"),
        ("too-many-requests", "5"),
        ("fhir-broken", None),
        ("stale", None),
    ],
)
async def test_retry_after_is_sent_where_waiting_helps(
    app: FastAPI, reach: Callable[..., Any], code: str, wait: str | None
) -> None:
    async with reach(app) as http:
        assert (await http.get(f"/v1/raise/{code}")).headers.get("retry-after") == wait


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthenticated"),
        (403, "forbidden"),
        (404, "no-such-route"),
        (429, "too-many-requests"),
        (418, "request-refused"),
    ],
)
async def test_the_frameworks_own_refusals_become_problems_with_its_headers_and_without_its_words(
    app: FastAPI, reach: Callable[..., Any], status: int, code: str
) -> None:
    async with reach(app) as http:
        answer = await http.get(f"/v1/http/{status}")
    assert answer.status_code == answer.json()["status"] == status
    assert answer.json()["code"] == code
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Rivera" not in answer.text


async def test_an_unknown_address_and_an_unknown_method_are_problems(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        nowhere = await http.get("/v1/nowhere")
        method = await http.delete("/v1/sent")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "no-such-route")
    assert (method.status_code, method.json()["code"]) == (405, "method-not-allowed")
    assert method.headers["allow"] == "POST"


async def test_a_body_that_does_not_fit_names_every_field_as_the_core_does(
    app: FastAPI, reach: Callable[..., Any]
) -> None:
    async with reach(app) as http:
        answer = await http.post(
            "/v1/sent?limit=many", json={"rows": [{"kind": "cat"}, {}], "day": "soon", "unknown": 1, "Ana Rivera": 2}
        )
    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "invalid-request")
    assert body["where"] == ["query.limit", "day", "rows[1].kind", "unknown", "(unnamed)"]
    assert {"where": "rows[1].kind", "reason": "Field required"} in body["faults"]
    assert body["detail"] == "5 fields of the request cannot be used."


SECRET = "zq7Rivera19880304"


@pytest.mark.parametrize("field", [name for name in Sent.model_fields if name not in {"rows", "pet"}])
async def test_no_reason_repeats_what_was_sent(app: FastAPI, reach: Callable[..., Any], field: str) -> None:
    async with reach(app) as http:
        for value in (SECRET, f"{SECRET} 10:00", f"http://[{SECRET}", [SECRET], {SECRET: SECRET}):
            answer = await http.post("/v1/sent", json={field: value})
            assert answer.status_code == 422
            assert SECRET not in answer.text


async def test_an_unknown_kind_is_not_repeated_either(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        answer = await http.post("/v1/sent", json={"pet": {"kind": SECRET}})
    assert answer.status_code == 422
    assert SECRET not in answer.text


async def test_a_validator_of_ours_can_make_itself_heard(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        answer = await http.post("/v1/sent", json={"ours": "x", "theirs": "x"})
    assert [fault["reason"] for fault in answer.json()["faults"]] == ["Must be even", "The value is not acceptable"]


async def test_a_body_that_is_no_json_is_a_400_with_the_place(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        answer = await http.post("/v1/sent", content=b'{"a": Rivera}', headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-body")
    assert answer.json()["detail"] == "The body is not JSON (at character 6)."


def test_the_openapi_file_describes_our_errors_and_not_the_frameworks(app: FastAPI) -> None:
    schema = app.openapi()
    assert "HTTPValidationError" not in str(schema)
    responses = schema["paths"]["/v1/sent"]["post"]["responses"]
    assert list(responses) == sorted(responses)
    assert {"200", "400", "409", "413", "415", "422", "500", "502", "503", "504"} <= set(responses)
    conflict = followed(schema, responses["409"])
    example = followed(schema, conflict["content"]["application/problem+json"]["examples"]["not-ready"])
    assert example["value"]["unmet"] == ["oriented", "walks-unaided"]
    assert "not-ready" in conflict["content"]["application/fhir+json"]["examples"]
    assert codes(schema, responses["504"]) == {"request-timeout", "fhir-timeout"}
    assert "invalid-request" in codes(schema, responses["422"])
    assert {"Problem", "OperationOutcome"} <= set(schema["components"]["schemas"])
    assert app.openapi() is schema


def test_every_example_keeps_to_the_schema_it_is_described_by(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    for entry in CATALOGUE.values():
        jsonschema_rs.validate(schemas["Problem"], entry.problem())
        jsonschema_rs.validate(schemas["OperationOutcome"], entry.outcome())


def test_an_outcome_names_places_that_are_no_fhirpath_in_words() -> None:
    outcome = operation_outcome(faults.PreconditionRequired("x", where="If-Match"), "r")
    assert "expression" not in outcome["issue"][0]
    assert "At: If-Match." in outcome["issue"][0]["diagnostics"]
