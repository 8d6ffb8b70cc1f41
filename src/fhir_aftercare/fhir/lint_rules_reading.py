"""Lint reads definitions one part at a time, so that one fault hides no other.

Each part is put alone into a definition that is otherwise good and given to the reader the service itself uses: lint
and loading can never disagree. What is sound goes on to the other rules; a plan's part is an element of an action.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.wording import LANGUAGES
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.definitions import Activity, Definition, Form, Plan, Protocol
from fhir_aftercare.fhir.elements import Element
from fhir_aftercare.fhir.lint_rules import GONE, Finding, error, items_of, objects, without_gone
from fhir_aftercare.fhir.lint_rules_reading_activity import read_parts as read_activity_parts
from fhir_aftercare.fhir.loading import load_protocol
from fhir_aftercare.fhir.plan_definition import read_plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


Resource = dict[str, Any]

_URL, _VERSION, _STATUS = "https://lint.invalid/definition", "1.0.0", "active"
# A good definition to try a header in; the readers of all kinds read headers alike.
_GOOD: Final[Resource] = {
    "resourceType": "Questionnaire",
    "url": _URL,
    "version": _VERSION,
    "status": _STATUS,
    "title": "A title",
    "item": [{"linkId": "a"}],
}
_GOAL: Final[Resource] = {
    "description": {"text": "A goal"},
    "target": [
        {
            "measure": {"text": "A measure"},
            "detailQuantity": {"value": 1},
            "due": {"value": 1, "system": terms.UCUM, "code": "d"},
        }
    ],
}
_LISTS = ("extension", "condition", "relatedAction")


@dataclass(slots=True)
class Reading:
    """What could be read of all files, and what could not. Files of other types are in neither."""

    plans: dict[str, Plan] = field(default_factory=dict)
    activities: dict[str, Activity] = field(default_factory=dict)
    forms: dict[str, Form] = field(default_factory=dict)
    places: dict[tuple[str, str], str] = field(default_factory=dict)
    broken: set[tuple[str, str]] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    @property
    def protocol(self) -> Protocol:
        """Give the sound parts as a protocol; nothing in it was linked."""
        return Protocol(self.plans, self.activities, self.forms)


def read_all(files: Mapping[str, Resource]) -> Reading:
    """Read every PlanDefinition, ActivityDefinition and Questionnaire as far as it can be."""
    reading = Reading()
    for file, resource in sorted(files.items()):
        kind = str(resource.get("resourceType"))
        if kind not in {"PlanDefinition", "ActivityDefinition", "Questionnaire"}:
            continue
        common = _header(reading, file, resource)
        if kind == "PlanDefinition":
            _add(reading, reading.plans, _plan(reading, file, resource, common))
        elif kind == "ActivityDefinition":
            activity, findings = read_activity_parts(file, resource, common)
            reading.findings += findings
            _add(reading, reading.activities, activity)
        else:
            _form(reading, file, resource)
            _add(reading, reading.forms, Form(**common, resource=resource))
    return reading


def _add(reading: Reading, found: dict[str, Any], definition: Definition) -> None:
    other = found.get(definition.canonical)
    if other is None:
        found[definition.canonical] = definition
        return
    reading.findings.append(
        error(
            (definition.file, "url"),
            "duplicate",
            f"{definition.canonical} is also defined by {other.file}.",
            "Give one of them another version.",
        )
    )


# --- headers ---------------------------------------------------------------------------------------------------------
def _header(reading: Reading, file: str, resource: Resource) -> dict[str, Any]:
    """Give what every definition has, as ``loading`` gives it; what is faulty is reported and stood in for."""
    sound: Resource = {}
    for name in ("url", "version", "status", "title", "language", "implicitRules", "modifierExtension"):
        given = {key: resource[key] for key in (name, f"_{name}") if key in resource}
        fault = _loading_fault(file, {**{k: v for k, v in _GOOD.items() if k != name}, **given})
        if fault is None:
            sound.update(given)
        else:
            reading.findings.append(_of(fault, file, f"{resource['resourceType']}.{name}", "definition"))
    header = {**_GOOD, "url": f"{_URL}/{file}", **sound}
    return {
        "file": file,
        "url": header["url"],
        "version": header["version"],
        "status": header["status"],
        "titles": Element(header, file).texts("title") if "title" in sound else dict.fromkeys(LANGUAGES, "A title"),
    }


def _loading_fault(file: str, resource: Resource) -> ProtocolFault | None:
    """Give the fault of reading a file, not that other files are missing."""
    try:
        load_protocol({file: resource})
    except ProtocolFault as fault:
        return fault if fault.file == file else None
    return None


def _of(fault: ProtocolFault, file: str, path: str, rule: str) -> Finding:
    why = fault.message + (f" ({fault.expression})" if fault.expression else "")
    return error((file, path), rule, why, fault.remedy)


# --- plans -----------------------------------------------------------------------------------------------------------
def _plan(reading: Reading, file: str, resource: Resource, common: dict[str, Any]) -> Plan:
    plan = _PlanReader(reading, file, common)
    body: Resource = {"name": "Good"}
    name: Resource = {"name": resource["name"]} if "name" in resource else {}
    if plan.sound(name, "PlanDefinition.name"):
        body.update(name)
    for path, each in plan.listed(resource, "extension"):
        plan.sound({"name": "Good", "extension": [each]}, path)
    goals = list(plan.listed(resource, "goal"))
    actions = [(path, plan.action(action, path)) for path, action in plan.listed(resource, "action")]
    body["goal"] = [
        goal if plan.sound({"name": "Good", "goal": [goal]}, path) else {**_GOAL, "id": f"{goal.get('id') or path}"}
        for path, goal in goals
    ]
    _doubles(reading, file, [(path, goal.get("id")) for path, goal in goals])
    _doubles(reading, file, [(path, action["id"]) for path, action in actions])
    body["goal"] = list({goal["id"]: goal for goal in reversed(body["goal"])}.values())[::-1]
    body["action"] = list({action["id"]: action for _, action in reversed(actions)}.values())[::-1]
    for path, action in reversed(actions):
        reading.places[file, action["id"]] = path
    return read_plan(Element(body, file), common)


def _doubles(reading: Reading, file: str, ids: list[tuple[str, Any]]) -> None:
    seen: dict[str, str] = {}
    for path, identity in ids:
        if not isinstance(identity, str):
            continue
        if identity in seen:
            reading.findings.append(
                error(
                    (file, path),
                    "duplicate",
                    f"The id {identity} is there twice, also at {seen[identity]}.",
                    "Give one of the two another id.",
                )
            )
        seen.setdefault(identity, path)


@dataclass(frozen=True, slots=True)
class _PlanReader:
    """Tries parts of one plan with the service's own reader."""

    reading: Reading
    file: str
    common: dict[str, Any]

    def fault(self, body: Resource) -> ProtocolFault | None:
        """Give the fault of a plan of this body."""
        try:
            read_plan(Element(body, self.file), self.common)
        except ProtocolFault as fault:
            return fault
        return None

    def sound(self, body: Resource, path: str, rule: str = "definition") -> bool:
        """Tell whether a plan of this body is sound, and report it if not."""
        fault = self.fault(body)
        if fault is not None:
            self.reading.findings.append(_of(fault, self.file, path, rule))
        return fault is None

    def listed(self, resource: Resource, name: str) -> Iterator[tuple[str, Resource]]:
        """Give the objects of an array with their paths; what is none is reported."""
        given = resource.get(name, [])
        path = f"PlanDefinition.{name}"
        if not isinstance(given, list):
            self.sound({"name": "Good", name: given}, path)
            return
        for index, each in enumerate(given):
            if isinstance(each, dict) and each:
                yield f"{path}[{index}]", each
            else:
                self.sound({"name": "Good", name: [each]}, f"{path}[{index}]")

    def action(self, action: Resource, path: str) -> Resource:
        """Give the sound parts of an action, as an action; the others are reported."""
        found: Resource = {"id": f"action-at-{path}", "title": "A title"}
        broken = False
        for where, part in _parts(action):
            alone = {"id": "a", "title": "A title", **part}
            fault = self.fault({"name": "Good", "action": [without_gone(alone)]})
            if fault is None:
                for key, value in part.items():
                    found[key] = [*found.get(key, []), *value] if key in _LISTS else value
            else:
                broken = True
                rule = self._rule(fault, part)
                self.reading.findings.append(_of(fault, self.file, f"{path}.{where}", rule))
        if not self.sound({"name": "Good", "action": [found]}, path):
            # Sound alone and not together: a repetition and offsets it cannot be added to, an extension twice.
            broken = True
            for name in ("timingTiming", *_LISTS):
                if self.fault({"name": "Good", "action": [found]}) is not None:
                    found.pop(name, None)
        if broken:
            self.reading.broken.add((self.file, found["id"]))
        return found

    def _rule(self, fault: ProtocolFault, part: Resource) -> str:
        if fault.expression:
            return "expression"
        related = [each for _, each in objects(part, "relatedAction")]
        return "window-order" if related and self._only_out_of_order(related[0]) else "definition"

    def _only_out_of_order(self, related: Resource) -> bool:
        """Tell whether all parts of a window can be read, and with one offset for all of them the whole too."""
        extensions = related.get("extension", [])
        if not isinstance(extensions, list) or not all(isinstance(each, dict) for each in extensions):
            return False
        windows = [each["valueRange"] for each in extensions if isinstance(each.get("valueRange"), dict)]
        sides = [each.get(side) for each in windows for side in ("low", "high")]
        offsets = [related.get("offsetDuration"), *(each.get("valueDuration") for each in extensions), *sides]
        alone = [
            {**related, "offsetDuration": offset, "extension": _with_one_offset(related, offset)}
            for offset in offsets
            if offset is not None
        ]
        return all(
            self.fault({"name": "Good", "action": [{"id": "a", "title": "A title", "relatedAction": [each]}]}) is None
            for each in alone
        )


def _with_one_offset(related: Resource, offset: Any) -> list[Any]:
    found = copy.deepcopy(related.get("extension", []))
    for each in found:
        if "valueDuration" in each:
            each["valueDuration"] = offset
        if isinstance(each.get("valueRange"), dict):
            each["valueRange"].update({side: offset for side in ("low", "high") if side in each["valueRange"]})
    return list(found)


def _parts(action: Resource) -> Iterator[tuple[str, Resource]]:
    """Give the parts of an action that can be tried alone, each with its path below it."""
    for key in ("id", "title"):
        if key not in action:
            yield key, {key: GONE}
    for key in dict.fromkeys(name.removeprefix("_") for name in action):
        given = {name: action[name] for name in (key, f"_{key}") if name in action}
        if key in _LISTS and isinstance(action.get(key), list):
            for index, each in enumerate(action[key]):
                yield f"{key}[{index}]", {key: [each]}
        else:
            yield key, given


# --- forms -----------------------------------------------------------------------------------------------------------
def _form(reading: Reading, file: str, resource: Resource) -> None:
    """Report the items that cannot be read, each by its path."""
    given = {"item": resource["item"]} if "item" in resource else {}
    whole = _loading_fault(file, {**{k: v for k, v in _GOOD.items() if k != "item"}, **given})
    if whole is None:
        return
    before = len(reading.findings)
    links: list[tuple[str, Any]] = []
    for path, item in items_of(resource):
        links.append((path, item.get("linkId")))
        alone = {name: value for name, value in item.items() if name != "item" or not isinstance(value, list)}
        fault = _loading_fault(file, {**_GOOD, "item": [alone]})
        if fault is not None:
            reading.findings.append(_of(fault, file, path, "definition"))
    _doubles(reading, file, links)
    if len(reading.findings) == before:
        reading.findings.append(_of(whole, file, "Questionnaire.item", "definition"))
