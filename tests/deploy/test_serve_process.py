"""What the image would run, run as a process: the wheel made of what the Dockerfile copies, its command, its settings.

The environment is the image's and compose.yaml's, moved to this machine: loopback, free ports, SQLite in a folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import IO, TYPE_CHECKING, NamedTuple

import httpx
import pytest

from deploy_files import DEPLOY, ROOT, compose, dockerfile, health_command, image_environment, only
from servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_SECONDS = 30
STOP_SECONDS = 10
PROGRAMS = Path(sys.executable).parent


class Running(NamedTuple):
    """The process, where it answers, and the file of what it says."""

    process: Popen[bytes]
    url: str
    metrics_url: str
    said: Path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the wheel unpacked, made of nothing but what the build gets to see."""
    context, place = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("installed")
    for source in sources():
        path = ROOT / source
        if path.is_dir():
            shutil.copytree(path, context / source, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(path, context / source)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place)]
    done = subprocess.run(build, cwd=context, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


@pytest.fixture
def environment(installed: Path, tmp_path: Path) -> dict[str, str]:
    """Give the container's environment and nothing of this session's."""
    clinics = tmp_path / "clinics"
    clinics.mkdir()
    shutil.copy(DEPLOY / "clinics" / "example.toml", clinics)
    home = tmp_path / "home"
    home.mkdir()
    of_compose = compose(home)["services"]["aftercare"]["environment"]
    return {
        **image_environment(),
        **{name: value for name, value in of_compose.items() if value is not None},
        "PATH": f"{PROGRAMS}{os.pathsep}{os.defpath}",
        "PYTHONPATH": str(installed),
        "HOME": "/nonexistent",
        "AFTERCARE_CLINICS": str(clinics),
        "AFTERCARE_DATABASE_URL": f"sqlite:///{tmp_path / 'data' / 'aftercare.db'}",
        "AFTERCARE_HOST": "127.0.0.1",
        "AFTERCARE_PORT": str(free_port()),
        "AFTERCARE_METRICS_HOST": "127.0.0.1",
        "AFTERCARE_METRICS_PORT": str(free_port()),
    }


def sources() -> list[str]:
    """Give what the first stage copies from the context."""
    copies = [each.value.split()[:-1] for each in dockerfile()[0] if each.name == "COPY"]
    return [source for copied in copies for source in copied]


def command() -> list[str]:
    given: list[str] = json.loads(only(dockerfile()[-1], "CMD"))
    return given


def start(environment: Mapping[str, str], output: IO[bytes] | int, folder: Path | None = None) -> Popen[bytes]:
    """Start the image's command, both its outputs in one."""
    program = shutil.which(command()[0], path=environment["PATH"])
    assert program, f"{command()[0]} is not installed"
    return Popen([program, *command()[1:]], env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT)


@contextmanager
def serving(environment: Mapping[str, str], folder: Path) -> Iterator[Running]:
    """Start the image's command in an empty folder and wait until it lives; it is gone when the block ends."""
    work = folder / "work"
    work.mkdir()
    said = folder / "said.log"
    with said.open("wb") as output:
        process = start(environment, output, work)
    url = f"http://127.0.0.1:{environment['AFTERCARE_PORT']}"
    metrics_url = f"http://127.0.0.1:{environment['AFTERCARE_METRICS_PORT']}/metrics"
    running = Running(process, url, metrics_url, said)
    try:
        wait_until_it_lives(running)
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_it_lives(running: Running) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert running.process.poll() is None, f"it ended while starting:\n{running.said.read_text()}"
        try:
            if httpx.get(f"{running.url}/livez").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail(f"it did not live within {START_SECONDS} s:\n{running.said.read_text()}")


def healthy(environment: Mapping[str, str]) -> int:
    """Run what the image's HEALTHCHECK runs, and give how it ends."""
    program, *arguments = health_command()
    assert program == "python"
    done = subprocess.run([sys.executable, *arguments], env=environment, check=False, capture_output=True, timeout=10)
    return done.returncode


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule.removeprefix("!") for rule in rules if rule.startswith("!")) == sorted(sources())


def test_the_image_holds_the_protocol_and_the_migrations(installed: Path) -> None:
    package = installed / "fhir_aftercare"
    shipped = {path.name for path in (package / "_profiles").glob("*.json")}
    assert shipped == {path.name for path in (ROOT / "profiles").glob("*.json")}
    revisions = {path.name for path in (package / "store" / "migrations").rglob("*.py")}
    assert revisions == {path.name for path in (ROOT / "src/fhir_aftercare/store/migrations").rglob("*.py")}
    assert (package / "py.typed").is_file()


def test_it_lives_is_ready_counts_and_goes_when_told(environment: dict[str, str], tmp_path: Path) -> None:
    with serving(environment, tmp_path) as running:
        ready = httpx.get(f"{running.url}/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert ready.json()["clinics"] == {"running": 1, "refused": 0}
        assert set(ready.json()["checks"].values()) == {"ok"}
        assert 'aftercare_clinics{state="running"} 1.0' in httpx.get(running.metrics_url).text
        assert healthy(environment) == 0

        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(STOP_SECONDS) == 0, running.said.read_text()
    assert healthy(environment) != 0
    for line in running.said.read_text("utf-8").splitlines():
        assert {"event", "level", "timestamp"} <= set(json.loads(line)), line
    # On a read-only root there is no other place to write to.
    assert not list((tmp_path / "work").iterdir())
    assert (tmp_path / "data" / "aftercare.db").is_file()


def test_it_runs_the_code_of_the_wheel(environment: dict[str, str], installed: Path) -> None:
    ask = [sys.executable, "-c", "import fhir_aftercare; print(fhir_aftercare.__file__)"]
    done = subprocess.run(ask, env=environment, check=True, capture_output=True, text=True, timeout=30)
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_a_wrong_setting_stops_it_and_is_named(environment: dict[str, str]) -> None:
    wrong = {
        "AFTERCARE_INSECURE_BIND": {"AFTERCARE_HOST": "0.0.0.0", "AFTERCARE_INSECURE_BIND": "0"},  # noqa: S104
        "AFTERCARE_CLINICS": {"AFTERCARE_CLINICS": "/nowhere"},
        "AFTERCARE_DATABASE_URL": {"AFTERCARE_DATABASE_URL": "mysql://root:hunter2@host/db"},
    }
    started = {name: start({**environment, **changes}, subprocess.PIPE) for name, changes in wrong.items()}
    said = {name: process.communicate(timeout=START_SECONDS)[0].decode() for name, process in started.items()}
    for name, process in started.items():
        assert process.returncode not in {0, None}
        assert name in said[name], said[name]
        assert "hunter2" not in said[name]


def test_a_clinic_without_an_address_of_its_own_is_refused_and_the_log_says_why(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """What somebody sees who changed only one of the README's two lines."""
    example = (DEPLOY / "clinics" / "example.toml").read_text("utf-8")
    text = example.replace("http://127.0.0.1:8080/fhir", "http://hapi:8080/fhir")
    (tmp_path / "clinics" / "harbor.toml").write_text(text, "utf-8")
    with serving(environment, tmp_path) as running:
        ready = httpx.get(f"{running.url}/readyz")
        assert (ready.status_code, ready.json()["clinics"]) == (200, {"running": 1, "refused": 1})
    (said,) = (line for line in running.said.read_text("utf-8").splitlines() if "harbor.toml" in line)
    assert "identifier_base" in said
    assert "an address that your clinic owns" in said
