"""The public keys of one issuer of access tokens: read from its JWK Set, kept, and read again no more than needed.

Decides when the issuer is asked (integration §3, Auth): when nothing is known, when what is known is old, and for an
unknown key at most once a minute, whoever sends such tokens. Whether a token is good is ``bearer``'s to say.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.smart import addresses
from fhir_aftercare.smart.bearer_faults import IssuerUnavailable
from fhir_aftercare.smart.faults import AnswerRefused, DiscoveryFault
from fhir_aftercare.smart.issuer_key import read_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.smart.http import BoundedHttp
    from fhir_aftercare.smart.issuer_key import IssuerKey

TTL: Final = timedelta(minutes=15)
REFETCH_EVERY: Final = timedelta(minutes=1)
# While the issuer cannot be reached its last keys stay good, but not for ever: they may have been withdrawn.
KEPT_WITHOUT_ISSUER: Final = timedelta(hours=24)
# With no key at all nobody can call: the issuer is asked again soon, but not by every call.
COLD_RETRY: Final = timedelta(seconds=5)
LARGEST: Final = 64_000
# A token without kid is tried with every key that fits: with more than these it has to name one.
MOST_TRIED: Final = 3
# RFC 8414 and OpenID Connect Discovery, which most issuers speak.
_PLACES: Final = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of an issuer as they were at one time."""

    read_at: datetime
    keys: tuple[IssuerKey, ...]

    def names(self, kid: str | None) -> bool:
        """Tell whether a key of this name is in it."""
        return kid is not None and any(key.kid == kid for key in self.keys)

    def for_token(self, kid: str | None, alg: str) -> tuple[IssuerKey, ...]:
        """Give the keys that may have signed: those of the kid, else those without one; without a kid, the few."""
        able = tuple(key for key in self.keys if key.can_check(alg))
        if kid is not None:
            able = tuple(key for key in able if key.kid == kid) or tuple(key for key in able if key.kid is None)
        return able if len(able) <= MOST_TRIED else ()


class IssuerKeys:
    """One issuer's keys. ``jwks_uri`` is looked up in the issuer's metadata at each reading unless it is given."""

    def __init__(
        self,
        issuer: str,
        http: BoundedHttp,
        *,
        jwks_uri: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._issuer, self._http, self._jwks_uri, self._now = issuer, http, jwks_uri, now
        self._known: KeySet | None = None
        self._asked_at: datetime | None = None
        self._reading: asyncio.Task[None] | None = None
        self._failing = False

    async def known(self) -> KeySet:
        """Give the keys, read again when they are older than ``TTL``. Raises ``IssuerUnavailable``.

        While the issuer does not answer, keys of the last ``KEPT_WITHOUT_ISSUER`` are given.
        """
        age = self._age()
        if age is None:
            await self._read_unless_asked_within(COLD_RETRY)
        elif age >= TTL:
            # An issuer that did not answer before is not waited for, as long as there are keys that are good.
            wait = not self._failing or age >= KEPT_WITHOUT_ISSUER
            await self._read_unless_asked_within(REFETCH_EVERY, wait=wait)
        age = self._age()
        if self._known is None or age is None or age >= KEPT_WITHOUT_ISSUER:
            raise IssuerUnavailable("The issuer's keys could not be read.", where="jwks_uri")
        return self._known

    async def newer_than(self, seen: KeySet) -> KeySet:
        """Give the keys after one more reading, or ``seen`` if the issuer was asked within the last minute."""
        if self._known is seen:
            await self._read_unless_asked_within(REFETCH_EVERY)
        return self._known or seen

    async def close(self) -> None:
        """Stop a reading that is under way."""
        if self._reading and not self._reading.done():
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _age(self) -> timedelta | None:
        return self._now() - self._known.read_at if self._known else None

    async def _read_unless_asked_within(self, pause: timedelta, *, wait: bool = True) -> None:
        if self._reading is None or self._reading.done():
            if self._asked_at is not None and self._now() - self._asked_at < pause:
                return
            self._asked_at = self._now()
            self._reading = asyncio.ensure_future(self._read())
        # A task of its own: a caller who goes away must not end the reading that others wait for.
        if wait:
            await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            where = self._jwks_uri or await self._discovered()
            members = (await self._http.get(where, "jwks_uri", size=LARGEST)).json_object()
            self._known, self._failing = KeySet(self._now(), read_keys(members)), False
        except AftercareError as fault:
            self._failing = True
            log.warning("issuer keys not read", code=fault.code, error=fault.message)

    async def _discovered(self) -> str:
        members = await self._metadata()
        if members.get("issuer") != self._issuer:
            raise DiscoveryFault("The issuer's metadata are another issuer's.", where="issuer")
        named = members.get("jwks_uri")
        if not isinstance(named, str) or "://" not in named:
            raise DiscoveryFault("The issuer's metadata name no absolute jwks_uri.", where="jwks_uri")
        return addresses.endpoint(named, "jwks_uri", base=self._issuer)

    async def _metadata(self) -> dict[str, Any]:
        openid, oauth = _PLACES
        try:
            return (await self._http.get(self._issuer.rstrip("/") + openid, "metadata", size=LARGEST)).json_object()
        except AnswerRefused:
            # RFC 8414 puts its name between host and path.
            root, _, path = self._issuer.partition("://")[2].partition("/")
            where = f"{self._issuer.partition('://')[0]}://{root}{oauth}" + (f"/{path.rstrip('/')}" if path else "")
            return (await self._http.get(where, "metadata", size=LARGEST)).json_object()
