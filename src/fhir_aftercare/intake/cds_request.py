"""What a CDS client sends: a hook call, or feedback on cards. Read with care; nothing of it stands in a message."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from fhir_aftercare.fhir import exact_json
from fhir_aftercare.intake.cds_answers import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

HOOK: Final = "encounter-discharge"
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)
_USER: Final = re.compile(r"(Practitioner|PractitionerRole|Patient|RelatedPerson)/[A-Za-z0-9\-.]{1,64}", re.ASCII)
_BEARER: Final = re.compile(r"[A-Za-z0-9\-._~+/]{1,16000}=*")
_MOST_FEEDBACK: Final = 100
_LONGEST_CARD: Final = 100


@dataclass(frozen=True, slots=True)
class HookRequest:
    """One call of the hook. References are ``Type/id``. The ``token`` is for this call only, and not shown."""

    instance: str
    patient: str
    encounter: str
    prefetch: Mapping[str, Any] = field(repr=False)
    fhir_server: str | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became of one card. ``reason``: whether one of a list was chosen, something written, or neither."""

    outcome: Literal["accepted", "overridden"]
    reason: Literal["chosen", "written", "none"]


def read_hook(body: bytes) -> HookRequest:
    """Give the call that a body makes. Raises ``Refused`` (400) for what CDS Hooks does not allow."""
    given = _members(body)
    if given.get("hook") != HOOK:
        raise invalid("The service is for another hook.", "hook")
    try:
        instance = str(uuid.UUID(_text(given, "hookInstance")))
    except ValueError:
        raise invalid("hookInstance is not a UUID.", "hookInstance") from None
    context = _object(given, "context") or {}
    if not _USER.fullmatch(_text(context, "userId")):
        raise invalid("The context names no user.", "context.userId")
    patient = _reference(context, "patientId", "Patient")
    encounter = _reference(context, "encounterId", "Encounter")
    server = given.get("fhirServer")
    if server is not None and not isinstance(server, str):
        raise invalid("fhirServer is not a URL.", "fhirServer")
    token = _token(_object(given, "fhirAuthorization"), patient)
    if token and not server:
        raise invalid("fhirAuthorization needs a fhirServer.", "fhirServer")
    return HookRequest(instance, patient, encounter, _object(given, "prefetch") or {}, server, token)


def read_feedback(body: bytes) -> list[Feedback]:
    """Give the feedback that a body holds. Raises ``Refused`` (400)."""
    entries = _members(body).get("feedback")
    if not isinstance(entries, list) or not 1 <= len(entries) <= _MOST_FEEDBACK:
        raise invalid(f"feedback must be an array with 1 to {_MOST_FEEDBACK} entries.", "feedback")
    return [_feedback(each, f"feedback[{at}]") for at, each in enumerate(entries)]


def _feedback(given: Any, where: str) -> Feedback:
    if not isinstance(given, dict):
        raise invalid("Feedback is an object.", where)
    if not 1 <= len(_text(given, "card")) <= _LONGEST_CARD:
        raise invalid("Feedback names its card.", f"{where}.card")
    try:
        aware = datetime.fromisoformat(_text(given, "outcomeTimestamp")).tzinfo is not None
    except ValueError:
        aware = False
    if not aware:
        raise invalid("Feedback says when, with an offset.", f"{where}.outcomeTimestamp")
    outcome = given.get("outcome")
    reason = _object(given, "overrideReason", where) or {}
    suggestions = given.get("acceptedSuggestions")
    if suggestions is not None and not isinstance(suggestions, list):
        raise invalid("acceptedSuggestions is an array.", f"{where}.acceptedSuggestions")
    if outcome == "accepted":
        return Feedback("accepted", "none")
    if outcome == "overridden":
        chosen = isinstance(reason.get("reason"), dict)
        return Feedback("overridden", "chosen" if chosen else "written" if reason.get("userComment") else "none")
    raise invalid("The outcome is accepted or overridden.", f"{where}.outcome")


def _members(body: bytes) -> dict[str, Any]:
    try:
        given = exact_json.loads(body)
    except ValueError:
        raise invalid("The body is not JSON.", "the body") from None
    if not isinstance(given, dict):
        raise invalid("The body is not a JSON object.", "the body")
    return given


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    return value if isinstance(value, str) else ""


def _object(given: Mapping[str, Any], name: str, where: str = "") -> dict[str, Any] | None:
    value = given.get(name)
    if value is not None and not isinstance(value, dict):
        raise invalid(f"{name} is not an object.", f"{where}.{name}" if where else name)
    return value


def _reference(context: Mapping[str, Any], name: str, type_: str) -> str:
    id_ = _text(context, name).removeprefix(f"{type_}/")  # sent so by some, though the specification says the id
    if not _ID.fullmatch(id_):
        raise invalid(f"The context names no {type_.lower()}.", f"context.{name}")
    return f"{type_}/{id_}"


def _token(authorization: Mapping[str, Any] | None, patient: str) -> str | None:
    if authorization is None:
        return None
    token = _text(authorization, "access_token")
    if _text(authorization, "token_type").lower() != "bearer" or not _BEARER.fullmatch(token):
        raise invalid("fhirAuthorization holds no bearer token.", "fhirAuthorization")
    only = authorization.get("patient")
    if only is not None and only != patient.removeprefix("Patient/"):
        raise invalid("The access token is for another patient than the context.", "fhirAuthorization.patient")
    return token
