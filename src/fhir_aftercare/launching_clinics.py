"""Makes a clinic's SMART clients from its settings: the one people launch, and the one for unattended work.

Raises what a registration refuses, with the clinic's name. Imported only where a clinic has a ``[smart]`` table:
others start without any cryptography.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from fhir_aftercare.api.wellknown import JWKS
from fhir_aftercare.config import LoadedClinics
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.smart import scopes
from fhir_aftercare.smart.backend import BackendTokens
from fhir_aftercare.smart.discovery import Discovery
from fhir_aftercare.smart.http import BoundedHttp, new_client
from fhir_aftercare.smart.registration import ClientRegistration, Legacy
from fhir_aftercare.smart.scopes import ScopeTable
from fhir_aftercare.smart.tokens import TokenEndpoint
from fhir_aftercare.smart.vault import Vault
from fhir_aftercare.ui.asked import PAGE_SCOPES
from fhir_aftercare.ui.door import ClinicPages, opened
from fhir_aftercare.ui.launching import CALLBACK
from fhir_aftercare.ui.routes import ui_router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from fastapi import FastAPI

    from fhir_aftercare.config import ClinicSettings, Settings
    from fhir_aftercare.ehr.transport import CallRecord
    from fhir_aftercare.flows.clock import Clock
    from fhir_aftercare.flows.context import Clinics
    from fhir_aftercare.smart.keys import Signer
    from fhir_aftercare.store.database import Database

_OLD = {"no-s256": Legacy.NO_S256, "oauth-uris": Legacy.OAUTH_URIS}


def app_of(name: str, clinic: ClinicSettings, public_url: str, keys: Signer | None) -> ClientRegistration:
    """Give the client that people launch. Raises ``ConfigFault``."""
    smart = clinic.smart
    if smart is None or smart.client_id is None:
        raise ConfigFault(["the clinic names no client that is launched"], where=name)
    asymmetric = smart.kind == "asymmetric"
    return ClientRegistration(
        clinic=name,
        iss=clinic.fhir_base_url,
        client_id=smart.client_id,
        kind=smart.kind,
        scopes=PAGE_SCOPES,
        redirect_uri=f"{public_url}{CALLBACK}",
        launch_url=f"{public_url}/launch",
        secret=smart.secret,
        keys=keys if asymmetric else None,
        alg=smart.alg,
        jwks_url=f"{public_url}{JWKS}" if asymmetric else None,
        openid_issuer=smart.openid_issuer,
        legacy=frozenset(_OLD[each] for each in smart.old),
        allow_cookieless_callback=smart.allow_cookieless_callback,
    )


def backend_of(name: str, clinic: ClinicSettings, public_url: str | None, keys: Signer | None) -> ClientRegistration:
    """Give the service's own client at the clinic's FHIR server. Raises ``ConfigFault``."""
    smart = clinic.smart
    if smart is None or smart.backend_id is None:
        raise ConfigFault(["the clinic names no client of the service"], where=name)
    asked = scopes.parse(" ".join(smart.backend_scopes)).access
    return ClientRegistration(
        clinic=name,
        iss=clinic.fhir_base_url,
        client_id=smart.backend_id,
        kind="asymmetric",
        scopes=ScopeTable(asked, context=(), identity=False),
        keys=keys,
        alg=smart.alg,
        jwks_url=f"{public_url}{JWKS}" if public_url else None,
    )


def with_usable_ehrs(loaded: LoadedClinics, settings: Settings, keys: Signer | None) -> LoadedClinics:
    """Give the clinics without those whose ``[smart]`` table cannot be used; their faults are listed, others run."""
    faults = dict(loaded.faults)
    for name, each in loaded.clinics.items():
        found = [*_lacking(each, settings)]
        try:
            if each.smart is not None and each.smart.client_id is not None and settings.public_url is not None:
                app_of(name, each, settings.public_url, keys)
            if each.smart is not None and each.smart.backend_id is not None:
                backend_of(name, each, settings.public_url, keys)
        except ConfigFault as fault:
            found += [f"smart: {text}" for text in fault.faults]
        if found:
            faults[f"{name}.toml"] = ConfigFault(found, where=name)
    running = {name: each for name, each in loaded.clinics.items() if f"{name}.toml" not in faults}
    return LoadedClinics(running, faults)


def _lacking(clinic: ClinicSettings, settings: Settings) -> Iterator[str]:
    if clinic.smart is None or clinic.smart.client_id is None:
        return
    if settings.public_url is None:
        yield "smart: AFTERCARE_PUBLIC_URL is missing: the EHR sends people back to it"
    if settings.vault_keys is None:
        yield "smart: AFTERCARE_VAULT_KEYS is missing: tokens are stored sealed"


@asynccontextmanager
async def backend_tokens(
    clinics: Mapping[str, ClinicSettings],
    public_url: str | None,
    keys: Signer | None,
    *,
    reach: Callable[[], httpx.AsyncBaseTransport] | None = None,
) -> AsyncIterator[Mapping[str, BackendTokens]]:
    """Give the token provider of each clinic whose FHIR server asks for tokens. Raises ``ConfigFault``.

    ``reach`` gives the way to the EHRs: the network if None.
    """
    async with new_client(reach() if reach else None) as client:
        http = BoundedHttp(client)
        discovery, endpoint = Discovery(http), TokenEndpoint(http)
        yield {
            name: BackendTokens(backend_of(name, each, public_url, keys), discovery, endpoint)
            for name, each in clinics.items()
            if each.smart is not None and each.smart.backend_id is not None
        }


@asynccontextmanager
async def pages_of(
    app: FastAPI,
    settings: Settings,
    known: Mapping[str, ClinicSettings],
    *,
    clinics: Clinics,
    database: Database,
    keys: Signer | None,
    clock: Clock,
    on_call: Callable[[CallRecord], None] | None = None,
    reach: Callable[[], httpx.AsyncBaseTransport] | None = None,
) -> AsyncIterator[None]:
    """Let the clinics' EHRs launch the pages while the block runs. Raises ``ConfigFault`` for keys that are none.

    ``reach`` gives the way to the EHRs: the network if None.
    """
    launched = {name: each for name, each in known.items() if each.smart is not None and each.smart.client_id}
    if not launched or settings.public_url is None or settings.vault_keys is None:
        yield
        return
    vault = Vault(settings.vault_keys.get_secret_value().split())
    pages = [
        ClinicPages(
            app_of(name, each, settings.public_url, keys),
            each.smart.frame_ancestors,
            each.smart.idle,
            each.smart.write_as,
            each.smart.prescribers,
        )
        for name, each in launched.items()
        if each.smart is not None
    ]
    async with (
        new_client(reach() if reach else None) as client,
        httpx.AsyncClient(transport=reach() if reach else None) as fhir,
        opened(
            pages, clinics, database, vault, smart=BoundedHttp(client), fhir=fhir, on_call=on_call, now=clock
        ) as door,
    ):
        app.state.door = door
        app.include_router(ui_router())
        yield
