"""How this client is known to one EHR, and which EHRs there are: the allow-list everything else starts from.

An issuer that is not here is never spoken to (integration §1.1 row 2). Nothing here is sent anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal

import httpx

from fhir_aftercare.errors import AftercareError, ConfigFault
from fhir_aftercare.smart import addresses
from fhir_aftercare.smart.faults import UnknownIssuer
from fhir_aftercare.smart.keys import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fhir_aftercare.smart.keys import Signer
    from fhir_aftercare.smart.scopes import ScopeTable

Kind = Literal["public", "symmetric", "asymmetric"]


class Legacy(Enum):
    """What an old EHR may lack. Each must be switched on for that EHR; nothing is tried silently."""

    NO_S256 = "its configuration does not name S256; the challenge is sent all the same"
    OAUTH_URIS = "it has no smart-configuration: the oauth-uris of its CapabilityStatement are read"


@dataclass(frozen=True, slots=True)
class ClientRegistration:
    """One client at one EHR. A clinic may have two: one for people (redirect URI), one for backend services.

    ``iss`` is the FHIR base URL; it is kept in the compared form, ``aud`` as it was written. ``secret`` is for
    symmetric clients, ``keys`` and ``alg`` for asymmetric ones, ``jwks_url`` the registered address of the public keys
    if assertions are to name it. ``openid_issuer`` pins who may sign id_tokens. ``style_origins`` may serve style
    documents besides the EHR itself. Raises ``ConfigFault`` with all faults at once.
    """

    clinic: str
    iss: str
    client_id: str
    kind: Kind
    scopes: ScopeTable
    redirect_uri: str | None = None
    launch_url: str | None = None
    secret: str | None = field(default=None, repr=False)
    keys: Signer | None = field(default=None, repr=False, compare=False)
    alg: str = "ES384"
    jwks_url: str | None = None
    openid_issuer: str | None = None
    legacy: frozenset[Legacy] = frozenset()
    allow_cookieless_callback: bool = False
    style_origins: tuple[str, ...] = ()
    aud: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "aud", self.iss)
        faults = [*self._credential_faults(), *self._address_faults()]
        if faults:
            raise ConfigFault(faults, where=self.clinic)
        object.__setattr__(self, "iss", addresses.base_url(self.iss, "iss"))

    def _credential_faults(self) -> Iterator[str]:
        if not self.client_id.strip() or not self.client_id.isascii():
            yield "client_id: must be the id the EHR gave, in ASCII"
        if (self.kind == "symmetric") != bool(self.secret):
            yield "secret: a symmetric client needs one, no other has one"
        if (self.kind == "asymmetric") != (self.keys is not None):
            yield "keys: an asymmetric client needs a key ring, no other has one"
        if self.kind == "asymmetric" and self.keys is not None and self.alg not in self.keys.algorithms:
            yield f"alg: the key ring holds no key for {self.alg}"
        if self.alg not in ALGORITHMS:
            yield f"alg: must be one of {', '.join(ALGORITHMS)}"

    def _address_faults(self) -> Iterator[str]:
        fixed = {"redirect_uri": self.redirect_uri, "launch_url": self.launch_url, "jwks_url": self.jwks_url}
        checked = {"iss": self.iss, "openid_issuer": self.openid_issuer, **fixed}
        for name, value in checked.items():
            try:
                if value is not None:
                    addresses.base_url(value, name)  # refuses a query too: redirect URIs are compared letter by letter
            except AftercareError as fault:
                yield f"{name}: {fault.message}"


class Registrations:
    """The allow-list. Several clinics may share one EHR; then a launch must say which clinic is meant."""

    def __init__(self, registrations: Iterable[ClientRegistration]) -> None:
        self._by_issuer: dict[str, list[ClientRegistration]] = {}
        self._by_clinic: dict[str, ClientRegistration] = {}
        for registration in registrations:
            if registration.clinic in self._by_clinic:
                raise ConfigFault(["a clinic has one registration for launches"], where=registration.clinic)
            if not registration.redirect_uri:
                raise ConfigFault(["a client that is launched needs a redirect_uri"], where=registration.clinic)
            self._by_clinic[registration.clinic] = registration
            self._by_issuer.setdefault(registration.iss, []).append(registration)

    def launched_by(self, iss: object, clinic: str | None = None) -> ClientRegistration:
        """Give the registration for the ``iss`` of a launch. Raises ``UnknownIssuer``; nothing was fetched then."""
        try:
            known = self._by_issuer.get(addresses.base_url(iss, "iss"), [])
        except AftercareError:
            raise UnknownIssuer("The iss of the launch is not an address.", where="iss") from None
        fitting = [registration for registration in known if clinic in {None, registration.clinic}]
        if len(fitting) > 1:
            raise UnknownIssuer(
                "Several clinics use this EHR.", where="iss", remedy="Give each clinic's launch URL its clinic."
            )
        if not fitting:
            raise UnknownIssuer("This EHR is registered for no clinic that may be launched here.", where="iss")
        return fitting[0]

    def of_clinic(self, clinic: str) -> ClientRegistration:
        """Give the clinic's registration. Raises ``UnknownIssuer`` if it has none."""
        if clinic not in self._by_clinic:
            raise UnknownIssuer("The clinic has no EHR that can be signed in to.", where="clinic")
        return self._by_clinic[clinic]

    def __iter__(self) -> Iterator[ClientRegistration]:
        return iter(self._by_clinic.values())


def same_base(one: object, other: str) -> bool:
    """Tell whether two base URLs are the same place, whatever their case, port and last slash."""
    try:
        return addresses.base_url(one, "iss") == addresses.base_url(other, "iss")
    except (AftercareError, httpx.InvalidURL):
        return False
