"""How errors appear in the OpenAPI file: each route names the errors it can give, and their examples come along.

Use ``responses=errors(NotFound, *FROM_FHIR)`` on a route. What follows from its body, from what its callers need, from
``once: Once``, ``expected: IfMatch`` or ``paging: Paged`` is added by itself, and what can happen anywhere.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare import errors as tree
from fhir_aftercare.api import document, faults
from fhir_aftercare.api.catalogue import CATALOGUE, Entry
from fhir_aftercare.api.problems import FHIR_JSON, PROBLEM_JSON, Unexpected, title_of
from fhir_aftercare.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI

    from fhir_aftercare.errors import AftercareError

EVERYWHERE: Final[tuple[type[AftercareError], ...]] = (Unexpected, faults.RequestTimeout)
WITH_BODY: Final[tuple[type[AftercareError], ...]] = (
    faults.MalformedBody,
    faults.BodyTooDeep,
    faults.BodyTooLarge,
    faults.UnsupportedBody,
)
PROTECTED: Final[tuple[type[AftercareError], ...]] = (
    faults.Unauthenticated,
    faults.Forbidden,
    faults.IssuerUnavailable,
)
BY_PARAMETER: Final[Mapping[str, tuple[type[AftercareError], ...]]] = {
    "Idempotency-Key": (tree.InvalidInput, faults.KeyReused, faults.StillRunning, StoreUnavailable),
    "If-Match": (tree.InvalidInput, tree.Stale, faults.PreconditionRequired),
    "If-None-Match": (tree.InvalidInput,),
    "cursor": (faults.InvalidCursor,),
}
FROM_FHIR: Final[tuple[type[AftercareError], ...]] = (
    tree.FhirUnreachable,
    tree.FhirTimeout,
    tree.FhirMalformed,
    tree.FhirUnauthorized,
    tree.FhirThrottled,
    tree.FhirNotFound,
    tree.FhirGone,
    tree.FhirStale,
    tree.FhirRejected,
    tree.FhirBroken,
)

_STRING: Final = {"type": "string"}
_STRINGS: Final = {"type": "array", "items": _STRING}
_OBJECT: Final = {"type": "object", "additionalProperties": True}

PROBLEM_SCHEMA: Final[Mapping[str, Any]] = {
    "title": "Problem",
    "description": "An error (RFC 9457). `code` is stable; `remedy` says how to mend it; `where` names the places.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "remedy", "where", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": _STRING,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _STRING,
        "instance": {"type": "string", "format": "uri"},
        "code": {"type": "string", "enum": sorted(entry.code for entry in CATALOGUE.values())},
        "remedy": _STRING,
        "where": _STRINGS,
        "request_id": _STRING,
        "unmet": {**_STRINGS, "description": "The readiness criteria not met or not recorded."},
        "legal": {**_STRINGS, "description": "The moves that are possible."},
        "faults": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "reason"],
                "properties": {"where": _STRING, "reason": _STRING},
            },
        },
        "upstream": {
            "type": "object",
            "description": "What the FHIR server said, without its texts: they may quote patient data.",
            "required": ["status", "issues"],
            "properties": {
                "status": {"type": ["integer", "null"]},
                "issues": {"type": "array", "items": _OBJECT},
            },
        },
    },
}
OUTCOME_SCHEMA: Final[Mapping[str, Any]] = {
    "title": "OperationOutcome",
    "description": "The same error as a FHIR R4 OperationOutcome, when Accept prefers application/fhir+json.",
    "type": "object",
    "required": ["resourceType", "issue"],
    "properties": {
        "resourceType": {"const": "OperationOutcome"},
        "issue": {"type": "array", "minItems": 1, "items": _OBJECT},
    },
}


def errors(*kinds: type[AftercareError]) -> dict[int | str, dict[str, Any]]:
    """Give what ``responses=`` of a route needs to name these errors, grouped by status, with their examples."""
    found: dict[int | str, dict[str, Any]] = {}
    for status, entries in sorted(_by_status(kinds).items()):
        found[status] = {
            "description": "; ".join(entry.title for entry in entries),
            "content": {
                PROBLEM_JSON: _content("Problem", {entry.code: entry.problem() for entry in entries}),
                FHIR_JSON: _content("OperationOutcome", {entry.code: entry.outcome() for entry in entries}),
            },
        }
    return found


def describe_errors(app: FastAPI) -> None:
    """Make ``app.openapi()`` hold the error schemas, and errors where FastAPI would describe its own 422."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        made = app.openapi_schema
        schema = generate()
        if schema is not made:
            _complete(schema)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI's documentation names


def _complete(schema: dict[str, Any]) -> None:
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas |= {"Problem": deepcopy(PROBLEM_SCHEMA), "OperationOutcome": deepcopy(OUTCOME_SCHEMA)}
    for operation in document.operations(schema):
        _describe(operation)
    document.finish(schema)


def _describe(operation: dict[str, Any]) -> None:
    responses, parameters = operation["responses"], operation.get("parameters", [])
    kinds = [*EVERYWHERE, *(WITH_BODY if "requestBody" in operation else ())]
    kinds += PROTECTED if "security" in operation else ()
    for parameter in parameters:
        kinds += BY_PARAMETER.get(parameter["name"], ())
        if parameter["name"] == "Idempotency-Key" and parameter["required"]:
            kinds.append(faults.KeyMissing)
        if parameter["name"] == "If-None-Match":
            responses.setdefault("304", {"description": "The caller has this version"})
    if parameters or "requestBody" in operation:
        kinds.append(faults.InvalidRequest)
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status, described in errors(*kinds).items():
        known = responses.setdefault(str(status), described)
        if known is not described:
            _merge(known, described)
    operation["responses"] = dict(sorted(responses.items()))


def _merge(known: dict[str, Any], more: Mapping[str, Any]) -> None:
    known["description"] = "; ".join(dict.fromkeys([known["description"], *more["description"].split("; ")]))
    content = known.setdefault("content", {})
    for media, described in more["content"].items():
        examples = content.setdefault(media, described).setdefault("examples", {})
        content[media]["examples"] = {**described["examples"], **examples}


def _content(schema: str, examples: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": {"$ref": f"#/components/schemas/{schema}"},
        "examples": {code: {"summary": title_of(code), "value": value} for code, value in examples.items()},
    }


def _by_status(kinds: tuple[type[AftercareError], ...]) -> dict[int, list[Entry]]:
    grouped: dict[int, list[Entry]] = {}
    for kind in dict.fromkeys(kinds):
        grouped.setdefault(kind.status, []).append(CATALOGUE[kind])
    return grouped
