"""Who calls our API: checks an access token and says for which clinics and for what it is good (integration §3, Auth).

    bearer = BearerTokens(Trust(issuers=("https://login.example",), audience="https://api.example", …), bounded_http)
    caller = await bearer.caller(token)

A signed token (RFC 9068) is checked with its issuer's keys; any other is looked up at the authorization server. What
an address of the API demands, and what is answered, is the API's. Nothing of a token stands in a message or a log.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwt
from joserfc.errors import ClaimError, JoseError
from joserfc.jwt import JWTClaimsRegistry

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.smart import addresses, scopes
from fhir_aftercare.smart.bearer_faults import TokenRejected
from fhir_aftercare.smart.bearer_keys import IssuerKeys
from fhir_aftercare.smart.faults import UnsafeAddress
from fhir_aftercare.smart.issuer_key import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fhir_aftercare.smart.http import BoundedHttp
    from fhir_aftercare.smart.introspection import Introspection
    from fhir_aftercare.smart.issuer_key import IssuerKey

LARGEST_TOKEN: Final = 16_384
LEEWAY: Final = timedelta(seconds=60)
MOST_CLINICS: Final = 1_000
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_CLINIC: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ACCESS_TOKEN_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
_PLAIN_TYPES: Final = frozenset({"jwt", "application/jwt"})
# Claims of an id_token or a logout token, and what Keycloak calls its own kinds of token.
_OF_OTHER_TOKENS: Final = ("nonce", "at_hash", "c_hash", "s_hash", "events")
_OTHER_KINDS: Final = frozenset({"id", "refresh", "offline", "logout"})
# RFC 9068 and RFC 7662; OpenID Connect; Okta; Entra ID.
_CLIENT_CLAIMS: Final = ("client_id", "azp", "cid", "appid")
_LATEST: Final = 1e11
_MOST_SCOPE_TEXTS: Final = 256
_SAID: Final = {
    "expired_token": "The access token has expired.",
    "missing_claim": "The access token lacks a claim that it needs.",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the registered client, whom its token stands for, and for which clinics and what.

    ``scopes`` are as granted, ``permissions`` what they mean here. ``issuer`` and ``client`` name the client together.
    """

    client: str
    subject: str
    clinics: frozenset[str]
    scopes: frozenset[str]
    permissions: frozenset[str]
    issuer: str


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose tokens are accepted, and how they are read. Raises ``ConfigFault`` with all faults at once.

    ``permissions``: each permission with the sets of scopes of which one must be granted whole; a SMART v2 scope of a
    set is granted by any SMART scope that covers it. ``clinic_claim`` names the claim with a clinic's id or a list of
    them. ``plain_jwt`` also accepts tokens whose header calls them ``JWT``, as issuers before RFC 9068 do; an id_token
    of the same issuer is then told apart only by its audience and claims.
    """

    issuers: tuple[str, ...]
    audience: str
    permissions: Mapping[str, Iterable[frozenset[str]]]
    clinic_claim: str = "clinic"
    plain_jwt: bool = False
    algorithms: tuple[str, ...] = ALGORITHMS
    leeway: timedelta = LEEWAY

    def __post_init__(self) -> None:
        faults = [] if self.issuers else ["issuers: at least one is needed"]
        for issuer in self.issuers:
            try:
                addresses.base_url(issuer, "issuers")
            except UnsafeAddress as fault:
                faults.append(f"issuers: {fault.message}")
        if not self.audience:
            faults.append("audience: is missing")
        if not set(self.algorithms) <= set(ALGORITHMS):
            faults.append(f"algorithms: must be of {', '.join(ALGORITHMS)}")
        if not timedelta(0) <= self.leeway <= LEEWAY:
            faults.append("leeway: must be 60 seconds at most")
        if faults:
            raise ConfigFault(faults, where="issuers")


class BearerTokens:
    """Tells who holds a token. ``introspection`` is for opaque tokens; ``revocable``: its issuer's signed ones too."""

    def __init__(
        self,
        trust: Trust,
        http: BoundedHttp,
        *,
        introspection: Introspection | None = None,
        revocable: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._trust, self._introspection, self._revocable, self._now = trust, introspection, revocable, now
        self._keys = {issuer: IssuerKeys(issuer, http, now=now) for issuer in trust.issuers}
        # A client asks for the same scopes each time.
        self._permissions = lru_cache(maxsize=_MOST_SCOPE_TEXTS)(partial(_permissions_of, trust.permissions))
        # An opaque token's issuer and end are known to the server that is asked; it need not repeat them.
        self._signed_claims, self._told_claims = self._rules(essential=True), self._rules(essential=False)

    async def caller(self, token: str) -> Caller:
        """Give who calls. Raises ``TokenRejected`` and ``IssuerUnavailable``."""
        if len(token) > LARGEST_TOKEN or not _TOKEN.fullmatch(token):
            raise TokenRejected("The access token is malformed.", where="token")
        header = _peek(token, 0)
        if header is not None and "alg" in header:
            return await self._signed(token, header)
        if self._introspection is None:
            raise TokenRejected("The access token is not a signed JWT.", where="token")
        claims = await self._introspection.claims(token)
        self._check(claims, self._told_claims)
        if str(claims.get("token_type", "bearer")).lower() != "bearer":
            raise TokenRejected("The access token is not a bearer token.", where="token_type")
        return self._caller(claims, self._introspection.issuer)

    async def close(self) -> None:
        """Stop what is being asked."""
        for keys in self._keys.values():
            await keys.close()
        if self._introspection:
            await self._introspection.close()

    def _rules(self, *, essential: bool) -> JWTClaimsRegistry:
        rules: dict[str, Any] = {
            "iss": {"essential": essential, "values": list(self._trust.issuers)},
            "exp": {"essential": essential},
            "aud": {"essential": True, "value": self._trust.audience},
        }
        leeway = int(self._trust.leeway.total_seconds())
        return JWTClaimsRegistry(now=lambda: int(self._now().timestamp()), leeway=leeway, **rules)

    async def _signed(self, token: str, header: Mapping[str, Any]) -> Caller:
        self._check_header(header)
        unproven = (_peek(token, 1) or {}).get("iss")
        keys = self._keys.get(unproven) if isinstance(unproven, str) else None
        if keys is None:  # before anything is fetched
            raise TokenRejected("The access token is of another issuer.", where="iss")
        claims = await _proven(token, header, keys)
        if claims.get("iss") != unproven:
            raise TokenRejected("The access token is of another issuer.", where="iss")
        self._check(claims, self._signed_claims)
        if str(header.get("typ", "jwt")).lower() not in _ACCESS_TOKEN_TYPES and _is_another_kind(claims):
            raise TokenRejected("The token is not an access token.", where="typ")
        if self._revocable and self._introspection and self._introspection.issuer == unproven:
            await self._introspection.claims(token)
        return self._caller(claims, str(unproven))

    def _check_header(self, header: Mapping[str, Any]) -> None:
        if header["alg"] not in self._trust.algorithms:
            raise TokenRejected("The access token is not signed in a way that is accepted.", where="alg")
        if "crit" in header or not isinstance(header.get("kid", ""), str):
            raise TokenRejected(
                "The access token's header cannot be used.", where="crit" if "crit" in header else "kid"
            )
        typ = header.get("typ")
        accepted = _ACCESS_TOKEN_TYPES | (_PLAIN_TYPES if self._trust.plain_jwt else frozenset())
        if typ is not None and str(typ).lower() not in accepted:
            raise TokenRejected("The token's header does not call it an access token.", where="typ")

    def _check(self, claims: Mapping[str, Any], registry: JWTClaimsRegistry) -> None:
        try:
            registry.validate(dict(claims))
        except ClaimError as fault:
            message = _SAID.get(fault.error, "The access token is not good for this API now.")
            raise TokenRejected(message, where=fault.claim) from None
        exp = claims.get("exp", 0)
        if not exp < _LATEST:  # NaN and infinity pass every other comparison
            raise TokenRejected("The access token never expires.", where="exp")
        if "cnf" in claims:  # RFC 9449 §7.2, RFC 8705: it is no bearer token, and the proof is not looked at here
            raise TokenRejected("The access token is bound to a key.", where="cnf")

    def _caller(self, claims: Mapping[str, Any], issuer: str) -> Caller:
        subject = claims.get("sub")
        subject = subject if isinstance(subject, str) else ""
        named = (claims.get(name) for name in _CLIENT_CLAIMS)
        client = next((name for name in named if isinstance(name, str) and name), subject)
        if not client or len(client) > 255 or len(subject) > 255:
            raise TokenRejected("The access token names no client.", where="client_id")
        text = _scope_text(claims)
        try:
            permissions = self._permissions(text)
        except ValueError:
            raise TokenRejected("The access token's scope is malformed.", where="scope") from None
        clinics = _clinics(claims.get(self._trust.clinic_claim))
        return Caller(client, subject, clinics, frozenset(text.split()), permissions, issuer)


def _permissions_of(table: Mapping[str, Iterable[frozenset[str]]], text: str) -> frozenset[str]:
    granted = scopes.parse(text)
    return frozenset(
        name for name, ways in table.items() if any(all(_covers(granted, scope) for scope in way) for way in ways)
    )


def _peek(token: str, part: int) -> dict[str, Any] | None:
    """Give header (0) or claims (1) of a signed JWT of which nothing is proven; None if it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[part] + "=="))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


async def _proven(token: str, header: Mapping[str, Any], keys: IssuerKeys) -> dict[str, Any]:
    alg, kid = str(header["alg"]), header.get("kid")
    known = await keys.known()
    claims = _verified(token, known.for_token(kid, alg), alg)
    if claims is None and not known.names(kid):  # perhaps the issuer has changed its keys
        newer = await keys.newer_than(known)
        claims = _verified(token, newer.for_token(kid, alg), alg) if newer is not known else None
    if claims is None:
        raise TokenRejected("The access token's signature is not the issuer's.", where="signature")
    return claims


def _verified(token: str, keys: Iterable[IssuerKey], alg: str) -> dict[str, Any] | None:
    for key in keys:
        try:
            return jwt.decode(token, key.jose, algorithms=[alg]).claims
        except (JoseError, ValueError, RecursionError):
            continue  # another key of the same kind may have signed
    return None


def _is_another_kind(claims: Mapping[str, Any]) -> bool:
    named = str(claims.get("typ", "")).lower()
    return named in _OTHER_KINDS or any(name in claims for name in _OF_OTHER_TOKENS)


def _scope_text(claims: Mapping[str, Any]) -> str:
    for name in ("scope", "scp"):
        match claims.get(name):
            case str(text):
                return text
            case list(entries) if all(isinstance(entry, str) for entry in entries):
                return " ".join(entries)
            case _:
                continue
    return ""


def _covers(granted: scopes.Granted, scope: str) -> bool:
    if scope in granted.others:
        return True
    wanted = scopes.parse(scope).access
    return bool(wanted) and all(
        granted.allows(line.type, letter, line.where, levels=(line.level,)) for line in wanted for letter in line.can
    )


def _clinics(claim: Any) -> frozenset[str]:
    """Give the clinics a claim names; what is no clinic's id opens nothing."""
    entries = claim if isinstance(claim, list) else [claim]
    return frozenset(entry for entry in entries[:MOST_CLINICS] if isinstance(entry, str) and _CLINIC.fullmatch(entry))
