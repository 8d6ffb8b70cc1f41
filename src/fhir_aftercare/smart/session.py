"""What stays after a launch, and how its tokens are kept fresh: one refresh at a time, each refresh token used once.

Access tokens go only to those who ask for their own launch (integration §1.2 rows 17, 18, 20). Who may ask, and how
long an idle session lives, is decided by the pages.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from fhir_aftercare.smart import given
from fhir_aftercare.smart.context import FhirUser, LaunchContext
from fhir_aftercare.smart.faults import EhrUnreachable, KeyFault, SessionOver, SmartFault, TokenRefused
from fhir_aftercare.smart.tokens import TokenSet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from fhir_aftercare.smart.discovery import Discovery
    from fhir_aftercare.smart.registration import Registrations
    from fhir_aftercare.smart.tokens import TokenEndpoint

REFRESH_AHEAD: Final = timedelta(seconds=60)
# Refusals of the client or the request; the refresh token itself is as good as before.
_NOT_ABOUT_THE_TOKEN: Final = ("invalid_client", "invalid_request", "unauthorized_client", "unsupported_grant_type")


@dataclass(frozen=True, slots=True)
class LaunchSession:
    """A finished launch. ``missing`` are scopes asked for and not granted.

    ``session`` is the digest of the browser session it belongs to; None if it was finished without a cookie.
    ``spent`` means that the refresh token was sent once and no answer was kept: it is never sent again.
    """

    launch_id: str
    clinic: str
    tokens: TokenSet
    context: LaunchContext
    user: FhirUser | None
    subject: str | None
    missing: tuple[str, ...]
    session: str | None
    signed_in_at: datetime
    spent: bool = field(default=False)

    def belongs_to(self, session: str) -> bool:
        """Tell whether this is the browser session that launched; never so for one finished without a cookie."""
        return self.session is not None and hmac.compare_digest(self.session, digest(session))

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON, to be sealed and stored."""
        return {
            "launch_id": self.launch_id,
            "clinic": self.clinic,
            "tokens": self.tokens.to_dict(),
            "context": self.context.to_dict(),
            "user": asdict(self.user) if self.user else None,
            "subject": self.subject,
            "missing": list(self.missing),
            "session": self.session,
            "signed_in_at": self.signed_in_at.isoformat(),
            "spent": self.spent,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LaunchSession:
        """Read what ``to_dict`` gave."""
        return cls(
            **{
                **stored,
                "tokens": TokenSet.from_dict(stored["tokens"]),
                "context": LaunchContext.from_dict(stored["context"]),
                "user": FhirUser(**stored["user"]) if stored["user"] else None,
                "missing": tuple(stored["missing"]),
                "signed_in_at": datetime.fromisoformat(stored["signed_in_at"]),
            }
        )


def digest(secret: str) -> str:
    """Give what is stored in place of a state or a session id. Both are random, so a plain hash cannot be guessed."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


class TokenStore(Protocol):
    """Where launch sessions are kept, sealed."""

    async def get(self, launch_id: str) -> LaunchSession | None:
        """Give the session, None if there is none."""

    async def put(self, session: LaunchSession) -> None:
        """Keep the session in place of an earlier one of its launch; durable when this returns."""

    async def drop(self, launch_id: str) -> None:
        """Forget the session, if there is one."""

    async def of_clinic(self, clinic: str) -> Sequence[str]:
        """Give the launch ids of a clinic's sessions."""

    def alone(self, launch_id: str) -> AbstractAsyncContextManager[None]:
        """Hold the session for the block: whoever else asks for it waits, in every process of the service."""


class Sessions:
    """Gives each launch its access token, refreshed when needed, and ends sessions."""

    def __init__(
        self,
        registrations: Registrations,
        discovery: Discovery,
        endpoint: TokenEndpoint,
        store: TokenStore,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registrations, self._discovery, self._endpoint = registrations, discovery, endpoint
        self._store, self._now = store, now

    async def of(self, launch_id: str) -> LaunchSession:
        """Give a launch's session with a token that lives. Raises ``SessionOver`` if the user must launch again.

        Also raises what the EHR's failing raises, if the token has run out and no new one could be had.
        """
        return await self.living(await self._kept(launch_id))

    async def living(self, session: LaunchSession) -> LaunchSession:
        """Give a session that was read a moment ago, refreshed if its token does not live; raises as ``of`` does."""
        if session.tokens.lives(self._now(), REFRESH_AHEAD):
            return session
        return await self._refreshed(
            session.launch_id, unless=lambda found: found.tokens.lives(self._now(), REFRESH_AHEAD)
        )

    async def renewed(self, launch_id: str, refused: str) -> LaunchSession:
        """Give the session with another token than ``refused``, which was answered with 401. Raises as ``of`` does."""
        return await self._refreshed(
            launch_id, unless=lambda found: found.tokens.access_token != refused, refused=refused
        )

    async def end(self, launch_id: str) -> bool:
        """Sign out: forget the tokens here, then revoke them at the EHR. Gives whether the EHR took them back.

        Raises what went wrong at the EHR; the session is over here all the same.
        """
        async with self._store.alone(launch_id):
            session = await self._store.get(launch_id)
            await self._store.drop(launch_id)
        if session is None:
            return False
        registration = self._registrations.of_clinic(session.clinic)
        return await self._endpoint.revoke(registration, await self._discovery.of(registration), session.tokens)

    async def _refreshed(
        self, launch_id: str, *, unless: Callable[[LaunchSession], bool], refused: str | None = None
    ) -> LaunchSession:
        async with self._store.alone(launch_id):
            session = await self._kept(launch_id)
            if unless(session):  # somebody else did it while this one waited
                return session
            lives = session.tokens.lives(self._now()) and session.tokens.access_token != refused
            if session.tokens.refresh_token is None or session.spent:
                if lives:
                    return session
                await self._store.drop(launch_id)
                raise SessionOver("The sign-in has run out.")
            try:
                return await self._refresh(session)
            except SmartFault as fault:
                if lives and not isinstance(fault, SessionOver):  # the old token is good for a moment more
                    return session
                raise

    async def _refresh(self, session: LaunchSession) -> LaunchSession:
        registration = self._registrations.of_clinic(session.clinic)
        configuration = await self._discovery.of(registration)
        # Before it is sent: should this process die or no answer come, nobody sends the same token twice. An EHR that
        # sees one twice takes it for stolen and ends everything.
        await self._store.put(replace(session, spent=True))
        try:
            answer = await self._endpoint.refresh(registration, configuration, session.tokens)
        except (EhrUnreachable, TokenRefused, KeyFault) as fault:
            if isinstance(fault, TokenRefused) and fault.error not in _NOT_ABOUT_THE_TOKEN:
                await self._store.drop(session.launch_id)
                raise SessionOver("The EHR ended the sign-in.") from fault
            if not (isinstance(fault, EhrUnreachable) and fault.http_status is not None):
                await self._store.put(session)  # it was not sent, or not looked at: it may be used yet
            raise
        patient = answer.members.get("patient")
        if patient is not None and patient != session.context.patient:
            await self._store.drop(session.launch_id)
            raise SessionOver("The EHR has another patient open now.")
        # Durable before anybody uses it: a rotated refresh token that is lost is lost for good.
        renewed = replace(session, tokens=answer.tokens, spent=False)
        await self._store.put(renewed)
        return renewed

    async def _kept(self, launch_id: str) -> LaunchSession:
        session = await self._store.get(launch_id)
        if session is None:
            raise SessionOver("The session is over, or never was.")
        return session


class SessionTokens:
    """Gives one launch's access tokens to a FHIR client: ``token`` ahead of a call, ``renew`` once after a 401.

    With ``session``, read just now, nothing is looked up while its token lives: for what lasts one request.
    """

    def __init__(self, sessions: Sessions, launch_id: str, session: LaunchSession | None = None) -> None:
        self._sessions, self._launch_id, self._session = sessions, launch_id, session

    async def token(self) -> str:
        """Give a token that lives. Raises as ``Sessions.of`` does."""
        if self._session is None:
            return given.note(self, (await self._sessions.of(self._launch_id)).tokens.access_token)
        self._session = await self._sessions.living(self._session)
        return given.note(self, self._session.tokens.access_token)

    async def renew(self) -> str:
        """Give another token than this task was given last. Raises as ``Sessions.renewed`` does."""
        refused = given.last(self) or await self.token()
        session = await self._sessions.renewed(self._launch_id, refused)
        self._session = session if self._session is not None else None
        return given.note(self, session.tokens.access_token)
