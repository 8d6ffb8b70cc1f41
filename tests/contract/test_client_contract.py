"""What the service relies on a FHIR server for, through the client: the same on the sandbox and on HAPI."""

from __future__ import annotations

import asyncio
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.ehr.answers import etag_of, location_of
from fhir_aftercare.errors import (
    FhirGone,
    FhirNotFound,
    FhirRejected,
    FhirServerError,
    FhirStale,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.ehr.transport import CallRecord
    from servers import Server

    Resource = dict[str, Any]

SYSTEM = "https://contract.example/id"


def identified(resource: Mapping[str, Any], value: str | None = None) -> tuple[Resource, str]:
    """The resource with an identifier of its own, and the query that finds it."""
    value = value or str(uuid.uuid4())
    return {**resource, "identifier": [{"system": SYSTEM, "value": value}]}, f"identifier={SYSTEM}|{value}"


def task(patient: str, text: str = "call") -> Resource:
    return {
        "resourceType": "Task",
        "status": "requested",
        "intent": "plan",
        "code": {"text": text},
        "for": {"reference": patient},
    }


def observation(patient: str, value: Any = 70) -> Resource:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "pulse"},
        "subject": {"reference": patient},
        "valueQuantity": {"value": value},
    }


def careplan(patient: str, *activities: str) -> Resource:
    return {
        "resourceType": "CarePlan",
        "status": "active",
        "intent": "plan",
        "subject": {"reference": patient},
        "activity": [{"reference": {"reference": activity}} for activity in activities],
    }


def provenance(target: str, tag: str) -> tuple[Resource, str]:
    resource = {
        "resourceType": "Provenance",
        "meta": {"tag": [{"system": f"{SYSTEM}/decision", "code": tag}]},
        "target": [{"reference": target}],
        "recorded": "2026-03-07T15:45:00Z",
        "agent": [{"who": {"display": "aftercare"}}],
    }
    return resource, f"_tag={SYSTEM}/decision|{tag}"


def post(resource: Resource, query: str | None = None, full_url: str | None = None) -> Resource:
    request = {"method": "POST", "url": resource["resourceType"], **({"ifNoneExist": query} if query else {})}
    return {"fullUrl": full_url or uuid.uuid4().urn, "resource": resource, "request": request}


def put(resource: Resource, if_match: str) -> Resource:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": url, "resource": resource, "request": {"method": "PUT", "url": url, "ifMatch": if_match}}


def transaction(*entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


@pytest.fixture
async def patient(fhir_client: FhirClient) -> str:
    made = await fhir_client.create({"resourceType": "Patient", "name": [{"family": "Contract"}]})
    return f"Patient/{made['id']}"


async def found(client: FhirClient, type_: str, query: str) -> list[Resource]:
    name, value = query.split("=", 1)
    return [match async for match in client.search(type_, {name: value})]


class TestOneResource:
    async def test_create_then_read(self, fhir_client: FhirClient, patient: str) -> None:
        made = await fhir_client.create(task(patient))
        read = await fhir_client.read("Task", made["id"])
        assert read == made
        assert read["code"] == {"text": "call"}
        assert etag_of(read).startswith('W/"')

    async def test_every_version_can_be_read(self, fhir_client: FhirClient, patient: str) -> None:
        first = await fhir_client.create(task(patient))
        second = await fhir_client.update({**first, "status": "accepted"}, if_match=etag_of(first))
        old = await fhir_client.vread("Task", first["id"], first["meta"]["versionId"])
        assert (old["status"], second["status"]) == ("requested", "accepted")
        assert [version["status"] for version in await fhir_client.history("Task", first["id"])] == [
            "accepted",
            "requested",
        ]

    async def test_an_unchanged_resource_is_not_sent_again(self, fhir_client: FhirClient, patient: str) -> None:
        made = await fhir_client.create(task(patient))
        assert await fhir_client.read_if_changed("Task", made["id"], etag_of(made)) is None
        changed = await fhir_client.update({**made, "status": "accepted"}, if_match=etag_of(made))
        assert await fhir_client.read_if_changed("Task", made["id"], etag_of(made)) == changed

    async def test_what_is_not_there(self, fhir_client: FhirClient) -> None:
        with pytest.raises(FhirNotFound):
            await fhir_client.read("Task", str(uuid.uuid4()))

    async def test_what_was_deleted(self, server: Server, fhir_client: FhirClient, patient: str) -> None:
        made = await fhir_client.create(task(patient))
        (await server.http.delete(f"{server.base_url}/Task/{made['id']}")).raise_for_status()
        with pytest.raises(FhirGone):
            await fhir_client.read("Task", made["id"])

    async def test_what_is_referred_to_cannot_be_deleted(
        self, server: Server, fhir_client: FhirClient, patient: str
    ) -> None:
        await fhir_client.create(task(patient))
        assert (await server.http.delete(f"{server.base_url}/{patient}")).status_code == 409
        assert await fhir_client.read(*patient.split("/"))

    async def test_unknown_elements_of_others_survive_an_update(self, fhir_client: FhirClient, patient: str) -> None:
        extension = {"url": "https://vendor.example/x", "valueString": "kept"}
        made = await fhir_client.create({**task(patient), "extension": [extension]})
        updated = await fhir_client.update({**made, "status": "accepted"}, if_match=etag_of(made))
        assert updated["extension"] == [extension]

    @pytest.mark.parametrize("text", ["1.50", "0.010", "100.0", "37.5", "0.00000001"])
    async def test_decimals_keep_their_digits(self, fhir_client: FhirClient, patient: str, text: str) -> None:
        made = await fhir_client.create(observation(patient, Decimal(text)))
        await fhir_client.update({**made, "status": "amended"}, if_match=etag_of(made))
        for read in (
            await fhir_client.read("Observation", made["id"]),
            *[match async for match in fhir_client.search("Observation", {"_id": made["id"]})],
        ):
            assert (read["status"], str(read["valueQuantity"]["value"])) == ("amended", str(Decimal(text)))


class TestConditionalCreate:
    async def test_a_replay_gives_the_first_one(self, fhir_client: FhirClient, patient: str) -> None:
        resource, query = identified(task(patient))
        first = await fhir_client.create(resource, if_none_exist=query)
        again = await fhir_client.create({**resource, "status": "accepted"}, if_none_exist=query)
        assert (again["id"], again["status"]) == (first["id"], "requested")

    async def test_twenty_at_once_make_one(self, fhir_client: FhirClient, patient: str) -> None:
        resource, query = identified(task(patient))
        made = await asyncio.gather(*(fhir_client.create(resource, if_none_exist=query) for _ in range(20)))
        assert len({one["id"] for one in made}) == 1
        assert len(await found(fhir_client, "Task", query)) == 1

    async def test_a_query_that_matches_two_is_refused(self, server: Server, patient: str) -> None:
        client = server.client(max_attempts=1)
        resource, query = identified(task(patient))
        await client.create(resource)
        await client.create(resource)
        with pytest.raises(FhirStale):
            await client.create(resource, if_none_exist=query)

    async def test_a_provenance_is_found_by_its_tag(self, fhir_client: FhirClient, patient: str) -> None:
        resource, query = provenance(patient, str(uuid.uuid4()))
        first = await fhir_client.transaction(transaction(post(resource, query)))
        again = await fhir_client.transaction(transaction(post(resource, query)))
        assert (first[0].status, again[0].status) == (201, 200)
        assert first[0].location
        assert again[0].location
        assert again[0].location.id == first[0].location.id
        assert [match["id"] for match in await found(fhir_client, "Provenance", query)] == [first[0].location.id]

    async def test_a_tag_nobody_used_finds_nothing(self, fhir_client: FhirClient) -> None:
        assert not await found(fhir_client, "Provenance", f"_tag={SYSTEM}/decision|{uuid.uuid4()}")


class TestVersions:
    async def test_a_stale_update_is_refused(self, fhir_client: FhirClient, patient: str) -> None:
        first = await fhir_client.create(task(patient))
        await fhir_client.update({**first, "status": "accepted"}, if_match=etag_of(first))
        with pytest.raises(FhirStale):
            await fhir_client.update({**first, "status": "rejected"}, if_match=etag_of(first))
        assert (await fhir_client.read("Task", first["id"]))["status"] == "accepted"

    async def test_a_stale_entry_fails_the_whole_transaction(self, fhir_client: FhirClient, patient: str) -> None:
        first = await fhir_client.create(task(patient))
        await fhir_client.update({**first, "status": "accepted"}, if_match=etag_of(first))
        other, query = identified(task(patient))
        with pytest.raises(FhirStale):
            await fhir_client.transaction(
                transaction(post(other, query), put({**first, "status": "rejected"}, etag_of(first)))
            )
        assert not await found(fhir_client, "Task", query)

    async def test_of_ten_updates_at_once_one_wins(self, fhir_client: FhirClient, patient: str) -> None:
        first = await fhir_client.create(task(patient))

        async def note(number: int) -> bool:
            try:
                await fhir_client.update({**first, "description": f"note {number}"}, if_match=etag_of(first))
            except FhirStale:
                return False
            return True

        assert sum(await asyncio.gather(*map(note, range(10)))) == 1

    async def test_both_ways_of_writing_a_version_work(self, fhir_client: FhirClient, patient: str) -> None:
        made = await fhir_client.create(task(patient))
        made = await fhir_client.update({**made, "status": "received"}, if_match=made["meta"]["versionId"])
        made = await fhir_client.update({**made, "status": "accepted"}, if_match=f'"{made["meta"]["versionId"]}"')
        assert made["status"] == "accepted"


class TestTransaction:
    async def test_references_inside_are_resolved_and_a_replay_changes_nothing(
        self, fhir_client: FhirClient, patient: str
    ) -> None:
        call, call_query = identified(task(patient))
        urn = uuid.uuid4().urn
        plan, plan_query = identified(careplan(patient, urn))
        bundle = transaction(post(plan, plan_query), post(call, call_query, urn))

        first = await fhir_client.transaction(bundle)
        again = await fhir_client.transaction(bundle)

        assert [entry.status for entry in first] == [201, 201]
        assert [entry.status for entry in again] == [200, 200]
        places = [entry.location for entry in first]
        assert [place.type for place in places if place] == ["CarePlan", "Task"]
        assert [(place.type, place.id) for place in places if place] == [
            (entry.location.type, entry.location.id) for entry in again if entry.location
        ]
        assert places[0]
        assert places[1]
        stored = await fhir_client.read("CarePlan", places[0].id)
        inside = location_of(stored["activity"][0]["reference"]["reference"])
        assert inside
        assert inside.reference == places[1].reference
        assert stored["meta"]["versionId"] == "1"
        assert [entry.etag for entry in first] == ['W/"1"', 'W/"1"']

    async def test_update_and_create_together(self, fhir_client: FhirClient, patient: str) -> None:
        plan = await fhir_client.create(careplan(patient))
        child, query = identified(task(patient))
        urn = uuid.uuid4().urn
        changed = {**plan, "activity": [{"reference": {"reference": urn}}]}
        answer = await fhir_client.transaction(transaction(post(child, query, urn), put(changed, etag_of(plan))))
        assert [entry.status for entry in answer] == [201, 200]
        assert answer[1].etag == 'W/"2"'

    async def test_twenty_identical_ones_at_once(self, fhir_client: FhirClient, patient: str) -> None:
        plan, plan_query = identified(careplan(patient))
        call, call_query = identified(task(patient))
        who, who_query = provenance(patient, str(uuid.uuid4()))
        bundle = transaction(post(plan, plan_query), post(call, call_query), post(who, who_query))
        answers = await asyncio.gather(*(fhir_client.transaction(bundle) for _ in range(20)))
        assert len({tuple(entry.location.id for entry in answer if entry.location) for answer in answers}) == 1
        for type_, query in (("CarePlan", plan_query), ("Task", call_query), ("Provenance", who_query)):
            assert len(await found(fhir_client, type_, query)) == 1

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda bad: bad.update(status="nonsense"), id="unknown status"),
            pytest.param(lambda bad: bad.update({"for": {"reference": f"Patient/{uuid.uuid4()}"}}), id="dangling"),
            pytest.param(lambda bad: bad.update({"for": {"reference": uuid.uuid4().urn}}), id="urn of nothing"),
        ],
    )
    async def test_one_bad_entry_leaves_nothing_behind(
        self, fhir_client: FhirClient, patient: str, spoil: Callable[[Resource], None]
    ) -> None:
        good, query = identified(task(patient))
        bad, bad_query = identified(task(patient))
        spoil(bad)
        with pytest.raises((FhirRejected, FhirNotFound)) as caught:
            await fhir_client.transaction(transaction(post(good, query), post(bad, bad_query)))
        assert caught.value.outcome
        assert not await found(fhir_client, "Task", query)
        assert not await found(fhir_client, "Task", bad_query)


class TestRefusals:
    async def test_a_reference_to_nothing(self, fhir_client: FhirClient) -> None:
        with pytest.raises(FhirRejected):
            await fhir_client.create(task(f"Patient/{uuid.uuid4()}"))

    async def test_a_reference_to_another_server(self, fhir_client: FhirClient) -> None:
        with pytest.raises(FhirRejected):
            await fhir_client.create(task("https://elsewhere.example/fhir/Patient/1"))

    async def test_what_names_a_person_is_searched_for_without_standing_in_a_url(self, fhir_client: FhirClient) -> None:
        value = f"mrn {uuid.uuid4()}"
        stored, _ = identified({"resourceType": "Patient"}, value)
        made = await fhir_client.create(stored)
        found = await fhir_client.find("Patient", {"identifier": f"{SYSTEM}|{value}"})
        assert [each["id"] for each in found] == [made["id"]]
        assert await fhir_client.find("Patient", {"identifier": f"{SYSTEM}|{value} of nobody"}) == []

    async def test_an_unknown_search_parameter(self, fhir_client: FhirClient) -> None:
        with pytest.raises(FhirRejected):
            await fhir_client.search_bundle("Task", {"nonsense": "1"})

    @pytest.mark.parametrize(
        ("type_", "element"),
        [
            ("Task", "status"),
            ("Task", "intent"),
            ("Task", "priority"),
            ("Observation", "status"),
            ("CarePlan", "status"),
            ("ServiceRequest", "status"),
            ("QuestionnaireResponse", "status"),
            ("Goal", "lifecycleStatus"),
            ("Procedure", "status"),
            ("MedicationAdministration", "status"),
            ("Communication", "status"),
        ],
    )
    async def test_an_unknown_code(self, fhir_client: FhirClient, patient: str, type_: str, element: str) -> None:
        subject = {"reference": patient}
        whole: dict[str, Resource] = {
            "Task": task(patient),
            "Observation": observation(patient),
            "CarePlan": careplan(patient),
            "ServiceRequest": {"status": "active", "intent": "order", "subject": subject},
            "QuestionnaireResponse": {"status": "completed", "subject": subject},
            "Goal": {"lifecycleStatus": "active", "description": {"text": "well"}, "subject": subject},
            "Procedure": {"status": "completed", "subject": subject},
            "MedicationAdministration": {
                "status": "completed",
                "subject": subject,
                "medicationCodeableConcept": {"text": "ketamine"},
                "effectiveDateTime": "2026-03-07",
            },
            "Communication": {"status": "completed", "subject": subject},
        }
        resource = {"resourceType": type_, **whole[type_]}
        assert await fhir_client.create(resource)
        with pytest.raises(FhirRejected):
            await fhir_client.create({**resource, element: "nonsense"})


class TestSearch:
    async def test_all_pages_come_once(self, fhir_client: FhirClient, patient: str) -> None:
        made = await asyncio.gather(*(fhir_client.create(task(patient, f"call {n}")) for n in range(12)))
        params = {"subject": patient, "_count": "5"}
        ids = [match["id"] async for match in fhir_client.search("Task", params)]
        assert len(ids) == 12
        assert set(ids) == {one["id"] for one in made}

    async def test_a_limit_says_that_there_is_more(self, fhir_client: FhirClient, patient: str) -> None:
        for number in range(3):
            await fhir_client.create(task(patient, f"call {number}"))
        some = await fhir_client.search_all("Task", {"subject": patient, "_count": "2"}, limit=2)
        every = await fhir_client.search_all("Task", {"subject": patient, "_count": "2"}, limit=3)
        assert (len(some.matches), some.complete) == (2, False)
        assert (len(every.matches), every.complete) == (3, True)

    async def test_matches_and_includes_are_told_apart(self, fhir_client: FhirClient, patient: str) -> None:
        made = await fhir_client.create(task(patient))
        result = await fhir_client.search_all("Task", {"_id": made["id"], "_include": "Task:patient"})
        assert [match["id"] for match in result.matches] == [made["id"]]
        assert [f"Patient/{one['id']}" for one in result.included] == [patient]

    async def test_values_are_quoted(self, fhir_client: FhirClient) -> None:
        assert not await found(fhir_client, "Task", "identifier=urn:x|a&b=c d+e/ü")

    async def test_a_repeated_search_sees_the_latest_write(self, fhir_client: FhirClient, patient: str) -> None:
        for number in range(1, 6):
            await fhir_client.create(task(patient, f"call {number}"))
            matches = [match async for match in fhir_client.search("Task", {"subject": patient})]
            assert len(matches) == number

    async def test_so_does_a_repeated_batch(self, fhir_client: FhirClient, patient: str) -> None:
        for number in range(1, 6):
            await fhir_client.create(task(patient, f"call {number}"))
            (answer,) = await fhir_client.batch([f"Task?subject={patient}"])
            assert len((await fhir_client.collect("Task", answer.unwrap())).matches) == number


class TestBatch:
    async def test_one_entry_may_fail_alone_in_one_round_trip(self, server: Server, patient: str) -> None:
        calls: list[CallRecord] = []
        client = server.client(on_call=calls.append)
        await client.create(task(patient))
        calls.clear()
        answers = await client.batch([patient, "Patient/nobody", f"Task?subject={patient}", "Task?nonsense=1"])
        assert [(call.kind, call.outcome) for call in calls] == [("batch", "ok")]
        assert f"Patient/{answers[0].unwrap()['id']}" == patient
        assert isinstance(answers[1].error, FhirNotFound)
        assert len(answers[2].unwrap()["entry"]) == 1
        assert isinstance(answers[3].error, FhirRejected)
        with pytest.raises(FhirServerError):
            answers[1].unwrap()

    async def test_the_pages_after_a_batch_entry(self, fhir_client: FhirClient, patient: str) -> None:
        for number in range(5):
            await fhir_client.create(task(patient, f"call {number}"))
        (answer,) = await fhir_client.batch([f"Task?subject={patient}&_count=2"])
        assert len((await fhir_client.collect("Task", answer.unwrap())).matches) == 5

    async def test_a_bad_write_spares_the_good_one(self, fhir_client: FhirClient, patient: str) -> None:
        good, bad = task(patient), task(f"Patient/{uuid.uuid4()}")
        answers = await fhir_client.batch([post(bad), post(good)])
        assert [answer.status for answer in answers] == [400, 201]


class TestTheServer:
    async def test_capabilities_are_asked_for_once(self, server: Server) -> None:
        calls: list[CallRecord] = []
        client = server.client(on_call=calls.append)
        first, again = await client.capabilities(), await client.capabilities()
        assert first is again
        assert (first["resourceType"], first["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
        assert [call.kind for call in calls] == ["capabilities"]

    async def test_an_operation(self, fhir_client: FhirClient, patient: str) -> None:
        await fhir_client.create(task(patient))
        everything = await fhir_client.operation(f"{patient}/$everything")
        assert {entry["resource"]["resourceType"] for entry in everything["entry"]} == {"Patient", "Task"}

    async def test_an_operation_with_parameters(self, fhir_client: FhirClient) -> None:
        parameters = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": task("Patient/1")}]}
        assert (await fhir_client.operation("Task/$validate", parameters))["resourceType"] == "OperationOutcome"
