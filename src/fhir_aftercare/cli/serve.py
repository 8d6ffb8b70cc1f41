"""``fhir-aftercare serve``: the REST API, and with it everything the service does, until it is told to stop."""

from __future__ import annotations

import gc
import signal
import sys
from typing import TYPE_CHECKING

import typer
import uvicorn

from fhir_aftercare.config import read_settings
from fhir_aftercare.errors import AftercareError
from fhir_aftercare.flows.clock import system_clock
from fhir_aftercare.observe import logs
from fhir_aftercare.observe.tracing import tracing
from fhir_aftercare.service import create_app

if TYPE_CHECKING:
    from socket import socket

    from fhir_aftercare.flows.clock import Clock


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start, and then tell the garbage collector to pass over all that has been loaded: it lives to the end.

        Without it a request now and then waits for a look at every module, 150 to 200 ms.
        """
        await super().startup(sockets)
        gc.freeze()


def serve() -> None:
    """Serve the REST API. Settings are environment variables AFTERCARE_*, clinics the files in AFTERCARE_CLINICS."""
    run()


def run(clock: Clock = system_clock) -> None:
    """Serve until the process is told to stop; ``clock`` is what all decisions go by."""
    try:
        settings = read_settings()
        logs.configure(settings.log_level)
        with tracing(settings.otlp_endpoint) as traced:
            app = create_app(settings, tracing=traced, clock=clock)
            config = uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=8,
            )
            server = _Server(config)
            # uvicorn raises the signal again when it is done: it must end us in order, so that the last spans leave.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            server.run()
    except AftercareError as error:
        typer.echo("\n".join(["fhir-aftercare cannot start:", f"  {error.message}", f"  {error.remedy}"]), err=True)
        raise typer.Exit(1) from None
    if not server.started:
        sys.exit(3)
