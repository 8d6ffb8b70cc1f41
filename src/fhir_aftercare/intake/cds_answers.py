"""What a CDS client is answered: JSON, or an OperationOutcome where it cannot be helped (CDS Hooks 2.0).

Whatever is raised on purpose becomes an answer here, so that a script in a browser may read it too (CORS).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fhir_aftercare.errors import AftercareError

_FHIR: Final = "application/fhir+json"
_LATER: Final = MappingProxyType({"retry-after": "5"})


class Refused(Exception):
    """A call that is not helped. Stays inside this folder: it becomes the answer. ``message`` quotes nothing of it."""

    def __init__(self, status: int, issue: str, message: str, remedy: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.issue, self.message, self.remedy = status, issue, message, remedy
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def stranger(message: str, claim: str) -> Refused:
    """Give the refusal of a caller who is not known (401); ``claim`` names what is wrong with the token."""
    remedy = f"Compare {claim} with the clinic's [cds_hooks] settings and with CDS Hooks 2.0, Trusting CDS Clients."
    return Refused(401, "login", message, remedy, www_authenticate='Bearer error="invalid_token"')


def invalid(message: str, where: str) -> Refused:
    """Give the refusal of a body that cannot be used (400)."""
    return Refused(400, "invalid", message, f"Correct {where}.")


def no_data(message: str) -> Refused:
    """Give the refusal where the data cannot be had (412, as CDS Hooks 2.0 says)."""
    remedy = "Send the prefetch of the discovery document, or fhirServer and fhirAuthorization that may read it."
    return Refused(412, "incomplete", message, remedy)


def later(message: str) -> Refused:
    """Give the refusal of what may succeed when it is repeated (503)."""
    return Refused(503, "transient", message, "Repeat the call.", **_LATER)


def json_answer(content: Any, status: int = 200) -> Response:
    """Give a JSON answer."""
    return Response(orjson.dumps(content), status, media_type="application/json")


def of_refused(refused: Refused) -> Response:
    """Give the answer to a call that is not helped."""
    outcome = _outcome(refused.issue, refused.message, refused.remedy)
    return Response(outcome, refused.status, refused.headers, _FHIR)


def of_error(error: AftercareError) -> Response:
    """Give the answer to a call that failed."""
    headers: Mapping[str, str] = _LATER if error.issue in {"transient", "throttled"} else {}
    return Response(_outcome(error.issue, error.message, error.remedy), error.status, dict(headers), _FHIR)


def _outcome(issue: str, message: str, remedy: str) -> bytes:
    said = {"severity": "error", "code": issue, "details": {"text": message}, "diagnostics": remedy}
    return orjson.dumps(
        {"resourceType": "OperationOutcome", "issue": [{name: value for name, value in said.items() if value}]}
    )
