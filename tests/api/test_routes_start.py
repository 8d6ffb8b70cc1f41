"""What the service makes of its clinics' files when it starts: those that can run do, the others are told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from structlog.testing import capture_logs

from api.service import API
from fhir_aftercare.config import Settings
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.service import create_app

if TYPE_CHECKING:
    from pathlib import Path

HARBOR = """
name = "Harbor Clinic"
fhir_base_url = "http://127.0.0.1:9/fhir"
identifier_base = "https://fhir-aftercare.example.org/test"
zone = "America/New_York"
organization = "Organization/1"
phone = "+1 555 0100"
call_hours = { mon = "09:00-18:00" }
"""


def settings(folder: Path) -> Settings:
    return Settings(clinics=folder, database_url=f"sqlite:///{folder / 'aftercare.db'}", metrics_port=0)


async def test_a_faulty_clinic_is_told_of_with_every_fault_and_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "harbor.toml").write_text(HARBOR)
    (tmp_path / "hillside.toml").write_text(HARBOR.replace("America/New_York", "Mars").replace("Organization/1", "1"))
    (tmp_path / "lakeside.toml").write_text("name =")
    app = create_app(settings(tmp_path))
    with capture_logs() as lines:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=API) as http,
        ):
            ready = await http.get("/readyz")
            known = await http.get("/v1/clinics/harbor/patients/1/aftercare")
            unknown = await http.get("/v1/clinics/hillside/patients/1/aftercare")
    assert (ready.status_code, ready.json()["clinics"]) == (200, {"running": 1, "refused": 2})
    assert (known.status_code, known.json()["code"]) == (503, "fhir-unreachable")
    assert (unknown.status_code, unknown.json()["where"]) == (404, ["clinic"])
    refused = [(line["file"], line["error"]) for line in lines if line["event"] == "clinic refused"]
    assert {file for file, _ in refused} == {"hillside.toml", "lakeside.toml"}
    hillside = [fault.partition(":")[0] for file, fault in refused if file == "hillside.toml"]
    assert sorted(hillside) == ["organization", "zone"]


async def test_without_a_folder_of_clinics_it_does_not_start(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path).model_copy(update={"clinics": tmp_path / "nowhere"}))
    with pytest.raises(ConfigFault, match="no folder"):
        async with app.router.lifespan_context(app):
            pass
