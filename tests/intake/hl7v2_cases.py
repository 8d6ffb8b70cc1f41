"""Synthetic HL7 v2 messages and a listener to send them to. On the wire each line of a file ends in CR."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from fhir_aftercare.intake.hl7v2 import Door, senders_of
from fhir_aftercare.intake.hl7v2_server import BEGIN, END, listening
from fhir_aftercare.intake.hl7v2_settings import Hl7Settings, Listener, Sender
from intake.inboxes import RecordingInbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA = Path(__file__).resolve().parents[1] / "data" / "hl7v2"
FILES = tuple(sorted(each.name for each in DATA.glob("*.hl7")))
MRN = "https://ehr.example.com/mrn"
VISIT = "https://ehr.example.com/visit"
NOW = datetime(2026, 9, 16, 19, 12, 6, tzinfo=UTC)
HARBOR = Sender("ADT", "HARBOR", ZoneInfo("America/New_York"), {"HARBOR": MRN}, {"HARBOR": VISIT})


def message(name: str, *changes: tuple[str, str], encoding: str = "utf-8") -> bytes:
    """Give a message of the data folder as it goes over the wire; each change is made once and must be possible."""
    text = (DATA / name).read_text("utf-8")
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return text.replace("\n", "\r").encode(encoding)


def framed(content: bytes) -> bytes:
    return BEGIN + content + END


@dataclass(frozen=True)
class Ack:
    """An answer, read."""

    text: str

    def field(self, segment: str, number: int) -> str:
        lines = [line.split("|") for line in self.text.split("\r") if line.startswith(segment)]
        if segment == "MSH":
            number -= 1
        return lines[0][number] if lines and number < len(lines[0]) else ""

    @property
    def code(self) -> str:
        return self.field("MSA", 1)

    @property
    def control_id(self) -> str:
        return self.field("MSA", 2)

    @property
    def reason(self) -> str:
        return self.field("MSA", 3)


def senders(*given: Sender, clinic: str = "harbor") -> dict[tuple[str, str], tuple[str, Sender]]:
    return senders_of({clinic: Hl7Settings(given or (HARBOR,))})


async def answered(content: bytes, *given: Sender, inbox: RecordingInbox | None = None) -> tuple[Ack, RecordingInbox]:
    """Give the answer to one message, and the inbox after it."""
    inbox = inbox or RecordingInbox()
    door = Door(senders(*given), inbox, 5.0, lambda: NOW)
    return Ack((await door.answer(content)).decode("latin-1")), inbox


@dataclass
class Line:
    """A connection to the listener."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def ack(self) -> Ack:
        raw = await asyncio.wait_for(self.reader.readuntil(END), 5)
        assert raw.startswith(BEGIN)
        return Ack(raw[1:-2].decode("latin-1"))

    async def ended(self) -> bool:
        """Tell whether the other side has closed, with nothing more to say."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 5) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def line(port: int, **more: Any) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **more)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def open_door(inbox: RecordingInbox | None = None, *given: Sender, **listener: Any) -> AsyncIterator[int]:
    """Listen on a free port of this machine."""
    values = {"port": 0, "idle": 5.0, **listener}
    async with listening(Listener(**values), senders(*given), inbox or RecordingInbox(), clock=lambda: NOW) as port:
        yield port
