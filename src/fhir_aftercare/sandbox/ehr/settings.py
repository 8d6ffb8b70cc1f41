"""Who and what the pretend EHR knows: its address, the registered clients, the people who sign in.

Says which settings cannot be used; decides nothing while it runs (that is ``faults``). It shares no code with the SMART
client of this project: an error in one must not be made good by the same error in the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.loopback import is_loopback
from fhir_aftercare.sandbox.ehr import scopes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx

ClientKind = Literal["public", "symmetric", "asymmetric"]


@dataclass(frozen=True, slots=True)
class FhirStore:
    """The FHIR server behind the EHR. ``base_url`` as that server writes it in its links; ``transport`` reaches it.

    For a store in this process the transport is ``httpx.ASGITransport(store)``; without one the network is used.
    """

    base_url: str
    transport: httpx.AsyncBaseTransport | None = None


@dataclass(frozen=True, slots=True)
class EhrClient:
    """One registered client.

    ``scopes`` is all it may ever ask for, in SMART v2 syntax. ``redirect_uris`` are compared letter by letter. An app
    with a ``launch_url`` is shown on the start page, one with a ``standalone_url`` can be started from there as well.
    ``secret`` is for symmetric clients; asymmetric ones have ``jwks`` (a JWK Set) or ``jwks_url``.
    """

    client_id: str
    kind: ClientKind
    scopes: str
    name: str = ""
    redirect_uris: tuple[str, ...] = ()
    launch_url: str | None = None
    standalone_url: str | None = None
    secret: str | None = field(default=None, repr=False)
    jwks: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    jwks_url: str | None = None

    @property
    def title(self) -> str:
        """What the pages call it."""
        return self.name or self.client_id

    def faults(self) -> Iterator[str]:
        """Give what is wrong with the registration."""
        who = f"client {self.client_id or '?'}"
        if (self.kind == "symmetric") != bool(self.secret):
            yield f"{who}: a symmetric client needs a secret, no other has one"
        if (self.kind == "asymmetric") != ((self.jwks is None) != (self.jwks_url is None)):
            yield f"{who}: an asymmetric client needs either jwks or jwks_url, no other has one"
        try:
            scopes.parse(self.scopes)
        except ValueError as fault:
            yield f"{who}: {fault}"
        for name in ("launch_url", "standalone_url", "jwks_url"):
            yield from _address_faults(f"{who}: {name}", getattr(self, name))
        for uri in self.redirect_uris:
            yield from _address_faults(f"{who}: redirect_uris", uri)
        if self.launch_url and not self.redirect_uris:
            yield f"{who}: an app that is launched needs a redirect URI"


@dataclass(frozen=True, slots=True)
class EhrUser:
    """Somebody who signs in. ``reference`` is a FHIR reference (``Practitioner/…`` or ``Patient/…``)."""

    key: str
    name: str
    reference: str

    @property
    def patient(self) -> str | None:
        """The id of the patient this is; None for staff."""
        type_, _, id_ = self.reference.partition("/")
        return id_ if type_ == "Patient" else None


@dataclass(frozen=True, slots=True)
class EhrSettings:
    """One pretend EHR. Raises ``ConfigFault`` with all faults at once.

    ``origin`` is its public origin, on this machine (``http://ehr.localhost:8001``). ``users`` are offered for sign-in,
    staff first. ``app_origins`` may be shown in the chart's frame besides the origins of the launch URLs. ``apis`` are
    resource servers, besides the FHIR base, that tokens may be asked for by ``resource`` (RFC 8707); their scopes are
    registered like any other, as ``word/word.word``.
    """

    origin: str
    clients: tuple[EhrClient, ...]
    users: tuple[EhrUser, ...]
    app_origins: tuple[str, ...] = ()
    apis: tuple[str, ...] = ()
    name: str = "Pretend EHR"
    tenant: str = "sandbox"

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise ConfigFault(faults, where="pretend EHR")

    @property
    def fhir_base(self) -> str:
        """The FHIR base URL: ``iss`` of a launch, ``aud`` of a request."""
        return f"{self.origin}/fhir"

    @property
    def issuer(self) -> str:
        """The OpenID issuer, which is not the FHIR base, as with most EHRs."""
        return f"{self.origin}/auth"

    @property
    def token_url(self) -> str:
        """The token endpoint: ``aud`` of a client's assertion."""
        return f"{self.issuer}/token"

    @property
    def style_url(self) -> str:
        """The style document: SMART's ``smart_style_url``."""
        return f"{self.origin}/style.json"

    @property
    def host(self) -> str:
        """The only ``Host`` that is answered."""
        return urlsplit(self.origin).netloc

    @property
    def framed(self) -> tuple[str, ...]:
        """The origins that may be shown in the chart's frame."""
        launched = [origin_of(client.launch_url) for client in self.clients if client.launch_url]
        return tuple(dict.fromkeys([*self.app_origins, *launched]))

    def client(self, client_id: str) -> EhrClient | None:
        """Give a registered client."""
        return next((client for client in self.clients if client.client_id == client_id), None)

    def user(self, key: str) -> EhrUser | None:
        """Give somebody by key."""
        return next((user for user in self.users if user.key == key), None)

    def _faults(self) -> Iterator[str]:
        if origin_of(self.origin) != self.origin or not is_loopback(urlsplit(self.origin).hostname or ""):
            yield f"origin: {self.origin!r} must be scheme, host and port of this machine, such as http://ehr.localhost:8001"
        for origin in self.app_origins:
            if origin_of(origin) != origin:
                yield f"app_origins: {origin!r} must be scheme, host and port"
        if not self.users:
            yield "users: somebody must be able to sign in"
        ids, keys = [client.client_id for client in self.clients], [user.key for user in self.users]
        if len(set(ids)) != len(ids) or len(set(keys)) != len(keys):
            yield "each client_id and each user key stands once"
        for user in self.users:
            if not all(user.reference.partition("/")) or user.key == "patient":
                yield f"user {user.key}: needs a reference such as Practitioner/1, and a key other than 'patient'"
        for client in self.clients:
            yield from client.faults()


def origin_of(url: str) -> str:
    """Give scheme, host and port of an address as a browser writes an origin; an empty text if it is none."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in {"http", "https"} and parts.netloc else ""


def _address_faults(what: str, url: str | None) -> Iterator[str]:
    if url is None:
        return
    parts = urlsplit(url)
    here = is_loopback(parts.hostname or "")
    if (
        not (origin_of(url) and (parts.scheme == "https" or here))
        or parts.fragment
        or parts.username
        or not url.isascii()
    ):
        yield f"{what}: must be an absolute https URL (http on this machine) without fragment"
