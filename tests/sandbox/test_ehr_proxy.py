"""The pretend EHR's FHIR base lets through what the token's scopes allow, and passes on all else unchanged."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.sandbox.ehr import FhirStore, scopes
from fhir_aftercare.sandbox.ehr.addresses import Bases
from fhir_aftercare.sandbox.ehr.interactions import read
from fhir_aftercare.sandbox.ehr.rights import Denied
from sandbox.ehr_world import BASE, EhrWorld
from servers import SANDBOX_URL

if TYPE_CHECKING:
    from servers import Server

Resource = dict[str, Any]
SURVEY = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "survey"}]}
VITALS = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}
# Scopes of a launch, as a token holds them.
USER = "launch user/Patient.rs user/Task.cruds user/CarePlan.crus"
PATIENT = "launch patient/Patient.rs patient/Task.cruds"


def task(patient: str, **more: Any) -> Resource:
    return {
        "resourceType": "Task", "status": "requested", "intent": "plan", "for": {"reference": f"Patient/{patient}"},
        **more,
    }  # fmt: skip


def observation(patient: str, category: Resource) -> Resource:
    return {
        "resourceType": "Observation", "status": "final", "category": [category], "code": {"text": "x"},
        "subject": {"reference": f"Patient/{patient}"},
    }  # fmt: skip


def entry(method: str, url: str, resource: Resource | None = None, **more: str) -> Resource:
    return {"request": {"method": method, "url": url, **more}, **({"resource": resource} if resource else {})}


def bundle(type_: str, *entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": type_, "entry": list(entries)}


@pytest.fixture
async def other(sandbox: Server) -> str:
    return str((await sandbox.client().create({"resourceType": "Patient"}))["id"])


async def token(world: EhrWorld, patient: str, scope: str = USER) -> str:
    return str((await world.tokens(patient, scope))["access_token"])


class TestTokens:
    async def test_without_a_token_nothing_is_read(self, world: EhrWorld, patient: str) -> None:
        answer = await world.fhir("GET", f"Patient/{patient}", None)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="fhir"'
        assert answer.json()["resourceType"] == "OperationOutcome"
        assert answer.headers["content-type"] == "application/fhir+json"

    async def test_unknown_expired_and_revoked_tokens_are_told_apart_from_none(
        self, world: EhrWorld, patient: str
    ) -> None:
        held = await token(world, patient)
        world.clock.move(hours=1)
        for each in (held, "made-up"):
            answer = await world.fhir("GET", f"Patient/{patient}", each)
            assert answer.status_code == 401
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    async def test_a_token_in_the_address_is_not_read(self, world: EhrWorld, patient: str) -> None:
        held = await token(world, patient)
        answer = await world.fhir("GET", f"Patient/{patient}", None, params={"access_token": held})
        assert answer.status_code == 401

    async def test_another_scheme_is_refused(self, world: EhrWorld, patient: str) -> None:
        headers = {"Authorization": f"Basic {await token(world, patient)}"}
        assert (await world.fhir("GET", f"Patient/{patient}", None, headers=headers)).status_code == 401

    async def test_the_capability_statement_is_open(self, world: EhrWorld) -> None:
        answer = await world.fhir("GET", "metadata", None)
        assert answer.json()["resourceType"] == "CapabilityStatement"


class TestPassingOn:
    async def test_links_and_locations_lead_to_the_ehr_and_not_to_the_store(
        self, world: EhrWorld, patient: str
    ) -> None:
        held = await token(world, patient)
        made = await world.fhir("POST", "Task", held, json=task(patient))
        assert made.status_code == 201
        assert made.headers["location"].startswith(f"{BASE}/Task/")
        for _ in range(2):
            await world.fhir("POST", "Task", held, json=task(patient))
        found = await world.fhir("GET", "Task", held, params={"patient": f"{BASE}/Patient/{patient}", "_count": "2"})
        assert SANDBOX_URL not in found.text
        links = {link["relation"]: link["url"] for link in found.json()["link"]}
        assert links["next"].startswith(f"{BASE}/")
        more = await world.http.get(links["next"], headers={"Authorization": f"Bearer {held}"})
        assert len(more.json()["entry"]) == 1
        assert more.json()["entry"][0]["fullUrl"].startswith(f"{BASE}/Task/")

    async def test_a_conditional_create_makes_one(self, world: EhrWorld, patient: str) -> None:
        held, value = await token(world, patient), str(uuid.uuid4())
        body = task(patient, identifier=[{"system": "urn:x", "value": value}])
        headers = {"If-None-Exist": f"identifier=urn:x|{value}"}
        first = await world.fhir("POST", "Task", held, json=body, headers=headers)
        second = await world.fhir("POST", "Task", held, json=body, headers=headers)
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json()["id"] == second.json()["id"]

    async def test_a_stale_update_is_refused_by_the_store(self, world: EhrWorld, patient: str) -> None:
        held = await token(world, patient)
        made = (await world.fhir("POST", "Task", held, json=task(patient))).json()
        for expected in (200, 412):
            answer = await world.fhir("PUT", f"Task/{made['id']}", held, json=made, headers={"If-Match": 'W/"1"'})
            assert answer.status_code == expected
        assert answer.json()["resourceType"] == "OperationOutcome"

    async def test_decimals_keep_their_digits(self, world: EhrWorld, patient: str) -> None:
        held = await token(world, patient, "launch user/Observation.crs?category=survey user/Observation.rs")
        body = b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"category":[{"coding":[{"system":"u","code":"survey"}]}],"valueQuantity":{"value":1.50}}'  # noqa: E501
        headers = {"Content-Type": "application/fhir+json"}
        made = await world.fhir("POST", "Observation", held, content=body, headers=headers)
        assert made.status_code == 201
        in_batch = bundle("batch", entry("GET", f"Observation/{made.json()['id']}"))
        assert '"value":1.50' in made.text
        assert '"value":1.50' in (await world.fhir("POST", "", held, json=in_batch)).text

    async def test_a_search_may_be_posted(self, world: EhrWorld, patient: str) -> None:
        held = await token(world, patient)
        found = await world.fhir("POST", "Patient/_search", held, data={"_id": patient})
        assert [each["resource"]["id"] for each in found.json()["entry"]] == [patient]

    async def test_a_whole_transaction_of_our_client_goes_through(self, world: EhrWorld, patient: str) -> None:
        held = await token(world, patient)

        class Held:
            async def token(self) -> str:
                return held

            async def renew(self) -> str:
                return held

        fhir = FhirClient(BASE, world.http, token=Held())
        plan = {"resourceType": "CarePlan", "status": "active", "intent": "plan"}
        plan["subject"] = {"reference": f"Patient/{patient}"}  # type: ignore[assignment]
        one = {"fullUrl": "urn:uuid:0c2a3c9e-9d3c-4d15-8a39-5b3f5f3c1a11", **entry("POST", "CarePlan", plan)}
        two = entry("POST", "Task", task(patient, basedOn=[{"reference": one["fullUrl"]}]))
        made = await fhir.transaction(bundle("transaction", one, two))
        assert made.entries[1].resource["basedOn"][0]["reference"].startswith("CarePlan/")

    async def test_a_store_that_does_not_answer_is_told(self, patient: str) -> None:
        async def down(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("down")

        broken = EhrWorld(FhirStore(SANDBOX_URL, httpx.MockTransport(down)))
        answer = await broken.fhir("GET", f"Patient/{patient}", await token(broken, patient))
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (502, "transient")
        assert (await broken.http.get("http://ehr.localhost:8001/")).status_code == 503


class TestUserScopes:
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("GET", "Encounter/{patient}", None),
            ("GET", "Encounter", None),
            ("POST", "Encounter", {"resourceType": "Encounter"}),
            ("POST", "Patient", {"resourceType": "Patient"}),
            ("PUT", "Patient/{patient}", {"resourceType": "Patient"}),
            ("DELETE", "Patient/{patient}", None),
            ("PATCH", "Patient/{patient}", []),
            ("DELETE", "CarePlan/1", None),
            ("GET", "Encounter/1/_history", None),
            ("GET", "_history", None),
            ("GET", "Patient/{patient}/Encounter", None),
            ("GET", "Patient/{patient}/$everything", None),
            ("POST", "Patient/$merge", {"resourceType": "Parameters"}),
            ("POST", "$reindex", {"resourceType": "Parameters"}),
            ("GET", "", None),
        ],
    )
    async def test_what_no_scope_names_is_refused(
        self, world: EhrWorld, patient: str, method: str, path: str, body: Any
    ) -> None:
        more = {} if body is None else {"json": body}
        answer = await world.fhir(method, path.format(patient=patient), await token(world, patient), **more)
        assert (answer.status_code, answer.json()["resourceType"]) == (403, "OperationOutcome")
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]

    async def test_v1_scopes_allow_reading_and_writing_apart(self, world: EhrWorld, patient: str) -> None:
        reads = await token(world, patient, "launch user/Task.read")
        assert (await world.fhir("GET", "Task", reads)).status_code == 200
        assert (await world.fhir("POST", "Task", reads, json=task(patient))).status_code == 403
        writes = await token(world, patient, "launch user/Task.write")
        assert (await world.fhir("POST", "Task", writes, json=task(patient))).status_code == 201
        assert (await world.fhir("GET", "Task", writes)).status_code == 403

    async def test_one_entry_too_many_refuses_the_whole_transaction(
        self, world: EhrWorld, sandbox: Server, patient: str
    ) -> None:
        value = str(uuid.uuid4())
        mine = task(patient, identifier=[{"system": "urn:x", "value": value}])
        sent = bundle("transaction", entry("POST", "Task", mine), entry("POST", "Patient", {"resourceType": "Patient"}))
        answer = await world.fhir("POST", "", await token(world, patient), json=sent)
        assert answer.status_code == 403
        assert not await sandbox.client().find("Task", {"identifier": f"urn:x|{value}"})

    async def test_in_a_batch_only_the_entry_too_many_is_refused(self, world: EhrWorld, patient: str) -> None:
        sent = bundle(
            "batch",
            entry("GET", f"Patient/{patient}"),
            entry("GET", "Encounter?_count=1"),
            entry("POST", "Task", task(patient)),
            entry("DELETE", f"Patient/{patient}"),
        )
        answer = await world.fhir("POST", "", await token(world, patient), json=sent)
        statuses = [each["response"]["status"].split()[0] for each in answer.json()["entry"]]
        assert statuses == ["200", "403", "201", "403"]
        assert answer.json()["entry"][1]["response"]["outcome"]["resourceType"] == "OperationOutcome"

    async def test_a_batch_of_refusals_reaches_no_store(self, world: EhrWorld, patient: str) -> None:
        sent = bundle("batch", entry("GET", "Encounter"))
        answer = await world.fhir("POST", "", await token(world, patient), json=sent)
        assert [each["response"]["status"] for each in answer.json()["entry"]] == ["403"]
        assert answer.json()["type"] == "batch-response"

    @pytest.mark.parametrize(
        "sent",
        [
            bundle("collection"),
            bundle("batch", {"resource": {}}),
            bundle("transaction", entry("GET", "https://evil.example/Patient/1")),
            bundle("transaction", entry("POST", "Task", {"resourceType": "Patient"})),
            bundle("transaction", entry("GET", "metadata")),
            {"resourceType": "Patient"},
            [],
        ],
    )
    async def test_other_bundles_are_refused(self, world: EhrWorld, patient: str, sent: Any) -> None:
        answer = await world.fhir("POST", "", await token(world, patient), json=sent)
        if isinstance(sent, dict) and sent.get("type") == "batch":
            assert answer.json()["entry"][0]["response"]["status"] == "400"
        else:
            assert answer.status_code in {400, 403}

    async def test_included_resources_need_a_scope_of_their_own(self, world: EhrWorld, patient: str) -> None:
        held = await token(world, patient, "launch user/Task.cruds")
        made = (await world.fhir("POST", "Task", held, json=task(patient))).json()
        params = {"_id": made["id"], "_include": "Task:patient"}
        found = (await world.fhir("GET", "Task", held, params=params)).json()
        assert [each["resource"]["resourceType"] for each in found["entry"]] == ["Task"]
        wider = await token(world, patient, "launch user/Task.cruds user/Patient.rs")
        found = (await world.fhir("GET", "Task", wider, params=params)).json()
        assert [each["resource"]["resourceType"] for each in found["entry"]] == ["Task", "Patient"]

    async def test_a_condition_in_a_scope_is_kept_to(self, world: EhrWorld, sandbox: Server, patient: str) -> None:
        store = sandbox.client()
        survey = await store.create(observation(patient, SURVEY))
        vitals = await store.create(observation(patient, VITALS))
        held = await token(world, patient, "launch user/Observation.crs?category=survey")
        assert (await world.fhir("GET", f"Observation/{survey['id']}", held)).status_code == 200
        assert (await world.fhir("GET", f"Observation/{vitals['id']}", held)).status_code == 403
        found = (await world.fhir("GET", "Observation", held, params={"patient": patient})).json()
        assert [each["resource"]["id"] for each in found["entry"]] == [survey["id"]]
        assert "total" not in found
        for category, status in ((SURVEY, 201), (VITALS, 403)):
            answer = await world.fhir("POST", "Observation", held, json=observation(patient, category))
            assert answer.status_code == status
        summary = await world.fhir("GET", "Observation", held, params={"_summary": "count"})
        assert summary.status_code == 403

    async def test_writing_alone_shows_nothing_that_was_there_before(
        self, world: EhrWorld, sandbox: Server, patient: str
    ) -> None:
        value = str(uuid.uuid4())
        await sandbox.client().create(task(patient, identifier=[{"system": "urn:x", "value": value}]))
        headers = {"If-None-Exist": f"identifier=urn:x|{value}"}
        held = await token(world, patient, "launch user/Task.c")
        answer = await world.fhir("POST", "Task", held, json=task(patient), headers=headers)
        assert (answer.status_code, answer.content) == (200, b"")
        sent = bundle("transaction", entry("POST", "Task", task(patient), ifNoneExist=headers["If-None-Exist"]))
        headers = {"Prefer": "return=representation"}
        answer = await world.fhir("POST", "", held, json=sent, headers=headers)
        assert answer.status_code == 200
        assert "resource" not in answer.json()["entry"][0]


class TestPatientScopes:
    async def test_only_the_patient_of_the_launch_is_read(self, world: EhrWorld, patient: str, other: str) -> None:
        held = await token(world, patient, PATIENT)
        assert (await world.fhir("GET", f"Patient/{patient}", held)).status_code == 200
        assert (await world.fhir("GET", f"Patient/{other}", held)).status_code == 403
        found = (await world.fhir("GET", "Patient", held)).json()
        assert [each["resource"]["id"] for each in found["entry"]] == [patient]

    async def test_searches_find_the_patients_own(
        self, world: EhrWorld, sandbox: Server, patient: str, other: str
    ) -> None:
        mine = await sandbox.client().create(task(patient))
        theirs = await sandbox.client().create(task(other))
        held = await token(world, patient, PATIENT)
        found = (await world.fhir("GET", "Task", held, params={"status": "requested"})).json()
        assert [each["resource"]["id"] for each in found["entry"]] == [mine["id"]]
        for params in ({"patient": f"Patient/{other}"}, {"_id": theirs["id"]}):
            assert not (await world.fhir("GET", "Task", held, params=params)).json().get("entry")
            assert not (await world.fhir("POST", "Task/_search", held, data=params)).json().get("entry")
        sent = bundle("batch", entry("GET", "Task"), entry("GET", f"Task/{theirs['id']}"))
        answer = (await world.fhir("POST", "", held, json=sent)).json()
        assert [each["resource"]["id"] for each in answer["entry"][0]["resource"]["entry"]] == [mine["id"]]
        assert answer["entry"][1]["response"]["status"] == "403"
        assert (await world.fhir("GET", f"Task/{theirs['id']}", held)).status_code == 403

    @pytest.mark.parametrize("name", ["_has:Task:patient:status", "general-practitioner.name", "_summary", "_elements"])
    async def test_searches_do_not_look_sideways(self, world: EhrWorld, patient: str, name: str) -> None:
        held = await token(world, patient, PATIENT)
        assert (await world.fhir("GET", "Patient", held, params={name: "x"})).status_code == 403
        assert (await world.fhir("POST", "Patient/_search", held, data={name: "x"})).status_code == 403

    async def test_only_the_patients_own_is_written(
        self, world: EhrWorld, sandbox: Server, patient: str, other: str
    ) -> None:
        theirs = await sandbox.client().create(task(other))
        held = await token(world, patient, PATIENT)
        made = await world.fhir("POST", "Task", held, json=task(patient))
        assert made.status_code == 201
        assert (await world.fhir("POST", "Task", held, json=task(other))).status_code == 403
        stolen = {**theirs, "for": {"reference": f"Patient/{patient}"}}
        assert (await world.fhir("PUT", f"Task/{theirs['id']}", held, json=stolen)).status_code == 403
        assert (await world.fhir("DELETE", f"Task/{theirs['id']}", held)).status_code == 403
        given_away = {**made.json(), "for": {"reference": f"Patient/{other}"}}
        assert (await world.fhir("PUT", f"Task/{made.json()['id']}", held, json=given_away)).status_code == 403
        patch = [{"op": "replace", "path": "/for/reference", "value": f"Patient/{other}"}]
        headers = {"Content-Type": "application/json-patch+json"}
        answer = await world.fhir("PATCH", f"Task/{made.json()['id']}", held, json=patch, headers=headers)
        assert answer.status_code == 403
        assert (await world.fhir("DELETE", f"Task?_id={theirs['id']}", held)).status_code == 403
        for each in (entry("POST", "Task", task(other)), entry("PUT", f"Task/{theirs['id']}", stolen)):
            answer = await world.fhir("POST", "", held, json=bundle("transaction", each))
            assert answer.status_code == 403
        assert (await sandbox.client().read("Task", theirs["id"])) == theirs

    async def test_a_task_of_nobody_is_nobodys(self, world: EhrWorld, patient: str) -> None:
        held = await token(world, patient, PATIENT)
        nobodys = {"resourceType": "Task", "status": "requested", "intent": "plan"}
        assert (await world.fhir("POST", "Task", held, json=nobodys)).status_code == 403


class TestAddresses:
    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "Patient/../Task"), ("GET", "Patient/%2e%2e/Task"), ("GET", "Patient/1/x/y/z"), ("HEAD", "Patient/1")],
    )
    async def test_strange_addresses_are_refused(self, world: EhrWorld, patient: str, method: str, path: str) -> None:
        answer = await world.fhir(method, path, await token(world, patient, "launch user/Patient.rs"))
        assert answer.status_code in {403, 404, 405}

    async def test_xml_is_not_spoken(self, world: EhrWorld, patient: str) -> None:
        held = await token(world, patient)
        assert (await world.fhir("GET", "Task", held, params={"_format": "xml"})).status_code == 406
        headers = {"Content-Type": "application/fhir+xml"}
        assert (await world.fhir("POST", "Task", held, content=b"<Task/>", headers=headers)).status_code == 415

    async def test_a_body_has_a_largest_size(
        self, world: EhrWorld, patient: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fhir_aftercare.sandbox.ehr.proxy.MOST_BYTES", 10)
        assert (await world.fhir("POST", "Task", await token(world, patient), json=task(patient))).status_code == 413

    def test_only_whole_bases_at_the_beginning_of_a_text_are_changed(self) -> None:
        bases = Bases("http://ehr.localhost/fhir", "http://store.localhost:80/fhir")
        body = b'{"a":"http://store.localhost:80/fhir/T/1","b":"see http://store.localhost:80/fhir/T","c":1.0}'
        assert bases.outward(body) == (
            b'{"a":"http://ehr.localhost/fhir/T/1","b":"see http://store.localhost:80/fhir/T","c":1.0}'
        )
        assert bases.inward(bases.outward(body)) == body
        for longer in ("http://ehr.localhost/fhirx/T", "http://ehr.localhost/fhi"):
            assert bases.text_inward(longer) == longer


LETTERS = st.sets(st.sampled_from("cruds"), min_size=1).map(lambda chosen: "".join(c for c in "cruds" if c in chosen))


class TestScopes:
    @given(asked=LETTERS, registered=LETTERS, held_back=LETTERS)
    def test_never_more_is_granted_than_is_registered_asked_for_and_not_withheld(
        self, asked: str, registered: str, held_back: str
    ) -> None:
        request, known = scopes.parse(f"user/Task.{asked}"), scopes.parse(f"user/Task.{registered}")
        if not set(asked) <= set(registered):
            with pytest.raises(ValueError, match="not registered"):
                scopes.allowed(request, known)
            return
        granted = scopes.withheld(scopes.allowed(request, known), f"user/*.{held_back}")
        letters = {letter for scope in granted.resources for letter in scope.can}
        assert letters == set(asked) - set(held_back)
        assert all(scope.text == f"user/Task.{scope.can}" for scope in granted.resources)

    @given(old=st.sampled_from(["read", "write", "*"]), registered=LETTERS)
    def test_a_v1_scope_allows_no_more_than_is_registered(self, old: str, registered: str) -> None:
        means = {"read": "rs", "write": "cud", "*": "cruds"}[old]
        request, known = scopes.parse(f"user/Task.{old}"), scopes.parse(f"user/Task.{registered}?status=requested")
        if not set(means) & set(registered):
            with pytest.raises(ValueError, match="not registered"):
                scopes.allowed(request, known)
            return
        [granted] = scopes.allowed(request, known).resources
        assert set(granted.can) == set(means) & set(registered)
        assert (granted.where, granted.text) == ((("status", "requested"),), f"user/Task.{old}")

    @given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]), st.text(max_size=40))
    def test_every_address_is_an_interaction_or_refused(self, method: str, path: str) -> None:
        try:
            found = read(method, path, "")
        except Denied:
            return
        assert found.name in {"bundle", "capabilities"} or found.letters

    @pytest.mark.parametrize(
        ("value", "holds"),
        [
            ("survey", True),
            ("u|survey", True),
            ("u|", True),
            ("v|survey", False),
            ("a,survey", True),
            ("|survey", False),
        ],
    )
    def test_conditions_are_read_as_token_searches(self, value: str, holds: bool) -> None:
        resource: Resource = {"category": [{"coding": [{"system": "u", "code": "survey"}]}]}
        assert scopes.holds((("category", value),), resource) is holds
