"""The CDS Hooks service as an EHR sees it, on real FHIR servers: a card in time, a signal, and nothing written."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.flows.discharge import readiness
from fhir_aftercare.intake.cds_data import question
from fhir_aftercare.intake.cds_hooks import DEFAULT_TIMES
from fhir_aftercare.intake.cds_request import HookRequest
from flows.cases import record, visit
from intake.hooks_cases import (
    API,
    FEEDBACK,
    LAUNCH,
    ORIGIN,
    ROOT_SERVICE,
    SERVICE,
    SERVICES,
    SETTINGS,
    TOKEN,
    Ehr,
    calling,
    elsewhere,
    token,
)
from intake.inboxes import RecordingInbox
from world import START, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from servers import Server

ALL_KEYS = {
    "patient", "encounter", "drugRecords", "procedures", "observations", "recentObservations", "plans", "openTasks",
}  # fmt: skip


@pytest.fixture
async def ehr(server: Server) -> AsyncIterator[Ehr]:
    async with calling(await make_world(server)) as made:
        yield made


@pytest.fixture
async def small(sandbox: Server) -> AsyncIterator[Ehr]:
    """The same on the sandbox alone, for what is decided before a server is asked."""
    async with calling(await make_world(sandbox)) as made:
        yield made


@pytest.fixture
async def hurried(sandbox: Server) -> AsyncIterator[Ehr]:
    """The same with the time that a CDS client gives."""
    async with calling(await make_world(sandbox), times=DEFAULT_TIMES) as made:
        yield made


def only_card(answer: httpx.Response) -> dict[str, Any]:
    """Give the one card of an answer, when it is as CDS Hooks 2.0 says."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    (card,) = answer.json()["cards"]
    assert 0 < len(card["summary"]) < 140
    assert card["indicator"] in {"info", "warning", "critical"}
    assert card["source"]["label"] == "Ketamine aftercare, Harbor Clinic"
    assert "suggestions" not in card
    (link,) = card["links"]
    assert (link["type"], link["url"]) == ("smart", LAUNCH)
    assert isinstance(link["appContext"], str)
    assert json.loads(link["appContext"])["view"] == "readiness"
    found: dict[str, Any] = card
    return found


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    return str(answer.json()["issue"][0]["details"]["text"])


# --- the card ---------------------------------------------------------------------------------------------------------


async def test_a_patient_who_is_ready_gets_a_card_that_says_so_with_a_way_into_the_app(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion()
    card = only_card(await ehr.call(patient, encounter))
    assert card["summary"] == "Ketamine infusion today: the patient may leave by all criteria."
    assert card["indicator"] == "info"


async def test_what_is_not_met_or_not_recorded_is_counted_and_named(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion(record=record(ready=False))
    panel = await readiness(ehr.world.context, question(_request(patient, encounter), ehr.world.clock()))
    card = only_card(await ehr.call(patient, encounter))
    assert card["summary"].startswith(f"Ketamine infusion today: {len(panel.unmet)} of 12 criteria")
    assert card["indicator"] == "warning"
    assert all(f"- {each.reason}" in card["detail"] for each in panel.unmet)


async def test_an_infusion_of_another_day_is_not_said_to_be_of_today(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion()
    ehr.world.clock.move_to(START + timedelta(days=1))
    assert only_card(await ehr.call(patient, encounter))["summary"].startswith("Ketamine infusion in this visit: ")


async def test_the_call_has_the_encounter_looked_at_and_writes_nothing(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion()
    body = ehr.hook(patient, encounter)
    only_card(await ehr.post(SERVICE, body))
    (signal,) = ehr.inbox.taken
    assert (signal.clinic, signal.source, signal.event) == ("harbor", "cds-hooks", body["hookInstance"])
    assert (signal.kind, signal.encounter, signal.patient) == ("changed", encounter, patient)
    sent = [json.loads(each.content) for each in ehr.asked_of_fhir if each.content]
    assert {each["type"] for each in sent} == {"batch"}
    assert {entry["request"]["method"] for each in sent for entry in each["entry"]} == {"GET"}


async def test_the_given_token_is_all_that_is_used(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion()
    ehr.world.round_trips()
    only_card(await ehr.call(patient, encounter))
    assert ehr.world.round_trips() == [], "our own credentials read nothing for it"
    assert {each.headers["authorization"] for each in ehr.asked_of_fhir} == {f"Bearer {TOKEN}"}
    keys = [each for each in ehr.network.asked if each not in ehr.asked_of_fhir]
    assert all("authorization" not in each.headers for each in keys)


async def test_a_cookie_of_one_call_does_not_go_along_with_the_next(small: Ehr) -> None:
    patient, encounter = await small.infusion()
    small.network.more_headers = {"set-cookie": "session=first-users; Path=/"}
    for mine in ("first", "second"):
        only_card(await small.call(patient, encounter, token=mine))
    assert [each.headers.get("cookie") for each in small.asked_of_fhir] == [None, None]
    assert [each.headers["authorization"] for each in small.asked_of_fhir] == ["Bearer first", "Bearer second"]


async def test_an_encounter_without_an_infusion_gets_no_card_and_no_signal(ehr: Ehr) -> None:
    patient, encounter = await visit(ehr.world)
    answer = await ehr.call(patient, encounter)
    assert (answer.status_code, answer.json()) == (200, {"cards": []})
    assert ehr.inbox.told == 0


async def test_an_infusion_that_was_not_done_gets_no_card(ehr: Ehr) -> None:
    patient, encounter = await visit(ehr.world)
    not_done = {
        "resourceType": "MedicationAdministration",
        "status": InfusionStatus.NOT_DONE.value,
        "subject": {"reference": patient},
        "context": {"reference": encounter},
        "effectiveDateTime": START.isoformat(),
        "medicationCodeableConcept": {
            "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "6130"}]
        },
    }
    await ehr.world.server.client().create(not_done)
    assert (await ehr.call(patient, encounter)).json() == {"cards": []}
    assert ehr.inbox.told == 0


async def test_a_repeated_call_gets_the_same_card_and_is_the_same_work(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion()
    body = ehr.hook(patient, encounter)
    first, again = [only_card(await ehr.post(SERVICE, body)) for _ in range(2)]
    assert first == again
    assert (ehr.inbox.told, len(ehr.inbox.taken)) == (2, 1)
    assert first["uuid"] != only_card(await ehr.call(patient, encounter))["uuid"]


# --- prefetch ---------------------------------------------------------------------------------------------------------


async def test_with_all_of_the_prefetch_no_server_is_asked_and_the_card_is_the_same(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion(record=record(ready=False))
    given = await ehr.prefetch(patient, encounter)
    assert set(given) == ALL_KEYS
    by_prefetch = only_card(await ehr.call(patient, encounter, token=None, prefetch=given))
    assert ehr.asked_of_fhir == []
    by_token = only_card(await ehr.call(patient, encounter))
    for name in ("summary", "detail", "indicator"):
        assert by_prefetch[name] == by_token[name]


async def test_what_the_prefetch_lacks_is_read_with_the_token(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion()
    given = await ehr.prefetch(patient, encounter)
    whole = only_card(await ehr.call(patient, encounter, prefetch=given))
    for key in sorted(ALL_KEYS):
        ehr.network.asked.clear()
        some = {name: value for name, value in given.items() if name != key}
        card = only_card(await ehr.call(patient, encounter, prefetch=some))
        assert (card["summary"], card["detail"]) == (whole["summary"], whole["detail"])
        (asked,) = [each for each in ehr.asked_of_fhir if each.method == "POST"]
        assert len(json.loads(asked.content)["entry"]) == 1


async def test_a_further_page_of_the_prefetch_is_read_with_the_token(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion()
    given = await ehr.prefetch(patient, encounter)
    whole = only_card(await ehr.call(patient, encounter, prefetch=given))
    query = f"{ehr.world.server.base_url}/Observation?encounter={encounter}&_count=5"
    page = (await ehr.world.server.http.get(query, headers={"cache-control": "no-cache"})).json()
    assert any(each["relation"] == "next" for each in page["link"])
    card = only_card(await ehr.call(patient, encounter, prefetch={**given, "observations": page}))
    assert (card["summary"], card["detail"]) == (whole["summary"], whole["detail"])


async def test_without_a_token_a_further_page_cannot_be_had(small: Ehr) -> None:
    patient, encounter = await small.infusion()
    given = await small.prefetch(patient, encounter)
    given["observations"]["link"] = [{"relation": "next", "url": f"{small.world.server.base_url}/Observation?page=2"}]
    assert "more pages" in refused(await small.call(patient, encounter, token=None, prefetch=given), 412)


async def test_a_further_page_elsewhere_is_never_asked_for(small: Ehr) -> None:
    patient, encounter = await small.infusion()
    given = await small.prefetch(patient, encounter)
    given["observations"]["link"] = [{"relation": "next", "url": "https://evil.example/fhir/Observation?page=2"}]
    refused(await small.call(patient, encounter, prefetch=given), 412)
    assert small.asked_of_fhir == []


@pytest.mark.parametrize("key", sorted(ALL_KEYS))
async def test_without_a_token_every_part_is_needed(small: Ehr, key: str) -> None:
    patient, encounter = await small.infusion()
    given = await small.prefetch(patient, encounter)
    some = {name: value for name, value in given.items() if name != key}
    refused(await small.call(patient, encounter, token=None, prefetch=some), 412)


async def test_null_is_nothing_found_and_an_outcome_is_not_asked_about_again(small: Ehr) -> None:
    patient, encounter = await small.infusion()
    given = await small.prefetch(patient, encounter)
    only_card(await small.call(patient, encounter, token=None, prefetch={**given, "procedures": None}))
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}
    for broken in ({"procedures": outcome}, {"patient": outcome}, {"patient": None}, {"encounter": None}):
        refused(await small.call(patient, encounter, prefetch={**given, **broken}), 412)
    assert small.asked_of_fhir == []
    without = {**given, "drugRecords": None, "procedures": None}
    assert (await small.call(patient, encounter, token=None, prefetch=without)).json() == {"cards": []}


async def test_another_patients_data_among_the_prefetch_are_refused(small: Ehr) -> None:
    patient, encounter = await small.infusion()
    other, theirs = await small.infusion()
    mine, others = await small.prefetch(patient, encounter), await small.prefetch(other, theirs)
    for key in ("patient", "encounter", "drugRecords", "observations", "plans", "openTasks"):
        refused(await small.call(patient, encounter, prefetch={**mine, key: others[key]}), 400)
    refused(await small.call(patient, theirs), 400)
    assert small.inbox.told == 0


async def test_old_vital_signs_in_the_prefetch_decide_nothing(small: Ehr) -> None:
    patient, encounter = await small.infusion()
    given = await small.prefetch(patient, encounter)
    before = only_card(await small.call(patient, encounter, token=None, prefetch=given))
    entries = given["recentObservations"]["entry"]
    old = json.loads(json.dumps(entries[0]))
    old["resource"] |= {"id": "long-ago", "effectiveDateTime": "2020-01-01T10:00:00Z"}
    entries.append(old)
    given["recentObservations"]["link"] = [{"relation": "next", "url": "https://ehr.example.com/older"}]
    after = only_card(await small.call(patient, encounter, token=None, prefetch=given))
    assert before["detail"] == after["detail"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(sorted(ALL_KEYS)),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda each: (
                st.lists(each, max_size=2)
                | st.dictionaries(
                    st.sampled_from(["resourceType", "entry", "resource", "id", "link"]), each, max_size=3
                )
            ),
            max_leaves=6,
        ),
        min_size=1,
    )
)
async def test_any_json_as_prefetch_is_answered(small: Ehr, broken: dict[str, Any]) -> None:
    answer = await small.call("Patient/none", "Encounter/none", token=None, prefetch=broken)
    assert answer.status_code in {400, 412}


# --- what cannot be had -----------------------------------------------------------------------------------------------


async def test_without_prefetch_and_token_the_answer_is_412(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion()
    answer = await ehr.call(patient, encounter, token=None)
    assert "sent along" in refused(answer, 412)
    assert "prefetch" in answer.json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_a_server_that_does_not_give_the_data_is_412_and_asked_once(
    small: Ehr, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient, encounter = await small.infusion()
    asked = []

    async def answers(_: Any, request: httpx.Request) -> httpx.Response:
        if "keys.localhost" in str(request.url):
            return await real(small.network, request)
        asked.append(request)
        return httpx.Response(status, headers={"content-type": "application/fhir+json"})

    real = type(small.network).handle_async_request
    monkeypatch.setattr(type(small.network), "handle_async_request", answers)
    refused(await small.call(patient, encounter), 412)
    assert len(asked) == 1
    assert small.inbox.told == 0


async def test_a_patient_or_encounter_that_is_not_there_is_412(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion()
    refused(await ehr.call("Patient/no-such-patient", encounter), 412)
    refused(await ehr.call(patient, "Encounter/no-such-encounter"), 412)


@pytest.mark.parametrize("url", ["https://evil.example/fhir", "{base}/other", "{base}?x=1", "nonsense", "http://[::1"])
async def test_another_fhir_server_is_refused_and_never_asked(small: Ehr, url: str) -> None:
    patient, encounter = await small.infusion()
    server = url.format(base=small.world.server.base_url)
    refused(await small.call(patient, encounter, fhirServer=server), 403)
    assert small.asked_of_fhir == []


async def test_the_fhir_server_may_be_written_in_another_way(small: Ehr) -> None:
    patient, encounter = await small.infusion()
    base = small.world.server.base_url
    for same in (f"{base}/", base.replace("http://sandbox.localhost", "HTTP://SANDBOX.localhost:80")):
        only_card(await small.call(patient, encounter, fhirServer=same))


# --- time -------------------------------------------------------------------------------------------------------------


async def test_a_call_is_answered_well_within_half_a_second(hurried: Ehr) -> None:
    patient, encounter = await hurried.infusion()
    await hurried.call(patient, encounter)
    took = []
    for _ in range(5):
        started = time.perf_counter()
        only_card(await hurried.call(patient, encounter))
        took.append(time.perf_counter() - started)
    assert max(took) < 0.5


async def test_a_slow_server_gives_a_card_in_time_that_says_what_is_not_known(hurried: Ehr) -> None:
    patient, encounter = await hurried.infusion()
    await hurried.get(SERVICES)
    hurried.network.fhir_delay = 5
    started = time.perf_counter()
    card = only_card(await hurried.call(patient, encounter))
    assert time.perf_counter() - started < 0.5
    assert (card["indicator"], "could not be looked up in time" in card["summary"]) == ("info", True)
    assert len(hurried.inbox.taken) == 1, "the flow looks at it later, and writes nothing if there was no infusion"


async def test_a_slow_server_and_a_prefetch_that_tells_of_the_infusion_give_what_is_known(hurried: Ehr) -> None:
    patient, encounter = await hurried.infusion()
    given = await hurried.prefetch(patient, encounter)
    some = {key: given[key] for key in ("patient", "encounter", "drugRecords", "procedures")}
    hurried.network.fhir_delay = 5
    card = only_card(await hurried.call(patient, encounter, prefetch=some))
    assert card["summary"] == "Ketamine infusion today: what is needed to leave could not be looked up in time."
    assert card["indicator"] == "warning"
    none = {**some, "drugRecords": None, "procedures": None}
    assert (await hurried.call(patient, encounter, prefetch=none)).json() == {"cards": []}
    assert len(hurried.inbox.taken) == 1


@pytest.mark.parametrize("inbox", [RecordingInbox(failures=1), RecordingInbox(seconds=3)])
async def test_a_call_that_could_not_be_kept_is_not_answered_with_yes(sandbox: Server, inbox: RecordingInbox) -> None:
    async with calling(await make_world(sandbox), inbox=inbox, times=DEFAULT_TIMES) as ehr:
        patient, encounter = await ehr.infusion()
        started = time.perf_counter()
        answer = await ehr.call(patient, encounter)
        assert time.perf_counter() - started < 0.6
        refused(answer, 503)
        assert answer.headers["retry-after"]
        assert not inbox.taken


# --- the protocol -----------------------------------------------------------------------------------------------------


async def test_discovery_describes_the_service(small: Ehr) -> None:
    answer = await small.get(SERVICES)
    assert answer.headers["content-type"] == "application/json"
    (service,) = answer.json()["services"]
    assert (service["hook"], service["id"]) == ("encounter-discharge", "aftercare-discharge")
    assert all(service[name] for name in ("title", "description", "usageRequirements"))
    assert set(service["prefetch"]) == ALL_KEYS
    assert service["prefetch"]["patient"] == "Patient/{{context.patientId}}"
    assert all("{{context." in each and "date=" not in each for each in service["prefetch"].values())


async def test_discovery_is_open_only_where_the_clinic_says_so(sandbox: Server) -> None:
    world = await make_world(sandbox)
    async with calling(world, {"harbor": replace(SETTINGS, open_discovery=True)}) as ehr:
        assert (await ehr.get(SERVICES, None)).status_code == 200
        assert (await ehr.get("/cds-services", None)).status_code == 200
        refused(await ehr.call("Patient/1", "Encounter/1", token=None), 412)
        refused(await ehr.get(SERVICES, "not-a-token"), 401)
    async with calling(world, {}) as ehr:
        assert (await ehr.get("/cds-services", None)).json() == {"services": []}
        refused(await ehr.get(SERVICES), 404)


async def test_without_a_clinic_in_the_path_the_token_and_the_fhir_server_tell_which(sandbox: Server) -> None:
    world = await make_world(sandbox)
    async with calling(world) as ehr:
        patient, encounter = await ehr.infusion()
        assert (await ehr.get("/cds-services")).json()["services"]
        only_card(await ehr.call(patient, encounter, path=ROOT_SERVICE))
        assert ehr.inbox.taken[0].clinic == "harbor"
        stranger = ehr.hook(patient, encounter, fhirServer="https://evil.example/fhir")
        refused(await ehr.post(ROOT_SERVICE, stranger), 403)
        refused(await ehr.post(ROOT_SERVICE, ehr.hook(patient, encounter), token(SERVICE)), 401)
        refused(await ehr.post(ROOT_SERVICE, ehr.hook(patient, encounter), token(ROOT_SERVICE, iss="x")), 401)
    both = {"harbor": SETTINGS, "south": SETTINGS}
    async with calling(world, both, others={"south": elsewhere(world, "south")}) as ehr:
        assert "for which clinic" in refused(await ehr.call(patient, encounter, path=ROOT_SERVICE), 403)
        only_card(await ehr.call(patient, encounter))


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("hook", {"hook": "patient-view"}),
        ("hookInstance", {"hookInstance": "1"}),
        ("hookInstance", {"hookInstance": None}),
        ("context.userId", {"context": {"patientId": "1", "encounterId": "2"}}),
        ("context.patientId", {"context": {"userId": "Practitioner/1", "encounterId": "2"}}),
        ("context.patientId", {"context": {"userId": "Practitioner/1", "patientId": "1/../2", "encounterId": "2"}}),
        ("context.encounterId", {"context": {"userId": "Practitioner/1", "patientId": "1"}}),
        ("context", {"context": [1]}),
        ("prefetch", {"prefetch": [1]}),
        ("fhirServer", {"fhirServer": 7}),
        ("fhirServer", {"fhirServer": None}),
        ("fhirAuthorization", {"fhirAuthorization": "Bearer x"}),
        ("fhirAuthorization", {"fhirAuthorization": {"access_token": "x", "token_type": "mac"}}),
        ("fhirAuthorization", {"fhirAuthorization": {"access_token": "x\r\ny: z", "token_type": "Bearer"}}),
        (
            "fhirAuthorization.patient",
            {"fhirAuthorization": {"access_token": "x", "token_type": "Bearer", "patient": "another"}},
        ),
    ],
)
async def test_a_call_that_is_not_as_cds_hooks_says_is_refused_with_its_place(
    small: Ehr, where: str, change: dict[str, Any]
) -> None:
    answer = await small.call("Patient/1", "Encounter/2", **change)
    refused(answer, 400)
    assert answer.json()["issue"][0]["diagnostics"] == f"Correct {where}."
    assert small.asked_of_fhir == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"a":NaN}', b"\xff", b"[" * 60])
async def test_what_is_no_json_object_is_refused(small: Ehr, body: bytes) -> None:
    refused(await small.post(SERVICE, body), 400)


async def test_another_content_type_is_refused(small: Ehr) -> None:
    refused(await small.post(SERVICE, b"x", **{"content-type": "text/plain"}), 415)


async def test_feedback_is_taken_as_often_as_it_comes_and_only_its_kind_is_noted(small: Ehr) -> None:
    at = "2026-09-16T15:12:00Z"
    body = {
        "feedback": [
            {"card": "a", "outcome": "accepted", "acceptedSuggestions": [{"id": "s"}], "outcomeTimestamp": at},
            {"card": "b", "outcome": "overridden", "outcomeTimestamp": at},
            {
                "card": "c",
                "outcome": "overridden",
                "outcomeTimestamp": at,
                "overrideReason": {"reason": {"code": "x", "system": "urn:y"}, "userComment": "Ana Rivera left"},
            },
            {
                "card": "d",
                "outcome": "overridden",
                "outcomeTimestamp": at,
                "overrideReason": {"userComment": "Ana Rivera left"},
            },
        ]
    }
    with capture_logs() as logs:
        for _ in range(2):
            assert (await small.post(FEEDBACK, body)).status_code == 200
    said = [(each["clinic"], each["outcome"], each["kind"]) for each in logs if each["event"] == "cds feedback"]
    assert said == 2 * [
        ("harbor", "accepted", "none"),
        ("harbor", "overridden", "none"),
        ("harbor", "overridden", "chosen"),
        ("harbor", "overridden", "written"),
    ]
    assert "Rivera" not in str(logs)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"feedback": {}},
        {"feedback": []},
        {"feedback": [1]},
        {"feedback": [{"card": "a", "outcome": "ignored", "outcomeTimestamp": "2026-09-16T15:12:00Z"}]},
        {"feedback": [{"card": "a", "outcome": "overridden", "outcomeTimestamp": "2026-09-16T15:12:00"}]},
        {"feedback": [{"card": "a", "outcome": "overridden"}]},
        {"feedback": [{"outcome": "overridden", "outcomeTimestamp": "2026-09-16T15:12:00Z"}]},
        {"feedback": 101 * [{"card": "a", "outcome": "overridden", "outcomeTimestamp": "2026-09-16T15:12:00Z"}]},
    ],
)
async def test_feedback_that_is_not_as_cds_hooks_says_is_refused(small: Ehr, broken: dict[str, Any]) -> None:
    refused(await small.post(FEEDBACK, broken), 400)


async def test_a_known_web_origin_may_call_and_read_also_what_is_refused(small: Ehr) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    preflight = await small.http.options(SERVICE, headers={"origin": ORIGIN, **asked})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    for answer in (
        await small.post(SERVICE, small.hook("Patient/1", "Encounter/1"), None, origin=ORIGIN),
        await small.http.get(SERVICES, headers={"origin": ORIGIN, "authorization": f"Bearer {token(SERVICES)}"}),
    ):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "Origin" in answer.headers["vary"]
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{ORIGIN}.evil.example", API])
async def test_no_other_web_origin_may(small: Ehr, origin: str) -> None:
    for answer in (
        await small.http.options(SERVICE, headers={"origin": origin}),
        await small.post(SERVICE, small.hook("Patient/1", "Encounter/1"), origin=origin),
    ):
        assert "access-control-allow-origin" not in answer.headers


async def test_nothing_of_a_patient_and_no_token_is_logged(ehr: Ehr) -> None:
    patient, encounter = await ehr.infusion()
    with capture_logs() as logs:
        card = only_card(await ehr.call(patient, encounter))
        await ehr.call(patient, encounter, token=None)
        await ehr.call("Patient/Rivera-1988", encounter)
    assert {each.get("outcome") for each in logs if each["event"] == "cds hook"} == {"card", "no-data"}
    text = str(logs)
    for secret in (TOKEN, patient, encounter, "Rivera", "1988", card["uuid"], card["detail"][:40]):
        assert secret not in text


def _request(patient: str, encounter: str) -> HookRequest:
    return HookRequest("0" * 32, patient, encounter, {})
