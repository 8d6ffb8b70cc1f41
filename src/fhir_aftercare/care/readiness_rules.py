"""How each of the twelve criteria is judged, from what was found (clinical §1.5, design §9.19, §10.11).

A criterion is met only by something recorded: a missing value is never a good one. What has no value in ``findings``
was recorded in a form nobody could read, and counts as not recorded, whatever was found earlier. Nausea must be
recorded; vomiting and oxygen are charted only where there is some, so their absence says there was none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeGuard

from fhir_aftercare.care.infusion import Dissociation, Measure
from fhir_aftercare.care.readiness import (
    BloodPressure,
    Criterion,
    Finding,
    FindingValue,
    Judged,
    Override,
    Panel,
    State,
)
from fhir_aftercare.care.timing import utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fhir_aftercare.care.policy import Policy


def judge(
    findings: Sequence[Finding],
    *,
    start: datetime,
    end: datetime | None,
    left_at: datetime,
    escort: bool | None,
    policy: Policy,
    override: Override | None = None,
    age: int | None = None,  # noqa: ARG001 - callers know it; no limit after the start depends on it yet (clinical §1.6)
) -> Panel:
    """Judge the twelve criteria as they stood at ``left_at`` (clinical §1.5, design §9.19, §10.11).

    ``start`` and ``end`` are the infusion's, aware; ``end`` None if nobody knows it: then nothing that must be found
    after it is met. ``escort``: True present, False left alone, None nobody said (then ``findings`` decide). Of each
    measure the latest finding after the end counts; of several at that instant the worst. Raises ``MissingZone``.
    """
    left_at = utc(left_at)
    known = [replace(each, at=utc(each.at)) for each in findings]
    sheet = _Sheet(
        tuple(each for each in known if each.at <= left_at), utc(start), None if end is None else utc(end), policy
    )
    escorted = _escort(sheet, escort)
    judged = (
        _min_observation(sheet, left_at, escorted),
        _blood_pressure(sheet),
        _spo2(sheet),
        _sedation(sheet),
        _dissociation(sheet),
        _seen(sheet, Criterion.ORIENTED, Measure.ORIENTED, "Oriented to person, place, time and situation"),
        _seen(sheet, Criterion.WALKS_UNAIDED, Measure.WALKS_UNAIDED, "Walks unaided"),
        _nausea(sheet),
        _seen(sheet, Criterion.NO_SUICIDAL_INTENT, Measure.NO_ACUTE_SUICIDAL_INTENT, "No acute suicidal intent"),
        escorted,
        _settled(sheet, Criterion.WRITTEN_INSTRUCTIONS, Measure.WRITTEN_INSTRUCTIONS, "Written instructions given"),
        _settled(sheet, Criterion.EMERGENCY_CONTACT, Measure.EMERGENCY_CONTACT, "Emergency contact confirmed"),
    )
    return Panel(judged, override, frozenset() if policy.escort_required else frozenset({Criterion.ESCORT}))


Verdict = tuple[State, str]
_WORST: Final = (State.NOT_MET, State.NOT_RECORDED, State.MET)
_UNREADABLE: Final[Verdict] = (State.NOT_RECORDED, "recorded, but not readable")
_END_UNKNOWN: Final = "the end of the infusion is not recorded"
_ON_AIR: Final = {Measure.OXYGEN_FLOW: 0, Measure.OXYGEN_CONCENTRATION: 21}  # air holds 21 % oxygen


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What was found until the patient left, and between which times it counts."""

    findings: tuple[Finding, ...]
    start: datetime
    end: datetime | None
    policy: Policy

    def latest(self, measure: Measure, since: datetime, until: datetime | None = None) -> tuple[Finding, ...]:
        """Give the findings of the last instant between ``since`` and ``until``, both included."""
        found = [
            each
            for each in self.findings
            if each.measure is measure and each.at >= since and (until is None or each.at <= until)
        ]
        last = max((each.at for each in found), default=None)
        return tuple(each for each in found if each.at == last)

    def now(self, measure: Measure) -> tuple[Finding, ...]:
        """Give what decides: the latest after the end; where nobody knows the end, after the start."""
        return self.latest(measure, self.end or self.start)

    def before(self, found: Sequence[Finding]) -> tuple[Finding, ...]:
        """Give the findings since the start that came before these."""
        return self.latest(found[0].measure, self.start, found[0].at - datetime.resolution) if found else ()

    @property
    def visit(self) -> datetime:
        """Since when something belongs to this visit: an infusion further away is another episode."""
        return self.start - self.policy.episode_gap

    def judged(
        self,
        criterion: Criterion,
        rule: str,
        found: Sequence[Finding],
        test: Callable[[FindingValue], Verdict],
        *compared: Finding,
        must_follow_end: bool = True,
    ) -> Judged:
        """Judge the findings of one instant; the worst decides. ``compared`` is what the test looked at besides."""
        if not found:
            when = " after the infusion" if must_follow_end else ""
            return Judged(criterion, State.NOT_RECORDED, f"{rule}: not recorded{when}.")
        verdicts = [_UNREADABLE if each.value is None else test(each.value) for each in found]
        state, words = min(verdicts, key=lambda verdict: _WORST.index(verdict[0]))
        if state is State.MET and must_follow_end and self.end is None:
            state, words = State.NOT_RECORDED, f"{words}, but {_END_UNKNOWN}"
        return Judged(criterion, state, f"{rule}: {words}.", _sources((*found, *compared)), found[0].at)


def _sources(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.source for each in findings if each.source))


def _state(met: bool) -> State:
    return State.MET if met else State.NOT_MET


def _is_number(value: FindingValue | None) -> TypeGuard[int | Decimal]:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)


def _min_observation(sheet: _Sheet, left_at: datetime, escorted: Judged) -> Judged:
    with_escort = escorted.state is State.MET
    policy = sheet.policy
    needed = policy.min_observation_with_escort if with_escort else policy.min_observation_without_escort
    rule = f"At least {_minutes(needed)} min after the infusion {'with' if with_escort else 'without'} an escort"
    if sheet.end is None:
        return Judged(Criterion.MIN_OBSERVATION, State.NOT_RECORDED, f"{rule}: {_END_UNKNOWN}.")
    elapsed = left_at - sheet.end
    words = f"{_minutes(elapsed)} min" if elapsed >= timedelta() else "it had not ended"
    rests_on = escorted.rests_on if with_escort else ()
    return Judged(Criterion.MIN_OBSERVATION, _state(elapsed >= needed), f"{rule}: {words}.", rests_on, left_at)


def _blood_pressure(sheet: _Sheet) -> Judged:
    policy = sheet.policy
    found = sheet.now(Measure.BLOOD_PRESSURE)
    baseline = sheet.latest(Measure.BLOOD_PRESSURE, sheet.visit, sheet.start)
    previous = sheet.before(found)

    def test(value: FindingValue) -> Verdict:
        if not isinstance(value, BloodPressure):
            return _UNREADABLE
        words = f"{value.systolic}/{value.diastolic} mmHg"
        if value.systolic < policy.bp_limit_systolic and value.diastolic < policy.bp_limit_diastolic:
            return State.MET, words
        if value.systolic > policy.bp_severe_systolic or value.diastolic > policy.bp_severe_diastolic:
            return State.NOT_MET, f"{words}, above {policy.bp_severe_systolic}/{policy.bp_severe_diastolic}"
        factor = 1 + Decimal(policy.bp_baseline_percent) / 100
        near = _none_above("own value before the infusion", value, baseline, factor)
        falling = _none_above("value before", value, previous, Decimal(1))
        return _state(near[0] is falling[0] is State.MET), f"{words}, {near[1]}, {falling[1]}"

    rule = (
        f"Blood pressure below {policy.bp_limit_systolic}/{policy.bp_limit_diastolic} mmHg, or at most "
        f"{policy.bp_baseline_percent} % above the patient's own and not rising (design §10.11)"
    )
    return sheet.judged(Criterion.BLOOD_PRESSURE, rule, found, test, *baseline, *previous)


def _none_above(name: str, value: BloodPressure, others: Sequence[Finding], factor: Decimal) -> Verdict:
    """Tell whether neither pressure is above ``factor`` times each of the others; without others it cannot be shown."""
    state, words = State.NOT_MET, f"{name} not recorded"
    for other in others:
        before = other.value
        if not isinstance(before, BloodPressure):
            return State.NOT_MET, f"{name} not readable"
        state, words = State.MET, f"{name} {before.systolic}/{before.diastolic}"
        if value.systolic > before.systolic * factor or value.diastolic > before.diastolic * factor:
            return State.NOT_MET, words
    return state, words


def _spo2(sheet: _Sheet) -> Judged:
    low = sheet.policy.spo2_watch
    found = sheet.now(Measure.SPO2)
    oxygen = [each for each in sheet.findings if found and each.at == found[0].at and each.measure in _ON_AIR]

    def test(value: FindingValue) -> Verdict:
        if not _is_number(value):
            return _UNREADABLE
        if value < low:
            return State.NOT_MET, f"{value} %"
        for each in oxygen:
            if not _is_number(each.value):
                return State.NOT_RECORDED, f"{value} %, and the oxygen given is not readable"
            if each.value > _ON_AIR[each.measure]:
                return State.NOT_MET, f"{value} % on oxygen"
        return State.MET, f"{value} %"

    return sheet.judged(
        Criterion.SPO2, f"Oxygen saturation at least {low} % on air (clinical §1.3)", found, test, *oxygen
    )


def _sedation(sheet: _Sheet) -> Judged:
    needed = sheet.policy.moaa_s_to_leave

    def test(value: FindingValue) -> Verdict:
        return (_state(value >= needed), f"{value}") if _is_number(value) else _UNREADABLE

    rule = f"Sedation (MOAA/S) at least {needed} (clinical §1.4)"
    return sheet.judged(Criterion.SEDATION, rule, sheet.now(Measure.MOAA_S), test)


def _dissociation(sheet: _Sheet) -> Judged:
    found = sheet.now(Measure.DISSOCIATION)
    previous = sheet.before(found)
    allowed = Dissociation(sheet.policy.dissociation_to_leave)

    def test(value: FindingValue) -> Verdict:
        if not isinstance(value, Dissociation):
            return _UNREADABLE
        if value is Dissociation.ABSENT:
            return State.MET, value.value
        if value.level > allowed.level:
            return State.NOT_MET, value.value
        if not previous:
            return State.NOT_MET, f"{value.value}, and no value before it shows that it is resolving"
        resolving = all(isinstance(each.value, Dissociation) and each.value.level >= value.level for each in previous)
        return _state(resolving), f"{value.value}, {'resolving' if resolving else 'not resolving'}"

    words = "absent" if allowed is Dissociation.ABSENT else f"absent, or at most {allowed.value} and resolving"
    return sheet.judged(Criterion.DISSOCIATION, f"Dissociation {words} (clinical §1.4)", found, test, *previous)


def _nausea(sheet: _Sheet) -> Judged:
    policy = sheet.policy
    most, times = policy.nausea_max_to_leave, policy.vomiting_max_to_leave
    rule = f"Nausea at most {most} of 10, vomited at most {times} times (clinical §1.4)"

    def mild(value: FindingValue) -> Verdict:
        return (_state(value <= most), f"nausea {value}") if _is_number(value) else _UNREADABLE

    def seldom(value: FindingValue) -> Verdict:
        return (_state(value <= times), f"vomited {value} times") if _is_number(value) else _UNREADABLE

    vomiting = sheet.now(Measure.VOMITING)
    nausea = sheet.judged(Criterion.NAUSEA, rule, sheet.now(Measure.NAUSEA), mild, *vomiting)
    if not vomiting:
        return nausea
    vomited = sheet.judged(Criterion.NAUSEA, rule, vomiting, seldom)
    return min(nausea, vomited, key=lambda each: _WORST.index(each.state))


def _yes(value: FindingValue) -> Verdict:
    return (_state(value), "yes" if value else "no") if isinstance(value, bool) else _UNREADABLE


def _seen(sheet: _Sheet, criterion: Criterion, measure: Measure, rule: str) -> Judged:
    """Judge what must be seen after the infusion."""
    return sheet.judged(criterion, rule, sheet.now(measure), _yes)


def _settled(sheet: _Sheet, criterion: Criterion, measure: Measure, rule: str) -> Judged:
    """Judge what may have been settled at any time of the visit."""
    return sheet.judged(criterion, rule, sheet.latest(measure, sheet.visit), _yes, must_follow_end=False)


def _escort(sheet: _Sheet, told: bool | None) -> Judged:
    rule = "An adult takes the patient home"
    if told is not None:
        return Judged(Criterion.ESCORT, _state(told), f"{rule}: {'yes' if told else 'no'}, as told on leaving.")
    return _settled(sheet, Criterion.ESCORT, Measure.ESCORT_PRESENT, rule)
