"""Settings of the CDS Hooks door: the ``[cds_hooks]`` table of a clinic's file.

Who may call is a list: issuers, and the addresses their keys may be read from. No other address is ever fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.intake.table_faults import faults_of
from fhir_aftercare.smart import addresses

_EXAMPLES: Final = {
    "public_url": "https://aftercare.your-clinic.com",
    "launch_url": "https://aftercare.your-clinic.com/launch",
    "allowed_origins": "https://ehr.example.com",
    "iss": "https://ehr.example.com",
    "jku": "https://ehr.example.com/jwks.json",
    "tenant": "the id your EHR gave you",
}


@dataclass(frozen=True, slots=True)
class CdsClient:
    """A CDS client (an EHR) that may call: ``iss`` of its tokens, and ``tenant`` if they must name one.

    ``jku``: the addresses of its key sets; the first is used where a token names none.
    """

    iss: str
    jku: tuple[str, ...]
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class CdsSettings:
    """How a clinic's EHR calls. Addresses are without a slash at the end.

    ``public_url`` is this service's address as the EHR knows it, ``launch_url`` the SMART launch URL of the app. With
    ``open_discovery`` the list of services, which says nothing of anybody, needs no token. ``allowed_origins`` are the
    web origins whose scripts may call (CORS).
    """

    public_url: str
    launch_url: str
    clients: tuple[CdsClient, ...]
    allowed_origins: frozenset[str] = frozenset()
    open_discovery: bool = False


def cds_hooks_of(given: object) -> tuple[CdsSettings | None, list[str]]:
    """Give the ``[cds_hooks]`` table of a clinic's file (None if there is none), and all that is wrong with it."""
    if given is None:
        return None, []
    if not isinstance(given, dict):
        return None, ["cds_hooks: must be a table, [cds_hooks]"]
    try:
        table = _Table.model_validate(given)
    except ValidationError as error:
        return None, faults_of("cds_hooks", error, _EXAMPLES)
    clients = tuple(CdsClient(each.iss, tuple(each.jku), each.tenant) for each in table.clients)
    if len({(each.iss, each.tenant) for each in clients}) != len(clients):
        return None, ["cds_hooks.clients: iss and tenant together must name one client only"]
    origins = frozenset(table.allowed_origins)
    return CdsSettings(table.public_url, table.launch_url, clients, origins, table.open_discovery), []


def _base(value: str) -> str:
    try:
        return addresses.base_url(value, "the address")
    except AftercareError as fault:
        raise ValueError(f"{fault.message.removesuffix('.')} (http only on this machine)") from None


def _origin(value: str) -> str:
    base = _base(value)
    if base.count("/") != 2:
        raise ValueError("must be an origin, without a path")
    return base


def _address(value: str) -> str:
    _base(value.partition("?")[0])
    try:
        return str(addresses.parse(value, "the address"))
    except AftercareError as fault:
        raise ValueError(fault.message.removesuffix(".")) from None


_Base = Annotated[str, AfterValidator(_base)]
_Origin = Annotated[str, AfterValidator(_origin)]
_Address = Annotated[str, AfterValidator(_address)]


class _Client(BaseModel):
    model_config = ConfigDict(extra="forbid")

    iss: str = Field(min_length=1, max_length=500)
    jku: list[_Address] = Field(min_length=1)
    tenant: str | None = Field(None, min_length=1, max_length=500)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    public_url: _Base
    launch_url: _Address
    clients: list[_Client] = Field(min_length=1)
    allowed_origins: list[_Origin] = Field(default_factory=list)
    open_discovery: bool = False
