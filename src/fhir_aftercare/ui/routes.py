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

_ALL = (
    *(statics, launching, theme_page, charts, overview_page, answers_page),
    *(record_page, record_sheet, record_row_page, record_infusion_page),
    *(ready_page, plan_page, handout_page, worklist_page, task_page, board_page),
)


def ui_router() -> APIRouter:
    """Give the routes of the pages, to be included in an application without a prefix."""
    router = APIRouter()
    for each in _ALL:
        router.include_router(each.router)
    return router
