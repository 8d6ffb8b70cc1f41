"""What only a caller over HTTP can do wrong; everything else is in ``fhir_aftercare.errors``, whose tree this joins.

AftercareError
└── HttpFault                   the base; ``headers`` go along with the answer
    ├── MalformedBody           not JSON, or not JSON that can be used     400 / structure
    ├── BodyTooDeep             nested beyond the limit                    400 / structure
    ├── BodyTooLarge            larger than the limit                      413 / too-long
    ├── UnsupportedBody         not JSON by its content type, or packed    415 / not-supported
    ├── InvalidRequest          does not fit the route's schema            422 / invalid
    ├── InvalidCursor           not a cursor of this list                  400 / value
    ├── KeyMissing              the route needs an Idempotency-Key         400 / required
    ├── KeyReused               the key was used for another request       422 / duplicate
    ├── StillRunning            the first request is not done yet          409 / lock-error
    ├── PreconditionRequired    the change needs an If-Match               428 / required
    ├── Unauthenticated         no usable credentials                      401 / login
    ├── Forbidden               not allowed for these credentials          403 / forbidden
    ├── NoSuchRoute             no such address                            404 / not-found
    ├── MethodNotAllowed        the address does not know the method       405 / not-supported
    ├── NotAcceptable           no answer in a format asked for            406 / not-supported
    ├── TooManyRequests         slow down                                  429 / throttled
    ├── RequestRefused          any other refusal by the web framework     400 / processing
    └── RequestTimeout          not done within the time limit             504 / timeout
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from fhir_aftercare.errors import AftercareError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class HttpFault(AftercareError):
    """Base of this branch; its subclasses are raised, never itself."""

    code, status, issue = "http-fault", 400, "processing"

    def __init__(
        self,
        message: str,
        *,
        where: Sequence[str] | str = (),
        remedy: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message, where=where, remedy=remedy)
        self.headers = headers


class MalformedBody(HttpFault):
    """The body is not JSON, or JSON that FHIR does not allow (NaN, not UTF-8)."""

    code, status, issue = "malformed-body", 400, "structure"
    default_remedy = "Send one JSON document in UTF-8."


class BodyTooDeep(HttpFault):
    """The body is nested more deeply than the limit."""

    code, status, issue = "body-too-deep", 400, "structure"
    default_remedy = "Send it with fewer levels; no resource this service reads needs so many."


class BodyTooLarge(HttpFault):
    """The body is larger than the limit."""

    code, status, issue = "body-too-large", 413, "too-long"
    default_remedy = "Send less at once, such as several smaller batches."


class UnsupportedBody(HttpFault):
    """The body is not JSON by its content type, or comes packed."""

    code, status, issue = "unsupported-body", 415, "not-supported"
    default_remedy = "Send application/json or application/fhir+json, not compressed."


class InvalidRequest(HttpFault):
    """The request does not fit the route's schema. ``faults`` are pairs of place and reason."""

    code, status, issue = "invalid-request", 422, "invalid"
    default_remedy = "Correct the named fields; the OpenAPI file describes them."

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        count = "1 field" if len(faults) == 1 else f"{len(faults)} fields"
        super().__init__(f"{count} of the request cannot be used.", where=[place for place, _ in faults])
        self.faults = tuple(faults)


class InvalidCursor(HttpFault):
    """The cursor was not given out for this list."""

    code, status, issue = "invalid-cursor", 400, "value"
    default_remedy = "Start again without a cursor, and follow `next` as it is given."


class KeyMissing(HttpFault):
    """The route needs an Idempotency-Key."""

    code, status, issue = "idempotency-key-missing", 400, "required"
    default_remedy = "Send a fresh Idempotency-Key (a UUID) with each new request, and the same one when repeating it."


class KeyReused(HttpFault):
    """The Idempotency-Key was used for another request."""

    code, status, issue = "idempotency-key-reused", 422, "duplicate"
    default_remedy = "Use a fresh Idempotency-Key for another request."


class StillRunning(HttpFault):
    """The first request with this Idempotency-Key is not done yet; ``retry_after`` in seconds."""

    code, status, issue = "still-running", 409, "lock-error"
    default_remedy = "Repeat the request after the time named in Retry-After."

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, where="Idempotency-Key")
        self.retry_after = retry_after


class PreconditionRequired(HttpFault):
    """A change must name the version it changes."""

    code, status, issue = "precondition-required", 428, "required"
    default_remedy = 'Read it first, and send its ETag as If-Match, such as W/"3".'


class Unauthenticated(HttpFault):
    """No usable credentials came with the request."""

    code, status, issue = "unauthenticated", 401, "login"
    default_remedy = "Send a valid access token as Authorization: Bearer."


class IssuerUnavailable(HttpFault):
    """Nobody can say now whether the access token is good: the authorization server could not be asked."""

    code, status, issue = "issuer-unavailable", 503, "transient"
    default_remedy = "Repeat the call later; look at the authorization server if it stays."


class Forbidden(HttpFault):
    """The credentials do not allow this."""

    code, status, issue = "forbidden", 403, "forbidden"
    default_remedy = "Ask for the scope, or for access to the clinic."


class NoSuchRoute(HttpFault):
    """Nothing is served at this address."""

    code, status, issue = "no-such-route", 404, "not-found"
    default_remedy = "Check the path against the OpenAPI file."


class MethodNotAllowed(HttpFault):
    """The address is known, the method is not."""

    code, status, issue = "method-not-allowed", 405, "not-supported"
    default_remedy = "Use a method named in Allow."


class NotAcceptable(HttpFault):
    """No answer can be given in a format asked for."""

    code, status, issue = "not-acceptable", 406, "not-supported"
    default_remedy = "Accept application/json or application/fhir+json."


class TooManyRequests(HttpFault):
    """The caller sends more than it may."""

    code, status, issue = "too-many-requests", 429, "throttled"
    default_remedy = "Wait for the time named in Retry-After."


class RequestRefused(HttpFault):
    """The web framework refused the request for another reason; ``status`` is what it said."""

    code, status, issue = "request-refused", 400, "processing"
    default_remedy = "Check the request against the OpenAPI file."


class RequestTimeout(HttpFault):
    """Not done within the time limit; whether something was written is unknown."""

    code, status, issue = "request-timeout", 504, "timeout"
    default_remedy = "Repeat the request: it is idempotent, and ends in the one right state."


BY_STATUS: Final[Mapping[int, type[HttpFault]]] = MappingProxyType(
    {
        401: Unauthenticated,
        403: Forbidden,
        404: NoSuchRoute,
        405: MethodNotAllowed,
        406: NotAcceptable,
        413: BodyTooLarge,
        415: UnsupportedBody,
        429: TooManyRequests,
    }
)
