"""Every error leaves this service in one of two forms, both made here: problem+json (RFC 9457) or OperationOutcome.

Decides the form, the status and what of an upstream OperationOutcome may pass: severity, code and coding of each issue.
Its texts may quote patient data and stay inside. Which errors exist is decided in ``errors`` and ``api.faults``.
"""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from fhir_aftercare.api import faults, reasons
from fhir_aftercare.api.accept import prefers_fhir
from fhir_aftercare.api.scope import CODE, request_id, route_template
from fhir_aftercare.errors import AftercareError, FhirServerError, FhirThrottled, IllegalMove, NotReady
from fhir_aftercare.fhir import terms
from fhir_aftercare.observe.redaction import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

    from fhir_aftercare.api.scope import Scope

PROBLEM_JSON: Final = "application/problem+json"
FHIR_JSON: Final = "application/fhir+json"
PROBLEMS: Final = f"{terms.BASE}/problems"
DEFAULT_RETRY_AFTER: Final = 5.0
MOST_ISSUES: Final = 20

_SEVERITIES: Final = frozenset({"fatal", "error", "warning", "information"})
# fmt: off
_ISSUE_CODES: Final = frozenset({
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown", "expired", "forbidden",
    "suppressed", "processing", "not-supported", "duplicate", "multiple-matches", "not-found", "deleted", "too-long",
    "code-invalid", "extension", "too-costly", "business-rule", "conflict", "transient", "lock-error", "no-store",
    "exception", "timeout", "incomplete", "throttled", "informational",
})
# fmt: on
_SYSTEM: Final = re.compile(r"(https?://|urn:)[!-~]{1,200}")
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EXPRESSION: Final = re.compile(r"[A-Za-z_]\w*(\[\d+\])?(\.[A-Za-z_]\w*(\[\d+\])?)*")

log = structlog.get_logger(__name__)


class Unexpected(AftercareError):
    """An error nobody foresaw; its cause is in the log under the request id."""

    code, status, issue = "internal", 500, "exception"


def install(app: FastAPI) -> None:
    """Make ``app`` answer every foreseen error with one of the two forms. ``middleware.RequestScope`` does the rest."""
    for kind in (AftercareError, RequestValidationError, HTTPException, ExceptionGroup):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, raised: Exception) -> Response:
    if isinstance(raised, HTTPException) and raised.status_code < 400:
        return Response(status_code=raised.status_code, headers=raised.headers)
    if isinstance(raised, ExceptionGroup) and isinstance(as_error(raised), Unexpected):
        raise raised
    return answer(raised, request.scope)


def answer(raised: Exception, scope: Scope) -> Response:
    """Give the response for any exception, in the form the caller asked for, and log it if it is a fault of ours."""
    error = as_error(raised)
    status = raised.status_code if isinstance(raised, HTTPException) else error.status
    scope[CODE] = error.code
    note(raised, scope, status)
    if isinstance(raised, HTTPException) and raised.headers:
        headers = dict(raised.headers)
    else:
        headers = dict(getattr(error, "headers", {}))
    wait = _retry_after(error)
    if wait is not None:
        headers.setdefault("retry-after", str(math.ceil(wait)))
    if prefers_fhir(scope):
        return Response(orjson.dumps(operation_outcome(error, request_id(scope))), status, headers, FHIR_JSON)
    return Response(orjson.dumps(problem(error, request_id(scope), status)), status, headers, PROBLEM_JSON)


def note(raised: Exception, scope: Scope, status: int) -> None:
    """Log an exception that was answered with ``status``, if it is a fault of ours."""
    error = as_error(raised)
    if isinstance(error, Unexpected):
        # Described here and not by whatever renders the logs: a renderer nobody configured prints the values of locals.
        log.error("unexpected error", code=error.code, route=route_template(scope), fault=describe(raised))
    elif status >= 500:
        log.warning("request failed", code=error.code, status=status, error=type(error).__name__, **_upstream(error))


def as_error(raised: BaseException) -> AftercareError:
    """Give any exception as one of the tree: the framework's become faults, the unforeseen ``Unexpected``."""
    match raised:
        case AftercareError():
            return raised
        case RequestValidationError():
            return reasons.of_request(raised)
        case HTTPException():
            return _of_framework(raised)
        case BaseExceptionGroup():
            found = [as_error(one) for one in raised.exceptions]
            return next((one for one in found if isinstance(one, Unexpected)), found[0])
        case _:
            return Unexpected("Something went wrong that nobody foresaw.")


def _of_framework(raised: HTTPException) -> AftercareError:
    # FastAPI wraps whatever reading the body raised in a 400.
    if raised.status_code == 400 and raised.__cause__ is not None:
        cause = raised.__cause__
        return cause if isinstance(cause, AftercareError) else faults.MalformedBody("The body cannot be read as JSON.")
    kind = faults.BY_STATUS.get(raised.status_code, faults.RequestRefused)
    phrases = {status.value: status.phrase for status in HTTPStatus}
    # The framework's own words are not repeated: nobody knows what they quote.
    return kind(f"{phrases.get(raised.status_code, 'Refused')}.")


def _retry_after(error: AftercareError) -> float | None:
    if isinstance(error, faults.StillRunning):
        return max(1.0, error.retry_after)
    if isinstance(error, FhirThrottled):
        return max(1.0, DEFAULT_RETRY_AFTER if error.retry_after is None else error.retry_after)
    return DEFAULT_RETRY_AFTER if error.issue in {"throttled", "transient"} else None


def title_of(code: str) -> str:
    """Give the words of a code: the same for every occurrence, as RFC 9457 wants of a title."""
    words = code.replace("-", " ")
    return (words[:1].upper() + words[1:]).replace("Fhir", "FHIR")


def problem(error: AftercareError, request: str, status: int | None = None) -> dict[str, Any]:
    """Give an error as the members of a problem document; ``request`` is the request's id."""
    members: dict[str, Any] = {
        "type": f"{PROBLEMS}/{error.code}",
        "title": title_of(error.code),
        "status": status or error.status,
        "detail": error.message,
        # The path is no name for the occurrence: it holds ids of patients, and problems are passed around.
        "instance": f"urn:fhir-aftercare:request:{request}",
        "code": error.code,
        "remedy": error.remedy,
        "where": list(error.where),
        "request_id": request,
    }
    match error:
        case NotReady():
            members["unmet"] = list(error.unmet)
        case IllegalMove():
            members["legal"] = list(error.legal)
        case faults.InvalidRequest():
            members["faults"] = [{"where": place, "reason": reason} for place, reason in error.faults]
        case FhirServerError(http_status=http_status, outcome=outcome) if http_status or outcome:
            members["upstream"] = {"status": http_status, "issues": list(safe_issues(outcome))}
        case _:
            pass
    return members


def operation_outcome(error: AftercareError, request: str) -> dict[str, Any]:
    """Give an error as an OperationOutcome: our issue first, those of the FHIR server after it."""
    places = [place for place in error.where if not _EXPRESSION.fullmatch(place)]
    named = f" At: {', '.join(places)}." if places else ""
    issue: dict[str, Any] = {
        "severity": "error",
        "code": error.issue,
        "details": {"coding": [{"system": PROBLEMS, "code": error.code}], "text": error.message},
        "diagnostics": f"{error.remedy}{named} Request id: {request}.",
    }
    expressions = [place for place in error.where if _EXPRESSION.fullmatch(place)]
    if expressions:
        issue["expression"] = expressions
    upstream = list(safe_issues(error.outcome)) if isinstance(error, FhirServerError) else []
    return {"resourceType": "OperationOutcome", "issue": [issue, *upstream]}


def safe_issues(outcome: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield what of a FHIR server's OperationOutcome holds no patient data: severity, code, coding without display."""
    issues = outcome.get("issue") if outcome else None
    for issue in issues[:MOST_ISSUES] if isinstance(issues, list) else ():
        if not isinstance(issue, dict):
            continue
        severity, code = issue.get("severity"), issue.get("code")
        safe: dict[str, Any] = {
            "severity": severity if isinstance(severity, str) and severity in _SEVERITIES else "error",
            "code": code if isinstance(code, str) and code in _ISSUE_CODES else "unknown",
        }
        details = issue.get("details")
        codings = details.get("coding") if isinstance(details, dict) else None
        kept = [c for c in map(_safe_coding, codings) if c] if isinstance(codings, list) else []
        if kept:
            safe["details"] = {"coding": kept}
        yield safe


def _safe_coding(coding: Any) -> dict[str, str] | None:
    if not isinstance(coding, dict):
        return None
    system, code = coding.get("system"), coding.get("code")
    if not (isinstance(system, str) and _SYSTEM.fullmatch(system) and isinstance(code, str) and _CODE.fullmatch(code)):
        return None
    return {"system": system, "code": code}


def _upstream(error: AftercareError) -> dict[str, int]:
    known = error.http_status if isinstance(error, FhirServerError) else None
    return {"http_status": known} if known else {}
