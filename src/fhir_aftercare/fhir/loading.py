"""Protocol files → ``Protocol``: each definition is read whole, or refused; ``linking`` then checks them together.

What the software would leave out, or read differently than it is meant, is a fault here: before the first patient, and
never a silence later (design §2.4). No files are opened: ``protocol_files`` does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from fhir_aftercare.fhir.activity_definition import read_activity
from fhir_aftercare.fhir.definitions import Activity, Definition, Form, Plan, Protocol, Status, version_order
from fhir_aftercare.fhir.elements import Element
from fhir_aftercare.fhir.linking import linked
from fhir_aftercare.fhir.plan_definition import read_plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Resource = dict[str, Any]


def load_protocol(files: Mapping[str, Resource]) -> Protocol:
    """Read and check the protocol, from definitions by file name; resources of other types are left aside.

    Raises ``ProtocolFault`` for the first fault, naming file, action and remedy.
    """
    plans: list[Plan] = []
    activities: list[Activity] = []
    forms: list[Form] = []
    for file, resource in sorted(files.items()):
        element = Element(resource, file)
        kind = resource.get("resourceType")
        if kind == "PlanDefinition":
            plans.append(read_plan(element, _common(element)))
        elif kind == "ActivityDefinition":
            activities.append(read_activity(element, _common(element)))
        elif kind == "Questionnaire":
            forms.append(_form(element, _common(element)))
    _check_canonicals([*plans, *activities, *forms])
    return linked(
        Protocol(
            plans={each.canonical: each for each in plans},
            activities={each.canonical: each for each in activities},
            forms={each.canonical: each for each in forms},
        )
    )


def _check_canonicals(definitions: Sequence[Definition]) -> None:
    files: dict[str, str] = {}
    for each in definitions:
        if each.canonical in files:
            raise Element({}, each.file).fault(
                f"{each.canonical} is also defined by {files[each.canonical]}.", "Give one of them another version."
            )
        files[each.canonical] = each.file


def _common(element: Element) -> dict[str, Any]:
    """Give what every definition has, as the fields of ``Definition``."""
    if element.data.keys() & {"modifierExtension", "implicitRules"}:
        raise element.fault("A modifier is not understood.", "Leave out `modifierExtension` and `implicitRules`.")
    if not (element.text("language") or "en").startswith("en"):
        raise element.fault("The words are not in English.", "Write English, and translations beside it.")
    url, version = element.required("url"), element.required("version")
    if "|" in url or version_order(version) is None:
        raise element.fault("The url or the version cannot be used.", "Write a plain url, and a version such as 1.0.0.")
    if element.code("status", get_args(Status)) is None:
        raise element.fault("`status` is missing.", "Add `status`: draft, active or retired.")
    return {
        "file": element.file,
        "url": url,
        "version": version,
        "status": element.data["status"],
        "titles": element.texts("title"),
    }


def _form(element: Element, common: dict[str, Any]) -> Form:
    links: list[str] = []
    waiting = list(element.children("item"))
    while waiting:
        item = waiting.pop()
        links.append(item.required("linkId"))
        waiting += item.children("item")
    if not links:
        raise element.fault("The form asks nothing.", "Add `item`.")
    element.no_doubles(links)
    return Form(**common, resource=element.data)
