"""What the pages work with, made once for all clinics that an EHR can launch, and the tidying while they run.

Which clinics those are, how they are registered and where the database is come from the caller; nothing is read here.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import structlog

from fhir_aftercare.ehr.client import Capabilities, FhirClient
from fhir_aftercare.errors import AftercareError, ConfigFault
from fhir_aftercare.smart.discovery import Discovery
from fhir_aftercare.smart.faults import SmartFault
from fhir_aftercare.smart.id_token import IdTokens
from fhir_aftercare.smart.launch import Launcher
from fhir_aftercare.smart.registration import Registrations, same_base
from fhir_aftercare.smart.session import Sessions, SessionTokens
from fhir_aftercare.smart.tokens import TokenEndpoint
from fhir_aftercare.store.browsers import Browsers
from fhir_aftercare.store.launch_sessions import LaunchSessions
from fhir_aftercare.store.launches import SqlLaunchStore
from fhir_aftercare.store.visitors import Visitors
from fhir_aftercare.ui.styles import Styles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    import httpx

    from fhir_aftercare.ehr.transport import CallRecord
    from fhir_aftercare.flows.context import ClinicContext, Clinics
    from fhir_aftercare.smart.http import BoundedHttp
    from fhir_aftercare.smart.registration import ClientRegistration
    from fhir_aftercare.smart.session import LaunchSession
    from fhir_aftercare.smart.vault import Vault
    from fhir_aftercare.store.database import Database

IDLE: Final = timedelta(minutes=15)
# A shift: nobody stays signed in by reloading.
LONGEST: Final = timedelta(hours=12)
_TIDY_EVERY: Final = timedelta(minutes=1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClinicPages:
    """What one clinic says about its pages: how it is registered at its EHR, which origins may frame them
    (``https://ehr.example``), and after how long without use people are signed out.

    ``write_as``: whose token writes where the user's scopes do not cover it (design §9.8). ``prescribers`` are FHIR
    references of those who land on the overview.
    """

    registration: ClientRegistration
    frame_ancestors: tuple[str, ...] = ()
    idle: timedelta = IDLE
    write_as: Literal["user", "backend"] = "user"
    prescribers: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """The clinic's id."""
        return self.registration.clinic


@dataclass(frozen=True, slots=True)
class Door:
    """Everything a page's route needs. ``kept`` are the finished launches, ``launches`` those under way.

    ``styles`` are the EHRs'. ``charts`` gives a launch's clinic with the user's token, ``own`` with the service's.
    """

    pages: Mapping[str, ClinicPages]
    registrations: Registrations
    launcher: Launcher
    launches: SqlLaunchStore
    sessions: Sessions
    kept: LaunchSessions
    browsers: Browsers
    visitors: Visitors
    styles: Styles
    charts: Callable[[LaunchSession], ClinicContext]
    own: Callable[[LaunchSession], ClinicContext]

    def of_clinic(self, clinic: str) -> ClinicPages:
        """Give a clinic's pages. Raises ``UnknownIssuer`` if none can be launched there."""
        self.registrations.of_clinic(clinic)
        return self.pages[clinic]

    async def sign_out(self, launch_id: str, clinic: str, *, why: str) -> None:
        """End a launch: its tokens are dropped here at once, and handed back to the EHR as far as it takes them.

        What goes wrong at the EHR is logged and ends nothing. Raises ``StoreUnavailable``.
        """
        try:
            outcome = "revoked" if await self.sessions.end(launch_id) else "dropped"
        except SmartFault as fault:
            outcome = "not revoked"
            await self.kept.drop(launch_id)  # also what could not even be opened any more
            log.warning("tokens not revoked", clinic=clinic, code=fault.code)
        log.info("signed out", clinic=clinic, kind=why, outcome=outcome)

    async def tidy(self) -> None:
        """Sign out who was idle for too long, and forget what nobody needs any more. Raises ``StoreUnavailable``."""
        for clinic in await self.kept.clinics():
            known = self.pages.get(clinic)
            idle = known.idle if known else timedelta(0)  # of a clinic that is gone nobody may see anything
            for launch_id in await self.kept.idle(clinic, idle=idle, longest=LONGEST):
                await self._end_idle(launch_id, clinic)
        await self.launcher.purge()
        await self.kept.purge()
        await self.browsers.purge()

    async def _end_idle(self, launch_id: str, clinic: str) -> None:
        if clinic in self.pages:
            await self.sign_out(launch_id, clinic, why="idle")
            return
        await self.kept.drop(launch_id)
        log.info("signed out", clinic=clinic, kind="clinic gone", outcome="dropped")


@asynccontextmanager
async def opened(
    pages: Sequence[ClinicPages],
    clinics: Clinics,
    database: Database,
    vault: Vault,
    *,
    smart: BoundedHttp,
    fhir: httpx.AsyncClient,
    on_call: Callable[[CallRecord], None] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncIterator[Door]:
    """Give the door while the block runs, and tidy behind it.

    ``smart`` reaches authorization servers, ``fhir`` the EHRs' FHIR bases with users' tokens. Raises ``ConfigFault`` if
    a clinic is launched by another server than its FHIR server: a user's token goes nowhere else.
    """
    registrations = Registrations(each.registration for each in pages)
    for each in registrations:
        if not same_base(clinics.of(each.clinic).fhir.base_url, each.iss):
            raise ConfigFault(["the EHR that launches must be the clinic's FHIR server"], where=each.clinic)
    discovery, endpoint = Discovery(smart, now=now), TokenEndpoint(smart, now=now)
    launches, kept = SqlLaunchStore(database, vault), LaunchSessions(database, vault, now=now)
    sessions = Sessions(registrations, discovery, endpoint, kept, now=now)

    known = {each.id: Capabilities() for each in pages}

    def charts(session: LaunchSession) -> ClinicContext:
        own = clinics.of(session.clinic)
        tokens = SessionTokens(sessions, session.launch_id, session)
        client = FhirClient(own.fhir.base_url, fhir, token=tokens, on_call=on_call, known=known[session.clinic])
        return replace(own, fhir=client)

    door = Door(
        pages={each.id: each for each in pages},
        registrations=registrations,
        launcher=Launcher(
            registrations, discovery, endpoint, IdTokens(smart, now=now), launches=launches, sessions=kept, now=now
        ),
        launches=launches,
        sessions=sessions,
        kept=kept,
        browsers=Browsers(database, now=now),
        visitors=Visitors(database, vault, now=now),
        styles=Styles(smart, now),
        charts=charts,
        own=lambda session: clinics.of(session.clinic),
    )
    tidying = asyncio.create_task(_tidying(door), name="tidy launches")
    try:
        yield door
    finally:
        tidying.cancel()
        await asyncio.wait([tidying])


async def _tidying(door: Door) -> None:
    while True:
        try:
            await door.tidy()
        except AftercareError as fault:
            log.warning("launches not tidied", code=fault.code)
        await asyncio.sleep(_TIDY_EVERY.total_seconds())
