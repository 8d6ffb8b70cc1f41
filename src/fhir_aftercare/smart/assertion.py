"""The one-use JWT by which an asymmetric client proves who it is (integration §1.3 rows 21, 22).

Signed with joserfc: Authlib's own assertion lives an hour and repeats its jti.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from joserfc import jwt

from fhir_aftercare.smart.faults import KeyFault

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.smart.registration import ClientRegistration

TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# The limit is five minutes; a minute of that is left for clocks that differ.
LIFE: Final = timedelta(minutes=4)


def client_assertion(registration: ClientRegistration, token_endpoint: str, now: datetime) -> str:
    """Give a fresh assertion for one request to the token endpoint. Raises ``KeyFault`` if there is no key for it."""
    if registration.keys is None:
        raise KeyFault("Only an asymmetric client signs assertions.", where=registration.clinic)
    key = registration.keys.signing(registration.alg)
    header = {"alg": key.alg, "kid": key.kid, "typ": "JWT"}
    if registration.jwks_url:
        header["jku"] = registration.jwks_url
    issued = int(now.timestamp())
    claims = {
        "iss": registration.client_id,
        "sub": registration.client_id,
        "aud": token_endpoint,
        "iat": issued,
        "exp": issued + int(LIFE.total_seconds()),
        "jti": secrets.token_urlsafe(32),
    }
    return jwt.encode(header, claims, key.jose, algorithms=[key.alg])
