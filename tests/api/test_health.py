"""Health for orchestrators, and the documentation page."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from fhir_aftercare.api import health
from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.api.health import Check, health_router, of_protocol, of_store
from fhir_aftercare.store.database import Database


def app_with(*checks: Check, clinics: tuple[int, int] = (2, 0), docs: bool = False) -> FastAPI:
    app = make_app("Test", "1", Machinery(docs=docs))
    app.include_router(health_router(checks, lambda: clinics))
    return app


async def test_a_process_that_serves_is_alive(reach: Callable[..., Any]) -> None:
    async with reach(app_with()) as http:
        answer = await http.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_it_becomes_ready_when_the_tables_are_those_of_this_version(
    tmp_path: Path, reach: Callable[..., Any]
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'aftercare.db'}")
    async with reach(app_with(*of_store(database), of_protocol(lambda: True))) as http:
        before = await http.get("/readyz")
        await database.upgrade()
        after = await http.get("/readyz")
    await database.close()
    assert before.status_code == 503
    assert before.json()["checks"] == {"store": "ok", "migrations": "failing", "protocol": "ok"}
    assert after.status_code == 200
    assert after.json() == {
        "status": "ready",
        "checks": {"store": "ok", "migrations": "ok", "protocol": "ok"},
        "clinics": {"running": 2, "refused": 0},
    }


async def test_refused_clinics_are_told_by_number_and_keep_nobody_from_work(reach: Callable[..., Any]) -> None:
    async with reach(app_with(of_protocol(lambda: True), clinics=(1, 2))) as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["clinics"]) == (200, {"running": 1, "refused": 2})


async def test_without_a_protocol_it_is_not_ready(reach: Callable[..., Any]) -> None:
    async with reach(app_with(of_protocol(lambda: False))) as http:
        assert (await http.get("/readyz")).status_code == 503


async def test_a_check_that_hangs_or_raises_counts_as_failing_and_holds_nobody_up(
    reach: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs() -> bool:
        await asyncio.sleep(60)
        return True

    async def raises() -> bool:
        raise KeyError("postgresql://me:secret@host")

    monkeypatch.setattr(health, "PROBE_SECONDS", 0.05)
    async with reach(app_with(Check("slow", hangs), Check("broken", raises))) as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]) == (503, {"slow": "failing", "broken": "failing"})
    assert "secret" not in answer.text


async def test_probes_do_not_fill_the_log(reach: Callable[..., Any]) -> None:
    with capture_logs() as lines:
        async with reach(app_with()) as http:
            await http.get("/livez")
            await http.get("/readyz")
    assert {line["log_level"] for line in lines} == {"debug"}


async def test_the_documentation_is_served_whole_from_this_process(reach: Callable[..., Any]) -> None:
    async with reach(app_with(docs=True)) as http:
        page = await http.get("/docs")
        addresses = re.findall(r'(?:src|href|data-openapi)="([^"]+)"', page.text)
        for address in addresses:
            if not address.startswith("data:"):
                found = await http.get(address)
                assert found.status_code == 200
                assert found.content
        assert (await http.get("/docs/assets/../../../pyproject.toml")).status_code == 404
    assert "/openapi.json" in addresses
    assert "//" not in page.text.replace("<!DOCTYPE html>", "")


async def test_the_documentation_runs_no_inline_script_and_asks_nobody_else(reach: Callable[..., Any]) -> None:
    async with reach(app_with(docs=True)) as http:
        page, start = await http.get("/docs"), await http.get("/docs/start.js")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in policy
    assert not re.search(r"<script>|\son\w+=", page.text)
    assert "validatorUrl: null" in start.text


async def test_the_documentation_can_be_switched_off(reach: Callable[..., Any]) -> None:
    async with reach(app_with(docs=False)) as http:
        for path in ("/docs", "/docs/start.js", "/docs/assets/swagger-ui.css", "/redoc"):
            assert (await http.get(path)).status_code == 404


async def test_the_documentation_works_below_a_prefix(reach: Callable[..., Any]) -> None:
    app = app_with(docs=True)
    app.root_path = "/aftercare"
    async with reach(app) as http:
        page = await http.get("/aftercare/docs")
    assert 'data-openapi="/aftercare/openapi.json"' in page.text
    assert 'src="/aftercare/docs/start.js"' in page.text
