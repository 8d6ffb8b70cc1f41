"""What lint says and what its rules look at: findings, the list of rules, and the protocol as far as it could be read.

The rules themselves are ``lint_rules_*``; which of them are asked, and in what order, is ``lint``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.fhir.definitions import Action, Plan, Protocol

Resource = dict[str, Any]

# The ids are stable: reports and exceptions of a clinic may name them.
RULES: Final[Mapping[str, str]] = {
    "definition": "Every part of a definition is understood by the software, and nothing it needs is missing.",
    "duplicate": "No id and no canonical stands for two things.",
    "expression": "Every expression is read to its end and type-checks.",
    "window-order": "A window opens, is best, is due and expires in this order, whenever in a year the infusion ends.",
    "anchor": "Every time hangs on an anchor of its own plan, and a plan has the anchors the software gives it.",
    "canonical": "Every canonical resolves, with its version, to something of the right kind and status.",
    "id": "Every id that an action names is there.",
    "cycle": "No plan contains itself, and no actions are about each other in a circle.",
    "required": "What the software itself asks for is there.",
    "reachable": "Every action that must be done can apply.",
    "nothing-owed": "Whatever the facts are, something is owed once the patient has left.",
    "unknown-value": "No expression needs a fact that is not known of every patient.",
    "no-open-hour": "Staff's work can be done in open hours, whenever in a year the infusion ends.",
    "scoring": "A scored instrument has its items, answers and weights, as the software scores them.",
    "unread-item": "Every item of a form is one whose answer the software reads.",
    "wording": "What a patient reads is there in every language.",
    "reading-grade": "What a patient reads needs no more than six years of school.",
    "sentence-length": "No sentence for a patient has more than 15 words.",
}


# In the place of an element: without it. JSON's null is something that can be written, and is refused.
GONE: Final = object()


class Severity(StrEnum):
    """ERROR: the service refuses it, or a patient would be let down. WARNING: it works, not as meant. INFO: to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: where (``file``, and the element ``path`` in it), by which rule, why, and how to mend it."""

    file: str
    path: str
    rule: str
    severity: Severity
    why: str
    remedy: str

    def as_json(self) -> dict[str, str]:
        """Give it as an object of ``protocol lint --json``."""
        return {
            "file": self.file,
            "path": self.path,
            "rule": self.rule,
            "severity": self.severity.value,
            "why": self.why,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class Sheet:
    """What rules look at. ``protocol`` holds the sound parts only.

    ``places`` maps (file, action id) to the action's path. ``broken`` are those of which a part could not be read: a
    rule that would only repeat that leaves them alone. Times are tried for a year from ``since`` at ``clinic``;
    ``known`` are canonicals ``url|version`` beyond the files.
    """

    files: Mapping[str, Resource]
    protocol: Protocol
    places: Mapping[tuple[str, str], str]
    broken: frozenset[tuple[str, str]]
    clinic: Clinic
    since: date
    known: frozenset[str] = field(default=frozenset())

    def actions(self, *, sound: bool = False) -> Iterator[tuple[Plan, Action]]:
        """Give every action of every plan that is no anchor; ``sound``: only those that were read whole."""
        for plan in self.protocol.plans.values():
            for action in plan.actions:
                if not action.is_anchor and not (sound and (plan.file, action.id) in self.broken):
                    yield plan, action

    def at(self, plan: Plan, action: Action, element: str = "") -> tuple[str, str]:
        """Give file and path of an action, or of an element below it."""
        path = self.places.get((plan.file, action.id), "PlanDefinition")
        return plan.file, f"{path}.{element}" if element else path


def error(at: tuple[str, str], rule: str, why: str, remedy: str) -> Finding:
    """Give a finding that the service refuses, or that lets a patient down. ``at`` is file and path."""
    return Finding(*at, rule, Severity.ERROR, why, remedy)


def warning(at: tuple[str, str], rule: str, why: str, remedy: str) -> Finding:
    """Give a finding about what works, but not as it is meant."""
    return Finding(*at, rule, Severity.WARNING, why, remedy)


def info(at: tuple[str, str], rule: str, why: str, remedy: str) -> Finding:
    """Give something worth knowing that needs no change."""
    return Finding(*at, rule, Severity.INFO, why, remedy)


def without_gone(body: Resource) -> Resource:
    """Give a body without the elements that are to be gone."""
    return {name: value for name, value in body.items() if value is not GONE}


def objects(element: Resource, name: str) -> Iterator[tuple[int, Resource]]:
    """Give the objects in an array of an element, with their indices; whatever else is there is not theirs to judge."""
    given = element.get(name)
    for index, each in enumerate(given if isinstance(given, list) else []):
        if isinstance(each, dict):
            yield index, each


def items_of(resource: Resource, path: str = "Questionnaire") -> Iterator[tuple[str, Resource]]:
    """Give every item of a form that is an object, also those within others, with its path."""
    for index, item in objects(resource, "item"):
        here = f"{path}.item[{index}]"
        yield here, item
        yield from items_of(item, here)
