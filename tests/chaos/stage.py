"""The processes of a chaos run: PostgreSQL, a HAPI FHIR server on it, and service processes that share one database.

Any of them but PostgreSQL may be killed as a power cut would do it, and started again on what is left. The clock by
which a service decides can be moved while it runs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from servers import HapiServer, ServerFailed, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

READY_SECONDS = 120.0


@dataclass
class ServiceProcess:
    """One service process (``chaos.service``); ``environment`` is its own. Its output goes to ``log``."""

    number: int
    log: Path
    environment: Mapping[str, str]
    port: int = field(default_factory=free_port)
    mllp_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def clock_file(self) -> Path:
        """What the process reads the offset of its clock from."""
        return self.log.with_suffix(".clock")

    def start(self) -> None:
        """Start it; ``wait`` tells when it is ready."""
        if not self.clock_file.exists():
            self.jump(0)
        environment = {
            **os.environ,
            **self.environment,
            "AFTERCARE_PORT": str(self.port),
            "AFTERCARE_METRICS_PORT": "0",
            "AFTERCARE_LOG_LEVEL": "warning",
            "AFTERCARE_MLLP_PORT": str(self.mllp_port),
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
            "CHAOS_CLOCK": str(self.clock_file),
        }
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", "chaos.service"]
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def jump(self, seconds: int) -> None:
        """Move its clock to ``seconds`` from the true time."""
        self.clock_file.write_text(f"{seconds:+d}\n")

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End it as an operator would."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def wait(self) -> None:
        """Wait until it is ready. Raises ``ServerFailed`` if it ends or takes too long."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
        raise ServerFailed(f"Service {self.number} did not become ready.\n{tail}")


class DurableHapi(HapiServer):
    """A HAPI FHIR server whose data outlives it, and which comes back at the same address."""

    def start_again(self) -> None:
        """Start it after ``kill`` where it was."""
        self.start(port=int(self.base_url.rpartition(":")[2].partition("/")[0]))
