"""Lint reads an ActivityDefinition one part at a time, like ``lint_rules_reading`` a plan.

Each part is put into a Task or a restriction that is otherwise good. What is sound becomes the ``Activity`` that the
other rules look at; a part that is not is stood in for, so that what names the activity still finds it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.activity_definition import read_activity
from fhir_aftercare.fhir.elements import Element
from fhir_aftercare.fhir.lint_rules import GONE, Finding, error, objects, without_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fhir_aftercare.fhir.definitions import Activity

Resource = dict[str, Any]

_CODING: Final = {"system": "https://lint.invalid/system", "code": "a"}
_INSTRUCTION: Final = {
    "path": "patientInstruction",
    "expression": {"language": "text/fhirpath", "expression": "'…'"},
}
_TASK: Final[Resource] = {
    "kind": "Task",
    "intent": "order",
    "description": "Words.",
    "code": {"coding": [_CODING]},
    "extension": [{"url": terms.EXT_OWNER_ROLE, "valueCode": "nurse"}],
}
_RESTRICTION: Final[Resource] = {
    "kind": "ServiceRequest",
    "intent": "order",
    "description": "Words.",
    "doNotPerform": True,
    "code": {"coding": [_CODING], "text": "Do not do this"},
    "dynamicValue": [_INSTRUCTION],
}
# Read with the header, or by nobody.
_ELSEWHERE = {"resourceType", "url", "version", "status", "title", "_title", "language", "implicitRules"}


def read_parts(file: str, resource: Resource, common: dict[str, Any]) -> tuple[Activity, list[Finding]]:
    """Give the activity as far as it can be read, and what cannot."""
    good = _RESTRICTION if resource.get("kind") == "ServiceRequest" else _TASK
    reader = _ActivityReader(file, common, good)
    found: Resource = dict(good)
    for key in dict.fromkeys([*good, *(name for name in resource if name not in _ELSEWHERE)]):
        if key == "extension":
            found[key] = reader.extensions(resource)
        elif key == "dynamicValue":
            found[key] = reader.dynamic(resource)
        elif key == "doNotPerform" and key not in resource and good is _TASK:
            continue
        elif reader.sound({key: resource.get(key, GONE)}, key):
            found[key] = resource.get(key, GONE)
    whole = without_gone(found)
    if not reader.sound(whole, ""):
        whole = good
    return read_activity(Element(whole, file), common), reader.findings


@dataclass(slots=True)
class _ActivityReader:
    """Tries parts of one activity with the service's own reader, in a definition that is good without them."""

    file: str
    common: dict[str, Any]
    good: Resource
    findings: list[Finding] = field(default_factory=list)

    def sound(self, part: Resource, path: str, rule: str = "definition") -> bool:
        """Tell whether a part is sound, and report it if not."""
        body = without_gone({**self.good, **part})
        try:
            read_activity(Element(body, self.file), self.common)
        except ProtocolFault as fault:
            why = fault.message + (f" ({fault.expression})" if fault.expression else "")
            where = f"ActivityDefinition.{path}" if path else "ActivityDefinition"
            self.findings.append(
                error((self.file, where), "expression" if fault.expression else rule, why, fault.remedy)
            )
            return False
        return True

    def extensions(self, resource: Resource) -> list[Resource]:
        """Give the sound extensions; those that belong together (inputs in several languages) are tried together."""
        owner = [each for each in self.good.get("extension", []) if each["url"] == terms.EXT_OWNER_ROLE]
        found: list[Resource] = []
        inputs: list[Resource] = []
        sound_inputs = True
        owned = False
        for path, each in _listed(self, resource, "extension"):
            kind = each.get("url")
            owned = owned or kind == terms.EXT_OWNER_ROLE
            if kind == terms.EXT_TASK_INPUT:
                inputs.append(each)
                sound_inputs &= self.sound({"extension": [*owner, _in_english(each)]}, path)
            elif self.sound({"extension": [each] if kind == terms.EXT_OWNER_ROLE else [*owner, each]}, path):
                found.append(each)
        if owner and not owned:
            self.sound({"extension": GONE}, "extension")
            found += owner
        if inputs and sound_inputs and self.sound({"extension": [*owner, *inputs]}, "extension", "wording"):
            found += inputs
        return found

    def dynamic(self, resource: Resource) -> list[Resource]:
        """Give the sound dynamicValues; a restriction must have the patient's instruction."""
        needed = self.good.get("dynamicValue", [])
        found: list[Resource] = []
        told = False
        for path, each in _listed(self, resource, "dynamicValue"):
            instruction = each.get("path") == _INSTRUCTION["path"]
            told = told or instruction
            if self.sound({"dynamicValue": [each] if instruction else [*needed, each]}, path):
                found.append(each)
        if needed and not told:
            self.sound({"dynamicValue": GONE}, "dynamicValue")
        if not any(each.get("path") == _INSTRUCTION["path"] for each in found):
            found += needed
        return found


def _listed(reader: _ActivityReader, resource: Resource, name: str) -> Iterator[tuple[str, Resource]]:
    given = resource.get(name, [])
    if not isinstance(given, list):
        reader.sound({name: given}, name)
        return
    for index, each in enumerate(given):
        if isinstance(each, dict) and each:
            yield f"{name}[{index}]", each
        else:
            reader.sound({name: [each]}, f"{name}[{index}]")


def _in_english(extension: Resource) -> Resource:
    """Give a task-input as if it were English: alone it must not fail for want of the other languages."""
    found = copy.deepcopy(extension)
    for _, part in objects(found, "extension"):
        if part.get("url") == "language":
            part["valueCode"] = "en"
    return found
