"""The processes of a benchmark: the service as its users run it, and a server that answers at once."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
OURS = Path(sys.executable).parent / "fhir-aftercare"


def rss(pid: int) -> float:
    """Resident memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def instant_server(**environment: str) -> Iterator[str]:
    """Run ``bench.instant`` as a process of its own, with more in its environment, and give its FHIR base."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.instant:app", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(HERE.parent), **environment})
    try:
        yield f"http://127.0.0.1:{port}/fhir"
    finally:
        process.terminate()
        process.wait()


async def answers(http: httpx.AsyncClient, url: str, every: float = 0.05) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if (await http.get(url)).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(every)
    raise TimeoutError(url)


@contextmanager
def service(
    folder: Path, base: str, organization: str, *, database: str = "", more: str = "", work: bool = True
) -> Iterator[tuple[str, int]]:
    """Run ``fhir-aftercare serve`` as a process of its own, and give its address and process id.

    ``database`` is a URL, a file of its own if not given; ``more`` are tables for the clinic's file; ``work``:
    with durable work and sweeps, as usual.
    """
    clinics = folder / "clinics"
    clinics.mkdir(parents=True)
    (clinics / "bench.toml").write_text(
        f'name = "Bench"\nfhir_base_url = "{base}"\nidentifier_base = "https://bench-{time.time_ns()}.example.org"\n'
        f'zone = "America/New_York"\norganization = "{organization}"\nphone = "+1 555 0100"\n'
        "[call_hours]\n" + "".join(f'{day} = "09:00-18:00"\n' for day in ("mon", "tue", "wed", "thu", "fri")) + more
    )
    port = free_port()
    environment = {
        **os.environ,
        "AFTERCARE_CLINICS": str(clinics),
        "AFTERCARE_PORT": str(port),
        "AFTERCARE_METRICS_PORT": "0",
        "AFTERCARE_DATABASE_URL": database or f"sqlite:///{folder / 'own.db'}",
        "AFTERCARE_LOG_LEVEL": "error",
        "AFTERCARE_WORK": str(work),
    }
    process = subprocess.Popen([OURS, "serve"], env=environment)
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def command(*arguments: str) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([OURS, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)
