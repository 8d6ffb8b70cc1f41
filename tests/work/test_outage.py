"""The database is away for a while, or what it holds does not fit: nothing is acknowledged that is not kept."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url

from fhir_aftercare.errors import FhirBroken, StoreUnavailable
from fhir_aftercare.work.engine import Limits
from fhir_aftercare.work.place import work_url
from fhir_aftercare.work.takeover import Takeover
from servers import free_port
from work.bench import CLINIC, QUICK, Hands, drained, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.engine import URL

    from fhir_aftercare.work.engine import Engine


class Line:
    """The way to a database, which can be cut and mended."""

    def __init__(self, to: URL) -> None:
        self._to, self._port = to, free_port()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return self._to.set(port=self._port).render_as_string(hide_password=False)

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", self._port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for each in self._open:
            each.transport.abort()
        await asyncio.gather(*self._tasks)

    def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._to.host, self._to.port)
        both = {writer, back}
        self._open |= both
        await asyncio.gather(_copied(reader, back), _copied(there, writer))
        self._open -= both


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    line = Line(make_url(url))
    await line.mend()
    yield line
    await line.cut()


@pytest.mark.postgres
async def test_nothing_is_taken_while_the_database_is_away_and_all_goes_on_when_it_is_back(postgres: str) -> None:
    hands = Hands(FhirBroken("500"))
    async with line_to(postgres) as line, hands.running(line.url) as engine:
        hands.hold.clear()
        for number in range(3):
            await engine.submit("do", CLINIC, f"w{number}", {})
        await until(lambda: len(hands.begun) == 3)
        await line.cut()
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            await engine.submit("do", CLINIC, "another", {})
        assert time.monotonic() - begun < 10
        assert "AFTERCARE_DATABASE_URL" in caught.value.remedy
        for asked in (engine.items(), engine.counts(), engine.retry("w0"), engine.workers()):
            with pytest.raises(StoreUnavailable):
                await asked
        hands.hold.set()  # one of the three fails, two succeed, and none of it can be noted
        await asyncio.sleep(0.5)
        # Nobody else in this process is held up by those that wait.
        await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("localhost", 80), 2)
        await line.mend()
        assert await _submitted(engine, "another")
        await drained(engine, within=30)
        every = await engine.items(states=["waiting", "running", "refused", "done"])
        assert [item.state for item in every] == ["done"] * 4
        assert sorted(item.attempts for item in every) == [1, 1, 1, 2]
        assert len(hands.begun) == 5


async def _submitted(engine: Engine, work_id: str) -> bool:
    async with asyncio.timeout(15):
        while True:
            try:
                return await engine.submit("do", CLINIC, work_id, {})
            except StoreUnavailable:
                await asyncio.sleep(0.1)


@pytest.mark.postgres
async def test_an_engine_whose_database_is_away_does_not_start_and_says_so(postgres: str) -> None:
    async with line_to(postgres) as line:
        await line.cut()
        with pytest.raises(StoreUnavailable):
            async with Hands().running(line.url):
                pass
        await line.mend()
        async with Hands().running(line.url) as engine:
            assert await engine.items() == []


async def test_a_file_that_is_no_database_is_named_as_a_failing_database(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "state" / "aftercare-work.db"
    file.parent.mkdir()
    file.write_bytes(b"no database " * 1000)
    with pytest.raises(StoreUnavailable):
        async with Hands().running(sqlite_url):
            pass


async def test_what_was_taken_and_never_begun_is_given_back(sqlite_url: str) -> None:
    hands = Hands()
    async with hands.running(sqlite_url) as engine:
        (own,) = [worker.executor for worker in await engine.workers()]
        await engine.submit("do", CLINIC, "w", {}, delay=timedelta(hours=1))
        with contextlib.closing(sqlite3.connect(str(work_url(sqlite_url).database))) as connection:
            connection.execute("UPDATE workflow_status SET status = 'PENDING', executor_id = ?", (own,))
            connection.commit()
        await drained(engine)
    assert len(hands.begun) == 1


async def test_what_processes_die_of_again_and_again_is_put_aside_until_somebody_asks(database_url: str) -> None:
    hands = Hands()
    hands.hold.clear()
    async with hands.running(database_url, clinics={CLINIC: Limits(concurrency=9)}) as engine:
        await engine.submit("do", CLINIC, "w", {})
        # As another process sees it, to which this one is silent.
        other = Takeover(engine.board, "other", QUICK.beat, timedelta(0))
        for deaths in range(1, 6):
            await until(lambda deaths=deaths: len(hands.begun) == deaths)
            assert await other.look(set()) == 1
        await until(lambda: len(hands.begun) == 6)
        assert await other.look(set()) == 0
        (item,) = await engine.items()
        assert (item.state, item.code) == ("refused", "crashed")
        assert (await engine.counts())["refused"] == 1
        hands.hold.set()
        assert await engine.retry("w")
        await drained(engine)
        assert [each.state for each in await engine.items(states=["done", "refused"])] == ["done"]
