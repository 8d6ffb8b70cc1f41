"""What was typed into a row of the sheet, as a check of ``care``; and every fault beside the field it is about.

The same for the entry row, the paper sheet (``prefix`` tells the row) and a correction. What can be real is
``care.record_check``'s to say, what stands out ``care.flags``'; nothing typed is lost or guessed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.flags import flags
from fhir_aftercare.care.infusion import Check, Dissociation, Escort, Measure, Route
from fhir_aftercare.care.record_check import faults_of
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.ui.record_rows import DISSOCIATION_WORDS, NAMES, minute_of
from fhir_aftercare.ui.typed import clock_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.flags import Flag
    from fhir_aftercare.care.infusion import InfusionRecord
    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.ui.record_rows import Row

Fault = tuple[str, str]

LABELS: Final[Mapping[str, str]] = {
    "at": "Time",
    "systolic": "Systolic",
    "diastolic": "Diastolic",
    "heart_rate": "Heart rate",
    "spo2": "SpO2",
    "respiratory_rate": "Respiratory rate",
    "dissociation": "Dissociation",
    "moaa_s": "Sedation",
    "nausea": "Nausea",
    "start": "Start",
    "end": "End",
    "dose_mg": "Dose",
}
VALUES: Final = tuple(LABELS)[1:9]
# Longer than any value; what is longer is no number.
_WHOLE: Final = re.compile(r"[+-]?\d{1,6}")
_DOSE: Final = re.compile(r"\d{1,5}(?:[.,]\d{1,3})?")
_SHORT: Final = 200
_LONG: Final = 1000
_LEVELS: Final = {
    **{str(level.level): level for level in Dissociation},
    **{word: level for level, word in DISSOCIATION_WORDS.items()},
    **{level.value: level for level in Dissociation},
}


@dataclass(frozen=True, slots=True)
class Typed:
    """One row as it was typed: None where it holds nothing. ``prefix`` begins the names of its fields."""

    check: Check | None
    prefix: str = ""
    faults: tuple[Fault, ...] = ()

    def tell(self, name: str, rule: str) -> Fault:
        """Give a fault of one of its fields, in words."""
        return f"{self.prefix}{name}", f"{LABELS.get(name, 'The row')} {rule}."


@dataclass(slots=True)
class Reading:
    """Reads the fields of an infusion, and keeps what is wrong with them."""

    form: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)

    def moment(self, name: str, read: Callable[[], datetime]) -> datetime | None:
        """Give an instant; None if it is at fault."""
        try:
            return read()
        except InvalidInput as fault:
            self.faults.append((name, fault.message))
            return None

    def dose(self) -> Decimal | None:
        """Give the dose in mg; None if none was typed."""
        text = self.form.get("dose_mg", "").strip()
        if not text:
            return None
        if not _DOSE.fullmatch(text):
            self.faults.append(("dose_mg", "Dose must be a number of mg, such as 35."))
            return None
        return Decimal(text.replace(",", "."))

    def route(self) -> Route | None:
        """Give the route that was chosen."""
        given = self.form.get("route", "")
        return Route(given) if given in set(Route) else None

    def reason(self, name: str = "reason") -> str | None:
        """Give the reason; it is a fault if there is none."""
        text = self.words(name, _LONG)
        if not text:
            self.faults.append((name, "Say why, in your own words."))
        return text

    def words(self, name: str, most: int = _SHORT) -> str | None:
        """Give what people write, in one line; None for nothing. What no screen shows is left out."""
        shown = "".join(each if each.isprintable() else " " for each in self.form.get(name, ""))
        return " ".join(shown.split())[:most] or None

    def escort(self) -> Escort | None:
        """Give who takes the patient home, as far as it was typed."""
        name, relationship, phone = (self.words(f"escort_{each}") for each in ("name", "relationship", "phone"))
        arranged = self.form.get("ride_arranged") == "yes"
        return Escort(name, relationship, phone, arranged) if arranged or name or relationship or phone else None


def is_blank(form: Mapping[str, str], prefix: str = "") -> bool:
    """Tell whether no value of a row was typed."""
    return not any(form.get(f"{prefix}{name}", "").strip() for name in VALUES)


def typed_row(
    form: Mapping[str, str], at: Callable[[str], datetime], *, row: str, by: str | None, prefix: str = ""
) -> Typed:
    """Read a row. ``at`` gives the instant of a field's name and raises ``InvalidInput``; ``row`` is its own id."""
    if is_blank(form, prefix):
        return Typed(None, prefix)
    empty = Typed(None, prefix)
    faults: list[Fault] = []
    values: dict[str, Any] = {}
    for name in VALUES:
        text = form.get(f"{prefix}{name}", "").strip()
        if not text:
            continue
        if name == "dissociation":
            values[name] = _LEVELS.get(text.lower())
            if values[name] is None:
                faults.append(empty.tell(name, "must be 0 none, 1 mild, 2 moderate or 3 severe"))
        elif _WHOLE.fullmatch(text):
            values[name] = int(text)
        else:
            faults.append(empty.tell(name, "must be a whole number"))
    try:
        moment = at(f"{prefix}at")
    except InvalidInput as fault:
        return Typed(None, prefix, ((f"{prefix}at", fault.message), *faults))
    return Typed(Check(at=moment, id=row, recorded_by=by, **values), prefix, tuple(faults))


def faults_in(record: InfusionRecord, rows: Sequence[Typed], now: datetime) -> list[Fault]:
    """Give all that is wrong with a record and the rows typed for it, each with its field."""
    whole = [each for each in rows if each.check is not None]
    found = [fault for each in rows for fault in each.faults]
    known = {field for field, _ in found}
    told = faults_of(replace(record, checks=tuple(each.check for each in whole if each.check)), now)
    for fault in told:
        row = re.fullmatch(r"checks\[(\d+)\](?:\.(\w+))?", fault.where)
        if row is None:
            found.append((fault.where, f"{LABELS.get(fault.where, 'The infusion')} {fault.rule}."))
            continue
        said = whole[int(row[1])].tell(row[2] or "at", fault.rule)
        # What could not be read at all is told once: that it is missing too is no news.
        if said[0] not in known:
            found.append(said)
    return found


def repeats(rows: Sequence[Typed], zone: ZoneInfo) -> list[Fault]:
    """Give the rows that tell the same minute as one before them."""
    seen: set[datetime] = set()
    found = []
    for each in rows:
        if each.check is None:
            continue
        minute = minute_of(each.check.at)
        if minute in seen:
            found.append(each.tell("at", f"{clock_text(each.check.at, zone)} stands in a row above too"))
        seen.add(minute)
    return found


def without_known(typed: Typed, there: Iterable[Row], zone: ZoneInfo) -> Typed:
    """Leave out what the chart says already; what it says otherwise, in a value of ours, is a fault: it is corrected,
    never written over in passing.
    """
    if typed.check is None:
        return typed
    same = next((each for each in there if minute_of(each.at) == minute_of(typed.check.at)), None)
    if same is None:
        return typed
    faults: list[Fault] = []
    left: dict[str, Any] = {}
    for names in (("systolic", "diastolic"), *((name,) for name in VALUES[2:])):
        mine = tuple(getattr(typed.check, name) for name in names)
        measure = Measure.BLOOD_PRESSURE if names[0] == "systolic" else Measure(names[0])
        for value in same.of(measure) if mine != (None,) * len(mine) else ():
            theirs = value.finding.value
            known = (
                (theirs,)
                if len(names) == 1
                else (getattr(theirs, "systolic", None), getattr(theirs, "diastolic", None))
            )
            if known == mine:
                left |= dict.fromkeys(names)
            elif value.ours:
                at = clock_text(same.at, zone)
                rule = f"{NAMES[measure]} at {at} is {value.text} in the chart: correct that row instead."
                faults.append((f"{typed.prefix}{names[0]}", rule))
    check = replace(typed.check, **left)
    return replace(typed, check=None if check.is_empty else check, faults=(*typed.faults, *faults))


def standing_out(
    rows: Iterable[Typed], before: Check | None, policy: Policy, age: int | None, start: datetime
) -> list[tuple[Check, Flag]]:
    """Give the values that are beyond the clinic's limits, with the rule."""
    return [
        (each.check, flag)
        for each in rows
        if each.check is not None
        for flag in flags(each.check, before, policy, age, start=start)
    ]


def confirmation(found: Iterable[tuple[Check, Flag]]) -> str:
    """Give what a form carries once somebody has confirmed just these values: others are asked for again."""
    said = "|".join(f"{check.at.isoformat()} {flag.rule} {replace(check, id=None)}" for check, flag in found)
    return hashlib.sha256(said.encode()).hexdigest()[:32] if said else ""
