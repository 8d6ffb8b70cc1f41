"""Which of the two error forms a caller wants: FHIR's OperationOutcome or problem+json.

FHIR is answered where it is asked for by name and nothing else is preferred, and on FHIR routes unless problem+json
is asked for by name (design §9.17). An unreadable Accept counts as none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fhir_aftercare.api.scope import Scope

_LONGEST: Final = 1000


def prefers_fhir(scope: Scope) -> bool:
    """Tell whether an error on this request is to be an OperationOutcome."""
    values = [value for name, value in scope.get("headers", ()) if name == b"accept"]
    wanted = _weights(b",".join(values)[:_LONGEST].decode("latin-1")) if values else {}
    fhir, named = wanted.get("application/fhir+json", 0.0), wanted.get("application/problem+json", 0.0)
    path = str(scope.get("path", ""))
    if path == "/fhir" or path.startswith("/fhir/"):
        return named <= fhir
    return fhir > named and fhir >= wanted.get("application/json", 0.0)


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weights[kind] = max(weights.get(kind, 0.0), _quality(parameters))
    return weights


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
