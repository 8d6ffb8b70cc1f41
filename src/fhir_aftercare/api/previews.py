"""How a preview's answer appears in the OpenAPI file: a FHIR Bundle."""

from typing import Any, Final

FHIR_OBJECT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["resourceType"],
    "properties": {"resourceType": {"type": "string"}},
    "additionalProperties": True,
}
BUNDLE: Final[dict[str, Any]] = {
    "description": "The transaction Bundle that would be sent; without entries if nothing is to be written.",
    "content": {"application/fhir+json": {"schema": FHIR_OBJECT}},
}
