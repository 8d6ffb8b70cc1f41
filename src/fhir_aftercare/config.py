"""Settings: the environment for the service, and a folder with one TOML file for each clinic.

All faults are reported at once, each with its place and an example; a faulty clinic is refused and the others run.
Nothing is read on import: ``bootstrap`` calls ``load_clinics`` and ``read_settings`` once. What a clinic's file may say
is ``clinic_file``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fhir_aftercare.clinic_file import ClinicSettings, is_loopback, read_clinic, read_clinic_file
from fhir_aftercare.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ClinicSettings",
    "LoadedClinics",
    "Settings",
    "is_loopback",
    "load_clinics",
    "read_clinic",
    "read_settings",
]

_PREFIX = "AFTERCARE_"


class Settings(BaseSettings):
    """The service's own settings, each an environment variable ``AFTERCARE_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", env_ignore_empty=True)

    clinics: Path = Field(default=Path("clinics"), description="Folder with one TOML file for each clinic.")
    profiles: Path | None = Field(
        default=None, description="Folder of protocol files to use instead of the shipped ones."
    )
    port: int = Field(default=8000, ge=1, le=65535, description="Port of the API and the pages.")
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

    @field_validator("host")
    @classmethod
    def _not_open_to_all(cls, value: str, info: ValidationInfo) -> str:
        """Without authentication only this machine may call (design §9.15)."""
        if not is_loopback(value) and not info.data.get("insecure_bind"):
            raise ValueError(
                "is not this machine's own, and the API asks for no authentication; "
                "use 127.0.0.1, or AFTERCARE_INSECURE_BIND=1 if something in front of it does"
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
        named = [
            (_PREFIX + "_".join(map(str, each["loc"])).upper(), each["msg"].removeprefix("Value error, "))
            for each in error.errors()
        ]
        raise ConfigFault([f"{name}: {text}" for name, text in named], where=[name for name, _ in named]) from None


def load_clinics(folder: Path) -> LoadedClinics:
    """Read every ``*.toml`` of a folder; the clinic's id is the file's name without its ending.

    Raises ``ConfigFault`` only if the folder itself cannot be used. A file that is faulty or cannot be read is in
    ``faults``, with all its faults.
    """
    if not folder.is_dir():
        raise ConfigFault([f"AFTERCARE_CLINICS: there is no folder {folder}"], where="AFTERCARE_CLINICS")
    clinics: dict[str, ClinicSettings] = {}
    faults: dict[str, ConfigFault] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            clinics[path.stem] = read_clinic_file(path)
        except ConfigFault as fault:
            faults[path.name] = fault
    return LoadedClinics(clinics, faults)
