"""``fhir-aftercare demo``: the main job on the sandbox, or on the server given, step by step."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import typer
import uvicorn
from rich.console import Console

from fhir_aftercare.bootstrap import shipped_protocol
from fhir_aftercare.config import is_loopback
from fhir_aftercare.demo.main_job import MainJob, Story
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import AftercareError
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.sandbox.store import SandboxStore, create_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_PORT = 8000


def demo(
    once: bool = typer.Option(False, "--once", help="Exit when the story is told, instead of serving its data."),
    fhir_base_url: str | None = typer.Option(None, "--fhir-base-url", help="A FHIR R4 server, instead of the sandbox."),
    identifier_base: str | None = typer.Option(
        None,
        "--identifier-base",
        help="Where identifiers are made under; needed for a server that is not on this machine.",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object and nothing else on standard output."),
    port: int = typer.Option(_PORT, "--port", min=1, max=65535, help="Port of the sandbox on 127.0.0.1."),
) -> None:
    """Record an infusion, discharge, answer a PHQ-9, and see who must act: on the sandbox or on a server of yours."""
    progress = Console(stderr=True, highlight=False)
    try:
        asyncio.run(_demo(_Asked(once, fhir_base_url, identifier_base, as_json, port), progress))
    except AftercareError as error:
        progress.print(f"[red]{error.message}[/red]", *error.where, sep="\n  ")
        progress.print(error.remedy)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line asked for."""

    once: bool
    fhir_base_url: str | None
    identifier_base: str | None
    as_json: bool
    port: int


async def _demo(asked: _Asked, progress: Console) -> None:
    base = asked.identifier_base or terms.BASE
    given = asked.fhir_base_url
    if given and not asked.identifier_base and not is_loopback(urlsplit(given).hostname or ""):
        raise typer.BadParameter(
            "a server that is not on this machine needs --identifier-base", param_hint="--fhir-base-url"
        )
    async with _server(given, asked.port) as (url, http, store):
        progress.print(f"[bold]TEST DATA[/bold] on {url}")

        def say(step: str, lines: Sequence[str]) -> None:
            progress.print(f"\n[bold]{step}[/bold]")
            for line in lines:
                is_reference = "/" in line and " " not in line
                progress.print(f"  {url}/{line}" if is_reference else f"  {line}", soft_wrap=True, markup=False)

        fhir = FhirClient(url, http)
        clock = SettableClock(datetime.now(UTC))
        story = await MainJob(fhir, shipped_protocol(), Identifiers(base), clock, say).run()
        progress.print(f"\nThe whole story took {story.seconds:.1f} s.")
        _print(story, asked.as_json)
        if store is not None and not asked.once:
            progress.print(f"\nThe sandbox serves it all at [bold]{url}[/bold] (TEST DATA; stop with Ctrl-C).")
            await _serve(store, asked.port)


def _print(story: Story, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(story.as_json(), indent=2, ensure_ascii=False) + "\n")
        sys.stdout.flush()


@asynccontextmanager
async def _server(
    fhir_base_url: str | None, port: int
) -> AsyncIterator[tuple[str, httpx.AsyncClient, SandboxStore | None]]:
    if fhir_base_url:
        async with httpx.AsyncClient() as http:
            yield fhir_base_url.rstrip("/"), http, None
        return
    url = f"http://127.0.0.1:{port}/fhir"
    with tempfile.TemporaryDirectory(prefix="fhir-aftercare-") as folder:
        store = create_store(Path(folder), url)
        try:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=store)) as http:
                yield url, http, store
        finally:
            store.close()


async def _serve(store: SandboxStore, port: int) -> None:
    config = uvicorn.Config(store, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    await uvicorn.Server(config).serve()
