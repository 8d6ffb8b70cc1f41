"""MLLP: listens, takes frames apart, and bounds what a sender may use: size, time, number of connections.

The frames' content is the ``Door``'s. Sockets are python-hl7's, of the extra ``hl7v2``, which is imported on starting.
"""

from __future__ import annotations

import asyncio
import importlib
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.flows.clock import system_clock
from fhir_aftercare.intake.hl7v2 import Door
from fhir_aftercare.intake.hl7v2_message import SEQUENCE, NotUnderstood

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from fhir_aftercare.flows.clock import Clock
    from fhir_aftercare.flows.inbox import Inbox
    from fhir_aftercare.intake.hl7v2 import Senders
    from fhir_aftercare.intake.hl7v2_settings import Listener

BEGIN: Final = b"\x0b"
END: Final = b"\x1c\r"
# How long, in seconds, what is being answered may take when the service stops, and a connection that is being closed.
_GRACE: Final = 5.0
_FAREWELL: Final = 2.0

log = structlog.get_logger(__name__)


@asynccontextmanager
async def listening(
    listener: Listener, senders: Senders, inbox: Inbox, *, clock: Clock = system_clock
) -> AsyncIterator[int]:
    """Await messages while the block runs, and give the port. What is being kept at the end still gets its answer.

    Raises ``ConfigFault`` if the extra is not installed or the address cannot be listened on.
    """
    mllp = _library()
    connections = _Connections(listener, Door(senders, inbox, listener.longest, clock))
    more = {"ssl": listener.tls} if listener.tls else {}
    try:
        server = await mllp.start_hl7_server(
            connections.accept, listener.host, listener.port, limit=listener.max_message, **more
        )
    except OSError as error:
        said = f"hl7v2: {listener.host} port {listener.port} cannot be listened on: {error.strerror}"
        raise ConfigFault([said], where="hl7v2") from None
    port: int = server.sockets[0].getsockname()[1]
    log.info("hl7v2 listening", host=listener.host, port=port)
    try:
        yield port
    finally:
        server.close()
        await connections.close()
        await server.wait_closed()


def _library() -> ModuleType:
    try:
        return importlib.import_module("hl7.mllp")
    except ImportError:
        said = "hl7v2: messages over MLLP need python-hl7, which is not installed: pip install 'fhir-aftercare[hl7v2]'"
        raise ConfigFault([said], where="hl7v2") from None


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Give the content of the next frame, None at the end of the connection.

    Line ends between frames are passed over. Raises ``NotUnderstood`` for anything else that is no frame, or too large
    a one: where the next one begins is not known then.
    """
    try:
        raw = await reader.readuntil(END)
    except asyncio.IncompleteReadError as cut:
        if cut.partial.strip():
            log.warning("hl7v2 message cut off")
        return None
    except asyncio.LimitOverrunError:
        raise NotUnderstood(SEQUENCE, "the message is larger than is taken here") from None
    content = raw[: -len(END)].lstrip(b"\r\n")
    if not content.startswith(BEGIN) or BEGIN in content[1:]:
        raise NotUnderstood(SEQUENCE, "the frame does not begin once with 0x0B and end with 0x1C 0x0D")
    return content[1:]


class _Connections:
    """The open connections, each served by a task of its own, one message after the other."""

    def __init__(self, listener: Listener, door: Door) -> None:
        self._listener, self._door = listener, door
        self._open: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()
        self._closing = False

    # Not a coroutine: python-hl7 would make it a task that nobody holds, and that may vanish half-way.
    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection, or cut it if there are too many."""
        if self._closing or len(self._open) >= self._listener.max_connections:
            log.warning("hl7v2 connection refused", count=len(self._open))
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="hl7v2 connection")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """End all connections; those that are being answered are given a moment."""
        self._closing = True
        if self._answering:
            await asyncio.wait(set(self._answering), timeout=_GRACE)
        left = set(self._open)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self._closing and await self._one(reader, writer):
                pass
        except (OSError, TimeoutError) as error:  # the sender is gone, says nothing more, or does not listen
            log.info("hl7v2 connection ended", error=type(error).__name__)
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await writer.wait_closed()
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one message; tell whether another may come."""
        more = True
        try:
            async with asyncio.timeout(self._listener.idle):
                content = await read_frame(reader)
        except NotUnderstood as fault:
            answer, more = self._door.refuse(fault), False
        else:
            if content is None:
                return False
            answer = await self._answered(content)
        writer.write(BEGIN + answer + END)
        async with asyncio.timeout(self._listener.idle):
            await writer.drain()
        return more

    async def _answered(self, content: bytes) -> bytes:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (for the type checker: a coroutine runs in a task)
        self._answering.add(task)
        try:
            return await self._door.answer(content)
        finally:
            self._answering.discard(task)
