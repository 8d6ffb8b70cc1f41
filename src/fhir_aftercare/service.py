"""The running service: settings in, an ASGI application out, with everything it needs started and stopped around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from fhir_aftercare import __version__
from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.api.health import Check, health_router, of_protocol, of_store
from fhir_aftercare.api.middleware import LimitValues
from fhir_aftercare.api.routes import add_routes
from fhir_aftercare.api.scopes import WAYS
from fhir_aftercare.api.security import CLOSED, OPEN, Protection
from fhir_aftercare.bootstrap import clinic_protocols, connected, shipped_protocol
from fhir_aftercare.config import load_clinics
from fhir_aftercare.door_settings import DoorSettings
from fhir_aftercare.ehr.transport import CallRecord
from fhir_aftercare.errors import AftercareError
from fhir_aftercare.fhir.check import warm
from fhir_aftercare.flows.clock import system_clock
from fhir_aftercare.flows.context import Clinics
from fhir_aftercare.intake import backport, subscription
from fhir_aftercare.observe.metrics import Metrics
from fhir_aftercare.observe.redaction import LONGEST
from fhir_aftercare.observe.tracing import both
from fhir_aftercare.store.database import Database, default_url
from fhir_aftercare.store.idempotency import IdempotencyKeys, purging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx
    from fastapi import FastAPI

    from fhir_aftercare.config import ClinicSettings, Settings
    from fhir_aftercare.ehr.transport import TokenProvider
    from fhir_aftercare.flows.clock import Clock
    from fhir_aftercare.observe.tracing import Tracing
    from fhir_aftercare.smart.http import BoundedHttp
    from fhir_aftercare.smart.introspection import Introspection
    from fhir_aftercare.smart.keys import Key, KeyRing

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
    doors: Mapping[str, DoorSettings] | None = None,
    reach: Callable[[], httpx.AsyncBaseTransport] | None = None,
) -> FastAPI:
    """Give the service's application: clinics, protocol, database and metrics live as long as its lifespan.

    With issuers in the settings nobody gets in before it has started. Raises ``KeyFault`` for a faulty key file.

    The clinics are those of ``settings.clinics``, or what ``opening`` and ``doors`` give instead. ``reach`` gives each
    pool of connections its way to the clinics' EHRs: the network if None. Starting raises ``ConfigFault`` and
    ``ProtocolFault``; a clinic whose file has faults is refused with all of them logged, and the others run.
    """
    metrics = Metrics()
    keys_of_ours = _KeyFile(settings.keys) if settings.keys else None
    files = _Files(settings, clock, keys_of_ours, reach)

    async def start(app: FastAPI, running: AsyncExitStack) -> None:
        url = settings.database_url or default_url(os.environ)
        database = Database(url)
        running.push_async_callback(database.close)
        await database.upgrade()
        keys = IdempotencyKeys(
            database,
            ttl=timedelta(hours=settings.idempotency_hours),
            lease=timedelta(seconds=settings.request_seconds + 30),
        )
        await running.enter_async_context(purging(keys))
        on_call = both(metrics.fhir_call, tracing.on_call() if tracing else None)
        clinics = await running.enter_async_context((opening or files.opening)(on_call))
        metrics.clinics(len(clinics.running), clinics.refused)
        if settings.metrics_port:
            running.enter_context(metrics.served(settings.metrics_port, settings.metrics_host))
        warm()
        app.state.protection = await running.enter_async_context(_protected(settings, keys_of_ours))
        app.state.idempotency, app.state.clinics, app.state.database = keys, clinics, database
        if any(each.smart is not None for each in files.clinics.values()):
            from fhir_aftercare.launching_clinics import pages_of  # noqa: PLC0415

            await running.enter_async_context(
                pages_of(
                    app,
                    settings,
                    files.clinics,
                    clinics=clinics,
                    database=database,
                    keys=keys_of_ours,
                    clock=clock,
                    on_call=on_call,
                    reach=reach,
                )
            )
        if settings.work:
            # Imported here: a process that only answers calls needs no engine.
            from fhir_aftercare.background import Means, working  # noqa: PLC0415

            known = {name: (doors or files.doors).get(name, DoorSettings()) for name in clinics.running}
            await running.enter_async_context(
                working(app, Means(settings, clinics, known, database, url, keys, metrics, clock))
            )

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
            protection=CLOSED if settings.auth_issuers else OPEN,
            public_keys=keys_of_ours.public_jwks if keys_of_ours else None,
        ),
        lifespan=lifespan,
    )
    complete(app, metrics, Clinics({}))
    return app


@asynccontextmanager
async def _protected(settings: Settings, keys: _KeyFile | None) -> AsyncIterator[Protection]:
    """Give how the API is protected: by access tokens if there are issuers, else not at all (design §9.15).

    Raises ``ConfigFault`` and ``KeyFault``.
    """
    if not settings.auth_issuers:
        yield OPEN
        return
    # Imported here: without authentication the service starts without any cryptography.
    from fhir_aftercare.smart.bearer import BearerTokens, Trust  # noqa: PLC0415
    from fhir_aftercare.smart.http import BoundedHttp, Limits, new_client  # noqa: PLC0415

    trust = Trust(
        issuers=settings.auth_issuers,
        audience=settings.auth_audience or "",
        permissions=WAYS,
        clinic_claim=settings.auth_clinic_claim,
        plain_jwt=settings.auth_plain_jwt,
    )
    async with new_client() as client:
        http = BoundedHttp(client, Limits(seconds=5.0, size=64_000))
        bearer = BearerTokens(
            trust,
            http,
            introspection=_introspection(settings, http, keys),
            revocable=settings.auth_introspect == "all",
        )
        try:
            yield Protection(bearer, settings.public_url or "", settings.auth_issuers)
        finally:
            await bearer.close()


def _introspection(settings: Settings, http: BoundedHttp, keys: _KeyFile | None) -> Introspection | None:
    if not settings.auth_introspection_url:
        return None
    from fhir_aftercare.smart.introspection import Introspection, IntrospectionClient  # noqa: PLC0415

    secret = settings.auth_introspection_secret
    us = IntrospectionClient(
        issuer=settings.auth_issuers[0],
        endpoint=settings.auth_introspection_url,
        client_id=settings.auth_introspection_client or "",
        secret=secret.get_secret_value() if secret else None,
        keys=keys.ring if keys and not secret else None,
    )
    return Introspection(us, http)


class _KeyFile:
    """The key ring of a file, read again when the file has changed: ``keys rotate`` needs no restart.

    Raises ``KeyFault`` for a file that is faulty at the start; later the keys that were read stay good.
    """

    def __init__(self, path: Path) -> None:
        from fhir_aftercare.smart.keys import KeyRing  # noqa: PLC0415  (without keys no cryptography is needed)

        self._path, self._load = path, KeyRing.load
        self._ring, self._changed = KeyRing.load(path), path.stat().st_mtime_ns

    def ring(self) -> KeyRing:
        """Give the keys as they are now."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._changed:
                self._changed = changed
                self._ring = self._load(self._path)
        except (OSError, AftercareError) as fault:
            log.warning("key file not read", setting="AFTERCARE_KEYS", error=type(fault).__name__)
        return self._ring

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms that can be signed with."""
        return self.ring().algorithms

    def signing(self, alg: str) -> Key:
        """Give the key that signs now. Raises ``KeyFault`` if there is none for the algorithm."""
        return self.ring().signing(alg)

    def public_jwks(self) -> Mapping[str, Any]:
        """Give the public halves."""
        return self.ring().public_jwks()


class _Files:
    """The clinics of the files in ``settings.clinics``. ``doors`` are known once they were opened."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        keys: _KeyFile | None,
        reach: Callable[[], httpx.AsyncBaseTransport] | None,
    ) -> None:
        self._settings, self._clock, self._keys, self._reach = settings, clock, keys, reach
        self.clinics: Mapping[str, ClinicSettings] = {}
        self.doors: Mapping[str, DoorSettings] = {}

    @asynccontextmanager
    async def opening(self, on_call: OnCall) -> AsyncIterator[Clinics]:
        """Give the clinics; one with faults is refused with all of them logged."""
        settings = self._settings
        found = load_clinics(settings.clinics, os.environ)
        if any(each.smart is not None for each in found.clinics.values()):
            # Imported here: without SMART the service starts without any cryptography.
            from fhir_aftercare.launching_clinics import with_usable_ehrs  # noqa: PLC0415

            found = with_usable_ehrs(found, settings, self._keys)
        loaded, protocols = clinic_protocols(found, shipped_protocol(settings.profiles))
        for name, refused in loaded.faults.items():
            for fault in refused.faults:  # a line each: a list would be withheld
                log.error("clinic refused", file=name, error=fault[:LONGEST])
        self.doors = {name: each.doors for name, each in loaded.clinics.items()}
        self.clinics = loaded.clinics
        async with AsyncExitStack() as stack:
            tokens: Mapping[str, TokenProvider] = {}
            if any(each.smart is not None and each.smart.backend_id for each in loaded.clinics.values()):
                from fhir_aftercare.launching_clinics import backend_tokens  # noqa: PLC0415

                tokens = await stack.enter_async_context(
                    backend_tokens(loaded.clinics, settings.public_url, self._keys, reach=self._reach)
                )
            yield await stack.enter_async_context(
                connected(loaded, protocols, clock=self._clock, on_call=on_call, tokens=tokens, reach=self._reach)
            )


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
    app.include_router(subscription.router)
    app.include_router(backport.router)
