"""Every element of one resource, once: JSON types, required codes, reference targets, and what R4 does not have.

The rules that belong to a data type (Reference, Coding, Quantity, Period, Extension) are here; those of a whole
resource are ``invariants``.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.fhir.faults import REFERENCE, Fault, dicts, has_value, in_order
from fhir_aftercare.fhir.required_codes import elements_of, is_type, model_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fhir_aftercare.fhir.required_codes import Element

Resource = dict[str, Any]

# What the R4B models take and R4 servers do not know (fhir-model §5).
_NOT_IN_R4: Final = frozenset({"subjectCanonical", "valueCodeableReference", "valueRatioRange", "fhir_comments"})
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_JSON: Final = {"boolean": (bool,), "number": (int, float, Decimal)}

Path = tuple["Path | None", str, "int | None"]


def _place(path: Path) -> str:
    parent, name, index = path
    step = name if index is None else f"{name}[{index}]"
    return step if parent is None else f"{_place(parent)}.{step}"


class Walk:
    """Every element of one resource, once. A path is a chain of steps and is put into words only for a fault."""

    def __init__(self, resource: Resource, urns: Mapping[str, str], name: str) -> None:
        self.faults: list[Fault] = []
        self._urns = urns
        self._contained = {
            f"#{each.get('id')}": str(each.get("resourceType")) for each in dicts(resource.get("contained"))
        }
        self._contained["#"] = name
        # A patient's answers are kept as they came, and an open choice has words without a system.
        self._strict_codings = name != "QuestionnaireResponse"

    def _fault(self, path: Path, rule: str) -> None:
        self.faults.append(Fault(_place(path), rule))

    def visit(self, node: Resource, elements: Mapping[str, Element], path: Path) -> None:
        """Look at each element of a node."""
        for name, value in node.items():
            element = elements.get(name)
            if name in _NOT_IN_R4:
                self._fault((path, name, None), "is not in R4")
            if element is None:  # resourceType, or what the models have refused already
                continue
            if type(value) is not list:
                self._value(value, element, (path, name, None))
                continue
            if not value:
                self._fault((path, name, None), "is empty")
            for index, each in enumerate(value):
                # Only beside a primitive's extension an array may have gaps.
                if each is not None or not (name.startswith("_") or f"_{name}" in node):
                    self._value(each, element, (path, name, index))

    def _value(self, value: Any, element: Element, path: Path) -> None:
        if type(value) is dict:
            if not value:
                self._fault(path, "is empty")
            check = _TYPES.get(element.type)
            if check is not None:
                check(self, value, element, path)
            held = model_of(value.get("resourceType")) if element.resource else element.model
            if held is not None:
                self.visit(value, elements_of(held), path)
            elif element.resource:
                self._fault(path, "is of no type that R4 has")
        elif isinstance(value, str):
            self._string(value, element, path)
        elif not isinstance(value, _JSON.get(element.json, ())) or isinstance(value, bool) != (
            element.json == "boolean"
        ):
            self._fault(path, "is not the JSON that R4 has there")

    def _string(self, value: str, element: Element, path: Path) -> None:
        if element.json != "string":
            self._fault(path, "is not the JSON that R4 has there")
        if not value.strip():
            self._fault(path, "is empty")
        if element.codes is not None and value not in element.codes:
            self._fault(path, "is no code of the required value set")
        if value in self._urns and path[1] != "reference":  # servers rewrite it in a Reference only (design §10.14)
            self._fault(path, "names an entry where no server will replace it")
        if path[1] == "id" and not element.type and not _ID.fullmatch(value):
            self._fault(path, "is no id: 1 to 64 letters, digits, - and .")

    def reference(self, value: Resource, element: Element, path: Path) -> None:
        """A reference leads somewhere, and to a type that R4 allows there."""
        given = value.get("reference")
        if not isinstance(given, str):
            return
        type_ = self._urns.get(given) or self._contained.get(given)
        match = None if type_ else REFERENCE.fullmatch(given)
        if match is not None and is_type(match[1]):
            type_ = match[1]
        if type_ is None:
            if given.startswith("urn:"):
                self._fault(path, "refers to no entry of the Bundle")
            elif not given.startswith(("http://", "https://")):
                self._fault(path, "refers to nothing: it is no Type/id")
        elif element.targets is not None and type_ not in element.targets:
            self._fault(path, f"refers to a {type_}, which R4 does not allow there")

    def coding(self, value: Resource, _element: Element, path: Path) -> None:
        """A code or a display alone means nothing."""
        if self._strict_codings and not ("system" in value and "code" in value):
            self._fault(path, "has no system and code")

    def quantity(self, value: Resource, _element: Element, path: Path) -> None:
        """R4 qty-3; and a unit alone is no quantity."""
        if "code" in value and "system" not in value:
            self._fault(path, "has a code without its system")
        if "value" not in value and "_value" not in value:
            self._fault(path, "has no value")

    def extension(self, value: Resource, _element: Element, path: Path) -> None:
        """R4 ext-1."""
        if has_value(value) == ("extension" in value):
            self._fault(path, "has neither or both of a value and extensions")

    def period(self, value: Resource, _element: Element, path: Path) -> None:
        """R4 per-1."""
        if not in_order(value.get("start"), value.get("end")):
            self._fault(path, "ends before it starts")


_TYPES: Final[Mapping[str, Callable[[Walk, Resource, Element, Path], None]]] = {
    "Reference": Walk.reference,
    "Coding": Walk.coding,
    "Quantity": Walk.quantity,
    "Period": Walk.period,
    "Extension": Walk.extension,
}
