"""Settings: the environment for the service, and a folder with one TOML file for each clinic.

All faults are reported at once, each with its place and an example; a faulty clinic is refused and the others run.
Nothing is read on import: ``bootstrap`` calls ``load_clinics`` and ``read_settings`` once. What a clinic's file may say
is ``clinic_file``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from fhir_aftercare.clinic_file import ClinicSettings, read_clinic, read_clinic_file
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.loopback import is_loopback
from fhir_aftercare.work_settings import WorkSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

__all__ = [
    "ClinicSettings",
    "LoadedClinics",
    "Settings",
    "load_clinics",
    "read_clinic",
    "read_settings",
]

_PREFIX = "AFTERCARE_"


def _address(text: str | None) -> str | None:
    """Check an address that tokens and secrets are entrusted to: https, or http on this machine."""
    if text is None:
        return None
    parts = urlsplit(text if re.fullmatch(r"[!-~]+", text) else "")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("must be an absolute https URL without query, such as https://login.example.com/realm")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("must be https; http is for this machine only")
    return text


_Address = Annotated[str | None, AfterValidator(_address)]


class Settings(WorkSettings):
    """The service's own settings, each an environment variable ``AFTERCARE_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", env_ignore_empty=True)

    clinics: Path = Field(default=Path("clinics"), description="Folder with one TOML file for each clinic.")
    profiles: Path | None = Field(
        default=None, description="Folder of protocol files to use instead of the shipped ones."
    )
    port: int = Field(default=8000, ge=1, le=65535, description="Port of the API and the pages.")
    keys: Path | None = Field(default=None, description="File of this service's own keys: fhir-aftercare keys new.")
    auth_issuers: Annotated[tuple[Annotated[str, AfterValidator(_address)], ...], NoDecode] = Field(
        default=(), description="Whose access tokens open the API: issuers as in `iss`, with spaces between."
    )
    auth_audience: str | None = Field(
        default=None, validate_default=True, description="What `aud` of an access token must name: this API."
    )
    public_url: _Address = Field(
        default=None,
        validate_default=True,
        description="Where callers reach this service, if the audience is not that address.",
    )
    vault_keys: SecretStr | None = Field(
        default=None, description="Keys that seal stored tokens, the newest first: fhir-aftercare keys vault."
    )
    auth_clinic_claim: str = Field(
        default="clinic", min_length=1, description="The claim with the clinic's id, or a list of them."
    )
    auth_plain_jwt: bool = Field(
        default=False, description="Also accept access tokens that call themselves JWT and not at+jwt (RFC 9068)."
    )
    auth_introspection_url: _Address = Field(
        default=None, description="Where the first issuer tells of a token (RFC 7662): needed for opaque ones."
    )
    auth_introspection_client: str | None = Field(
        default=None, validate_default=True, description="This service's client id there."
    )
    auth_introspection_secret: SecretStr | None = Field(
        default=None, validate_default=True, description="Its secret; without one AFTERCARE_KEYS signs."
    )
    auth_introspect: Literal["opaque", "all"] = Field(
        default="opaque", description="all: signed tokens too, so that a revoked one ends within 30 seconds."
    )
    insecure_bind: bool = Field(default=False, description="Allow a non-loopback address without authentication.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    database_url: str | None = Field(
        default=None, description="Own tables: sqlite:///… or postgresql://…; a file in the user's state directory."
    )
    docs: bool = Field(default=True, description="Serve the interactive documentation at /docs.")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="What is logged.")
    metrics_host: str = Field(default="127.0.0.1", description="Address of /metrics.")
    metrics_port: int = Field(default=9464, ge=0, le=65535, description="Port of /metrics; 0 switches it off.")
    otlp_endpoint: str | None = Field(default=None, description="OpenTelemetry collector, http://collector:4318.")
    max_body_bytes: int = Field(default=2_000_000, ge=1_000, description="Largest body of a request.")
    max_json_depth: int = Field(default=64, ge=8, le=500, description="Deepest nesting of a JSON body.")
    request_seconds: float = Field(default=60.0, ge=1, le=600, description="Longest time a request may take.")
    idempotency_hours: int = Field(default=48, ge=24, le=72, description="How long an Idempotency-Key is remembered.")

    @field_validator("auth_issuers", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(re.split(r"[\s,]+", value.strip())) if isinstance(value, str) else value

    @field_validator("auth_audience")
    @classmethod
    def _says_for_whom(cls, value: str | None, info: ValidationInfo) -> str | None:
        """A token for anything else of the same issuer must not open this API."""
        if value is None and info.data.get("auth_issuers"):
            raise ValueError(
                "is missing: access tokens must be made for this API, such as https://aftercare.clinic.com"
            )
        return value

    @field_validator("public_url")
    @classmethod
    def _says_where(cls, value: str | None, info: ValidationInfo) -> str | None:
        audience = info.data.get("auth_audience")
        if value is None and info.data.get("auth_issuers") and audience:
            try:
                value = _address(audience)
            except ValueError:
                raise ValueError("is missing, and AFTERCARE_AUTH_AUDIENCE is no https URL") from None
        return value.rstrip("/") if value else None

    @field_validator("auth_introspection_url")
    @classmethod
    def _of_an_issuer(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("auth_issuers") == ():
            raise ValueError("is given, and AFTERCARE_AUTH_ISSUERS names nobody whose tokens it knows")
        return value

    @field_validator("auth_introspect")
    @classmethod
    def _can_be_asked(cls, value: str, info: ValidationInfo) -> str:
        if value == "all" and info.data.get("auth_introspection_url", "faulty") is None:
            raise ValueError("all needs AFTERCARE_AUTH_INTROSPECTION_URL")
        return value

    @field_validator("auth_introspection_client")
    @classmethod
    def _introduces_itself(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("auth_introspection_url"):
            raise ValueError("is missing: the introspection endpoint must know who asks")
        return value

    @field_validator("auth_introspection_secret")
    @classmethod
    def _proves_itself(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("auth_introspection_url") and not info.data.get("keys"):
            raise ValueError("is missing; give it, or AFTERCARE_KEYS to sign with")
        return value

    @field_validator("host")
    @classmethod
    def _not_open_to_all(cls, value: str, info: ValidationInfo) -> str:
        """Without authentication only this machine may call (design §9.15)."""
        # An issuer that is faulty is told as such; that somebody has to be authenticated was meant all the same.
        asks = "auth_issuers" not in info.data or info.data["auth_issuers"]
        if not is_loopback(value) and not asks and not info.data.get("insecure_bind"):
            raise ValueError(
                "is not this machine's own, and the API asks for no authentication; use 127.0.0.1, "
                "or AFTERCARE_AUTH_ISSUERS, or AFTERCARE_INSECURE_BIND=1 if something in front of it does"
            )
        return value


@dataclass(frozen=True, slots=True)
class LoadedClinics:
    """The clinics that can run, by id, and the faults of those that cannot, by file name."""

    clinics: Mapping[str, ClinicSettings]
    faults: Mapping[str, ConfigFault]


def read_settings() -> Settings:
    """Give the settings of the environment. Raises ``ConfigFault`` that names every faulty variable."""
    try:
        return Settings()
    except ValidationError as error:
        named = [(_PREFIX + str(each["loc"][0]).upper(), _said(each)) for each in error.errors()]
        where = list(dict.fromkeys(name for name, _ in named))
        raise ConfigFault([f"{name}: {text}" for name, text in named], where=where) from None


def _said(fault: ErrorDetails) -> str:
    place = [f"entry {step + 1} " for step in fault["loc"][1:] if isinstance(step, int)]
    return "".join(place) + fault["msg"].removeprefix("Value error, ")


def load_clinics(folder: Path, environ: Mapping[str, str] | None = None) -> LoadedClinics:
    """Read every ``*.toml`` of a folder; the clinic's id is the file's name without its ending.

    A clinic's secrets are looked for in ``environ``.

    Raises ``ConfigFault`` only if the folder itself cannot be used. A file that is faulty or cannot be read is in
    ``faults``, with all its faults.
    """
    if not folder.is_dir():
        raise ConfigFault([f"AFTERCARE_CLINICS: there is no folder {folder}"], where="AFTERCARE_CLINICS")
    clinics: dict[str, ClinicSettings] = {}
    faults: dict[str, ConfigFault] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            clinics[path.stem] = read_clinic_file(path, environ)
        except ConfigFault as fault:
            faults[path.name] = fault
    return LoadedClinics(clinics, faults)
