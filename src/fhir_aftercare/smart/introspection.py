"""Asks the authorization server whether an access token is good (RFC 7662), and remembers the answer for a moment.

For tokens that say nothing by themselves, and for signed ones that must be known not to be revoked. What the answer's
claims allow is ``bearer``'s to say. Tokens are remembered as hashes only.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.smart import assertion
from fhir_aftercare.smart.bearer_faults import IssuerUnavailable, TokenRejected
from fhir_aftercare.smart.faults import AnswerRefused
from fhir_aftercare.smart.registration import ClientRegistration
from fhir_aftercare.smart.scopes import ScopeTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fhir_aftercare.smart.http import Answer, BoundedHttp
    from fhir_aftercare.smart.keys import KeyRing

# How long a revoked token may still be taken.
REMEMBERED: Final = timedelta(seconds=30)
REMEMBERED_INACTIVE: Final = timedelta(seconds=10)
MOST_REMEMBERED: Final = 2_000
# Whoever sends many made-up tokens must not have us flood the authorization server.
MOST_AT_ONCE: Final = 16

Claims = dict[str, Any]


@dataclass(frozen=True, slots=True)
class IntrospectionClient:
    """Who we are at the introspection endpoint: a client with a secret, or with keys (``private_key_jwt``).

    ``keys`` gives the ring as it is now, since keys are rotated; its first algorithm is used. Raises ``ConfigFault``
    unless there is exactly one of both.
    """

    issuer: str
    endpoint: str
    client_id: str
    secret: str | None = field(default=None, repr=False)
    keys: Callable[[], KeyRing] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._registration()

    def authentication(self, now: datetime) -> tuple[list[tuple[str, str]], dict[str, str]]:
        """Give what goes into the form, and the headers, to prove who asks."""
        if self.secret is not None:
            # RFC 6749 §2.3.1: both are form-encoded before they are joined.
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
            return [], {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        signed = assertion.client_assertion(self._registration(), self.issuer, now)
        return [("client_assertion_type", assertion.TYPE), ("client_assertion", signed)], {}

    def _registration(self) -> ClientRegistration:
        keys = self.keys() if self.keys else None
        return ClientRegistration(
            clinic="introspection",
            iss=self.issuer,
            client_id=self.client_id,
            kind="symmetric" if keys is None else "asymmetric",
            scopes=ScopeTable(()),
            secret=self.secret,
            keys=keys,
            alg=keys.algorithms[0] if keys else "ES384",
        )


class Introspection:
    """Gives the claims of tokens the endpoint calls active."""

    def __init__(
        self, client: IntrospectionClient, http: BoundedHttp, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client, self._http, self._now = client, http, now
        self._active, self._inactive = _Remembered(), _Remembered()
        self._asking: dict[bytes, asyncio.Task[Claims | None]] = {}
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    @property
    def issuer(self) -> str:
        """Whose tokens the endpoint knows."""
        return self._client.issuer

    async def claims(self, token: str) -> Mapping[str, Any]:
        """Give the members of the answer for an active token.

        Raises ``TokenRejected`` if it is not active, ``IssuerUnavailable`` if nobody can say.
        """
        name, now = hashlib.sha256(token.encode()).digest(), self._now()
        found = self._active.get(name, now)
        if found is None and self._inactive.get(name, now) is None:
            found = await self._asked(name, token)
        if found is None:
            raise TokenRejected("The authorization server does not know the token as active.", where="active")
        return found

    async def close(self) -> None:
        """Stop the questions that are under way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _asked(self, name: bytes, token: str) -> Claims | None:
        task = self._asking.get(name)
        if task is None:  # asked once, however many calls come with the token at the same time
            task = self._asking[name] = asyncio.ensure_future(self._ask(name, token))
            task.add_done_callback(lambda done: self._forget(name, done))
        return await asyncio.shield(task)

    def _forget(self, name: bytes, done: asyncio.Task[Claims | None]) -> None:
        del self._asking[name]
        if not done.cancelled():
            done.exception()  # looked at: whoever waited for it may be gone

    async def _ask(self, name: bytes, token: str) -> Claims | None:
        try:
            async with self._places:
                members = (await self._answer(token)).json_object()
        except AftercareError as fault:
            raise IssuerUnavailable(fault.message, where="introspection", remedy=fault.remedy) from fault
        now = self._now()
        if members.get("active") is not True:
            self._inactive.keep(name, {}, now + REMEMBERED_INACTIVE)
            return None
        self._active.keep(name, members, now + REMEMBERED)
        return members

    async def _answer(self, token: str) -> Answer:
        form, headers = self._client.authentication(self._now())
        sent = [("token", token), ("token_type_hint", "access_token"), *form]
        answer = await self._http.post(self._client.endpoint, sent, "introspection", headers=headers)
        if answer.status != 200:
            said = f"introspection: answered {answer.status}."
            raise AnswerRefused(said, remedy="Check this service's client at the authorization server.")
        return answer


class _Remembered:
    """Answers by the token's hash, for a short while; the one unused longest goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[Claims, datetime]] = OrderedDict()

    def get(self, name: bytes, now: datetime) -> Claims | None:
        found = self._kept.get(name)
        if found is None:
            return None
        if now >= found[1]:
            del self._kept[name]
            return None
        self._kept.move_to_end(name)
        return found[0]

    def keep(self, name: bytes, claims: Claims, until: datetime) -> None:
        self._kept[name] = (claims, until)
        self._kept.move_to_end(name)
        if len(self._kept) > MOST_REMEMBERED:
            self._kept.popitem(last=False)
