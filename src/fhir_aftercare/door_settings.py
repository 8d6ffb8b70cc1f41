"""What a clinic's file says of the doors signals come in by, of its sweeps and of its share of the work.

Each door reads its own table; this puts them together, with every fault of all of them. None of it decides care, so it
is no part of the policy's hash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fhir_aftercare.flows.sweep_since import SweepSettings
from fhir_aftercare.intake.hl7v2_settings import hl7v2_of
from fhir_aftercare.intake.settings import subscription_of
from fhir_aftercare.intake.table_faults import faults_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fhir_aftercare.intake.cds_settings import CdsSettings
    from fhir_aftercare.intake.hl7v2_settings import Hl7Settings
    from fhir_aftercare.intake.settings import SubscriptionSettings

M = TypeVar("M", bound=BaseModel)

TABLES: Final = ("subscription", "cds_hooks", "hl7v2", "sweep", "work")
_EXAMPLES: Final = {
    "population": "false",
    "patients": '["Patient/7"]',
    "first_days": "7",
    "overlap_minutes": "10",
    "date_days": "14",
    "concurrency": "4",
    "per_minute": "600",
}


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """A clinic's doors, None where it has none; how it is swept; how much of its work is done at once.

    ``patients`` (``Patient/7``) are looked at by every sweep beside those who have a plan. ``per_minute`` limits how
    many pieces of work are begun, for a FHIR server that counts requests.
    """

    subscription: SubscriptionSettings | None = None
    cds_hooks: CdsSettings | None = None
    hl7v2: Hl7Settings | None = None
    sweep: SweepSettings = field(default_factory=SweepSettings)
    patients: tuple[str, ...] = ()
    concurrency: int = 4
    per_minute: int | None = None


def doors_of(clinic: str, file: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[DoorSettings, list[str]]:
    """Give a clinic's doors from its file, and everything that is wrong with them."""
    subscription, of_subscription = subscription_of(clinic, file.get("subscription"), environ)
    cds_hooks, of_cds_hooks = _cds_hooks(file.get("cds_hooks"))
    hl7v2, of_hl7v2 = hl7v2_of(file.get("hl7v2"))
    sweep, of_sweep = _table("sweep", file.get("sweep"), _Sweep)
    work, of_work = _table("work", file.get("work"), _Work)
    faults = [*of_subscription, *of_cds_hooks, *of_hl7v2, *of_sweep, *of_work]
    if sweep is None or work is None:
        return DoorSettings(), faults
    doors = DoorSettings(
        subscription=subscription,
        cds_hooks=cds_hooks,
        hl7v2=hl7v2,
        sweep=SweepSettings(
            overlap=timedelta(minutes=sweep.overlap_minutes),
            max_lookback=timedelta(days=sweep.first_days),
            date_lookback=timedelta(days=sweep.date_days),
            population=sweep.population,
        ),
        patients=tuple(sweep.patients),
        concurrency=work.concurrency,
        per_minute=work.per_minute,
    )
    return doors, faults


def _cds_hooks(given: object) -> tuple[CdsSettings | None, list[str]]:
    if given is None:
        return None, []
    # Imported here: a clinic without this door starts without any cryptography.
    from fhir_aftercare.intake.cds_settings import cds_hooks_of  # noqa: PLC0415

    return cds_hooks_of(given)


class _Sweep(BaseModel):
    model_config = ConfigDict(extra="forbid")

    population: bool = Field(default=True, strict=True)
    patients: list[Annotated[str, Field(pattern=r"^Patient/[A-Za-z0-9\-.]{1,64}$")]] = Field(default_factory=list)
    first_days: int = Field(7, ge=1, le=365)
    overlap_minutes: int = Field(10, ge=1, le=1440)
    date_days: int = Field(14, ge=1, le=365)


class _Work(BaseModel):
    model_config = ConfigDict(extra="forbid")

    concurrency: int = Field(4, ge=1, le=64)
    per_minute: int | None = Field(None, ge=1, le=100_000)


def _table(name: str, given: object, model: type[M]) -> tuple[M | None, list[str]]:
    if not isinstance(given, dict | None):
        return None, [f"{name}: must be a table, [{name}]"]
    try:
        return model.model_validate(given or {}), []
    except ValidationError as error:
        return None, faults_of(name, error, _EXAMPLES)
