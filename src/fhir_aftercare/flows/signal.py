"""The signal that all doors make of what they are told: "look at this encounter" (design §2.2).

Ids only, and nothing in it is a command: what is true is read from the FHIR server by ``follow_signal``. Which protocol
it came by is ``source``; the same event of a source, however often it is told, is the same work.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Self, get_args

from fhir_aftercare.errors import InvalidInput, MissingZone

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["finished", "cancelled", "changed", "merged"]
# (system, value); the system may be empty where a sender has none.
Identifier = tuple[str, str]

_REFERENCE: Final = {
    type_: re.compile(rf"{type_}/[A-Za-z0-9\-.]{{1,64}}", re.ASCII) for type_ in ("Encounter", "Patient")
}
_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9\-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class DischargeSignal:
    """A signal for one ``clinic``. References are ``Type/id``, ``occurred_at`` is aware.

    ``source``: ``subscription``, ``subscription-topic``, ``cds-hooks``, ``hl7v2``, ``rest`` or ``sweep``. ``event`` is
    the source's own id of the event. Without ``encounter`` the patient's recent encounters are looked at. ``kind`` is
    what the sender believes; it is never trusted. ``occurred_at``: when the patient left, if the source says so.
    The identifiers are for senders that know no FHIR ids (HL7 v2); they are resolved by a POST ``_search``, never in a
    URL, and are not shown by ``repr``.

    Raises ``InvalidInput`` for what names nothing or cannot be a reference, ``MissingZone`` for a time without offset.
    """

    clinic: str
    source: str
    event: str
    encounter: str | None
    patient: str | None = None
    kind: Kind = "finished"
    occurred_at: datetime | None = None
    encounter_identifier: Identifier | None = field(default=None, repr=False)
    patient_identifier: Identifier | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse a signal that nobody could follow: it must not be acknowledged."""
        if not self.clinic or not self.event:
            raise InvalidInput("A signal names its clinic and its event.", where="event" if self.clinic else "clinic")
        if not _SOURCE.fullmatch(self.source):
            raise InvalidInput("The source of a signal is a short lower-case word.", where="source")
        if self.kind not in get_args(Kind):
            raise InvalidInput(f"The kind of a signal is one of: {', '.join(get_args(Kind))}.", where="kind")
        _check_reference(self.encounter, "Encounter")
        _check_reference(self.patient, "Patient")
        for name, given in (
            ("encounter_identifier", self.encounter_identifier),
            ("patient_identifier", self.patient_identifier),
        ):
            if given is not None and not given[1].strip():
                raise InvalidInput("An identifier needs a value.", where=name)
        if not (self.encounter or self.patient or self.encounter_identifier or self.patient_identifier):
            raise InvalidInput("A signal names an encounter or a patient.", where=("encounter", "patient"))
        if self.occurred_at is not None and self.occurred_at.utcoffset() is None:
            raise MissingZone("The time of a signal needs an offset.", where="occurred_at")

    @property
    def work_id(self) -> str:
        """The name of the work: the same for the same event of a source. Nothing of the patient is in it."""
        return f"{self.clinic}:{self.source}:{hashlib.sha256(self.event.encode()).hexdigest()[:32]}"

    def as_ids(self) -> dict[str, str]:
        """Give what durable work stores: strings only, without the clinic, and without what is not known."""
        found: dict[str, str | None] = {
            "source": self.source,
            "event": self.event,
            "kind": self.kind,
            "encounter": self.encounter,
            "patient": self.patient,
            "occurred_at": self.occurred_at.isoformat() if self.occurred_at else None,
        }
        for name, identifier in (("encounter", self.encounter_identifier), ("patient", self.patient_identifier)):
            if identifier is not None:
                found[f"{name}_system"], found[f"{name}_value"] = identifier
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_ids(cls, clinic: str, ids: Mapping[str, str]) -> Self:
        """Give the signal that ``as_ids`` told of. What a later release adds is left aside; raises ``InvalidInput``."""
        try:
            moment = ids.get("occurred_at")
            return cls(
                clinic=clinic,
                source=ids["source"],
                event=ids["event"],
                encounter=ids.get("encounter"),
                patient=ids.get("patient"),
                kind=ids.get("kind", "finished"),  # type: ignore[arg-type]  # checked in __post_init__
                occurred_at=datetime.fromisoformat(moment) if moment else None,
                encounter_identifier=_identifier(ids, "encounter"),
                patient_identifier=_identifier(ids, "patient"),
            )
        except KeyError as error:
            raise InvalidInput("What is stored of a signal lacks its source or event.", where=error.args[0]) from None
        except ValueError:
            raise InvalidInput("What is stored of a signal holds no time.", where="occurred_at") from None


def _identifier(ids: Mapping[str, str], name: str) -> Identifier | None:
    value = ids.get(f"{name}_value")
    return None if value is None else (ids.get(f"{name}_system", ""), value)


def _check_reference(given: str | None, type_: Literal["Encounter", "Patient"]) -> None:
    if given is not None and not _REFERENCE[type_].fullmatch(given):
        raise InvalidInput(f"A signal names it as {type_}/ and an id.", where=type_.lower())
