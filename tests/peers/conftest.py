"""``keycloak``: a real Keycloak 26, started once per run. Mark tests that use it ``keycloak`` (Java 17, Maven)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keycloak import Keycloak

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    server = Keycloak(tmp_path_factory.mktemp("keycloak") / "keycloak.log")
    server.start()
    yield server
    server.stop()
