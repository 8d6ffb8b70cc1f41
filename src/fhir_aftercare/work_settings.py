"""The service's settings for what it does by itself: durable work, sweeps, the alarm, HL7 v2 over MLLP."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.loopback import is_loopback
from fhir_aftercare.observe.heartbeat import Webhook


class WorkSettings(BaseSettings):
    """Each an environment variable ``AFTERCARE_<NAME>``, as the others."""

    work: bool = Field(default=True, description="Take signals, and do the durable work and the sweeps.")
    sweep_minutes: int = Field(default=5, ge=1, le=1440, description="How often each clinic's server is swept.")
    stopped_minutes: int = Field(
        default=30, ge=2, le=10_080, description="A sweep or worker without success for so long has stopped."
    )
    webhook_secret: SecretStr | None = Field(
        default=None, description="The secret that alarms are signed with (Standard Webhooks, whsec_...)."
    )
    webhook_url: str | None = Field(
        default=None, validate_default=True, description="Where it is told that a sweep or worker has stopped."
    )
    mllp_port: int | None = Field(default=None, ge=1, le=65535, description="Port for HL7 v2 over MLLP; none: not.")
    mllp_certificate: Path | None = Field(default=None, description="The listener's TLS certificate, PEM.")
    mllp_key: Path | None = Field(default=None, validate_default=True, description="Its key, PEM.")
    mllp_client_ca: Path | None = Field(default=None, description="Who signs the senders' certificates, PEM.")
    mllp_host: str = Field(default="127.0.0.1", description="Address to listen on for HL7 v2.")

    @field_validator("webhook_url")
    @classmethod
    def _can_be_told(cls, value: str | None, info: ValidationInfo) -> str | None:
        secret: SecretStr | None = info.data.get("webhook_secret")
        if value is None:
            if secret is not None:
                raise ValueError("is missing, and AFTERCARE_WEBHOOK_SECRET is given")
            return None
        try:
            Webhook(value, secret.get_secret_value() if secret else "")
        except ConfigFault as fault:
            raise ValueError("; ".join(fault.faults)) from None
        return value

    @field_validator("mllp_key")
    @classmethod
    def _goes_with_a_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (value is None) != (info.data.get("mllp_certificate") is None):
            raise ValueError("and AFTERCARE_MLLP_CERTIFICATE are given both, or neither")
        return value

    @field_validator("mllp_host")
    @classmethod
    def _knows_its_senders(cls, value: str, info: ValidationInfo) -> str:
        """HL7 v2 knows no log-in: beyond this machine a sender is known by its certificate."""
        encrypted = info.data.get("mllp_certificate") and info.data.get("mllp_client_ca")
        if not is_loopback(value) and not encrypted:
            raise ValueError(
                "is not this machine's own: senders need a certificate, so give AFTERCARE_MLLP_CERTIFICATE, "
                "AFTERCARE_MLLP_KEY and AFTERCARE_MLLP_CLIENT_CA, or use 127.0.0.1 behind a proxy that asks for one"
            )
        return value

    @property
    def webhook(self) -> Webhook | None:
        """Where alarms go."""
        if self.webhook_url is None or self.webhook_secret is None:
            return None
        return Webhook(self.webhook_url, self.webhook_secret.get_secret_value())
