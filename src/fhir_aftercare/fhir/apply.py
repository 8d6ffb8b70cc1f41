"""PlanDefinition → resources with dated windows: what the protocol wants for one infusion, as facts stand.

Everything is evaluated before anything is made: if one condition, window or text cannot be, ``ProtocolFault`` names
file, action and expression, and nothing is proposed (design §2.4). What is already on the server is not looked at here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care import wording
from fhir_aftercare.care.plan import made_possible
from fhir_aftercare.care.timing import Window, in_staff_hours, latest, local
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import tasks, terms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.care.infusion import Escort
    from fhir_aftercare.care.plan import Anchor, Episode, EscortState
    from fhir_aftercare.care.timing import Offset
    from fhir_aftercare.fhir.definitions import Action, Activity, Form, Plan, Protocol, Related
    from fhir_aftercare.fhir.expression import Value
    from fhir_aftercare.fhir.identifiers import Identifiers

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the protocol may depend on. References are ``Type/id`` or ``urn:uuid``.

    ``zones``: where the patient sleeps tonight, first the one dates are shown in; with several (nobody is sure) a
    restriction lasts until the latest of them (design §10.5). ``requester`` orders what is done (design §9.6).
    """

    clinic: Clinic
    identifiers: Identifiers
    episode: Episode
    patient: str
    encounter: str | None
    anchor: Anchor
    zones: Sequence[ZoneInfo]
    language: str
    now: datetime
    requester: str
    patient_has_left: bool = False
    escort: EscortState = "not-recorded"
    escort_person: Escort | None = None
    readiness_met: bool = True
    unmet: Sequence[str] = ()
    release_needs_human: bool = False
    phq9_baseline: bool = False
    gad7_baseline: bool = False
    course_active: bool = False
    infusion_number: int = 1
    age_years: int | None = None

    def parameters(self) -> dict[str, Value]:
        """Give the scalars that expressions may name (fhir-model §2.3); texts of one action are added by it."""
        values: dict[str, Value] = {
            "patientHasLeft": self.patient_has_left,
            "escort": self.escort,
            "escortNamed": bool(self.escort_person and self.escort_person.name),
            "readinessMet": self.readiness_met,
            "unmetText": wording.list_text(self.unmet) if self.unmet else "",
            "phq9Baseline": self.phq9_baseline,
            "gad7Baseline": self.gad7_baseline,
            "courseActive": self.course_active,
            "integrationSession": self.clinic.policy.integration_session,
            "infusionNumber": self.infusion_number,
            "estimatedEnd": self.anchor.estimated,
        }
        if self.age_years is not None:
            values["ageYears"] = self.age_years
        return values

    @property
    def group(self) -> Resource:
        """The identifier that holds together all that one infusion asks for."""
        return self.identifiers.identifier("infusion", *self.episode.infusion_key)

    @property
    def zone(self) -> ZoneInfo:
        """The zone dates are shown in."""
        return self.zones[0]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One resource the protocol wants: its ``urn:uuid``, the action it comes from, and a line for the narrative."""

    urn: str
    action: str
    resource: Resource
    line: str

    @property
    def identifier(self) -> tuple[str, str]:
        """System and value of its business identifier."""
        first = self.resource["identifier"][0]
        return first["system"], first["value"]


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
    """One plan being applied to one patient's facts. ``based_on`` is the CarePlan that the resources carry out."""

    protocol: Protocol
    plan: Plan
    facts: Facts
    based_on: str

    def applies(self, action: Action) -> bool:
        """Tell whether all conditions of an action hold. Every one is evaluated: no fault is hidden by another."""
        parameters = self.facts.parameters()
        results = []
        for condition in action.conditions:
            try:
                results.append(condition.evaluate(parameters))
            except ProtocolFault as fault:
                raise self.fault(fault.message, action, condition.text) from fault
        return all(results)

    def fault(self, message: str, action: Action, expression: str = "") -> ProtocolFault:
        """Give the error that names this plan's file."""
        return ProtocolFault(message, file=self.plan.file, action=action.id, expression=expression)

    def window(self, action: Action, anchors: Mapping[str, Anchor], occurrence: int = 0) -> Window | None:
        """Give an action's window, dated; None if it has passed and nothing is left to do.

        Raises ``ProtocolFault`` if it hangs on an end that is not there.
        """
        zones = self.facts.zones if _is_restriction(action) else self.facts.zones[:1]
        parts = [
            self._part(action, related, anchors[related.anchor], zone, occurrence)
            for related in action.related
            for zone in zones
        ]
        if not parts:
            raise self.fault("The action has no time.", action)
        window = _in_zone(latest(parts), self.facts.zone)
        hours = self.facts.clinic.call_hours if action.staff_hours else None
        if hours is not None:
            window = in_staff_hours(window, hours)
        possible = made_possible(window, self.facts.now, hours)
        return _in_zone(possible, self.facts.zone) if possible else None

    def _part(self, action: Action, related: Related, anchor: Anchor, zone: ZoneInfo, occurrence: int) -> Window:
        start = anchor.end if related.relationship == "after-end" else anchor.start
        if start is None:
            raise self.fault("The action hangs on the infusion's end, which is not recorded.", action)
        repeat = action.repeat

        def at(offset: Offset | None) -> datetime | None:
            if offset is None:
                return None
            later = offset.plus(repeat.period * occurrence, repeat.unit) if repeat and occurrence else offset
            return later.after(start, zone)

        target = related.target
        moved = target.plus(repeat.period * occurrence, repeat.unit) if repeat and occurrence else target
        return Window(
            opens=at(related.low), target=moved.after(start, zone), due=at(related.high), expires=at(related.expiry)
        )

    def make(self, action: Action, window: Window, key: tuple[str, ...]) -> Wanted:
        """Give the resource of an action that applies; ``key`` is that of its identifier."""
        definition = action.definition or ""
        if self.protocol.is_form(definition):
            return _form_task(self, self.protocol.form(definition), _Dated(action, window, key))
        activity = self.protocol.activity(definition)
        dated = _Dated(action, window, key)
        if activity.kind == "ServiceRequest":
            return _restriction(self, activity, dated)
        return _task(self, activity, dated)

    def words(self, action: Action, activity: Activity, window: Window) -> dict[str, str]:
        """Give the elements whose text depends on the facts, each in the language of who reads it."""
        facts, values = self.facts, self.facts.parameters()
        found: dict[str, str] = {}
        for dynamic in activity.dynamic:
            language = facts.language if dynamic.path == "patientInstruction" else "en"
            expression = dynamic.expressions.get(language) or dynamic.expressions["en"]
            values["releaseText"] = wording.release_text(
                window.target,
                facts.zone,
                language,
                needs_human=facts.release_needs_human,
                phone=facts.clinic.phone,
            )
            try:
                found[dynamic.path] = str(expression.evaluate(values))
            except ProtocolFault as fault:
                raise ProtocolFault(
                    fault.message, file=activity.file, action=action.id, expression=expression.text
                ) from fault
        return found


@dataclass(frozen=True, slots=True)
class _Dated:
    """An action with its dates, and the key of the resource it becomes."""

    action: Action
    window: Window
    key: tuple[str, ...]


def propose(protocol: Protocol, plan: Plan, facts: Facts, based_on: str) -> Proposal:
    """Give all resources of the actions of ``plan`` that apply to ``facts``; ``based_on`` is their CarePlan.

    Raises ``ProtocolFault`` if any part of the plan cannot be evaluated, whether or not it would apply.
    """
    applying = Applying(protocol, plan, facts, based_on)
    anchors = {each.id: facts.anchor for each in plan.actions if each.is_anchor}
    wanted: list[Wanted] = []
    nested: list[str] = []
    dropped: dict[str, str] = {}
    for action in plan.actions:
        if action.is_anchor or action.repeat is not None:
            continue
        if not applying.applies(action):
            dropped[action.id] = "its condition is false"
        elif action.definition is None:
            raise applying.fault("The action defines nothing to do.", action)
        elif protocol.is_plan(action.definition):
            nested.append(action.definition)
        else:
            window = applying.window(action, anchors)
            if window is None:
                dropped[action.id] = "its time has passed"
            else:
                wanted.append(applying.make(action, window, (*facts.episode.key, action.id)))
    return Proposal(plan, tuple(wanted), tuple(nested), dropped)


def _is_restriction(action: Action) -> bool:
    """A restriction has no due date: it only ends."""
    return all(related.high is None and related.expiry is None for related in action.related)


def _in_zone(window: Window, zone: ZoneInfo) -> Window:
    return Window(
        opens=local(window.opens, zone) if window.opens else None,
        target=local(window.target, zone),
        due=local(window.due, zone) if window.due else None,
        expires=local(window.expires, zone) if window.expires else None,
    )


def _restriction(applying: Applying, activity: Activity, dated: _Dated) -> Wanted:
    facts, window = applying.facts, dated.window
    words = applying.words(dated.action, activity, window)
    start = window.opens or facts.anchor.end or facts.anchor.start
    resource: Resource = {
        "resourceType": "ServiceRequest",
        "meta": {"profile": [terms.PROFILE_RESTRICTION]},
        "identifier": [facts.identifiers.identifier("activity", *dated.key)],
        "instantiatesCanonical": [activity.canonical],
        "basedOn": [{"reference": applying.based_on}],
        "requisition": facts.group,
        "status": "active",
        "intent": "order",
        "priority": activity.priority or "routine",
        "doNotPerform": True,
        "code": activity.code,
        "subject": {"reference": facts.patient},
        "encounter": {"reference": facts.encounter} if facts.encounter else None,
        "occurrencePeriod": tasks.period(local(start, facts.zone), window.target),
        "authoredOn": tasks.instant(local(facts.now, facts.zone)),
        "requester": {"reference": facts.requester},
        "patientInstruction": words.get("patientInstruction"),
    }
    title = text_in(activity.titles, facts.language)
    line = f"{title}: {wording.until_text(window.target, facts.zone, facts.language)}"
    urn = facts.identifiers.full_url("activity", *dated.key)
    return Wanted(urn, dated.action.id, {k: v for k, v in resource.items() if v is not None}, line)


def _task(applying: Applying, activity: Activity, dated: _Dated) -> Wanted:
    facts, action = applying.facts, dated.action
    words = applying.words(action, activity, dated.window)
    inputs = [{"type": each.type, "valueString": text_in(each.texts, facts.language)} for each in activity.inputs]
    about = facts.identifiers.full_url("activity", *dated.key[:-1], action.concerns) if action.concerns else None
    work = replace(
        _work(activity, facts, dated.window, applying.based_on, dated.key),
        priority=words.get("priority") or activity.priority or action.priority or "routine",
        description=words.get("description") or activity.description,
        inputs=[*inputs, *_known_inputs(activity, facts)],
        about=about,
    )
    return _wanted(work, dated, text_in(action.titles, facts.language), facts)


def from_activity(activity: Activity, facts: Facts, window: Window, *, based_on: str, key: tuple[str, ...]) -> Wanted:
    """Give the Task of an activity that stands in no plan: raised because a record or an answer calls for it."""
    urn = facts.identifiers.full_url("activity", *key)
    line = f"{text_in(activity.titles, facts.language)}: {_when(window, facts)}"
    return Wanted(urn, key[-1], tasks.make(_work(activity, facts, window, based_on, key)), line)


def _work(activity: Activity, facts: Facts, window: Window, based_on: str, key: tuple[str, ...]) -> tasks.Work:
    return tasks.Work(
        identifier=facts.identifiers.identifier("activity", *key),
        canonical=activity.canonical,
        code=activity.code,
        priority=activity.priority or "routine",
        description=activity.description,
        patient=facts.patient,
        encounter=facts.encounter,
        requester=facts.requester,
        owner=facts.clinic.owner(activity.owner_role or "nurse", facts.patient),
        authored_on=local(facts.now, facts.zone),
        window=window,
        based_on=(based_on,),
        group=facts.group,
    )


def _form_task(applying: Applying, form: Form, dated: _Dated) -> Wanted:
    facts, action = applying.facts, dated.action
    title = text_in(action.titles, facts.language)
    work = tasks.Work(
        identifier=facts.identifiers.identifier("activity", *dated.key),
        code=terms.COMPLETE_QUESTIONNAIRE.concept(terms.COLLECT_INFORMATION),
        priority=action.priority or "routine",
        description=title,
        patient=facts.patient,
        requester=facts.requester,
        owner=facts.patient,
        authored_on=local(facts.now, facts.zone),
        window=dated.window,
        based_on=(applying.based_on,),
        group=facts.group,
        inputs=[tasks.form_input(form.canonical)],
        profile=terms.PROFILE_PRO_TASK,
    )
    return _wanted(work, dated, title, facts)


def _wanted(work: tasks.Work, dated: _Dated, title: str, facts: Facts) -> Wanted:
    urn = facts.identifiers.full_url("activity", *dated.key)
    return Wanted(urn, dated.action.id, tasks.make(work), f"{title}: {_when(dated.window, facts)}")


def _known_inputs(activity: Activity, facts: Facts) -> list[Resource]:
    """Give what the record adds to an activity: the escort's name and phone, the criteria that were not met."""
    code = activity.code["coding"][0].get("code")
    if code == terms.ESCORT_HOME.code:
        return escort_inputs(facts.escort_person)
    if code == terms.DISCHARGED_NOT_READY.code:
        return [tasks.text_input(terms.INPUT_UNMET, each) for each in facts.unmet]
    return []


def escort_inputs(escort: Escort | None) -> list[Resource]:
    """Give the inputs of the escort Task that are known."""
    if escort is None:
        return []
    given = (
        (terms.INPUT_ESCORT_NAME, escort.name),
        (terms.INPUT_ESCORT_RELATION, escort.relationship),
        (terms.INPUT_ESCORT_PHONE, escort.phone),
    )
    return [tasks.text_input(code, text) for code, text in given if text]


def text_in(texts: Mapping[str, str], language: str) -> str:
    """Give a text in a language, or in English where it is not translated."""
    return texts.get(language) or texts["en"]


def _when(window: Window, facts: Facts) -> str:
    return wording.window_text(window.opens, window.due or window.target, facts.zone, facts.language)
