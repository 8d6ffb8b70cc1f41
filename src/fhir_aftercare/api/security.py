"""Who may call which route: a route says what it needs, and the caller's token must give it for the clinic.

    @router.post("/infusions", dependencies=[PLAN_WRITERS], …)

Decides 401 and 403 (RFC 6750, RFC 9728), the same for a clinic that is not the caller's and one that does not exist.
Whether a token is good is the verifier's to say (``smart.bearer``). Without a ``Protection`` nobody gets in.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Final, Protocol

import structlog
from fastapi import Depends, Request, Security
from fastapi.openapi.models import OAuth2 as OAuth2Model
from fastapi.openapi.models import OAuthFlowClientCredentials, OAuthFlows
from fastapi.openapi.models import OpenIdConnect as OpenIdConnectModel
from fastapi.params import Security as Demand
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from fhir_aftercare.api import scopes
from fhir_aftercare.api.faults import Forbidden, IssuerUnavailable, Unauthenticated
from fhir_aftercare.api.scope import identify
from fhir_aftercare.errors import AftercareError

RESOURCE_METADATA: Final = "/.well-known/oauth-protected-resource"
_ADMITTED: Final = "aftercare.admitted"
_HOLDER: Final = "aftercare.holder"
# Addresses of nobody (RFC 2606): the document is the same for all who run the service, and RFC 9728 metadata name the
# real ones. A client generator needs some text here.
_ISSUER: Final = "https://login.example.org"

log = structlog.get_logger(__name__)


class Caller(Protocol):
    """Who calls, as the verifier of tokens tells it."""

    @property
    def client(self) -> str:
        """The registered client's id."""

    @property
    def subject(self) -> str:
        """Whom the token stands for; empty if the client acts for itself and the issuer names nobody."""

    @property
    def issuer(self) -> str:
        """Who issued the token."""

    @property
    def clinics(self) -> frozenset[str]:
        """The clinics the token is good for."""

    @property
    def permissions(self) -> frozenset[str]:
        """What it is good for, of ``scopes.PERMISSIONS``."""


class Callers(Protocol):
    """Tells who holds a token. ``smart.bearer.BearerTokens`` is one."""

    async def caller(self, token: str) -> Caller:
        """Give who calls. Raises an error of status 401 for a token that is not accepted, or 503."""


@dataclass(frozen=True, slots=True)
class Protection:
    """How an application is protected. ``resource`` is its public base URL, ``issuers`` those it trusts.

    Without ``callers`` nobody gets in, unless it is ``OPEN``.
    """

    callers: Callers | None = None
    resource: str = ""
    issuers: tuple[str, ...] = ()
    open: bool = False

    @property
    def metadata_url(self) -> str:
        """Where RFC 9728 metadata are; empty if the service's own address is not known."""
        return f"{self.resource}{RESOURCE_METADATA}" if self.resource else ""


CLOSED: Final = Protection()
# No authentication: only this machine may call, or something in front of the service asks for it (design §9.15).
OPEN: Final = Protection(open=True)


class _Scheme(SecurityBase):
    """A scheme of the OpenAPI document. It checks nothing: ``_admit`` does."""

    def __init__(self, name: str, model: OpenIdConnectModel | OAuth2Model) -> None:
        self.scheme_name, self.model = name, model

    async def __call__(self) -> None:
        """Do nothing."""


_ABOUT: Final = (
    "An access token of an issuer that this service trusts: `GET /.well-known/oauth-protected-resource` names them. "
    "Its `aud` is this API, its `clinic` claim the clinic of the path."
)
_ALIASES: Final = " ".join(
    f"`{each.scope}` is also given by {' '.join(f'`{scope}`' for scope in each.smart)} together."
    for each in scopes.PERMISSIONS
    if each.smart
)
OPENID: Final = _Scheme(
    "openId",
    OpenIdConnectModel(openIdConnectUrl=f"{_ISSUER}/.well-known/openid-configuration", description=_ABOUT),
)
CLIENT_CREDENTIALS: Final = _Scheme(
    "clientCredentials",
    OAuth2Model(
        description=f"The same, for a service that acts for itself (SMART Backend Services). {_ALIASES}",
        flows=OAuthFlows(
            clientCredentials=OAuthFlowClientCredentials(
                tokenUrl=f"{_ISSUER}/token", scopes={each.scope: each.says for each in scopes.PERMISSIONS}
            )
        ),
    ),
)


async def admit(
    request: Request,
    needed: SecurityScopes,
    _openid: Annotated[None, Depends(OPENID)],
    _client: Annotated[None, Depends(CLIENT_CREDENTIALS)],
) -> None:
    """Let the request pass if its token gives what is needed for the clinic of the path.

    Raises ``Unauthenticated``, ``Forbidden``, and ``IssuerUnavailable`` if the verifier cannot say.
    """
    protection: Protection = request.app.state.protection
    clinic = request.path_params.get("clinic")
    if not protection.open:
        caller = await _caller(request, protection)
        _permit(caller, needed.scopes, clinic, protection)
        identify(request.scope, caller.client)
        request.scope[_HOLDER] = holder(caller)
    request.scope[_ADMITTED] = (clinic,)


def needs(permission: str) -> Demand:
    """Give the dependency of a route that needs a permission of ``scopes.PERMISSIONS``."""
    found: Demand = Security(admit, scopes=[permission])
    return found


PLAN_READERS: Final = needs(scopes.PLANS_READ)
PLAN_WRITERS: Final = needs(scopes.PLANS_WRITE)
EVENT_WRITERS: Final = needs(scopes.EVENTS_WRITE)
ADMINS: Final = needs(scopes.ADMIN)


def admitted(scope: MutableMapping[str, Any], clinic: str) -> bool:
    """Tell whether ``admit`` let the request in for a clinic."""
    return bool(scope.get(_ADMITTED) == (clinic,))


def holder(caller: Caller) -> str:
    """Give a name for whoever holds the token, the same for each token of theirs; it tells nothing of a person."""
    return sha256(f"{caller.issuer}\n{caller.client}\n{caller.subject}".encode()).hexdigest()


def holder_of(scope: MutableMapping[str, Any]) -> str:
    """Give the ``holder`` of a request; empty where nobody has to say who calls."""
    return str(scope.get(_HOLDER, ""))


async def _caller(request: Request, protection: Protection) -> Caller:
    if protection.callers is None:
        raise Unauthenticated("This service is not set up to know its callers.", headers=_challenge(protection))
    given = request.headers.getlist("authorization")
    if not given:
        raise Unauthenticated("The request has no access token.", where=_WHERE, headers=_challenge(protection))
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        said = {"error": "invalid_request"}
        raise Unauthenticated(
            "Authorization must be given once, as Bearer.", where=_WHERE, headers=_challenge(protection, **said)
        )
    try:
        return await protection.callers.caller(token.strip(" "))
    except AftercareError as fault:
        if fault.status != 401:
            log.warning("token not checked", code=fault.code)
            raise IssuerUnavailable("The authorization server could not be asked about the token.") from fault
        log.info("token refused", code=fault.code, error=", ".join(fault.where))
        said = {"error": "invalid_token", "error_description": fault.message}
        raise Unauthenticated(
            fault.message, where=fault.where, remedy=fault.remedy, headers=_challenge(protection, **said)
        ) from None


_WHERE: Final = "Authorization"


def _permit(caller: Caller, needed: list[str], clinic: str | None, protection: Protection) -> None:
    lacking = [scope for scope in needed if scope not in caller.permissions]
    if lacking:
        said = {"error": "insufficient_scope", "scope": " ".join(needed)}
        raise Forbidden(
            f"The access token lacks {', '.join(lacking)}.",
            where="scope",
            remedy="Ask the authorization server for a token with this scope.",
            headers=_challenge(protection, **said),
        )
    if clinic is not None and clinic not in caller.clinics:
        # No challenge: another scope would not help. Nothing tells whether there is such a clinic.
        raise Forbidden(
            "The access token is not for the clinic of the path.",
            where="clinic",
            remedy="Use a token whose clinic claim names this clinic.",
        )


def _challenge(protection: Protection, **said: str) -> dict[str, str]:
    named = {**said, "resource_metadata": protection.metadata_url}
    parts = ", ".join(f'{name}="{_quotable(value)}"' for name, value in named.items() if value)
    return {"www-authenticate": f"Bearer {parts}" if parts else "Bearer"}


def _quotable(text: str) -> str:
    """Give a text as RFC 6750 §3 allows it in a challenge: printable ASCII without quotes and backslashes."""
    return "".join(letter if " " <= letter <= "~" and letter not in '"\\' else "'" for letter in text)
