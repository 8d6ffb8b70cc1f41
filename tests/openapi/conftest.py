"""``service``: the whole service for a fresh world, on the sandbox and on HAPI (see ``api.service``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from api.service import Service, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from servers import Server


@pytest.fixture
async def service(server: Server, tmp_path: Path) -> AsyncIterator[Service]:
    async with running(server, tmp_path) as found:
        yield found
