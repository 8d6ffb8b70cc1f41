"""The protocol as it was loaded: plans, their actions with offsets, activities, forms, and how a canonical finds one.

Only what was said and what can be asked of it; reading it from FHIR, and every fault a file can have, is ``loading``'s.
When an action is due is computed by ``fhir.apply`` from these offsets and an anchor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import terms

if TYPE_CHECKING:
    from fhir_aftercare.care.clinic import Role
    from fhir_aftercare.care.timing import Offset, Unit
    from fhir_aftercare.fhir.expression import Expression

Resource = dict[str, Any]
# Language → words; "en" is always there.
Texts = Mapping[str, str]
Relationship = Literal["after-end", "after-start", "before-start"]
Kind = Literal["Task", "ServiceRequest"]
Priority = Literal["routine", "urgent", "asap", "stat"]
Status = Literal["draft", "active", "retired", "unknown"]

_VERSION = re.compile(r"(\d{1,9}(?:\.\d{1,9})*)(?:-([0-9A-Za-z.-]+))?")


@dataclass(frozen=True, slots=True)
class Related:
    """The window of an action, as offsets from the start or the end of an anchor.

    ``low`` opens it, ``target`` is best (of a restriction: its end), at ``high`` it is due, at ``expiry`` it is over.
    All four are added to the anchor, also those of ``before-start``: they are below 0.
    """

    anchor: str
    relationship: Relationship
    low: Offset | None
    target: Offset
    high: Offset | None
    expiry: Offset | None

    @property
    def parts(self) -> tuple[Offset, ...]:
        """The offsets there are, in the order in which they must come."""
        return tuple(each for each in (self.low, self.target, self.high, self.expiry) if each is not None)


@dataclass(frozen=True, slots=True)
class Repeat:
    """How often an action comes: ``count`` times in all, ``period`` of ``unit`` (d, wk, mo, a) apart."""

    count: int
    period: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a plan. ``conditions`` must all hold; of several ``related`` the latest window counts.

    ``definition`` is the ``url|version`` it was resolved to, None for an anchor. ``concerns`` is the id of the action
    that this one is about. ``staff_hours``: it can only be done while the clinic is open.
    """

    id: str
    titles: Texts
    description: str | None = None
    priority: Priority | None = None
    must: bool = False
    is_anchor: bool = False
    conditions: tuple[Expression, ...] = ()
    related: tuple[Related, ...] = ()
    repeat: Repeat | None = None
    definition: str | None = None
    concerns: str | None = None
    staff_hours: bool = False
    goals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GoalTarget:
    """A goal with its one target: ``measure`` is what is scored, ``detail`` the target as ``{"detail…": value}``.

    ``due`` counts from the start of the course.
    """

    id: str
    description: Resource
    measure: Resource
    detail: Resource
    due: Offset
    category: Resource | None = None


@dataclass(frozen=True, slots=True)
class TaskInput:
    """What a Task carries to whoever does it: a CodeableConcept and the words in each language."""

    type: Resource
    texts: Texts


@dataclass(frozen=True, slots=True)
class Dynamic:
    """An element whose words depend on the facts: one expression for each language, "en" always, all of text."""

    path: str
    expressions: Mapping[str, Expression]


@dataclass(frozen=True, slots=True)
class Definition:
    """What plans, activities and forms have in common. ``file`` is where it was read."""

    file: str
    url: str
    version: str
    status: Status
    titles: Texts

    @property
    def canonical(self) -> str:
        """``url|version``, as it is written into everything that is made of it."""
        return f"{self.url}|{self.version}"


@dataclass(frozen=True, slots=True)
class Plan(Definition):
    """A PlanDefinition; ``name`` is its computable name, ``actions`` are in the order of the file."""

    name: str = ""
    actions: tuple[Action, ...] = ()
    goals: tuple[GoalTarget, ...] = ()

    @property
    def anchors(self) -> tuple[str, ...]:
        """The ids of the anchors, in order."""
        return tuple(action.id for action in self.actions if action.is_anchor)


@dataclass(frozen=True, slots=True)
class Activity(Definition):
    """An ActivityDefinition: one kind of work (Task), or a restriction (ServiceRequest with ``do_not_perform``)."""

    kind: Kind = "Task"
    description: str = ""
    code: Resource = field(default_factory=dict)
    priority: Priority | None = None
    do_not_perform: bool = False
    owner_role: Role | None = None
    inputs: tuple[TaskInput, ...] = ()
    dynamic: tuple[Dynamic, ...] = ()


@dataclass(frozen=True, slots=True)
class Form(Definition):
    """A Questionnaire, as it was read."""

    resource: Resource = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Protocol:
    """Everything the software does for a patient. Each part by ``url|version``; several versions may be there."""

    plans: Mapping[str, Plan]
    activities: Mapping[str, Activity]
    forms: Mapping[str, Form]

    @property
    def infusion(self) -> Plan:
        """The plan of one infusion."""
        return self.plan(terms.PLAN_INFUSION)

    @property
    def course(self) -> Plan:
        """The plan of a course."""
        return self.plan(terms.PLAN_COURSE)

    def plan(self, canonical: str) -> Plan:
        """Give the plan of exactly ``url|version``, or of a ``url`` its highest active version.

        Raises ``ProtocolFault`` if it is not there.
        """
        return _resolve(self.plans, canonical)

    def activity(self, canonical: str) -> Activity:
        """Give an activity, found like a plan. Raises ``ProtocolFault``."""
        return _resolve(self.activities, canonical)

    def form(self, canonical: str) -> Form:
        """Give a form, found like a plan. Raises ``ProtocolFault``."""
        return _resolve(self.forms, canonical)

    def is_plan(self, canonical: str) -> bool:
        """Tell whether a canonical, with or without its version, names a plan of this protocol."""
        return _known(self.plans, canonical)

    def is_activity(self, canonical: str) -> bool:
        """Tell whether a canonical, with or without its version, names an activity of this protocol."""
        return _known(self.activities, canonical)

    def is_form(self, canonical: str) -> bool:
        """Tell whether a canonical, with or without its version, names a form of this protocol."""
        return _known(self.forms, canonical)

    def form_resources(self) -> dict[str, Resource]:
        """Give the Questionnaires by ``url|version``, for reading answers to them."""
        return {canonical: form.resource for canonical, form in self.forms.items()}


D = TypeVar("D", bound=Definition)


def version_order(version: str) -> tuple[tuple[int, ...], bool, str] | None:
    """Give what orders versions such as ``1.10.0`` (after ``1.9.0`` and ``1.10.0-draft``); None if it is none."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return None
    return tuple(int(part) for part in match[1].split(".")), match[2] is None, match[2] or ""


def _known(found: Mapping[str, D], canonical: str) -> bool:
    return canonical in found or any(each.url == canonical for each in found.values())


def _resolve(found: Mapping[str, D], canonical: str) -> D:
    if canonical in found:
        return found[canonical]
    active = [each for each in found.values() if each.url == canonical and each.status == "active"]
    if not active:
        raise ProtocolFault(
            f"The protocol has no {canonical or 'definition without an address'}.",
            remedy="Add the file that defines it, or name a url and version that is there and active.",
        )
    return max(active, key=lambda each: version_order(each.version) or ((), False, ""))
