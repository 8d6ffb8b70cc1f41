"""An ActivityDefinition → ``Activity``: one kind of work, its words in each language, and what depends on the facts.

Only what ``apply`` carries out is read: an element that would change what is done is refused (design §2.4), and so is a
restriction that its own profile would refuse later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

from fhir_aftercare.care.clinic import Role
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.definitions import Activity, Dynamic, Kind, Priority, TaskInput
from fhir_aftercare.fhir.expression import Type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fhir_aftercare.fhir.elements import Element

Resource = dict[str, Any]

# They would change what is done, and nothing here does them.
_NOT_IN_ACTIVITY = {
    "timingTiming", "timingDateTime", "timingAge", "timingPeriod", "timingRange", "timingDuration", "location",
    "participant", "productReference", "productCodeableConcept", "quantity", "dosage", "bodySite",
    "specimenRequirement", "observationRequirement", "observationResultRequirement", "transform",
}  # fmt: skip
# Elements whose words may depend on the facts: those that ``apply`` writes. All are strings.
_DYNAMIC: Mapping[str, frozenset[str]] = {
    "Task": frozenset({"description", "priority"}),
    "ServiceRequest": frozenset({"patientInstruction"}),
}


def read_activity(element: Element, common: dict[str, Any]) -> Activity:
    """Give an activity. ``common`` is what every definition has. Raises ``ProtocolFault``."""
    element = element.within(element.text("id") or common["url"].rpartition("/")[2])
    element.only_extensions(terms.EXT_OWNER_ROLE, terms.EXT_TASK_INPUT)
    found = element.data.keys() & _NOT_IN_ACTIVITY
    if found:
        raise element.fault(f"Not supported here: {', '.join(sorted(found))}.", "Leave it out.")
    kind = cast("Kind | None", element.code("kind", get_args(Kind)))
    if kind is None:
        raise element.fault("`kind` is missing.", f"Write `kind` as one of {', '.join(get_args(Kind))}.")
    if element.code("intent", {"order"}) is None:
        raise element.fault("`intent` is missing.", "Write `intent` as order: that is what is written.")
    owner = element.extension(terms.EXT_OWNER_ROLE)
    role = cast("Role | None", owner.code("valueCode", get_args(Role)) if owner else None)
    code = element.concept("code")
    if code is None or not code.get("coding"):
        raise element.fault("`code` has no coding.", "Say what is done by a `code` with system and code.")
    activity = Activity(
        **common,
        kind=kind,
        description=element.required("description"),
        code=code,
        priority=cast("Priority | None", element.code("priority", get_args(Priority))),
        do_not_perform=element.flag("doNotPerform"),
        owner_role=role,
        inputs=_inputs(element),
        dynamic=tuple(_dynamic(each, kind) for each in element.children("dynamicValue")),
    )
    _check_activity(activity, element)
    return activity


def _check_activity(activity: Activity, element: Element) -> None:
    paths = [each.path for each in activity.dynamic]
    if len(set(paths)) < len(paths):
        raise element.fault("Two dynamicValues have one path.", "Keep one of them.")
    if activity.kind == "Task":
        if activity.do_not_perform:
            raise element.fault("A Task cannot forbid anything.", "Write `kind` as ServiceRequest.")
        if activity.owner_role is None:
            raise element.fault("Nobody does this Task.", "Add the extension owner-role.")
        return
    # What aftercare-activity-restriction demands: it would be refused at every discharge.
    if not activity.do_not_perform or not str(activity.code.get("text")).startswith("Do not "):
        raise element.fault(
            "A ServiceRequest must be a restriction that says so.",
            "Write `doNotPerform` as true, and a `code.text` that begins with `Do not `.",
        )
    if "patientInstruction" not in paths:
        raise element.fault("The patient is not told of the restriction.", "Add a dynamicValue `patientInstruction`.")
    if activity.inputs:
        raise element.fault("A ServiceRequest has no inputs.", "Move the extensions task-input to a Task.")


def _dynamic(element: Element, kind: Kind) -> Dynamic:
    element.only({"path", "expression"}, "A dynamicValue has `path` and `expression`.")
    path = element.code("path", _DYNAMIC[kind])
    if path is None:
        raise element.fault("A dynamicValue has no path.", f"Use one of {', '.join(sorted(_DYNAMIC[kind]))}.")
    expressions = element.expressions()
    for each in expressions.values():
        if each.type is not Type.STRING:
            raise element.fault(
                f"`{path}` is text, and the expression is {each.type.value}.",
                "Write an expression that gives a string.",
                expression=each.text,
            )
    return Dynamic(path, expressions)


def _inputs(element: Element) -> tuple[TaskInput, ...]:
    """Give the inputs. The file has one extension for each language; the n-th of each language belong together."""
    by_language: dict[str, list[TaskInput]] = {"en": []}
    for extension in element.extensions(terms.EXT_TASK_INPUT):
        parts = {part.required("url"): part for part in extension.children("extension")}
        if not {"type", "text", "language"} <= parts.keys():
            raise element.fault("A task-input is not complete.", "Give it `type`, `text` and `language`.")
        language = parts["language"].required("valueCode")
        concept = parts["type"].concept("valueCodeableConcept")
        if concept is None:
            raise element.fault("The type of a task-input is missing.", "Add `valueCodeableConcept`.")
        text = parts["text"].required("valueString")
        by_language.setdefault(language, []).append(TaskInput(concept, {language: text}))
    english = by_language["en"]
    for given in by_language.values():
        if [_codes(each.type) for each in given] != [_codes(each.type) for each in english]:
            raise element.fault(
                "The languages do not say the same points.",
                "Write every task-input in each language, in the same order; English is `en`.",
            )
    return tuple(
        TaskInput(each.type, {k: v for given in by_language.values() for k, v in given[i].texts.items()})
        for i, each in enumerate(english)
    )


def _codes(concept: Resource) -> list[tuple[str, str]] | str:
    return [(each["system"], each["code"]) for each in concept.get("coding", [])] or str(concept.get("text"))
