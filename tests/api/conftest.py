"""Fixtures of the API's machinery: small applications of the test's own, reached without a network."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from fhir_aftercare.store.database import Database
from fhir_aftercare.store.idempotency import IdempotencyKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from fastapi import FastAPI


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
