"""A pretend EHR that calls the CDS Hooks services: its keys, its tokens, its FHIR server (a real one), its calls.

async with calling(world) as ehr:
    answer = await ehr.call(patient, encounter, token="…")        the hook, signed
    ehr.asked                                                     what reached the FHIR server and the key address
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.flows.context import Clinics
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.intake.cds_data import templates
from fhir_aftercare.intake.cds_hooks import CdsHooks, Times
from fhir_aftercare.intake.cds_replays import MemoryReplays
from fhir_aftercare.intake.cds_routes import cds_router
from fhir_aftercare.intake.cds_settings import CdsClient, CdsSettings
from flows.cases import recording, visit
from intake.inboxes import RecordingInbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from world import World

Resource = dict[str, Any]

API = "http://api.localhost"
ISS = "https://ehr.example.com"
JKU = "http://keys.localhost/jwks.json"
LAUNCH = "https://aftercare.harbor.test/launch"
# What the EHR lets the service read with, for one call.
TOKEN = "for-this-call-only"
ORIGIN = "https://ehr.example.com"
SETTINGS = CdsSettings(API, LAUNCH, (CdsClient(ISS, (JKU,)),), frozenset({ORIGIN}))
KEY = ECKey.generate_key("P-384", {"kid": "ehr-1", "use": "sig", "alg": "ES384"})
RSA = RSAKey.generate_key(2048, {"kid": "ehr-rsa", "use": "sig"})
OTHER_KEY = ECKey.generate_key("P-384", {"kid": "ehr-1"})

# So that a slow machine does not decide what a card says. What is about time uses the real ones.
UNHURRIED = Times(answer=60, token=30, look=50, keep=5)

SERVICES = "/cds/harbor/cds-services"
SERVICE = f"{SERVICES}/aftercare-discharge"
FEEDBACK = f"{SERVICE}/feedback"
ROOT_SERVICE = "/cds-services/aftercare-discharge"


def token(path: str, *, key: ECKey | RSAKey = KEY, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    """Sign a token for a path; claims and header members may be given, or taken out with None."""
    now = int(time.time())
    body = {
        "iss": ISS, "aud": f"{API}{path}", "iat": now, "exp": now + 240, "jti": str(uuid.uuid4()), **claims,
    }  # fmt: skip
    alg = "ES384" if isinstance(key, ECKey) else "RS384"
    head = {"alg": alg, "typ": "JWT", "kid": key.kid, **(header or {})}
    head, body = ({name: each for name, each in given.items() if each is not None} for given in (head, body))
    return jwt.encode(head, body, key, algorithms=[head["alg"]])


class Network(httpx.AsyncBaseTransport):
    """What the service can reach: the EHR's keys, and the FHIR server of the test. Anything else does not exist."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.keys: list[ECKey | RSAKey] = [KEY, RSA]
        self.asked: list[httpx.Request] = []
        self.key_delay = self.fhir_delay = 0.0
        self.key_answer: Callable[[], httpx.Response] | None = None
        self.more_headers: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        if str(request.url) == JKU:
            await asyncio.sleep(self.key_delay)
            if self.key_answer:
                return self.key_answer()
            return httpx.Response(200, json={"keys": [each.as_dict(private=False) for each in self.keys]})
        if not str(request.url).startswith(self._world.server.base_url):
            raise httpx.ConnectError("no such host", request=request)
        await asyncio.sleep(self.fhir_delay)
        headers = {k: v for k, v in request.headers.items() if k not in {"host", "content-length"}}
        answer = await self._world.server.http.request(
            request.method, request.url, headers=headers, content=request.content
        )
        kept = {k: v for k, v in answer.headers.items() if k not in {"content-encoding", "transfer-encoding"}}
        return httpx.Response(answer.status_code, headers={**kept, **self.more_headers}, content=answer.content)


@dataclass
class Ehr:
    """The EHR, and the service it calls."""

    world: World
    http: httpx.AsyncClient
    network: Network
    inbox: RecordingInbox
    replays: MemoryReplays = field(default_factory=MemoryReplays)

    @property
    def asked_of_fhir(self) -> list[httpx.Request]:
        """What was sent to the FHIR server on behalf of the calls."""
        return [each for each in self.network.asked if str(each.url) != JKU]

    async def get(self, path: str, signed: str | None = "") -> httpx.Response:
        return await self.http.get(path, headers=bearer(token(path) if signed == "" else signed))

    async def post(self, path: str, body: Any, signed: str | None = "", **headers: str) -> httpx.Response:
        """Post a body (bytes as they are), signed for the path, or with another token, or None."""
        given = {"content-type": "application/json", **bearer(token(path) if signed == "" else signed), **headers}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post(path, content=content, headers=given)

    async def call(self, patient: str, encounter: str, path: str = SERVICE, **more: Any) -> httpx.Response:
        return await self.post(path, self.hook(patient, encounter, **more))

    def hook(self, patient: str, encounter: str, *, token: str | None = TOKEN, **more: Any) -> Resource:
        """Give the body of a hook call."""
        body: Resource = {
            "hook": "encounter-discharge",
            "hookInstance": str(uuid.uuid4()),
            "context": {
                "userId": "Practitioner/9",
                "patientId": patient.partition("/")[2],
                "encounterId": encounter.partition("/")[2],
            },
        }
        if token:
            body["fhirServer"] = self.world.server.base_url
            body["fhirAuthorization"] = {
                "access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": "user/*.rs", "subject": "us",
            }  # fmt: skip
        return {**body, **more}

    async def prefetch(self, patient: str, encounter: str) -> Resource:
        """Give what the templates ask for, as the FHIR server has it."""
        found = {}
        for key, template in templates(self.world.context).items():
            query = template.replace("{{context.patientId}}", patient.partition("/")[2])
            query = query.replace("{{context.encounterId}}", encounter.partition("/")[2])
            assert "{{" not in query
            url = f"{self.world.server.base_url}/{query}"
            answer = await self.world.server.http.get(url, headers={"cache-control": "no-cache"})
            assert answer.status_code == 200, (query, answer.text)
            found[key] = answer.json()
        return found

    async def infusion(self, **more: Any) -> tuple[str, str]:
        """Make a patient whose infusion is recorded, and who wants to leave now."""
        patient, encounter = await visit(self.world)
        await record_infusion(self.world.context, recording(self.world, patient, encounter, **more))
        return patient, encounter


def bearer(signed: str | None) -> dict[str, str]:
    return {} if signed is None else {"authorization": f"Bearer {signed}"}


@asynccontextmanager
async def calling(
    world: World,
    settings: Mapping[str, CdsSettings] | None = None,
    *,
    inbox: RecordingInbox | None = None,
    others: Mapping[str, Any] | None = None,
    times: Times = UNHURRIED,
) -> AsyncIterator[Ehr]:
    """Run the services for a world's clinic, and give its EHR. ``others`` are contexts of further clinics."""
    inbox, network, replays = inbox or RecordingInbox(), Network(world), MemoryReplays()
    app = make_app("cds", "1", Machinery(docs=False))
    app.include_router(cds_router())
    given = {"harbor": SETTINGS} if settings is None else settings
    async with CdsHooks.opened(given, replays, inbox, times=times, transport=network) as hooks:
        app.state.cds_hooks = hooks
        app.state.clinics = Clinics({"harbor": world.context, **(others or {})})
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=API) as http:
            yield Ehr(world, http, network, inbox, replays)


def elsewhere(world: World, clinic: str) -> Any:
    """Give the context of another clinic on the same FHIR server."""
    return replace(world.context, clinic=replace(world.context.clinic, id=clinic))
