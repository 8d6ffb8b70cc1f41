"""A FHIR server, or the way to it, that fails: the caller is told what to do, nothing is left half-written, and the
same call again ends in the one right state."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from api.bodies import body_of_answers, body_of_discharge, body_of_infusion
from api.service import (
    Held,
    answers,
    cut_after,
    cut_before,
    done_but_answers,
    down,
    fails_within,
    problem_of,
    running,
    slow,
)
from flows.cases import LEFT, phq9, visit

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path

    from api.service import Fault, Service
    from servers import Server

Resource = dict[str, Any]

SECRET = "Zaphodine-1911"
OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "processing", "diagnostics": f"about {SECRET}"}],
}
HTML = f"<html><body>The proxy says no to {SECRET}</body></html>"

# --- one fault on each kind of call ----------------------------------------------------------------------------------
# What may happen to any call, and what the caller is told: status, code.
AT_ANY_CALL: dict[str, tuple[Callable[[], Fault], int, str]] = {
    "nobody listens": (down, 503, "fhir-unreachable"),
    "html with 200": (lambda: answers(200, html=HTML), 502, "fhir-malformed"),
    "html with 404": (lambda: answers(404, html=HTML), 502, "fhir-malformed"),
    "html with 503": (lambda: answers(503, html=HTML), 502, "fhir-broken"),
    "an empty answer": (lambda: answers(200), 502, "fhir-malformed"),
    "half an answer": (lambda: answers(200, content=b'{"resourceType": "Bun'), 502, "fhir-malformed"),
    "another resource": (lambda: answers(200, json={"resourceType": "Patient"}), 502, "fhir-malformed"),
    "a redirect": (lambda: answers(302, headers={"location": "https://login.example"}), 502, "fhir-malformed"),
    "400": (lambda: answers(400, json=OUTCOME), 502, "fhir-rejected"),
    "401": (lambda: answers(401, json=OUTCOME), 502, "fhir-unauthorized"),
    "403": (lambda: answers(403, html=HTML), 502, "fhir-unauthorized"),
    "422": (lambda: answers(422, json=OUTCOME), 502, "fhir-rejected"),
    "429": (lambda: answers(429, headers={"retry-after": "7"}, json=OUTCOME), 503, "fhir-throttled"),
    "500": (lambda: answers(500, json=OUTCOME), 502, "fhir-broken"),
    "503 for a while": (lambda: answers(503, headers={"retry-after": "7"}), 503, "fhir-throttled"),
}


class Work:
    """One call of the main job: who it is about, and what is sent."""

    def __init__(self, path: str, body: Resource, patient: str) -> None:
        self.path, self.body, self.patient = path, body, patient

    async def send(self, service: Service, **headers: str) -> Any:
        return await service.post(self.path, self.body, **headers)


async def an_infusion(service: Service) -> Work:
    patient, encounter = await visit(service.world)
    return Work("/infusions", body_of_infusion(service.world, patient, encounter), patient)


async def a_discharge(service: Service) -> Work:
    """One that changes what is there: the draft plan becomes active, the escort Task is closed."""
    work = await an_infusion(service)
    assert (await work.send(service)).status_code == 201
    body = body_of_discharge(service.world, work.patient, work.body["encounter"])
    return Work("/discharges/happened", body, work.patient)


async def a_first_discharge(service: Service) -> Work:
    """One that makes everything: nothing was recorded before."""
    work = await an_infusion(service)
    times = {name: work.body[name] for name in ("start", "end")}
    body = body_of_discharge(service.world, work.patient, work.body["encounter"], **times)
    return Work("/discharges/happened", body, work.patient)


async def some_answers(service: Service) -> Work:
    patient, _ = await visit(service.world)
    return Work("/responses", body_of_answers(phq9(LEFT, (2,) * 9), patient), patient)


WORK = (an_infusion, a_discharge, a_first_discharge, some_answers)


_RIGHT: dict[tuple[str, str], Counter[tuple[str, ...]]] = {}


async def undisturbed(service: Service, make: Callable[[Service], Any]) -> Counter[tuple[str, ...]]:
    """Give the one right state: that of another patient for whom the same was done without a fault."""
    known = service.world.server.name, make.__name__
    if known not in _RIGHT:
        work = await make(service)
        assert (await work.send(service)).status_code == 201
        _RIGHT[known] = await service.state(work.patient)
    return _RIGHT[known]


async def ends_right(service: Service, make: Callable[[Service], Any], work: Work) -> None:
    """Mend the wire, repeat the call, and see that all is as if nothing had happened."""
    service.wire.mend()
    again = await work.send(service)
    assert again.status_code in {200, 201}, again.text
    settled = await service.state(work.patient)
    assert settled == await undisturbed(service, make)
    service.wire.mend()
    once_more = await work.send(service)
    assert (once_more.status_code, once_more.json()["changed"]) == (200, False)
    assert service.wire.kinds()["transaction"] == 0


def told(answer: Any, status: int, code: str) -> Resource:
    problem = problem_of(answer, status, code)
    assert SECRET not in answer.text + str(answer.headers)
    return problem


@pytest.mark.parametrize("name", AT_ANY_CALL)
async def test_a_fault_while_reading_is_told_and_nothing_is_written(small_service: Service, name: str) -> None:
    fault, status, code = AT_ANY_CALL[name]
    work = await an_infusion(small_service)
    small_service.wire.breaks(fault(), on="batch")
    told(await work.send(small_service), status, code)
    assert small_service.wire.kinds()["transaction"] == 0
    small_service.wire.mend()
    assert (await work.send(small_service)).status_code == 201


@pytest.mark.parametrize("name", AT_ANY_CALL)
async def test_a_fault_while_writing_is_told_nothing_is_written_and_a_repeat_ends_right(
    small_service: Service, name: str
) -> None:
    fault, status, code = AT_ANY_CALL[name]
    # A discharge makes and changes; how the others fare is tried below.
    work = await a_discharge(small_service)
    before = await small_service.of(work.patient)
    small_service.wire.breaks(fault(), on="transaction")
    told(await work.send(small_service), status, code)
    assert await small_service.of(work.patient) == before
    await ends_right(small_service, a_discharge, work)


async def test_whatever_reads_only_tells_the_same_faults(small_service: Service) -> None:
    work = await a_discharge(small_service)
    patient = work.patient.partition("/")[2]
    for fault, status, code in AT_ANY_CALL.values():
        small_service.wire.breaks(fault())
        told(await small_service.post("/readiness", work.body), status, code)
        told(await small_service.get(f"/patients/{patient}/aftercare"), status, code)
        told(await small_service.post("/discharges/ask/preview", work.body), status, code)
        small_service.wire.mend()


# --- how often it asks, and what it says of when to come back --------------------------------------------------------
async def test_a_server_that_is_down_for_a_moment_is_asked_again(small_service: Service) -> None:
    work = await an_infusion(small_service)
    small_service.wire.breaks(down(), times=2)
    assert (await work.send(small_service)).status_code == 201
    assert len(small_service.naps) == 2


async def test_a_server_that_stays_down_is_given_up_with_a_time_to_come_back(small_service: Service) -> None:
    work = await an_infusion(small_service)
    small_service.wire.breaks(down())
    answer = await work.send(small_service)
    assert int(told(answer, 503, "fhir-unreachable") and answer.headers["retry-after"]) >= 1
    assert 1 < len(small_service.wire.sent) < 10


async def test_a_short_retry_after_is_waited_for(small_service: Service) -> None:
    work = await an_infusion(small_service)
    small_service.wire.breaks(answers(429, headers={"retry-after": "2"}), times=1)
    assert (await work.send(small_service)).status_code == 201
    assert 2 <= small_service.naps[0] < 3


async def test_a_long_retry_after_is_passed_on_at_once(small_service: Service) -> None:
    work = await an_infusion(small_service)
    small_service.wire.breaks(answers(429, headers={"retry-after": "120"}))
    answer = await work.send(small_service)
    told(answer, 503, "fhir-throttled")
    assert answer.headers["retry-after"] == "120"
    assert len(small_service.wire.sent) == 1


async def test_what_will_never_be_accepted_is_sent_once(small_service: Service) -> None:
    work = await an_infusion(small_service)
    small_service.wire.breaks(answers(422, json=OUTCOME), on="transaction")
    problem = told(await work.send(small_service), 502, "fhir-rejected")
    assert problem["upstream"] == {"status": 422, "issues": [{"severity": "error", "code": "processing"}]}
    assert small_service.wire.kinds()["transaction"] == 1


# --- somebody else was first -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [409, 412])
@pytest.mark.parametrize("make", [a_discharge, an_infusion])
async def test_a_conflict_is_looked_at_again_and_decided_anew(
    service: Service, make: Callable[[Service], Any], status: int
) -> None:
    work = await make(service)
    service.wire.mend()
    service.wire.breaks(answers(status, json=OUTCOME), on="transaction", times=1)
    assert (await work.send(service)).status_code == 201
    await ends_right(service, make, work)


@pytest.mark.parametrize("status", [409, 412])
async def test_a_conflict_that_never_ends_is_told_and_nothing_is_written(small_service: Service, status: int) -> None:
    work = await a_discharge(small_service)
    before = await small_service.of(work.patient)
    small_service.wire.breaks(answers(status, json=OUTCOME), on="transaction")
    told(await work.send(small_service), 412, "stale")
    assert await small_service.of(work.patient) == before
    await ends_right(small_service, a_discharge, work)


# --- the middle of a transaction, and what became of an answer -------------------------------------------------------
@pytest.mark.parametrize("make", WORK)
async def test_a_server_that_fails_within_a_transaction_leaves_nothing_of_it(
    service: Service, make: Callable[[Service], Any]
) -> None:
    work = await make(service)
    before = await service.of(work.patient)
    service.wire.breaks(fails_within(500, json=OUTCOME), on="transaction")
    told(await work.send(service), 502, "fhir-broken")
    assert await service.of(work.patient) == before
    await ends_right(service, make, work)


@pytest.mark.parametrize("make", WORK)
async def test_a_connection_cut_after_the_server_wrote_ends_right_within_the_call(
    service: Service, make: Callable[[Service], Any]
) -> None:
    work = await make(service)
    service.wire.mend()
    service.wire.breaks(cut_after(), on="transaction", times=1)
    answer = await work.send(service)
    assert answer.status_code in {200, 201}, answer.text
    written = set(answer.json().get("tasks") or ()) | {answer.json().get("plan"), answer.json().get("response")} - {
        None
    }
    assert written <= (await service.of(work.patient)).keys()
    await ends_right(service, make, work)


@pytest.mark.parametrize("make", WORK)
async def test_a_connection_cut_before_the_server_saw_it_ends_right_within_the_call(
    small_service: Service, make: Callable[[Service], Any]
) -> None:
    work = await make(small_service)
    small_service.wire.mend()
    small_service.wire.breaks(cut_before(), on="transaction", times=1)
    assert (await work.send(small_service)).status_code == 201
    await ends_right(small_service, make, work)


@pytest.mark.parametrize("make", [a_discharge, some_answers])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (lambda: done_but_answers(200, html=HTML), "fhir-malformed"),
        (lambda: done_but_answers(200, content=b'{"resourceType": "Bun'), "fhir-malformed"),
        (lambda: done_but_answers(401), "fhir-unauthorized"),
    ],
)
async def test_an_answer_that_a_proxy_lost_is_told_and_a_repeat_ends_right(
    small_service: Service, make: Callable[[Service], Any], fault: Callable[[], Fault], code: str
) -> None:
    work = await make(small_service)
    small_service.wire.breaks(fault(), on="transaction")
    told(await work.send(small_service, idempotency_key="k-1"), 502, code)
    small_service.wire.mend()
    again = await work.send(small_service, idempotency_key="k-1")
    assert (again.status_code, again.json()["changed"]) == (200, False)
    await ends_right(small_service, make, work)


@pytest.mark.parametrize("make", WORK)
async def test_a_500_after_the_server_wrote_ends_right_within_the_call(
    small_service: Service, make: Callable[[Service], Any]
) -> None:
    work = await make(small_service)
    small_service.wire.mend()
    small_service.wire.breaks(done_but_answers(500, json=OUTCOME), on="transaction", times=1)
    assert (await work.send(small_service)).status_code in {200, 201}
    await ends_right(small_service, make, work)


# --- slow ------------------------------------------------------------------------------------------------------------
async def test_a_server_too_slow_to_read_from_is_told_as_a_timeout(sandbox: Server, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, fhir={"longest_call": 0.2}) as service:
        work = await an_infusion(service)
        service.wire.breaks(slow(5), on="batch")
        problem = told(await work.send(service), 504, "fhir-timeout")
        service.wire.mend()
        assert "Repeat" in problem["remedy"]
        assert await service.state(work.patient) == {}


async def test_a_server_that_writes_and_answers_too_late_ends_right_within_the_call(
    sandbox: Server, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path, fhir={"longest_call": 1.5}) as service:
        work = await a_discharge(service)
        service.wire.breaks(slow(5), on="transaction", times=1)
        assert (await work.send(service)).status_code in {200, 201}
        await ends_right(service, a_discharge, work)


async def test_a_request_that_takes_too_long_is_ended_and_its_key_may_be_used_again(
    server: Server, tmp_path: Path, no_jitter: None
) -> None:
    async with running(server, tmp_path, settings={"request_seconds": 1}) as service:
        work = await an_infusion(service)
        service.wire.breaks(slow(30), on="transaction")
        problem = told(await work.send(service, idempotency_key="k-1"), 504, "request-timeout")
        assert "Repeat" in problem["remedy"]
        service.wire.mend()
    async with running(server, tmp_path, world=service.world) as patient_service:
        again = await work.send(patient_service, idempotency_key="k-1")
        assert again.status_code in {200, 201}, again.text
        await ends_right(patient_service, an_infusion, work)


async def test_a_caller_who_goes_away_leaves_no_half_and_no_lock(small_service: Service) -> None:
    work, held = await an_infusion(small_service), Held()
    small_service.wire.breaks(held, on="transaction", times=1)
    gone = asyncio.create_task(work.send(small_service, idempotency_key="k-1"))
    await held.arrived.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    async with asyncio.timeout(10):
        assert (await work.send(small_service, idempotency_key="k-1")).status_code == 200
    await ends_right(small_service, an_infusion, work)


# --- many at once ----------------------------------------------------------------------------------------------------
async def test_a_batch_tells_of_each_item_what_the_server_did_to_it(small_service: Service) -> None:
    works = [await a_first_discharge(small_service) for _ in range(3)]
    small_service.wire.mend()
    small_service.wire.breaks(answers(422, json=OUTCOME), on="transaction", times=1)
    batch = {"discharges": [each.body for each in works]}
    answer = await small_service.post("/discharges/batch", batch)
    assert answer.status_code == 200
    assert sorted(each["status"] for each in answer.json()["items"]) == [201, 201, 502]
    assert SECRET not in answer.text
    again = (await small_service.post("/discharges/batch", batch)).json()
    assert sorted(each["status"] for each in again["items"]) == [200, 200, 201]
    for work in works:
        await ends_right(small_service, a_first_discharge, work)


async def test_a_fault_of_ours_in_one_item_stops_no_other(
    small_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fhir_aftercare.api.routes import discharges  # noqa: PLC0415

    works = [await a_first_discharge(small_service) for _ in range(2)]
    real = discharges.discharge

    async def faulty(context: Any, request: Any) -> Any:
        if request.patient == works[0].patient:
            raise ZeroDivisionError(SECRET)
        return await real(context, request)

    monkeypatch.setattr(discharges, "discharge", faulty)
    answer = await small_service.post("/discharges/batch", {"discharges": [each.body for each in works]})
    assert [each["status"] for each in answer.json()["items"]] == [500, 201]
    assert answer.json()["items"][0]["problem"]["code"] == "internal"
    assert SECRET not in answer.text


# --- a part of a chart -----------------------------------------------------------------------------------------------
async def test_a_part_of_the_chart_that_cannot_be_read_is_a_gap_and_no_decision_is_made_on_it(
    small_service: Service,
) -> None:
    work = await a_discharge(small_service)
    before = await small_service.of(work.patient)
    broken = {"status": "500 Internal Server Error", "outcome": OUTCOME}

    async def one_entry_fails(wire: Any, request: Any) -> Any:
        answer = await wire.forward(request)
        bundle = answer.json()
        for entry in bundle["entry"]:
            if (entry.get("resource") or {}).get("resourceType") == "Bundle":
                entry.clear()
                entry["response"] = broken
                break
        return type(answer)(200, json=bundle, request=request)

    small_service.wire.breaks(one_entry_fails, on="batch")
    patient = work.patient.partition("/")[2]
    summary = await small_service.get(f"/patients/{patient}/aftercare")
    assert summary.status_code == 200
    assert [each["code"] for each in summary.json()["gaps"]] == ["fhir-broken"]
    assert SECRET not in summary.text
    told(await work.send(small_service), 502, "fhir-broken")
    small_service.wire.mend()
    assert await small_service.of(work.patient) == before


# --- last: what the flows do not do yet ------------------------------------------------------------------------------
async def test_a_connection_that_is_always_cut_is_told_as_a_timeout(small_service: Service) -> None:
    for make in (an_infusion, a_discharge):
        work = await make(small_service)
        small_service.wire.mend()
        small_service.wire.breaks(cut_before(), on="transaction")
        told(await work.send(small_service), 504, "fhir-timeout")
        await ends_right(small_service, make, work)


async def test_a_conflict_that_never_ends_names_no_patient(small_service: Service) -> None:
    work = await an_infusion(small_service)
    small_service.wire.breaks(answers(412, json=OUTCOME), on="transaction")
    assert told(await work.send(small_service), 412, "stale")["where"] == ["patient"]


async def test_what_was_written_by_the_call_is_told_as_changed_although_the_answer_was_lost(
    small_service: Service,
) -> None:
    work = await a_discharge(small_service)
    small_service.wire.mend()
    small_service.wire.breaks(cut_after(), on="transaction", times=1)
    answer = await work.send(small_service)
    assert (answer.status_code, answer.json()["changed"]) == (201, True)
