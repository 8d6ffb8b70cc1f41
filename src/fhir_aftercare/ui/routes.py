"""All routes of the pages in one router. They work with ``app.state.door``; without it each is a page that says so."""

from __future__ import annotations

from fastapi import APIRouter

from fhir_aftercare.ui import (
    answers_page,
    board_page,
    charts,
    handout_page,
    launching,
    overview_page,
    plan_page,
    ready_page,
    record_infusion_page,
    record_page,
    record_row_page,
    record_sheet,
    statics,
    task_page,
    theme_page,
    worklist_page,
)

# Routes are tried one after another: what is opened most often stands first.
_ALL = (
    *(record_page, board_page, worklist_page, overview_page, ready_page, plan_page, task_page, handout_page),
    *(record_row_page, record_sheet, record_infusion_page, answers_page, charts, launching, theme_page, statics),
)


def ui_router() -> APIRouter:
    """Give the routes of the pages, to be included in an application without a prefix."""
    router = APIRouter()
    for each in _ALL:
        router.include_router(each.router)
    return router
