"""Fixtures of the tests with a real browser: three sites, and one Chromium for each choice about cookies.

``allowed``, ``blocked`` and ``without`` are that browser with no cookie and no tab left from the test before. When a
test is over they have asked no strange origin and no page has broken its own policy. Each site and each browser starts
once for the module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from browser.chromium import Browser, chromium
from browser.stage import Stage, stage_of
from fhir_aftercare.sandbox.store import create_store
from servers import SANDBOX_URL, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from browser.chromium import Cookies
    from fhir_aftercare.sandbox.store import SandboxStore


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: needs Chromium (`make test-deps` installs it)")


@pytest.fixture(scope="module")
def sandbox_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxStore]:
    """A store of the module's own: pages across patients show all who are in it."""
    store = create_store(tmp_path_factory.mktemp("stage-store"), SANDBOX_URL)
    yield store
    store.close()


@pytest.fixture(scope="module")
async def sandbox(sandbox_store: SandboxStore) -> AsyncIterator[Server]:
    async with Server.reached("sandbox", SANDBOX_URL, sandbox_store) as server:
        yield server


@pytest.fixture(scope="module")
async def stage(
    sandbox: Server, sandbox_store: SandboxStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    async with stage_of(sandbox, sandbox_store, folder, patients=("Rivera", "Chen")) as made:
        yield made


async def _running(stage: Stage, profiles: pytest.TempPathFactory, cookies: Cookies) -> AsyncIterator[Browser]:
    folder = profiles.mktemp(cookies)
    async with chromium(folder, cookies=cookies, ehr=stage.ehr, app=stage.app) as made:
        yield made


@pytest.fixture(scope="module")
async def running_allowed(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async for made in _running(stage, tmp_path_factory, "allowed"):
        yield made


@pytest.fixture(scope="module")
async def running_blocked(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async for made in _running(stage, tmp_path_factory, "blocked"):
        yield made


@pytest.fixture(scope="module")
async def running_without(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async for made in _running(stage, tmp_path_factory, "none"):
        yield made


async def _fresh(stage: Stage, browser: Browser) -> AsyncIterator[Browser]:
    await browser.start_over()
    yield browser
    watch = browser.watch
    assert watch.origins() <= {stage.ehr, stage.app, *watch.expected}
    assert watch.broken() == []


@pytest.fixture
async def allowed(stage: Stage, running_allowed: Browser) -> AsyncIterator[Browser]:
    async for made in _fresh(stage, running_allowed):
        yield made


@pytest.fixture
async def blocked(stage: Stage, running_blocked: Browser) -> AsyncIterator[Browser]:
    async for made in _fresh(stage, running_blocked):
        yield made


@pytest.fixture
async def without(stage: Stage, running_without: Browser) -> AsyncIterator[Browser]:
    async for made in _fresh(stage, running_without):
        yield made
