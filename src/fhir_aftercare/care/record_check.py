"""What cannot be the record of a real infusion: every fault at once, each with its field (clinical §1.3, §1.4)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.infusion import DECIMALS, LIMITS, Check, InfusionRecord, InfusionStatus
from fhir_aftercare.care.timing import utc
from fhir_aftercare.errors import InvalidInput, MissingZone, OutOfRange

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOSE_MAX_MG: Final = 1000
_CLOCK_SLACK: Final = timedelta(minutes=5)
_EARLIEST: Final = timedelta(hours=24)
_LATEST: Final = timedelta(hours=72)
# Who FHIR R4 lets perform an Observation.
_PERFORMER: Final = re.compile(
    r"(https?://\S+/)?(Practitioner|PractitionerRole|Organization|CareTeam|Patient|RelatedPerson)/[A-Za-z0-9\-.]{1,64}"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the field (``checks[2].systolic``) and the rule, to be read one after the other."""

    where: str
    rule: str
    kind: type[InvalidInput] = InvalidInput


def check_record(record: InfusionRecord, now: datetime) -> None:
    """Refuse what cannot be a real record, every fault at once: ``where`` holds each field (``checks[2].systolic``).

    Raises ``MissingZone`` if all faults are times without offset, ``OutOfRange`` if all are values outside their limits
    (clinical §1.3, §1.4), else ``InvalidInput``. Messages name fields and rules, never values.
    """
    faults = faults_of(record, now)
    if not faults:
        return
    kinds = {fault.kind for fault in faults}
    kind = kinds.pop() if len(kinds) == 1 else InvalidInput
    raise kind(
        "The record cannot be used: " + "; ".join(f"{fault.where} {fault.rule}" for fault in faults) + ".",
        where=tuple(dict.fromkeys(fault.where for fault in faults)),
    )


def faults_of(record: InfusionRecord, now: datetime) -> list[Fault]:
    """Give every fault of a record, for doors that tell each beside its field. Raises ``MissingZone`` for ``now``."""
    if now.utcoffset() is None:
        raise MissingZone("The present time needs an offset.", where="now")
    faults = [*_infusion_faults(record, now)]
    for index, check in enumerate(record.checks):
        faults += _check_faults(check, f"checks[{index}]", record, now)
    return [*faults, *_repeated_rows(record)]


def _infusion_faults(record: InfusionRecord, now: datetime) -> Iterator[Fault]:
    yield from _time_faults(record.start, "start", now)
    if record.end is not None:
        yield from _time_faults(record.end, "end", now)
        if _apart(record.end, record.start) > timedelta():
            yield Fault("end", "lies before the start")
        if record.status is InfusionStatus.IN_PROGRESS:
            yield Fault("end", "is given, but the infusion is said to be in progress")
    elif record.status is InfusionStatus.COMPLETED:
        yield Fault("end", "is needed once the infusion is completed")
    if record.dose_mg is not None:
        dose = Decimal(record.dose_mg)
        if not dose.is_finite() or not 0 < dose <= _DOSE_MAX_MG:
            yield Fault("dose_mg", f"must be above 0 and at most {_DOSE_MAX_MG} mg", OutOfRange)
    if not record.infusion.strip():
        yield Fault("infusion", "must not be blank")
    yield from _person_faults(record.recorded_by, "recorded_by")


def _check_faults(check: Check, where: str, record: InfusionRecord, now: datetime) -> Iterator[Fault]:
    yield from _time_faults(check.at, f"{where}.at", now)
    if _apart(check.at, record.start) > _EARLIEST:
        yield Fault(f"{where}.at", "lies more than 24 h before the start")
    if _apart(record.end or record.start, check.at) > _LATEST:
        yield Fault(f"{where}.at", "lies more than 72 h after the infusion")
    if check.id is not None and not check.id.strip():
        yield Fault(f"{where}.id", "must not be blank")
    if check.is_empty:
        yield Fault(where, "holds no observation")
    yield from _value_faults(check, where)
    yield from _person_faults(check.recorded_by, f"{where}.recorded_by")


def _value_faults(check: Check, where: str) -> Iterator[Fault]:
    wrong = set()
    for name, limit in LIMITS.items():
        value = getattr(check, name)
        if value is None:
            continue
        if name not in DECIMALS and (isinstance(value, bool) or not isinstance(value, int)):
            wrong.add(name)
            yield Fault(f"{where}.{name}", "must be a whole number")
        elif not limit.holds(value):
            wrong.add(name)
            yield Fault(f"{where}.{name}", f"must be {limit}", OutOfRange)
    systolic, diastolic = check.systolic, check.diastolic
    if systolic is None and diastolic is not None:
        yield Fault(f"{where}.systolic", "is missing: a blood pressure has both values")
    elif systolic is not None and diastolic is None:
        yield Fault(f"{where}.diastolic", "is missing: a blood pressure has both values")
    elif (
        systolic is not None
        and diastolic is not None
        and not wrong & {"systolic", "diastolic"}
        and systolic <= diastolic
    ):
        yield Fault(f"{where}.systolic", "must be above the diastolic value", OutOfRange)


def _time_faults(moment: datetime, where: str, now: datetime) -> Iterator[Fault]:
    if moment.utcoffset() is None:
        yield Fault(where, "needs an offset", MissingZone)
    elif _apart(now, moment) > _CLOCK_SLACK:
        yield Fault(where, "lies in the future")


def _person_faults(reference: str | None, where: str) -> Iterator[Fault]:
    if reference is not None and not _PERFORMER.fullmatch(reference):
        yield Fault(where, "must be a reference such as Practitioner/1")


def _repeated_rows(record: InfusionRecord) -> Iterator[Fault]:
    rows = [check.row if check.at.utcoffset() is not None or check.id else None for check in record.checks]
    times = Counter(row for row in rows if row is not None)
    seen: set[str] = set()
    for index, row in enumerate(rows):
        if row is None or times[row] == 1:
            continue
        if row in seen:
            where = f"checks[{index}].id" if record.checks[index].id else f"checks[{index}].at"
            yield Fault(where, "repeats another row")
        seen.add(row)


def _apart(first: datetime, second: datetime) -> timedelta:
    """Give the time elapsed from the first to the second; none if it cannot be known (that is a fault of its own)."""
    if first.utcoffset() is None or second.utcoffset() is None:
        return timedelta()
    return utc(second) - utc(first)
