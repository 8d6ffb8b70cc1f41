"""Bad input, a test each: what was sent is refused with the place named and a remedy, and nothing of it is written."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from api.bodies import BEFORE, body_of_answers, body_of_discharge, body_of_infusion
from api.service import problem_of, running
from fhir_aftercare.fhir import terms
from fhir_aftercare.sandbox.store import create_store
from flows.cases import LEFT, phq9, visit
from servers import Server
from world import END, START, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from api.service import Service
    from world import World

Resource = dict[str, Any]
OTHER_BASE = "http://hillside.localhost/fhir"
# What takes a patient and an encounter, with a body for it.
WITH_ENCOUNTER = ("/infusions", "/infusions/preview", "/readiness", "/discharges/ask", "/discharges/happened")


def body_for(path: str, world: World, patient: str, encounter: str | None, **more: Any) -> Resource:
    make = body_of_infusion if path.startswith("/infusions") else body_of_discharge
    return make(world, patient, encounter, **more)


async def refused(service: Service, path: str, body: Any, status: int, code: str) -> Resource:
    """Give the problem, if the call was refused with it before anything was sent but one batch of reads."""
    service.wire.sent.clear()
    problem = problem_of(await service.post(path, body), status, code)
    assert set(service.wire.kinds()) <= {"batch", "GET"}
    return problem


# --- who and where ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", WITH_ENCOUNTER)
async def test_an_unknown_patient(service: Service, path: str) -> None:
    _, encounter = await visit(service.world)
    body = body_for(path, service.world, "Patient/is-not-there", encounter)
    assert (await refused(service, path, body, 404, "not-found"))["where"] == ["patient"]


async def test_an_unknown_patient_who_answers_or_is_looked_up(service: Service) -> None:
    answers = body_of_answers(phq9(START, (0,) * 9), "Patient/is-not-there")
    assert (await refused(service, "/responses", answers, 404, "not-found"))["where"] == ["patient"]
    assert problem_of(await service.get("/patients/is-not-there/aftercare"), 404, "not-found")["where"] == ["patient"]


@pytest.mark.parametrize("path", WITH_ENCOUNTER)
async def test_an_unknown_encounter(service: Service, path: str) -> None:
    patient, _ = await visit(service.world)
    body = body_for(path, service.world, patient, "Encounter/is-not-there")
    assert (await refused(service, path, body, 404, "not-found"))["where"] == ["encounter"]


@pytest.mark.parametrize("path", WITH_ENCOUNTER)
async def test_an_encounter_of_another_patient(service: Service, path: str) -> None:
    patient, _ = await visit(service.world)
    other, its_encounter = await visit(service.world)
    body = body_for(path, service.world, patient, its_encounter)
    assert (await refused(service, path, body, 422, "wrong-subject"))["where"] == ["encounter"]
    assert await service.state(patient) == await service.state(other) == {}


async def test_stored_answers_of_another_patient(service: Service) -> None:
    patient, _ = await visit(service.world)
    other = await service.world.patient()
    client = service.world.server.client()
    theirs = await client.create(body_of_answers(phq9(START, (3,) * 9), other))
    total = await client.create(
        {
            "resourceType": "Observation",
            "status": "final",
            "code": terms.PHQ9_TOTAL.concept(),
            "subject": {"reference": other},
            "effectiveDateTime": START.isoformat(),
            "valueInteger": 20,
        }
    )
    for reference in (f"QuestionnaireResponse/{theirs['id']}", f"Observation/{total['id']}"):
        body = {"patient": patient, "reference": reference}
        await refused(service, "/responses/stored", body, 422, "wrong-subject")
    assert await service.state(patient) == {}


@asynccontextmanager
async def two_clinics(sandbox: Server, folder: Path) -> AsyncIterator[tuple[Service, World]]:
    """Run the service for harbor, and for hillside, which has a FHIR server of its own."""
    store = create_store(folder / "hillside", OTHER_BASE)
    async with Server.reached("hillside", OTHER_BASE, store) as server:
        hillside = await make_world(server, id="hillside")
        hillside.clock.move_to(LEFT)
        async with running(sandbox, folder, others={"hillside": hillside.context}) as service:
            yield service, hillside
    store.close()


async def test_an_encounter_of_another_clinic(sandbox: Server, tmp_path: Path) -> None:
    async with two_clinics(sandbox, tmp_path) as (service, hillside):
        patient, encounter = await visit(service.world)
        stranger, its_encounter = await visit(hillside)
        for path in WITH_ENCOUNTER:
            body = body_for(path, service.world, patient, its_encounter)
            assert (await refused(service, path, body, 404, "not-found"))["where"] == ["encounter"]
            body = body_for(path, service.world, stranger, its_encounter)
            assert (await refused(service, path, body, 404, "not-found"))["where"] == ["patient"]
        path = f"/patients/{stranger.partition('/')[2]}/aftercare"
        problem_of(await service.get(path), 404, "not-found")
        own = body_of_infusion(hillside, stranger, its_encounter)
        assert (await service.post("/infusions", own, clinic="hillside")).status_code == 201
        wrong = body_of_infusion(service.world, patient, encounter)
        problem_of(await service.post("/infusions", wrong, clinic="hillside"), 404, "not-found")


async def test_an_unknown_clinic(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter)
    answer = await small_service.post("/infusions", body, clinic="nowhere")
    assert problem_of(answer, 404, "not-found")["where"] == ["clinic"]
    for odd in ("..", "Harbor", "a%20b", "%2e%2e%2f", "x" * 64):
        answer = await small_service.post("/infusions", body, clinic=odd)
        assert answer.status_code in {404, 422}, odd
    assert not small_service.wire.sent


@pytest.mark.parametrize(
    "bad", ["42", "Patient/", "Encounter/7", "Patient/a/b", "Patient/../x", "http://a/Patient/1", ""]
)
async def test_what_is_no_reference_to_a_patient(small_service: Service, bad: str) -> None:
    _, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, bad, encounter)
    assert (await refused(small_service, "/infusions", body, 422, "invalid-request"))["where"] == ["patient"]


async def test_an_infusion_without_an_encounter_needs_an_id_of_its_own(small_service: Service) -> None:
    patient, _ = await visit(small_service.world)
    for path in ("/infusions", "/discharges/happened"):
        body = body_for(path, small_service.world, patient, None)
        assert (await refused(small_service, path, body, 400, "invalid-input"))["where"] == ["infusion"]
        named = await small_service.post(path, {**body, "infusion": "pump-7-0042"})
        assert named.status_code == 201, named.text


async def test_an_infusions_id_that_is_another_patients(small_service: Service) -> None:
    patient, other = await small_service.world.patient(), await small_service.world.patient()
    small_service.world.clock.move_to(LEFT)
    first = body_of_infusion(small_service.world, patient, None, infusion="pump-7-0042")
    assert (await small_service.post("/infusions", first)).status_code == 201
    for path in ("/infusions", "/discharges/happened"):
        body = body_for(path, small_service.world, other, None, infusion="pump-7-0042")
        problem = await refused(small_service, path, body, 422, "wrong-subject")
        assert problem["where"] == ["infusion"]


# --- times -----------------------------------------------------------------------------------------------------------
async def test_an_end_before_the_start(small_service: Service) -> None:
    world = small_service.world
    patient, encounter = await visit(world)
    early = (START - timedelta(minutes=1)).isoformat()
    body = body_of_infusion(world, patient, encounter, end=early)
    assert (await refused(small_service, "/infusions", body, 400, "invalid-input"))["where"] == ["end"]
    body = body_of_discharge(world, patient, encounter, start=START.isoformat(), end=early)
    assert (await refused(small_service, "/discharges/happened", body, 400, "invalid-input"))["where"] == ["end"]


async def test_times_in_the_future(small_service: Service) -> None:
    world = small_service.world
    patient, encounter = await visit(world)
    later = (LEFT + timedelta(minutes=6)).isoformat()
    body = body_of_infusion(world, patient, encounter, start=later, end=later, checks=[{**BEFORE, "at": later}])
    problem = await refused(small_service, "/infusions", body, 400, "invalid-input")
    assert problem["where"] == ["start", "end", "checks[0].at"]
    body = body_of_discharge(world, patient, encounter, left_at=later)
    for path in ("/readiness", "/discharges/ask", "/discharges/happened"):
        assert (await refused(small_service, path, body, 400, "invalid-input"))["where"] == ["left_at"]


async def test_a_time_without_an_offset_is_never_guessed(small_service: Service) -> None:
    world = small_service.world
    patient, encounter = await visit(world)
    naive = START.replace(tzinfo=None).isoformat()
    body = body_of_infusion(world, patient, encounter, start=naive, checks=[{**BEFORE, "at": naive}])
    problem = await refused(small_service, "/infusions", body, 422, "missing-zone")
    assert problem["where"] == ["start", "checks[0].at"]
    assert "offset" in problem["remedy"]
    for name in ("left_at", "start", "end"):
        body = body_of_discharge(world, patient, encounter, **{name: naive})
        assert (await refused(small_service, "/readiness", body, 422, "missing-zone"))["where"] == [name]
    answers = {**body_of_answers(phq9(START, (0,) * 9), patient), "authored": naive}
    for authored in (naive, "2026-09-16"):
        answer = await small_service.post("/responses", {**answers, "authored": authored})
        assert answer.json()["code"] in {"missing-zone", "invalid-input", "invalid-request"}, answer.text
        assert answer.json()["where"][0].endswith("authored")
    assert await small_service.state(patient) == {}


@pytest.mark.parametrize("bad", ["Mars/Olympus", "../../etc/passwd", "EST5EDT7", "", "America/New_York\u0000"])
async def test_a_zone_nobody_knows(small_service: Service, bad: str) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_discharge(small_service.world, patient, encounter, zone=bad)
    await small_service.post("/infusions", body_of_infusion(small_service.world, patient, encounter))
    answer = await small_service.post("/discharges/happened", body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in {"unknown-zone", "invalid-request"}
    assert answer.json()["where"] == ["zone"]


@pytest.mark.parametrize(
    "bad",
    [
        "yesterday", "2026-09-16", 1789578000, "1789578000", True, None, [], {}, "2026-02-30T10:00:00-04:00",
        "2026-09-16T25:00:00-04:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00",
    ],
)  # fmt: skip
async def test_what_is_no_time(small_service: Service, bad: Any) -> None:
    patient, encounter = await visit(small_service.world)
    body = {**body_of_infusion(small_service.world, patient, encounter), "start": bad}
    assert (await refused(small_service, "/infusions", body, 422, "invalid-request"))["where"] == ["start"]


@pytest.mark.parametrize("far", ["1900-01-01T00:00:00+14:00", "2099-12-31T23:59:59-12:00"])
async def test_times_far_from_now(small_service: Service, far: str) -> None:
    patient, encounter = await visit(small_service.world)
    body = {**body_of_infusion(small_service.world, patient, encounter), "start": far, "end": far}
    problem = await refused(small_service, "/infusions", body, 400, "invalid-input")
    assert problem["where"]
    leaving = body_of_discharge(small_service.world, patient, encounter, left_at=far)
    answer = await small_service.post("/discharges/happened", leaving)
    assert answer.status_code in {400, 422}, answer.text


# --- values ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"systolic": 301}, "systolic"), ({"systolic": 10**30}, "systolic"), ({"systolic": 70}, "systolic"),
        ({"diastolic": 7}, "diastolic"), ({"heart_rate": 3}, "heart_rate"), ({"spo2": 101}, "spo2"),
        ({"moaa_s": 6}, "moaa_s"), ({"nausea": 11}, "nausea"), ({"weight": 3.25}, "weight"),
        ({"temperature": 98.6}, "temperature"), ({"respiratory_rate": -1}, "respiratory_rate"),
    ],
)  # fmt: skip
async def test_a_value_outside_what_can_be_real_is_refused_with_its_field(
    small_service: Service, change: Resource, where: str
) -> None:
    patient, encounter = await visit(small_service.world)
    checks = [BEFORE, {**BEFORE, "at": END.isoformat(), **change}]
    body = body_of_infusion(small_service.world, patient, encounter, checks=checks)
    problem = await refused(small_service, "/infusions", body, 422, "out-of-range")
    assert problem["where"] == [f"checks[1].{where}"]
    assert str(change[where]) not in re.findall(r"[\d.]+\d|\d", problem["detail"])


@pytest.mark.parametrize("dose", [0, -35, 1001])
async def test_a_dose_that_cannot_be(small_service: Service, dose: int) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter, dose_mg=dose)
    assert (await refused(small_service, "/infusions", body, 422, "out-of-range"))["where"] == ["dose_mg"]


async def test_all_faults_are_told_at_once(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    checks = [{**BEFORE, "systolic": 400, "spo2": 101}, {**BEFORE, "moaa_s": 9}]
    body = body_of_infusion(small_service.world, patient, encounter, checks=checks, dose_mg=0)
    problem = await refused(small_service, "/infusions", body, 400, "invalid-input")
    assert {"dose_mg", "checks[0].systolic", "checks[0].spo2", "checks[1].moaa_s", "checks[1].at"} == set(
        problem["where"]
    )


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"systolic": "124"}, "checks[0].systolic"), ({"systolic": 124.5}, "checks[0].systolic"),
        ({"oriented": "yes"}, "checks[0].oriented"), ({"oriented": 1}, "checks[0].oriented"),
        ({"dissociation": "some"}, "checks[0].dissociation"), ({"weight": "70"}, "checks[0].weight"),
        ({"id": " "}, "checks[0].id"), ({"recorded_by": "Patient/1"}, "checks[0].recorded_by"),
    ],
)  # fmt: skip
async def test_a_value_of_another_type_is_not_made_to_fit(small_service: Service, change: Resource, where: str) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter, checks=[{**BEFORE, **change}])
    assert (await refused(small_service, "/infusions", body, 422, "invalid-request"))["where"] == [where]


async def test_fields_nobody_knows_are_refused_by_name(small_service: Service) -> None:
    world = small_service.world
    patient, encounter = await visit(world)
    body = {**body_of_infusion(world, patient, encounter), "comment": "x", "checks": [{**BEFORE, "sistolic": 120}]}
    problem = await refused(small_service, "/infusions", body, 422, "invalid-request")
    assert set(problem["where"]) == {"comment", "checks[0].sistolic"}
    assert {each["reason"] for each in problem["faults"]} == {"Extra inputs are not permitted"}
    body = {**body_of_discharge(world, patient, encounter), "mode": "ask"}
    assert (await refused(small_service, "/discharges/happened", body, 422, "invalid-request"))["where"] == ["mode"]


async def test_fields_that_are_missing_are_named(small_service: Service) -> None:
    problem = await refused(small_service, "/infusions", {}, 422, "invalid-request")
    assert problem["where"] == ["patient", "status", "start"]
    assert (await refused(small_service, "/discharges/ask", {}, 422, "invalid-request"))["where"] == [
        "patient",
        "left_at",
    ]


async def test_a_number_with_more_digits_than_anything_measures(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    text = json.dumps(body_of_infusion(small_service.world, patient, encounter, dose_mg=35))
    long = text.replace('"dose_mg": 35', '"dose_mg": 35.' + "1" * 3000).encode()
    assert (await refused(small_service, "/infusions", long, 422, "invalid-request"))["where"] == ["dose_mg"]


async def test_an_infusion_said_to_be_done_needs_its_end(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter, end=None)
    assert (await refused(small_service, "/infusions", body, 400, "invalid-input"))["where"] == ["end"]


# --- answers ---------------------------------------------------------------------------------------------------------
async def test_a_resource_of_another_type(small_service: Service) -> None:
    patient, _ = await visit(small_service.world)
    for wrong in (
        {"resourceType": "Observation", "subject": {"reference": patient}},
        {"subject": {"reference": patient}},
    ):
        for path in ("/responses", "/responses/preview"):
            answer = await small_service.post(path, wrong)
            assert answer.status_code in {400, 422}, answer.text
            assert answer.json()["where"][0].endswith("resourceType")
    stored = {"patient": patient, "reference": patient}
    assert (await refused(small_service, "/responses/stored", stored, 422, "invalid-request"))["where"] == ["reference"]


@pytest.mark.parametrize(
    "subject", [None, {}, {"reference": "Group/1"}, {"reference": 7}, "Patient/1", {"display": "Ana"}, []]
)
async def test_answers_of_nobody(small_service: Service, subject: Any) -> None:
    answers = {**phq9(START, (0,) * 9), "subject": subject}
    answer = await small_service.post("/responses", answers)
    assert answer.status_code in {400, 422}, answer.text
    assert answer.json()["where"][0].startswith("subject")
    assert not small_service.wire.sent


@pytest.mark.parametrize("status", ["stopped", "entered-in-error", "done", None, 7])
async def test_answers_that_do_not_count(small_service: Service, status: Any) -> None:
    patient, _ = await visit(small_service.world)
    answers = {**body_of_answers(phq9(START, (0,) * 9), patient), "status": status}
    answer = await small_service.post("/responses", answers)
    assert answer.status_code in {400, 422}, answer.text
    assert answer.json()["where"][0].endswith("status")
    assert await small_service.state(patient) == {}


async def test_a_score_that_is_none(small_service: Service) -> None:
    world = small_service.world
    patient, _ = await visit(world)
    weight = await world.server.client().create(
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": "Weight"},
            "subject": {"reference": patient},
            "effectiveDateTime": START.isoformat(),
        }
    )
    body = {"patient": patient, "reference": f"Observation/{weight['id']}"}
    await refused(small_service, "/responses/stored", body, 400, "invalid-input")
    for type_ in ("Observation", "QuestionnaireResponse"):
        body = {"patient": patient, "reference": f"{type_}/is-not-there"}
        answer = await small_service.post("/responses/stored", body)
        assert (answer.status_code, answer.json()["code"]) in {(404, "not-found"), (404, "fhir-not-found")}, answer.text


# --- bodies ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "bad", [b"", b"{", b'{"patient": }', b"\xff\xfe", b'{"dose_mg": NaN}', b"{} {}", b'{"a": 01}', b"'patient'"]
)
async def test_a_body_that_is_no_json(small_service: Service, bad: bytes) -> None:
    for path in ("/infusions", "/responses", "/discharges/batch"):
        answer = await small_service.post(path, bad)
        assert answer.status_code in {400, 422}, answer.text
        assert answer.json()["code"] in {"malformed-body", "invalid-request"}
        assert answer.json()["where"] == ["body"]


@pytest.mark.parametrize("bad", [b"[]", b"null", b"7", b'"text"', b"true"])
async def test_a_body_that_is_no_object(small_service: Service, bad: bytes) -> None:
    for path in ("/infusions", "/responses", "/discharges/batch"):
        assert (await refused(small_service, path, bad, 422, "invalid-request"))["where"] == ["body"]


async def test_a_body_of_five_megabytes(small_service: Service) -> None:
    big = json.dumps({"patient": "Patient/1", "reason": "x" * 5_000_000}).encode()
    for path in ("/infusions", "/responses", "/discharges/batch"):
        problem = await refused(small_service, path, big, 413, "body-too-large")
        assert "smaller" in problem["remedy"]


async def test_a_body_nested_a_hundred_thousand_times(small_service: Service) -> None:
    for opened, closed in (('{"item":', "}"), ("[", "]")):
        deep = (opened * 100_000 + "1" + closed * 100_000).encode()
        for path in ("/infusions", "/responses"):
            await refused(small_service, path, deep, 400, "body-too-deep")


async def test_answers_nested_deeper_than_any_form(small_service: Service) -> None:
    patient, _ = await visit(small_service.world)
    item: Resource = {"linkId": "leaf", "answer": [{"valueBoolean": True}]}
    for level in range(20):
        item = {"linkId": f"group-{level}", "item": [item]}
    answers = {**body_of_answers(phq9(START, (0,) * 9), patient), "item": [item]}
    assert (await small_service.post("/responses", answers)).status_code == 201


async def test_a_body_that_does_not_say_that_it_is_json(small_service: Service) -> None:
    for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded", ""):
        answer = await small_service.post("/infusions", b"{}", content_type=kind)
        problem_of(answer, 415, "unsupported-body")


async def test_too_many_items_of_a_batch(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    item = body_of_discharge(small_service.world, patient, encounter)
    await refused(small_service, "/discharges/batch", {"discharges": [item] * 101}, 422, "invalid-request")


async def test_an_address_or_a_method_nobody_knows(small_service: Service) -> None:
    problem_of(await small_service.get("/nothing"), 404, "no-such-route")
    answer = await small_service.get("/infusions")
    assert problem_of(answer, 405, "method-not-allowed")
    assert "POST" in answer.headers["allow"]


# --- what only the FHIR server can know ------------------------------------------------------------------------------
async def test_a_nurse_the_fhir_server_does_not_know(service: Service) -> None:
    patient, encounter = await visit(service.world)
    body = body_of_infusion(service.world, patient, encounter, recorded_by="Practitioner/is-not-there")
    answer = await service.post("/infusions", body)
    assert 400 <= answer.status_code <= 502, answer.text
    assert answer.json()["code"] in {"fhir-rejected", "fhir-not-found", "not-found"}
    assert await service.state(patient) == {}


# --- last: what the flows do not do yet ------------------------------------------------------------------------------
async def test_a_nurse_who_is_not_there_is_the_callers_fault(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter, recorded_by="Practitioner/is-not-there")
    assert (await refused(small_service, "/infusions", body, 404, "not-found"))["where"] == ["recorded_by"]
