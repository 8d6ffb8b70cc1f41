"""The record of one infusion: what was given, and everything observed at each instant.

What cannot be a real record is ``record_check``'s to say, which values staff should look at again ``flags``', who may
leave ``readiness``'.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


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

    ``infusion`` is the caller's id of this administration within the encounter. ``late`` tells that the checks were
    typed afterwards, from paper. Times are aware.
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
    late: bool = False
