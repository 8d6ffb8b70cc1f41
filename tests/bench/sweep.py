"""What memory a sweep takes, for ten times and a hundred times as many encounters, on a server that answers at once.

    PYTHONPATH=tests python -m bench.sweep [encounters]

Prints one line for each size: the peak of what Python has allocated, and how long it took. Flat is right. The server is
arithmetic (flows/sweep_server.py), in this process; time is told without tracing, which slows it several times.
"""

from __future__ import annotations

import asyncio
import logging
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
    from fhir_aftercare.flows.signal import DischargeSignal

LARGEST = 100_000


async def swept(encounters: int) -> int:
    """Sweep so many encounters, and give how many signals there were."""
    many = Many(encounters, FIRST + timedelta(seconds=encounters), keep_asked=False)
    signals = 0

    async def take(_: DischargeSignal) -> bool:
        nonlocal signals
        signals += 1
        if signals % 5_000 == 0:
            print(f"\r{signals}/{encounters}", end="", file=sys.stderr, flush=True)
        return True

    async with reached(many) as fhir:
        context = ClinicContext(CLINIC, fhir, PROTOCOL, IDENTIFIERS, SettableClock(many.now))
        await sweep(context, Watermark(FIRST), take, settings=SweepSettings(page=100))
    print("\r", end="", file=sys.stderr)
    return signals


async def measured(encounters: int) -> tuple[float, float]:
    """Give seconds, and megabytes at the peak."""
    started = time.perf_counter()
    assert await swept(encounters) == encounters
    seconds = time.perf_counter() - started
    tracemalloc.start()
    await swept(encounters)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak / 1e6


async def main(largest: int = LARGEST) -> bool:
    """Print a line for each size; False if the largest took half as much again as the smallest."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    await swept(500)  # what is made once
    peaks = []
    for encounters in (largest // 100, largest // 10, largest):
        seconds, peak = await measured(encounters)
        peaks.append(peak)
        print(f"{encounters:>8} encounters  {peak:6.2f} MB  {seconds:7.1f} s  {encounters / seconds:7.0f} a second")
    return peaks[-1] < 1.5 * peaks[0]


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(*map(int, sys.argv[1:2]))) else 1)
