"""What an ADT message says, as discharge signals: whose, about which visit, and what its sender believes (design §2.2).

Pure. A visit and a patient are named by identifiers, whose meaning is a setting; they are resolved later, by a search
whose URL does not hold them. An ADT event that has nothing to do with leaving is understood and gives no signal.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from fhir_aftercare.flows.signal import DischargeSignal
from fhir_aftercare.intake import hl7v2_message as m
from fhir_aftercare.intake.hl7v2_message import NotUnderstood, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.flows.signal import Identifier, Kind
    from fhir_aftercare.intake.hl7v2_message import Header, Message
    from fhir_aftercare.intake.hl7v2_settings import Sender

SOURCE: Final = "hl7v2"
# Discharged, discharge cancelled, admission cancelled, data changed.
_OF_VISITS: Final[Mapping[str, Kind]] = {"A03": "finished", "A13": "cancelled", "A11": "cancelled", "A08": "changed"}
_MERGED: Final = "A40"
_EVENT: Final = re.compile(r"[A-Z][0-9A-Z]{2}")
_CONTROL_ID: Final = re.compile(r"[ -~]{1,199}")
_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


def check_header(header: Header, sender: Sender) -> str:
    """Give the trigger event (``A03``) of a message that can be read on. Raises ``NotUnderstood``."""
    if header.component(9) != "ADT":
        raise NotUnderstood(m.UNSUPPORTED_MESSAGE, "only ADT messages are understood here", "MSH^1^9")
    event = header.component(9, 2)
    if not _EVENT.fullmatch(event):
        raise NotUnderstood(m.UNSUPPORTED_EVENT, "MSH-9 names no trigger event", "MSH^1^9")
    if not _CONTROL_ID.fullmatch(header.field(10)):
        raise NotUnderstood(m.REQUIRED, "the message control id is missing or not printable", "MSH^1^10")
    if header.component(11) not in sender.processing_ids:
        raise NotUnderstood(m.UNSUPPORTED_PROCESSING, "this processing id is not taken from this sender", "MSH^1^11")
    if header.component(12) not in sender.versions:
        raise NotUnderstood(m.UNSUPPORTED_VERSION, "this version is not taken from this sender", "MSH^1^12")
    return event


def signals_of(message: Message, event: str, clinic: str, sender: Sender) -> list[DischargeSignal]:
    """Give the signals of a message; none if it concerns nobody's leaving. Raises ``NotUnderstood``.

    Two for a merged patient: what was written before hangs on the one, what comes later on the other.
    """
    name = event_name(message.header)
    if event == _MERGED:
        return _merges(message, name, clinic, sender)
    if event not in _OF_VISITS:
        return []
    if event == "A08" and not message.field("PV1", 19):  # of the person, not of a visit
        return []
    visit = _identifier(message, message.field("PV1", 19), sender.visits, "PV1^1^19")
    patient = _identifier(message, message.field("PID", 3), sender.patients, "PID^1^3")
    left = None
    if event == "A03":
        left = _time(message, "PV1", 45, sender) or _time(message, "EVN", 6, sender)
    return [
        DischargeSignal(
            clinic,
            SOURCE,
            name,
            None,
            kind=_OF_VISITS[event],
            occurred_at=left,
            encounter_identifier=visit,
            patient_identifier=patient,
        )
    ]


def event_name(header: Header) -> str:
    """Give the name under which a message is known when it comes again: a hash, for a sender may put anything there.

    Sender, control id and the message's own time: some senders count anew after a restart, and a second message with
    an old number must not pass for the first one.
    """
    parts = (header.component(3), header.component(4), header.field(10), header.field(7))
    return hashlib.sha256("\r".join(parts).encode()).hexdigest()


def _merges(message: Message, name: str, clinic: str, sender: Sender) -> list[DischargeSignal]:
    signals: list[DischargeSignal] = []
    for person, merged in message.pairs("PID", "MRG"):
        for place, field in (("PID^1^3", value_of(person, 3)), ("MRG^1^1", value_of(merged, 1))):
            patient = _identifier(message, field, sender.patients, place)
            part = f"{name}-{len(signals)}"
            signals.append(DischargeSignal(clinic, SOURCE, part, None, kind="merged", patient_identifier=patient))
    if not signals:
        raise NotUnderstood(m.REQUIRED, "a merge needs PID and MRG", "MRG^1")
    return signals


def _identifier(message: Message, field: str, systems: Mapping[str, str], place: str) -> Identifier:
    """Give (system, value) of a repeated CX field: of the first assigning authority in the settings that is there."""
    if not field:
        what = "no visit number, so no encounter" if place.startswith("PV1") else "no patient identifier"
        raise NotUnderstood(m.REQUIRED, what, place)
    given = [(_authorities(message, parts, place), parts[0]) for parts in message.repetitions(field)]
    for authority, system in systems.items():
        values = {message.plain(value, place).strip() for authorities, value in given if authority in authorities}
        values.discard("")
        if len(values) > 1:
            raise NotUnderstood(m.DATA_TYPE, "several identifiers of one assigning authority", place)
        for value in values:
            if not _VALUE.fullmatch(value):
                raise NotUnderstood(m.DATA_TYPE, "the identifier holds what cannot be searched for", place)
            return system, value
    raise NotUnderstood(m.UNKNOWN_KEY, "no identifier of an assigning authority that is set up", place)


def _authorities(message: Message, parts: Sequence[str], place: str) -> set[str]:
    """Give the names of a CX's assigning authority: namespace and universal id, or the empty one if it has none."""
    sub = message.header.separators[4]
    named = (parts[3] if len(parts) > 3 else "").split(sub)[:2]
    return {name for each in named if (name := message.plain(each, place).strip())} or {""}


def _time(message: Message, segment: str, number: int, sender: Sender) -> datetime | None:
    stamp = message.field(segment, number).split(message.header.separators[1])[0]
    return m.read_time(stamp, sender.zone, f"{segment}^1^{number}")
