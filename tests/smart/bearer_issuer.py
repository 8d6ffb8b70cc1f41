"""A pretend authorization server for access tokens to our API: metadata, key set, introspection, all switchable.

It shares no code with what it tests. ``http`` reaches it without a network; ``asked`` lists the paths it was asked for.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import httpx
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

ISSUER = "https://login.example"
OTHER_ISSUER = "https://elsewhere.example"
AUDIENCE = "https://aftercare.harbor-clinic.com"
METADATA, JWKS, INTROSPECTION = "/.well-known/openid-configuration", "/jwks", "/introspect"
KEYS: dict[str, ECKey | RSAKey] = {
    "ES256": ECKey.generate_key("P-256"),
    "ES384": ECKey.generate_key("P-384"),
    "RS256": RSAKey.generate_key(2048),
}
ATTACKER = ECKey.generate_key("P-384")
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time

    def move(self, **by: float) -> None:
        self.time += timedelta(**by)


@dataclass
class Issuer:
    """The server. ``keys`` are published by kid; ``active`` are the opaque tokens it knows, with their claims."""

    clock: Hands = field(default_factory=Hands)
    keys: dict[str, ECKey | RSAKey] = field(default_factory=lambda: {"first": KEYS["ES384"]})
    active: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    extra_keys: list[dict[str, Any]] = field(default_factory=list)
    # What is answered instead, by path: a response, or an error of the network.
    instead: dict[str, Response | Exception] = field(default_factory=dict)
    slow: float = 0.0

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.asked)

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=_Network(self), follow_redirects=True)

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Give good claims; ``None`` takes one out."""
        now = int(self.clock().timestamp())
        good = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "service-account-7",
            "client_id": "portal",
            "iat": now,
            "exp": now + 300,
            "jti": "one-of-many",
            "scope": "aftercare/plans.read aftercare/plans.write",
            "clinic": "harbor",
        }
        return {name: value for name, value in {**good, **changed}.items() if value is not None}

    def token(
        self,
        claims: dict[str, Any] | None = None,
        *,
        kid: str | None = "first",
        header: dict[str, Any] | None = None,
        key: ECKey | RSAKey | OctKey | None = None,
        **changed: Any,
    ) -> str:
        """Give a signed token; ``changed`` are claims, members of ``header`` that are None go."""
        key = key or self.keys[kid or "first"]
        alg = {"EC": "ES256" if isinstance(key, ECKey) and key.curve_name == "P-256" else "ES384", "RSA": "RS256"}
        head = {"alg": alg.get(key.key_type, "HS256"), "typ": "at+jwt", "kid": kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        payload = json.dumps(self.claims(**changed) if claims is None else claims).encode()
        registry = jws.JWSRegistry(algorithms=[str(head["alg"])], strict_check_header=False)
        return jws.serialize_compact(head, payload, key, registry=registry)

    async def serve_metadata(self, _: Request) -> Response:
        return JSONResponse({"issuer": ISSUER, "jwks_uri": ISSUER + JWKS, **self.metadata})

    async def serve_jwks(self, _: Request) -> Response:
        published = [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in self.keys.items()]
        return JSONResponse({"keys": [*self.extra_keys, *published]})

    async def introspect(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        self.forms.append(form)
        self.authorizations.append(request.headers.get("authorization", ""))
        claims = self.active.get(form["token"][0])
        return JSONResponse({"active": True, **claims} if claims is not None else {"active": False})


class _Network(httpx.AsyncBaseTransport):
    """The only way out: knows the issuer's host and no other."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        app = Starlette(
            routes=[
                Route(METADATA, issuer.serve_metadata),
                Route(JWKS, issuer.serve_jwks),
                Route(INTROSPECTION, issuer.introspect, methods=["POST"]),
            ]
        )
        self._transport = httpx.ASGITransport(app=app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.host == "login.example", "another host was asked"
        self._issuer.asked.append(request.url.path)
        if self._issuer.slow:
            await asyncio.sleep(self._issuer.slow)
        instead = self._issuer.instead.get(request.url.path)
        if isinstance(instead, Exception):
            raise instead
        if instead is not None:
            return httpx.Response(instead.status_code, headers=dict(instead.headers), content=bytes(instead.body))
        return await self._transport.handle_async_request(request)


def down() -> httpx.ConnectError:
    """Nobody listens."""
    return httpx.ConnectError("refused")
