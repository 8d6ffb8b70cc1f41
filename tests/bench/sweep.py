"""What memory a sweep takes, for ten times and a hundred times as many encounters, on a server that answers at once.

    PYTHONPATH=tests python -m bench.sweep [encounters]

Prints one line for each size: what is alive at most at the tenths of a sweep, the peak with what waits for the garbage
collector, and how long it took. Flat is right. The server is arithmetic (flows/sweep_server.py), in this process; time
is told without tracing, which slows it several times.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import sys
import time
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from facts import CLINIC, IDENTIFIERS, PROTOCOL
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.flows.sweep import SweepSettings, Watermark, sweep
from flows.sweep_server import FIRST, Many, reached

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.flows.signal import DischargeSignal

LARGEST = 100_000


async def swept(encounters: int, at_a_tenth: Callable[[], None] = lambda: None) -> int:
    """Sweep so many encounters, and give how many signals there were."""
    many = Many(encounters, FIRST + timedelta(seconds=encounters), keep_asked=False)
    signals = 0

    async def take(_: DischargeSignal) -> bool:
        nonlocal signals
        signals += 1
        if signals % (encounters // 10) == 0:
            at_a_tenth()
            print(f"\r{signals}/{encounters}", end="", file=sys.stderr, flush=True)
        return True

    async with reached(many) as fhir:
        context = ClinicContext(CLINIC, fhir, PROTOCOL, IDENTIFIERS, SettableClock(many.now))
        await sweep(context, Watermark(FIRST), take, settings=SweepSettings(page=100))
    print("\r", end="", file=sys.stderr)
    return signals


async def measured(encounters: int) -> tuple[float, float, float]:
    """Give seconds, and megabytes: alive at most at any tenth, and at the peak."""
    started = time.perf_counter()
    assert await swept(encounters) == encounters
    seconds = time.perf_counter() - started
    alive: list[int] = []

    def look() -> None:
        gc.collect()
        alive.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    await swept(encounters, look)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, max(alive) / 1e6, peak / 1e6


async def main(largest: int = LARGEST) -> bool:
    """Print a line for each size; False if in the largest a quarter more was alive than in one of a tenth.

    The smallest is shown and not compared: the event loop keeps its first hundred ended timers, one for each page.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    await swept(500)  # what is made once
    most = []
    for encounters in (largest // 100, largest // 10, largest):
        seconds, alive, peak = await measured(encounters)
        most.append(alive)
        speed = f"{seconds:6.1f} s  {encounters / seconds:7.0f} a second"
        print(f"{encounters:>8} encounters  alive {alive:5.2f} MB  peak {peak:5.2f} MB  {speed}", flush=True)
    print(f"the whole process at its largest: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    return most[-1] < 1.25 * most[-2]


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(*map(int, sys.argv[1:2]))) else 1)
