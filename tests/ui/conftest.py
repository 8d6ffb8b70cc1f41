"""Fixtures of the pages' tests: a house (clinic, strict EHR, database) for each test, in one world for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.sandbox.store import create_store
from servers import SANDBOX_URL, Server
from ui.house import House, house_of
from world import World, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="session")
async def ward(sandbox: Server) -> tuple[World, dict[str, str]]:
    """The clinic on its FHIR server, and the ids of its patients by name, as tests make them."""
    return await make_world(sandbox), {}


@pytest.fixture(scope="module")
async def quiet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A sandbox of the module's own: what pages across patients show and cost, the patients of others would change."""
    store = create_store(tmp_path_factory.mktemp("quiet"), SANDBOX_URL)
    async with Server.reached("sandbox", SANDBOX_URL, store) as server:
        yield server
    store.close()


@pytest.fixture
async def house(sandbox: Server, tmp_path: Path, ward: tuple[World, dict[str, str]]) -> AsyncIterator[House]:
    async with house_of(sandbox, tmp_path, world=ward[0], patients=ward[1]) as made:
        yield made
