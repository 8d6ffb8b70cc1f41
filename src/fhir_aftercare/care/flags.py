"""Which values of one check staff should look at again (bands of clinical §1.3 and §1.6).

It raises no alarm: that stays with the monitor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fhir_aftercare.care.infusion import Check, Measure
from fhir_aftercare.care.timing import utc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from fhir_aftercare.care.policy import Policy


@dataclass(frozen=True, slots=True)
class Flag:
    """A value to look at again: ``rule`` says why, in words for staff, ``source`` where the rule is from."""

    measure: Measure
    level: Literal["watch", "urgent"]
    rule: str
    source: str


def flags(
    check: Check, baseline: Check | None, policy: Policy, age: int | None, *, start: datetime | None = None
) -> list[Flag]:
    """Give what stands out in one check, by the clinic's thresholds (clinical §1.3, §1.4, §1.6).

    ``baseline`` is the last check before the infusion. ``start``, if given, tells whether this check is one from before
    it; without it a check without baseline counts as such. ``age`` in years; unknown counts as under 65.
    """
    reference = start or (baseline.at if baseline else None)
    before = reference is None or utc(check.at) <= utc(reference)
    pressure = _before_dose(check, policy, age) if before else _after_start(check, baseline, policy)
    return [*([pressure] if pressure else []), *_breathing_flags(check, policy), *_state_flags(check, policy)]


def _before_dose(check: Check, policy: Policy, age: int | None) -> Flag | None:
    if check.systolic is None or check.diastolic is None:
        return None
    systolic, diastolic = policy.predose_hold_systolic, policy.predose_hold_diastolic
    if check.systolic > systolic or check.diastolic > diastolic:
        return _pressure("urgent", f"above {systolic}/{diastolic} mmHg before the infusion: hold")
    systolic = policy.predose_systolic_65 if age is not None and age >= 65 else policy.predose_systolic
    diastolic = policy.predose_diastolic
    if check.systolic > systolic or check.diastolic > diastolic:
        return _pressure("watch", f"above {systolic}/{diastolic} mmHg before the infusion: weigh risk and benefit")
    return None


def _after_start(check: Check, baseline: Check | None, policy: Policy) -> Flag | None:
    if check.systolic is None or check.diastolic is None:
        return None
    systolic, diastolic = policy.bp_severe_systolic, policy.bp_severe_diastolic
    if check.systolic > systolic or check.diastolic > diastolic:
        return _pressure("urgent", f"above {systolic}/{diastolic} mmHg: call the prescriber, repeat in 5 min")
    systolic, diastolic = policy.bp_limit_systolic, policy.bp_limit_diastolic
    if check.systolic >= systolic or check.diastolic >= diastolic:
        return _pressure("watch", f"{systolic}/{diastolic} mmHg or above: repeat in 5 to 10 min")
    if baseline is None or baseline.systolic is None or baseline.diastolic is None:
        return None
    systolic, diastolic = policy.bp_rise_systolic, policy.bp_rise_diastolic
    if check.systolic - baseline.systolic >= systolic or check.diastolic - baseline.diastolic >= diastolic:
        return _pressure("watch", f"risen by {systolic} systolic or {diastolic} diastolic mmHg or more: repeat")
    return None


def _pressure(level: Literal["watch", "urgent"], rule: str) -> Flag:
    return Flag(Measure.BLOOD_PRESSURE, level, f"Blood pressure {rule}", "clinical §1.6")


def _breathing_flags(check: Check, policy: Policy) -> Iterator[Flag]:
    vital = "clinical §1.3"
    if check.heart_rate is not None and not policy.heart_rate_low <= check.heart_rate <= policy.heart_rate_high:
        rule = f"Heart rate below {policy.heart_rate_low} or above {policy.heart_rate_high} /min"
        yield Flag(Measure.HEART_RATE, "watch", rule, vital)
    low, high = policy.respiratory_rate_low, policy.respiratory_rate_high
    if check.respiratory_rate is not None and not low <= check.respiratory_rate <= high:
        yield Flag(Measure.RESPIRATORY_RATE, "watch", f"Respiratory rate below {low} or above {high} /min", vital)
    if check.spo2 is not None and check.spo2 < policy.spo2_urgent:
        yield Flag(Measure.SPO2, "urgent", f"Oxygen saturation below {policy.spo2_urgent} %", vital)
    elif check.spo2 is not None and check.spo2 < policy.spo2_watch:
        yield Flag(Measure.SPO2, "watch", f"Oxygen saturation below {policy.spo2_watch} %", vital)


def _state_flags(check: Check, policy: Policy) -> Iterator[Flag]:
    scales = "clinical §1.4"
    if check.moaa_s is not None and check.moaa_s <= policy.moaa_s_urgent:
        yield Flag(Measure.MOAA_S, "urgent", f"MOAA/S {policy.moaa_s_urgent} or below: hard to rouse", scales)
    if check.nausea is not None and check.nausea > policy.nausea_max_to_leave:
        yield Flag(Measure.NAUSEA, "watch", f"Nausea above {policy.nausea_max_to_leave} of 10", scales)
    if check.vomiting is not None and check.vomiting > policy.vomiting_max_to_leave:
        yield Flag(Measure.VOMITING, "watch", f"Vomited more than {policy.vomiting_max_to_leave} times", scales)
    if check.no_acute_suicidal_intent is False:
        yield Flag(
            Measure.NO_ACUTE_SUICIDAL_INTENT, "urgent", "Acute suicidal intent is not ruled out", "clinical §1.5"
        )
