"""What moving a plan rests on: the protocol hung on the infusion as it was told, and as it is known now.

Looks only; ``move_plan`` and ``move_restriction`` move.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care import wording
from fhir_aftercare.care.plan import Anchor
from fhir_aftercare.fhir import tasks
from fhir_aftercare.fhir.apply import Applying
from fhir_aftercare.fhir.facts import Facts
from fhir_aftercare.flows.course_forms import start_of
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.situation import escort_task, language_of, plan_zone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.plan import Episode
    from fhir_aftercare.care.timing import Window
    from fhir_aftercare.fhir.definitions import Action
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.draft import Draft
    from fhir_aftercare.flows.inform_patient import News

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Moving:
    """A plan that is moved to ``anchor``. ``confirmed``: its end is recorded, not estimated.

    ``agreed_by`` is the clinician who agrees that a restriction ends earlier, ``why`` a person's words.
    """

    episode: Episode
    plan: Resource
    anchor: Anchor
    confirmed: bool
    agreed_by: str | None
    why: str


@dataclass(slots=True)
class Found:
    """What was found while moving: lines of the narrative, ends before and after, restrictions made, news."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    ends: list[tuple[datetime, datetime]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    awaiting: list[str] = field(default_factory=list)
    news: News | None = None


def told_times(chart: Chart, plan: Resource) -> tuple[datetime | None, datetime | None]:
    """Give start and end of the infusion as a plan knows them; a draft has no end yet.

    E is the plan's beginning; at the start the escort's Task opens.
    """
    began = start_of(plan)
    if plan["status"] == "draft":
        return began, None
    escort = escort_task(chart, plan)
    return (tasks.window_of(escort)[0] if escort else None), began


@dataclass(frozen=True, slots=True)
class Timetable:
    """The protocol applied to the infusion as it was told (``before``) and as it is known now (``after``)."""

    draft: Draft
    moving: Moving
    told: Anchor
    before: Applying
    after: Applying
    found: Found = field(default_factory=Found)

    @classmethod
    def of(cls, draft: Draft, moving: Moving) -> Timetable:
        """Apply the version of the protocol the plan was made by. Raises ``ProtocolFault`` if it is not there."""
        start, end = told_times(draft.chart, moving.plan)
        told = Anchor(start or moving.anchor.start, end)
        return cls(draft, moving, told, _applying(draft, moving, told), _applying(draft, moving, moving.anchor))

    @property
    def zone(self) -> ZoneInfo:
        """The zone the plan's times are shown in."""
        return self.after.facts.zone

    def child(self, action: Action) -> tuple[Resource | None, tuple[str, ...], tuple[str, ...]]:
        """Give what an action has become (of restrictions the last one made), its key, and the key of a further one."""
        known, identifiers = self.draft.chart.by_identifier(), self.draft.context.identifiers
        base = (*self.moving.episode.key, action.id)
        found, key, following, number = None, base, base, 1
        while True:
            identifier = identifiers.identifier("activity", *following)
            there = known.get((identifier["system"], identifier["value"]))
            if there is None:
                return found, key, following
            number += 1
            found, key, following = there, following, (*base, f"r{number}")

    def wordings(self) -> Iterator[Applying]:
        """Give the protocol as it is said in each language, released by the clock or by a person (design §10.5)."""
        facts = self.after.facts
        for language in dict.fromkeys((facts.language, *wording.LANGUAGES)):
            for needs_human in (False, True):
                yield replace(self.after, facts=replace(facts, language=language, release_needs_human=needs_human))

    def reword(self, action: Action, key: tuple[str, ...], then: Window, now: Window) -> None:
        """Note the lines of the plan's narrative that say another time."""
        for applying in self.wordings():
            old, new = (applying.make(action, window, key).line for window in (then, now))
            if old != new and (old, new) not in self.found.lines:
                self.found.lines.append((old, new))


def _applying(draft: Draft, moving: Moving, anchor: Anchor) -> Applying:
    """Apply the version of the protocol the plan was made by (fhir-model §1.6)."""
    context, plan = draft.context, moving.plan
    zone, clinic = plan_zone(plan, context.clinic), context.clinic.zone
    facts = Facts(
        clinic=context.clinic,
        identifiers=context.identifiers,
        episode=moving.episode,
        patient=draft.patient,
        encounter=draft.encounter,
        anchor=anchor,
        zones=(zone,) if zone.key == clinic.key else (zone, clinic),
        language=language_of(draft.chart.patient, None, context.clinic),
        now=context.clock(),
        requester=context.clinic.organization,
        patient_has_left=plan["status"] != "draft",
    )
    definition = context.protocol.plan(plan["instantiatesCanonical"][0])
    return Applying(context.protocol, definition, facts, reference_of(plan), dict.fromkeys(definition.anchors, anchor))
