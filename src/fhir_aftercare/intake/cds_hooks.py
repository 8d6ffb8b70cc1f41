"""The CDS Hooks 2.0 door: discovery, the service for ``encounter-discharge``, feedback (integration §2.4).

    token → body → look (nothing is written) → signal, durable → card

Answers within 500 ms with what is known by then. A discharge that is being prepared is no discharge: the signal only
has the encounter looked at. Every call is one of a known client; without a clinic in the path, the token tells which.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final

import httpx
import structlog

from fhir_aftercare.flows.signal import DischargeSignal
from fhir_aftercare.intake.cds_answers import Refused, later, stranger
from fhir_aftercare.intake.cds_cards import cards_of
from fhir_aftercare.intake.cds_data import templates
from fhir_aftercare.intake.cds_jwt import ClientTokens, client_of, unproven_claims
from fhir_aftercare.intake.cds_look import look
from fhir_aftercare.intake.cds_request import HOOK, read_feedback, read_hook
from fhir_aftercare.smart.http import BoundedHttp, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from fhir_aftercare.flows.context import ClinicContext, Clinics
    from fhir_aftercare.flows.inbox import Inbox
    from fhir_aftercare.intake.cds_replays import Replays
    from fhir_aftercare.intake.cds_request import HookRequest
    from fhir_aftercare.intake.cds_settings import CdsSettings

SOURCE: Final = "cds-hooks"
SERVICE: Final = "aftercare-discharge"
_KEYS_LIMITS: Final = Limits(seconds=5.0, size=64_000)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Times:
    """How long a call may take, in seconds: a CDS client waits 500 ms or so, and the network wants its part.

    ``answer``: all of it; ``token``: the check of the token; ``look``: reading the chart; ``keep``: what is left for
    the signal at least.
    """

    answer: float = 0.45
    token: float = 0.25
    look: float = 0.3
    keep: float = 0.1


DEFAULT_TIMES: Final = Times()


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the clinic of its path (None: the token tells), what follows the base, and its token."""

    clinic: str | None
    path: str
    token: str | None


class CdsHooks:
    """The services of all clinics that have them. ``settings`` by the clinic's id."""

    def __init__(
        self,
        settings: Mapping[str, CdsSettings],
        tokens: ClientTokens,
        http: httpx.AsyncClient,
        inbox: Inbox,
        times: Times = DEFAULT_TIMES,
    ) -> None:
        self._settings, self._tokens, self._http, self._inbox, self._times = settings, tokens, http, inbox, times

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        settings: Mapping[str, CdsSettings],
        replays: Replays,
        inbox: Inbox,
        *,
        times: Times = DEFAULT_TIMES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> AsyncIterator[CdsHooks]:
        """Give the services while the block runs, with connections of their own; ``transport`` is there for tests."""
        # One client's cookies must not go along with another's token.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        async with httpx.AsyncClient(transport=transport, cookies=no_cookies, follow_redirects=False) as http:
            tokens = ClientTokens(BoundedHttp(http, _KEYS_LIMITS), replays)
            try:
                yield cls(settings, tokens, http, inbox, times)
            finally:
                await tokens.close()

    def origins(self, clinic: str | None) -> frozenset[str]:
        """Give the web origins that may call a clinic's services, or any clinic's."""
        asked = self._settings.values() if clinic is None else [self._settings[clinic]] if self.has(clinic) else []
        return frozenset(origin for each in asked for origin in each.allowed_origins)

    def has(self, clinic: str) -> bool:
        """Tell whether a clinic has these services."""
        return clinic in self._settings

    async def discovery(self, call: Call, clinics: Clinics) -> dict[str, Any]:
        """Give the discovery document. Raises ``Refused``, ``NotFound``, ``StoreUnavailable``."""
        asked = [call.clinic] if call.clinic else sorted(self._settings)
        if not asked:
            return {"services": []}
        open_to_all = call.token is None and any(self._of(each).open_discovery for each in asked)
        clinic = asked[0] if open_to_all else await self._caller(call, None, clinics)
        return {"services": [_service(clinics.of(clinic))]}

    async def cards(self, call: Call, body: bytes, clinics: Clinics) -> dict[str, Any]:
        """Give the cards of one hook call, after the signal is durable. Raises as ``discovery``; 412 without data."""
        clock, times = asyncio.get_running_loop().time, self._times
        started = clock()
        request = read_hook(body) if call.clinic is None else None
        clinic = await self._caller(call, request, clinics)
        context, settings = clinics.of(clinic), self._of(clinic)
        request = request or read_hook(body)
        _check_server(request, context)
        left = started + times.answer - clock()
        outcome = "no-data"
        try:
            seen = await look(context, self._http, request, max(0.0, min(times.look, left - times.keep)))
            outcome = {True: "card", False: "no-infusion", None: "no-time"}[seen.infusion]
            if seen.infusion is not False:
                await self._signal(context, request, started + times.answer)
        finally:
            log.info("cds hook", clinic=clinic, outcome=outcome, ms=round((clock() - started) * 1000, 1))
        return {"cards": cards_of(seen, context.clinic, request.instance, settings.launch_url, context.clock())}

    async def feedback(self, call: Call, body: bytes, clinics: Clinics) -> None:
        """Note what became of cards; the same may come again. Raises as ``discovery``."""
        clinic = await self._caller(call, None, clinics)
        for each in read_feedback(body):
            log.info("cds feedback", clinic=clinic, outcome=each.outcome, kind=each.reason)

    async def _signal(self, context: ClinicContext, request: HookRequest, deadline: float) -> None:
        signal = DischargeSignal(
            context.clinic.id, SOURCE, request.instance, request.encounter, request.patient, kind="changed"
        )
        try:
            async with asyncio.timeout_at(deadline):
                await self._inbox.take(signal)
        except TimeoutError:
            raise later("The call could not be kept in time.") from None

    def _of(self, clinic: str) -> CdsSettings:
        try:
            return self._settings[clinic]
        except KeyError:
            raise Refused(404, "not-found", "There is no such clinic here.", "Check the path.") from None

    async def _caller(self, call: Call, request: HookRequest | None, clinics: Clinics) -> str:
        """Give the clinic that a known client calls for. Raises ``Refused``."""
        if call.clinic is not None:
            self._of(call.clinic)
        if call.token is None:
            raise stranger("The call has no token.", "Authorization")
        clinic = call.clinic or self._named(call.token, request, clinics)
        settings = self._of(clinic)
        base = f"{settings.public_url}/cds/{clinic}" if call.clinic else settings.public_url
        try:
            async with asyncio.timeout(self._times.token):
                await self._tokens.check(call.token, settings.clients, f"{base}/{call.path}")
        except TimeoutError:
            raise later("The client's keys are still being read.") from None
        return clinic

    def _named(self, token: str, request: HookRequest | None, clinics: Clinics) -> str:
        """Give the clinic of a call without one in its path: the token's client, and the FHIR server, tell."""
        claims = unproven_claims(token)
        found = [name for name, each in sorted(self._settings.items()) if _lists(each, claims)]
        if not found:
            raise stranger("The token's issuer is on no list here.", "iss")
        if request is None:  # the same document and the same log for all of a client's clinics
            return found[0]
        fits = [name for name in found if _serves(clinics.running.get(name), request.fhir_server)]
        if len(fits) != 1:
            remedy = f"Use the clinic's own address, /cds/<clinic>/cds-services/{SERVICE}."
            raise Refused(403, "forbidden", "The call does not tell for which clinic it is.", remedy)
        return fits[0]


def _service(context: ClinicContext) -> dict[str, Any]:
    return {
        "id": SERVICE,
        "hook": HOOK,
        "title": "May this patient leave after the ketamine infusion?",
        "description": "Shows which criteria for leaving are not met or not recorded, and opens the aftercare app.",
        "usageRequirements": "All of the prefetch, or fhirServer and fhirAuthorization with read access to it.",
        "prefetch": templates(context),
    }


def _lists(settings: CdsSettings, claims: Mapping[str, Any]) -> bool:
    try:
        client_of(claims, settings.clients)
    except Refused:
        return False
    return True


def _check_server(request: HookRequest, context: ClinicContext) -> None:
    if request.fhir_server is not None and not _serves(context, request.fhir_server):
        remedy = "Compare fhirServer with the clinic's fhir_base_url."
        raise Refused(403, "forbidden", "fhirServer is not this clinic's FHIR server.", remedy)


def _serves(context: ClinicContext | None, server: str | None) -> bool:
    """Tell whether a FHIR base is the clinic's, however it is written; without one, whether the clinic runs."""
    if context is None:
        return False
    return server is None or _plain(server) == _plain(context.fhir.base_url)


def _plain(url: str) -> tuple[str, str, int | None, str] | None:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return None
    if parts.query or parts.fragment or parts.userinfo:
        return None
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.host, port, parts.raw_path.decode("ascii").rstrip("/")
