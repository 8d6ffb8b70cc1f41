"""Reads one clinic's TOML file. All its faults are reported at once, each with its place and what would be right.

Which files there are, and that one clinic's fault stops no other, is ``config``. Secrets do not stand in these files.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass, field, fields
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fhir_aftercare.care.clinic import Clinic, DrugRecord, Owners
from fhir_aftercare.care.timing import OpenHours, zone_of
from fhir_aftercare.door_settings import TABLES, DoorSettings, doors_of
from fhir_aftercare.errors import AftercareError, ConfigFault
from fhir_aftercare.loopback import is_loopback
from fhir_aftercare.policy_file import policy_of, unknown
from fhir_aftercare.smart_settings import SmartSettings, smart_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from fhir_aftercare.care.policy import Policy

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SPAN = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)\s*-\s*((?:[01]\d|2[0-3]):[0-5]\d|24:00)")
_FHIR_ID = r"[A-Za-z0-9\-.]{1,64}"
# Whom R4 lets own a Task, and a clinic has.
_OWNER = rf"^(Practitioner|PractitionerRole|Organization|CareTeam)/{_FHIR_ID}$"
# Names that belong to nobody (RFC 2606): good for documents and for trying out on one machine.
_NOBODYS = ("example", "example.org", "example.com", "example.net", "invalid", "test")

Spans = tuple[tuple[time, time], ...]


@dataclass(frozen=True, slots=True)
class ClinicSettings:
    """A clinic, where its FHIR server is, and the address under which its identifiers are made.

    ``profiles``: the folder of the clinic's own protocol, if it has one. ``doors``: how signals come in.
    """

    clinic: Clinic
    fhir_base_url: str
    identifier_base: str
    profiles: Path | None = None
    doors: DoorSettings = field(default_factory=DoorSettings)
    smart: SmartSettings | None = None


def read_clinic_file(path: Path, environ: Mapping[str, str] | None = None) -> ClinicSettings:
    """Give the clinic of a TOML file, whose name without its ending is the clinic's id.

    Its ``profiles`` are looked for beside the file, its secrets in ``environ``. Raises ``ConfigFault`` with all faults
    of it at once, also if it cannot be read.
    """
    try:
        return read_clinic(path.stem, path.read_text("utf-8-sig"), beside=path.parent, environ=environ)
    except UnicodeDecodeError:
        raise ConfigFault(["the file is not UTF-8 text"], where=path.stem) from None
    except OSError as error:
        raise ConfigFault([f"the file cannot be read: {error.strerror}"], where=path.stem) from None


def read_clinic(
    clinic_id: str, text: str, *, beside: Path = Path(), environ: Mapping[str, str] | None = None
) -> ClinicSettings:
    """Give a clinic from the text of its TOML file; ``beside`` is the folder that its ``profiles`` are relative to.

    Raises ``ConfigFault`` with all faults of it at once.
    """
    faults: list[str] = []
    if not _ID.fullmatch(clinic_id):
        faults.append(f"file name: {clinic_id!r} must be lower-case letters, digits and hyphens, such as harbor.toml")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigFault([*faults, f"not TOML: {error}"], where=clinic_id) from None
    policy, policy_faults = policy_of(data.get("policy", {}))
    doors, door_faults = doors_of(clinic_id, data, environ or {})
    smart, smart_faults = smart_of(clinic_id, data.get("smart"), environ or {})
    door_faults = [*door_faults, *smart_faults]
    try:
        file = _ClinicFile.model_validate(
            {k: v for k, v in data.items() if k not in {*TABLES, "smart"}} | {"policy": {}}
        )
    except ValidationError as error:
        raise ConfigFault(
            [*faults, *map(_fault, error.errors()), *policy_faults, *door_faults], where=clinic_id
        ) from None
    if faults or policy_faults or door_faults:
        raise ConfigFault([*faults, *policy_faults, *door_faults], where=clinic_id)
    profiles = beside / file.profiles if file.profiles else None
    clinic = _clinic(clinic_id, file, policy, data)
    return ClinicSettings(clinic, file.fhir_base_url, file.identifier_base, profiles, doors, smart)


def _url(value: object) -> str:
    text = value if isinstance(value, str) and not re.search(r"\s", value) else ""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an absolute http(s) URL without query")
    if parts.username or parts.password:
        raise ValueError("must not hold a user or a password")
    if parts.port == 0:
        raise ValueError("must not name port 0")
    return text.rstrip("/")


def _zone(value: object) -> ZoneInfo:
    try:
        return zone_of(str(value))
    except AftercareError:
        raise ValueError("must be an IANA name") from None


def _span(value: object) -> tuple[time, time]:
    match = _SPAN.fullmatch(str(value).strip())
    if not match:
        raise ValueError("must look like 09:00-18:00")
    return time.fromisoformat(match[1]), time.fromisoformat(match[2].replace("24:00", "00:00"))


def _many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _day(spans: Spans) -> Spans:
    try:
        OpenHours({0: spans}, frozenset(), ZoneInfo("UTC"))
    except AftercareError:
        raise ValueError("must open before it closes, and not overlap") from None
    return tuple(sorted(spans))


def _code(value: object) -> tuple[str, str]:
    system, bar, code = str(value).partition("|")
    if not (system and bar and code) or "|" in code:
        raise ValueError("must be system|code")
    return system, code


_Url = Annotated[str, PlainValidator(_url)]
_Zone = Annotated[ZoneInfo, PlainValidator(_zone)]
_Span = Annotated[tuple[time, time], BeforeValidator(_span)]
_Day = Annotated[tuple[_Span, ...], BeforeValidator(_many), AfterValidator(_day)]
_Code = Annotated[tuple[str, str], PlainValidator(_code)]
_Organization = Annotated[str, Field(pattern=rf"^Organization/{_FHIR_ID}$")]
_Owner = Annotated[str | None, Field(pattern=_OWNER)]


class _Owners(BaseModel):
    model_config = ConfigDict(extra="forbid")

    nurse: _Owner = None
    prescriber: _Owner = None
    care_team: _Owner = None
    on_call: _Owner = None


class _Week(BaseModel):
    """The open spans of each weekday, in the order of ``date.weekday``."""

    model_config = ConfigDict(extra="forbid")

    mon: _Day = ()
    tue: _Day = ()
    wed: _Day = ()
    thu: _Day = ()
    fri: _Day = ()
    sat: _Day = ()
    sun: _Day = ()

    @property
    def weekly(self) -> dict[int, Spans]:
        days = (getattr(self, name) for name in type(self).model_fields)
        return {number: spans for number, spans in enumerate(days) if spans}

    @model_validator(mode="after")
    def _open_at_all(self) -> _Week:
        if not self.weekly:
            raise ValueError("must name at least one day: staff's work needs hours in which it can be done")
        return self


class _ClinicFile(BaseModel):
    """What a clinic's file may say; anything else in it is a fault.

    ``policy`` is read by ``policy_file``, the tables of the doors by ``door_settings``.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, examples=["Harbor Clinic"])
    fhir_base_url: _Url = Field(examples=["https://fhir.example.com/r4"])
    identifier_base: _Url = Field(examples=["https://aftercare.your-clinic.com"])
    zone: _Zone = Field(examples=["America/New_York"])
    organization: _Organization = Field(examples=["Organization/42"])
    phone: str = Field(min_length=3, examples=["+1 555 0100"])
    after_hours_phone: str | None = Field(None, min_length=3, examples=["+1 555 0199"])
    language: Literal["en", "es"] = "en"
    drug_record: DrugRecord = "medication-administration"
    owners: _Owners = Field(default_factory=_Owners, examples=["PractitionerRole/7"])
    call_hours: _Week = Field(examples=["09:00-18:00"])
    holidays: list[date] = Field(default_factory=list, examples=["2026-12-25"])
    ketamine_codes: list[_Code] = Field(
        default_factory=list, examples=["http://www.nlm.nih.gov/research/umls/rxnorm|6130"]
    )
    infusion_encounters: list[_Code] = Field(default_factory=list, examples=["https://ehr.example.com/types|KET"])
    organizations: list[_Organization] = Field(default_factory=list, examples=["Organization/42"])
    profiles: str | None = Field(None, min_length=1, examples=["harbor-protocol"])
    policy: dict[str, object] = Field(default_factory=dict)

    @field_validator("identifier_base")
    @classmethod
    def _owned(cls, value: str, info: ValidationInfo) -> str:
        """Identifiers on a name that nobody owns could mean anything elsewhere (design §9.21)."""
        host, server = urlsplit(value).hostname or "", urlsplit(info.data.get("fhir_base_url", "")).hostname or ""
        nobodys = any(host == name or host.endswith(f".{name}") for name in _NOBODYS)
        if nobodys and server and not is_loopback(server):
            raise ValueError(f"{host} is for trying out on this machine only; use an address that your clinic owns")
        return value


def _fault(error: ErrorDetails) -> str:
    """Give a fault as people read it: the place, what is wrong, and an example."""
    place = [str(part) for part in error["loc"]]
    top = _ClinicFile.model_fields.get(place[0])
    if error["type"] == "extra_forbidden":
        tables: dict[str, type[BaseModel]] = {"owners": _Owners, "call_hours": _Week}
        inside = tables.get(place[0], _ClinicFile) if len(place) > 1 else _ClinicFile
        return f"{'.'.join(place)}: {unknown(place[-1], inside.model_fields)}"
    message = "is missing" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
    example = f" (for example {top.examples[0]})" if top and top.examples else ""
    return f"{'.'.join(place)}: {message}{example}"


def _clinic(clinic_id: str, file: _ClinicFile, policy: Policy, data: dict[str, Any]) -> Clinic:
    return Clinic(
        id=clinic_id,
        name=file.name,
        zone=file.zone,
        organization=file.organization,
        phone=file.phone,
        after_hours_phone=file.after_hours_phone,
        policy=policy,
        call_hours=OpenHours(file.call_hours.weekly, frozenset(file.holidays), file.zone),
        language=file.language,
        owners=Owners(**file.owners.model_dump()),
        drug_record=file.drug_record,
        ketamine_codes=frozenset(file.ketamine_codes),
        infusion_encounters=frozenset(file.infusion_encounters),
        organizations=frozenset(file.organizations),
        policy_hash=_hash(data, policy),
    )


def _hash(data: dict[str, Any], policy: Policy) -> str:
    """Give the content hash stamped on what is written: of what decides care, not of servers, doors and files.

    The policy goes in as it holds, defaults included, so a default that changes with a release changes the hash.
    """
    apart = {"fhir_base_url", "profiles", "organizations", "smart", *TABLES}
    decides = {key: value for key, value in data.items() if key not in apart}
    decides["policy"] = {each.name: getattr(policy, each.name) for each in fields(policy)}
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:16]
