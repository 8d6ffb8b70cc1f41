"""What a clinic's file says of its EHR: the ``[smart]`` table, for launches by people and for unattended work.

The EHR is the clinic's FHIR server: its base URL is ``iss``. Secrets and keys come from the environment; where this
service is reached, which the EHR knows as redirect URI and key address, is the service's own setting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fhir_aftercare.intake.table_faults import faults_of

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE: Final = "smart"
Kind = Literal["public", "symmetric", "asymmetric"]
Alg = Literal["ES384", "RS384"]
Old = Literal["no-s256", "oauth-uris"]
WriteAs = Literal["user", "backend"]
_ORIGIN: Final = re.compile(r"https?://(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
_PERSON: Final = re.compile(r"Practitioner(Role)?/[A-Za-z0-9\-.]{1,64}")
_SCOPE: Final = re.compile(r"system/[A-Z][A-Za-z]*\.c?r?u?d?s?")
_EXAMPLES: Final = {
    "client_id": "the id your EHR gave the app",
    "frame_ancestors": "https://ehr.example.com",
    "idle_minutes": "15",
    "openid_issuer": "https://login.ehr.example.com",
    "allow_cookieless_callback": "false",
    "old_ehr": "no-s256",
    "write_as": "user",
    "prescribers": "Practitioner/3",
    "scopes": "system/Task.crus",
}
# What the flows read and write by themselves. Medication is included with the administrations that refer to one;
# Device and Provenance, which say that this software wrote something, are created and never looked at.
BACKEND_SCOPES: Final = (
    *("system/Patient.rs", "system/Encounter.rs", "system/Condition.rs", "system/Medication.r"),
    *("system/Practitioner.r", "system/PractitionerRole.r", "system/MedicationAdministration.crus"),
    *("system/Procedure.crus", "system/Observation.crus", "system/QuestionnaireResponse.crus", "system/CarePlan.crus"),
    *("system/Goal.crus", "system/ServiceRequest.crus", "system/Task.crus", "system/Communication.crus"),
    *("system/Provenance.c", "system/Device.c"),
)


@dataclass(frozen=True, slots=True)
class SmartSettings:
    """How a clinic is known to its EHR.

    ``client_id`` is the app's that people launch, None if nobody does; ``backend_id`` the service's own, None if its
    FHIR server asks for no token. ``frame_ancestors`` are the origins that may frame the pages. ``old`` is what the EHR
    lacks (``smart.Legacy``). ``write_as``: whose token writes what the user's does not cover (design §9.8).
    ``prescribers`` are references to who lands on the overview.
    """

    client_id: str | None = None
    kind: Kind = "public"
    secret: str | None = field(default=None, repr=False)
    alg: Alg = "ES384"
    openid_issuer: str | None = None
    frame_ancestors: tuple[str, ...] = ()
    idle: timedelta = timedelta(minutes=15)
    allow_cookieless_callback: bool = False
    write_as: WriteAs = "user"
    prescribers: frozenset[str] = frozenset()
    old: frozenset[Old] = frozenset()
    backend_id: str | None = None
    backend_scopes: tuple[str, ...] = BACKEND_SCOPES


def secret_name(clinic: str) -> str:
    """Give the variable that holds the secret of a clinic's symmetric client."""
    return f"AFTERCARE_SMART_SECRET_{clinic.upper().replace('-', '_')}"


def smart_of(clinic: str, given: object, environ: Mapping[str, str]) -> tuple[SmartSettings | None, list[str]]:
    """Give the ``[smart]`` table of a clinic's file (None if there is none), and everything that is wrong with it."""
    if given is None:
        return None, []
    if not isinstance(given, dict):
        return None, [f"{TABLE}: must be a table, [{TABLE}]"]
    try:
        table = _Table.model_validate(given)
    except ValidationError as error:
        return None, faults_of(TABLE, error, _EXAMPLES)
    name, secret = secret_name(clinic), environ.get(secret_name(clinic)) or None
    if table.client_id is None and table.backend is None:
        return None, [f"{TABLE}: must name a client_id for launches, or a [{TABLE}.backend] with one, or both"]
    if table.client == "symmetric" and secret is None:
        return None, [f"{name}: is missing; a symmetric client has a secret, which the EHR gave you"]
    backend = table.backend
    if table.write_as == "backend" and backend is None:
        return None, [f'{TABLE}: write_as = "backend" needs a [{TABLE}.backend], whose token it is']
    return SmartSettings(
        client_id=table.client_id,
        kind=table.client,
        secret=secret if table.client == "symmetric" else None,
        alg=table.alg,
        openid_issuer=table.openid_issuer,
        frame_ancestors=tuple(table.frame_ancestors),
        idle=timedelta(minutes=table.idle_minutes),
        allow_cookieless_callback=table.allow_cookieless_callback,
        write_as=table.write_as,
        prescribers=frozenset(table.prescribers),
        old=frozenset(table.old_ehr),
        backend_id=backend.client_id if backend else None,
        backend_scopes=tuple(backend.scopes) if backend else BACKEND_SCOPES,
    ), []


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise ValueError("must be an origin, without a path")
    return value


def _person(value: str) -> str:
    if not _PERSON.fullmatch(value):
        raise ValueError("must be a reference to a Practitioner or a PractitionerRole")
    return value


def _scope(value: str) -> str:
    if not _SCOPE.fullmatch(value) or value.endswith("."):
        raise ValueError("must be a SMART v2 scope of the system")
    return value


class _Backend(BaseModel):
    model_config = ConfigDict(extra="forbid")

    client_id: str = Field(min_length=1, max_length=500)
    scopes: list[Annotated[str, AfterValidator(_scope)]] = Field(default=list(BACKEND_SCOPES), min_length=1)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    client_id: str | None = Field(None, min_length=1, max_length=500)
    client: Kind = "public"
    alg: Alg = "ES384"
    openid_issuer: str | None = Field(None, min_length=1, max_length=500)
    frame_ancestors: list[Annotated[str, AfterValidator(_origin)]] = Field(default_factory=list)
    idle_minutes: int = Field(15, ge=1, le=240)
    allow_cookieless_callback: bool = Field(default=False, strict=True)
    write_as: WriteAs = "user"
    prescribers: list[Annotated[str, AfterValidator(_person)]] = Field(default_factory=list)
    old_ehr: list[Old] = Field(default_factory=list)
    backend: _Backend | None = None
