"""Fixtures of the service's own database, on SQLite and on PostgreSQL (``database_url`` of the tests' root).

``empty``       an empty one of the test's own.
``database``    the same, migrated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.store.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def empty(database_url: str) -> AsyncIterator[Database]:
    made = Database(database_url)
    yield made
    await made.close()


@pytest.fixture
async def database(empty: Database) -> Database:
    await empty.upgrade()
    return empty
