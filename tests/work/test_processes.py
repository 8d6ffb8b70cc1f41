"""Several processes on one database: one that dies, one that was only slow, two that share, all that start at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fhir_aftercare.work.engine import Limits
from work.bench import CLINIC, Hands, drained, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TESTS = Path(__file__).parents[1]


@dataclass
class Process:
    """Another process that does work, and what it has told."""

    own: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    def told(self, line: str) -> bool:
        return line in self.lines

    async def listen(self) -> None:
        assert self.own.stdout is not None
        while line := await self.own.stdout.readline():
            self.lines.append(line.decode().strip())


@asynccontextmanager
async def process(url: str, executor: str, seconds: float = 0.0) -> AsyncIterator[Process]:
    own = await asyncio.create_subprocess_exec(
        sys.executable,
        str(TESTS / "work" / "process.py"),
        url,
        executor,
        str(seconds),
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=asyncio.subprocess.PIPE,
    )
    made = Process(own)
    listening = asyncio.create_task(made.listen())
    try:
        yield made
    finally:
        if own.returncode is None:
            own.kill()
        await own.wait()
        await listening


async def test_the_work_of_a_killed_process_is_taken_over(database_url: str) -> None:
    hands = Hands()
    async with process(database_url, "other", seconds=60) as other:
        await until(lambda: other.told("ready"), within=30)
        hands.hold.clear()
        async with hands.running(database_url) as engine:
            for number in range(8):
                await engine.submit("do", CLINIC, f"w{number}", {"number": str(number)})
            await until(lambda: len(hands.begun) == 4 and len(other.lines) == 5)
            other.own.send_signal(signal.SIGKILL)
            hands.hold.set()
            await drained(engine)
            assert {ids["number"] for _, ids, _ in hands.begun} == {str(number) for number in range(8)}
            every = await engine.items(states=["waiting", "running", "refused", "done"])
            assert [(item.state, item.result) for item in every] == [("done", "ok")] * 8
            assert {worker.executor: worker.living for worker in await engine.workers()}["other"] is False


async def test_a_process_that_was_only_slow_does_no_harm(database_url: str) -> None:
    hands = Hands()
    async with process(database_url, "slow", seconds=0.3) as slow:
        await until(lambda: slow.told("ready"), within=30)
        hands.hold.clear()
        async with hands.running(database_url) as engine:
            for number in range(8):
                await engine.submit("do", CLINIC, f"w{number}", {"number": str(number)})
            await until(lambda: sum(line.startswith("begun") for line in slow.lines) >= 3)
            slow.own.send_signal(signal.SIGSTOP)
            hands.hold.set()
            await drained(engine)  # what the slow one had begun is done by us
            count = len(slow.lines)
            slow.own.send_signal(signal.SIGCONT)
            await until(lambda: len(slow.lines) > count)
            every = await engine.items(states=["waiting", "running", "refused", "done"])
            assert [item.state for item in every] == ["done"] * 8
        # It goes on as before: it is the only one now.
        async with hands.running(database_url, clinics={"elsewhere": Limits()}) as engine:
            await engine.submit("do", CLINIC, "last", {"number": "last"})
            await until(lambda: slow.told("ended last"))
            await drained(engine)


async def test_two_processes_share_the_work_and_each_piece_is_done_once(database_url: str) -> None:
    hands = Hands()
    async with process(database_url, "other", seconds=0.05) as other:
        await until(lambda: other.told("ready"), within=30)
        async with hands.running(database_url) as engine:
            numbers = [str(number) for number in range(40)]
            await asyncio.gather(*(engine.submit("do", CLINIC, f"w{each}", {"number": each}) for each in numbers))
            await drained(engine)
            await until(lambda: len(hands.begun) + len(other.lines[1:]) // 2 == len(numbers))
            ours = [ids["number"] for _, ids, _ in hands.begun]
            theirs = [line.split()[1] for line in other.lines if line.startswith("begun")]
            assert sorted(ours + theirs, key=int) == numbers
            assert theirs
            assert [worker.living for worker in await engine.workers()] == [True, True]


async def test_a_process_that_is_told_to_stop_gives_its_work_back_at_once(database_url: str) -> None:
    hands = Hands()
    async with process(database_url, "other", seconds=60) as other:
        await until(lambda: other.told("ready"), within=30)
        async with hands.running(database_url, clinics={"elsewhere": Limits()}) as engine:
            await engine.submit("do", CLINIC, "w", {"number": "1"})
            await until(lambda: other.told("begun 1"))
            other.own.send_signal(signal.SIGTERM)
            await until(lambda: other.told("stopped"))
            assert [item.state for item in await engine.items()] == ["waiting"]
            assert "other" not in {worker.executor for worker in await engine.workers()}
    async with hands.running(database_url) as engine:
        await drained(engine)
        (item,) = await engine.items(states=["done"])
        assert (item.attempts, item.result) == (1, "ok")


async def test_processes_that_start_at_once_on_an_empty_database_all_come_up(database_url: str) -> None:
    async with process(database_url, "a") as a, process(database_url, "b") as b, process(database_url, "c") as c:
        await until(lambda: a.told("ready") and b.told("ready") and c.told("ready"), within=60)
