"""A clinic's whole house on this machine: a pretend EHR in front of a FHIR server, and the service that it launches.

    async with house(FhirStore(base_url, transport)) as at: …        # at.ehr_url, at.app_url, at.chart_url(patient)

Both are real sites on ports of the loopback interface, as names under ``localhost``; the service has its own keys,
database and clinic file, made for the run and gone with it. TEST DATA only.
"""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import httpx
from pydantic import SecretStr

from fhir_aftercare.api.wellknown import JWKS
from fhir_aftercare.config import Settings
from fhir_aftercare.demo import people
from fhir_aftercare.demo.sites import listener, port_of, serving
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.sandbox.ehr import EhrClient, EhrSettings, EhrUser, LocalNames, create_ehr
from fhir_aftercare.service import create_app
from fhir_aftercare.smart.keys import KeyRing
from fhir_aftercare.smart.vault import Vault
from fhir_aftercare.smart_settings import BACKEND_SCOPES
from fhir_aftercare.ui.asked import PAGE_SCOPES
from fhir_aftercare.ui.launching import CALLBACK

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from fastapi import FastAPI
    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.sandbox.ehr import FhirStore, PretendEhr

PAGES: Final = "aftercare-pages"
SERVICE: Final = "aftercare-service"
NURSE, PRESCRIBER = "nurse", "prescriber"


@dataclass(frozen=True, slots=True)
class House:
    """What runs. ``ehr_url`` and ``app_url`` are origins; ``ehr`` holds the pretend EHR's faults and launches;
    ``app`` is the service; ``nurse`` and ``prescriber`` are references on the FHIR server.
    """

    ehr_url: str
    app_url: str
    ehr: PretendEhr
    app: FastAPI
    clinic: Clinic
    nurse: str
    prescriber: str

    @property
    def api_url(self) -> str:
        """The clinic's part of the REST API."""
        return f"{self.app_url}/v1/clinics/{self.clinic.id}"

    def chart_url(self, patient: str, *, user: str = NURSE, width: str = "panel") -> str:
        """Give the chart of a patient (``Patient/7``) with the app in it; ``width`` is panel or full."""
        query = {"user": user, "client": PAGES, "patient": patient.removeprefix("Patient/"), "width": width}
        return f"{self.ehr_url}/chart?{urlencode(query)}"


@asynccontextmanager
async def house(
    store: FhirStore,
    *,
    ehr: socket.socket | None = None,
    app: socket.socket | None = None,
    identifier_base: str = terms.BASE,
    work: bool = True,
) -> AsyncIterator[House]:
    """Run both sites while the block runs; ``store`` gets the clinic and its staff if they are not there.

    ``ehr`` and ``app`` are the ports to serve them on (``sites.listener``), free ones if None; they are closed at the
    end. ``work``: also do the durable work and the sweeps, which one house of a process can. Raises ``ConfigFault``,
    and what the FHIR server's client raises.
    """
    async with AsyncExitStack() as running:
        at_ehr, at_app = (running.enter_context(each or listener()) for each in (ehr, app))
        ehr_url = f"http://ehr.localhost:{port_of(at_ehr)}"
        app_url = f"http://app.localhost:{port_of(at_app)}"
        async with httpx.AsyncClient(transport=store.transport) as http:
            fhir, identifiers = FhirClient(store.base_url, http), Identifiers(identifier_base)
            clinic = await people.create_clinic(fhir, identifiers)
            nurse = await people.create_nurse(fhir, identifiers)
            prescriber = await people.create_prescriber(fhir, identifiers)
        users = (
            EhrUser(NURSE, "Ngozi Okafor, nurse", nurse),
            EhrUser(PRESCRIBER, "Ida Grey, prescriber", prescriber),
        )
        known = EhrSettings(origin=ehr_url, clients=_clients(app_url), users=users)
        pretend = create_ehr(known, store)
        await running.enter_async_context(pretend.router.lifespan_context(pretend))
        await running.enter_async_context(serving(pretend, at_ehr))
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="fhir-aftercare-")))
        settings = _settings(folder, app_url, people.clinic_file(clinic, identifier_base, _tables(known)), work=work)
        service = create_app(settings, reach=LocalNames)
        # The first sweep asks for a token while the service starts, and the EHR then for the service's keys.
        at_app.listen()
        await running.enter_async_context(service.router.lifespan_context(service))
        await running.enter_async_context(serving(service, at_app))
        yield House(ehr_url, app_url, pretend.state.ehr, service, clinic, nurse, prescriber)


def _clients(app_url: str) -> tuple[EhrClient, ...]:
    """Register the pages, which people launch, and the service itself."""
    return (
        EhrClient(
            PAGES,
            "public",
            f"{PAGE_SCOPES.for_launch(2, from_ehr=True)} launch/encounter",
            "Aftercare",
            redirect_uris=(f"{app_url}{CALLBACK}",),
            launch_url=f"{app_url}/launch",
            standalone_url=f"{app_url}/launch/demo",
        ),
        EhrClient(SERVICE, "asymmetric", " ".join(BACKEND_SCOPES), "Aftercare (service)", jwks_url=f"{app_url}{JWKS}"),
    )


def _tables(ehr: EhrSettings) -> dict[str, Any]:
    """Give what the clinic's file says of this EHR."""
    return {
        "fhir_base_url": ehr.fhir_base,
        "smart": {"client_id": PAGES, "frame_ancestors": [ehr.origin], "backend": {"client_id": SERVICE}},
    }


def _settings(folder: Path, app_url: str, clinic_file: str, *, work: bool) -> Settings:
    """Make keys and the clinic's file, and give the settings of the service."""
    clinics, keys = folder / "clinics", folder / "keys.json"
    clinics.mkdir()
    (clinics / "demo.toml").write_text(clinic_file, "utf-8")
    KeyRing.new("ES384").save(keys)
    return _OfThisRun(
        clinics=clinics,
        keys=keys,
        vault_keys=SecretStr(Vault.new_key()),
        public_url=app_url,
        database_url=f"sqlite:///{folder / 'aftercare.db'}",
        metrics_port=0,
        work=work,
    )


class _OfThisRun(Settings):
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given here alone: the environment is another service's."""
        return (init_settings,)
