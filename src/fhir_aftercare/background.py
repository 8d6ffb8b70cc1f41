"""What the service does by itself while it runs: durable work, sweeps on start and on schedule, the alarm, the doors.

Starts and stops it all; what each part does is said where it is. Nothing is taken before it can be kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import httpx
import structlog

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.flows.sweep_round import beats
from fhir_aftercare.jobs import DurableInbox, Jobs, Later
from fhir_aftercare.observe.heartbeat import Heartbeat
from fhir_aftercare.store.subscription_events import SubscriptionEvents
from fhir_aftercare.store.watermarks import Watermarks
from fhir_aftercare.work.engine import Engine, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from fastapi import FastAPI

    from fhir_aftercare.door_settings import DoorSettings
    from fhir_aftercare.flows.clock import Clock
    from fhir_aftercare.flows.context import Clinics
    from fhir_aftercare.observe.metrics import Metrics
    from fhir_aftercare.store.database import Database
    from fhir_aftercare.store.idempotency import IdempotencyKeys
    from fhir_aftercare.work_settings import WorkSettings

WORKER: Final = "worker"
_BEAT: Final = timedelta(minutes=1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Means:
    """What the service has by then: settings, clinics, doors by the clinic's id, database and its URL, counts."""

    settings: WorkSettings
    clinics: Clinics
    doors: Mapping[str, DoorSettings]
    database: Database
    url: str
    keys: IdempotencyKeys
    metrics: Metrics
    clock: Clock


@asynccontextmanager
async def working(app: FastAPI, means: Means) -> AsyncIterator[None]:
    """Do the durable work while the block runs, and let the application's doors in.

    ``app.state`` gets ``inbox``, ``work``, ``subscriptions``, ``subscription_events`` and ``cds_hooks``. Raises
    ``ConfigFault`` and ``StoreUnavailable``.
    """
    watermarks, taker = Watermarks(means.database), Later()
    running = {name: means.doors[name] for name in means.clinics.running}
    jobs = Jobs(means.clinics, running, watermarks, means.metrics)
    limits = {name: Limits(each.concurrency, each.per_minute) for name, each in running.items()}
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(
            Engine.running(means.url, jobs.all(taker), limits, on_end=means.metrics.worked)
        )
        taker.engine = engine
        inbox = DurableInbox(engine)
        app.state.work, app.state.inbox = engine, inbox
        app.state.subscriptions = {name: each.subscription for name, each in running.items() if each.subscription}
        app.state.subscription_events = SubscriptionEvents(means.database, now=means.clock)
        await _open_cds_hooks(app, stack, means, running, inbox)
        await _open_hl7v2(stack, means, running, inbox)
        for name in running:
            await inbox.sweep(name)
        every = timedelta(minutes=means.settings.sweep_minutes)
        stack.push_async_callback(_stopped, asyncio.create_task(_sweeping(inbox, list(running), every)))
        stack.push_async_callback(_stopped, asyncio.create_task(_beating(engine, watermarks, list(running), means)))
        await _alarm(stack, means, watermarks, list(running))
        yield


async def _sweeping(inbox: DurableInbox, clinics: list[str], every: timedelta) -> None:
    """Have each clinic swept on schedule; of several processes one does it."""
    while True:
        await asyncio.sleep(every.total_seconds())
        for clinic in clinics:
            try:
                await inbox.sweep(clinic, every)
            except AftercareError as fault:
                log.warning("sweep not begun", clinic=clinic, code=fault.code)


async def _beating(engine: Engine, watermarks: Watermarks, clinics: list[str], means: Means) -> None:
    """Note that this process's worker goes on, as long as its queue can be looked at."""
    while True:
        try:
            means.metrics.work(await engine.counts())
            for clinic in clinics:
                await watermarks.finished(clinic, WORKER, means.clock())
        except AftercareError as fault:
            log.warning("worker cannot reach its work", code=fault.code)
        await asyncio.sleep(_BEAT.total_seconds())


async def _alarm(stack: AsyncExitStack, means: Means, watermarks: Watermarks, clinics: list[str]) -> None:
    http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False)) if means.settings.webhook else None
    heartbeat = Heartbeat(
        means.metrics.registry,
        lambda: beats(watermarks, clinics),
        watermarks.told,
        allowed=timedelta(minutes=means.settings.stopped_minutes),
        webhook=means.settings.webhook,
        http=http,
        now=means.clock,
    )
    stack.push_async_callback(_stopped, asyncio.create_task(heartbeat.run(_BEAT)))


async def _open_cds_hooks(
    app: FastAPI, stack: AsyncExitStack, means: Means, running: Mapping[str, DoorSettings], inbox: DurableInbox
) -> None:
    settings = {name: each.cds_hooks for name, each in running.items() if each.cds_hooks}
    if not settings:
        return
    # Imported here: without this door the service starts without any cryptography.
    from fhir_aftercare.intake.cds_hooks import CdsHooks  # noqa: PLC0415
    from fhir_aftercare.intake.cds_replays import StoredReplays  # noqa: PLC0415
    from fhir_aftercare.intake.cds_routes import cds_router  # noqa: PLC0415

    app.include_router(cds_router())
    app.state.cds_hooks = await stack.enter_async_context(CdsHooks.opened(settings, StoredReplays(means.keys), inbox))


async def _open_hl7v2(
    stack: AsyncExitStack, means: Means, running: Mapping[str, DoorSettings], inbox: DurableInbox
) -> None:
    settings = means.settings
    if settings.mllp_port is None:
        return
    from fhir_aftercare.intake.hl7v2 import senders_of  # noqa: PLC0415  (an extra's door)
    from fhir_aftercare.intake.hl7v2_server import listening  # noqa: PLC0415
    from fhir_aftercare.intake.hl7v2_settings import Listener, tls_context  # noqa: PLC0415

    tls = None
    if settings.mllp_certificate and settings.mllp_key:
        tls = tls_context(settings.mllp_certificate, settings.mllp_key, settings.mllp_client_ca)
    senders = senders_of({name: each.hl7v2 for name, each in running.items() if each.hl7v2})
    listener = Listener(host=settings.mllp_host, port=settings.mllp_port, tls=tls)
    await stack.enter_async_context(listening(listener, senders, inbox, clock=means.clock))


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
