"""All routes of the pages in one router. They work with ``app.state.door``; without it each is a page that says so."""

from __future__ import annotations

from fastapi import APIRouter

from fhir_aftercare.ui import charts, launching


def ui_router() -> APIRouter:
    """Give the routes of the pages, to be included in an application without a prefix."""
    router = APIRouter()
    router.include_router(launching.router)
    router.include_router(charts.router)
    return router
