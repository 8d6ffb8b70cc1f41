"""Reads an HL7 v2 message as far as it is needed: separators, character set, segments, fields, escapes. Pure.

Not python-hl7's parser: it logs the values it cannot unescape, and a few bytes (``\\.sp999999999\\``) make it fill the
memory. What cannot be read for sure is refused with the place and a code of HL7 table 0357, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

# HL7 table 0211 → Python's codec. All of them keep ASCII as it is, so that separators can be found in the bytes.
CHARSETS: Final = {
    "ASCII": "ascii",
    "UNICODE UTF-8": "utf-8",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}
# Names that are often sent though the table has others for them.
_ALSO: Final = {"UTF-8": "UNICODE UTF-8", "US-ASCII": "ASCII", "ISO-8859-1": "8859/1"}

SEQUENCE, REQUIRED, DATA_TYPE, NOT_IN_TABLE = 100, 101, 102, 103
UNSUPPORTED_MESSAGE, UNSUPPORTED_EVENT, UNSUPPORTED_PROCESSING, UNSUPPORTED_VERSION = 200, 201, 202, 203
UNKNOWN_KEY, INTERNAL = 204, 207

_DEFAULT: Final = "|^~\\&"
_BREAK: Final = re.compile(rb"\r\n|\r|\n")
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}")
_TIME: Final = re.compile(
    r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(?:(\d\d)(?:\.(\d{1,4}))?)?(?:([+-])([01]\d)([0-5]\d))?", re.ASCII
)
_MOST_SEGMENTS: Final = 2_000


class NotUnderstood(Exception):
    """A message that is answered with AR. Stays inside this folder: it becomes the answer.

    ``code`` is one of HL7 table 0357, ``place`` such as ``PID^1^3``. Neither quotes the message.
    """

    def __init__(self, code: int, reason: str, place: str = "") -> None:
        super().__init__(reason)
        self.code, self.reason, self.place = code, reason, place


@dataclass(frozen=True, slots=True)
class Header:
    """MSH as it came, one character for each byte, so that it can be sent back as it is. Field 1 is the separator."""

    separators: str
    fields: tuple[str, ...]

    def field(self, number: int) -> str:
        """Give MSH-n, empty if it is not there."""
        return self.fields[number] if number < len(self.fields) else ""

    def component(self, number: int, component: int = 1) -> str:
        """Give one component of a field."""
        parts = self.field(number).split(self.separators[1])
        return parts[component - 1] if component <= len(parts) else ""


NO_HEADER: Final = Header(_DEFAULT, ("MSH", "|", "^~\\&"))


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message; fields still hold their escapes. ``codec`` is how hexadecimal ones are read."""

    header: Header
    segments: tuple[tuple[str, ...], ...]
    codec: str

    def field(self, segment: str, number: int) -> str:
        """Give a field of the first segment of that name; empty if either is missing, or it is the HL7 null."""
        found = next((each for each in self.segments if each[0] == segment), ())
        return value_of(found, number)

    def pairs(self, first: str, second: str) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        """Yield each segment ``second`` with the last ``first`` before it (empty if there is none)."""
        before: Sequence[str] = ()
        for each in self.segments:
            if each[0] == first:
                before = each
            elif each[0] == second:
                yield before, each

    def repetitions(self, field: str) -> list[list[str]]:
        """Split a field into its repetitions, and these into components."""
        component, repetition = self.header.separators[1], self.header.separators[2]
        return [part.split(component) for part in field.split(repetition) if part]

    def plain(self, text: str, place: str) -> str:
        """Resolve the escapes of a text. Raises ``NotUnderstood`` for one that has no meaning in an identifier."""
        escape = self.header.separators[3]
        if escape not in text:
            return text
        pieces = text.split(escape)
        if len(pieces) % 2 == 0:
            raise NotUnderstood(DATA_TYPE, "an escape sequence does not end", place)
        meaning = {**dict(zip("FSRET", self.header.separators, strict=True)), "H": "", "N": ""}
        for at in range(1, len(pieces), 2):
            sequence = pieces[at]
            pieces[at] = meaning[sequence] if sequence in meaning else self._bytes(sequence, place)
        return "".join(pieces)

    def _bytes(self, sequence: str, place: str) -> str:
        try:
            if sequence.startswith("X"):
                return bytes.fromhex(sequence[1:]).decode(self.codec)
        except ValueError:
            pass
        raise NotUnderstood(DATA_TYPE, "an escape sequence is not understood", place)


def value_of(segment: Sequence[str], number: int) -> str:
    """Give a field of a segment; empty if it is missing or the HL7 null."""
    value = segment[number] if number < len(segment) else ""
    return "" if value == '""' else value


def read_header(block: bytes) -> Header:
    """Give MSH of what came in one frame. Raises ``NotUnderstood`` if it does not begin with a usable one."""
    line = _BREAK.split(block, maxsplit=1)[0].decode("latin-1")
    if not line.startswith("MSH") or len(line) < 8:
        raise NotUnderstood(SEQUENCE, "the message does not begin with MSH", "MSH^1")
    bar = line[3]
    name, encoding, *rest = line.split(bar)
    separators = bar + encoding[:4]
    # The fifth one (2.7) marks a value that was cut; it plays no part here.
    usable = all(33 <= ord(each) <= 126 and not each.isalnum() for each in bar + encoding)
    if len(encoding) not in {4, 5} or len(set(bar + encoding)) != len(encoding) + 1 or not usable:
        raise NotUnderstood(SEQUENCE, "MSH-1 and MSH-2 are no set of separators", "MSH^1^2")
    return Header(separators, (name, bar, encoding, *rest))


def read_message(block: bytes, header: Header, charset: str) -> Message:
    """Give the whole message, decoded as MSH-18 says, else by ``charset``. Raises ``NotUnderstood``."""
    named = header.field(18).split(header.separators[2])[0].strip()
    codec = CHARSETS.get(_ALSO.get(named, named)) if named else CHARSETS[charset]
    if codec is None:
        raise NotUnderstood(NOT_IN_TABLE, "the character set is not supported", "MSH^1^18")
    try:
        text = [line.decode(codec) for line in _BREAK.split(block) if line.strip()]
    except UnicodeDecodeError:
        said = (
            f"the text is not {named}"
            if named
            else "the text is not in the sender's character set, and MSH-18 is empty"
        )
        raise NotUnderstood(DATA_TYPE, said, "MSH^1^18") from None
    if len(text) > _MOST_SEGMENTS:
        raise NotUnderstood(SEQUENCE, "the message has too many segments")
    bar = header.separators[0]
    segments = [tuple(line.split(bar)) for line in text]
    for at, segment in enumerate(segments[1:], 2):
        if not _SEGMENT.fullmatch(segment[0]) or segment[0] == "MSH":
            raise NotUnderstood(SEQUENCE, f"line {at} is no segment of this message")
    first = segments[0]
    return Message(header, (("MSH", bar, *first[1:]), *segments[1:]), codec)


def read_time(text: str, zone: ZoneInfo, place: str) -> datetime | None:
    """Give the instant of a time stamp, by its own offset or, without one, in ``zone``.

    None where it names no instant: empty, a day without time, an hour that the clock leaves out or passes twice.
    Raises ``NotUnderstood`` if it is no time.
    """
    if not text or re.fullmatch(r"\d{4}(\d\d){0,3}([+-]\d{4})?", text, re.ASCII):
        return None
    match = _TIME.fullmatch(text)
    wall = _wall_time(match) if match else None
    if match is None or wall is None:
        raise NotUnderstood(DATA_TYPE, "the time cannot be read", place)
    if match[8]:
        offset = timedelta(hours=int(match[9]), minutes=int(match[10]))
        return wall.replace(tzinfo=timezone(offset if match[8] == "+" else -offset))
    moment = wall.replace(tzinfo=zone)
    sure = moment.utcoffset() == moment.replace(fold=1).utcoffset()
    return moment.astimezone(UTC).astimezone(zone) if sure else None


def _wall_time(match: re.Match[str]) -> datetime | None:
    year, month, day, hour, minute, second = (int(part or 0) for part in match.group(1, 2, 3, 4, 5, 6))
    micro = int((match[7] or "").ljust(6, "0"))
    try:
        wall = datetime(year, month, day, hour, minute, second, micro)  # noqa: DTZ001 (the zone comes next)
    except ValueError:
        return None
    return wall if 1900 <= year < 2200 else None
