"""The running service: settings in, an ASGI application out, with everything it needs started and stopped around it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from fhir_aftercare import __version__
from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.api.health import Check, health_router, of_protocol, of_store
from fhir_aftercare.api.middleware import LimitValues
from fhir_aftercare.api.routes import add_routes
from fhir_aftercare.bootstrap import clinic_protocols, connected, shipped_protocol
from fhir_aftercare.config import load_clinics
from fhir_aftercare.ehr.transport import CallRecord
from fhir_aftercare.errors import AftercareError
from fhir_aftercare.fhir.check import warm
from fhir_aftercare.flows.clock import system_clock
from fhir_aftercare.flows.context import Clinics
from fhir_aftercare.observe.metrics import Metrics
from fhir_aftercare.observe.redaction import LONGEST
from fhir_aftercare.observe.tracing import both
from fhir_aftercare.store.database import Database, default_url
from fhir_aftercare.store.idempotency import IdempotencyKeys, purging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from fhir_aftercare.config import Settings
    from fhir_aftercare.flows.clock import Clock
    from fhir_aftercare.observe.tracing import Tracing

TITLE = "fhir-aftercare"

OnCall = Callable[[CallRecord], None]
# Gives the clinics while its block runs. It is told whom to tell of every FHIR call.
Opening = Callable[[OnCall], AbstractAsyncContextManager[Clinics]]

log = structlog.get_logger(__name__)


def create_app(
    settings: Settings,
    *,
    tracing: Tracing | None = None,
    clock: Clock = system_clock,
    opening: Opening | None = None,
) -> FastAPI:
    """Give the service's application: clinics, protocol, database and metrics live as long as its lifespan.

    The clinics are those of ``settings.clinics``, or what ``opening`` gives instead. Starting raises ``ConfigFault``
    and ``ProtocolFault``; a clinic whose file has faults is refused with all of them logged, and the others run.
    """
    metrics = Metrics()
    open_clinics = opening or _of_files(settings, clock)

    async def start(app: FastAPI, running: AsyncExitStack) -> None:
        database = Database(settings.database_url or default_url(os.environ))
        running.push_async_callback(database.close)
        await database.upgrade()
        keys = IdempotencyKeys(
            database,
            ttl=timedelta(hours=settings.idempotency_hours),
            lease=timedelta(seconds=settings.request_seconds + 30),
        )
        await running.enter_async_context(purging(keys))
        on_call = both(metrics.fhir_call, tracing.on_call() if tracing else None)
        clinics = await running.enter_async_context(open_clinics(on_call))
        metrics.clinics(len(clinics.running), clinics.refused)
        if settings.metrics_port:
            running.enter_context(metrics.served(settings.metrics_port, settings.metrics_host))
        warm()
        app.state.idempotency, app.state.clinics, app.state.database = keys, clinics, database

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            try:
                await start(app, running)
            except AftercareError as fault:  # the server's own account of it is cut short
                log.error("cannot start", code=fault.code, setting=", ".join(fault.where), exc_info=fault)  # noqa: TRY400
                raise
            yield

    app = make_app(
        TITLE,
        __version__,
        Machinery(
            limits=LimitValues(settings.max_body_bytes, settings.max_json_depth, settings.request_seconds),
            metrics=metrics,
            tracing=tracing,
            docs=settings.docs,
        ),
        lifespan=lifespan,
    )
    complete(app, metrics, Clinics({}))
    return app


def _of_files(settings: Settings, clock: Clock) -> Opening:
    @asynccontextmanager
    async def opening(on_call: OnCall) -> AsyncIterator[Clinics]:
        loaded, protocols = clinic_protocols(load_clinics(settings.clinics), shipped_protocol(settings.profiles))
        for name, refused in loaded.faults.items():
            for fault in refused.faults:  # a line each: a list would be withheld
                log.error("clinic refused", file=name, error=fault[:LONGEST])
        async with connected(loaded, protocols, clock=clock, on_call=on_call) as clinics:
            yield clinics

    return opening


def complete(app: FastAPI, metrics: Metrics, clinics: Clinics) -> None:
    """Add the routes and what they work with; ``clinics`` and the database may be replaced when it starts."""
    app.state.metrics, app.state.clinics, app.state.database = metrics, clinics, None

    async def store_answers() -> bool:
        return all([await check.probe() for check in of_store(app.state.database)]) if app.state.database else False

    def count() -> tuple[int, int]:
        return len(app.state.clinics.running), app.state.clinics.refused

    app.include_router(
        health_router([Check("store", store_answers), of_protocol(lambda: bool(app.state.clinics))], count)
    )
    add_routes(app)
