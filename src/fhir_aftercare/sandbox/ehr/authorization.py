"""The authorization endpoint: every rule of SMART 2.2 and RFC 6749, 7636 and 9207 kept to the letter, then a code.

Opened from the chart the user is signed in already, so the answer comes at once; alone, one page asks who signs in and
for which patient. An unknown client or redirect URI is told here, never at another address.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from fhir_aftercare.sandbox.ehr import sign_in_page
from fhir_aftercare.sandbox.ehr.grants import Grant
from fhir_aftercare.sandbox.ehr.launches import Launch
from fhir_aftercare.sandbox.ehr.memory import Bounded
from fhir_aftercare.sandbox.ehr.requests import Refused, once, read_form
from fhir_aftercare.sandbox.ehr.settings import EhrUser

if TYPE_CHECKING:
    from starlette.requests import Request

    from fhir_aftercare.sandbox.ehr.charts import Charts
    from fhir_aftercare.sandbox.ehr.scopes import Scopes
    from fhir_aftercare.sandbox.ehr.settings import EhrClient
    from fhir_aftercare.sandbox.ehr.state import PretendEhr

PENDING_LIFE: Final = 300.0
# 128 random bits in base64url; SMART asks for 122 at least.
SHORTEST_STATE: Final = 22
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
# SMART 2.2 §1.2 row 14, and ways round the query that nobody registered for.
_NOT_TAKEN: Final = ("max_age", "auth_time", "claims", "request", "request_uri")


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that keeps all rules and waits for somebody to sign in."""

    client: EhrClient
    given: dict[str, str]
    scopes: Scopes

    @property
    def asks_patient(self) -> bool:
        """Whether a patient must be chosen."""
        return "launch/patient" in self.scopes.words or "patient" in self.scopes.levels


class AuthorizationEndpoint:
    """Answers ``/authorize`` and the form of its own page."""

    def __init__(self, ehr: PretendEhr, charts: Charts) -> None:
        self._settings, self._faults, self._policy = ehr.settings, ehr.faults, ehr.policy
        self._launches, self._grants, self._charts = ehr.launches, ehr.grants, charts
        self._pending: Bounded[Pending] = Bounded(1_000, ehr.now)

    async def authorize(self, request: Request) -> Response:
        """Answer an authorization request, GET or POST."""
        try:
            given = await read_form(request) if request.method == "POST" else once(request.url.query)
        except Refused as refusal:
            return sign_in_page.refused(refusal.why)
        client = self._settings.client(given.get("client_id", ""))
        if client is None:
            return sign_in_page.refused("client_id is not registered here")
        if given.get("redirect_uri") not in client.redirect_uris:
            return sign_in_page.refused("redirect_uri is not registered, letter by letter, for this client")
        try:
            return await self._answered(given, client)
        except Refused as refusal:
            return self._back(given, {"error": refusal.error, "error_description": refusal.why})

    async def decide(self, request: Request) -> Response:
        """Answer the form of the sign-in page: its ``request`` is the one-use proof that the page was ours."""
        try:
            form = await read_form(request)
        except Refused as refusal:
            return sign_in_page.refused(refusal.why)
        pending = self._pending.take(form.get("request", ""))
        if pending is None:
            return sign_in_page.refused("this sign-in was finished before, or took longer than five minutes")
        try:
            user, context = await self._chosen(form, pending)
            return self._with_code(pending.given, self._grant(pending, user, context))
        except Refused as refusal:
            return self._back(pending.given, {"error": refusal.error, "error_description": refusal.why})

    async def _answered(self, given: dict[str, str], client: EhrClient) -> Response:
        # Used up by its client's first request, whatever comes of that.
        launch = self._launches.take(given["launch"], client_id=client.client_id) if "launch" in given else None
        if self._faults.authorize_error:
            raise Refused(self._faults.authorize_error, "switched on")
        self._check(given)
        if "launch" in given and launch is None:
            raise Refused("invalid_request", "launch is unknown, used, older than five minutes, or another client's")
        granted = self._policy.for_launch(given.get("scope", ""), client, from_chart=launch is not None)
        if "openid" in granted.words and len(given.get("nonce", "")) < SHORTEST_STATE:
            raise Refused("invalid_request", f"nonce must have {SHORTEST_STATE} characters or more with openid")
        pending = Pending(client, given, granted)
        if launch is not None:
            context = {**launch.context(self._settings.tenant), "smart_style_url": self._settings.style_url}
            return self._with_code(given, self._grant(pending, launch.user, context))
        return await self._page(pending)

    def _check(self, given: dict[str, str]) -> None:
        if given.get("response_type") != "code":
            raise Refused("unsupported_response_type", "response_type must be code")
        rules = {
            "aud must be the FHIR base URL": given.get("aud") == self._settings.fhir_base,
            f"state must have {SHORTEST_STATE} characters or more": len(given.get("state", "")) >= SHORTEST_STATE,
            "code_challenge must be a SHA-256 in base64url": bool(
                _CHALLENGE.fullmatch(given.get("code_challenge", ""))
            ),
            "code_challenge_method must be S256": given.get("code_challenge_method") == "S256",
            "response_mode must be query": given.get("response_mode", "query") == "query",
            "parameters that SMART does not have": not any(name in given for name in _NOT_TAKEN),
        }
        broken = [name for name, kept in rules.items() if not kept]
        if broken:
            raise Refused("invalid_request", "; ".join(broken))

    async def _page(self, pending: Pending) -> Response:
        patients = await self._charts.patients()
        key = secrets.token_urlsafe(32)
        self._pending.put(key, pending, PENDING_LIFE)
        return sign_in_page.asked(
            key,
            pending.client,
            users=self._settings.users,
            patients=patients,
            scope=str(pending.scopes),
            asks_patient=pending.asks_patient,
        )

    async def _chosen(self, form: dict[str, str], pending: Pending) -> tuple[EhrUser, dict[str, Any]]:
        """Give who signed in, and the context: the patient chosen, or the one who signed in."""
        if form.get("decision") != "allow":
            raise Refused("access_denied", "the user said no")
        user, patient = self._settings.user(form.get("user", "")), form.get("patient") or None
        if user is not None and user.patient is not None:
            patient = user.patient
        if patient is not None:
            found = await self._charts.patient(patient)
            if form.get("user") == "patient":
                user = EhrUser("patient", found.name, f"Patient/{found.id}")
        if user is None:
            raise Refused("access_denied", "nobody signed in")
        encounters = (
            await self._charts.encounters(patient) if patient and "launch/encounter" in pending.scopes.words else []
        )
        launch = Launch(
            pending.client.client_id,
            user,
            patient=patient if pending.asks_patient else None,
            encounter=encounters[0].id if encounters else None,
            need_patient_banner=True,
        )
        return user, launch.context(self._settings.tenant)

    def _grant(self, pending: Pending, user: EhrUser, context: dict[str, Any]) -> Grant:
        if "patient" in pending.scopes.levels and "patient" not in context:
            raise Refused("invalid_scope", "patient/ scopes need a patient")
        nonce = pending.given.get("nonce")
        return Grant(pending.client.client_id, pending.scopes, self._settings.fhir_base, user, context, nonce)

    def _with_code(self, given: dict[str, str], grant: Grant) -> Response:
        code = self._grants.new_code(grant, given["redirect_uri"], given["code_challenge"])
        return self._back(given, {"code": code})

    def _back(self, given: dict[str, str], answer: dict[str, str]) -> Response:
        """Send the browser to the redirect URI, with ``state`` as it came and ``iss`` (RFC 9207)."""
        issuer = self._settings.issuer
        answer["iss"] = f"{issuer}/other" if self._faults.wrong_callback_iss else issuer
        if "state" in given:
            answer["state"] = given["state"]
        uri = given["redirect_uri"]
        return RedirectResponse(f"{uri}{'&' if '?' in uri else '?'}{urlencode(answer)}", status_code=303)
