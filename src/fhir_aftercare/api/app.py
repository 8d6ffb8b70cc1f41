"""Puts the machinery of the REST API around a FastAPI application: the one place that fixes its order.

Routes, and what they work with, are added by the caller. Nothing here reads settings.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from fastapi import FastAPI

from fhir_aftercare.api import docs, problems
from fhir_aftercare.api.idempotency import Idempotency
from fhir_aftercare.api.middleware import Limits, LimitValues, RequestScope
from fhir_aftercare.api.openapi import describe_errors
from fhir_aftercare.api.security import CLOSED, Protection
from fhir_aftercare.api.wellknown import PublicKeys, add_well_known
from fhir_aftercare.observe.metrics import Metrics
from fhir_aftercare.observe.tracing import OFF, Tracing
from fhir_aftercare.store.idempotency import IdempotencyKeys


@dataclass(frozen=True, slots=True)
class Machinery:
    """What ``make_app`` is made of. ``keys`` may come later, as ``app.state.idempotency``.

    Without a ``protection`` nobody may call a route that says what it needs. ``public_keys`` are those to publish.
    """

    limits: LimitValues = field(default_factory=LimitValues)
    keys: IdempotencyKeys | None = None
    metrics: Metrics | None = None
    tracing: Tracing | None = None
    docs: bool = True
    protection: Protection = CLOSED
    public_keys: PublicKeys | None = None


def make_app(
    title: str,
    version: str,
    machinery: Machinery,
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """Give an application without routes of its own, in which everything of this folder is at work."""
    app = FastAPI(
        title=title,
        version=version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=machinery.tracing.config if machinery.tracing else OFF,
        lifespan=lifespan,
    )
    app.state.idempotency, app.state.protection = machinery.keys, machinery.protection
    problems.install(app)
    describe_errors(app)
    metrics = machinery.metrics
    # The last one added is the outermost.
    app.add_middleware(Idempotency, on_replay=metrics.replayed if metrics else None)
    app.add_middleware(Limits, values=machinery.limits)
    app.add_middleware(RequestScope, observer=metrics)
    add_well_known(app, machinery.public_keys)
    if machinery.docs:
        docs.add_docs(app)
    return app
