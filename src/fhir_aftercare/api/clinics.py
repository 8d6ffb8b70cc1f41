"""What a route of a clinic works with: its context, and the counts of this process.

A route that says ``clinic: Clinic`` must say what its callers need as well (``api.security``): else nobody gets in.
"""

from typing import Annotated

from fastapi import Depends, Path, Request

from fhir_aftercare.api.faults import Forbidden
from fhir_aftercare.api.security import admitted
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.observe.metrics import Metrics

PREFIX = "/v1/clinics/{clinic}"


def _clinic(
    request: Request,
    clinic: Annotated[str, Path(pattern="^[a-z0-9][a-z0-9-]{0,62}$", description="The clinic's id.")],
) -> ClinicContext:
    if not admitted(request.scope, clinic):
        raise Forbidden("Nobody may call this route.", where="clinic", remedy="Report this with the request id.")
    found: ClinicContext = request.app.state.clinics.of(clinic)
    return found


def _metrics(request: Request) -> Metrics:
    found: Metrics = request.app.state.metrics
    return found


Clinic = Annotated[ClinicContext, Depends(_clinic)]
Counts = Annotated[Metrics, Depends(_metrics)]
