"""The rows of an infusion's sheet: everything found in one minute side by side, whoever charted it (design §9.19).

Pure. Which values stand out is ``care.flags``' to say; here it is put into the words and marks that the table prints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.flags import flags
from fhir_aftercare.care.infusion import Check, Dissociation, Measure
from fhir_aftercare.care.readiness import BloodPressure
from fhir_aftercare.care.timing import utc
from fhir_aftercare.fhir.corrections import has_identifier_of
from fhir_aftercare.fhir.findings import read_findings
from fhir_aftercare.fhir.observations import is_late_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fhir_aftercare.care.flags import Flag
    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.care.readiness import Finding, FindingValue

Resource = dict[str, Any]

DISSOCIATION_WORDS: Final[Mapping[Dissociation, str]] = {
    Dissociation.ABSENT: "none",
    Dissociation.MILD: "mild",
    Dissociation.MODERATE: "moderate",
    Dissociation.SEVERE: "severe",
}
# MOAA/S in the words of clinical §1.4.
SEDATION_WORDS: Final[Mapping[int, str]] = {
    5: "responds readily to name",
    4: "lethargic response to name",
    3: "responds to loud or repeated name",
    2: "responds to mild prodding",
    1: "responds to trapezius squeeze",
    0: "no response",
}
_SEDATION_SHORT: Final = ("no response", "squeeze", "prodding", "loud voice", "lethargic", "alert")
COLUMNS: Final[Mapping[Measure, str]] = {
    Measure.BLOOD_PRESSURE: "BP",
    Measure.HEART_RATE: "HR",
    Measure.SPO2: "SpO2",
    Measure.RESPIRATORY_RATE: "RR",
    Measure.DISSOCIATION: "Dissociation",
    Measure.MOAA_S: "Sedation",
    Measure.NAUSEA: "Nausea",
}
# Where a measure stands when a row is read from left to right.
_PLACES: Final = {measure: place for place, measure in enumerate(dict.fromkeys((*COLUMNS, *Measure)))}
NAMES: Final[Mapping[Measure, str]] = {
    Measure.BLOOD_PRESSURE: "Blood pressure",
    Measure.MEAN_PRESSURE: "Mean pressure",
    Measure.HEART_RATE: "Heart rate",
    Measure.RESPIRATORY_RATE: "Respiratory rate",
    Measure.SPO2: "SpO2",
    Measure.OXYGEN_FLOW: "Oxygen",
    Measure.OXYGEN_CONCENTRATION: "Oxygen",
    Measure.WEIGHT: "Weight",
    Measure.TEMPERATURE: "Temperature",
    Measure.DISSOCIATION: "Dissociation",
    Measure.CADSS_TOTAL: "CADSS",
    Measure.CADSS_6: "CADSS-6",
    Measure.MOAA_S: "Sedation",
    Measure.NAUSEA: "Nausea",
    Measure.VOMITING: "Vomited",
    Measure.ORIENTED: "Oriented",
    Measure.WALKS_UNAIDED: "Walks unaided",
    Measure.NO_ACUTE_SUICIDAL_INTENT: "No acute suicidal intent",
    Measure.ESCORT_PRESENT: "Escort is here",
    Measure.WRITTEN_INSTRUCTIONS: "Written instructions given",
    Measure.EMERGENCY_CONTACT: "Emergency contact confirmed",
}
UNITS: Final[Mapping[Measure, str]] = {
    Measure.BLOOD_PRESSURE: "mmHg",
    Measure.MEAN_PRESSURE: "mmHg",
    Measure.HEART_RATE: "/min",
    Measure.RESPIRATORY_RATE: "/min",
    Measure.SPO2: "%",
    Measure.OXYGEN_FLOW: "L/min",
    Measure.OXYGEN_CONCENTRATION: "%",
    Measure.WEIGHT: "kg",
    Measure.TEMPERATURE: "°C",
    Measure.MOAA_S: "MOAA/S",
    Measure.NAUSEA: "0–10",
    Measure.VOMITING: "times",
}
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a row. ``ours``: written by this software, so it can be corrected here."""

    finding: Finding
    ours: bool

    @property
    def text(self) -> str:
        """The value in words."""
        return value_text(self.finding.measure, self.finding.value)


@dataclass(frozen=True, slots=True)
class Row:
    """What was found in one minute. ``back`` are values of ours that were taken back; ``late``: typed from paper."""

    at: datetime
    values: tuple[Value, ...]
    back: tuple[Value, ...] = ()
    late: bool = False
    flags: tuple[Flag, ...] = field(default=(), compare=False)

    def of(self, measure: Measure) -> list[Value]:
        """Give the values of one measure: ours first."""
        return [each for each in self.values if each.finding.measure is measure]

    @property
    def own(self) -> str | None:
        """The reference of an Observation of ours, by which the row can be opened; None if there is none."""
        return next((each.finding.source for each in (*self.values, *self.back) if each.ours), None)

    @property
    def check(self) -> Check:
        """What stands in the row, as rules look at it."""
        given: dict[str, Any] = {}
        for each in reversed(self.values):  # so that ours, which come first, are what counts
            value = each.finding.value
            if isinstance(value, BloodPressure):
                given |= {"systolic": value.systolic, "diastolic": value.diastolic}
            elif value is not None:
                given[each.finding.measure.value] = value
        return Check(at=self.at, **given)


def rows(
    findings: Sequence[Finding],
    observations: Sequence[Resource],
    system: str,
    *,
    since: datetime,
    policy: Policy,
    start: datetime | None,
    age: int | None,
) -> list[Row]:
    """Give the rows since an instant, the oldest first, with what stands out.

    ``findings`` are what the Observations say. ``system`` is that of the identifiers by which we know what we wrote;
    ``start`` is when the infusion started.
    """
    own = {f"Observation/{each['id']}": each for each in observations if has_identifier_of(each, system)}
    taken_back = [{**each, "status": "final"} for each in own.values() if each.get("status") == "entered-in-error"]
    first = utc(since)
    minutes: dict[datetime, tuple[list[Value], list[Value]]] = {}
    for place, found in enumerate((findings, read_findings(taken_back))):
        for each in found:
            if utc(each.at) >= first:
                value = Value(each, each.source in own)
                minutes.setdefault(minute_of(each.at), ([], []))[place].append(value)
    made = [
        Row(
            _earliest(values or back),
            tuple(sorted(values, key=lambda each: (not each.ours, _PLACES[each.finding.measure]))),
            tuple(sorted(back, key=lambda each: _PLACES[each.finding.measure])),
            late=any(is_late_entry(own[str(each.finding.source)]) for each in values if each.ours),
        )
        for _, (values, back) in sorted(minutes.items())
    ]
    before = baseline(made, start)
    return [_flagged(each, before, policy, age, start) for each in made]


def baseline(made: Iterable[Row], start: datetime | None) -> Check | None:
    """Give the last check with a blood pressure before the infusion; None if there is none, or nothing has started."""
    found = [each.check for each in made if start is not None and utc(each.at) <= utc(start)]
    return next((each for each in reversed(found) if each.systolic is not None), None)


def _flagged(row: Row, before: Check | None, policy: Policy, age: int | None, start: datetime | None) -> Row:
    found = flags(row.check, before, policy, age, start=start)
    return Row(row.at, row.values, row.back, row.late, tuple(found))


def minute_of(at: datetime) -> datetime:
    """Give the minute of an instant, in UTC: what was found in it stands in one row."""
    return utc(at).replace(second=0, microsecond=0)


def _earliest(values: Sequence[Value]) -> datetime:
    """Of several seconds ours, which can be corrected."""
    return next((each.finding.at for each in values if each.ours), values[0].finding.at)


def times_of(made: Iterable[Row]) -> dict[Measure, list[datetime]]:
    """Give when each thing was measured."""
    found: dict[Measure, list[datetime]] = {}
    for row in made:
        for each in row.values:
            found.setdefault(each.finding.measure, []).append(each.finding.at)
    return found


def value_text(measure: Measure, value: FindingValue | None) -> str:
    """Give a value in words, without its unit."""
    if value is None:
        return "not readable"
    if isinstance(value, BloodPressure):
        return f"{value.systolic}/{value.diastolic}"
    if isinstance(value, Dissociation):
        return DISSOCIATION_WORDS[value]
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = f"{Decimal(value):f}"
    if measure is Measure.MOAA_S and isinstance(value, int):
        return f"{number} {_SEDATION_SHORT[value]}"
    return number


def told(measure: Measure, value: FindingValue | None) -> str:
    """Give a value with its name and unit: what stands beside a row, or is told of it."""
    scale = measure in {Measure.MOAA_S, Measure.NAUSEA}
    unit = "" if scale or value is None else UNITS.get(measure, "")
    return " ".join(part for part in (NAMES[measure], value_text(measure, value), unit) if part)


def in_check(check: Check, measure: Measure) -> FindingValue | None:
    """Give what a check says of a measure."""
    if measure is not Measure.BLOOD_PRESSURE:
        value: FindingValue | None = getattr(check, measure.value)
        return value
    if check.systolic is None or check.diastolic is None:
        return None
    return BloodPressure(check.systolic, check.diastolic)
