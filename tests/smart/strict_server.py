"""A pretend EHR that is strict: a FHIR base and an authorization server that refuse whatever SMART 2.2 does not allow.

One ASGI application per EHR, for two hosts: ``ehr.example`` (FHIR base ``/fhir``) and ``login.ehr.example`` (OAuth and
OpenID). ``faults`` switches on what a bad or attacked server does. It shares no code with the client it tests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from joserfc import jws
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from smart.strict_clients import Client, Gate, Refusal, once, read_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

SCOPE = re.compile(
    r"launch|launch/[a-z]+(\?role=\S+)?|openid|fhirUser|online_access|offline_access"
    r"|(patient|user|system)/(\*|[A-Z][A-Za-z]+)\.(c?r?u?d?s?(\?\S+=\S+)?|read|write|\*)"
)


@dataclass
class Faults:
    """What this server does wrong, or is made to do. Members of ``token``, ``claims`` and ``config`` set to None go."""

    authorize_error: str | None = None
    token_error: tuple[int, str] | None = None
    granted: str | None = None
    token: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    openid: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
    callback: dict[str, str] = field(default_factory=dict)
    rotates: bool = True
    expires_in: int = 3600
    refuse_revocation: bool = False


class StrictEhr:
    """The EHR. ``clock`` gives seconds since 1970; ``complaints`` lists every refusal with its reason."""

    def __init__(self, name: str = "ehr", *, clock: Callable[[], float] = time.time) -> None:
        self.fhir_host, self.login_host = f"{name}.example", f"login.{name}.example"
        self.base, self.issuer = f"https://{self.fhir_host}/fhir", f"https://{self.login_host}"
        self.token_url = f"{self.issuer}/token"
        self.clock, self.faults = clock, Faults()
        self.gate = Gate(self.token_url, clock)
        self.keys = [ECKey.generate_key("P-384")]
        self.key_ids = True
        self.launches: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, dict[str, Any]] = {}
        self.access: dict[str, dict[str, Any]] = {}
        self.refresh: dict[str, dict[str, Any]] = {}
        self.authorizations: list[dict[str, str]] = []
        self.token_requests: list[dict[str, str]] = []
        self.fhir_calls: list[str] = []
        self.complaints: list[str] = []
        self.revoked: list[str] = []
        self.theft_noticed = False
        self.app = Starlette(
            routes=[
                Route("/fhir/.well-known/smart-configuration", self.configuration),
                Route("/fhir/metadata", self.metadata),
                Route("/fhir/{type}/{id}", self.read),
                Route("/.well-known/openid-configuration", self.openid_configuration),
                Route("/jwks", self.jwks),
                Route("/authorize", self.authorize, methods=["GET", "POST"]),
                Route("/token", self.token, methods=["POST"]),
                Route("/revoke", self.revoke, methods=["POST"]),
            ],
            exception_handlers={Refusal: self.refused},
        )

    def register(self, client: Client) -> None:
        self.gate.clients[client.client_id] = client

    def open_chart(self, **context: Any) -> str:
        """Give the ``launch`` parameter of an app opened in a chart."""
        launch = secrets.token_urlsafe(16)
        self.launches[launch] = context
        return launch

    def new_keys(self) -> None:
        self.keys = [ECKey.generate_key("P-384")]

    # What it publishes

    async def configuration(self, _: Request) -> Response:
        document = {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/jwks",
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": self.token_url,
            "revocation_endpoint": f"{self.issuer}/revoke",
            "grant_types_supported": ["authorization_code", "client_credentials"],
            "capabilities": ["launch-ehr", "launch-standalone", "permission-v1", "permission-v2", "authorize-post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return JSONResponse(_changed(document, self.faults.config))

    async def metadata(self, _: Request) -> Response:
        uris = [
            {"url": "authorize", "valueUri": f"{self.issuer}/authorize"},
            {"url": "token", "valueUri": self.token_url},
        ]
        extension = {"url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris", "extension": uris}
        return JSONResponse({"resourceType": "CapabilityStatement", "rest": [{"security": {"extension": [extension]}}]})

    async def openid_configuration(self, _: Request) -> Response:
        document = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}
        return JSONResponse(_changed(document, self.faults.openid))

    async def jwks(self, _: Request) -> Response:
        keys = [key.as_dict(private=False) for key in self.keys]
        named = [{**key, "kid": self.kid(i)} if self.key_ids else key for i, key in enumerate(keys)]
        return JSONResponse({"keys": named})

    def kid(self, index: int = -1) -> str:
        return self.keys[index].thumbprint()

    # Authorization

    async def authorize(self, request: Request) -> Response:
        if request.method == "POST":
            pairs = read_form((await request.body()).decode(), request.headers.get("content-type", ""))
        else:
            pairs = parse_qsl(request.url.query, keep_blank_values=True)
        given = once(pairs)
        self.authorizations.append(given)
        client = self.gate.clients.get(given.get("client_id", ""))
        if client is None or given.get("redirect_uri") not in client.redirect_uris:
            raise Refusal("invalid_request", "unknown client or redirect_uri: never redirected")
        answer = {"state": given.get("state", ""), "iss": self.issuer}
        try:
            answer["code"] = self._code(given, client)
        except Refusal as refusal:
            self.complaints.append(str(refusal))
            answer |= {"error": refusal.error, "error_description": "Sam Doe <script>"}
        answer = {name: value for name, value in (answer | self.faults.callback).items() if value != ""}
        return RedirectResponse(f"{given['redirect_uri']}?{urlencode(answer)}", status_code=302)

    def _code(self, given: dict[str, str], client: Client) -> str:
        if self.faults.authorize_error:
            raise Refusal(self.faults.authorize_error, "switched on")
        scope = given.get("scope", "").split(" ")
        launch = self.launches.pop(given["launch"], None) if "launch" in given else {}
        rules = {
            "response_type": given.get("response_type") == "code",
            "aud": given.get("aud") == self.base,
            "state": len(given.get("state", "")) >= 22,
            "code_challenge": bool(re.fullmatch(r"[A-Za-z0-9_-]{43}", given.get("code_challenge", ""))),
            "code_challenge_method": given.get("code_challenge_method") == "S256",
            "launch": launch is not None and ("launch" in given) == ("launch" in scope),
            "scope": all(SCOPE.fullmatch(each) for each in scope) and len(set(scope)) == len(scope),
            "nonce": "openid" not in scope or len(given.get("nonce", "")) >= 22,
            "max_age": "max_age" not in given and "auth_time" not in given and "claims" not in given,
        }
        broken = [name for name, kept in rules.items() if not kept]
        if broken:
            raise Refusal("invalid_request", ", ".join(broken))
        code = secrets.token_urlsafe(24)
        context = launch or {"patient": "pat-7", "encounter": "enc-9"}
        self.codes[code] = {**given, "client": client.client_id, "context": context, "used": False}
        return code

    # Tokens

    async def token(self, request: Request) -> Response:
        form, client = await self.gate.authenticated(request)
        self.token_requests.append(form)
        if self.faults.token_error:
            status, error = self.faults.token_error
            raise Refusal(error, "switched on", status)
        grants = {
            "authorization_code": self._by_code,
            "refresh_token": self._by_refresh,
            "client_credentials": self._own,
        }
        if form.get("grant_type") not in grants:
            raise Refusal("unsupported_grant_type", "grant_type")
        answer = grants[form["grant_type"]](form, client)
        return JSONResponse(_changed(answer, self.faults.token), headers={"Cache-Control": "no-store"})

    def _by_code(self, form: dict[str, str], client: Client) -> dict[str, Any]:
        kept = self.codes.get(form.get("code", ""))
        if kept is None or kept["used"] or kept["client"] != client.client_id:
            raise Refusal("invalid_grant", "code unknown, used, or another client's")
        kept["used"] = True
        if form.get("redirect_uri") != kept["redirect_uri"]:
            raise Refusal("invalid_grant", "redirect_uri")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != kept["code_challenge"]:
            raise Refusal("invalid_grant", "code_verifier")
        scope = self.faults.granted if self.faults.granted is not None else kept["scope"]
        answer = self._tokens(scope, client, kept["context"])
        if "openid" in scope.split(" "):
            answer["id_token"] = self._id_token(client, kept.get("nonce"), answer["access_token"])
        return {**answer, **kept["context"]}

    def _by_refresh(self, form: dict[str, str], client: Client) -> dict[str, Any]:
        kept = self.refresh.get(form.get("refresh_token", ""))
        if kept is None or kept["client"] != client.client_id:
            raise Refusal("invalid_grant", "refresh_token unknown")
        if kept["used"] and self.faults.rotates:
            self.theft_noticed = True
            raise Refusal("invalid_grant", "refresh_token used twice")
        kept["used"] = True
        asked = form.get("scope", kept["scope"]).split(" ")
        if not set(asked) <= set(kept["scope"].split(" ")):
            raise Refusal("invalid_scope", "more than was granted")
        return self._tokens(self.faults.granted or " ".join(asked), client, kept["context"])

    def _own(self, form: dict[str, str], client: Client) -> dict[str, Any]:
        scope = form.get("scope", "")
        if client.kind != "asymmetric" or not scope or not all(s.startswith("system/") for s in scope.split(" ")):
            raise Refusal("invalid_scope", "backend services: asymmetric, system/ scopes")
        if not all(SCOPE.fullmatch(each) for each in scope.split(" ")):
            raise Refusal("invalid_scope", "syntax")
        answer = self._tokens(self.faults.granted or scope, client, {})
        answer.pop("refresh_token", None)
        return answer

    def _tokens(self, scope: str, client: Client, context: dict[str, Any]) -> dict[str, Any]:
        access, kept = secrets.token_urlsafe(24), {"client": client.client_id, "scope": scope, "context": context}
        self.access[access] = {**kept, "until": self.clock() + self.faults.expires_in}
        answer = {"access_token": access, "token_type": "Bearer", "expires_in": self.faults.expires_in, "scope": scope}
        if {"online_access", "offline_access"} & set(scope.split(" ")):
            answer["refresh_token"] = secrets.token_urlsafe(24)
            self.refresh[answer["refresh_token"]] = {**kept, "used": False}
        return answer

    def _id_token(self, client: Client, nonce: str | None, access_token: str) -> str:
        now = int(self.clock())
        half = hashlib.sha384(access_token.encode()).digest()[:24]
        claims = {
            "iss": self.issuer,
            "sub": "dr-grey",
            "aud": client.client_id,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
            "fhirUser": f"{self.base}/Practitioner/dr-grey",
        }
        header = {"alg": "ES384", **({"kid": self.kid()} if self.key_ids else {})}
        claims = _changed(claims, self.faults.claims)
        if self.faults.sign:
            return self.faults.sign(header, claims)
        return jws.serialize_compact({**header, "typ": "JWT"}, json.dumps(claims), self.keys[-1], algorithms=["ES384"])

    async def revoke(self, request: Request) -> Response:
        form, _ = await self.gate.authenticated(request)
        if self.faults.refuse_revocation:
            raise Refusal("server_error", "switched on", 503)
        token = form.get("token", "")
        self.revoked.append(token)
        self.access.pop(token, None)
        self.refresh.pop(token, None)
        return Response(status_code=200)

    async def read(self, request: Request) -> Response:
        self.fhir_calls.append(request.url.path)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        kept = self.access.get(token)
        if scheme != "Bearer" or kept is None or kept["until"] <= self.clock():
            return JSONResponse({"resourceType": "OperationOutcome"}, status_code=401)
        type_, id_ = request.path_params["type"], request.path_params["id"]
        return JSONResponse({"resourceType": type_, "id": id_}, media_type="application/fhir+json")

    async def refused(self, _: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)
        self.complaints.append(str(refusal))
        return JSONResponse(
            {"error": refusal.error, "error_description": "Sam Doe, born 1980"}, status_code=refusal.status
        )


def _changed(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**document, **changes}.items() if value is not None}
