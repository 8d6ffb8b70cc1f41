"""A clinic's client and the pretend EHRs it meets, wired together without a network: what the tests of smart/ share.

``Internet`` is the only way out: it records every request, so that a test can say what went where, and knows no other
host than those it was given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from fhir_aftercare.smart import (
    Access,
    BackendTokens,
    BoundedHttp,
    ClientRegistration,
    Discovery,
    IdTokens,
    KeyRing,
    Launcher,
    Limits,
    MemoryLaunchStore,
    MemoryTokenStore,
    Registrations,
    ScopeTable,
    Sessions,
    TokenEndpoint,
)
from smart.strict_clients import Client

if TYPE_CHECKING:
    from fhir_aftercare.smart import Departure, LaunchSession
    from smart.strict_server import StrictEhr

REDIRECT = "https://app.example/smart/callback"
COOKIE = "a-session-cookie-of-128-random-bits"
USER_SCOPES = ScopeTable(
    access=(
        Access("user", "Patient", "r"),
        Access("user", "CarePlan", "crus"),
        Access("user", "Observation", "crs", (("category", "survey"),)),
    ),
    context=("patient", "encounter"),
    refresh="online_access",
)
SYSTEM_SCOPES = ScopeTable(
    access=(Access("system", "CarePlan", "crus"), Access("system", "Encounter", "rs")), context=(), identity=False
)
RINGS = {alg: KeyRing.new(alg) for alg in ("ES384", "RS384")}


class Clock:
    """The time, which stands still until it is moved. Both sides read it."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return self.time.timestamp()

    def move(self, **by: float) -> None:
        self.time += timedelta(**by)


class Internet(httpx.AsyncBaseTransport):
    """Every host there is. ``answers`` may answer for an address instead (the longest fitting beginning counts)."""

    def __init__(self, *ehrs: StrictEhr) -> None:
        self.hosts: dict[str, httpx.ASGITransport] = {}
        self.answers: dict[str, Any] = {}
        self.requests: list[httpx.Request] = []
        for ehr in ehrs:
            for host in (ehr.fhir_host, ehr.login_host):
                self.hosts[host] = httpx.ASGITransport(ehr.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        fitting = [start for start in self.answers if str(request.url).startswith(start)]
        if fitting:
            return await self.answers[max(fitting, key=len)](request)
        if request.url.host not in self.hosts:
            raise httpx.ConnectError("no such host")
        return await self.hosts[request.url.host].handle_async_request(request)

    def asked(self, part: str) -> list[httpx.Request]:
        """Give the requests whose address holds ``part``."""
        return [request for request in self.requests if part in str(request.url)]


@dataclass
class Clinic:
    """One service: its registrations, its client and its stores. ``browser`` follows what the user's browser would."""

    registrations: Registrations
    internet: Internet
    clock: Clock
    limits: Limits = field(default_factory=lambda: Limits(seconds=0.5))

    def __post_init__(self) -> None:
        self.http = httpx.AsyncClient(transport=self.internet)
        self.bounded = BoundedHttp(self.http, self.limits)
        self.discovery = Discovery(self.bounded, now=self.clock)
        self.endpoint = TokenEndpoint(self.bounded, now=self.clock)
        self.id_tokens = IdTokens(self.bounded, now=self.clock)
        self.launches, self.store = MemoryLaunchStore(), MemoryTokenStore()
        self.launcher = Launcher(
            self.registrations,
            self.discovery,
            self.endpoint,
            self.id_tokens,
            launches=self.launches,
            sessions=self.store,
            now=self.clock,
        )
        self.sessions = Sessions(self.registrations, self.discovery, self.endpoint, self.store, now=self.clock)

    def backend(self, registration: ClientRegistration) -> BackendTokens:
        return BackendTokens(registration, self.discovery, self.endpoint, now=self.clock)

    async def depart(self, ehr: StrictEhr, *, cookie: str = COOKIE, **chart: Any) -> Departure:
        """Begin a launch from a chart."""
        launch = ehr.open_chart(**(chart or {"patient": "pat-1", "encounter": "enc-1"}))
        return await self.launcher.from_ehr([("iss", ehr.base), ("launch", launch)], session=cookie)

    async def browser(self, departure: Departure) -> list[tuple[str, str]]:
        """Go where the browser is sent, let the EHR say yes, and give the parameters of the callback."""
        if departure.method == "POST":
            answer = await self.http.post(departure.url, data=dict(departure.form))
        else:
            answer = await self.http.get(departure.url)
        assert answer.status_code == 302, answer.text
        assert answer.headers["location"].startswith(REDIRECT)
        return parse_qsl(urlsplit(answer.headers["location"]).query, keep_blank_values=True)

    async def sign_in(self, ehr: StrictEhr, *, cookie: str | None = COOKIE, **chart: Any) -> LaunchSession:
        """Launch from a chart and come back with tokens."""
        departure = await self.depart(ehr, **chart)
        return await self.launcher.finish(await self.browser(departure), session=cookie)


def registered(ehr: StrictEhr, *, clinic: str = "harbor", kind: Any = "asymmetric", **more: Any) -> ClientRegistration:
    """Register a client on both sides and give the clinic's side of it."""
    alg = more.get("alg", "ES384")
    secret = "s3cret with: & %" if kind == "symmetric" else ""
    client_id = more.pop("client_id", f"app of {clinic}/{kind}")
    ring = RINGS[alg] if kind == "asymmetric" else None
    ehr.register(Client(client_id, kind, (REDIRECT,), secret, RINGS[alg].public_jwks, more.get("jwks_url")))
    fields: dict[str, Any] = {"scopes": USER_SCOPES, "redirect_uri": REDIRECT, **more}
    return ClientRegistration(
        clinic=clinic, iss=ehr.base, client_id=client_id, kind=kind, secret=secret or None, keys=ring, **fields
    )


def backend_of(ehr: StrictEhr, **more: Any) -> ClientRegistration:
    """Register a backend client on both sides."""
    return registered(ehr, client_id="backend", **{"scopes": SYSTEM_SCOPES, "redirect_uri": None, **more})
