"""The pretend EHR, the store behind it, and apps of each kind registered there, wired together without a network."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from starlette.responses import JSONResponse

from fhir_aftercare.sandbox.ehr import EhrClient, EhrSettings, EhrUser, FhirStore, Launch, PretendEhr, create_ehr
from fhir_aftercare.smart import (
    Access,
    BoundedHttp,
    ClientRegistration,
    Discovery,
    IdTokens,
    Launcher,
    MemoryLaunchStore,
    MemoryTokenStore,
    Registrations,
    ScopeTable,
    Sessions,
    TokenEndpoint,
)
from smart.clinic import RINGS, Clock

if TYPE_CHECKING:
    from fastapi import FastAPI

    from fhir_aftercare.smart import Departure, LaunchSession

ORIGIN, APP = "http://ehr.localhost:8001", "http://app.localhost:8000"
BASE, AUTH = f"{ORIGIN}/fhir", f"{ORIGIN}/auth"
REDIRECT = f"{APP}/smart/callback"
COOKIE = "a-session-cookie-of-128-random-bits"
VERIFIER = "a-verifier-that-is-long-enough-for-the-rules-of-pkce"
SECRET = "s3cret with: & %"
JWKS_URL = f"{APP}/.well-known/jwks.json"
NURSE = EhrUser("nurse", "Ngozi Okafor, nurse", "Practitioner/nurse")
PRESCRIBER = EhrUser("prescriber", "Ida Grey, prescriber", "Practitioner/grey")
APP_SCOPES = (
    "launch launch/patient launch/encounter openid fhirUser online_access offline_access "
    "user/Patient.rs user/Practitioner.r user/Encounter.rs user/CarePlan.crus user/Task.cruds "
    "user/Observation.crs?category=survey patient/Patient.rs patient/Task.cruds patient/Observation.rs "
    "user/Observation.rs"
)
TABLE = ScopeTable(
    access=(
        Access("user", "Patient", "rs"),
        Access("user", "CarePlan", "crus"),
        Access("user", "Observation", "crs", (("category", "survey"),)),
    ),
    context=("patient", "encounter"),
    refresh="online_access",
)
BACKEND_TABLE = ScopeTable(
    access=(Access("system", "CarePlan", "crus"), Access("system", "Encounter", "rs")), context=(), identity=False
)
API = "https://api.example.org"


def clients() -> tuple[EhrClient, ...]:
    pages = {"launch_url": f"{APP}/launch", "standalone_url": f"{APP}/standalone", "redirect_uris": (REDIRECT,)}
    return (
        EhrClient("app-public", "public", APP_SCOPES, "Aftercare", **pages),
        EhrClient("app/symmetric", "symmetric", APP_SCOPES, secret=SECRET, **pages),
        EhrClient("app-ES384", "asymmetric", APP_SCOPES, jwks=RINGS["ES384"].public_jwks(), **pages),
        EhrClient("app-RS384", "asymmetric", APP_SCOPES, jwks_url=JWKS_URL, **pages),
        EhrClient(
            "backend",
            "asymmetric",
            "system/CarePlan.crus system/Encounter.rs system/Task.cruds aftercare/plans.read",
            jwks=RINGS["ES384"].public_jwks(),
        ),
    )


class Hosts(httpx.AsyncBaseTransport):
    """Every host there is."""

    def __init__(self) -> None:
        self.apps: dict[str, httpx.ASGITransport] = {}
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        host = request.url.netloc.decode()
        if host not in self.apps:
            raise httpx.ConnectError("no such host")
        return await self.apps[host].handle_async_request(request)


async def app_keys(scope: Any, receive: Any, send: Any) -> None:
    """The app's own JWKS route."""
    await JSONResponse(RINGS["RS384"].public_jwks())(scope, receive, send)


@dataclass
class EhrWorld:
    """One EHR with the browser of its users (``http``), which follows no redirect."""

    store: FhirStore
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.hosts = Hosts()
        settings = EhrSettings(origin=ORIGIN, clients=clients(), users=(NURSE, PRESCRIBER), apis=(API,))
        self.app: FastAPI = create_ehr(settings, self.store, apps=self.hosts, now=self.clock.seconds)
        self.ehr: PretendEhr = self.app.state.ehr
        self.hosts.apps["ehr.localhost:8001"] = httpx.ASGITransport(self.app)
        self.hosts.apps["app.localhost:8000"] = httpx.ASGITransport(app_keys)
        self.http = httpx.AsyncClient(transport=self.hosts)

    # By hand, rule by rule

    def opened(self, patient: str, *, client: str = "app-public", user: EhrUser = NURSE, **more: Any) -> str:
        """Give the ``launch`` parameter of an app opened in a chart."""
        return self.ehr.launches.open(Launch(client, user, patient, **more))

    def asks(self, scope: str, /, *, client: str = "app-public", **changes: str | None) -> dict[str, str]:
        """Give an authorization request that keeps every rule, with some changes (None takes away)."""
        request: dict[str, str | None] = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": REDIRECT,
            "scope": scope,
            "state": secrets.token_urlsafe(32),
            "nonce": secrets.token_urlsafe(32),
            "aud": BASE,
            "code_challenge": create_s256_code_challenge(VERIFIER),
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in request.items() if value is not None}

    async def authorized(self, request: dict[str, str]) -> dict[str, str]:
        """Send an authorization request and give the parameters of the redirect."""
        answer = await self.http.get(f"{AUTH}/authorize", params=request)
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(f"{REDIRECT}?")
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query, keep_blank_values=True))

    async def code(self, patient: str, scope: str = "launch user/Patient.rs", **more: Any) -> str:
        """Give a code for an app opened in a patient's chart."""
        client = more.pop("client", "app-public")
        launch = self.opened(patient, client=client, **more)
        return (await self.authorized(self.asks(scope, client=client, launch=launch)))["code"]

    async def asks_token(self, **form: str) -> httpx.Response:
        """Ask the token endpoint as the public client; a code's request is filled up."""
        filled = {"client_id": "app-public", "grant_type": "authorization_code", **form}
        if filled["grant_type"] == "authorization_code":
            filled = {"redirect_uri": REDIRECT, "code_verifier": VERIFIER, **filled}
        return await self.http.post(f"{AUTH}/token", data=filled)

    async def tokens(self, patient: str, scope: str = "launch user/Patient.rs", **more: Any) -> dict[str, Any]:
        """Give the token answer of an app opened in a patient's chart."""
        answer = await self.asks_token(code=await self.code(patient, scope, **more))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def fhir(self, method: str, path: str, token: str | None, **more: Any) -> httpx.Response:
        """Call the EHR's FHIR base."""
        headers = {**more.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        if "json" in more:
            headers.setdefault("Content-Type", "application/fhir+json")
        return await self.http.request(method, f"{BASE}/{path}".rstrip("/"), headers=headers, **more)

    # As our own client

    def clinic(self, kind: str, alg: str = "ES384", **more: Any) -> Clinic:
        names = {"public": "app-public", "symmetric": "app/symmetric", "asymmetric": f"app-{alg}"}
        fields: dict[str, Any] = {"redirect_uri": REDIRECT, "scopes": TABLE, **more}
        if kind == "asymmetric":
            fields |= {"keys": RINGS[alg], "alg": alg}
        registration = ClientRegistration(
            clinic="harbor", iss=BASE, client_id=names[kind], kind=kind, **fields,
            secret=SECRET if kind == "symmetric" else None,
        )  # fmt: skip
        return Clinic(self, registration)


class Clinic:
    """Our SMART client, whole, at one registration."""

    def __init__(self, world: EhrWorld, registration: ClientRegistration) -> None:
        self.world = world
        bounded, registrations, now = BoundedHttp(world.http), Registrations([registration]), world.clock
        self.discovery, self.endpoint = Discovery(bounded, now=now), TokenEndpoint(bounded, now=now)
        store = MemoryTokenStore()
        self.launcher = Launcher(
            registrations, self.discovery, self.endpoint, IdTokens(bounded, now=now),
            launches=MemoryLaunchStore(), sessions=store, now=now,
        )  # fmt: skip
        self.sessions = Sessions(registrations, self.discovery, self.endpoint, store, now=now)
        self.client_id = registration.client_id

    async def depart(self, patient: str, **more: Any) -> Departure:
        """Begin the launch of a chart, as the address in its frame says."""
        launch = Launch(self.client_id, more.pop("user", NURSE), patient, **more)
        query = parse_qsl(urlsplit(self.world.ehr.launch_url(launch)).query)
        return await self.launcher.from_ehr(query, session=COOKIE)

    async def browser(self, departure: Departure) -> httpx.Response:
        """Go where the browser is sent."""
        if departure.method == "POST":
            return await self.world.http.post(departure.url, data=dict(departure.form))
        return await self.world.http.get(departure.url)

    async def come_back(self, answer: httpx.Response) -> LaunchSession:
        """Follow the redirect to the app's callback."""
        assert answer.status_code == 303, answer.text
        query = parse_qsl(urlsplit(answer.headers["location"]).query, keep_blank_values=True)
        return await self.launcher.finish(query, session=COOKIE)

    async def sign_in(self, patient: str, **more: Any) -> LaunchSession:
        """Launch from a chart and come back with tokens."""
        return await self.come_back(await self.browser(await self.depart(patient, **more)))
