"""What an EHR says about its authorization server: read once, checked, kept for a while (integration §1.1 row 4).

Only registered EHRs are asked. A CapabilityStatement is read only for an EHR flagged as that old.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.smart import addresses
from fhir_aftercare.smart.faults import DiscoveryFault
from fhir_aftercare.smart.registration import Legacy

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.smart.http import BoundedHttp
    from fhir_aftercare.smart.registration import ClientRegistration
    from fhir_aftercare.smart.scopes import Version

TTL: Final = timedelta(hours=1)
_CAPABILITY_STATEMENT_SIZE: Final = 10_000_000
_OAUTH_URIS: Final = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_OLD_NAMES: Final = {
    "authorize": "authorization_endpoint",
    "token": "token_endpoint",
    "revoke": "revocation_endpoint",
    "introspect": "introspection_endpoint",
}


@dataclass(frozen=True, slots=True)
class SmartConfiguration:
    """The part of ``.well-known/smart-configuration`` a client needs. All addresses are absolute and checked."""

    iss: str
    token_endpoint: str
    authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    issuer: str | None = None
    capabilities: frozenset[str] = frozenset()
    code_challenge_methods: frozenset[str] = frozenset()
    names_itself: bool = False

    @property
    def scope_version(self) -> Version:
        """Which scope syntax to use: v2 where the EHR names it. Those that name neither are older than both."""
        return 2 if "permission-v2" in self.capabilities else 1

    @property
    def takes_posted_requests(self) -> bool:
        """Whether the authorization request may be posted as a form."""
        return "authorize-post" in self.capabilities


class Discovery:
    """Asks registered EHRs, each once per ``ttl`` however many callers wait."""

    def __init__(
        self, http: BoundedHttp, *, ttl: timedelta = TTL, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._http, self._ttl, self._now = http, ttl, now
        self._known: dict[tuple[object, ...], tuple[datetime, SmartConfiguration]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def of(self, registration: ClientRegistration) -> SmartConfiguration:
        """Give the EHR's configuration. Raises ``DiscoveryFault``, ``UnsafeAddress`` and what ``BoundedHttp`` does."""
        key = _key(registration)
        async with self._asking.setdefault(registration.iss, asyncio.Lock()):
            known = self._known.get(key)
            if known and self._now() - known[0] < self._ttl:
                return known[1]
            read = self._from_statement if Legacy.OAUTH_URIS in registration.legacy else self._from_well_known
            configuration = await read(registration)
            self._known[key] = (self._now(), configuration)
            return configuration

    def forget(self, registration: ClientRegistration) -> None:
        """Ask again next time, for instance after the EHR refused an address it named."""
        self._known.pop(_key(registration), None)

    async def _from_well_known(self, registration: ClientRegistration) -> SmartConfiguration:
        answer = await self._http.get(f"{registration.iss}/.well-known/smart-configuration", "smart-configuration")
        return _checked(answer.json_object(), registration)

    async def _from_statement(self, registration: ClientRegistration) -> SmartConfiguration:
        answer = await self._http.get(
            f"{registration.iss}/metadata", "CapabilityStatement", size=_CAPABILITY_STATEMENT_SIZE
        )
        members: dict[str, Any] = {}
        try:
            extensions = answer.json_object()["rest"][0]["security"]["extension"]
            nested = [part for each in extensions if each["url"] == _OAUTH_URIS for part in each["extension"]]
            members = {_OLD_NAMES[part["url"]]: part["valueUri"] for part in nested if part["url"] in _OLD_NAMES}
        except (KeyError, IndexError, TypeError):
            raise DiscoveryFault("The CapabilityStatement names no oauth-uris.", where="oauth-uris") from None
        old = {"capabilities": ["permission-v1"], "code_challenge_methods_supported": []}
        return _checked({**members, **old}, registration)


def _key(registration: ClientRegistration) -> tuple[object, ...]:
    # What was checked against one registration's pin is not checked against another's.
    return registration.iss, registration.legacy, registration.openid_issuer


def _checked(members: dict[str, Any], registration: ClientRegistration) -> SmartConfiguration:
    token_endpoint = _address(members, "token_endpoint", registration.iss)
    if token_endpoint is None:
        raise DiscoveryFault("The EHR names no token endpoint.", where="token_endpoint")
    return SmartConfiguration(
        iss=registration.iss,
        token_endpoint=token_endpoint,
        authorization_endpoint=_address(members, "authorization_endpoint", registration.iss),
        revocation_endpoint=_address(members, "revocation_endpoint", registration.iss),
        introspection_endpoint=_address(members, "introspection_endpoint", registration.iss),
        issuer=_issuer(members, registration),
        capabilities=_words(members, "capabilities"),
        code_challenge_methods=_words(members, "code_challenge_methods_supported"),
        names_itself=members.get("authorization_response_iss_parameter_supported") is True,
    )


def _address(members: dict[str, Any], name: str, iss: str) -> str | None:
    return addresses.endpoint(members[name], name, base=iss) if members.get(name) is not None else None


def _issuer(members: dict[str, Any], registration: ClientRegistration) -> str | None:
    """Give who signs id_tokens: what is pinned, and then the EHR must not name another; else what it names."""
    named, pinned = members.get("issuer"), registration.openid_issuer
    if pinned is not None and named is not None and named != pinned:
        raise DiscoveryFault(
            "The EHR names another OpenID issuer than the one pinned for it.",
            where="issuer",
            remedy="Ask the EHR's operator; if the change is real, correct openid_issuer.",
        )
    if pinned is not None or named is None:
        return pinned
    if not isinstance(named, str) or "://" not in named:
        raise DiscoveryFault("The EHR names an OpenID issuer that is no absolute URL.", where="issuer")
    addresses.endpoint(named, "issuer", base=registration.iss)
    return named  # letter by letter as given: that is how iss is compared


def _words(members: dict[str, Any], name: str) -> frozenset[str]:
    value = members.get(name, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise DiscoveryFault(f"{name} is not a list of words.", where=name)
    return frozenset(value)


def able_to_launch(configuration: SmartConfiguration, registration: ClientRegistration) -> str:
    """Give the authorization endpoint if a launch is possible there: it is named, and so is S256.

    Raises ``DiscoveryFault``. An EHR flagged ``NO_S256`` or ``OAUTH_URIS`` need not name S256 (integration §1.1 row 6).
    """
    if configuration.authorization_endpoint is None:
        raise DiscoveryFault("The EHR names no authorization endpoint.", where="authorization_endpoint")
    if "S256" not in configuration.code_challenge_methods and not registration.legacy:
        raise DiscoveryFault(
            "The EHR does not name S256, so a stolen code could be used.",
            where="code_challenge_methods_supported",
            remedy="Ask the EHR's operator for PKCE with S256; an EHR that cannot is flagged NO_S256.",
        )
    return configuration.authorization_endpoint
