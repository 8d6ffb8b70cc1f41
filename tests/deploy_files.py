"""What is in ``deploy/``, as tests read it, and the linters that check it (all of them from the extra ``test``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
# What compose.yaml asks for; everything else has a default.
COMPOSE_VARIABLES = {
    "CLINICS_FOLDER": "./my-clinics",
    "POSTGRES_PASSWORD": "one",
    "SERVICE_DB_PASSWORD": "two",
    "HAPI_DB_PASSWORD": "three",
}
_BUILT = {".cache", "target", ".git", ".venv", "__pycache__", "node_modules"}


class Instruction(NamedTuple):
    """One instruction of a Dockerfile; ``value`` is on one line."""

    name: str
    value: str


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def files(*patterns: str, below: Path = DEPLOY) -> list[Path]:
    """Give the files whose names match, without what builds leave behind."""
    found: list[Path] = []
    for folder, inner, names in os.walk(below):
        inner[:] = [name for name in inner if name not in _BUILT]
        found += [Path(folder, name) for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
    return sorted(found)


def dockerfile() -> list[list[Instruction]]:
    """Give the instructions of the Dockerfile, by stage."""
    text = "\n".join(
        line for line in (DEPLOY / "Dockerfile").read_text("utf-8").splitlines() if not line.lstrip().startswith("#")
    )
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    stages: list[list[Instruction]] = []
    for name, value in (line.split(maxsplit=1) for line in lines):
        if name == "FROM":
            stages.append([])
        stages[-1].append(Instruction(name, value))
    return stages


def only(stage: Sequence[Instruction], name: str) -> str:
    """Give the value of the one instruction of that name."""
    (value,) = (each.value for each in stage if each.name == name)
    return value


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in only(dockerfile()[-1], "ENV").split())


def health_command() -> list[str]:
    """Give the command by which the image tells whether it is well."""
    command: list[str] = json.loads(only(dockerfile()[-1], "HEALTHCHECK").partition(" CMD ")[2])
    return command


def manifests() -> list[dict[str, Any]]:
    """Give every Kubernetes object, the secret's example included."""
    found = [each for path in files("*.yaml", below=KUBERNETES) for each in yaml.safe_load_all(path.read_text("utf-8"))]
    return [each for each in found if each["kind"] != "Kustomization"]


def manifest(kind: str, name: str = "fhir-aftercare") -> dict[str, Any]:
    (found,) = (each for each in manifests() if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def tool(
    name: str, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a program that the extra ``test`` has installed beside this Python."""
    program = Path(sys.executable).with_name(name)
    assert program.is_file(), f"{name} is not installed; it comes with: pip install -e '.[test]'"
    environment = os.environ if env is None else env
    return subprocess.run(
        [program, *arguments], env=environment, cwd=cwd, check=False, capture_output=True, text=True, timeout=60
    )


def compose_config(
    variables: Mapping[str, str], home: Path, *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Let Docker Compose itself read compose.yaml; it asks no engine for that."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], **variables}
    where = ("--file", DEPLOY / "compose.yaml", "--env-file", os.devnull)
    return tool("docker-compose", *where, *arguments, "config", "--format", "json", env=environment)


def compose(home: Path, **more: str) -> dict[str, Any]:
    """Give compose.yaml as Docker Compose understands it, every variable filled in."""
    done = compose_config({**COMPOSE_VARIABLES, **more}, home)
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read
