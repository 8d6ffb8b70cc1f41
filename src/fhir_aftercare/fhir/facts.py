"""What goes into a protocol and what comes out of it: the facts of one patient's infusion, and the resources wanted.

Facts are gathered by ``flows/``; ``apply`` and ``course`` let the protocol decide on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care import wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.care.infusion import Escort
    from fhir_aftercare.care.plan import Anchor, CallWish, Episode, EscortState
    from fhir_aftercare.fhir.expression import Value
    from fhir_aftercare.fhir.identifiers import Identifiers

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the protocol may depend on. References are ``Type/id`` or ``urn:uuid``.

    ``zones``: where the patient sleeps tonight, first the one dates are shown in; with several (nobody is sure) a
    restriction lasts until the latest of them (design §10.5). ``requester`` orders what is done (design §9.6). ``call``
    is what was agreed about the follow-up call.
    """

    clinic: Clinic
    identifiers: Identifiers
    episode: Episode
    patient: str
    encounter: str | None
    anchor: Anchor
    zones: Sequence[ZoneInfo]
    language: str
    now: datetime
    requester: str
    patient_has_left: bool = False
    escort: EscortState = "not-recorded"
    escort_person: Escort | None = None
    readiness_met: bool = True
    unmet: Sequence[str] = ()
    release_needs_human: bool = False
    phq9_baseline: bool = False
    gad7_baseline: bool = False
    course_active: bool = False
    infusion_number: int = 1
    age_years: int | None = None
    call: CallWish | None = None

    def parameters(self) -> dict[str, Value]:
        """Give the scalars that expressions may name (fhir-model §2.3); texts of one action are added by it."""
        values: dict[str, Value] = {
            "patientHasLeft": self.patient_has_left,
            "escort": self.escort,
            "escortNamed": bool(self.escort_person and self.escort_person.name),
            "readinessMet": self.readiness_met,
            "unmetText": wording.list_text(self.unmet) if self.unmet else "",
            "phq9Baseline": self.phq9_baseline,
            "gad7Baseline": self.gad7_baseline,
            "courseActive": self.course_active,
            "integrationSession": self.clinic.policy.integration_session,
            "infusionNumber": self.infusion_number,
            "estimatedEnd": self.anchor.estimated,
        }
        if self.age_years is not None:
            values["ageYears"] = self.age_years
        return values

    @property
    def group(self) -> Resource:
        """The identifier that holds together all that one infusion asks for."""
        return self.identifiers.identifier("infusion", *self.episode.infusion_key)

    @property
    def zone(self) -> ZoneInfo:
        """The zone dates are shown in."""
        return self.zones[0]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One resource the protocol wants: its ``urn:uuid``, the action it comes from, and a line for the narrative."""

    urn: str
    action: str
    resource: Resource
    line: str

    @property
    def identifier(self) -> tuple[str, str]:
        """System and value of its business identifier."""
        first = self.resource["identifier"][0]
        return first["system"], first["value"]


def text_in(texts: Mapping[str, str], language: str) -> str:
    """Give a text in a language, or in English where it is not translated."""
    return texts.get(language) or texts["en"]
