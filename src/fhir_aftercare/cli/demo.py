"""``fhir-aftercare demo``: the main job on the sandbox, or on the server given, step by step.

Then it serves what it wrote: the FHIR store, a pretend EHR in front of it, and the service that the EHR launches.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import typer
from rich.console import Console

from fhir_aftercare.bootstrap import shipped_protocol
from fhir_aftercare.demo.main_job import MainJob, Story
from fhir_aftercare.demo.sites import listener, serving
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import AftercareError
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.loopback import is_loopback
from fhir_aftercare.observe import logs
from fhir_aftercare.sandbox.store import SandboxStore, create_store

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Sequence

    from fhir_aftercare.demo.house import House

_PORT = 8000
_SITES = 3


def demo(
    *,
    once: bool = typer.Option(False, "--once", help="Exit when the story is told, instead of serving its data."),
    serve: bool = typer.Option(False, "--serve", help="Serve the EHR and the app over the server of --fhir-base-url."),
    fhir_base_url: str | None = typer.Option(None, "--fhir-base-url", help="A FHIR R4 server, instead of the sandbox."),
    identifier_base: str | None = typer.Option(
        None,
        "--identifier-base",
        help="Where identifiers are made under; needed for a server that is not on this machine.",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object and nothing else on standard output."),
    port: int = typer.Option(
        _PORT,
        "--port",
        min=1,
        max=65536 - _SITES,
        help="Port of the sandbox on 127.0.0.1; the EHR and the app have the next two.",
    ),
) -> None:
    """Record an infusion, discharge, answer a PHQ-9, and see who must act: on the sandbox or on a server of yours."""
    progress = Console(stderr=True, highlight=False)
    try:
        asyncio.run(_demo(_Asked(once, serve, fhir_base_url, identifier_base, as_json, port), progress))
    except AftercareError as error:
        progress.print(f"[red]{error.message}[/red]", *error.where, sep="\n  ")
        progress.print(error.remedy)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(0) from None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line asked for."""

    once: bool
    serve: bool
    fhir_base_url: str | None
    identifier_base: str | None
    as_json: bool
    port: int

    @property
    def serves(self) -> bool:
        """Whether to go on when the story is told: on the sandbox unless told not to, on a server only if asked."""
        return not self.once and (self.serve or self.fhir_base_url is None)

    @property
    def ports(self) -> Sequence[int]:
        """The ports to serve on: of the sandbox, if it is that, the EHR and the app."""
        if not self.serves:
            return ()
        return range(self.port + (self.fhir_base_url is not None), self.port + _SITES)

    def check(self) -> None:
        """Raise ``BadParameter`` for what does not go together."""
        host = urlsplit(self.fhir_base_url or "").hostname or ""
        if self.fhir_base_url and not self.identifier_base and not is_loopback(host):
            raise typer.BadParameter(
                "a server that is not on this machine needs --identifier-base", param_hint="--fhir-base-url"
            )
        if self.once and self.serve:
            raise typer.BadParameter("either --once or --serve", param_hint="--serve")


async def _demo(asked: _Asked, progress: Console) -> None:
    asked.check()
    if asked.serves and (task := asyncio.current_task()) is not None:
        # As Ctrl-C does by itself: nothing is left behind.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    base = asked.identifier_base or terms.BASE
    async with AsyncExitStack() as running:
        # Taken before anything is told: a port that is in use is said at once.
        ports = [running.enter_context(listener(port)) for port in asked.ports]
        url, store = await running.enter_async_context(_server(asked.fhir_base_url, asked.port))
        transport = httpx.ASGITransport(app=store) if store else None
        progress.print(f"[bold]TEST DATA[/bold] on {url}")
        story = await _told(url, transport, base, progress)
        _print(story, asked.as_json)
        if ports:
            at = await running.enter_async_context(_sites(url, store, ports, base))
            _say_where(at, url, story, progress)
            await asyncio.Event().wait()  # until Ctrl-C or SIGTERM, which cancel this


async def _told(url: str, transport: httpx.AsyncBaseTransport | None, identifier_base: str, progress: Console) -> Story:
    def say(step: str, lines: Sequence[str]) -> None:
        progress.print(f"\n[bold]{step}[/bold]")
        for line in lines:
            is_reference = "/" in line and " " not in line
            progress.print(f"  {url}/{line}" if is_reference else f"  {line}", soft_wrap=True, markup=False)

    async with httpx.AsyncClient(transport=transport) as http:
        fhir, clock = FhirClient(url, http), SettableClock(datetime.now(UTC))
        story = await MainJob(fhir, shipped_protocol(), Identifiers(identifier_base), clock, say).run()
    progress.print(f"\nThe whole story took {story.seconds:.1f} s.")
    return story


def _print(story: Story, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(story.as_json(), indent=2, ensure_ascii=False) + "\n")
        sys.stdout.flush()


@asynccontextmanager
async def _server(fhir_base_url: str | None, port: int) -> AsyncIterator[tuple[str, SandboxStore | None]]:
    if fhir_base_url:
        yield fhir_base_url.rstrip("/"), None
        return
    url = f"http://127.0.0.1:{port}/fhir"
    with tempfile.TemporaryDirectory(prefix="fhir-aftercare-") as folder:
        store = create_store(Path(folder), url)
        try:
            yield url, store
        finally:
            store.close()


@asynccontextmanager
async def _sites(
    url: str, store: SandboxStore | None, ports: Sequence[socket.socket], identifier_base: str
) -> AsyncIterator[House]:
    """Serve while the block runs."""
    # Imported here: the story alone needs neither the service nor any cryptography.
    from fhir_aftercare.demo.house import house  # noqa: PLC0415
    from fhir_aftercare.sandbox.ehr import FhirStore  # noqa: PLC0415

    logs.configure("warning")
    transport = httpx.ASGITransport(app=store) if store else None
    async with AsyncExitStack() as running:
        if store is not None:
            await running.enter_async_context(serving(store, ports[0]))
        # A server of the user's holds more than this story: by itself nothing is done there.
        own = store is not None
        ehr, app = ports[-2:]
        made = house(FhirStore(url, transport), ehr=ehr, app=app, identifier_base=identifier_base, work=own)
        yield await running.enter_async_context(made)


def _say_where(at: House, fhir_base_url: str, story: Story, progress: Console) -> None:
    lines = (
        f"\nOpen [bold]{at.ehr_url}[/bold] (TEST DATA): a pretend EHR. Choose a patient, 'open in chart'.",
        f"  The patient of the story: {at.chart_url(story.patient)}",
        f"  The app by itself:        {at.app_url}/launch/{at.clinic.id}",
        f"  The REST API:             {at.app_url}/docs",
        f"  The FHIR store behind it: {fhir_base_url}",
        "Stop with Ctrl-C.",
    )
    for line in lines:
        progress.print(line, soft_wrap=True)
