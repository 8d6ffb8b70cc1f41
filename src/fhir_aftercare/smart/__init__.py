"""A SMART App Launch 2.2 client for FHIR R4 EHRs, whole and by itself: it needs httpx, joserfc and cryptography.

    client = http.new_client()
    bounded = BoundedHttp(client)
    registrations = Registrations([ClientRegistration(clinic="harbor", iss="https://ehr.example/fhir", …)])
    discovery, endpoint = Discovery(bounded), TokenEndpoint(bounded)
    launcher = Launcher(registrations, discovery, endpoint, IdTokens(bounded), launches=…, sessions=…)
    departure = await launcher.from_ehr(query_pairs, session=cookie)      # send the browser to departure.url
    arrived = await launcher.finish(callback_pairs, session=cookie)       # tokens, context, user, what is missing
    tokens = SessionTokens(Sessions(registrations, discovery, endpoint, store), arrived.launch_id)
    service = BackendTokens(backend_registration, discovery, endpoint)    # unattended work

Cookies, pages, the FHIR calls themselves and where records are stored are the caller's.
"""

from __future__ import annotations

from fhir_aftercare.smart.backend import BackendTokens
from fhir_aftercare.smart.context import ContextItem, FhirUser, LaunchContext
from fhir_aftercare.smart.discovery import Discovery, SmartConfiguration
from fhir_aftercare.smart.http import BoundedHttp, Limits
from fhir_aftercare.smart.id_token import Identity, IdTokens
from fhir_aftercare.smart.keys import Key, KeyRing, new_key
from fhir_aftercare.smart.launch import Departure, Launcher, LaunchRecord, LaunchStore
from fhir_aftercare.smart.memory import MemoryLaunchStore, MemoryTokenStore
from fhir_aftercare.smart.registration import ClientRegistration, Legacy, Registrations
from fhir_aftercare.smart.scopes import Access, Granted, ScopeTable
from fhir_aftercare.smart.session import LaunchSession, Sessions, SessionTokens, TokenStore
from fhir_aftercare.smart.tokens import TokenEndpoint, TokenSet
from fhir_aftercare.smart.vault import Vault

__all__ = [
    "Access",
    "BackendTokens",
    "BoundedHttp",
    "ClientRegistration",
    "ContextItem",
    "Departure",
    "Discovery",
    "FhirUser",
    "Granted",
    "IdTokens",
    "Identity",
    "Key",
    "KeyRing",
    "LaunchContext",
    "LaunchRecord",
    "LaunchSession",
    "LaunchStore",
    "Launcher",
    "Legacy",
    "Limits",
    "MemoryLaunchStore",
    "MemoryTokenStore",
    "Registrations",
    "ScopeTable",
    "SessionTokens",
    "Sessions",
    "SmartConfiguration",
    "TokenEndpoint",
    "TokenSet",
    "TokenStore",
    "Vault",
    "new_key",
]
