"""The record of one infusion: what was given, and everything observed at each instant.

Decides what cannot be a real record, and which values staff should look at again (bands of clinical §1.3 and §1.6).
It does not decide who may leave (``readiness``), and it raises no alarm: that stays with the monitor.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

from fhir_aftercare.care.timing import utc
from fhir_aftercare.errors import InvalidInput, MissingZone, OutOfRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fhir_aftercare.care.policy import Policy


class Dissociation(StrEnum):
    """Dissociation on the four levels that staff judge by (clinical §1.4)."""

    ABSENT = "absent"
    MILD = "mild"
    MODERATE = "moderate"
    SEVERE = "severe"

    @property
    def level(self) -> int:
        """Give 0 (absent) to 3 (severe)."""
        return list(Dissociation).index(self)


class InfusionStatus(StrEnum):
    """What became of the infusion. After ``STOPPED`` aftercare is owed too; ``NOT_DONE`` means no dose was given."""

    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    STOPPED = "stopped"
    NOT_DONE = "not-done"


class Route(StrEnum):
    """How the drug was given: words only, no code is confirmed (design §9.16)."""

    INTRAVENOUS = "intravenous"
    INTRAMUSCULAR = "intramuscular"
    SUBCUTANEOUS = "subcutaneous"
    INTRANASAL = "intranasal"
    ORAL = "oral"
    SUBLINGUAL = "sublingual"


class Measure(StrEnum):
    """Each thing measured. Its value is the field of ``Check``; blood pressure has two fields."""

    BLOOD_PRESSURE = "blood_pressure"
    MEAN_PRESSURE = "mean_pressure"
    HEART_RATE = "heart_rate"
    RESPIRATORY_RATE = "respiratory_rate"
    SPO2 = "spo2"
    OXYGEN_FLOW = "oxygen_flow"
    OXYGEN_CONCENTRATION = "oxygen_concentration"
    WEIGHT = "weight"
    TEMPERATURE = "temperature"
    DISSOCIATION = "dissociation"
    CADSS_TOTAL = "cadss_total"
    CADSS_6 = "cadss_6"
    MOAA_S = "moaa_s"
    NAUSEA = "nausea"
    VOMITING = "vomiting"
    ORIENTED = "oriented"
    WALKS_UNAIDED = "walks_unaided"
    NO_ACUTE_SUICIDAL_INTENT = "no_acute_suicidal_intent"
    ESCORT_PRESENT = "escort_present"
    WRITTEN_INSTRUCTIONS = "written_instructions"
    EMERGENCY_CONTACT = "emergency_contact"


@dataclass(frozen=True, slots=True)
class Limit:
    """The lowest and the highest value that can be real, both included."""

    low: Decimal
    high: Decimal
    unit: str

    def holds(self, value: Decimal | int) -> bool:
        """Tell whether a value can be real. NaN and infinity cannot."""
        number = Decimal(value)
        return number.is_finite() and self.low <= number <= self.high

    def __str__(self) -> str:
        return f"{self.low} to {self.high} {self.unit}".rstrip()


def _limit(low: int, high: int, unit: str = "") -> Limit:
    return Limit(Decimal(low), Decimal(high), unit)


# What is refused outside these is a slip of the pen or of the sensor, not a patient (clinical §1.3, §1.4).
LIMITS: Final[Mapping[str, Limit]] = {
    "systolic": _limit(40, 300, "mmHg"),
    "diastolic": _limit(20, 200, "mmHg"),
    "mean_pressure": _limit(30, 250, "mmHg"),
    "heart_rate": _limit(20, 250, "/min"),
    "respiratory_rate": _limit(2, 60, "/min"),
    "spo2": _limit(50, 100, "%"),
    "oxygen_flow": _limit(0, 15, "L/min"),
    "oxygen_concentration": _limit(21, 100, "%"),
    "weight": _limit(25, 300, "kg"),
    "temperature": _limit(30, 43, "°C"),
    "cadss_total": _limit(0, 92),
    "cadss_6": _limit(0, 24),
    "moaa_s": _limit(0, 5),
    "nausea": _limit(0, 10),
    "vomiting": _limit(0, 50, "times"),
}
# Measured in fractions; everything else is a whole number.
DECIMALS: Final = frozenset({"oxygen_flow", "oxygen_concentration", "weight", "temperature"})
_OTHERS: Final = (
    "dissociation",
    "oriented",
    "walks_unaided",
    "no_acute_suicidal_intent",
    "escort_present",
    "written_instructions",
    "emergency_contact",
)

_DOSE_MAX_MG: Final = 1000
_CLOCK_SLACK: Final = timedelta(minutes=5)
_EARLIEST: Final = timedelta(hours=24)
_LATEST: Final = timedelta(hours=72)
# Who FHIR R4 lets perform an Observation.
_PERFORMER: Final = re.compile(
    r"(https?://\S+/)?(Practitioner|PractitionerRole|Organization|CareTeam|Patient|RelatedPerson)/[A-Za-z0-9\-.]{1,64}"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the sheet: everything observed at one instant. What was not observed is None, never 0.

    ``id`` is the caller's id of the row; with it a row keeps its identity when its time is corrected. Pressures in
    mmHg, rates per minute, SpO2 and oxygen concentration in %, flow in L/min, weight in kg, temperature in °C;
    ``nausea`` 0–10, ``vomiting`` in times, ``moaa_s`` 0–5. ``recorded_by`` is a FHIR reference.
    """

    at: datetime
    id: str | None = None
    systolic: int | None = None
    diastolic: int | None = None
    mean_pressure: int | None = None
    heart_rate: int | None = None
    respiratory_rate: int | None = None
    spo2: int | None = None
    oxygen_flow: Decimal | None = None
    oxygen_concentration: Decimal | None = None
    weight: Decimal | None = None
    temperature: Decimal | None = None
    dissociation: Dissociation | None = None
    cadss_total: int | None = None
    cadss_6: int | None = None
    moaa_s: int | None = None
    nausea: int | None = None
    vomiting: int | None = None
    oriented: bool | None = None
    walks_unaided: bool | None = None
    no_acute_suicidal_intent: bool | None = None
    escort_present: bool | None = None
    written_instructions: bool | None = None
    emergency_contact: bool | None = None
    recorded_by: str | None = None

    @property
    def row(self) -> str:
        """Give the row's id, or its instant in UTC."""
        return self.id or self.at.astimezone(UTC).isoformat()

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing was observed."""
        return all(getattr(self, name) is None for name in (*LIMITS, *_OTHERS))


@dataclass(frozen=True, slots=True)
class Escort:
    """Who takes the patient home; ``arranged`` tells that the ride is."""

    name: str | None = None
    relationship: str | None = None
    phone: str | None = None
    arranged: bool = False


@dataclass(frozen=True, slots=True)
class InfusionRecord:
    """One infusion as recorded. ``end`` is E, on which the plan's times hang; None while it runs, or if nobody knows.

    ``infusion`` is the caller's id of this administration within the encounter. Times are aware.
    """

    start: datetime
    end: datetime | None
    status: InfusionStatus
    dose_mg: Decimal | None = None
    route: Route | None = None
    drug: Literal["ketamine"] = "ketamine"
    checks: tuple[Check, ...] = ()
    escort: Escort | None = None
    infusion: str = "1"
    recorded_by: str | None = None


@dataclass(frozen=True, slots=True)
class _Fault:
    where: str
    rule: str
    kind: type[InvalidInput] = InvalidInput


def check_record(record: InfusionRecord, now: datetime) -> None:
    """Refuse what cannot be a real record, every fault at once: ``where`` holds each field (``checks[2].systolic``).

    Raises ``MissingZone`` if all faults are times without offset, ``OutOfRange`` if all are values outside their limits
    (clinical §1.3, §1.4), else ``InvalidInput``. Messages name fields and rules, never values.
    """
    if now.utcoffset() is None:
        raise MissingZone("The present time needs an offset.", where="now")
    faults = [*_infusion_faults(record, now)]
    for index, check in enumerate(record.checks):
        faults += _check_faults(check, f"checks[{index}]", record, now)
    faults += _repeated_rows(record)
    if not faults:
        return
    kinds = {fault.kind for fault in faults}
    kind = kinds.pop() if len(kinds) == 1 else InvalidInput
    raise kind(
        "The record cannot be used: " + "; ".join(f"{fault.where} {fault.rule}" for fault in faults) + ".",
        where=tuple(dict.fromkeys(fault.where for fault in faults)),
    )


def _infusion_faults(record: InfusionRecord, now: datetime) -> Iterator[_Fault]:
    yield from _time_faults(record.start, "start", now)
    if record.end is not None:
        yield from _time_faults(record.end, "end", now)
        if _apart(record.end, record.start) > timedelta():
            yield _Fault("end", "lies before the start")
        if record.status is InfusionStatus.IN_PROGRESS:
            yield _Fault("end", "is given, but the infusion is said to be in progress")
    elif record.status is InfusionStatus.COMPLETED:
        yield _Fault("end", "is needed once the infusion is completed")
    if record.dose_mg is not None:
        dose = Decimal(record.dose_mg)
        if not dose.is_finite() or not 0 < dose <= _DOSE_MAX_MG:
            yield _Fault("dose_mg", f"must be above 0 and at most {_DOSE_MAX_MG} mg", OutOfRange)
    if not record.infusion.strip():
        yield _Fault("infusion", "must not be blank")
    yield from _person_faults(record.recorded_by, "recorded_by")


def _check_faults(check: Check, where: str, record: InfusionRecord, now: datetime) -> Iterator[_Fault]:
    yield from _time_faults(check.at, f"{where}.at", now)
    if _apart(check.at, record.start) > _EARLIEST:
        yield _Fault(f"{where}.at", "lies more than 24 h before the start")
    if _apart(record.end or record.start, check.at) > _LATEST:
        yield _Fault(f"{where}.at", "lies more than 72 h after the infusion")
    if check.id is not None and not check.id.strip():
        yield _Fault(f"{where}.id", "must not be blank")
    if check.is_empty:
        yield _Fault(where, "holds no observation")
    yield from _value_faults(check, where)
    yield from _person_faults(check.recorded_by, f"{where}.recorded_by")


def _value_faults(check: Check, where: str) -> Iterator[_Fault]:
    wrong = set()
    for name, limit in LIMITS.items():
        value = getattr(check, name)
        if value is None:
            continue
        if name not in DECIMALS and (isinstance(value, bool) or not isinstance(value, int)):
            wrong.add(name)
            yield _Fault(f"{where}.{name}", "must be a whole number")
        elif not limit.holds(value):
            wrong.add(name)
            yield _Fault(f"{where}.{name}", f"must be {limit}", OutOfRange)
    systolic, diastolic = check.systolic, check.diastolic
    if systolic is None and diastolic is not None:
        yield _Fault(f"{where}.systolic", "is missing: a blood pressure has both values")
    elif systolic is not None and diastolic is None:
        yield _Fault(f"{where}.diastolic", "is missing: a blood pressure has both values")
    elif (
        systolic is not None
        and diastolic is not None
        and not wrong & {"systolic", "diastolic"}
        and systolic <= diastolic
    ):
        yield _Fault(f"{where}.systolic", "must be above the diastolic value", OutOfRange)


def _time_faults(moment: datetime, where: str, now: datetime) -> Iterator[_Fault]:
    if moment.utcoffset() is None:
        yield _Fault(where, "needs an offset", MissingZone)
    elif _apart(now, moment) > _CLOCK_SLACK:
        yield _Fault(where, "lies in the future")


def _person_faults(reference: str | None, where: str) -> Iterator[_Fault]:
    if reference is not None and not _PERFORMER.fullmatch(reference):
        yield _Fault(where, "must be a reference such as Practitioner/1")


def _repeated_rows(record: InfusionRecord) -> Iterator[_Fault]:
    rows = [check.row if check.at.utcoffset() is not None or check.id else None for check in record.checks]
    times = Counter(row for row in rows if row is not None)
    seen: set[str] = set()
    for index, row in enumerate(rows):
        if row is None or times[row] == 1:
            continue
        if row in seen:
            where = f"checks[{index}].id" if record.checks[index].id else f"checks[{index}].at"
            yield _Fault(where, "repeats another row")
        seen.add(row)


def _apart(first: datetime, second: datetime) -> timedelta:
    """Give the time elapsed from the first to the second; none if it cannot be known (that is a fault of its own)."""
    if first.utcoffset() is None or second.utcoffset() is None:
        return timedelta()
    return utc(second) - utc(first)


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
