"""Tokens for the service itself, one client per EHR: cached, asked for again before they run out and once after a 401.

SMART Backend Services (integration §1.3 row 24). What is done with the tokens is the FHIR client's business.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.smart import given

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.smart.discovery import Discovery
    from fhir_aftercare.smart.registration import ClientRegistration
    from fhir_aftercare.smart.scopes import Granted
    from fhir_aftercare.smart.tokens import TokenEndpoint, TokenSet

RENEW_AHEAD: Final = timedelta(seconds=60)


class BackendTokens:
    """Gives access tokens for one EHR; however many ask at once, the EHR is asked once.

    Raises ``ConfigFault`` if the registration is not an asymmetric client that asks for ``system/`` scopes.
    """

    def __init__(
        self,
        registration: ClientRegistration,
        discovery: Discovery,
        endpoint: TokenEndpoint,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if registration.kind != "asymmetric":
            raise ConfigFault(["backend services need an asymmetric client"], where=registration.clinic)
        registration.scopes.for_backend(2)
        self._registration, self._discovery, self._endpoint, self._now = registration, discovery, endpoint, now
        self._lock = asyncio.Lock()
        self._tokens: TokenSet | None = None
        self._renew_at = datetime.min.replace(tzinfo=UTC)

    async def token(self) -> str:
        """Give a token that lives. Raises ``TokenRefused``, ``TokenMalformed``, ``DiscoveryFault``, ``KeyFault`` and
        what ``BoundedHttp`` raises.
        """
        return given.note(self, (await self._current()).access_token)

    async def renew(self) -> str:
        """Give another token than this task was given last, which was answered with 401. Raises as ``token`` does."""
        refused = given.last(self)
        async with self._lock:
            newer = refused is not None and self._tokens is not None and self._tokens.access_token != refused
            tokens = self._tokens if newer and self._tokens else await self._ask()
        return given.note(self, tokens.access_token)

    async def granted(self) -> Granted:
        """Give what the service may do at this EHR. Raises as ``token`` does."""
        return (await self._current()).granted

    async def missing(self) -> tuple[str, ...]:
        """Give the scopes asked for and not granted. Raises as ``token`` does."""
        return (await self.granted()).missing(self._registration.scopes)

    async def _current(self) -> TokenSet:
        async with self._lock:
            if self._tokens and self._now() < self._renew_at:
                return self._tokens
            return await self._ask()

    async def _ask(self) -> TokenSet:
        configuration = await self._discovery.of(self._registration)
        scope = self._registration.scopes.for_backend(configuration.scope_version)
        asked_at = self._now()
        self._tokens = await self._endpoint.client_credentials(self._registration, configuration, scope)
        # Tokens of a minute or less would otherwise be asked for before every call.
        life = self._tokens.expires_at - asked_at
        self._renew_at = self._tokens.expires_at - min(RENEW_AHEAD, life / 5)
        return self._tokens
