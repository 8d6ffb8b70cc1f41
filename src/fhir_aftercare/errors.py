"""Every error this software raises on purpose: one tree, each class carries all that a caller is told.

    AftercareError
    ├── InvalidInput            what was sent cannot be used               400 / invalid
    │   ├── OutOfRange          a measured value outside its limits        422 / value
    │   ├── UnknownZone         a time zone IANA does not know             422 / value
    │   └── MissingZone         a time without an offset                   422 / value
    ├── NotFound                the thing asked for is not there           404 / not-found
    ├── WrongSubject            belongs to another patient or clinic       422 / business-rule
    ├── NotReady                the patient may not leave yet              409 / business-rule
    ├── NotAnInfusion           the encounter held no infusion             422 / business-rule
    ├── IllegalMove             a status may not move like that            409 / business-rule
    ├── Stale                   changed since it was read                  412 / conflict
    ├── ProtocolFault           the protocol cannot be applied             500 / exception
    ├── CheckFailed             we refuse to send what we built            500 / invariant
    ├── ConfigFault             settings are wrong                         500 / exception
    ├── StoreUnavailable        our own database does not answer           503 / transient
    ├── NotYet                  work that must wait for its time           503 / transient   (work/faults.py)
    ├── HttpFault               the request itself cannot be used          4xx               (api/faults.py)
    ├── SmartFault              a launch or a token cannot be used         4xx, 502          (smart/faults.py)
    └── FhirServerError         the FHIR server, or the way to it          502 / exception
        ├── FhirUnreachable     no answer, nothing was sent                503 / transient
        ├── FhirTimeout         no answer in time, outcome unknown         504 / timeout
        ├── FhirMalformed       the answer is not FHIR JSON                502 / structure
        ├── FhirUnauthorized    401 or 403                                 502 / security
        ├── FhirThrottled       429, 503 with Retry-After                  503 / throttled
        ├── FhirNotFound        404                                        404 / not-found
        ├── FhirGone            410                                        410 / deleted
        ├── FhirStale           409 or 412: someone else was first         412 / conflict
        ├── FhirRejected        400, 405, 422: it will never be accepted   502 / processing
        └── FhirBroken          5xx: the server failed                     502 / exception

Messages never hold patient data: they name fields, files, codes and rules. What a FHIR server said is kept in
``FhirServerError.outcome`` for the caller who owns that server; it is not part of the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class AftercareError(Exception):
    """Base of the tree.

    ``message`` is safe to show and to log; ``where`` names the place (a JSON path, a setting, a file); ``remedy`` says
    how to mend it. ``code`` is stable and may be relied upon by callers.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    issue: ClassVar[str] = "exception"
    default_remedy: ClassVar[str] = "Report this with the request id."

    def __init__(self, message: str, *, where: Sequence[str] | str = (), remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where: tuple[str, ...] = (where,) if isinstance(where, str) else tuple(where)
        self.remedy = remedy or self.default_remedy


class InvalidInput(AftercareError):
    """What was sent cannot be used."""

    code, status, issue = "invalid-input", 400, "invalid"
    default_remedy = "Correct the named field and send the request again."


class OutOfRange(InvalidInput):
    """A measured value lies outside what can be real. Refused with the field named, never clipped."""

    code, status, issue = "out-of-range", 422, "value"
    default_remedy = "Check the value and its unit; a value that is really absent is left out."


class UnknownZone(InvalidInput):
    """The time zone is not in the IANA database."""

    code, status, issue = "unknown-zone", 422, "value"
    default_remedy = "Give an IANA name such as America/New_York."


class MissingZone(InvalidInput):
    """A time without an offset is never guessed to be UTC."""

    code, status, issue = "missing-zone", 422, "value"
    default_remedy = "Send the time with its offset, such as 2026-03-07T15:45:00-05:00."


class NotFound(AftercareError):
    """The thing asked for is not there."""

    code, status, issue = "not-found", 404, "not-found"
    default_remedy = "Check the identifier and the clinic in the path."


class WrongSubject(AftercareError):
    """The resource belongs to another patient, encounter or clinic."""

    code, status, issue = "wrong-subject", 422, "business-rule"
    default_remedy = "Send the patient and the encounter that belong together."


class NotReady(AftercareError):
    """The patient may not leave yet: ``unmet`` names each criterion not met or not recorded."""

    code, status, issue = "not-ready", 409, "business-rule"
    default_remedy = "Record what is missing, or override with name, time and reason."

    def __init__(self, unmet: Sequence[str]) -> None:
        super().__init__("The patient is not ready to leave: " + ", ".join(unmet) + ".", where=unmet)
        self.unmet = tuple(unmet)


class NotAnInfusion(AftercareError):
    """The encounter held no infusion that this clinic gives aftercare for; nothing was written."""

    code, status, issue = "not-an-infusion", 422, "business-rule"
    default_remedy = "Record the infusion first, or list the encounter type in the clinic's infusion_encounters."


class IllegalMove(AftercareError):
    """A status may not move like that; ``legal`` names the moves that are possible."""

    code, status, issue = "illegal-move", 409, "business-rule"
    default_remedy = "Use one of the legal moves."

    def __init__(self, message: str, *, legal: Sequence[str], where: Sequence[str] | str = ()) -> None:
        super().__init__(message, where=where, remedy="Legal moves: " + (", ".join(legal) or "none") + ".")
        self.legal = tuple(legal)


class Stale(AftercareError):
    """Changed since it was read."""

    code, status, issue = "stale", 412, "conflict"
    default_remedy = "Read it again, look at what changed, and send the change with the new ETag."


class ProtocolFault(AftercareError):
    """The protocol cannot be applied, so nothing of it was written. Names file, action and expression."""

    code, status, issue = "protocol-fault", 500, "exception"
    default_remedy = "Mend the protocol and check it with `fhir-aftercare protocol lint`."

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        action: str = "",
        expression: str = "",
        remedy: str | None = None,
    ) -> None:
        named = [("file", file), ("action", action), ("expression", expression)]
        super().__init__(message, where=[f"{name}: {value}" for name, value in named if value], remedy=remedy)
        self.file, self.action, self.expression = file, action, expression


class CheckFailed(AftercareError):
    """We built something a FHIR server should not be given; it was not sent."""

    code, status, issue = "check-failed", 500, "invariant"
    default_remedy = "This is a fault in the software or the protocol: report it with the request id."


class ConfigFault(AftercareError):
    """Settings are wrong; ``faults`` lists all of them at once."""

    code, status, issue = "config-fault", 500, "exception"
    default_remedy = "Correct the listed settings and start again."

    def __init__(self, faults: Sequence[str], *, where: Sequence[str] | str = ()) -> None:
        super().__init__("; ".join(faults), where=where)
        self.faults = tuple(faults)


class FhirServerError(AftercareError):
    """The FHIR server, or the way to it. ``http_status`` is its answer, ``outcome`` its OperationOutcome, if any."""

    code, status, issue = "fhir-server", 502, "exception"
    default_remedy = "Look at the FHIR server; the call may be repeated."

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        outcome: Mapping[str, Any] | None = None,
        where: Sequence[str] | str = (),
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, where=where, remedy=remedy)
        self.http_status = http_status
        self.outcome = outcome


class FhirUnreachable(FhirServerError):
    """No connection: the request was not sent."""

    code, status, issue = "fhir-unreachable", 503, "transient"
    default_remedy = "Check that the FHIR server runs and is reachable; the call may be repeated."


class FhirTimeout(FhirServerError):
    """No answer in time, or the connection was cut: whether a write took place is unknown."""

    code, status, issue = "fhir-timeout", 504, "timeout"
    default_remedy = "Repeat the call: it is idempotent, and ends in the one right state."


class FhirMalformed(FhirServerError):
    """The answer is not FHIR JSON (a proxy's HTML page, a cut body)."""

    code, status, issue = "fhir-malformed", 502, "structure"
    default_remedy = "Check the FHIR base URL and any proxy in front of the server."


class FhirUnauthorized(FhirServerError):
    """401 or 403."""

    code, status, issue = "fhir-unauthorized", 502, "security"
    default_remedy = "Check the client's registration and its scopes at the FHIR server."


class FhirThrottled(FhirServerError):
    """429, or 503 with Retry-After; ``retry_after`` in seconds, if the server named one."""

    code, status, issue = "fhir-throttled", 503, "throttled"
    default_remedy = "Repeat the call later."

    def __init__(self, message: str, *, retry_after: float | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.retry_after = retry_after


class FhirNotFound(FhirServerError):
    """404."""

    code, status, issue = "fhir-not-found", 404, "not-found"
    default_remedy = "Check the reference."


class FhirGone(FhirServerError):
    """410: it was deleted."""

    code, status, issue = "fhir-gone", 410, "deleted"
    default_remedy = "It was deleted on the FHIR server; its history may still be read."


class FhirStale(FhirServerError):
    """409 or 412: the version sent is not the newest, or a conditional create lost the race."""

    code, status, issue = "fhir-stale", 412, "conflict"
    default_remedy = "Read again and repeat."


class FhirRejected(FhirServerError):
    """400, 405, 422: this will never be accepted as it is."""

    code, status, issue = "fhir-rejected", 502, "processing"
    default_remedy = "Read the server's OperationOutcome; repeating the same call will not help."


class FhirBroken(FhirServerError):
    """5xx: the server failed."""

    code, status, issue = "fhir-broken", 502, "exception"
    default_remedy = "Look at the FHIR server's log; the call may be repeated."


class StoreUnavailable(AftercareError):
    """The service's own database does not answer."""

    code, status, issue = "store-unavailable", 503, "transient"
    default_remedy = "Check the database named by AFTERCARE_DATABASE_URL; the call may be repeated."
