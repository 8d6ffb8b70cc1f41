"""Launches under way: what was open in the chart when an app was opened from it, until the app asks for it, once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.sandbox.ehr.memory import Bounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.sandbox.ehr.settings import EhrUser

LIFE: Final = 300.0


@dataclass(frozen=True, slots=True)
class Launch:
    """An app opened by a user. ``patient`` and ``encounter`` are ids of the FHIR store.

    ``need_patient_banner`` is false where the page around the app shows who the patient is.
    """

    client_id: str
    user: EhrUser
    patient: str | None = None
    encounter: str | None = None
    intent: str | None = None
    need_patient_banner: bool = False
    fhir_context: tuple[dict[str, Any], ...] = ()

    def context(self, tenant: str) -> dict[str, Any]:
        """Give the launch context as it stands in a token answer."""
        said = {
            "patient": self.patient,
            "encounter": self.encounter,
            "fhirContext": list(self.fhir_context) or None,
            "intent": self.intent,
            "need_patient_banner": self.need_patient_banner,
            "tenant": tenant,
        }
        return {name: value for name, value in said.items() if value is not None}


class Launches:
    """All launches under way, each for five minutes and one use."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._kept: Bounded[Launch] = Bounded(10_000, now)

    def open(self, launch: Launch) -> str:
        """Give the ``launch`` parameter for an app opened in the chart."""
        value = secrets.token_urlsafe(24)
        self._kept.put(value, launch, LIFE)
        return value

    def take(self, value: str, *, client_id: str) -> Launch | None:
        """Give the launch and forget it; None if there is none, or it was opened for another client."""
        launch = self._kept.get(value)
        if launch is None or launch.client_id != client_id:
            return None
        return self._kept.take(value)
