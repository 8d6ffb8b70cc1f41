"""Who calls: the JSON web token that a CDS client sends with every call (CDS Hooks 2.0, Trusting CDS Clients).

Keys come only from addresses on the clinic's list, and no more often than ``smart.bearer_keys`` allows. Nothing of a
token stands in a message or a log.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwt
from joserfc.errors import JoseError

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.intake.cds_answers import later, stranger
from fhir_aftercare.smart.bearer_keys import IssuerKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fhir_aftercare.intake.cds_replays import Replays
    from fhir_aftercare.intake.cds_settings import CdsClient
    from fhir_aftercare.smart.bearer_keys import KeySet
    from fhir_aftercare.smart.http import BoundedHttp

ALGORITHMS: Final = ("ES384", "RS384")
LEEWAY: Final = timedelta(seconds=60)
# The specification names no limit; a token is for one call, and used ones are remembered for a day.
LONGEST_LIFE: Final = timedelta(hours=1)
_LARGEST: Final = 8_192
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

Members = dict[str, Any]


def unproven_claims(token: str) -> Members:
    """Give the claims of a token of which nothing is proven yet. Raises ``Refused``."""
    return _peek(token)[1]


class ClientTokens:
    """Checks the tokens of CDS clients; remembers their keys, and which tokens were used."""

    def __init__(
        self, http: BoundedHttp, replays: Replays, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._http, self._replays, self._now = http, replays, now
        self._keys: dict[str, IssuerKeys] = {}

    async def check(self, token: str, clients: Sequence[CdsClient], audience: str) -> CdsClient:
        """Give which of the clients calls ``audience``, the exact URL of the endpoint.

        Raises ``Refused`` (401: the token is not accepted; 503: nobody can say now) and ``StoreUnavailable``.
        """
        header, unproven = _peek(token)
        client = client_of(unproven, clients)
        jku = _key_set(header, client)
        claims = await self._proven(token, header, jku)
        self._check_claims(claims, audience)
        expires = datetime.fromtimestamp(claims["exp"], UTC) + LEEWAY
        if not await self._replays.first(client.iss, claims["jti"], expires):
            raise stranger("The token was used before.", "jti")
        return client

    async def close(self) -> None:
        """Stop what is being asked."""
        for keys in self._keys.values():
            await keys.close()

    async def _proven(self, token: str, header: Mapping[str, Any], jku: str) -> Members:
        if jku not in self._keys:  # only addresses of the settings come here, so there are few
            self._keys[jku] = IssuerKeys(jku, self._http, jwks_uri=jku, now=self._now)
        keys, kid, alg = self._keys[jku], header["kid"], header["alg"]
        try:
            known = await keys.known()
            if not known.names(kid):  # perhaps the client has changed its keys
                known = await keys.newer_than(known)
        except AftercareError:
            raise later("The client's keys could not be read.") from None
        claims = _verified(token, known, kid, alg)
        if claims is None:
            raise stranger("The token's signature is not by a key of the client.", "kid")
        return claims

    def _check_claims(self, claims: Members, audience: str) -> None:
        aud = claims.get("aud")
        if audience not in (aud if isinstance(aud, list) else [aud]):
            raise stranger("The token is for another address than the one called.", "aud")
        times = [claims.get("iat"), claims.get("exp")]
        if not all(isinstance(each, int | float) and not isinstance(each, bool) and 0 <= each < 1e11 for each in times):
            raise stranger("The token does not say from when until when it is good.", "exp")
        issued, expires = (datetime.fromtimestamp(each, UTC) for each in times if each is not None)
        now = self._now()
        if expires + LEEWAY <= now:
            raise stranger("The token has expired.", "exp")
        if issued - LEEWAY > now:
            raise stranger("The token is from the future.", "iat")
        if expires - issued > LONGEST_LIFE or expires > now + LONGEST_LIFE + LEEWAY:
            raise stranger("The token is good for longer than an hour.", "exp")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 1 <= len(jti) <= 255:
            raise stranger("The token has no id.", "jti")


def client_of(claims: Mapping[str, Any], clients: Sequence[CdsClient]) -> CdsClient:
    """Give the client that claims name by iss and tenant. Raises ``Refused``."""
    named = [each for each in clients if each.iss == claims.get("iss")]
    if not named:
        raise stranger("The token's issuer is on no list here.", "iss")
    fits = [each for each in named if each.tenant is None or each.tenant == claims.get("tenant")]
    if not fits:
        raise stranger("The token's tenant is not this clinic's.", "tenant")
    return next((each for each in fits if each.tenant is not None), fits[0])


def _key_set(header: Mapping[str, Any], client: CdsClient) -> str:
    """Give where the client's keys are, before anything is fetched."""
    if header.get("alg") not in ALGORITHMS:
        raise stranger("The token is not signed with ES384 or RS384.", "alg")
    if header.get("typ") != "JWT" or "crit" in header:
        raise stranger("The token's header is not that of a CDS client.", "typ")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise stranger("The token names no key.", "kid")
    jku = header.get("jku", client.jku[0])
    if jku not in client.jku:
        raise stranger("The token's key set is not on the list.", "jku")
    return str(jku)


def _verified(token: str, known: KeySet, kid: str, alg: str) -> Members | None:
    for key in known.for_token(kid, alg):
        if key.kid != kid:
            continue
        try:
            return jwt.decode(token, key.jose, algorithms=[alg]).claims
        except (JoseError, ValueError, RecursionError):
            continue  # another key of that name may have signed
    return None


def _peek(token: str) -> tuple[Members, Members]:
    try:
        if len(token) > _LARGEST or not _TOKEN.fullmatch(token):
            raise ValueError  # noqa: TRY301  (the same as what the lines below raise)
        first, second, _ = token.split(".")
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (first, second))
    except (ValueError, RecursionError):
        raise stranger("The token is not a signed JWT.", "Authorization") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise stranger("The token is not a signed JWT.", "Authorization")
    return header, claims
