"""Asks a token endpoint for tokens, hands them back, and reads its answers strictly.

Whether and when to ask is decided by ``launch``, ``session`` and ``backend``. No token, code or secret ever stands in
a message or a ``repr`` (integration §1.2 rows 11, 17, 18; §1.3 row 24).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

from fhir_aftercare.smart import assertion, scopes
from fhir_aftercare.smart.faults import DiscoveryFault, SmartFault, TokenMalformed, TokenRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fhir_aftercare.smart.discovery import SmartConfiguration
    from fhir_aftercare.smart.http import Answer, BoundedHttp
    from fhir_aftercare.smart.registration import ClientRegistration
    from fhir_aftercare.smart.scopes import Granted

# A server that does not say how long a token lives gets it asked again soon.
ASSUMED_LIFE: Final = timedelta(minutes=5)
_LONGEST_LIFE: Final = 366 * 24 * 3600
# RFC 6750: what may stand after "Bearer ". Anything else could smuggle a header.
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/!#$%&'*^`|:;,@?=()\[\]{}]{1,16384}")
_REMEDIES: Final = {
    "invalid_client": "Compare client id, secret or keys with the registration; the EHR must be able to read the JWKS.",
    "invalid_grant": "Open the app again from the chart: the code or the refresh token is no longer good.",
    "invalid_scope": "Register the clinic's scopes at the EHR, or take them out of the clinic's table.",
    "unauthorized_client": "Allow this kind of grant in the registration at the EHR.",
    "unsupported_grant_type": "The EHR does not know this kind of grant.",
    "invalid_request": "Compare redirect URI and client type with the registration at the EHR.",
}


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What is needed to call the FHIR server. ``expires_at`` is aware; nothing secret shows in the ``repr``."""

    access_token: str = field(repr=False)
    expires_at: datetime
    granted: Granted
    refresh_token: str | None = field(default=None, repr=False)

    def lives(self, now: datetime, margin: timedelta = timedelta(0)) -> bool:
        """Tell whether the access token is good for at least ``margin`` more."""
        return now + margin < self.expires_at

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON, to be sealed and stored."""
        return {
            "access_token": self.access_token,
            "expires_at": self.expires_at.isoformat(),
            "scope": self.granted.text,
            "refresh_token": self.refresh_token,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> TokenSet:
        """Read what ``to_dict`` gave."""
        expires_at, granted = datetime.fromisoformat(stored["expires_at"]), scopes.parse(stored["scope"])
        return cls(stored["access_token"], expires_at, granted, stored["refresh_token"])


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A good answer of the token endpoint. ``members`` holds all of it, for the launch context."""

    tokens: TokenSet
    id_token: str | None = field(repr=False)
    members: dict[str, Any] = field(repr=False)


class TokenEndpoint:
    """One method for each thing a token endpoint can be asked.

    Each raises ``TokenRefused``, ``TokenMalformed``, ``KeyFault`` and what ``BoundedHttp`` raises.
    """

    def __init__(self, http: BoundedHttp, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._http, self._now = http, now

    async def exchange(
        self, registration: ClientRegistration, at: SmartConfiguration, *, code: str, redirect_uri: str, verifier: str
    ) -> TokenAnswer:
        """Trade an authorization code for tokens. A code is sent once, whatever comes back."""
        form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ]
        return self._read(await self._post(registration, at.token_endpoint, form, at, "token request"), None)

    async def refresh(self, registration: ClientRegistration, at: SmartConfiguration, old: TokenSet) -> TokenAnswer:
        """Trade a refresh token for new tokens of at most the same scope; without a new one the old one is kept.

        ``scope`` is not sent: that asks for the same, and what comes back is cut to what was granted before.
        """
        if old.refresh_token is None:
            raise TokenRefused("There is no refresh token.", error="invalid_grant")
        form = [("grant_type", "refresh_token"), ("refresh_token", old.refresh_token)]
        return self._read(await self._post(registration, at.token_endpoint, form, at, "refresh"), old)

    async def client_credentials(
        self, registration: ClientRegistration, at: SmartConfiguration, scope: str
    ) -> TokenSet:
        """Ask for a token for the service itself. A refresh token, which none should send, is thrown away."""
        form = [("grant_type", "client_credentials"), ("scope", scope)]
        answer = self._read(await self._post(registration, at.token_endpoint, form, at, "token request"), None)
        return TokenSet(answer.tokens.access_token, answer.tokens.expires_at, answer.tokens.granted)

    async def revoke(self, registration: ClientRegistration, at: SmartConfiguration, tokens: TokenSet) -> bool:
        """Hand the tokens back (RFC 7009), the refresh token first. Gives False if the EHR has no such endpoint.

        Raises what went wrong after trying both; the caller drops them in any case.
        """
        if at.revocation_endpoint is None:
            return False
        both = [(tokens.refresh_token, "refresh_token"), (tokens.access_token, "access_token")]
        failed: SmartFault | None = None
        for token, hint in both:
            if token is None:
                continue
            form = [("token", token), ("token_type_hint", hint)]
            try:
                answer = await self._post(registration, at.revocation_endpoint, form, at, "revocation")
                if answer.status != 200:
                    raise _refused(answer)
            except SmartFault as fault:
                failed = failed or fault
        if failed:
            raise failed
        return True

    async def _post(
        self,
        registration: ClientRegistration,
        url: str,
        form: Sequence[tuple[str, str]],
        at: SmartConfiguration,
        what: str,
    ) -> Answer:
        if at.iss != registration.iss:  # a secret of one clinic must never reach another's server
            raise DiscoveryFault("The configuration is another EHR's.", where="iss")
        more, headers = self._proof(registration, at)
        return await self._http.post(url, [*form, *more], what, headers=headers)

    def _proof(
        self, registration: ClientRegistration, at: SmartConfiguration
    ) -> tuple[list[tuple[str, str]], dict[str, str]]:
        """Give what proves who asks: form fields and headers. ``client_id`` is sent by public clients alone."""
        match registration.kind:
            case "public":
                return [("client_id", registration.client_id)], {}
            case "symmetric":
                # RFC 6749 §2.3.1: both are form-encoded before they are joined.
                pair = f"{quote_plus(registration.client_id)}:{quote_plus(registration.secret or '')}"
                return [], {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
            case "asymmetric":
                signed = assertion.client_assertion(registration, at.token_endpoint, self._now())
                return [("client_assertion_type", assertion.TYPE), ("client_assertion", signed)], {}

    def _read(self, answer: Answer, old: TokenSet | None) -> TokenAnswer:
        if answer.status != 200:
            raise _refused(answer)
        members = answer.json_object()
        access_token = _token(members, "access_token")
        if access_token is None:
            raise TokenMalformed("The answer holds no access token.", where="access_token")
        if str(members.get("token_type", "")).lower() != "bearer":
            raise TokenMalformed("The token is not a bearer token.", where="token_type")
        refresh_token = _token(members, "refresh_token") or (old.refresh_token if old else None)
        tokens = TokenSet(access_token, self._now() + _life(members), _granted(members, old), refresh_token)
        return TokenAnswer(tokens, _token(members, "id_token"), members)


def _refused(answer: Answer) -> TokenRefused:
    """Give the error of an answer that is not 200. What the server wrote beside its code is not repeated."""
    try:
        said = answer.json_object().get("error")
    except SmartFault:
        said = None
    error = said if isinstance(said, str) and said in _REMEDIES else "unknown"
    return TokenRefused(
        f"{answer.what}: refused with {answer.status}, error {error}.",
        error=error,
        http_status=answer.status,
        where=answer.what,
        remedy=_REMEDIES.get(error),
    )


def _token(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise TokenMalformed(f"{name} is not a token.", where=name)
    return value


def _life(members: dict[str, Any]) -> timedelta:
    value = members.get("expires_in")
    if value is None:
        return ASSUMED_LIFE
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)  # some servers write the number as text
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise TokenMalformed("expires_in is not a number of seconds.", where="expires_in")
    return timedelta(seconds=min(value, _LONGEST_LIFE))


def _granted(members: dict[str, Any], old: TokenSet | None) -> Granted:
    text = members.get("scope")
    if text is None and old is not None:
        return old.granted  # RFC 6749 §6: left out, it is unchanged
    if not isinstance(text, str):
        raise TokenMalformed("The answer does not say which scopes were granted.", where="scope")
    try:
        granted = scopes.parse(text)
    except ValueError:
        raise TokenMalformed("The granted scopes cannot be read.", where="scope") from None
    return granted.narrowed_to(old.granted) if old else granted
