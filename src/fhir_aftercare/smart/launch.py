"""A launch from its first request to its tokens: where to send the browser, and what came back with it.

Everything the callback needs is in a record of the server's own, found by ``state`` and used once (integration §1.1,
§1.4). Cookies, pages and audit are the caller's; so is what a session may then do.
"""

from __future__ import annotations

import hmac
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from urllib.parse import quote, urlencode

from authlib.oauth2.rfc7636 import create_s256_code_challenge

from fhir_aftercare.errors import CheckFailed
from fhir_aftercare.smart import callback
from fhir_aftercare.smart.context import read_context, read_fhir_user
from fhir_aftercare.smart.discovery import able_to_launch
from fhir_aftercare.smart.faults import (
    IdTokenRefused,
    LaunchExpired,
    MalformedCallback,
    SmartFault,
    StateUsed,
    UnknownIssuer,
    UnknownState,
    WrongSession,
)
from fhir_aftercare.smart.session import LaunchSession, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fhir_aftercare.smart.discovery import Discovery, SmartConfiguration
    from fhir_aftercare.smart.id_token import Identity, IdTokens
    from fhir_aftercare.smart.registration import ClientRegistration, Registrations
    from fhir_aftercare.smart.session import TokenStore
    from fhir_aftercare.smart.tokens import TokenAnswer, TokenEndpoint

LIFE: Final = timedelta(minutes=5)
# So long a used or expired record is remembered, to tell a reload from a forgery.
REMEMBERED: Final = timedelta(hours=1)
_LONGEST_URL: Final = 2000
_LONGEST_LAUNCH: Final = 4096
_SHORTEST_SESSION: Final = 22


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """One launch under way. ``state`` and ``session`` are digests: the record alone opens nothing.

    ``verifier`` and ``nonce`` are secret. ``asked`` is the requested scope.
    """

    launch_id: str
    state: str
    session: str
    clinic: str
    iss: str
    redirect_uri: str
    asked: str
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)
    began_at: datetime
    used: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON, to be sealed and stored."""
        return {**asdict(self), "began_at": self.began_at.isoformat()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LaunchRecord:
        """Read what ``to_dict`` gave."""
        return cls(**{**stored, "began_at": datetime.fromisoformat(stored["began_at"])})


class LaunchStore(Protocol):
    """Where launches under way are kept."""

    async def add(self, record: LaunchRecord) -> None:
        """Keep a new record; durable when this returns."""

    async def take(self, state: str) -> LaunchRecord | None:
        """Mark the record with this state's digest as used, in one step, and give it as it was before; None if none."""

    async def purge(self, began_before: datetime) -> int:
        """Delete older records and give how many that were."""


@dataclass(frozen=True, slots=True)
class Departure:
    """Where the browser goes. GET: ``url`` is whole. POST: ``form`` is posted to ``url`` by the browser."""

    launch_id: str
    clinic: str
    method: Literal["GET", "POST"]
    url: str
    form: tuple[tuple[str, str], ...] = ()


class Launcher:
    """Begins and finishes launches of the registered EHRs."""

    def __init__(
        self,
        registrations: Registrations,
        discovery: Discovery,
        endpoint: TokenEndpoint,
        id_tokens: IdTokens,
        *,
        launches: LaunchStore,
        sessions: TokenStore,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registrations, self._discovery, self._endpoint = registrations, discovery, endpoint
        self._id_tokens, self._launches, self._sessions, self._now = id_tokens, launches, sessions, now

    async def from_ehr(
        self, parameters: Iterable[tuple[str, str]], *, session: str, clinic: str | None = None
    ) -> Departure:
        """Begin the launch an EHR asked for with ``iss`` and ``launch``.

        ``session`` is the browser's session id (a cookie's value, made now if there was none); ``clinic`` is needed
        only where several share one EHR. Raises ``UnknownIssuer`` before anything is fetched, ``MalformedCallback``,
        ``DiscoveryFault`` and what fetching raises.
        """
        given = callback.once(parameters, ("iss", "launch"))
        registration = self._registrations.launched_by(given.get("iss"), clinic)
        launch = given.get("launch", "")
        if not launch or len(launch) > _LONGEST_LAUNCH:
            raise MalformedCallback("The EHR sent no usable launch parameter.", where="launch")
        return await self._depart(registration, aud=given["iss"], launch=launch, session=session)

    async def standalone(self, clinic: str, *, session: str) -> Departure:
        """Begin a launch outside an EHR: the context is asked for. Raises as ``from_ehr`` does."""
        registration = self._registrations.of_clinic(clinic)
        return await self._depart(registration, aud=registration.aud, launch=None, session=session)

    async def finish(self, parameters: Iterable[tuple[str, str]], *, session: str | None) -> LaunchSession:
        """Finish a launch with the parameters of the callback and the session id the browser sent, if it sent one.

        Gives the session, which is stored. Raises a ``LaunchRefused`` for anything wrong with the callback itself, and
        what asking for tokens, checking the id_token and reading the context raise; tokens that came with a bad
        identity or context are handed back.
        """
        given = callback.read(parameters)
        record = await self._taken(given, session)
        registration = self._registrations.of_clinic(record.clinic)
        if registration.iss != record.iss:
            raise UnknownIssuer("The clinic has another EHR than when the launch began.", where="iss")
        configuration = await self._discovery.of(registration)
        callback.check_server(given, configuration)
        code = callback.code_of(given)
        answer = await self._endpoint.exchange(
            registration, configuration, code=code, redirect_uri=record.redirect_uri, verifier=record.verifier
        )
        try:
            identity = await self._identity(answer, registration, configuration, record)
            arrived = self._arrived(answer, identity, record, session)
        except SmartFault:
            with suppress(SmartFault):  # the first fault is the one to tell of
                await self._endpoint.revoke(registration, configuration, answer.tokens)
            raise
        await self._sessions.put(arrived)
        return arrived

    async def purge(self) -> int:
        """Forget launches that were begun long ago, and give how many those were."""
        return await self._launches.purge(self._now() - REMEMBERED)

    async def _depart(
        self, registration: ClientRegistration, *, aud: str, launch: str | None, session: str
    ) -> Departure:
        if len(session) < _SHORTEST_SESSION:
            raise CheckFailed("A launch needs a browser session with an id of 128 random bits.", where="session")
        configuration = await self._discovery.of(registration)
        endpoint = able_to_launch(configuration, registration)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        scope = registration.scopes.for_launch(configuration.scope_version, from_ehr=launch is not None)
        redirect_uri = registration.redirect_uri or ""
        record = LaunchRecord(
            launch_id=secrets.token_urlsafe(16),
            state=digest(state),
            session=digest(session),
            clinic=registration.clinic,
            iss=registration.iss,
            redirect_uri=redirect_uri,
            asked=scope,
            verifier=verifier,
            nonce=nonce,
            began_at=self._now(),
        )
        await self._launches.add(record)
        request = {
            "response_type": "code",
            "client_id": registration.client_id,
            "redirect_uri": redirect_uri,
            "scope": scope,
            "state": state,
            "aud": aud,
            **({"launch": launch} if launch is not None else {}),
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
            **({"nonce": nonce} if registration.scopes.identity else {}),
        }
        url = f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(request, quote_via=quote)}"
        if len(url) > _LONGEST_URL and configuration.takes_posted_requests:
            return Departure(record.launch_id, registration.clinic, "POST", endpoint, tuple(request.items()))
        return Departure(record.launch_id, registration.clinic, "GET", url)

    async def _taken(self, given: dict[str, str], session: str | None) -> LaunchRecord:
        """Give the record of the callback's state, which is used up by this whatever follows."""
        record = await self._launches.take(digest(given["state"]))
        if record is None:
            raise UnknownState("The callback belongs to no launch of this service.", where="state")
        same = session is not None and hmac.compare_digest(record.session, digest(session))
        if record.used:
            raise StateUsed("This launch was finished before.", launch_id=record.launch_id if same else None)
        if self._now() - record.began_at >= LIFE:
            raise LaunchExpired("The sign-in took longer than five minutes.")
        cookieless = session is None and self._registrations.of_clinic(record.clinic).allow_cookieless_callback
        if not same and not cookieless:
            raise WrongSession("The launch began in another browser session, or the cookie did not come back.")
        return record

    async def _identity(
        self,
        answer: TokenAnswer,
        registration: ClientRegistration,
        configuration: SmartConfiguration,
        record: LaunchRecord,
    ) -> Identity | None:
        """Give who signed in, None if ``openid`` was not asked for or not granted."""
        if not registration.scopes.identity or "openid" not in answer.tokens.granted.others:
            return None
        if answer.id_token is None:
            raise IdTokenRefused("openid was granted, but no id_token came.", where="id_token")
        return await self._id_tokens.check(
            answer.id_token,
            registration,
            configuration,
            nonce=record.nonce,
            access_token=answer.tokens.access_token,
        )

    def _arrived(
        self, answer: TokenAnswer, identity: Identity | None, record: LaunchRecord, session: str | None
    ) -> LaunchSession:
        registration = self._registrations.of_clinic(record.clinic)
        claim = identity.fhir_user if identity else None
        return LaunchSession(
            launch_id=record.launch_id,
            clinic=record.clinic,
            tokens=answer.tokens,
            context=read_context(answer.members, registration),
            user=read_fhir_user(claim, registration) if claim is not None else None,
            subject=identity.subject if identity else None,
            missing=answer.tokens.granted.missing(registration.scopes),
            session=digest(session) if session is not None else None,
            signed_in_at=self._now(),
        )
