"""The official HL7 validator as the tests use it: one process per run, from ``deploy/validator``, never on a network.

It enforces FHIR R4, our profiles where a resource claims them, and the core vital-sign profiles even where none is
claimed. It does not follow references, and codes of systems it has no definition of (LOINC, SNOMED CT) are warnings.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhir_aftercare.fhir import exact_json
from servers import ServerFailed, _alone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
VALIDATOR_DIR = ROOT / "deploy" / "validator"
PROFILES = ROOT / "profiles"
BUILD_SECONDS = 900.0
BOOT_SECONDS = 180.0
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing the validator says; ``severity`` is FHIR's: fatal, error, warning or information."""

    severity: str
    location: str
    message: str

    @property
    def is_error(self) -> bool:
        """Whether the resource is invalid because of it."""
        return self.severity in {"error", "fatal"}

    def __str__(self) -> str:
        return f"{self.location}: {self.message}"


class OfficialValidator:
    """The validator's process, with the definitions in ``folders`` loaded. What it prints goes to ``log``.

    Use it from one thread at a time.
    """

    def __init__(self, log: Path, folders: Sequence[Path] = (PROFILES,)) -> None:
        self._log, self._folders = log, folders
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Build it if needed, start it and wait until its definitions are loaded; raises ServerFailed."""
        missing = [tool for tool in ("java", "mvn") if not shutil.which(tool)]
        if missing:
            raise ServerFailed(
                f"The HL7 validator needs Java 17 and Maven; not found: {', '.join(missing)}. Run: make test-deps"
            )
        with self._log.open("wb") as output:
            self._build(output)
            self._process = subprocess.Popen(
                [VALIDATOR_DIR / "run.sh", *self._folders],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
            )
        try:
            self._answer(BOOT_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process: it goes when its input ends, by force after 20 s. Harmless when repeated."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin
        assert process.stdout
        with suppress(BrokenPipeError):  # it ended before it had read all
            process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def validate(self, resources: Iterable[Mapping[str, Any]]) -> list[list[Issue]]:
        """Give the issues of each FHIR R4 resource, in the order given; raises ServerFailed."""
        found = []
        for resource in resources:
            self._ask(exact_json.dumps(resource))
            found.append([Issue(**issue) for issue in self._answer(ANSWER_SECONDS)])
        return found

    def faults(self, resource: Mapping[str, Any]) -> list[str]:
        """Give the errors of one resource, each as "location: words"; raises ServerFailed."""
        (issues,) = self.validate([resource])
        return [str(issue) for issue in issues if issue.is_error]

    def _build(self, output: Any) -> None:
        with _alone(VALIDATOR_DIR / "target" / "build.lock"):
            try:
                subprocess.run(
                    [VALIDATOR_DIR / "run.sh", "--build"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=BUILD_SECONDS,
                    check=True,
                )
            except subprocess.SubprocessError as fault:
                raise ServerFailed(f"The HL7 validator could not be built ({fault}).\n{self._tail()}") from fault

    def _ask(self, line: bytes) -> None:
        if self._process is None:
            raise ServerFailed("The HL7 validator is not running.")
        assert self._process.stdin
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as fault:
            raise ServerFailed(f"The HL7 validator has ended.\n{self._tail()}") from fault

    def _answer(self, seconds: float) -> Any:
        assert self._process
        assert self._process.stdout
        too_late = threading.Timer(seconds, self._process.kill)
        too_late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            too_late.cancel()
        if not line:
            raise ServerFailed(f"The HL7 validator ended, or said nothing for {seconds:.0f} s.\n{self._tail()}")
        return json.loads(line)

    def _tail(self) -> str:
        text = self._log.read_text(errors="replace")
        return f"The end of its output ({self._log}):\n" + "\n".join(text.splitlines()[-60:])
