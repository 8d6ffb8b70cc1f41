"""The routes of ``/v1``, a file for each subject."""

from fastapi import FastAPI

from fhir_aftercare.api.routes import corrections, discharges, infusions, patients, responses, signals, tasks, worklist


def add_routes(app: FastAPI) -> None:
    """Add every route of the API to an application."""
    for part in (infusions, corrections, discharges, responses, patients, tasks, worklist, signals):
        app.include_router(part.router)
