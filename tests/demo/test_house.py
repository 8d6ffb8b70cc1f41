"""The demo's house: the strict EHR launches the service, which works through the EHR with tokens of its own."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from demo.walking import Person, is_the_storys_overview
from fhir_aftercare.api import examples, examples_work
from fhir_aftercare.bootstrap import shipped_protocol
from fhir_aftercare.demo import people
from fhir_aftercare.demo.house import House, house
from fhir_aftercare.demo.main_job import MainJob, Story
from fhir_aftercare.demo.sites import listener, port_of
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.sandbox.ehr import FhirStore, LocalNames, rights
from fhir_aftercare.sandbox.store import create_store
from fhir_aftercare.smart_settings import BACKEND_SCOPES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Resource = dict[str, Any]
INSTANT = re.compile(r"2026-\d\d-\d\dT[\d:]+-04:00")
# The patients of this file left an hour ago: no restriction is over yet.
LEFT = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1)


@dataclass
class Neighbourhood:
    """A house, the store behind it, and somebody who calls its API."""

    at: House
    fhir: FhirClient
    identifiers: Identifiers
    http: httpx.AsyncClient

    async def call(self, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        """Call the clinic's API, with POST if there is a body, and give the answer."""
        method = "GET" if body is None else "POST"
        answer = await self.http.request(method, f"{self.at.api_url}{path}", json=body, headers=headers)
        assert answer.status_code == status, (path, answer.status_code, answer.text)
        return answer.json()

    async def story(self) -> Story:
        clock = SettableClock(datetime.now(UTC))
        return await MainJob(self.fhir, shipped_protocol(), self.identifiers, clock, lambda *_: None).run()

    async def visit(self, status: str = "in-progress") -> tuple[str, str]:
        """Make a patient and the encounter of an infusion."""
        run = str(uuid.uuid4())
        patient = await people.create_patient(self.fhir, self.identifiers, run)
        encounter: Resource = {
            "resourceType": "Encounter",
            "status": status,
            "class": terms.AMBULATORY.coding(),
            "subject": {"reference": patient},
            "period": {"start": (LEFT - timedelta(hours=3)).isoformat(), "end": LEFT.isoformat()},
        }
        made = await self.fhir.create(encounter)
        return patient, f"Encounter/{made['id']}"


@pytest.fixture(scope="module", params=["sandbox", pytest.param("hapi", marks=pytest.mark.hapi)])
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store of this file alone, or HAPI, and whether the service may act on it by itself."""
    if request.param == "hapi":
        yield FhirStore(request.getfixturevalue("hapi_url")), False
        return
    url = "http://store.localhost/fhir"
    store = create_store(tmp_path_factory.mktemp("store"), url)
    yield FhirStore(url, httpx.ASGITransport(store)), True
    store.close()


@pytest.fixture(scope="module")
async def here(behind: tuple[FhirStore, bool]) -> AsyncIterator[Neighbourhood]:
    store, own = behind
    base = f"https://fhir-aftercare.example.org/demo/{uuid.uuid4()}"
    async with (
        house(store, identifier_base=base, work=own) as at,
        httpx.AsyncClient(transport=store.transport, timeout=60) as http,
        httpx.AsyncClient(transport=LocalNames(), timeout=60) as caller,
    ):
        yield Neighbourhood(at, FhirClient(store.base_url, http), Identifiers(base), caller)


@pytest.fixture(scope="module")
async def told(here: Neighbourhood) -> Story:
    return await here.story()


@pytest.fixture
def demanded(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Collect which types the service's own calls speak of."""
    types: set[str] = set()
    demand = rights.Rights.demand

    def noted(self: rights.Rights, letters: str, type_: str) -> None:
        demand(self, letters, type_)
        types.add(type_)

    monkeypatch.setattr(rights.Rights, "demand", noted)
    return types


def sent(given: dict[str, Any], example: str, patient: str, encounter: str, person: str) -> Any:
    """Give an example of the API's as it is, but of a patient of ours who left an hour ago."""
    text = json.dumps(given[example]["value"])
    for before, after in {examples.PATIENT: patient, examples.ENCOUNTER: encounter, examples.NURSE: person}.items():
        text = text.replace(before, after)
    later = LEFT - datetime.fromisoformat(examples.LEFT)
    return json.loads(INSTANT.sub(lambda at: (datetime.fromisoformat(at[0]) + later).isoformat(), text))


# --- launching -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("user", ["nurse", "prescriber"])
async def test_opened_in_the_chart_the_app_shows_the_patients_plan_and_score(
    here: Neighbourhood, told: Story, user: str
) -> None:
    async with Person() as person:
        page = await person.open_in_chart(here.at.ehr_url, told.patient, user=user)
        is_the_storys_overview(page)
        paths = [httpx.URL(each).path for each in person.seen]
        assert paths[:3] == ["/", "/chart", "/launch"]
        assert {"/auth/authorize", "/callback"} <= set(paths)
        assert f"frame-ancestors {here.at.ehr_url}" in page.headers["content-security-policy"]


async def test_the_house_gives_the_address_of_a_chart(here: Neighbourhood, told: Story) -> None:
    async with Person() as person:
        chart = await person.get(here.at.chart_url(told.patient, width="full"))
        assert chart.status_code == 200
        assert f"{here.at.app_url}/launch?" in chart.text


async def test_started_by_itself_the_app_asks_the_ehr_who_and_for_whom(here: Neighbourhood, told: Story) -> None:
    async with Person() as person:
        page = await person.start_alone(here.at.ehr_url, told.patient)
        is_the_storys_overview(page)
        assert "RIVERA, Ana" in page.text  # in a chart the EHR says whose it is


async def test_from_the_portal_the_patient_opens_it(here: Neighbourhood, told: Story) -> None:
    async with Person() as person:
        page = await person.open_portal(here.at.ehr_url, told.patient)
        assert page.status_code == 200, page.text
        assert "PHQ-9" in page.text


async def test_what_the_ehr_withholds_is_said_on_the_page(here: Neighbourhood, told: Story) -> None:
    here.at.ehr.faults.withheld = "user/Goal.rs"
    try:
        async with Person() as person:
            page = await person.open_in_chart(here.at.ehr_url, told.patient)
        assert page.status_code == 200
        assert "Goal" in page.text
    finally:
        here.at.ehr.act("reset")


# --- unattended ------------------------------------------------------------------------------------------------------
async def test_everything_the_api_does_is_within_the_services_scopes_and_each_type_is_needed(
    here: Neighbourhood, demanded: set[str]
) -> None:
    patient, encounter = await here.visit()
    role = await here.fhir.create({"resourceType": "PractitionerRole", "practitioner": {"reference": here.at.nurse}})
    given = (patient, encounter, here.at.nurse)
    by_role = (patient, encounter, f"PractitionerRole/{role['id']}")
    recorded = await here.call("/infusions", sent(examples.INFUSION, "monitored", *given), 201)
    assert recorded["plan"]
    await here.call("/infusions", sent(examples.INFUSION, "monitored", *given), 200)
    assert (await here.call("/readiness", sent(examples.ASK, "escorted", *given)))["ready"]
    await here.call("/discharges/ask", sent(examples.ASK, "escorted", *given), 201)
    again = await here.call("/discharges/happened", sent(examples.DISCHARGE, "escorted", *by_role), 200)
    assert not again["changed"]
    answers = {**sent(examples.RESPONSE, "check-in", *given), "authored": datetime.now(UTC).isoformat()}
    await here.call("/responses", answers, 201)
    tasks = await here.call(f"/patients/{patient.partition('/')[2]}/tasks")
    call = next(each for each in tasks["items"] if "attempt" in each["legal_moves"])
    tag = {"if-match": f'W/"{call["version"]}"'}
    await here.call(
        f"/{call['task'].replace('Task', 'tasks')}/moves", sent(examples_work.MOVE, "no-answer", *given), **tag
    )
    assert (await here.call("/worklist"))["items"]
    correction = sent(examples_work.CORRECTION, "later", *given)
    assert (await here.call("/infusions/corrections", correction))["changed"]
    observation = recorded["observations"][0].partition("/")[2]
    retraction = sent(examples_work.RETRACTION, "mistyped", *given)
    assert (await here.call(f"/observations/{observation}/retraction", retraction))["changed"]
    aftercare = await here.call(f"/patients/{patient.partition('/')[2]}/aftercare")
    assert [each["status"] for each in aftercare["infusions"]] == ["active"]
    asked = {scope.partition("/")[2].partition(".")[0] for scope in BACKEND_SCOPES}
    # Medications come with the administrations that refer to them, and are not asked for by themselves.
    assert demanded == asked - {"Medication"}


async def test_an_infusion_of_a_drug_that_is_referred_to_is_seen_through_the_ehr(here: Neighbourhood) -> None:
    patient, encounter = await here.visit()
    drug = await here.fhir.create({"resourceType": "Medication", "code": terms.KETAMINE_RXNORM.concept()})
    await here.fhir.create(
        {
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationReference": {"reference": f"Medication/{drug['id']}"},
            "subject": {"reference": patient},
            "context": {"reference": encounter},
            "effectivePeriod": {
                "start": (LEFT - timedelta(minutes=130)).isoformat(),
                "end": (LEFT - timedelta(minutes=90)).isoformat(),
            },
        }
    )
    given = {"patient": patient, "encounter": encounter, "left_at": LEFT.isoformat()}
    assert (await here.call("/discharges/happened", given, 201))["plan"]


async def test_by_itself_the_service_sweeps_and_follows_signals_with_its_tokens(
    here: Neighbourhood, behind: tuple[FhirStore, bool], told: Story
) -> None:
    _, works = behind
    if not works:
        # On a server of somebody's own the house does nothing by itself.
        assert not hasattr(here.at.app.state, "inbox")
        return
    patient, encounter = await here.visit("finished")
    given = (patient, encounter, here.at.nurse)
    await here.call("/infusions", sent(examples.INFUSION, "monitored", *given), 201)
    await here.call("/signals", sent(examples_work.SIGNAL, "left", *given), 202)
    await here.at.app.state.inbox.sweep("demo")
    assert await here.at.app.state.work.drain(timedelta(seconds=30))
    assert [each.code for each in await here.at.app.state.work.items()] == []


async def test_an_expired_token_of_the_service_is_renewed(here: Neighbourhood, told: Story) -> None:
    path = f"/patients/{told.patient.partition('/')[2]}/aftercare"
    await here.call(path)
    here.at.ehr.act("expire_tokens")
    await here.call(path)


# --- the sites -------------------------------------------------------------------------------------------------------
async def test_the_environment_of_another_service_changes_nothing(
    behind: tuple[FhirStore, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFTERCARE_AUTH_ISSUERS", "https://login.example.com")
    monkeypatch.setenv("AFTERCARE_MLLP_PORT", "no port")
    async with (
        house(behind[0], work=False) as at,
        httpx.AsyncClient(transport=LocalNames(), timeout=60) as http,
    ):
        assert (await http.get(f"{at.api_url}/worklist")).status_code == 200


async def test_when_it_ends_nobody_listens_any_more(behind: tuple[FhirStore, bool]) -> None:
    async with house(behind[0], work=False) as at:
        pass
    async with httpx.AsyncClient(transport=LocalNames()) as http:
        for url in (at.ehr_url, at.app_url):
            with pytest.raises(httpx.ConnectError):
                await http.get(url)


def test_a_port_in_use_is_refused_by_its_number() -> None:
    with listener() as taken:
        taken.listen()
        with pytest.raises(ConfigFault, match=str(port_of(taken))):
            listener(port_of(taken))
