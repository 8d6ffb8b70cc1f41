"""``/livez``: the process serves. ``/readyz``: it can do its work. Open to all, so they tell states and no detail.

What a clinic's own FHIR server does never makes the service unready: the other clinics go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from fhir_aftercare.store.database import Database

PROBE_SECONDS: Final = 2.0

State = Literal["ok", "failing"]


class Live(BaseModel):
    """The process serves."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Whether the service can do its work, and the state of each part it needs."""

    status: Literal["ready", "not ready"]
    checks: dict[str, State]
    clinics: dict[Literal["running", "refused"], int]


@dataclass(frozen=True, slots=True)
class Check:
    """One part without which nothing works. ``probe`` tells whether it is well; slow or raising counts as not."""

    name: str
    probe: Callable[[], Awaitable[bool]]

    async def state(self) -> State:
        """Ask it, for ``PROBE_SECONDS`` at most."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return "ok" if await self.probe() else "failing"
        except Exception:  # noqa: BLE001  (whatever went wrong, the answer is that it is not well)
            return "failing"


def of_store(database: Database) -> list[Check]:
    """Give the checks of the service's own database: it answers, and its tables are those of this version."""
    return [Check("store", database.reachable), Check("migrations", database.at_head)]


def of_protocol(is_loaded: Callable[[], bool]) -> Check:
    """Give the check that the protocol files were read without fault."""

    async def loaded() -> bool:
        return is_loaded()

    return Check("protocol", loaded)


def health_router(checks: Sequence[Check], clinics: Callable[[], tuple[int, int]]) -> APIRouter:
    """Give the two routes. ``clinics`` tells how many clinics run and how many were refused for their settings."""
    router = APIRouter(tags=["health"])

    @router.get("/livez", operation_id="livez", summary="Whether the process serves")
    async def livez() -> Live:
        """Tell that this process takes requests. Nothing else is asked: if this fails, restart it."""
        return Live()

    @router.get(
        "/readyz",
        operation_id="readyz",
        summary="Whether the service can do its work",
        response_model=Ready,
        responses={503: {"model": Ready, "description": "Not ready"}},
    )
    async def readyz() -> Response:
        """Tell whether everything the service needs is there; 503 if not. A clinic's FHIR server is none of it."""
        states = await asyncio.gather(*(check.state() for check in checks))
        found = {check.name: state for check, state in zip(checks, states, strict=True)}
        running, refused = clinics()
        ready = all(state == "ok" for state in states)
        body = Ready(
            status="ready" if ready else "not ready", checks=found, clinics={"running": running, "refused": refused}
        )
        return JSONResponse(body.model_dump(), 200 if ready else 503)

    return router
