"""The issuer's own keys and the id_tokens they sign (OpenID Connect Core §2; SMART 2.2 ``fhirUser``)."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwt
from joserfc.jwk import RSAKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.sandbox.ehr.faults import Faults
    from fhir_aftercare.sandbox.ehr.grants import Grant
    from fhir_aftercare.sandbox.ehr.settings import EhrSettings

ALG: Final = "RS256"
LIFE: Final = 300


class Signer:
    """Signs id_tokens with a key made when it is first needed. ``rotate`` makes another and publishes only that."""

    def __init__(self, settings: EhrSettings, faults: Faults, now: Callable[[], float]) -> None:
        self._settings, self._faults, self._now = settings, faults, now
        self._made: RSAKey | None = None

    @property
    def _key(self) -> RSAKey:
        if self._made is None:
            self._made = RSAKey.generate_key(2048)
        return self._made

    def rotate(self) -> None:
        """Change the key; what the old one signed is no longer proven by the JWKS."""
        self._made = None

    def jwks(self) -> dict[str, Any]:
        """Give the public JWK Set."""
        public = self._key.as_dict(private=False)
        bare = {name: public[name] for name in ("kty", "n", "e")}
        return {"keys": [{**bare, "kid": self._key.thumbprint(), "alg": ALG, "use": "sig"}]}

    def id_token(self, grant: Grant, access_token: str) -> str:
        """Give the id_token that belongs to an access token."""
        now, user = int(self._now()), grant.user
        if user is None:
            raise ValueError("an id_token is about somebody")
        half = hashlib.sha256(access_token.encode()).digest()[:16]
        claims: dict[str, Any] = {
            "iss": f"{self._settings.issuer}/other" if self._faults.wrong_iss else self._settings.issuer,
            "sub": subject(self._settings.issuer, user.reference),
            "aud": grant.client_id,
            "iat": now,
            "exp": now + LIFE,
            "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
        }
        if grant.nonce is not None:
            claims["nonce"] = "of-another-launch-altogether" if self._faults.wrong_nonce else grant.nonce
        if "fhirUser" in grant.scopes.words:
            relative = self._faults.fhir_user == "relative"
            claims["fhirUser"] = user.reference if relative else f"{self._settings.fhir_base}/{user.reference}"
        header = {"alg": ALG, "kid": self._key.thumbprint(), "typ": "JWT"}
        return jwt.encode(header, claims, self._key, algorithms=[ALG])


def subject(issuer: str, reference: str) -> str:
    """Give the subject of somebody at an issuer: always the same, and it tells nothing."""
    return hashlib.sha256(f"{issuer} {reference}".encode()).hexdigest()[:32]
