"""Reading an OpenAPI document in tests: references followed, operations found by their ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METHODS = frozenset({"get", "put", "post", "delete", "patch", "head", "options", "trace"})


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, with the document it stands in."""

    document: Mapping[str, Any]
    path: str
    method: str
    definition: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The operationId."""
        return str(self.definition["operationId"])

    @property
    def request_examples(self) -> dict[str, Any]:
        """The values of the examples of the body, by name."""
        content = self.definition.get("requestBody", {}).get("content", {})
        return {
            name: followed(self.document, example)["value"]
            for media in content.values()
            for name, example in media.get("examples", {}).items()
        }

    def responses(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield each status with what is said of it."""
        for status, response in self.definition["responses"].items():
            yield status, followed(self.document, response)


def followed(document: Mapping[str, Any], part: Any) -> Any:
    """Give a part of a document; if it is a reference, what it refers to."""
    while isinstance(part, dict) and "$ref" in part:
        target: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        part = target
    return part


def operations(document: Mapping[str, Any]) -> dict[str, Operation]:
    """Give the operations by their ids."""
    found = [
        Operation(document, path, method, definition)
        for path, item in document["paths"].items()
        for method, definition in item.items()
        if method in METHODS
    ]
    return {operation.id: operation for operation in found}


def codes(document: Mapping[str, Any], response: Any) -> set[str]:
    """Give the error codes that a response may have."""
    return set(followed(document, response).get("content", {}).get("application/problem+json", {}).get("examples", {}))


def schema_faults(document: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> list[str]:
    """Give what does not fit a schema of the document (JSON Schema 2020-12, formats too)."""
    whole = {**schema, "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(value)]
