"""What goes along with a call of the API: the key that makes it happen once, ids that find it again, error forms."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from api.bodies import body_of_discharge, body_of_infusion
from api.service import Held, answers, cut_after, problem_of
from flows.cases import of_patient, visit

if TYPE_CHECKING:
    import httpx

    from api.service import Service

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


# --- Idempotency-Key -------------------------------------------------------------------------------------------------
async def test_the_same_request_with_the_same_key_is_answered_as_the_first_was(service: Service) -> None:
    patient, encounter = await visit(service.world)
    body = body_of_infusion(service.world, patient, encounter)
    first = await service.post("/infusions", body, idempotency_key="k-1")
    after = await service.state(patient)
    again = await service.post("/infusions", body, idempotency_key="k-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {**first.json(), "changed": False}
    assert await service.state(patient) == after


async def test_a_key_used_for_another_request_is_refused_and_nothing_is_written(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter)
    await small_service.post("/infusions", body, idempotency_key="k-1")
    before = await small_service.of(patient)
    other = await small_service.post("/infusions", {**body, "dose_mg": 36}, idempotency_key="k-1")
    problem_of(other, 422, "idempotency-key-reused")
    assert await small_service.of(patient) == before


async def test_a_key_whose_first_request_still_runs_is_told_to_wait(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter)
    held = Held()
    small_service.wire.breaks(held, on="transaction")
    running = asyncio.create_task(small_service.post("/infusions", body, idempotency_key="k-1"))
    await held.arrived.wait()
    refused = await small_service.post("/infusions", body, idempotency_key="k-1")
    problem_of(refused, 409, "still-running")
    assert int(refused.headers["retry-after"]) >= 1
    held.release.set()
    assert (await running).status_code == 201


async def test_a_request_that_failed_may_run_again_with_its_key(service: Service) -> None:
    patient, encounter = await visit(service.world)
    body = body_of_infusion(service.world, patient, encounter)
    service.wire.breaks(answers(500, json={}))
    problem_of(await service.post("/infusions", body, idempotency_key="k-1"), 502, "fhir-broken")
    service.wire.mend()
    assert (await service.post("/infusions", body, idempotency_key="k-1")).status_code == 201


async def test_a_refused_request_does_not_use_up_its_key(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter)
    refused = await small_service.post("/infusions", {**body, "dose_mg": -1}, idempotency_key="k-1")
    problem_of(refused, 422, "out-of-range")
    assert (await small_service.post("/infusions", body, idempotency_key="k-1")).status_code == 201


async def test_a_key_is_of_one_route(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    infusion = body_of_infusion(small_service.world, patient, encounter)
    leaving = body_of_discharge(small_service.world, patient, encounter)
    assert (await small_service.post("/infusions", infusion, idempotency_key="k-1")).status_code == 201
    assert (await small_service.post("/discharges/happened", leaving, idempotency_key="k-1")).status_code == 201


async def test_an_unreadable_key_is_refused(small_service: Service) -> None:
    for bad in ("", "a b", "x" * 256):
        refused = await small_service.post("/infusions", {}, idempotency_key=bad)
        assert refused.status_code in {400, 422}
        assert refused.json()["code"] in {"invalid-input", "invalid-request"}


# --- ids -------------------------------------------------------------------------------------------------------------
async def test_the_callers_request_id_is_on_the_answer_and_on_every_call_to_the_fhir_server(
    small_service: Service,
) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter)
    answer = await small_service.post("/infusions", body, x_request_id="engine-4711", traceparent=TRACE)
    assert answer.headers["x-request-id"] == "engine-4711"
    assert len(small_service.wire.sent) == 2
    assert {each.headers["x-request-id"] for each in small_service.wire.sent} == {"engine-4711"}
    assert {each.headers["traceparent"] for each in small_service.wire.sent} == {TRACE}


async def test_a_repeat_to_the_fhir_server_carries_the_same_id(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter)
    small_service.wire.breaks(cut_after(), on="transaction", times=1)
    answer = await small_service.post("/infusions", body)
    assert small_service.wire.kinds()["transaction"] == 2
    assert {each.headers["x-request-id"] for each in small_service.wire.sent} == {answer.headers["x-request-id"]}


async def test_nothing_else_of_the_callers_headers_reaches_the_fhir_server(small_service: Service) -> None:
    patient, _ = await visit(small_service.world)
    path = f"/patients/{patient.partition('/')[2]}/aftercare"
    await small_service.get(path, authorization="Bearer secret", cookie="a=b", x_forwarded_for="10.0.0.1")
    for sent in small_service.wire.sent:
        assert not {"authorization", "cookie", "x-forwarded-for"} & set(sent.headers)


# --- forms -----------------------------------------------------------------------------------------------------------
def outcome_of(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/fhir+json"), answer.text
    body = answer.json()
    assert body["resourceType"] == "OperationOutcome"
    assert body["issue"][0]["details"]["coding"][0]["code"] == code
    issue: dict[str, object] = body["issue"][0]
    return issue


async def test_whoever_accepts_fhir_gets_errors_as_operation_outcomes(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter, checks=[])
    fhir = {"accept": "application/fhir+json"}
    wrong = await small_service.post("/infusions", {**body, "dose_mg": -1}, **fhir)
    assert outcome_of(wrong, 422, "out-of-range")["expression"] == ["dose_mg"]
    outcome_of(await small_service.post("/infusions", b"{", **fhir), 400, "malformed-body")
    outcome_of(await small_service.get("/patients/nobody/aftercare", **fhir), 404, "not-found")
    outcome_of(await small_service.get("/nothing-here", **fhir), 404, "no-such-route")
    await small_service.post("/infusions", body)
    leaving = body_of_discharge(small_service.world, patient, encounter)
    unmet = outcome_of(await small_service.post("/discharges/ask", leaving, **fhir), 409, "not-ready")
    assert "sedation-resolved" in str(unmet["diagnostics"])
    small_service.wire.breaks(answers(401))
    outcome_of(await small_service.post("/discharges/ask", leaving, **fhir), 502, "fhir-unauthorized")


async def test_no_answer_is_kept_anywhere_on_its_way(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    done = await small_service.post("/infusions", body_of_infusion(small_service.world, patient, encounter))
    for answer in (done, await small_service.post("/infusions", b"{"), await small_service.get("/x")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_counts_tell_what_was_done(small_service: Service) -> None:
    patient, encounter = await visit(small_service.world)
    body = body_of_infusion(small_service.world, patient, encounter)
    await small_service.post("/infusions", body, idempotency_key="k-1")
    await small_service.post("/infusions", body, idempotency_key="k-1")
    await small_service.post("/discharges/happened", body_of_discharge(small_service.world, patient, encounter))
    text = small_service.metrics.text()
    route = "/v1/clinics/{clinic}/infusions"
    assert f'aftercare_http_requests_total{{method="POST",route="{route}",status="2xx"}} 2.0' in text
    assert 'aftercare_plans_total{outcome="begun"} 1.0' in text
    assert 'aftercare_plans_total{outcome="unchanged"} 1.0' in text
    assert 'aftercare_plans_total{outcome="activated"} 1.0' in text
    assert f'aftercare_idempotent_replays_total{{route="{route}"}} 1.0' in text
    assert 'aftercare_fhir_calls_total{kind="transaction",outcome="ok",resource_type="Bundle"} 2.0' in text
    assert 'aftercare_clinics{state="running"} 1.0' in text
    assert len(await of_patient(small_service.world, "CarePlan", patient)) == 2
