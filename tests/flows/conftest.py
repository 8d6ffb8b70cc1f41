"""Worlds for the flows: a clinic of its own on each server, made fresh for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from world import make_world

if TYPE_CHECKING:
    from servers import Server
    from world import World


@pytest.fixture
async def world(server: Server) -> World:
    return await make_world(server)


@pytest.fixture
async def small_world(sandbox: Server) -> World:
    """A world on the sandbox alone, for what is decided before the server is asked."""
    return await make_world(sandbox)
