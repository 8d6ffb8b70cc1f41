"""What was granted, and the codes and tokens that stand for it: each with its life, its uses and its end.

A grant is one consent of one user, or one request of a client for itself; ending it ends everything made from it.
Who may ask is settled before (``client_gate``); the forms of requests and answers are ``token_endpoint``'s.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.sandbox.ehr.memory import Bounded
from fhir_aftercare.sandbox.ehr.requests import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.sandbox.ehr.scopes import Scopes
    from fhir_aftercare.sandbox.ehr.settings import EhrUser

CODE_LIFE: Final = 60.0
# A used code is remembered so that its second use is noticed.
CODE_REMEMBERED: Final = 600.0
ONLINE_LIFE: Final = 8 * 3600.0
OFFLINE_LIFE: Final = 90 * 24 * 3600.0
_MOST: Final = 10_000
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(slots=True)
class Grant:
    """Who may do what for whom. ``context`` is the launch context as it stands in token answers."""

    client_id: str
    scopes: Scopes
    audience: str
    user: EhrUser | None = None
    context: dict[str, Any] = field(default_factory=dict)
    nonce: str | None = None
    over: bool = False


@dataclass(slots=True)
class Code:
    """An authorization code and what it is bound to."""

    grant: Grant
    redirect_uri: str
    challenge: str
    good_until: float
    used: bool = False


@dataclass(slots=True)
class Token:
    """An access or refresh token. ``used`` and ``good_until`` (seconds since 1970) end it alone, the grant with all."""

    value: str
    grant: Grant
    scopes: Scopes
    issued_at: float
    good_until: float
    used: bool = False


class Grants:
    """All codes and tokens there are."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._codes: Bounded[Code] = Bounded(_MOST, now)
        self._access: Bounded[Token] = Bounded(_MOST, now)
        self._refresh: Bounded[Token] = Bounded(_MOST, now)

    def new_code(self, grant: Grant, redirect_uri: str, challenge: str) -> str:
        """Give a code that is good for one minute and one use."""
        value = secrets.token_urlsafe(32)
        code = Code(grant, redirect_uri, challenge, self._now() + CODE_LIFE)
        self._codes.put(value, code, CODE_REMEMBERED)
        return value

    def redeem(self, value: str, *, client_id: str, redirect_uri: str | None, verifier: str | None) -> Grant:
        """Give what a code stands for. Raises ``Refused``; a second use ends what the first one gave (RFC 6749 §4.1.2).

        Another client's attempt leaves the code as it is; its own client's failed attempt uses it up.
        """
        code = self._codes.get(value)
        if code is None or code.grant.client_id != client_id:
            raise Refused("invalid_grant", "the code is not known, or another client's")
        if code.used:
            code.grant.over = True
            raise Refused("invalid_grant", "the code was used before; its tokens are revoked")
        code.used = True
        if code.good_until <= self._now():
            raise Refused("invalid_grant", "the code is older than a minute")
        if redirect_uri != code.redirect_uri:
            raise Refused("invalid_grant", "redirect_uri is not the one of the authorization request")
        digest = hashlib.sha256((verifier or "").encode("ascii", "replace")).digest()
        computed = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if not _VERIFIER.fullmatch(verifier or "") or not hmac.compare_digest(computed, code.challenge):
            raise Refused("invalid_grant", "code_verifier does not fit code_challenge")
        return code.grant

    def new_access(self, grant: Grant, scopes: Scopes, life: float) -> Token:
        """Give an access token good for ``life`` seconds."""
        token = self._token(grant, scopes, life)
        self._access.put(token.value, token, life)
        return token

    def new_refresh(self, grant: Grant) -> Token | None:
        """Give a refresh token if the grant holds ``offline_access`` or ``online_access``."""
        lives = {"offline_access": OFFLINE_LIFE, "online_access": ONLINE_LIFE}
        life = max((lives[word] for word in grant.scopes.words if word in lives), default=None)
        if life is None:
            return None
        token = self._token(grant, grant.scopes, life)
        self._refresh.put(token.value, token, life)
        return token

    def rotate(self, value: str, *, client_id: str) -> Grant:
        """Use up a refresh token and give its grant. Raises ``Refused``; a second use ends the whole family."""
        token = self._refresh.get(value)
        if token is None or token.grant.client_id != client_id or token.grant.over:
            raise Refused("invalid_grant", "the refresh token is not known, or revoked, or another client's")
        if token.used:
            token.grant.over = True
            raise Refused("invalid_grant", "the refresh token was used before; its whole family is revoked")
        return token.grant

    def spend(self, value: str) -> None:
        """Mark a refresh token as used."""
        token = self._refresh.get(value)
        if token is not None:
            token.used = True

    def active(self, value: str) -> Token | None:
        """Give the access token if it is good now."""
        token = self._access.get(value)
        return token if token is not None and self._lives(token) else None

    def active_refresh(self, value: str) -> Token | None:
        """Give the refresh token if it could be used now."""
        token = self._refresh.get(value)
        return token if token is not None and self._lives(token) else None

    def revoke(self, value: str, *, client_id: str) -> None:
        """End a token of this client; a refresh token ends the whole grant (RFC 7009 §2.1). Others are left alone."""
        refresh, access = self._refresh.get(value), self._access.get(value)
        if refresh is not None and refresh.grant.client_id == client_id:
            refresh.grant.over = True
        if access is not None and access.grant.client_id == client_id:
            access.used = True

    def expire_access(self) -> None:
        """Make every access token one that has run out. Refresh tokens stay good."""
        for token in self._access.values():
            token.good_until = self._now()

    def end_all(self) -> None:
        """Revoke everything, as an administrator would."""
        for token in (*self._access.values(), *self._refresh.values()):
            token.grant.over = True

    def _token(self, grant: Grant, scopes: Scopes, life: float) -> Token:
        now = self._now()
        return Token(secrets.token_urlsafe(32), grant, scopes, now, now + life)

    def _lives(self, token: Token) -> bool:
        return not token.used and not token.grant.over and token.good_until > self._now()
