"""compose.yaml, read by Docker Compose itself, and the script that makes its databases, run on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import re
from asyncio.subprocess import PIPE, STDOUT
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import yaml
from sqlalchemy.engine import make_url

from deploy_files import COMPOSE_VARIABLES, DEPLOY, ROOT, compose, compose_config, dockerfile, only
from fhir_aftercare.config import Settings
from fhir_aftercare.store.database import Database
from postgres import running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Set by compose.yaml itself (the ports are those of the image), or in need of a folder that it does not mount.
NOT_PASSED_ON = {"AFTERCARE_PORT", "AFTERCARE_METRICS_PORT", "AFTERCARE_PROFILES"}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose(tmp_path_factory.mktemp("home"))["services"]
    return found


@pytest.mark.parametrize("name", COMPOSE_VARIABLES)
def test_a_value_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    given = {each: value for each, value in COMPOSE_VARIABLES.items() if each != name}
    done = compose_config(given, tmp_path)
    assert done.returncode != 0
    assert f"required variable {name} is missing a value" in done.stderr


def test_an_untouched_copy_of_the_example_of_an_environment_is_refused(tmp_path: Path) -> None:
    done = compose_config({}, tmp_path, "--env-file", DEPLOY / "env.example")
    assert done.returncode != 0
    named = {name for name in COMPOSE_VARIABLES if f"required variable {name} " in done.stderr}
    assert named == set(COMPOSE_VARIABLES) - {"CLINICS_FOLDER"}


def test_everything_is_published_on_this_machine_only(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    assert {port["target"] for port in published} == {8000, 8080, 9464}


def test_postgresql_is_reached_by_the_others_only(tmp_path: Path) -> None:
    read = compose(tmp_path)
    assert "ports" not in read["services"]["postgres"]
    assert set(read["services"]["postgres"]["networks"]) == {"database"}
    assert read["networks"]["database"]["internal"] is True


def test_no_password_stands_in_the_file() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    given = re.findall(r"(?i)password: +(\S.*)$", text, re.MULTILINE)
    assert len(given) == 4
    assert all(value.startswith('"${') and ":?" in value for value in given)
    assert re.findall(r"postgresql://\w+:([^@]+)@", text) == ["${SERVICE_DB_PASSWORD:?is empty, see env.example}"]


def test_the_service_is_the_image_of_the_dockerfile_on_a_read_only_root(services: dict[str, dict[str, Any]]) -> None:
    service = services["aftercare"]
    assert ROOT / service["build"]["dockerfile"] == DEPLOY / "Dockerfile"
    assert service["build"]["context"] == str(ROOT)
    assert service["command"] is None
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert set(service["tmpfs"]) == {"/data", "/tmp"}  # noqa: S108  (a path in the container)


def test_the_clinics_are_mounted_where_the_service_looks_for_them(services: dict[str, dict[str, Any]]) -> None:
    service = services["aftercare"]
    (mounted,) = service["volumes"]
    assert mounted["target"] == service["environment"]["AFTERCARE_CLINICS"]
    assert mounted["read_only"]
    # A wrong path is an error, not a new empty folder.
    assert mounted["bind"] == {"create_host_path": False}


def test_the_service_says_why_it_listens_to_others(services: dict[str, dict[str, Any]]) -> None:
    given = services["aftercare"]["environment"]
    fields = {name.removeprefix("AFTERCARE_").lower(): value for name, value in given.items() if value is not None}
    read = Settings.model_validate(fields)
    assert (read.host, read.insecure_bind, read.metrics_host) == ("0.0.0.0", True, "0.0.0.0")  # noqa: S104
    assert Database(read.database_url or "").dialect == "postgresql"


def test_every_other_setting_is_passed_on_from_the_environment_file(tmp_path: Path) -> None:
    known = {f"AFTERCARE_{name.upper()}" for name in Settings.model_fields} - NOT_PASSED_ON
    assert set(compose(tmp_path)["services"]["aftercare"]["environment"]) == known
    file = tmp_path / ".env"
    file.write_text("AFTERCARE_LOG_LEVEL=debug\n", "utf-8")
    done = compose_config(COMPOSE_VARIABLES, tmp_path, "--env-file", file)
    assert yaml.safe_load(done.stdout)["services"]["aftercare"]["environment"]["AFTERCARE_LOG_LEVEL"] == "debug"


def test_nobody_starts_before_the_databases_are_there(services: dict[str, dict[str, Any]]) -> None:
    for name in ("aftercare", "hapi"):
        assert services[name]["depends_on"]["postgres"]["condition"] == "service_healthy"
    # While PostgreSQL makes its databases it answers on its socket, not by TCP.
    assert "--host=127.0.0.1" in services["postgres"]["healthcheck"]["test"]


def test_the_service_is_asked_for_its_health_as_the_image_says(services: dict[str, dict[str, Any]]) -> None:
    assert only(dockerfile()[-1], "HEALTHCHECK")
    assert "test" not in services["aftercare"]["healthcheck"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.mark.postgres
async def test_each_database_has_an_owner_of_its_own(cluster: str, services: dict[str, dict[str, Any]]) -> None:
    server = make_url(cluster)
    given = services["postgres"]["environment"]
    place = {"PGHOST": str(server.host), "PGPORT": str(server.port), "PGPASSWORD": str(server.password or "")}
    environment = {"PATH": os.environ["PATH"], **place, **given, "POSTGRES_USER": str(server.username)}
    names = ("aftercare", "hapi")
    admin = await asyncpg.connect(cluster)
    try:
        script = DEPLOY / "postgres" / "init.sh"
        made = await asyncio.create_subprocess_exec(script, env=environment, stdout=PIPE, stderr=STDOUT)
        said, _ = await made.communicate()
        assert (made.returncode, said) == (0, b"")
        for name, password in zip(names, ("two", "three"), strict=True):
            own = server.set(username=name, password=password, database=name)
            database = Database(own.render_as_string(hide_password=False))
            await database.upgrade()
            assert await database.at_head()
            await database.close()
            (other,) = (each for each in names if each != name)
            stranger = own.set(database=other).render_as_string(hide_password=False)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await asyncpg.connect(stranger)
            assert await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = $1", name) is False
    finally:
        for name in names:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await admin.execute(f"DROP ROLE IF EXISTS {name}")
        await admin.close()
