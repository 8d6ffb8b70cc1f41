"""The service's own database: what opens it, what migrates it, what it reports."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, inspect, select, text

from fhir_aftercare.errors import ConfigFault, MissingZone, StoreUnavailable
from fhir_aftercare.store.database import Database, default_url
from fhir_aftercare.store.schema import idempotency_keys, metadata
from servers import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Connection


def row(**more: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "id": "a" * 64,
        "fingerprint": "b" * 64,
        "state": "running",
        "owner": "o",
        "lease_until": now,
        "expires_at": now,
        "written": [],
        **more,
    }


async def test_the_migrations_make_exactly_the_tables_the_code_uses(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.begin() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_migrations_go_back_to_nothing_and_forward_again(database: Database) -> None:
    assert await database.at_head()
    await database.downgrade("base")
    assert not await database.at_head()
    async with database.begin() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert set(tables) <= {"alembic_version"}
    await database.upgrade()
    assert await database.at_head()


async def test_processes_that_start_at_once_do_not_migrate_twice(database_url: str) -> None:
    several = [Database(database_url) for _ in range(4)]
    await asyncio.gather(*(one.upgrade() for one in several))
    assert all([await one.at_head() for one in several])
    for one in several:
        await one.close()


async def test_a_database_without_tables_is_reachable_but_not_at_head(empty: Database, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(exist_ok=True)
    assert await empty.reachable()
    assert not await empty.at_head()


async def test_an_instant_comes_back_as_the_same_instant_in_utc(database: Database) -> None:
    moment = datetime(2026, 3, 8, 1, 59, 59, 123456, tzinfo=timezone(timedelta(hours=-5)))
    async with database.begin() as connection:
        await connection.execute(insert(idempotency_keys).values(row(lease_until=moment)))
        read = (await connection.execute(select(idempotency_keys.c.lease_until))).scalar_one()
    assert read == moment
    assert read.tzinfo is UTC


async def test_a_time_without_zone_is_refused(database: Database) -> None:
    with pytest.raises(MissingZone):
        async with database.begin() as connection:
            await connection.execute(insert(idempotency_keys).values(row(lease_until=datetime(2026, 1, 1))))  # noqa: DTZ001


async def test_what_the_database_refuses_is_one_error_without_the_values(database: Database) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        async with database.begin() as connection:
            await connection.execute(insert(idempotency_keys).values(row(state="nonsense", owner="Rivera")))
    assert "Rivera" not in f"{refused.value}{refused.value.__cause__}"


async def test_a_failed_block_leaves_nothing_behind(database: Database) -> None:
    async def fail_half_way() -> None:
        async with database.begin() as connection:
            await connection.execute(insert(idempotency_keys).values(row()))
            raise KeyError

    with pytest.raises(KeyError):
        await fail_half_way()
    async with database.begin() as connection:
        assert (await connection.execute(select(idempotency_keys))).all() == []


async def test_a_postgres_that_is_not_there_is_reported_and_raises_our_error() -> None:
    database = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    assert not await database.reachable()
    assert not await database.at_head()
    with pytest.raises(StoreUnavailable):
        await database.upgrade()
    await database.close()


async def test_sqlite_has_a_write_ahead_log_and_a_folder_only_its_owner_enters(sqlite_url: str, tmp_path: Path) -> None:
    before = os.umask(0o022)
    database = Database(sqlite_url)
    await database.upgrade()
    async with database.begin() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
        assert (await connection.execute(text("PRAGMA foreign_keys"))).scalar_one() == 1
    await database.close()
    os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


async def test_a_sqlite_file_another_process_is_writing_is_waited_for(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    other = sqlite3.connect(tmp_path / "state" / "aftercare.db", isolation_level=None)
    other.execute("CREATE TABLE theirs (x)")
    other.execute("BEGIN IMMEDIATE")  # and the file has no write-ahead log yet
    database = Database(sqlite_url)
    upgrading = asyncio.create_task(database.upgrade())
    await asyncio.sleep(0.1)
    assert not upgrading.done()
    other.execute("COMMIT")
    other.close()
    await upgrading
    assert await database.at_head()
    await database.close()


async def test_writers_of_one_sqlite_file_wait_for_each_other(sqlite_url: str) -> None:
    several = [Database(sqlite_url) for _ in range(3)]
    await several[0].upgrade()

    async def write(n: int) -> None:
        async with several[n % 3].begin() as connection:
            await connection.execute(insert(idempotency_keys).values(row(id=f"{n:064}")))

    await asyncio.gather(*(write(n) for n in range(30)))
    async with several[0].begin() as connection:
        assert len((await connection.execute(select(idempotency_keys.c.id))).all()) == 30
    for one in several:
        await one.close()


@pytest.mark.parametrize(
    "url",
    ["mysql://host/db", "sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?cache=shared&uri=true", "nonsense"],
)
def test_a_url_that_cannot_work_is_refused_with_the_settings_name(url: str) -> None:
    with pytest.raises(ConfigFault) as refused:
        Database(url)
    assert refused.value.where == ("AFTERCARE_DATABASE_URL",)


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(ConfigFault) as refused:
        Database("mysql://me:secret@host/db")
    assert "secret" not in str(refused.value)


def test_without_a_setting_the_file_is_in_the_users_state_directory() -> None:
    assert default_url({"HOME": "/home/a"}) == "sqlite:////home/a/.local/state/fhir-aftercare/aftercare.db"
    assert default_url({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == "sqlite:////s/fhir-aftercare/aftercare.db"
