"""How far a sweep has come, as plain values: what decides about sweeps needs no database to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Watermark:
    """Up to where a sweep has seen everything: ``at``, by the FHIR server's clock where it tells it (aware).

    ``newest`` is when the newest encounter it ever saw was last changed, and ``witness`` that encounter
    (``Encounter/12``): a server that does not know it any more was restored from an older state.
    """

    at: datetime
    newest: datetime | None = None
    witness: str | None = None


@dataclass(frozen=True, slots=True)
class SweepState:
    """One sweep of one clinic. ``last_finished`` is the last success, ``last_error`` the code of the failure after it.

    ``told`` is the incident that people were told of, None while all is well.
    """

    clinic: str
    sweep: str
    watermark: Watermark | None = None
    last_started: datetime | None = None
    last_finished: datetime | None = None
    last_error: str | None = None
    told: str | None = None
