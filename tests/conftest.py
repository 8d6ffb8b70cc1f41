"""Fixtures for tests that need a FHIR server or a database. All servers start once per run, when first asked for.

``server``          runs the test twice, on the sandbox and on HAPI (that half is marked ``hapi``: ``-m "not hapi"``
                    needs Python alone). Has ``.name`` ("sandbox", "hapi"), ``.base_url``, ``.http`` (an httpx client
                    that reaches it) and ``.client(**options)``, which gives a FhirClient.
``fhir_client``     a FhirClient of ``server``.
``sandbox``         the sandbox alone, as the same kind of object.
``sandbox_store``   the sandbox's ASGI application, to mount elsewhere.
``sandbox_url``     its base URL; nothing listens there: use ``sandbox.http``.
``hapi``            HAPI alone, as the same kind of object. Mark such a test ``@pytest.mark.hapi``.
``hapi_url``        HAPI's base URL. Mark the test ``hapi``.
``official_validator``  the HL7 validator with our profiles: ``faults(resource)``. Mark the test ``hapi`` (Java).
``database_url``    runs the test twice, on SQLite in a file and on PostgreSQL (that half is marked ``postgres``): the
                    URL of an empty database of the test's own.
``postgres``        such a URL on PostgreSQL alone. Mark the test ``postgres``.
``validator``       HAPI with our profiles on it: ``hapi_validation.faults(validator, resource)`` asks $validate.

Servers keep what earlier tests wrote: a test makes its own patient and identifiers of its own. HAPI runs with its
default search cache of 60 s. ``FHIR_BASE_URL_HAPI=http://127.0.0.1:8080/fhir`` uses a server that already runs (start
it with ``HAPI_STORAGE_REUSECACHEDSEARCHRESULTSFORMILLIS=60000 make hapi``).
"""

from __future__ import annotations

import os
import signal
import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from fhir_aftercare.sandbox.store import SandboxStore, create_store
from hapi_validation import upload_profiles
from postgres import running_postgres
from servers import SANDBOX_URL, HapiServer, Server
from validator import OfficialValidator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from fhir_aftercare.ehr.client import FhirClient


# A shell has what it starts in the background ignore SIGINT, and all that we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database_url" in metafunc.fixturenames:
        both = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
        metafunc.parametrize("database_url", both, indirect=True)


@pytest.fixture(scope="session")
def sandbox_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxStore]:
    store = create_store(tmp_path_factory.mktemp("sandbox"), SANDBOX_URL)
    yield store
    store.close()


@pytest.fixture(scope="session")
def sandbox_url(sandbox_store: SandboxStore) -> str:
    return SANDBOX_URL


@pytest.fixture(scope="session")
def hapi_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    running = os.environ.get("FHIR_BASE_URL_HAPI")
    if running:
        yield running.rstrip("/")
        return
    hapi = HapiServer(tmp_path_factory.mktemp("hapi") / "hapi.log")
    hapi.start()
    yield hapi.base_url
    hapi.stop()


@pytest.fixture(scope="session")
async def sandbox(sandbox_store: SandboxStore) -> AsyncIterator[Server]:
    async with Server.reached("sandbox", SANDBOX_URL, sandbox_store) as server:
        yield server


@pytest.fixture(scope="session")
async def hapi(hapi_url: str) -> AsyncIterator[Server]:
    async with Server.reached("hapi", hapi_url) as server:
        yield server


@pytest.fixture(scope="session")
async def validator(hapi: Server) -> Server:
    await upload_profiles(hapi)
    return hapi


@pytest.fixture(scope="session")
def official_validator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficialValidator]:
    validator = OfficialValidator(tmp_path_factory.mktemp("validator") / "validator.log")
    validator.start()
    yield validator
    validator.stop()


@pytest.fixture(scope="session", params=["sandbox", pytest.param("hapi", marks=pytest.mark.hapi)])
def fhir_base(request: pytest.FixtureRequest) -> tuple[str, str, SandboxStore | None]:
    # Starting a server takes its time, so it happens here, outside the running loop.
    if request.param == "hapi":
        return "hapi", request.getfixturevalue("hapi_url"), None
    return "sandbox", SANDBOX_URL, request.getfixturevalue("sandbox_store")


@pytest.fixture(scope="session")
async def server(fhir_base: tuple[str, str, SandboxStore | None]) -> AsyncIterator[Server]:
    async with Server.reached(*fhir_base) as server:
        yield server


@pytest.fixture
def fhir_client(server: Server) -> FhirClient:
    return server.client()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture
async def postgres(postgres_server: str) -> AsyncIterator[str]:
    name = f"aftercare_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres_server)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state' / 'aftercare.db'}"


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres"))
