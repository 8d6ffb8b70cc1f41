"""The data behind a card: what the CDS client sent along, and with its token what it did not send.

A call's data never mix with what our own credentials may read (design §9.8): where neither prefetch nor token gives a
section, there is no card. Prefetch is believed as far as it is about this patient.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.ehr.answers import BatchAnswer
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import FhirUnauthorized
from fhir_aftercare.fhir import tasks
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.discharge import DischargeRequest, sections
from fhir_aftercare.intake.cds_answers import invalid, no_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import httpx

    from fhir_aftercare.flows.chart import Section
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.intake.cds_request import HookRequest

Resource = dict[str, Any]

# Name of a section → key of its prefetch.
KEYS: Final = {
    "patient": "patient",
    "encounter": "encounter",
    "drug records": "drugRecords",
    "procedures": "procedures",
    "observations": "observations",
    "recent observations": "recentObservations",
    "plans": "plans",
    "open tasks": "openTasks",
}
RECENT: Final = "recent observations"
# What a discharge reads besides, and readiness does not rest on.
_NOT_NEEDED: Final = frozenset({"scores", "conditions"})
_SINCE: Final = re.compile(r"&date=ge([^&]+)")
_NOTHING: Final[Resource] = {"resourceType": "Bundle", "type": "searchset", "entry": []}
_SUBJECTS: Final = ("subject", "patient", "for")


class Bearer:
    """The token of one call: it is not renewed, and not kept longer than the call."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        """Give the token."""
        return self._token

    async def renew(self) -> str:
        """There is no other: the client sent but this one."""
        raise FhirUnauthorized("The FHIR server does not accept the token of the call.", http_status=401)


class GivenData(FhirClient):
    """A FHIR server as one CDS call sees it: its prefetch first, then the server with the call's token.

    Raises ``Refused``: 412 from ``batch`` and ``collect`` if there is no token and something is missing, 400 at once if
    the prefetch is another patient's.
    """

    def __init__(self, base_url: str, http: httpx.AsyncClient, wanted: Sequence[Section], request: HookRequest) -> None:
        self._may_ask = request.token is not None
        super().__init__(base_url, http, token=Bearer(request.token) if request.token else None, max_attempts=1)
        self._known = {
            section.query: BatchAnswer(200, None, None, resource)
            for section in wanted
            if (resource := _given(section, request)) is not None
        }

    def knows(self, wanted: Sequence[Section]) -> bool:
        """Tell whether all of these sections are there already, whole."""
        answers = [self._known.get(section.query) for section in wanted]
        return all(answer is not None and not _has_more(answer.resource) for answer in answers)

    async def batch(self, entries: Sequence[str | Mapping[str, Any]]) -> list[BatchAnswer]:
        """Give what is known, and ask for the rest in one round trip; a section that failed is not asked for again."""
        missing = [each for each in entries if isinstance(each, str) and each not in self._known]
        if missing:
            self._need_token("Not all that is needed was sent along, and no token to read it with.")
            self._known |= zip(missing, await super().batch(missing), strict=True)
        return [self._known[str(each)] for each in entries]

    async def collect(self, type_: str, bundle: Resource, *, limit: int = 10_000) -> Any:
        """Give all pages. Without a token there is but the first."""
        if _has_more(bundle):
            self._need_token("What was sent along has more pages, and there is no token to read them with.")
        return await super().collect(type_, bundle, limit=limit)

    def _need_token(self, message: str) -> None:
        if not self._may_ask:
            raise no_data(message)


def question(request: HookRequest, now: datetime) -> DischargeRequest:
    """Give what is asked of readiness: may this patient leave now?"""
    return DischargeRequest(request.patient, request.encounter, now, mode="ask")


def templates(context: ClinicContext) -> dict[str, str]:
    """Give the prefetch templates of the discovery document: what readiness reads, with tokens for the ids."""
    tokens = {each: f"{{{{{each}}}}}" for each in ("context.patientId", "context.encounterId")}
    asked = DischargeRequest("Patient/context.patientId", "Encounter/context.encounterId", context.clock(), mode="ask")
    found = {}
    for section in sections(context, asked):
        if section.name in KEYS:
            # Without the date, which few clients could fill in: newest first instead, and the older are left aside.
            query = _SINCE.sub("", section.query) + ("&_sort=-date" if section.name == RECENT else "")
            for name, token in tokens.items():
                query = query.replace(name, token)
            found[KEYS[section.name]] = query
    return found


def _given(section: Section, request: HookRequest) -> Resource | None:
    """Give what was sent along for a section, None if it has to be asked for. Raises ``Refused``."""
    if section.name in _NOT_NEEDED:
        return _NOTHING
    key = KEYS.get(section.name, "")
    if key not in request.prefetch:
        return None
    value, one = request.prefetch[key], "?" not in section.query
    if value is None and not one:
        return _NOTHING
    if not isinstance(value, dict) or value.get("resourceType") == "OperationOutcome":
        # The client has tried already; asking again would only take longer (CDS Hooks 2.0, Prefetch).
        raise no_data(f"The client has no data for {key}.")
    if one:
        return _resource(section, value, key)
    return _bundle(section, value, key, request)


def _resource(section: Section, value: Resource, key: str) -> Resource:
    type_, _, id_ = section.query.partition("/")
    if value.get("resourceType") != type_ or value.get("id", id_) != id_:
        raise invalid(f"prefetch.{key} is not the {type_} of the context.", f"prefetch.{key}")
    return {**value, "id": id_}


def _bundle(section: Section, value: Resource, key: str, request: HookRequest) -> Resource:
    entries = value.get("entry") or []
    if value.get("resourceType") != "Bundle" or not isinstance(entries, list):
        raise invalid(f"prefetch.{key} is no searchset.", f"prefetch.{key}")
    patient = {"resourceType": "Patient", "id": request.patient.removeprefix("Patient/")}
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise invalid(f"prefetch.{key} holds what is no resource.", f"prefetch.{key}")
        if resource["resourceType"] != "OperationOutcome" and not isinstance(resource.get("id"), str):
            raise invalid(f"prefetch.{key} holds a resource without id.", f"prefetch.{key}")
        about = [resource[name] for name in _SUBJECTS if isinstance(resource.get(name), dict)]
        if any(each.get("reference") and not refers_to(each, patient) for each in about):
            raise invalid(f"prefetch.{key} holds another patient's data.", f"prefetch.{key}")
    return _recent(section, value, entries) if section.name == RECENT else value


def _recent(section: Section, value: Resource, entries: list[Resource]) -> Resource:
    """Leave out what is older than was asked for; what comes after it, page by page, is older still."""
    match = _SINCE.search(section.query)
    since = tasks.moment(match[1].replace("%2B", "+")) if match else None
    if since is None:
        return value
    fresh = [each for each in entries if (at := _effective(each["resource"])) is None or at >= since]
    return {**value, "entry": fresh, "link": [] if len(fresh) < len(entries) else value.get("link", [])}


def _effective(observation: Resource) -> datetime | None:
    period = observation.get("effectivePeriod")
    ends = period.get("end") or period.get("start") if isinstance(period, dict) else None
    return tasks.moment(observation.get("effectiveDateTime") or observation.get("effectiveInstant") or ends)


def _has_more(bundle: Resource | None) -> bool:
    links = (bundle or {}).get("link") or []
    return any(isinstance(each, dict) and each.get("relation") == "next" for each in links)
