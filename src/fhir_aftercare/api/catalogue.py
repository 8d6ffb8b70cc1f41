"""The list of all errors, each with an example of its answer, for the OpenAPI file and for the people who read it.

An error class without an example here fails a test: what can happen is documented, or it does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare import errors
from fhir_aftercare.api import faults
from fhir_aftercare.api.problems import Unexpected, operation_outcome, problem, title_of
from fhir_aftercare.errors import AftercareError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE_REQUEST: Final = "7d0c1f5e2b9a4c06"
# Bases that are never raised themselves.
ABSTRACT: Final = frozenset({AftercareError, errors.FhirServerError, faults.HttpFault})

# Their faults are no answers of the API: whoever calls them says in its words what went wrong.
_APART: Final = tuple(f"fhir_aftercare.{each}." for each in ("smart", "work", "intake", "observe", "ui", "sandbox"))

_EXAMPLES: Final[tuple[AftercareError, ...]] = (
    Unexpected("Something went wrong that nobody foresaw."),
    errors.InvalidInput("The infusion ends before it starts.", where="end"),
    errors.OutOfRange("A systolic pressure must lie between 40 and 300 mm[Hg].", where="checks[2].systolic"),
    errors.UnknownZone("The zone is not in the IANA database.", where="zone"),
    errors.MissingZone("The time has no offset.", where="start"),
    errors.NotFound("There is no such clinic.", where="clinic"),
    errors.WrongSubject("The encounter belongs to another patient.", where="encounter"),
    errors.NotReady(["oriented", "walks-unaided"]),
    errors.NotAnInfusion("The encounter held no ketamine infusion.", where="encounter"),
    errors.IllegalMove("A completed Task does not move.", legal=(), where="status"),
    errors.Stale("The Task was changed since it was read.", where="If-Match"),
    errors.ProtocolFault(
        "The window is not given.", file="PlanDefinition-aftercare-infusion.json", action="day-1-check"
    ),
    errors.CheckFailed("A resource we built breaks a rule of FHIR R4.", where="entry[3].Task.status"),
    errors.ConfigFault(["zone: not in the IANA database"], where="harbor"),
    errors.FhirUnreachable("POST Bundle: no connection to the FHIR server."),
    errors.FhirTimeout("POST Bundle: no whole answer came (ReadTimeout)."),
    errors.FhirMalformed("GET Task: the answer is not JSON."),
    errors.FhirUnauthorized("GET Task answered 403.", http_status=403),
    errors.FhirThrottled("GET Task answered 429.", http_status=429, retry_after=12),
    errors.FhirNotFound("GET Patient answered 404.", http_status=404),
    errors.FhirGone("GET Task answered 410.", http_status=410),
    errors.FhirStale("PUT Task answered 412.", http_status=412),
    errors.FhirRejected(
        "POST Bundle answered 422.",
        http_status=422,
        outcome={"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invariant"}]},
    ),
    errors.FhirBroken("POST Bundle answered 500.", http_status=500),
    faults.MalformedBody("The body is not JSON (at character 17).", where="body"),
    faults.BodyTooDeep("The body is nested more than 64 levels deep.", where="body"),
    faults.BodyTooLarge("The body is larger than 2000000 bytes.", where="body"),
    faults.UnsupportedBody("The body is not JSON by its Content-Type.", where="Content-Type"),
    faults.InvalidRequest([("checks[2].systolic", "Input should be a valid integer")]),
    faults.InvalidCursor("The cursor cannot be read.", where="cursor"),
    faults.KeyMissing("This route needs an Idempotency-Key.", where="Idempotency-Key"),
    faults.KeyReused("The Idempotency-Key was used for another request.", where="Idempotency-Key"),
    faults.StillRunning("The first request with this Idempotency-Key is not done yet.", retry_after=3),
    faults.PreconditionRequired("A change must name the version it changes.", where="If-Match"),
    faults.Unauthenticated("Unauthorized."),
    faults.IssuerUnavailable("The authorization server did not answer."),
    faults.Forbidden("Forbidden."),
    faults.NoSuchRoute("Not Found."),
    faults.MethodNotAllowed("Method Not Allowed."),
    faults.NotAcceptable("Not Acceptable."),
    faults.TooManyRequests("Too Many Requests."),
    faults.RequestRefused("Bad Request."),
    faults.RequestTimeout("The request was not done within 60 seconds."),
    StoreUnavailable("The service's own database does not answer."),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of error as its callers see it. ``example`` is an instance of it."""

    kind: type[AftercareError]
    example: AftercareError

    @property
    def code(self) -> str:
        """The stable code."""
        return self.kind.code

    @property
    def title(self) -> str:
        """The words of the code."""
        return title_of(self.kind.code)

    def problem(self) -> dict[str, Any]:
        """Give the example as a problem document."""
        return problem(self.example, EXAMPLE_REQUEST)

    def outcome(self) -> dict[str, Any]:
        """Give the example as an OperationOutcome."""
        return operation_outcome(self.example, EXAMPLE_REQUEST)


CATALOGUE: Final = {type(example): Entry(type(example), example) for example in _EXAMPLES}


def all_kinds(base: type[AftercareError] = AftercareError) -> Iterator[type[AftercareError]]:
    """Yield every error class of this package that a route may answer with (those of modules imported so far).

    Not those of parts whose faults never reach a caller as they are, such as ``smart``, which stands alone.
    """
    for kind in base.__subclasses__():
        if kind.__module__.startswith("fhir_aftercare.") and not kind.__module__.startswith(_APART):
            yield from () if kind in ABSTRACT else (kind,)
            yield from all_kinds(kind)
