"""What a FHIR server is answered: always a resource, since it reads our answer as a FHIR client (integration §2.2).

Routes of ``HookRoute`` answer every error of ours as an OperationOutcome. HAPI 8.8, measured: to a resource any FHIR
resource will do, to a topic notification (which it sends as a transaction) a Bundle; it repeats everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi.routing import APIRoute
from starlette.responses import Response

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.fhir import exact_json, terms

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Request

FHIR_JSON: Final = "application/fhir+json"
PROBLEMS: Final = f"{terms.BASE}/problems"
_RETRY_AFTER: Final = {"retry-after": "5"}

log = structlog.get_logger(__name__)


class HookRoute(APIRoute):
    """A route whose errors are OperationOutcomes, whatever the caller says it accepts."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()

        async def answering(request: Request) -> Response:
            try:
                return await handle(request)
            except AftercareError as error:
                # What is refused by mistake is given up by the server for good: somebody should see it.
                log.warning("notification not taken", clinic=_clinic(request), code=error.code, status=error.status)
                return _refused(error)

        return answering


def accepted(text: str) -> Response:
    """Give the answer to a resource that was taken, or means nothing here."""
    issue = {"severity": "information", "code": "informational", "details": {"text": text}}
    return _fhir({"resourceType": "OperationOutcome", "issue": [issue]})


def accepted_bundle() -> Response:
    """Give the answer to a Bundle that was taken."""
    return _fhir({"resourceType": "Bundle", "type": "transaction-response"})


def _clinic(request: Request) -> str:
    """Give the clinic of the path if it is one: anything could stand there."""
    named = str(request.path_params.get("clinic"))
    return named if named in request.app.state.clinics.running else "unknown"


def _refused(error: AftercareError) -> Response:
    named = f" At: {', '.join(error.where)}." if error.where else ""
    issue = {
        "severity": "error",
        "code": error.issue,
        "details": {"coding": [{"system": PROBLEMS, "code": error.code}], "text": error.message},
        "diagnostics": f"{error.remedy}{named}",
    }
    headers = _RETRY_AFTER if error.issue == "transient" else None
    return _fhir({"resourceType": "OperationOutcome", "issue": [issue]}, error.status, headers)


def _fhir(resource: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(exact_json.dumps(resource), status, headers, FHIR_JSON)
