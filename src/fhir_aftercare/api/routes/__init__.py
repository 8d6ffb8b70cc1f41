"""The routes of ``/v1``, a file for each subject."""

from fastapi import FastAPI

from fhir_aftercare.api.routes import discharges, infusions, patients, responses


def add_routes(app: FastAPI) -> None:
    """Add every route of the API to an application."""
    for part in (infusions, discharges, responses, patients):
        app.include_router(part.router)
