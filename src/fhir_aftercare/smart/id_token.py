"""Who signed in: the id_token, checked as OpenID Connect Core §3.1.3.7 asks (integration §1.2 row 14).

Keys come only from the issuer expected for the clinic; no address and no key inside the token is ever used.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwt
from joserfc.errors import ClaimError, JoseError
from joserfc.jwt import JWTClaimsRegistry

from fhir_aftercare.smart import addresses
from fhir_aftercare.smart.faults import DiscoveryFault, IdTokenRefused
from fhir_aftercare.smart.issuer_key import ALGORITHMS, read_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.smart.discovery import SmartConfiguration
    from fhir_aftercare.smart.http import BoundedHttp
    from fhir_aftercare.smart.issuer_key import IssuerKey
    from fhir_aftercare.smart.registration import ClientRegistration

LEEWAY: Final = timedelta(seconds=60)
OLDEST: Final = timedelta(minutes=10)
KEYS_TTL: Final = timedelta(hours=1)
REFETCH_EVERY: Final = timedelta(minutes=1)
_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in, as proven: issuer and subject name the person, ``fhir_user`` is the claim as it came."""

    issuer: str
    subject: str
    fhir_user: str | None


@dataclass(frozen=True, slots=True)
class _IssuerKeys:
    read_at: datetime
    keys: tuple[IssuerKey, ...]

    def for_header(self, header: dict[str, Any]) -> list[IssuerKey]:
        """Give the keys that may have signed: those of the header's kid, else those without one; no kid, all."""
        able = [key for key in self.keys if key.can_check(str(header["alg"]))]
        kid = header.get("kid")
        named = [key for key in able if key.kid == kid]
        return able if kid is None else named or [key for key in able if key.kid is None]


class IdTokens:
    """Checks id_tokens; remembers each issuer's keys for an hour."""

    def __init__(self, http: BoundedHttp, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._http, self._now = http, now
        self._known: dict[str, _IssuerKeys] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def check(
        self,
        token: str,
        registration: ClientRegistration,
        configuration: SmartConfiguration,
        *,
        nonce: str,
        access_token: str,
    ) -> Identity:
        """Give the identity an id_token proves. Raises ``IdTokenRefused``, and what discovery of the issuer raises."""
        issuer = configuration.issuer
        if issuer is None:
            raise IdTokenRefused(
                "Nobody is known who may sign id_tokens for this EHR.", where="iss", remedy="Pin openid_issuer."
            )
        header, unproven = _peek(token)
        if header.get("alg") not in ALGORITHMS:
            raise IdTokenRefused("The id_token is not signed in a way that is accepted.", where="alg")
        if unproven.get("iss") != issuer:  # before any key is fetched
            raise IdTokenRefused("The id_token is another issuer's.", where="iss")
        claims = await self._proven(token, header, issuer)
        self._check_claims(claims, issuer, registration.client_id, nonce)
        _check_hash(claims, str(header["alg"]), access_token)
        fhir_user = claims.get("fhirUser")
        if fhir_user is not None and not isinstance(fhir_user, str):
            raise IdTokenRefused("fhirUser is not a text.", where="fhirUser")
        return Identity(issuer, claims["sub"], fhir_user)

    async def _proven(self, token: str, header: dict[str, Any], issuer: str) -> dict[str, Any]:
        known = await self._keys(issuer)
        claims = _verify(token, known.for_header(header), str(header["alg"]))
        if claims is None and self._now() - known.read_at >= REFETCH_EVERY:  # perhaps the issuer changed its keys
            known = await self._keys(issuer, newer_than=known.read_at)
            claims = _verify(token, known.for_header(header), str(header["alg"]))
        if claims is None:
            raise IdTokenRefused("The id_token's signature is not the issuer's.", where="signature")
        return claims

    async def _keys(self, issuer: str, *, newer_than: datetime | None = None) -> _IssuerKeys:
        async with self._asking.setdefault(issuer, asyncio.Lock()):
            known = self._known.get(issuer)
            fresh = known and self._now() - known.read_at < KEYS_TTL and known.read_at != newer_than
            if known and fresh:
                return known
            where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
            members = (await self._http.get(where, "openid-configuration")).json_object()
            if members.get("issuer") != issuer:
                raise DiscoveryFault("The OpenID configuration is another issuer's.", where="issuer")
            jwks_uri = addresses.endpoint(_absolute(members.get("jwks_uri")), "jwks_uri", base=issuer)
            keys = read_keys((await self._http.get(jwks_uri, "jwks_uri")).json_object())
            self._known[issuer] = _IssuerKeys(self._now(), keys)
            return self._known[issuer]

    def _check_claims(self, claims: dict[str, Any], issuer: str, client_id: str, nonce: str) -> None:
        now = int(self._now().timestamp())
        required = {name: {"essential": True} for name in ("sub", "exp", "iat", "nonce")}
        exact = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}}
        registry = JWTClaimsRegistry(now=now, leeway=int(LEEWAY.total_seconds()), **required, **exact)  # type: ignore[arg-type]
        try:
            registry.validate(claims)
        except ClaimError as fault:
            raise IdTokenRefused(f"The id_token is refused: {fault.error}.", where=fault.claim) from None
        audience = claims["aud"]
        if claims.get("azp", client_id) != client_id or (
            isinstance(audience, list) and len(audience) > 1 and "azp" not in claims
        ):
            raise IdTokenRefused("The id_token was made for another client.", where="azp")
        if claims["iat"] < now - (OLDEST + LEEWAY).total_seconds():
            raise IdTokenRefused("The id_token is from long before this launch.", where="iat")
        if not _same(claims["nonce"], nonce):
            raise IdTokenRefused("The id_token belongs to another launch.", where="nonce")
        if not claims["sub"] or len(claims["sub"]) > 255:
            raise IdTokenRefused("The id_token names nobody.", where="sub")


def _peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give header and claims of a token that nothing is proven of yet."""
    try:
        first, second, _ = token.split(".")
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (first, second))
    except (ValueError, RecursionError):
        raise IdTokenRefused("The id_token is not a signed JWT.", where="id_token") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise IdTokenRefused("The id_token is not a signed JWT.", where="id_token")
    return header, claims


def _verify(token: str, keys: list[IssuerKey], alg: str) -> dict[str, Any] | None:
    for key in keys:
        try:
            return jwt.decode(token, key.jose, algorithms=[alg]).claims
        except (JoseError, ValueError):
            continue  # another key of the same kind may have signed
    return None


def _check_hash(claims: dict[str, Any], alg: str, access_token: str) -> None:
    """Check at_hash where it is given: the id_token then belongs to this access token and no other."""
    given = claims.get("at_hash")
    if given is None:
        return
    digest = _HASHES[alg[2:]](access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if not _same(given, half):
        raise IdTokenRefused("The id_token belongs to another access token.", where="at_hash")


def _same(given: object, expected: str) -> bool:
    """Compare without telling by the time taken how much is right."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def _absolute(value: object) -> object:
    if isinstance(value, str) and "://" not in value:
        raise DiscoveryFault("jwks_uri is not an absolute URL.", where="jwks_uri")
    return value
