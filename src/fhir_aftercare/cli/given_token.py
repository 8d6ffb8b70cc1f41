"""A bearer token that whoever runs a command gives it in the environment, for the FHIR server it speaks to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "AFTERCARE_FHIR_TOKEN"


class GivenToken:
    """A token that was given and cannot be renewed."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        """Give the token."""
        return self._token

    async def renew(self) -> str:
        """Give the same token: there is no other."""
        return self._token


def given_token(base: str, environ: Mapping[str, str]) -> GivenToken | None:
    """Give the token of the environment for a FHIR base; None if there is none.

    Raises ``ConfigFault`` for an address beyond this machine that is not https.
    """
    token, parts = environ.get(VARIABLE), urlsplit(base)
    if token and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ConfigFault([f"{VARIABLE}: a token is only sent over https"], where="fhir_base_url")
    return GivenToken(token) if token else None
