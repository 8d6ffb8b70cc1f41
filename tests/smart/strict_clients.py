"""Which clients a strict EHR knows, and how it finds out who asks its token endpoint: the part of ``strict_server``
that is as strict with client authentication as SMART 2.2 §client-confidential-asymmetric and -symmetric ask.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Refusal(Exception):
    """An OAuth error; ``why`` is for whoever reads a failed test."""

    def __init__(self, error: str, why: str, status: int = 400) -> None:
        super().__init__(f"{error}: {why}")
        self.error, self.why, self.status = error, why, status


@dataclass
class Client:
    """How a client is registered."""

    client_id: str
    kind: str
    redirect_uris: tuple[str, ...] = ()
    secret: str = ""
    jwks: Callable[[], dict[str, Any]] = dict
    jwks_url: str | None = None


class Gate:
    """Knows the registered clients. ``assertions`` keeps header and claims of every assertion whose signature held."""

    def __init__(self, token_url: str, clock: Callable[[], float]) -> None:
        self.token_url, self.clock = token_url, clock
        self.clients: dict[str, Client] = {}
        self.seen_jti: set[str] = set()
        self.assertions: list[tuple[dict[str, Any], dict[str, Any]]] = []

    async def authenticated(self, request: Request) -> tuple[dict[str, str], Client]:
        form = once(read_form((await request.body()).decode(), request.headers.get("content-type", "")))
        basic = request.headers.get("authorization")
        if basic is not None:
            client = self._by_password(basic, form)
        elif "client_assertion" in form:
            client = self._by_assertion(form)
        else:
            client = self.clients.get(form.get("client_id", ""), Client("", "nobody"))
            if client.kind != "public":
                raise Refusal("invalid_client", "no proof of who asks", 401)
        return form, client

    def _by_password(self, header: str, form: dict[str, str]) -> Client:
        scheme, _, packed = header.partition(" ")
        id_, _, secret = base64.b64decode(packed).decode().partition(":")
        client = self.clients.get(unquote_plus(id_), Client("", "nobody"))
        right = client.kind == "symmetric" and client.secret == unquote_plus(secret) and scheme == "Basic"
        if not right or "client_id" in form or "client_secret" in form:
            raise Refusal("invalid_client", "Basic", 401)
        return client

    def _by_assertion(self, form: dict[str, str]) -> Client:
        packed = form["client_assertion"].split(".")[1]
        client_id = json.loads(base64.urlsafe_b64decode(packed + "=="))["iss"]
        client = self.clients.get(client_id, Client("", "nobody"))
        try:
            token = jwt.decode(
                form["client_assertion"], KeySet.import_key_set(client.jwks()), algorithms=["ES384", "RS384"]
            )
        except JoseError as fault:
            raise Refusal("invalid_client", f"assertion: {fault}", 401) from fault
        header, claims = token.header, token.claims
        self.assertions.append((header, claims))
        rules = {
            "client_assertion_type": form.get("client_assertion_type") == ASSERTION_TYPE,
            "client_id": "client_id" not in form,
            "kind": client.kind == "asymmetric",
            "typ": header.get("typ") == "JWT",
            "kid": header.get("kid") in {key["kid"] for key in client.jwks()["keys"]},
            "jku": header.get("jku") in {None, client.jwks_url},
            "sub": claims.get("sub") == claims.get("iss") == client.client_id,
            "aud": claims.get("aud") == self.token_url,
            "exp": isinstance(claims.get("exp"), int) and self.clock() < claims["exp"] <= self.clock() + 300,
            "jti": isinstance(claims.get("jti"), str) and claims["jti"] not in self.seen_jti,
        }
        self.seen_jti.add(str(claims.get("jti")))
        broken = [name for name, kept in rules.items() if not kept]
        if broken:
            raise Refusal("invalid_client", ", ".join(broken), 401)
        return client


def read_form(body: str, content_type: str) -> list[tuple[str, str]]:
    if content_type.partition(";")[0] != "application/x-www-form-urlencoded":
        raise Refusal("invalid_request", "content type")
    return parse_qsl(body, keep_blank_values=True, strict_parsing=True)


def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    if len(dict(pairs)) != len(pairs):
        raise Refusal("invalid_request", "a parameter is given twice")
    return dict(pairs)
