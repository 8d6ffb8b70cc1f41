"""The EHR's own pages: the start page, a patient's chart with an app in its frame, the launches of a patient's portal.

Links and forms only: everything works without script. The pages show test data and say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.sandbox.ehr import fault_form
from fhir_aftercare.sandbox.ehr.html import Html, page, tag
from fhir_aftercare.sandbox.ehr.launches import Launch
from fhir_aftercare.sandbox.ehr.settings import EhrUser

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from fhir_aftercare.sandbox.ehr.charts import Charts, Encounter, Patient
    from fhir_aftercare.sandbox.ehr.settings import EhrClient
    from fhir_aftercare.sandbox.ehr.state import PretendEhr

Width = Literal["panel", "full"]
WIDTHS: Final[dict[str, str]] = {"panel": "Side panel", "full": "Full width"}


class Pages:
    """Answers ``/``, ``/chart`` and ``/portal``. Raises ``InvalidInput``, ``NotFound`` and ``FhirUnreachable``."""

    def __init__(self, ehr: PretendEhr, charts: Charts) -> None:
        self._ehr, self._settings, self._charts = ehr, ehr.settings, charts

    async def start(self, request: Request) -> Response:
        """Show the patients and how each app can be opened for them."""
        query = request.query_params
        user, client = self._user(query.get("user")), self._client(query.get("client"))
        patients = await self._charts.patients()
        return page(
            self._settings.name,
            tag("h1", self._settings.name),
            self._choice("Signed in as", "user", {each.key: each.name for each in self._staff()}, user.key, query),
            self._choice(
                "App", "client", {each.client_id: each.title for each in self._apps()}, client.client_id, query
            ),
            _standalone(client),
            tag("h2", "Patients"),
            _table(patients, user, client) if patients else tag("p", "There are no patients in the store."),
            tag("h2", "Faults"),
            fault_form.form(self._ehr.faults),
        )

    async def chart(self, request: Request) -> Response:
        """Show one patient's chart with the app in a frame, beside it or across the whole width."""
        query = request.query_params
        user, client = self._user(query.get("user")), self._client(query.get("client"))
        width = query.get("width", "panel")
        if width not in WIDTHS:
            raise InvalidInput("width is panel or full.", where="width")
        patient = await self._charts.patient(query.get("patient", ""))
        encounters = await self._charts.encounters(patient.id)
        encounter = _encounter(encounters, query.get("encounter"))
        launch = Launch(client.client_id, user, patient.id, encounter, query.get("intent") or None)
        frame = tag(
            "iframe", src=self._ehr.launch_url(launch), title=client.title, class_=f"app {width}", name="app",
            referrerpolicy="no-referrer",
        )  # fmt: skip
        again = {"user": user.key, "client": client.client_id, "patient": patient.id}
        beside = tag(
            "section",
            tag("h2", "Encounters"),
            _links(
                {
                    urlencode({**again, "width": width, "encounter": each.id}): f"{each.day} {each.status}".strip()
                    for each in encounters
                }
            ),
            tag("h2", "Open again"),
            _links({urlencode({**again, "width": name}): label for name, label in WIDTHS.items()}),
            class_="chart",
        )
        return page(
            f"Chart of {patient.name}",
            tag("p", tag("a", "All patients", href=f"/?{urlencode({'user': user.key, 'client': client.client_id})}")),
            tag("header", tag("h1", patient.name), tag("p", f"Born {patient.born}, {patient.sex}"), class_="banner"),
            tag("p", f"Signed in as {user.name}. Opened: {client.title}, {WIDTHS[width].lower()}.", class_="muted"),
            tag("div", beside, frame, class_=f"desk {width}"),
            frames=self._settings.framed,
        )

    async def portal(self, request: Request) -> Response:
        """Open an app as the patient, as a link in a patient portal does: in the whole window."""
        query = request.query_params
        client, patient = self._client(query.get("client")), await self._charts.patient(query.get("patient", ""))
        user = EhrUser("patient", patient.name, f"Patient/{patient.id}")
        launch = Launch(client.client_id, user, patient.id, intent=query.get("intent") or None)
        return RedirectResponse(self._ehr.launch_url(launch), status_code=303)

    def _staff(self) -> list[EhrUser]:
        return [user for user in self._settings.users if user.patient is None]

    def _apps(self) -> list[EhrClient]:
        return [client for client in self._settings.clients if client.launch_url]

    def _user(self, key: str | None) -> EhrUser:
        user = self._settings.user(key) if key else next(iter(self._staff()), None)
        if user is None:
            raise InvalidInput("There is no such user.", where="user")
        return user

    def _client(self, client_id: str | None) -> EhrClient:
        apps = {client.client_id: client for client in self._apps()}
        client = apps.get(client_id) if client_id else next(iter(apps.values()), None)
        if client is None:
            raise InvalidInput("There is no such app that can be opened from the chart.", where="client")
        return client

    def _choice(self, label: str, name: str, options: Mapping[str, str], chosen: str, query: Mapping[str, Any]) -> Html:
        """Give links that change one of the choices and keep the other."""
        kept = {each: query[each] for each in ("user", "client") if each in query}
        links = [
            tag("a", text, href=f"/?{urlencode({**kept, name: key})}", aria_current="true" if key == chosen else None)
            for key, text in options.items()
        ]
        return tag("p", tag("span", label, class_="muted"), " ", *links, class_="choice")


def _standalone(client: EhrClient) -> Html | None:
    if client.standalone_url is None:
        return None
    return tag("p", tag("a", f"Start {client.title} by itself (standalone launch)", href=client.standalone_url))


def _table(patients: Sequence[Patient], user: EhrUser, client: EhrClient) -> Html:
    chosen = {"user": user.key, "client": client.client_id}
    rows = []
    for each in patients:
        links = [
            tag("a", text, href=f"/chart?{urlencode({**chosen, 'patient': each.id, 'width': name})}",
                aria_label=f"Open in chart of {each.name}: {text}")
            for name, text in WIDTHS.items()
        ]  # fmt: skip
        links.append(
            tag("a", "Portal", href=f"/portal?{urlencode({'client': client.client_id, 'patient': each.id})}",
                aria_label=f"Open as {each.name} from the patient portal")
        )  # fmt: skip
        rows.append(tag("tr", tag("td", each.name), tag("td", each.born), tag("td", *links, class_="choice")))
    head = tag("tr", *(tag("th", text, scope="col") for text in ("Name", "Born", "Open in chart")))
    return tag("table", tag("thead", head), tag("tbody", *rows))


def _links(links: Mapping[str, str]) -> Html:
    if not links:
        return tag("p", "None", class_="muted")
    return tag("ul", *(tag("li", tag("a", text, href=f"/chart?{query}")) for query, text in links.items()))


def _encounter(encounters: Sequence[Encounter], wanted: str | None) -> str | None:
    if wanted is None:
        return encounters[0].id if encounters else None
    if wanted not in {each.id for each in encounters}:
        raise InvalidInput("The patient has no such encounter.", where="encounter")
    return wanted
