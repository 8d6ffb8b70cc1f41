"""Settings of the HL7 v2 door: who may send for a clinic and how its messages are read, and where is listened.

The senders stand in a clinic's file (``[hl7v2]``); the listener is the service's. Nothing about a message is guessed:
its time zone, character set and the meaning of its identifiers are settings.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 (pydantic needs it)
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from fhir_aftercare.care.timing import zone_of
from fhir_aftercare.errors import AftercareError, ConfigFault
from fhir_aftercare.intake.hl7v2_message import CHARSETS
from fhir_aftercare.intake.table_faults import faults_of

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSIONS: Final = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2")
_EXAMPLES: Final = {
    "application": "ADT",
    "facility": "HARBOR",
    "zone": "America/New_York",
    "patients": '{ HARBOR = "https://ehr.example.com/mrn" }',
    "visits": '{ HARBOR = "https://ehr.example.com/visit" }',
    "charset": "UNICODE UTF-8",
    "versions": "2.5.1",
    "processing_ids": "P",
}


@dataclass(frozen=True, slots=True)
class Sender:
    """A system that sends for a clinic, known by MSH-3 and MSH-4 (their first components).

    ``zone`` holds for times without an offset, ``charset`` (a name of HL7 table 0211) where MSH-18 is empty.
    ``patients`` and ``visits`` say which FHIR identifier system an assigning authority stands for: of PID-3 and MRG-1,
    and of PV1-19. An empty authority stands for identifiers that come without one; the first that is there counts.
    """

    application: str
    facility: str
    zone: ZoneInfo
    patients: Mapping[str, str]
    visits: Mapping[str, str]
    charset: str = "ASCII"
    versions: tuple[str, ...] = VERSIONS
    processing_ids: tuple[str, ...] = ("P",)


@dataclass(frozen=True, slots=True)
class Hl7Settings:
    """The senders of one clinic."""

    senders: tuple[Sender, ...]


@dataclass(frozen=True, slots=True)
class Listener:
    """Where messages are awaited. Sizes in bytes, times in seconds; ``tls`` as ``tls_context`` makes it.

    ``idle`` is how long a connection may take to send a whole message, ``longest`` how long the inbox may take to keep
    it. Port 0 takes a free one.
    """

    host: str = "127.0.0.1"
    port: int = 2575
    tls: ssl.SSLContext | None = None
    max_message: int = 1_000_000
    max_connections: int = 32
    idle: float = 300.0
    longest: float = 20.0


def tls_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """Give a context for the listener; with ``client_ca`` a sender needs a certificate of that authority.

    Raises ``ConfigFault`` if a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # an SSLError is one
        raise ConfigFault([f"hl7v2: the TLS files cannot be used: {error.strerror or error.args[0]}"]) from None
    return context


def hl7v2_of(given: object) -> tuple[Hl7Settings | None, list[str]]:
    """Give the ``[hl7v2]`` table of a clinic's file (None if there is none), and everything that is wrong with it."""
    if given is None:
        return None, []
    if not isinstance(given, dict):
        return None, ["hl7v2: must be a table, with [[hl7v2.senders]]"]
    try:
        table = _Table.model_validate(given)
    except ValidationError as error:
        return None, faults_of("hl7v2", error, _EXAMPLES)
    senders = tuple(_sender(each) for each in table.senders)
    if len({(each.application, each.facility) for each in senders}) != len(senders):
        return None, ["hl7v2.senders: application and facility together must name one sender only"]
    return Hl7Settings(senders), []


def _zone(value: object) -> ZoneInfo:
    try:
        return zone_of(str(value))
    except AftercareError:
        raise ValueError("must be an IANA name") from None


def _charset(value: object) -> str:
    if value not in CHARSETS:
        raise ValueError(f"must be one of {', '.join(CHARSETS)}")
    return str(value)


def _systems(value: object) -> dict[str, str]:
    """Give authority → identifier system; the order of the file is kept."""
    if not isinstance(value, dict) or not value:
        raise ValueError("must be a table of assigning authority = identifier system, with at least one")
    for system in value.values():
        absolute = isinstance(system, str) and system.startswith(("http://", "https://", "urn:"))
        if not absolute or "|" in system or any(each.isspace() for each in system):
            raise ValueError("each identifier system must be an absolute URI (http, https or urn)")
    return {str(authority): str(system) for authority, system in value.items()}


def _version(value: object) -> str:
    if value not in VERSIONS:
        raise ValueError(f"must be one of {', '.join(VERSIONS)}")
    return str(value)


_Name = Annotated[str, Field(max_length=180, pattern=r"^[^|^~\\&\x00-\x1f]*$")]
_Systems = Annotated[dict[str, str], PlainValidator(_systems)]


class _Sender(BaseModel):
    model_config = ConfigDict(extra="forbid")

    application: Annotated[_Name, Field(min_length=1)]
    facility: _Name = ""
    zone: Annotated[ZoneInfo, PlainValidator(_zone)]
    patients: _Systems
    visits: _Systems
    charset: Annotated[str, PlainValidator(_charset)] = "ASCII"
    versions: list[Annotated[str, PlainValidator(_version)]] = Field(default=list(VERSIONS), min_length=1)
    processing_ids: list[Annotated[str, Field(pattern="^[PTD]$")]] = Field(default=["P"], min_length=1)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    senders: list[_Sender] = Field(min_length=1)


def _sender(given: _Sender) -> Sender:
    return Sender(
        given.application,
        given.facility,
        given.zone,
        given.patients,
        given.visits,
        given.charset,
        tuple(given.versions),
        tuple(given.processing_ids),
    )
