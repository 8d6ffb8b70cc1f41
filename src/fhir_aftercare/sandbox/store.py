"""The sandbox's FHIR store: a whole R4 server inside this process, kept in one SQLite file.

For the first minute, development and fast tests; never for patients' data (it has no access control of its own: the
sandbox EHR stands in front of it). The one place that knows which software the store is.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send


class SandboxStore:
    """An ASGI application that answers below ``/fhir`` and nowhere else.

    ``close()`` ends its threads and its database connection; the lifespan protocol does the same.
    """

    def __init__(self, app: ASGIApp, context: Any) -> None:
        self._app, self._context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and (scope["path"] == "/fhir" or scope["path"].startswith("/fhir/")):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    def reset(self) -> None:
        """Forget every resource."""
        self._context.store.reset()
        self._context.subscriptions.invalidate()

    def close(self) -> None:
        """End the notification threads and close the database. Harmless when repeated."""
        self._context.subscriptions.pool.shutdown(wait=True, cancel_futures=True)
        self._context.store.conn.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def create_store(data_dir: Path, base_url: str) -> SandboxStore:
    """Make the store, or open the one already in ``data_dir``.

    ``base_url`` is what clients reach it by; it ends in ``/fhir``. Raises ``ConfigFault`` if it does not, or if the
    extra ``[sandbox]`` is not installed.
    """
    if not base_url.endswith("/fhir"):
        raise ConfigFault(["the sandbox's base URL must end in /fhir"], where="base_url")
    try:
        from sekmet.config import Settings, SimulatorSettings  # noqa: PLC0415 (an optional extra)
        from sekmet.main import create_app  # noqa: PLC0415

        from fhir_aftercare.sandbox import search_params  # noqa: PLC0415
        from fhir_aftercare.sandbox.strict import harden  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise ConfigFault(
            ["the sandbox needs an extra that is not installed: pip install 'fhir-aftercare[sandbox]'"],
            where=missing.name or "sekmet",
        ) from missing
    settings = Settings(
        base_url=base_url,
        data_dir=str(data_dir),
        simulator=SimulatorSettings(enabled=False),  # it would act on our Tasks as a pretend laboratory
        log_inbound=False,
    )
    search_params.complete()
    with _logging_kept():
        app = create_app(settings)
    harden(app.state.ctx)
    return SandboxStore(app, app.state.ctx)


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Undo what the store does to the process's logging while it starts."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
