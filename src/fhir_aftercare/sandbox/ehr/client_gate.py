"""Who asks: client authentication exactly as registered, and in no other way (SMART 2.2 client authentication, §1.3).

Public clients name themselves, symmetric ones use HTTP Basic, asymmetric ones a JWT that is used once. What they may
then have is decided by ``token_endpoint``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from fhir_aftercare.sandbox.ehr.memory import Bounded
from fhir_aftercare.sandbox.ehr.requests import Refused, read_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from fhir_aftercare.sandbox.ehr.settings import EhrClient, EhrSettings

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS: Final = ("RS384", "ES384")
LONGEST_LIFE: Final = 300
JWKS_KEPT: Final = 60.0
_MOST_JTI: Final = 100_000
_MOST_JWKS_BYTES: Final = 256_000
_JWKS_SECONDS: Final = 10.0


class ClientGate:
    """Finds out which client asks. ``http`` is used for registered JWKS URLs only."""

    def __init__(self, settings: EhrSettings, http: httpx.AsyncClient, now: Callable[[], float]) -> None:
        self._settings, self._http, self._now = settings, http, now
        self._jti: Bounded[bool] = Bounded(_MOST_JTI, now)
        self._keys: Bounded[dict[str, Any]] = Bounded(1_000, now)

    async def admitted(self, request: Request) -> tuple[dict[str, str], EhrClient]:
        """Give the form and the client that sent it. Raises ``Refused`` (``invalid_client``, 401)."""
        form = await read_form(request)
        basic = request.headers.get("authorization")
        ways = [basic is not None, "client_assertion" in form or "client_assertion_type" in form]
        if all(ways) or "client_secret" in form:
            raise _nobody("one way of authentication, and never a secret in the body")
        if basic is not None:
            return form, self._by_secret(basic, form)
        if ways[1]:
            return form, await self._by_assertion(form)
        client = self._settings.client(form.get("client_id", ""))
        if client is None or client.kind != "public":
            raise _nobody("the client is not known, or must prove who it is")
        return form, client

    def _by_secret(self, header: str, form: dict[str, str]) -> EhrClient:
        scheme, _, packed = header.partition(" ")
        try:
            id_, colon, secret = base64.b64decode(packed, validate=True).decode("ascii").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _nobody("the Basic header cannot be read") from None
        # RFC 6749 §2.3.1: both are form-encoded before they are joined.
        client = self._settings.client(unquote_plus(id_))
        expected = client.secret if client is not None and client.kind == "symmetric" else None
        right = hmac.compare_digest(unquote_plus(secret).encode(), (expected or "").encode())
        named = form.get("client_id", unquote_plus(id_)) == unquote_plus(id_)
        if client is None or expected is None or not right or scheme.lower() != "basic" or not colon or not named:
            raise _nobody("Basic authentication failed")
        return client

    async def _by_assertion(self, form: dict[str, str]) -> EhrClient:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise _nobody("client_assertion_type")
        assertion = form.get("client_assertion", "")
        header, unproven = _peek(assertion)
        client = self._settings.client(str(unproven.get("iss")))
        if client is None or client.kind != "asymmetric" or form.get("client_id", client.client_id) != client.client_id:
            raise _nobody("the client is not registered for assertions")
        alg = header.get("alg")
        if alg not in ALGORITHMS or header.get("typ") != "JWT" or header.get("jku") not in {None, client.jwks_url}:
            raise _nobody("the assertion's header: alg RS384 or ES384, typ JWT, jku as registered")
        key = await self._key(client, header.get("kid"), str(alg))
        try:
            claims = jwt.decode(assertion, key, algorithms=[str(alg)]).claims
        except (JoseError, ValueError):
            raise _nobody("the assertion's signature") from None
        self._check_claims(claims, client)
        return client

    def _check_claims(self, claims: dict[str, Any], client: EhrClient) -> None:
        now, exp, jti = self._now(), claims.get("exp"), claims.get("jti")
        whole = isinstance(exp, int) and not isinstance(exp, bool)
        early = [claims[name] for name in ("iat", "nbf") if name in claims]
        rules = {
            "iss and sub are the client_id": claims.get("iss") == claims.get("sub") == client.client_id,
            "aud is the token endpoint": claims.get("aud") == self._settings.token_url,
            "exp is ahead, five minutes at most": whole and now < exp <= now + LONGEST_LIFE,  # type: ignore[operator]
            "iat and nbf are past": all(isinstance(at, int) and at <= now + 60 for at in early),
            "jti is a text": isinstance(jti, str) and 0 < len(jti) <= 256,
        }
        broken = [name for name, kept in rules.items() if not kept]
        if broken:
            raise _nobody(f"the assertion: {'; '.join(broken)}")
        seen = f"{client.client_id} {jti}"
        if self._jti.get(seen):
            raise _nobody("the assertion: jti was used before")
        self._jti.put(seen, True, LONGEST_LIFE + 1)

    async def _key(self, client: EhrClient, kid: object, alg: str) -> ECKey | RSAKey:
        for fresh in (False, True):
            found = [key for key in await self._jwks(client, fresh=fresh) if key.get("kid") == kid]
            if found:
                return _usable(found[0], alg)
            if client.jwks_url is None:
                break
        raise _nobody("the assertion's kid is not in the client's JWKS")

    async def _jwks(self, client: EhrClient, *, fresh: bool) -> list[dict[str, Any]]:
        if client.jwks_url is None:
            return _entries(dict(client.jwks or {}))
        kept = None if fresh else self._keys.get(client.jwks_url)
        if kept is None:
            try:
                answer = await self._http.get(client.jwks_url, timeout=_JWKS_SECONDS, follow_redirects=False)
                kept = answer.json() if answer.status_code == 200 and len(answer.content) <= _MOST_JWKS_BYTES else None
            except (httpx.HTTPError, ValueError):
                kept = None
            if not isinstance(kept, dict):
                raise _nobody("the client's JWKS cannot be read at its registered URL")
            self._keys.put(client.jwks_url, kept, JWKS_KEPT)
        return _entries(kept)


def _nobody(why: str) -> Refused:
    return Refused("invalid_client", why, 401)


def _peek(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give header and claims of which nothing is proven yet."""
    try:
        first, second, _ = assertion.split(".")
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (first, second))
    except (ValueError, RecursionError):
        raise _nobody("the assertion is not a signed JWT") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _nobody("the assertion is not a signed JWT")
    return header, claims


def _entries(jwks: dict[str, Any]) -> list[dict[str, Any]]:
    keys = jwks.get("keys")
    return [key for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []


def _usable(jwk: dict[str, Any], alg: str) -> ECKey | RSAKey:
    """Import the public half of a key that can check this algorithm."""
    members, kind = (("crv", "x", "y"), ECKey) if alg == "ES384" else (("n", "e"), RSAKey)
    if "d" in jwk:
        raise _nobody("the client's JWKS publishes a private key")
    try:
        key: ECKey | RSAKey = kind.import_key({name: jwk[name] for name in ("kty", *members)})
    except (JoseError, ValueError, KeyError, TypeError):
        raise _nobody("the client's key cannot be used with the assertion's alg") from None
    if isinstance(key, RSAKey) and key.raw_value.key_size < 2048:
        raise _nobody("the client's RSA key is shorter than 2048 bits")
    return key
