"""Move a plan to another start or end of its infusion: what the protocol computes now, where nobody chose otherwise.

A step of ``correct``, not a door. Tasks that nobody has begun move; a restriction ends later by itself and earlier only
if a clinician agrees; who was told already is told anew (fhir-model §1.6).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care import wording
from fhir_aftercare.care.correction import MOVABLE, release_after, tell_of_later_release
from fhir_aftercare.care.plan import Anchor
from fhir_aftercare.care.timing import Window, local, utc
from fhir_aftercare.fhir import careplan, corrections, tasks, terms
from fhir_aftercare.fhir.apply import Applying
from fhir_aftercare.fhir.facts import Facts
from fhir_aftercare.flows.course_forms import course_of, move_forms, start_of
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.inform_patient import News, tell_of_plan
from fhir_aftercare.flows.situation import children, escort_task, is_task, language_of, plan_zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.plan import Episode
    from fhir_aftercare.fhir.definitions import Action
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.draft import Draft

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


@dataclass(frozen=True, slots=True)
class Moved:
    """``inform`` is the Task to tell the patient, ``awaiting`` the restrictions that could end earlier if agreed."""

    inform: str | None
    awaiting: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    """What was found while moving: lines of the narrative, ends before and after, restrictions made, news."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    ends: list[tuple[datetime, datetime]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    awaiting: list[str] = field(default_factory=list)
    news: News | None = None


def move_plan(draft: Draft, moving: Moving) -> Moved:
    """Add what moves to the transaction.

    Raises ``ProtocolFault`` if the version of the protocol that the plan was made by is not there.
    """
    plan, found = moving.plan, _Found()
    mover = _Mover.of(draft, moving, found)
    for action in mover.before.plan.actions:
        if action.definition is not None and action.related and action.repeat is None:
            mover.move(action)
    _confirm_end(draft, moving)
    _move_plan_itself(draft, moving, mover.told, found)
    course, told, end = course_of(draft.chart, plan), mover.told.end, moving.anchor.end
    if course is not None and plan["status"] != "draft" and told and end and utc(told) != utc(end):
        move_forms(draft, course, moving.episode, told, end)
    inform = tell_of_plan(draft, moving.episode, plan, found.news) if found.news else None
    return Moved(inform, tuple(found.awaiting))


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
class _Mover:
    """The protocol applied to the infusion as it was told (``before``) and as it is known now (``after``)."""

    draft: Draft
    moving: Moving
    told: Anchor
    before: Applying
    after: Applying
    found: _Found

    @classmethod
    def of(cls, draft: Draft, moving: Moving, found: _Found) -> _Mover:
        start, end = told_times(draft.chart, moving.plan)
        told = Anchor(start or moving.anchor.start, end)
        return cls(draft, moving, told, _applying(draft, moving, told), _applying(draft, moving, moving.anchor), found)

    def move(self, action: Action) -> None:
        """Move what an action has become, if it is there."""
        child, key = self._child(action)
        if child is None:
            return
        if is_task(child):
            self._move_task(action, child, key)
        else:
            self._move_restriction(action, child, key)

    def _child(self, action: Action) -> tuple[Resource | None, tuple[str, ...]]:
        """Give what an action has become, with its key; of restrictions the last one made."""
        known, identifiers = self.draft.chart.by_identifier(), self.draft.context.identifiers
        key = (*self.moving.episode.key, action.id)
        found, at = None, key
        while True:
            identifier = identifiers.identifier("activity", *at)
            there = known.get((identifier["system"], identifier["value"]))
            if there is None:
                return found, key
            found, key, at = there, at, _next_key(self.moving.episode.key, action, at)

    def _move_task(self, action: Action, task: Resource, key: tuple[str, ...]) -> None:
        due = tasks.window_of(task)[1]
        before, after = self.before.windows(action)[0], self.after.windows(action)[0]
        chosen = not corrections.is_at(task, corrections.times_of(before))
        moves = task.get("status") in MOVABLE and not chosen and not _same_times(before, after)
        possible = self.after.possible(action, after) if moves else None
        if possible is not None:
            moved = corrections.rescheduled(task, corrections.times_of(possible), self.draft.now)
            self.draft.transaction.update(moved, task)
            self._reword(action, key, before, possible)
            self.found.ends.append((before.due or before.target, possible.due or possible.target))
        elif due is not None:
            self.found.ends.append((due, due))

    def _move_restriction(self, action: Action, request: Resource, key: tuple[str, ...]) -> None:
        told, now = corrections.restriction_end(request), self.draft.now
        if told is None or request["status"] in careplan.ENDED:
            return
        window = self._release(action, told)
        end = local(release_after(told, window.target, agreed=self.moving.agreed_by is not None), self._zone)
        later = utc(end) > utc(told)
        if request["status"] == "completed":
            if later and end > now:
                self._restrict_again(action, request, told, replace(window, target=end))
            self.found.ends.append((told, max(end, told, key=utc)))
            return
        if utc(window.target) < utc(end) and told > now:
            self.found.awaiting.append(reference_of(request))
        words = self._words(action, request, key, (told, end))
        moved = corrections.restriction_moved(request, local(window.opens or end, self._zone), end, words)
        if moved is not None and utc(end) < utc(told):
            moved = corrections.with_note(moved, self.moving.why, now, author=self.moving.agreed_by)
        if moved is not None:
            self.draft.transaction.update(moved, request)
        self.found.ends.append((told, end))
        self._reword(action, key, _until(told), _until(end))
        if later and words is not None:
            self._tell(reference_of(request), told, end)

    def _restrict_again(self, action: Action, ended: Resource, told: datetime, window: Window) -> None:
        """Add a restriction in place of one whose time had passed before it was known to last longer."""
        key = (*self.moving.episode.key, action.id)
        known, identifiers = self.draft.chart.by_identifier(), self.draft.context.identifiers
        while _pair(identifiers.identifier("activity", *key)) in known:
            key = _next_key(self.moving.episode.key, action, key)
        wanted = self.after.make(action, window, key)
        again = {**wanted.resource, "replaces": [{"reference": reference_of(ended)}]}
        made = self.draft.transaction.create(again, wanted.urn)
        self.found.made.append(made)
        self._reword(action, key, _until(told), window)
        if again["patientInstruction"] != ended.get("patientInstruction"):
            self._tell(made, told, window.target)

    def _tell(self, about: str, told: datetime, end: datetime) -> None:
        """Who has left was told a time that is too early now; of a time that has passed nobody needs to hear."""
        now = self.draft.now
        if self.moving.plan["status"] == "draft" or end <= now:
            return
        until = wording.short_text(end, self._zone, with_zone=True)
        text = f"The infusion ended later than was known: no driving and no machines before {until}."
        self.found.news = News(tell_of_later_release(told, now), text, about)

    @property
    def _zone(self) -> ZoneInfo:
        return self.after.facts.zone

    def _release(self, action: Action, told: datetime) -> Window:
        """Give a restriction's window now, in the zones it was made for: which they were shows in its end.

        Where it does not show, in all that are possible: later is safer.
        """
        tonight = self.before.facts.zones[:1]
        if utc(_in_zones(self.before, tonight).windows(action)[0].target) == utc(told):
            return _in_zones(self.after, tonight).windows(action)[0]
        return self.after.windows(action)[0]

    def _words(
        self, action: Action, request: Resource, key: tuple[str, ...], ends: tuple[datetime, datetime]
    ) -> str | None:
        """Give the patient's instruction for another end, in the language and wording it was given; None if it stays.

        Words of a person that we do not know are replaced: they may name a time that is no longer right.
        """
        told, end = ends
        if utc(told) == utc(end):
            return None
        given = request.get("patientInstruction")
        for facts in _wordings(self.after.facts):
            if _instruction(replace(self.after, facts=facts), action, key, told) == given:
                words = _instruction(replace(self.after, facts=facts), action, key, end)
                return words if words != given else None
        return _instruction(self.after, action, key, end)

    def _reword(self, action: Action, key: tuple[str, ...], then: Window, now: Window) -> None:
        """Note the lines of the plan's narrative that say another time."""
        for facts in _wordings(self.after.facts):
            applying = replace(self.after, facts=facts)
            old, new = (applying.make(action, window, key).line for window in (then, now))
            if old != new and (old, new) not in self.found.lines:
                self.found.lines.append((old, new))


def _until(end: datetime) -> Window:
    return Window(opens=None, target=end, due=None, expires=None)


def _instruction(applying: Applying, action: Action, key: tuple[str, ...], end: datetime) -> str | None:
    return applying.make(action, _until(end), key).resource.get("patientInstruction")


def _same_times(one: Window, other: Window) -> bool:
    return corrections.times_of(one) == corrections.times_of(other)


def _next_key(episode: tuple[str, ...], action: Action, key: tuple[str, ...]) -> tuple[str, ...]:
    made = int(key[-1].removeprefix("r")) if len(key) > len(episode) + 1 else 1
    return (*episode, action.id, f"r{made + 1}")


def _pair(identifier: Resource) -> tuple[str, str]:
    return identifier["system"], identifier["value"]


def _wordings(facts: Facts) -> Iterator[Facts]:
    for language in dict.fromkeys((facts.language, *wording.LANGUAGES)):
        for needs_human in (False, True):
            yield replace(facts, language=language, release_needs_human=needs_human)


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


def _in_zones(applying: Applying, zones: Sequence[ZoneInfo]) -> Applying:
    return replace(applying, facts=replace(applying.facts, zones=zones))


def _confirm_end(draft: Draft, moving: Moving) -> None:
    """Close the Task that asked when the infusion ended: now it is known."""
    for task in children(draft.chart, moving.plan):
        if moving.confirmed and tasks.has_code(task, terms.CONFIRM_END) and is_task(task) and tasks.is_open(task):
            draft.transaction.update(tasks.moved(task, "completed", "confirmed", at=draft.now), task)


def _move_plan_itself(draft: Draft, moving: Moving, told: Anchor, found: _Found) -> None:
    plan, zone = moving.plan, plan_zone(moving.plan, draft.context.clinic)
    was, anchor = dict(plan.get("period") or {}), moving.anchor
    start, before = (anchor.start, told.start) if plan["status"] == "draft" else (anchor.end, told.end)
    period = dict(was)
    if (
        start is not None
        and before is not None
        and tasks.instant(local(start, zone)) != tasks.instant(local(before, zone))
    ):
        period["start"] = tasks.instant(local(start, zone))
    ends, stated = found.ends, tasks.moment(was.get("end"))
    if ends and stated is not None and utc(stated) == utc(max((old for old, _ in ends), key=utc)):
        last = max((new for _, new in ends), key=utc)
        if utc(last) != utc(stated):
            period["end"] = tasks.instant(local(last, zone))
    changed = corrections.reworded({**plan, "period": period} if period else plan, found.lines)
    changed = careplan.with_activities(changed, found.made)
    if moving.confirmed:
        changed = corrections.without_extension(changed, terms.EXT_ANCHOR_ESTIMATED)
    if changed != plan:
        draft.transaction.update(changed, plan)
