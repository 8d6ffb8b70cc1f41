"""PlanDefinition → resources with dated windows: what the protocol wants for one infusion, as facts stand.

Everything is evaluated before anything is made, also what does not apply: if one condition, window or text cannot be,
``ProtocolFault`` names file, action and expression, and nothing is proposed (design §2.4). What is already on the
server is not looked at here; what a resource looks like is ``activities``'.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from fhir_aftercare.care import wording
from fhir_aftercare.care.plan import made_possible
from fhir_aftercare.care.timing import Window, in_staff_hours, latest, local, utc
from fhir_aftercare.errors import OutOfRange, ProtocolFault
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.activities import Due, escort_inputs, form_task, from_activity, restriction, staff_task
from fhir_aftercare.fhir.definitions import Activity, Form, Plan
from fhir_aftercare.fhir.facts import Facts, Wanted, text_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.plan import Anchor
    from fhir_aftercare.care.timing import Offset
    from fhir_aftercare.fhir.definitions import Action, Protocol, Related, Repeat
    from fhir_aftercare.fhir.expression import Expression, Value

__all__ = ["Applying", "Facts", "Proposal", "Wanted", "escort_inputs", "from_activity", "propose", "text_in"]

_OVER = "its time has passed"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one plan wants now. ``nested`` are the plans it calls for, ``dropped`` the actions left out, with why."""

    plan: Plan
    wanted: tuple[Wanted, ...] = ()
    nested: tuple[str, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)

    def of(self, action: str) -> Wanted | None:
        """Give what an action became, if it applies."""
        return next((each for each in self.wanted if each.action == action), None)


@dataclass(frozen=True, slots=True)
class Applying:
    """One plan being applied to one patient's facts. ``based_on`` is the CarePlan that the resources carry out.

    ``anchors`` are what the plan's times hang on, by the id of the anchor action.
    """

    protocol: Protocol
    plan: Plan
    facts: Facts
    based_on: str
    anchors: Mapping[str, Anchor]
    _values: dict[str, Value] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_values", self.facts.parameters())

    def fault(self, message: str, action: Action, expression: str = "") -> ProtocolFault:
        """Give the error that names this plan's file."""
        return ProtocolFault(message, file=self.plan.file, action=action.id, expression=expression)

    def applies(self, action: Action) -> bool:
        """Tell whether all conditions of an action hold. Every one is evaluated: no fault is hidden by another.

        Raises ``ProtocolFault``.
        """
        results = []
        for condition in action.conditions:
            try:
                results.append(condition.evaluate(self._values))
            except ProtocolFault as fault:
                raise self.fault(fault.message, action, condition.text) from fault
        return all(results)

    def definition(self, action: Action) -> Plan | Activity | Form:
        """Give what an action does. Raises ``ProtocolFault`` if the protocol does not have it."""
        canonical = action.definition
        if canonical is None:
            raise self.fault("The action defines nothing to do.", action)
        try:
            if self.protocol.is_form(canonical):
                return self.protocol.form(canonical)
            if self.protocol.is_plan(canonical):
                return self.protocol.plan(canonical)
            return self.protocol.activity(canonical)
        except ProtocolFault as fault:
            raise self.fault(fault.message, action) from fault

    def windows(self, action: Action) -> tuple[Window, ...]:
        """Give the window of each occurrence of an action, as the protocol says it, whatever time it is now.

        Raises ``ProtocolFault`` if there is none, or if it hangs on an end that is not there.
        """
        found = self._dates(action, self.anchors, action.repeat)
        if not action.staff_hours:
            return found
        hours = self.facts.clinic.call_hours
        return tuple(_in_zone(in_staff_hours(each, hours), self.facts.zone) for each in found)

    def possible(self, action: Action, window: Window, *, lapses: bool = True) -> Window | None:
        """Give the window in which an action can still be done; None if its time has passed (design §10.7)."""
        activity = self.definition(action)
        staff = isinstance(activity, Activity) and activity.kind == "Task" and activity.owner_role != "patient"
        hours = self.facts.clinic.call_hours if action.staff_hours else None
        found = made_possible(window, self.facts.now, hours, staff=staff, lapses=lapses)
        return _in_zone(found, self.facts.zone) if found else None

    def make(self, action: Action, window: Window, key: tuple[str, ...], about: str | None = None) -> Wanted:
        """Give the resource of an action that applies; ``key`` is that of its identifier.

        ``about`` is the ``urn:uuid`` of what it is about. Raises ``ProtocolFault`` if its words cannot be said.
        """
        definition = self.definition(action)
        if isinstance(definition, Plan):
            raise self.fault("A plan is nothing to do by itself.", action)
        words = self._words(action, definition, window) if isinstance(definition, Activity) else {}
        due = Due(action, window, key, self.based_on, words, about)
        if isinstance(definition, Form):
            return form_task(definition, self.facts, due)
        for path, text in words.items():
            if not text.strip() or (path == "priority" and text not in tasks.LEVELS):
                raise self._fault_of(definition, action, path, f"`{path}` would be nothing that can be written.")
        make = restriction if definition.kind == "ServiceRequest" else staff_task
        return make(definition, self.facts, due)

    def prove(self, action: Action) -> None:
        """Evaluate what an action that does not apply would need. Raises ``ProtocolFault``."""
        definition = self.definition(action)
        if isinstance(definition, Plan):
            return
        # Before the patient leaves there may be no end yet: any instant proves that the rest can be evaluated.
        anchors = {name: _ended(anchor) for name, anchor in self.anchors.items()}
        (window,) = self._dates(action, anchors, None)
        if isinstance(definition, Activity):
            self._words(action, definition, window)

    def _dates(self, action: Action, anchors: Mapping[str, Anchor], repeat: Repeat | None) -> tuple[Window, ...]:
        if not action.related:
            raise self.fault("The action has no time.", action)
        starts = tuple(
            (related, self._start(action, related, anchors.get(related.anchor))) for related in action.related
        )
        zones = self.facts.zones if _is_restriction(action) else self.facts.zones[:1]
        try:
            return _dates(starts, repeat, zones, self.facts.zone)
        except OutOfRange as fault:
            raise self.fault(fault.message, action) from fault

    def _start(self, action: Action, related: Related, anchor: Anchor | None) -> datetime:
        if anchor is None:
            raise self.fault(f"{related.anchor} is no anchor.", action)
        start = anchor.end if related.relationship == "after-end" else anchor.start
        if start is None:
            raise self.fault("The action hangs on the infusion's end, which is not recorded.", action)
        # To Python both hours of the night on which the clocks go back are equal in their zone: as a key they must not.
        return utc(start)

    def _words(self, action: Action, activity: Activity, window: Window) -> dict[str, str]:
        """Give the elements whose text depends on the facts, each in the language of who reads it.

        Those of the other languages are evaluated too: a fault is not left for the patient who speaks them.
        """
        found: dict[str, str] = {}
        for dynamic in activity.dynamic:
            # What only staff read is English (profiles/README.md).
            language = self.facts.language if dynamic.path == "patientInstruction" else "en"
            chosen = language if language in dynamic.expressions else "en"
            for spoken, expression in dynamic.expressions.items():
                text = self._said(action, activity, expression, language if spoken == chosen else "en", window)
                if spoken == chosen:
                    found[dynamic.path] = text
        return found

    def _said(self, action: Action, activity: Activity, expression: Expression, language: str, window: Window) -> str:
        values = self._values
        if "releaseText" in expression.names:
            release = wording.release_text(
                window.target,
                self.facts.zone,
                language,
                needs_human=self.facts.release_needs_human,
                phone=self.facts.clinic.phone,
            )
            values = {**values, "releaseText": release}
        try:
            return str(expression.evaluate(values))
        except ProtocolFault as fault:
            raise ProtocolFault(
                fault.message, file=activity.file, action=action.id, expression=expression.text
            ) from fault

    def _fault_of(self, activity: Activity, action: Action, path: str, message: str) -> ProtocolFault:
        expression = next(each.expressions["en"].text for each in activity.dynamic if each.path == path)
        return ProtocolFault(message, file=activity.file, action=action.id, expression=expression)


def propose(protocol: Protocol, plan: Plan, facts: Facts, based_on: str) -> Proposal:
    """Give all resources of the actions of ``plan`` that apply to ``facts``; ``based_on`` is their CarePlan.

    What is looked at late is due now, or left out where it would be an instruction of the past (design §10.7): see
    ``care.plan.made_possible``. Raises ``ProtocolFault`` if any part of the plan cannot be evaluated, whether or not it
    would apply.
    """
    applying = Applying(protocol, plan, facts, based_on, dict.fromkeys(plan.anchors, facts.anchor))
    dated: dict[str, Window] = {}
    nested: list[str] = []
    dropped: dict[str, str] = {}
    for action in plan.actions:
        if action.is_anchor:
            continue
        if action.repeat is not None:
            raise applying.fault("Only the forms of a course are repeated.", action)
        definition = applying.definition(action)
        if isinstance(definition, Plan) and definition.url != terms.PLAN_COURSE:
            raise applying.fault("Only the course is a plan of its own within the plan of an infusion.", action)
        if not applying.applies(action):
            applying.prove(action)
            dropped[action.id] = "its condition is false"
        elif isinstance(definition, Plan):
            nested.append(definition.canonical)
        else:
            dated[action.id] = applying.windows(action)[0]
    windows = _still_possible(applying, dated, dropped)
    wanted = [
        applying.make(
            action, windows[action.id], (*facts.episode.key, action.id), _about(facts, action.concerns, windows)
        )
        for action in plan.actions
        if action.id in windows
    ]
    return Proposal(plan, tuple(wanted), tuple(nested), dropped)


def _still_possible(applying: Applying, dated: Mapping[str, Window], dropped: dict[str, str]) -> dict[str, Window]:
    """Give the windows of what can still be done, and add the rest to ``dropped``.

    What is about something else lasts as long as that does: to teach what no longer holds would be an instruction of
    the past, and not to teach what still holds a gap.
    """
    actions = {each.id: each for each in applying.plan.actions if each.id in dated}
    alone = {
        name: applying.possible(action, dated[name], lapses=_lapses(applying, action))
        for name, action in actions.items()
    }
    found: dict[str, Window] = {}
    for name, action in actions.items():
        window = alone[name]
        if action.concerns in alone:
            lasts = alone[action.concerns] is not None
            window = applying.possible(action, dated[name], lapses=False) if lasts else None
        if window is None:
            dropped[name] = _OVER
        else:
            found[name] = _as_agreed(applying, action, window)
    return found


def _as_agreed(applying: Applying, action: Action, window: Window) -> Window:
    """Give the window of the follow-up call as it was agreed with the patient; others are the protocol's."""
    facts, definition = applying.facts, applying.definition(action)
    if facts.call is None or not isinstance(definition, Activity):
        return window
    if not tasks.has_code({"code": definition.code}, terms.FOLLOW_UP_CALL):
        return window
    return _in_zone(facts.call.within(window, facts.clinic.call_hours), facts.zone)


def _lapses(applying: Applying, action: Action) -> bool:
    """Tell whether nothing is left to do once it has expired. Urgent work that must be done is not lost by being late:
    that a patient left before ready, or alone, is found out whenever it is looked at (design §4.2).
    """
    definition = applying.definition(action)
    priority = action.priority or (definition.priority if isinstance(definition, Activity) else None) or "routine"
    return not (action.must and priority != "routine")


def _about(facts: Facts, concerns: str | None, windows: Mapping[str, Window]) -> str | None:
    if concerns is None or concerns not in windows:
        return None
    return facts.identifiers.full_url("activity", *facts.episode.key, concerns)


# A course asks three forms at each of its 35 times, and a page that is opened again the same ones.
@lru_cache(maxsize=1024)
def _dates(
    starts: tuple[tuple[Related, datetime], ...], repeat: Repeat | None, zones: tuple[ZoneInfo, ...], shown: ZoneInfo
) -> tuple[Window, ...]:
    """Give the window of each occurrence, in the zone ``shown``: of several relations and zones the latest.

    Raises ``OutOfRange``.
    """
    return tuple(
        _in_zone(
            latest([_part(related, start, zone, repeat, number) for related, start in starts for zone in zones]), shown
        )
        for number in range(repeat.count if repeat else 1)
    )


def _part(related: Related, start: datetime, zone: ZoneInfo, repeat: Repeat | None, occurrence: int) -> Window:
    later = repeat.period * occurrence if repeat else 0

    def at(offset: Offset) -> datetime:
        return (offset.plus(later, repeat.unit) if repeat and later else offset).after(start, zone)

    return Window(
        opens=at(related.low) if related.low else None,
        target=at(related.target),
        due=at(related.high) if related.high else None,
        expires=at(related.expiry) if related.expiry else None,
    )


def _is_restriction(action: Action) -> bool:
    """A restriction has no due date: it only ends."""
    return all(related.high is None and related.expiry is None for related in action.related)


def _ended(anchor: Anchor) -> Anchor:
    return anchor if anchor.end is not None else replace(anchor, end=anchor.start)


def _in_zone(window: Window, zone: ZoneInfo) -> Window:
    return Window(
        opens=local(window.opens, zone) if window.opens else None,
        target=local(window.target, zone),
        due=local(window.due, zone) if window.due else None,
        expires=local(window.expires, zone) if window.expires else None,
    )
