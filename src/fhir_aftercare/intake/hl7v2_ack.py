"""The answer to an HL7 v2 message, in original mode: AA, AE (send it again) or AR (it will never be understood). Pure.

What the sender wrote in its header goes back byte for byte, in its own separators; our words quote nothing else of it.
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.intake.hl7v2_message import Header

Code = Literal["AA", "AE", "AR"]

# HL7 table 0357, as far as it is used.
_CONDITIONS: Final = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    207: "Application internal error",
}
# From here on, ERR-1 has given way to ERR-2 and those after it.
_NEW_ERR: Final = (2, 5)
_LONGEST: Final = 199
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def acknowledge(
    header: Header, code: Code, now: datetime, *, condition: int = 0, reason: str = "", place: str = ""
) -> bytes:
    """Give the answer, without frame. ``condition`` (HL7 table 0357), ``reason`` and ``place`` say why it is no AA."""
    bar, hat = header.separators[0], header.separators[1]
    event, structure = _back(header.component(9, 2)), header.component(9, 3)
    kind = hat.join(("ACK", *([event] if event else []), *(["ACK"] if event and structure else [])))
    stamp = now.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
    msh = [
        "MSH",
        header.field(2),
        *(_back(header.field(number)) for number in (5, 6, 3, 4)),
        stamp,
        "",
        kind,
        uuid.uuid4().hex[:20],
        _back(header.field(11)) or "P",
        _back(header.field(12)) or "2.5.1",
    ]
    if header.field(18):
        msh += ["", "", "", "", "", _back(header.field(18))]
    said = _escaped(reason, header)
    msa = ["MSA", code, _back(header.field(10)), *([said] if said else [])]
    segments = [msh, msa] if code == "AA" else [msh, msa, _err(header, condition, said, place)]
    return "".join(bar.join(segment) + "\r" for segment in segments).encode("latin-1")


def _back(text: str) -> str:
    """Give what is sent back: without control characters, which could end the frame."""
    return _CONTROL.sub("", text)[:_LONGEST]


def _err(header: Header, condition: int, said: str, place: str) -> list[str]:
    _, hat, _, _, sub = tuple(header.separators)
    name = _CONDITIONS[condition]
    where = place.replace("^", hat)
    if _version(header) < _NEW_ERR:
        segment, sequence, field = (*place.split("^"), "", "", "")[:3]
        return ["ERR", hat.join((segment, sequence, field, sub.join((str(condition), name, "HL70357"))))]
    return ["ERR", "", where, hat.join((str(condition), name, "HL70357")), "E", "", "", "", said]


def _version(header: Header) -> tuple[int, ...]:
    parts = (header.component(12) or "2.5").split(".")
    return tuple(int(part) for part in parts if part.isascii() and part.isdigit())


def _escaped(text: str, header: Header) -> str:
    escape = header.separators[3]
    names = dict(zip(header.separators, "FSRET", strict=True))
    return "".join(f"{escape}{names[each]}{escape}" if each in names else each for each in text)
