"""A real PostgreSQL for the tests: started once per run from the Debian package, ended by its own pg_ctl.

``DATABASE_URL_POSTGRES=postgresql://user:password@host/name`` uses a server that already runs; its user must be allowed
to create databases. A PostgreSQL that cannot be started is a failure which names the command that helps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from servers import ServerFailed, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USER = "postgres"
# Nothing of a test run needs to survive a power cut.
SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


@contextmanager
def running_postgres() -> Iterator[str]:
    """Give the URL of a PostgreSQL for as long as the block runs; raises ``ServerFailed``."""
    url = os.environ.get("DATABASE_URL_POSTGRES")
    if url:
        yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="aftercare-postgres-"))
    try:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, USER)
        data, log, port = folder / "data", folder / "log", free_port()
        _run("initdb", "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 " + " ".join(f"-c {s}" for s in SETTINGS)
        _run("pg_ctl", "-D", str(data), "-l", str(log), "-o", options, "-w", "-t", "60", "start", log=log)
        try:
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        finally:
            _run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop", log=log)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(program: str, *arguments: str, log: Path | None = None) -> None:
    as_owner: Sequence[str] = ("runuser", "-u", USER, "--") if os.geteuid() == 0 else ()
    command = [*as_owner, _program(program), *arguments]
    with tempfile.TemporaryFile() as output:  # not a pipe: the server would keep it open
        try:
            subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True, timeout=120
            )
        except (OSError, subprocess.SubprocessError) as fault:
            output.seek(0)
            said = output.read().decode(errors="replace")[-2000:]
            more = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
            raise ServerFailed(f"PostgreSQL: {program} failed ({fault}).\n{said}\n{more}") from fault


def _program(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    program = str(found[-1]) if found else shutil.which(name)
    if not program:
        raise ServerFailed(f"PostgreSQL is needed; {name} was not found. Run: make test-deps")
    return program
