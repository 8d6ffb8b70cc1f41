"""What the R4B models know of each element: its own elements, its required codes, what it may refer to, its JSON type.

fhir.resources accepts any status and any reference; the lists are in its models all the same. Here they are read out,
once for each model, for ``check`` (before writing) and for the sandbox (as a strict server). No codes are kept here but
those of the value sets that the models cut short.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from fhir.resources.R4B import fhirtypes, get_fhir_model_class
from fhir_core.fhirabstractmodel import FHIRAbstractModel
from fhir_core.types import FhirBase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Resource = dict[str, Any]
Model = type[FHIRAbstractModel]

Json = Literal["object", "string", "boolean", "number"]

_ANYTHING: Final = "Resource"
# The models carry the codes of each required binding; where their list ends in "+", here is all of it.
_TRUNCATED: Final = {
    "Task": "draft requested received accepted rejected ready cancelled in-progress on-hold failed completed "
    "entered-in-error",
    "Observation": "registered preliminary final amended corrected cancelled entered-in-error unknown",
    "DiagnosticReport": "registered partial preliminary final amended corrected appended cancelled entered-in-error "
    "unknown",
    "Encounter": "planned arrived triaged in-progress onleave finished cancelled entered-in-error unknown",
}
# Required bindings whose codes the models do not carry.
_UNLISTED: Final = {"comparator": frozenset({"<", "<=", ">=", ">"})}
# What R4B allows beyond R4: there an Observation is about these only.
_R4_TARGETS: Final = {("Observation", "subject"): frozenset({"Patient", "Group", "Device", "Location"})}


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a model. ``type`` is its FHIR type if it has elements of its own, "" if it is primitive.

    ``kind`` is that type as fhir.resources names it before its model is built; None if it is primitive.
    ``codes`` and ``targets`` are what a code may be and what a Reference may refer to; None: anything. ``json`` is what
    its JSON is. ``resource``: it holds a resource of any type.
    """

    kind: type[FhirBase] | None
    type: str
    codes: frozenset[str] | None
    targets: frozenset[str] | None
    json: Json
    resource: bool

    @property
    def model(self) -> Model | None:
        """The model of its type, built at first use: most elements that R4 has are never met."""
        return None if self.kind is None else self.kind.get_model_klass()


def is_type(name: str) -> bool:
    """Tell whether R4 has a type of this name. Imports nothing."""
    return isinstance(getattr(fhirtypes, f"{name}Type", None), type)


def model_of(name: Any) -> Model | None:
    """Give the model of a resource type; None if R4B has no such resource."""
    if not isinstance(name, str) or not is_type(name):
        return None
    model: Model = get_fhir_model_class(name)
    return model if model.has_resource_base() else None


@functools.cache
def elements_of(model: Model) -> Mapping[str, Element]:
    """Give the elements of a model by their names in JSON."""
    return {
        field.alias or name: _element(model.get_resource_type(), field.alias or name, field.annotation, _extra(field))
        for name, field in model.model_fields.items()
    }


def unknown_codes(resource: Resource) -> Iterator[str]:
    """Give the path of each code outside its required value set, anywhere in a resource, as ``Task.identifier.use``."""
    model = model_of(resource.get("resourceType"))
    if model is not None:
        yield from _unknown(resource, elements_of(model), str(resource["resourceType"]))


def _unknown(node: Resource, elements: Mapping[str, Element], path: str) -> Iterator[str]:
    for name, value in node.items():
        element = elements.get(name)
        if element is None:
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                if element.codes is not None and each not in element.codes:
                    yield f"{path}.{name}"
            elif isinstance(each, dict):
                held = model_of(each.get("resourceType")) if element.resource else element.model
                yield from _unknown(each, elements_of(held) if held else {}, f"{path}.{name}")


def _extra(field: Any) -> Mapping[str, Any]:
    extra = field.json_schema_extra
    return extra if isinstance(extra, dict) else {}


def _element(owner: str, name: str, annotation: Any, extra: Mapping[str, Any]) -> Element:
    kind = _kind(annotation)
    any_resource = kind.__name__ == "ResourceType"
    complex_ = kind if issubclass(kind, FhirBase) and not any_resource else None
    targets = extra.get("enum_reference_types")
    allowed = frozenset(targets) if targets and _ANYTHING not in targets else None
    return Element(
        kind=complex_,
        type=complex_.__name__.removesuffix("Type") if complex_ is not None else "",
        codes=_codes(owner, name, extra.get("enum_values")),
        targets=_R4_TARGETS.get((owner, name), allowed),
        json=_json(kind),
        resource=any_resource,
    )


def _codes(owner: str, name: str, listed: list[str] | None) -> frozenset[str] | None:
    codes = [str(code) for code in listed or ()]
    if "+" in codes:
        codes = _TRUNCATED.get(owner, "").split() if name == "status" else []
    return frozenset(codes) or _UNLISTED.get(name)


def _json(kind: type) -> Json:
    if issubclass(kind, FhirBase):
        return "object"
    if issubclass(kind, bool):  # before int, which it is in Python
        return "boolean"
    return "number" if issubclass(kind, int | float | Decimal) else "string"


def _kind(annotation: Any) -> type:
    """Give the class inside an annotation such as ``Optional[List[Annotated[str, Code()]]]``."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and each is not type(None) and not get_args(each):
            return each
    return next((_kind(each) for each in get_args(annotation) if each is not type(None)), str)
