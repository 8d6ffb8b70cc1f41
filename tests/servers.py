"""The real FHIR servers the tests run against: each is started once per run and stopped by its process id.

A server that cannot be started is a failure which names the command that helps, never a skip.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from fhir_aftercare.ehr.client import FhirClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

HAPI_DIR = Path(__file__).resolve().parents[1] / "deploy" / "hapi"
SANDBOX_URL = "http://sandbox.localhost/fhir"
BOOT_SECONDS = 240.0
BUILD_SECONDS = 900.0
# HAPI's own default, which deploy/hapi switches off: a client that forgets "no-cache" must fail here.
HAPI_TEST_SETTINGS = {"HAPI_STORAGE_REUSECACHEDSEARCHRESULTSFORMILLIS": "60000"}


class ServerFailed(RuntimeError):
    """A server needed by the tests is missing or did not start."""


@dataclass(frozen=True, slots=True)
class Server:
    """A FHIR server as a test sees it. ``http`` reaches it without the client in between."""

    name: str
    base_url: str
    http: httpx.AsyncClient

    @classmethod
    @asynccontextmanager
    async def reached(cls, name: str, base_url: str, app: Any = None) -> AsyncIterator[Self]:
        """Open a connection pool to a server, or to an ASGI application in this process."""
        transport = httpx.ASGITransport(app=app) if app else None
        async with httpx.AsyncClient(transport=transport, timeout=60) as http:
            yield cls(name, base_url, http)

    def client(self, **options: Any) -> FhirClient:
        """Give a client of this server; ``options`` are those of FhirClient (``on_call=calls.append``)."""
        return FhirClient(self.base_url, self.http, **options)


class HapiServer:
    """A HAPI FHIR server of its own process, from ``deploy/hapi``.

    ``settings`` are environment variables (see deploy/hapi/README.md). Everything it prints goes to ``log``.
    """

    def __init__(self, log: Path, settings: Mapping[str, str] | None = None) -> None:
        self._log, self._settings = log, {**HAPI_TEST_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.base_url = ""
        self.boot_seconds = 0.0

    def start(self, port: int | None = None) -> None:
        """Build it if needed, start it on ``port`` (a free one if None), wait until it answers; raises ServerFailed."""
        missing = [tool for tool in ("java", "mvn") if not shutil.which(tool)]
        if missing:
            raise ServerFailed(f"HAPI needs Java 17 and Maven; not found: {', '.join(missing)}. Run: make test-deps")
        port = port or free_port()
        self.base_url = f"http://127.0.0.1:{port}/fhir"
        environment = {**os.environ, **self._settings, "HAPI_PORT": str(port), "HAPI_ADDRESS": "127.0.0.1"}
        with self._log.open("ab") as output:
            self._build(output, environment)
            started = time.monotonic()
            self._process = subprocess.Popen(
                [HAPI_DIR / "run.sh"], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            self._wait(started + BOOT_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.boot_seconds = time.monotonic() - started

    def stop(self) -> None:
        """End the process, by force if it does not go within 20 s. Harmless when repeated."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL), for tests of what survives."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _build(self, output: Any, environment: Mapping[str, str]) -> None:
        with _alone(HAPI_DIR / "target" / "build.lock"):
            try:
                subprocess.run(
                    [HAPI_DIR / "run.sh", "--build"],
                    env=environment,
                    stdout=output,
                    stderr=output,
                    timeout=BUILD_SECONDS,
                    check=True,
                )
            except subprocess.SubprocessError as fault:
                raise ServerFailed(f"HAPI could not be built ({fault}).\n{self._tail()}") from fault

    def _wait(self, deadline: float) -> None:
        assert self._process
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerFailed(f"HAPI ended with {self._process.returncode} while starting.\n{self._tail()}")
            try:
                if httpx.get(f"{self.base_url}/metadata", timeout=10).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        raise ServerFailed(f"HAPI did not answer within {BOOT_SECONDS:.0f} s.\n{self._tail()}")

    def _tail(self) -> str:
        text = self._log.read_text(errors="replace")
        return f"The end of its output ({self._log}):\n" + "\n".join(text.splitlines()[-60:])


def free_port() -> int:
    """Give a port of the loopback interface nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock file: two test runs must not build in one folder at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
