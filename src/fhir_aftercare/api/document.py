"""The OpenAPI document as a whole: what it says of the API, examples of answers, and everything repeated said once.

Takes what FastAPI and ``openapi`` made of the routes. A route's answers are in ``answers.json``, recorded by the tests
(tests/openapi/test_examples.py) and by nobody else; a tag needs its words in ``TAGS``.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.api.catalogue import CATALOGUE
from fhir_aftercare.api.previews import FHIR_SCHEMAS
from fhir_aftercare.api.problems import FHIR_JSON, PROBLEM_JSON, title_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ABOUT: Final = """\
Closes the loop after a ketamine infusion, on FHIR R4: what was measured, whether the patient may go home, the plan, \
what the patient reports, who must act and by when.

The clinic's FHIR server keeps the record; answers of this API are mostly references to what is there now.

- **Repeat anything.** The same call again ends in the same state: 201 when something was written, 200 when all of it \
was there before. With an `Idempotency-Key` the repeat gets the first answer's status, and `Idempotent-Replayed: true`.
- **See before you write.** A `preview` route gives the transaction Bundle that would be sent, and writes nothing.
- **Errors** are `application/problem+json` (RFC 9457) with a stable `code`, the places in `where` and a `remedy`; \
or a FHIR `OperationOutcome`, if `Accept` prefers `application/fhir+json`. They hold no patient data.
- **Access.** Send `Authorization: Bearer` with a token for the clinic of the path; each call names the scope it \
needs. `GET /.well-known/oauth-protected-resource` says who issues tokens. On the machine it runs on, the service may \
be set up to ask for none.
- **Times** carry their offset. One without it is refused, never guessed.
- **Numbers** keep their digits: `1.50` stays `1.50`. Text is never read as a number.
- **Trace** a call with `X-Request-Id` or `traceparent`: both go on to the FHIR server.
"""
TAGS: Final[Mapping[str, str]] = {
    "infusions": "Record an infusion with everything observed, and correct it.",
    "discharges": "Judge readiness, and discharge: *ask* (may this patient go?) or *happened* (the patient has left).",
    "answers": "Read back what patients report: sent as FHIR, or found on the clinic's server.",
    "signals": "Say that something happened to a visit; the work is kept, and done afterwards.",
    "patients": "One patient's aftercare as it stands.",
    "tasks": "What people do: list, claim, complete, fail.",
    "worklist": "What waits for the clinic's people, the most urgent first.",
    "corrections": "Retract or correct what was recorded. Nothing is erased.",
    "health": "Probes for whoever runs the service.",
}
# The relative one comes first: the interactive documentation calls the server that it came from.
SERVERS: Final = [
    {"url": "/", "description": "Where this document is served"},
    {"url": "http://127.0.0.1:8000", "description": "`fhir-aftercare serve` on this machine"},
]

_REQUEST_ID: Final = "X-Request-Id"
_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    _REQUEST_ID: {
        "description": "The request's id: the one sent, or a fresh one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "example": "7d0c1f5e2b9a4c06",
    },
    "Idempotent-Replayed": {
        "description": "Present on a repeat of a request with the same `Idempotency-Key`.",
        "schema": {"const": "true"},
        "example": "true",
    },
    "Retry-After": {
        "description": "Seconds after which a repeat makes sense.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 5,
    },
    "WWW-Authenticate": {
        "description": "What is wrong with the token (RFC 6750), and where it is said who issues one (RFC 9728).",
        "schema": {"type": "string"},
        "example": 'Bearer error="insufficient_scope", scope="aftercare/plans.write"',
    },
    "ETag": {
        "description": "The version of what was given, for `If-Match` and `If-None-Match`.",
        "schema": {"type": "string", "pattern": '^W/"[!#-~]{1,200}"$'},
        "example": 'W/"3"',
    },
    "Link": {
        "description": 'The next page, as `rel="next"`.',
        "schema": {"type": "string"},
        "example": '<?limit=50&cursor=c3Vu>; rel="next"',
    },
}
# What a parameter of a route says of the headers of its answer.
_BY_PARAMETER: Final[Mapping[str, str]] = {
    "Idempotency-Key": "Idempotent-Replayed",
    "If-None-Match": "ETag",
    "cursor": "Link",
}
_WAIT: Final = frozenset(
    {"still-running", *(entry.code for entry in CATALOGUE.values() if entry.kind.issue in {"throttled", "transient"})}
)
_CHALLENGED: Final = frozenset({"unauthenticated", "forbidden"})
_BLAND: Final = {"Successful Response": "Done"}
_LIMITS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_DATA: Final = frozenset({"default", "enum", "example", "examples", "value"})


def finish(schema: dict[str, Any]) -> None:
    """Complete the document of any application of ours, in place."""
    components = schema.setdefault("components", {})
    used: dict[str, dict[str, Any]] = {"schemas": components.pop("schemas", {})}
    used |= {"responses": {}, "examples": _of_errors(), "headers": {}}
    for operation in operations(schema):
        _fhir(operation, used)
        _answers(operation)
        _responses(operation, used)
    for name, found in used.items():
        components[name] = dict(sorted(found.items()))
    _tidy(schema)
    tags = dict.fromkeys(tag for operation in operations(schema) for tag in operation.get("tags", ()))
    described = {
        "info": {**schema["info"], "description": ABOUT, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": SERVERS,
        "tags": [{"name": tag, "description": TAGS[tag]} for tag in tags if tag in TAGS],
        "paths": schema.pop("paths"),
        "components": schema.pop("components"),
    }
    schema |= described


def operations(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every operation of a document."""
    for path in schema.get("paths", {}).values():
        for operation in path.values():
            if isinstance(operation, dict) and "responses" in operation:
                yield operation


@cache
def recorded() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Give the recorded answers: by operationId, status and name, each with ``summary`` and ``value``."""
    found: dict[str, Any] = json.loads(files("fhir_aftercare.api").joinpath("answers.json").read_text("utf-8"))
    return found


def _answers(operation: dict[str, Any]) -> None:
    for status, examples in recorded().get(operation.get("operationId", ""), {}).items():
        for content in operation["responses"].get(status, {}).get("content", {}).values():
            content["examples"] = dict(examples)


def _responses(operation: dict[str, Any], used: dict[str, dict[str, Any]]) -> None:
    named = [parameter["name"] for parameter in operation.get("parameters", ())]
    for status, response in operation["responses"].items():
        if set(response.get("content", ())) == {PROBLEM_JSON, FHIR_JSON}:
            codes = sorted(response["content"][PROBLEM_JSON]["examples"])
            name = "_".join([status, *codes])
            used["responses"].setdefault(name, _error(codes, used))
            operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
        else:
            succeeds = status < "300"
            headers = [_BY_PARAMETER[name] for name in named if name in _BY_PARAMETER and succeeds]
            response["headers"] = _headers([_REQUEST_ID, *headers], used)


def _of_errors() -> dict[str, Any]:
    """Give an example of every error in both forms: also of those that any address may answer."""
    return {
        f"{entry.code}.{form}": {"summary": entry.title, "value": value}
        for entry in CATALOGUE.values()
        for form, value in (("problem", entry.problem()), ("outcome", entry.outcome()))
    }


def _error(codes: Iterable[str], used: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Describe the answers with these codes, which have one status."""
    wait = ["Retry-After"] if _WAIT & set(codes) else []
    challenge = ["WWW-Authenticate"] if _CHALLENGED & set(codes) else []
    return {
        "description": "; ".join(map(title_of, codes)),
        "headers": _headers([_REQUEST_ID, *wait, *challenge], used),
        "content": {
            media: {
                "schema": {"$ref": f"#/components/schemas/{name}"},
                "examples": {code: {"$ref": f"#/components/examples/{code}.{form}"} for code in codes},
            }
            for media, name, form in (
                (PROBLEM_JSON, "Problem", "problem"),
                (FHIR_JSON, "OperationOutcome", "outcome"),
            )
        },
    }


def _headers(names: Iterable[str], used: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found = list(dict.fromkeys(names))
    used["headers"].update({name: dict(_HEADERS[name]) for name in found})
    return {name: {"$ref": f"#/components/headers/{name}"} for name in found}


def _fhir(operation: dict[str, Any], used: dict[str, dict[str, Any]]) -> None:
    """Give the FHIR resources that routes take and give a name each."""
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        for content in part.get("content", {}).values():
            name = content.get("schema", {}).get("properties", {}).get("resourceType", {}).get("const")
            if name in FHIR_SCHEMAS:
                used["schemas"][name] = deepcopy(FHIR_SCHEMAS[name])
                content["schema"] = {"$ref": f"#/components/schemas/{name}"}


def _tidy(part: Any) -> None:
    """Take out what FastAPI adds and nobody reads: 40.0 for 40, ``Mean Pressure`` as the title of mean_pressure."""
    if isinstance(part, list):
        for value in part:
            _tidy(value)
    if not isinstance(part, dict):
        return
    for name, value in part.items():
        match name, value:
            case _, float() if name in _LIMITS and value.is_integer():
                part[name] = int(value)
            case "properties", dict():
                for described in value.values():
                    _drop(described, "title")
            case "parameters", list():
                for parameter in value:
                    _drop(parameter["schema"], "title", *(parameter.keys() & {"description", "examples"}))
            case "description", str():
                part[name] = _BLAND.get(value, value)
            case _:
                pass
        if name not in _DATA:
            _tidy(value)


def _drop(schema: dict[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(schema.get(name), dict):
            schema.pop(name, None)
