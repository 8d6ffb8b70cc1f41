"""What a person asks to be corrected about an infusion. Refused with the field at fault named.

Whether the chart allows it is decided in ``correct``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from fhir_aftercare.care.timing import require_aware, utc
from fhir_aftercare.errors import InvalidInput

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.care.correction import Change

_AHEAD = timedelta(minutes=5)  # clocks differ


@dataclass(frozen=True, slots=True)
class CorrectionRequest:
    """What became known. References are ``Type/id``, times aware.

    ``infusion`` is the id it was recorded under (``1`` where none was given), required without an encounter; ``plan``
    names one of several plans of the encounter. ``start`` and ``end`` are the right ones (``end-moved``, and
    ``stopped``). ``reason`` are the words of a person; ``agreed_by`` the clinician (``Practitioner/1``) who agrees that
    restrictions end earlier than the patient was told; ``person`` who sends it, if known.
    """

    patient: str
    encounter: str | None
    infusion: str | None
    kind: Change
    reason: str
    start: datetime | None = None
    end: datetime | None = None
    agreed_by: str | None = None
    plan: str | None = None
    person: str | None = None


def check_request(request: CorrectionRequest, now: datetime) -> None:
    """Check what is asked by itself. Raises ``InvalidInput`` or ``MissingZone``, naming the field at fault."""
    if not request.reason.strip():
        raise InvalidInput("A correction needs the reason, in the words of a person.", where="reason")
    if request.agreed_by is not None and not request.agreed_by.startswith("Practitioner/"):
        raise InvalidInput("Who agrees is a Practitioner.", where="agreed_by")
    times = {"start": request.start, "end": request.end}
    for name, moment in times.items():
        if moment is not None and request.kind.retracts:
            raise InvalidInput("What is taken back has no other time.", where=name)
        if moment is not None and require_aware(moment, name) > now + _AHEAD:
            raise InvalidInput("The infusion was not in the future.", where=name)
    check_order(request.start, request.end)


def check_order(start: datetime | None, end: datetime | None) -> None:
    """Check that an infusion ends after it starts, as far as both are known. Raises ``InvalidInput``."""
    if start is not None and end is not None and utc(end) < utc(start):
        raise InvalidInput("The infusion ends before it starts.", where="end")
