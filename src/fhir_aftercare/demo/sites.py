"""Web sites of this process on the loopback interface: a port taken first, and an application served on it for a while.

Signals are left to the caller: several sites run beside each other, and whoever started them ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import uvicorn

from fhir_aftercare.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp

HOST: Final = "127.0.0.1"
# What a browser keeps open ends with the site.
_LAST_ANSWERS: Final = 2


def listener(port: int = 0) -> socket.socket:
    """Take a port of 127.0.0.1, a free one if 0; nobody answers there yet. Raises ``ConfigFault`` if it is not free."""
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
    except OSError:
        taken.close()
        raise ConfigFault([f"port {port} of {HOST} is in use"], where="--port") from None
    return taken


def port_of(taken: socket.socket) -> int:
    """Give the port."""
    port: int = taken.getsockname()[1]
    return port


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


@asynccontextmanager
async def serving(app: ASGIApp, taken: socket.socket) -> AsyncIterator[None]:
    """Serve an application, whose lifespan is the caller's, on a taken port while the block runs; then it is closed."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
    server = _Server(config)
    # From here on who calls waits instead of being refused.
    taken.listen()
    task = asyncio.create_task(server.serve(sockets=[taken]), name=f"serve port {port_of(taken)}")
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait([task])
        taken.close()
        task.result()
