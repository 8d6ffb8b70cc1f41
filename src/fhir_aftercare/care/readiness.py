"""May this patient go? Twelve criteria, each met, not met or not recorded, with the rule and what it rests on.

Shows; people decide. How each is judged is ``readiness_rules``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from fhir_aftercare.care.infusion import Dissociation, Measure
from fhir_aftercare.errors import InvalidInput, MissingZone

if TYPE_CHECKING:
    from datetime import datetime


class Criterion(StrEnum):
    """The criteria of clinical §1.5, in the order they are shown."""

    MIN_OBSERVATION = "min-observation-elapsed"
    BLOOD_PRESSURE = "bp-acceptable-and-falling"
    SPO2 = "spo2-acceptable-on-air"
    SEDATION = "sedation-resolved"
    DISSOCIATION = "dissociation-resolved"
    ORIENTED = "oriented"
    WALKS_UNAIDED = "walks-unaided"
    NAUSEA = "nausea-controlled"
    NO_SUICIDAL_INTENT = "no-acute-suicidal-intent"
    ESCORT = "escort-present"
    WRITTEN_INSTRUCTIONS = "written-instructions-given"
    EMERGENCY_CONTACT = "emergency-contact-confirmed"


class State(StrEnum):
    """How a criterion stands."""

    MET = "met"
    NOT_MET = "not-met"
    NOT_RECORDED = "not-recorded"


@dataclass(frozen=True, slots=True)
class BloodPressure:
    """Both pressures of one instant, in mmHg."""

    systolic: int | Decimal
    diastolic: int | Decimal


FindingValue = int | Decimal | bool | Dissociation | BloodPressure


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing measured at one instant, whoever wrote it (design §9.19). ``source`` is its FHIR reference.

    ``value`` is None where something was recorded that could not be read (its unit, half a blood pressure).
    """

    measure: Measure
    at: datetime
    value: FindingValue | None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """How one criterion stands and why. ``rests_on`` are FHIR references, ``at`` the time of what decided, in UTC."""

    criterion: Criterion
    state: State
    reason: str
    rests_on: tuple[str, ...] = ()
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """A clinician lets the patient go all the same, by name, with time and reason (clinical §1.5).

    ``by`` is a FHIR reference. Raises ``InvalidInput`` naming each part that is missing, ``MissingZone``.
    """

    by: str
    at: datetime
    reason: str
    by_name: str

    def __post_init__(self) -> None:
        blank = [name for name in ("by", "reason", "by_name") if not getattr(self, name).strip()]
        if blank:
            raise InvalidInput(
                "An override needs who, when and why.", where=tuple(f"override.{name}" for name in blank)
            )
        if self.at.utcoffset() is None:
            raise MissingZone("The time of an override needs an offset.", where="override.at")


@dataclass(frozen=True, slots=True)
class Panel:
    """All twelve criteria. ``not_required`` are those that the clinic's policy lets a patient go without."""

    judged: tuple[Judged, ...]
    override: Override | None = None
    not_required: frozenset[Criterion] = frozenset()

    @property
    def unmet(self) -> tuple[Judged, ...]:
        """Give what is required, and not met or not recorded."""
        return tuple(
            each for each in self.judged if each.state is not State.MET and each.criterion not in self.not_required
        )

    @property
    def ready(self) -> bool:
        """Tell whether every criterion was judged, and all that are required are met."""
        return not self.unmet and len(self.judged) == len(Criterion)

    @property
    def may_leave(self) -> bool:
        """Tell whether the patient may leave: ready, or a clinician overrides."""
        return self.ready or self.override is not None

    def of(self, criterion: Criterion) -> Judged:
        """Give one criterion as judged."""
        return next(each for each in self.judged if each.criterion is criterion)
