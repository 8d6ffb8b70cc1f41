"""Settings of the subscription doors of one clinic: how its FHIR server proves who it is, and what its numbers mean.

The table ``[subscription]`` of the clinic's file says how; the secrets come from the environment, two at once while
they are changed. How a notification is checked is ``verify``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from fhir_aftercare.intake.table_faults import faults_of

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE: Final = "subscription"
SHORTEST_SECRET: Final = 16
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
# What may stand in a header's value and in Subscription.channel.header without being cut or quoted.
_SECRET: Final = re.compile(r"[!-~]{16,512}")
_TAKEN: Final = frozenset({"accept", "connection", "content-length", "content-type", "host", "transfer-encoding"})
_EXAMPLES: Final = {"header": "X-Aftercare-Secret", "topic_check": "signature", "topic_counters": "false"}

Check = Literal["header", "signature"]


@dataclass(frozen=True, slots=True)
class SubscriptionSettings:
    """How notifications of one clinic's FHIR server are checked.

    ``secrets``: one, or two while they are changed; the first is the one that ``subscribe`` sends. ``header`` carries
    it; in ``Authorization`` as a Bearer. ``topic_check``: topic notifications carry the header, or are signed (HMAC,
    integration §2.3). ``topic_counters``: event numbers run on from one notification to the next, so that a gap tells
    of a lost one; false for servers that count within each Bundle. ``seconds``: how long storing may take before the
    server is told to send again. ``max_body`` in bytes.
    """

    secrets: tuple[str, ...] = field(repr=False)
    header: str = "X-Aftercare-Secret"
    topic_check: Check = "header"
    topic_counters: bool = True
    seconds: float = 1.5
    max_body: int = 2_000_000

    @property
    def header_value(self) -> str:
        """Give what ``header`` is to hold: the newest secret."""
        return header_value(self.header, self.secrets[0])


def header_value(header: str, secret: str) -> str:
    """Give how a secret stands in a header."""
    return f"Bearer {secret}" if header.lower() == "authorization" else secret


def secret_names(clinic: str) -> tuple[str, str]:
    """Give the variables of a clinic's secret: the one in use, and the one before it, accepted while both are set."""
    name = f"AFTERCARE_SUBSCRIPTION_SECRET_{clinic.upper().replace('-', '_')}"
    return name, f"{name}_BEFORE"


def subscription_of(
    clinic: str, given: object, environ: Mapping[str, str]
) -> tuple[SubscriptionSettings | None, list[str]]:
    """Give the settings of a clinic from its ``[subscription]`` table, and everything that is wrong with them.

    None if there are neither a table nor a secret: the clinic's server does not notify.
    """
    current, before = secret_names(clinic)
    if given is None and not environ.get(current):
        return None, []
    faults = _secret_faults(environ, current, before)
    if not isinstance(given, dict | None):
        return None, [*faults, f"{TABLE}: must be a table"]
    try:
        table = _Table.model_validate(given or {})
    except ValidationError as error:
        return None, [*faults, *faults_of(TABLE, error, _EXAMPLES)]
    if faults:
        return None, faults
    secrets = tuple(environ[name] for name in (current, before) if environ.get(name))
    return SubscriptionSettings(secrets, table.header, table.topic_check, table.topic_counters), []


def _secret_faults(environ: Mapping[str, str], current: str, before: str) -> list[str]:
    """Say what is wrong with the secrets, without showing them."""
    faults = [] if environ.get(current) else [f"{current}: is missing; make one with `openssl rand -hex 32`"]
    faults += [
        f"{name}: must be {SHORTEST_SECRET} to 512 visible ASCII characters without spaces"
        for name in (current, before)
        if environ.get(name) and not _SECRET.fullmatch(environ[name])
    ]
    return faults


def _header(value: object) -> str:
    if not isinstance(value, str) or not _HEADER.fullmatch(value):
        raise ValueError("must be the name of an HTTP header")
    if value.lower() in _TAKEN:
        raise ValueError("must not be a header that HTTP itself uses")
    return value


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    header: Annotated[str, PlainValidator(_header)] = "X-Aftercare-Secret"
    topic_check: Check = "header"
    topic_counters: bool = Field(default=True, strict=True)
