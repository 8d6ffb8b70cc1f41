"""Fixtures of the API: small applications for its machinery, and the whole service for its routes.

``service``        the whole service for a fresh world, on the sandbox and on HAPI (see ``api.service``).
``small_service``  the same on the sandbox alone, for what is decided before the server is asked.
``reach``          opens a client of any application.
``keys``           the table of idempotency keys, in a file of its own.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from api.service import Service, running
from fhir_aftercare.store.database import Database
from fhir_aftercare.store.idempotency import IdempotencyKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from fastapi import FastAPI

    from servers import Server


@asynccontextmanager
async def reached(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.localhost") as http:
        yield http


@pytest.fixture
def reach() -> Callable[[FastAPI], AbstractAsyncContextManager[httpx.AsyncClient]]:
    """Give a function that opens a client of an application."""
    return reached


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[IdempotencyKeys]:
    database = Database(f"sqlite:///{tmp_path / 'aftercare.db'}")
    await database.upgrade()
    yield IdempotencyKeys(database)
    await database.close()


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions that are made anew are made at once: nobody else is there to be given way to."""
    monkeypatch.setattr("fhir_aftercare.flows.settle._JITTER", 0.0)


@pytest.fixture
async def service(server: Server, tmp_path: Path, no_jitter: None) -> AsyncIterator[Service]:
    async with running(server, tmp_path) as made:
        yield made


@pytest.fixture
async def small_service(sandbox: Server, tmp_path: Path, no_jitter: None) -> AsyncIterator[Service]:
    async with running(sandbox, tmp_path) as made:
        yield made
