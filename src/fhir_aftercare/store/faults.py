"""What can go wrong with the service's own database, as one error of the common tree."""

from __future__ import annotations

from fhir_aftercare.errors import AftercareError


class StoreUnavailable(AftercareError):
    """The service's own database does not answer."""

    code, status, issue = "store-unavailable", 503, "transient"
    default_remedy = "Check the database named by AFTERCARE_DATABASE_URL; the call may be repeated."
