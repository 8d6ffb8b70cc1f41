"""How FHIR resources appear in the OpenAPI file: what this service itself relies on in them, and no more of R4.

Whole resources are described by FHIR. What is sent is checked against R4 when it comes in; what is given back was
checked before.
"""

from typing import Any, Final

# FHIR would let an id begin with a dot; an address would climb out of its folder with one.
ID: Final = "[A-Za-z0-9-][A-Za-z0-9.-]{0,63}"
MOMENT_PATTERN: Final = r"^(19|20)\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"

_RESOURCE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["resourceType"],
    "properties": {"resourceType": {"type": "string"}},
}
FHIR_OBJECT: Final[dict[str, Any]] = {**_RESOURCE, "title": "Resource", "description": "A FHIR R4 resource."}
_BUNDLE: Final[dict[str, Any]] = {
    "title": "Bundle",
    "description": "A FHIR R4 transaction Bundle.",
    "type": "object",
    "required": ["resourceType", "type"],
    "properties": {
        "resourceType": {"const": "Bundle"},
        "type": {"const": "transaction"},
        "entry": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["resource", "request"],
                "properties": {
                    "fullUrl": {"type": "string"},
                    "resource": _RESOURCE,
                    "request": {
                        "type": "object",
                        "required": ["method", "url"],
                        "properties": {
                            "method": {"enum": ["POST", "PUT"]},
                            "url": {"type": "string"},
                            "ifNoneExist": {"type": "string"},
                            "ifMatch": {"type": "string"},
                        },
                    },
                },
            },
        },
    },
}
BUNDLE: Final[dict[str, Any]] = {
    "description": "The transaction Bundle that would be sent; without entries if nothing is to be written.",
    "content": {"application/fhir+json": {"schema": _BUNDLE}},
}
QUESTIONNAIRE_RESPONSE: Final[dict[str, Any]] = {
    "title": "QuestionnaireResponse",
    "description": "A FHIR R4 QuestionnaireResponse. What is named here is what this service relies on.",
    "type": "object",
    "required": ["resourceType", "status", "subject", "authored"],
    "properties": {
        "resourceType": {"const": "QuestionnaireResponse"},
        "status": {"enum": ["completed", "amended", "in-progress"]},
        "subject": {
            "type": "object",
            "description": "The patient.",
            "required": ["reference"],
            "properties": {"reference": {"type": "string", "pattern": f"^Patient/{ID}$"}},
        },
        "authored": {
            "type": "string",
            "format": "date-time",
            "pattern": MOMENT_PATTERN,
            "description": "When it was answered, with its offset.",
        },
        "questionnaire": {"type": "string", "description": "Canonical of the form, with or without its version."},
        "item": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["linkId"],
                "properties": {"linkId": {"type": "string"}, "answer": {"type": "array"}, "item": {"type": "array"}},
            },
        },
    },
}
FHIR_SCHEMAS: Final = {"Bundle": _BUNDLE, "QuestionnaireResponse": QUESTIONNAIRE_RESPONSE}
