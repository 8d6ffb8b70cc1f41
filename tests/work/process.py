"""A process of its own that does work: ``python process.py URL EXECUTOR [SECONDS]``, until it is told to stop.

Each piece takes SECONDS; what it begins, ends and hears of is told line by line on standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING

from fhir_aftercare.work.engine import Engine, Limits
from work.bench import CLINIC, QUICK

if TYPE_CHECKING:
    from collections.abc import Mapping


def tell(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def main(url: str, executor: str, seconds: float) -> None:
    async def do(clinic: str, ids: Mapping[str, str]) -> str:
        tell("begun", ids["number"])
        await asyncio.sleep(seconds)
        tell("ended", ids["number"])
        return executor

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Engine.running(url, {"do": do}, {CLINIC: Limits()}, executor_id=executor, pace=QUICK):
        tell("ready")
        await stop.wait()
    tell("stopped")


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main(sys.argv[1], sys.argv[2], float((*sys.argv[3:], "0")[0])))
