"""What the client makes of a network and a server that misbehave: the right error, and never a second write."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx

from fhir_aftercare.ehr.answers import etag_of, location_of, version_of
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.ehr.context import forwarding
from fhir_aftercare.ehr.retry import RetryPolicy, parse_retry_after
from fhir_aftercare.errors import (
    CheckFailed,
    ConfigFault,
    FhirBroken,
    FhirGone,
    FhirMalformed,
    FhirNotFound,
    FhirRejected,
    FhirServerError,
    FhirStale,
    FhirThrottled,
    FhirTimeout,
    FhirUnauthorized,
    FhirUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fhir_aftercare.ehr.transport import CallRecord

BASE = "https://ehr.example/api/fhir"
SECRET = "Ada-Lovelace-1815"
PATIENT = {"resourceType": "Patient", "id": "p1", "meta": {"versionId": "1"}}
TASK = {"resourceType": "Task", "id": "t1", "status": "requested"}
OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "processing", "diagnostics": f"about {SECRET}"}],
}


class Naps:
    """Stands for asyncio.sleep: remembers how long, and does not wait."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


class Tokens:
    """A token provider that counts."""

    def __init__(self) -> None:
        self.renewed = 0

    async def token(self) -> str:
        return "old"

    async def renew(self) -> str:
        self.renewed += 1
        return f"new{self.renewed}"


@pytest.fixture
def mock() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as router:
        yield router


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def calls() -> list[CallRecord]:
    return []


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@pytest.fixture
def client(http: httpx.AsyncClient, naps: Naps, calls: list[CallRecord]) -> FhirClient:
    policy = RetryPolicy(max_attempts=3, chance=lambda: 1.0)
    return FhirClient(BASE, http, policy=policy, sleep=naps, on_call=calls.append)


def transaction(*requests: dict[str, str]) -> dict[str, Any]:
    entries = [{"resource": TASK, "request": request} for request in requests]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


CREATES = {"method": "POST", "url": "Task", "ifNoneExist": "identifier=a|b"}
GUARDED = {"method": "PUT", "url": "Task/t1", "ifMatch": 'W/"1"'}
PLAIN = {"method": "POST", "url": "Task"}


def answered(*statuses: str, **more: Any) -> dict[str, Any]:
    entries = [{"response": {"status": status, **more}} for status in statuses]
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}


class TestStatuses:
    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, FhirRejected),
            (401, FhirUnauthorized),
            (403, FhirUnauthorized),
            (404, FhirNotFound),
            (405, FhirRejected),
            (408, FhirTimeout),
            (409, FhirStale),
            (410, FhirGone),
            (412, FhirStale),
            (422, FhirRejected),
            (429, FhirThrottled),
            (500, FhirBroken),
            (502, FhirBroken),
            (503, FhirBroken),
            (504, FhirBroken),
        ],
    )
    async def test_each_has_its_error_and_keeps_the_outcome_out_of_the_message(
        self, mock: respx.MockRouter, client: FhirClient, status: int, error: type[FhirServerError]
    ) -> None:
        mock.get(f"{BASE}/Patient/{SECRET}").respond(status, json=OUTCOME)
        with pytest.raises(error) as caught:
            await client.read("Patient", SECRET)
        assert type(caught.value) is error
        assert (caught.value.http_status, caught.value.outcome) == (status, OUTCOME)
        assert caught.value.message == f"GET Patient answered {status}."
        assert SECRET not in str(caught.value) + "".join(caught.value.where) + caught.value.remedy

    async def test_ids_and_queries_stay_out_of_the_message_of_a_batch_entry(
        self, mock: respx.MockRouter, client: FhirClient
    ) -> None:
        mock.post(BASE).respond(200, json=answered("404 Not Found", outcome=OUTCOME))
        (answer,) = await client.batch([f"Patient/{SECRET}?name={SECRET}"])
        assert answer.error
        assert (answer.error.message, answer.error.outcome) == ("GET Patient in a Bundle answered 404.", OUTCOME)

    @pytest.mark.parametrize("status", [200, 400, 404, 410, 422])
    async def test_a_page_of_a_proxy_is_not_an_answer_of_the_server(
        self, mock: respx.MockRouter, client: FhirClient, status: int
    ) -> None:
        mock.get(f"{BASE}/Patient/p1").respond(status, html="<html>not here</html>")
        with pytest.raises(FhirMalformed):
            await client.read("Patient", "p1")

    async def test_a_proxy_that_says_come_later_is_believed(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.get(f"{BASE}/Patient/p1").respond(503, html="<html>busy</html>", headers={"Retry-After": "600"})
        with pytest.raises(FhirThrottled) as caught:
            await client.read("Patient", "p1")
        assert caught.value.retry_after == 600

    @pytest.mark.parametrize("body", ["", '{"resourceType": "Pat', "[]", '{"id": "x"}', "null", '{"resourceType": 1}'])
    async def test_a_cut_or_foreign_body(self, mock: respx.MockRouter, client: FhirClient, body: str) -> None:
        mock.get(f"{BASE}/Patient/p1").respond(200, text=body)
        with pytest.raises(FhirMalformed):
            await client.read("Patient", "p1")

    async def test_a_redirect_is_not_followed(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.get(f"{BASE}/Patient/p1").respond(302, headers={"Location": "https://login.example/"})
        with pytest.raises(FhirMalformed):
            await client.read("Patient", "p1")
        assert len(mock.calls) == 1

    async def test_an_answer_too_large(self, mock: respx.MockRouter, http: httpx.AsyncClient) -> None:
        mock.get(f"{BASE}/Patient/p1").respond(200, content=b" " * 1001)
        with pytest.raises(FhirMalformed):
            await FhirClient(BASE, http, max_body=1000).read("Patient", "p1")


class TestReadsAreRepeated:
    @pytest.mark.parametrize(
        "fault",
        [
            httpx.ConnectError("refused"),
            httpx.ConnectTimeout("slow"),
            httpx.ReadTimeout("slow"),
            httpx.ReadError("reset"),
            httpx.RemoteProtocolError("cut"),
            httpx.Response(500),
            httpx.Response(502, html="<html>bad gateway</html>"),
            httpx.Response(503),
            httpx.Response(429),
        ],
        ids=lambda fault: repr(fault)[:30],
    )
    async def test_until_one_works(
        self, mock: respx.MockRouter, client: FhirClient, naps: Naps, calls: list[CallRecord], fault: Any
    ) -> None:
        mock.get(f"{BASE}/Patient/p1").side_effect = [fault, fault, httpx.Response(200, json=PATIENT)]
        assert await client.read("Patient", "p1") == PATIENT
        assert naps.taken == [0.2, 0.4]
        assert [call.outcome for call in calls][-1] == "ok"
        assert len(calls) == 3

    async def test_but_not_for_ever(self, mock: respx.MockRouter, client: FhirClient, naps: Naps) -> None:
        mock.get(f"{BASE}/Patient/p1").respond(500)
        with pytest.raises(FhirBroken):
            await client.read("Patient", "p1")
        assert len(naps.taken) == 2

    async def test_nor_beyond_the_budget(self, mock: respx.MockRouter, http: httpx.AsyncClient, naps: Naps) -> None:
        mock.get(f"{BASE}/Patient/p1").respond(429, headers={"Retry-After": "20"})
        policy = RetryPolicy(max_attempts=99, budget=45, chance=lambda: 0.0)
        with pytest.raises(FhirThrottled):
            await FhirClient(BASE, http, policy=policy, sleep=naps).read("Patient", "p1")
        assert naps.taken == [20, 20]

    @pytest.mark.parametrize("status", [400, 403, 404, 410, 422])
    async def test_nor_where_it_would_not_help(
        self, mock: respx.MockRouter, client: FhirClient, naps: Naps, status: int
    ) -> None:
        mock.get(f"{BASE}/Patient/p1").respond(status, json=OUTCOME)
        with pytest.raises(FhirServerError):
            await client.read("Patient", "p1")
        assert naps.taken == []

    async def test_errors_tell_whether_anything_was_sent(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.get(f"{BASE}/Patient/p1").side_effect = httpx.ConnectError("refused")
        with pytest.raises(FhirUnreachable):
            await client.read("Patient", "p1")
        mock.get(f"{BASE}/Patient/p1").side_effect = httpx.ReadTimeout("slow")
        with pytest.raises(FhirTimeout):
            await client.read("Patient", "p1")

    async def test_a_batch_of_reads_is_a_read(self, mock: respx.MockRouter, client: FhirClient) -> None:
        good = httpx.Response(200, json=answered("200 OK"))
        mock.post(BASE).side_effect = [httpx.ReadTimeout("slow"), good]
        assert [answer.status for answer in await client.batch(["Patient/p1"])] == [200]


class TestRetryAfter:
    async def test_seconds(self, mock: respx.MockRouter, client: FhirClient, naps: Naps) -> None:
        busy = httpx.Response(429, headers={"Retry-After": "7"})
        mock.get(f"{BASE}/Patient/p1").side_effect = [busy, httpx.Response(200, json=PATIENT)]
        await client.read("Patient", "p1")
        assert naps.taken == [7.1]

    async def test_a_date(self, mock: respx.MockRouter, client: FhirClient, naps: Naps) -> None:
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
        busy = httpx.Response(503, headers={"Retry-After": later})
        mock.get(f"{BASE}/Patient/p1").side_effect = [busy, httpx.Response(200, json=PATIENT)]
        await client.read("Patient", "p1")
        assert 18 < naps.taken[0] <= 20.1

    async def test_longer_than_we_wait_is_the_callers_business(
        self, mock: respx.MockRouter, client: FhirClient, naps: Naps
    ) -> None:
        mock.get(f"{BASE}/Patient/p1").respond(429, headers={"Retry-After": "3600"})
        with pytest.raises(FhirThrottled) as caught:
            await client.read("Patient", "p1")
        assert (caught.value.retry_after, naps.taken) == (3600, [])

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            (None, None),
            ("", None),
            ("soon", None),
            ("-5", None),
            ("0", 0),
            ("120", 120),
            ("Sat, 07 Mar 2026 12:00:30 GMT", 30),
            ("Sat, 07 Mar 2026 12:00:30 -0000", 30),
            ("Fri, 06 Mar 2026 12:00:00 GMT", 0),
        ],
    )
    def test_forms(self, text: str | None, seconds: float | None) -> None:
        assert parse_retry_after(text, datetime(2026, 3, 7, 12, tzinfo=UTC)) == seconds

    def test_waits_spread_out(self) -> None:
        policy = RetryPolicy(chance=lambda: 0.25)
        waits = [policy.wait(FhirBroken("x"), attempt, 0) for attempt in range(1, 5)]
        assert waits == [0.05, 0.1, 0.2, 0.4]
        assert RetryPolicy(max_attempts=20, chance=lambda: 1).wait(FhirBroken("x"), 19, 0) == 5.0


class TestWritesAreRepeatedOnlyWhereHarmless:
    @pytest.mark.parametrize(
        "fault", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.Response(503), httpx.Response(409)]
    )
    async def test_a_plain_create_never(
        self, mock: respx.MockRouter, client: FhirClient, naps: Naps, fault: Any
    ) -> None:
        mock.post(f"{BASE}/Task").side_effect = [fault]
        with pytest.raises(FhirServerError):
            await client.create(TASK)
        assert naps.taken == []

    @pytest.mark.parametrize(
        "fault",
        [
            httpx.ConnectError("x"),
            httpx.ReadTimeout("x"),
            httpx.Response(503),
            httpx.Response(409),
            httpx.Response(412),
        ],
        ids=repr,
    )
    async def test_a_conditional_create_always(self, mock: respx.MockRouter, client: FhirClient, fault: Any) -> None:
        route = mock.post(f"{BASE}/Task", headers={"If-None-Exist": "identifier=a|b"})
        route.side_effect = [fault, httpx.Response(200, json=TASK)]
        assert await client.create(TASK, if_none_exist="identifier=a|b") == TASK

    @pytest.mark.parametrize("status", [409, 412])
    async def test_a_stale_update_is_told_at_once(
        self, mock: respx.MockRouter, client: FhirClient, naps: Naps, status: int
    ) -> None:
        mock.put(f"{BASE}/Task/t1").respond(status, json=OUTCOME)
        with pytest.raises(FhirStale):
            await client.update(TASK, if_match="1")
        assert naps.taken == []

    async def test_after_a_timeout_an_update_is_not_guessed(
        self, mock: respx.MockRouter, client: FhirClient, naps: Naps
    ) -> None:
        mock.put(f"{BASE}/Task/t1").side_effect = httpx.ReadTimeout("slow")
        with pytest.raises(FhirTimeout):
            await client.update(TASK, if_match="1")
        assert naps.taken == []

    async def test_stale_after_a_broken_attempt_may_be_our_own_write(
        self, mock: respx.MockRouter, client: FhirClient
    ) -> None:
        mock.put(f"{BASE}/Task/t1").side_effect = [httpx.Response(502), httpx.Response(412)]
        with pytest.raises(FhirTimeout):
            await client.update(TASK, if_match="1")

    @pytest.mark.parametrize(
        ("requests", "fault", "repeated"),
        [
            ([CREATES, CREATES], httpx.Response(409), True),
            ([CREATES], httpx.Response(412), True),
            ([CREATES], httpx.ReadTimeout("x"), True),
            ([CREATES, GUARDED], httpx.Response(409), False),
            ([CREATES, GUARDED], httpx.ReadTimeout("x"), False),
            ([CREATES, GUARDED], httpx.ConnectError("x"), True),
            ([CREATES, GUARDED], httpx.Response(429), True),
            ([CREATES, PLAIN], httpx.Response(503), False),
            ([CREATES, {"method": "PUT", "url": "Task/t1"}], httpx.Response(503), False),
            ([CREATES, {"method": "DELETE", "url": "Task/t1"}], httpx.Response(409), False),
        ],
        ids=lambda value: value if isinstance(value, bool) else None,
    )
    async def test_a_transaction_is_as_repeatable_as_its_weakest_entry(
        self, mock: respx.MockRouter, client: FhirClient, requests: list[dict[str, str]], fault: Any, *, repeated: bool
    ) -> None:
        good = httpx.Response(200, json=answered(*["200 OK"] * len(requests)))
        mock.post(BASE).side_effect = [fault, good]
        if repeated:
            assert len(await client.transaction(transaction(*requests))) == len(requests)
        else:
            with pytest.raises(FhirServerError):
                await client.transaction(transaction(*requests))
        assert len(mock.calls) == 1 + repeated

    async def test_an_operation_with_parameters_never(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.post(f"{BASE}/$expunge").respond(503)
        with pytest.raises(FhirBroken):
            await client.operation("$expunge", {"resourceType": "Parameters"})
        assert len(mock.calls) == 1


class TestTokens:
    async def test_a_refused_token_is_renewed_once(
        self, mock: respx.MockRouter, http: httpx.AsyncClient, calls: list[CallRecord]
    ) -> None:
        tokens = Tokens()
        mock.get(f"{BASE}/Patient/p1", headers={"Authorization": "Bearer old"}).respond(401)
        mock.get(f"{BASE}/Patient/p1", headers={"Authorization": "Bearer new1"}).respond(200, json=PATIENT)
        client = FhirClient(BASE, http, token=tokens, on_call=calls.append)
        assert await client.read("Patient", "p1") == PATIENT
        assert [(call.status, call.outcome) for call in calls] == [(401, "fhir-unauthorized"), (200, "ok")]

    async def test_but_not_twice(self, mock: respx.MockRouter, http: httpx.AsyncClient) -> None:
        tokens = Tokens()
        mock.get(f"{BASE}/Patient/p1").respond(401)
        with pytest.raises(FhirUnauthorized):
            await FhirClient(BASE, http, token=tokens).read("Patient", "p1")
        assert (tokens.renewed, len(mock.calls)) == (1, 2)

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example/api/fhir?page=2",
            "http://ehr.example/api/fhir?page=2",
            "https://ehr.example:8443/api/fhir?page=2",
            "https://ehr.example/api/fhirx?page=2",
            "https://ehr.example/api?page=2",
            "https://ehr.example/api/fhir/../admin",
            "https://ehr.example/api/fhir/%2e%2e/admin",
            "https://user@ehr.example/api/fhir?page=2",
            "https://ehr.example@evil.example/api/fhir",
            "//evil.example/api/fhir",
            "/other?page=2",
            "ftp://ehr.example/api/fhir",
            "https://[broken/",
        ],
    )
    async def test_no_token_leaves_the_base(self, mock: respx.MockRouter, http: httpx.AsyncClient, url: str) -> None:
        page = {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": url}]}
        mock.get(f"{BASE}/Task").respond(200, json=page)
        elsewhere = mock.route()
        with pytest.raises(FhirMalformed) as caught:
            await FhirClient(BASE, http, token=Tokens()).search_all("Task")
        assert not elsewhere.called
        assert url not in str(caught.value)

    @pytest.mark.parametrize("id_", ["..", ".", ""])
    async def test_an_id_cannot_climb(self, client: FhirClient, id_: str) -> None:
        with pytest.raises(CheckFailed):
            await client.read("Patient", id_)

    async def test_an_id_is_quoted(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.get(url__startswith=BASE).respond(404)
        with pytest.raises(FhirNotFound):
            await client.read("Patient", "a/b?c#d")
        assert mock.calls.last.request.url.raw_path == b"/api/fhir/Patient/a%2Fb%3Fc%23d"

    @pytest.mark.parametrize("base", ["ehr.example/fhir", "ftp://ehr.example", "https://ehr.example/fhir?x=1", ""])
    def test_a_base_that_cannot_be_one(self, base: str) -> None:
        with pytest.raises(ConfigFault):
            FhirClient(base, httpx.AsyncClient())


def searchset(*entries: dict[str, Any], next_: str | None = None) -> dict[str, Any]:
    links = [{"relation": "next", "url": next_}] if next_ else []
    return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": list(entries)}


class TestPages:
    async def test_overlapping_pages_without_modes(self, mock: respx.MockRouter, client: FhirClient) -> None:
        entries = [{"resource": {"resourceType": "Task", "id": str(number)}} for number in range(4)]
        warning = {"resource": OUTCOME}
        mock.get(f"{BASE}/Task").respond(json=searchset(*entries[:3], {"resource": PATIENT}, next_=f"{BASE}?page=2"))
        mock.get(f"{BASE}?page=2").respond(
            json=searchset(*entries[2:], {"resource": PATIENT}, warning, next_="?page=3")
        )
        mock.get(f"{BASE}?page=3").respond(json={"resourceType": "Bundle", "type": "searchset"})
        found = await client.search_all("Task")
        assert [match["id"] for match in found.matches] == ["0", "1", "2", "3"]
        assert (found.included, found.outcomes, found.complete) == ([PATIENT], [OUTCOME], True)

    async def test_a_circle(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.get(url__startswith=BASE).respond(json=searchset(next_=f"{BASE}?page=2"))
        with pytest.raises(FhirMalformed):
            await client.search_all("Task")

    async def test_pages_without_end_that_hold_nothing_new(self, mock: respx.MockRouter, client: FhirClient) -> None:
        asked: list[httpx.Request] = []

        def more(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(200, json=searchset({"resource": PATIENT}, next_=f"{BASE}?page={len(asked)}"))

        mock.get(url__startswith=BASE).mock(side_effect=more)
        with pytest.raises(FhirMalformed):
            await client.search_all("Patient")
        assert len(asked) < 150

    @pytest.mark.parametrize(
        "bundle",
        [PATIENT, {"resourceType": "Bundle", "entry": {"a": 1}}, searchset({}), searchset({"resource": {"id": "x"}})],
    )
    async def test_a_page_that_is_none(self, mock: respx.MockRouter, client: FhirClient, bundle: Any) -> None:
        mock.get(f"{BASE}/Task").respond(json=bundle)
        with pytest.raises(FhirMalformed):
            await client.search_all("Task")

    @pytest.mark.parametrize("bundle", [PATIENT, {"resourceType": "Bundle", "entry": ["x"]}])
    async def test_a_history_that_is_none(self, mock: respx.MockRouter, client: FhirClient, bundle: Any) -> None:
        mock.get(f"{BASE}/Task/t1/_history").respond(json=bundle)
        with pytest.raises(FhirMalformed):
            await client.history("Task", "t1")

    async def test_how_a_search_is_asked(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.get(url__startswith=f"{BASE}/Task").respond(json=searchset())
        await client.search_bundle("Task", [("date", "ge2026-03-07T15:45:00+01:00"), ("code", "a|b"), ("code", "c,d")])
        request = mock.calls.last.request
        assert request.url.query == b"date=ge2026-03-07T15:45:00%2B01:00&code=a%7Cb&code=c,d"
        assert request.headers["Cache-Control"] == "no-cache"
        assert request.headers["Prefer"] == "handling=strict"


class TestBundles:
    @pytest.mark.parametrize(
        "body",
        [
            PATIENT,
            answered(),
            answered("200 OK", "200 OK"),
            answered("fine"),
            {"resourceType": "Bundle", "entry": [{}]},
        ],
    )
    async def test_an_answer_that_cannot_be_matched(
        self, mock: respx.MockRouter, client: FhirClient, body: Any
    ) -> None:
        mock.post(BASE).respond(200, json=body)
        with pytest.raises(FhirMalformed):
            await client.transaction(transaction(CREATES))

    async def test_a_failed_entry_fails_the_transaction(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.post(BASE).respond(200, json=answered("409 Conflict"))
        with pytest.raises(FhirStale):
            await client.transaction(transaction(CREATES))

    @pytest.mark.parametrize("etag", ["5", '"5"', 'W/"5"'])
    @pytest.mark.parametrize("location", ["Task/t1/_history/5", f"{BASE}/Task/t1/_history/5"])
    async def test_every_dialect_of_etag_and_location(
        self, mock: respx.MockRouter, client: FhirClient, etag: str, location: str
    ) -> None:
        mock.post(BASE).respond(200, json=answered("201 Created", etag=etag, location=location))
        (entry,) = await client.transaction(transaction(CREATES))
        assert entry.location
        assert (entry.etag, entry.created, entry.resource) == ('W/"5"', True, None)
        assert (entry.location.type, entry.location.id, entry.location.version) == ("Task", "t1", "5")

    async def test_an_empty_batch_asks_nothing(self, client: FhirClient) -> None:
        assert await client.batch([]) == []


class TestReadBack:
    async def test_a_server_that_returns_nothing_on_a_write(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.post(f"{BASE}/Task").respond(201, headers={"Location": f"{BASE}/Task/t1/_history/1"})
        mock.get(f"{BASE}/Task/t1/_history/1").respond(json=TASK, headers={"ETag": 'W/"1"'})
        assert (await client.create(TASK))["meta"] == {"versionId": "1"}

    async def test_or_an_outcome(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.put(f"{BASE}/Task/t1").respond(200, json=OUTCOME)
        mock.get(f"{BASE}/Task/t1").respond(json=TASK)
        assert await client.update(TASK, if_match="1") == TASK

    async def test_or_does_not_say_where(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.post(f"{BASE}/Task").respond(201)
        with pytest.raises(FhirMalformed):
            await client.create(TASK)


class TestSmallThings:
    async def test_request_ids_go_along(self, mock: respx.MockRouter, client: FhirClient) -> None:
        mock.get(f"{BASE}/Patient/p1").respond(json=PATIENT)
        with forwarding({"X-Request-Id": "r-1", "traceparent": "00-a-b-01", "Cookie": "no", "Authorization": "no"}):
            await client.read("Patient", "p1")
        sent = mock.calls.last.request.headers
        assert (sent["X-Request-Id"], sent["traceparent"]) == ("r-1", "00-a-b-01")
        assert "Cookie" not in sent
        assert "Authorization" not in sent
        await client.read("Patient", "p1")
        assert "X-Request-Id" not in mock.calls.last.request.headers

    async def test_capabilities_are_asked_for_again_when_old(
        self, mock: respx.MockRouter, http: httpx.AsyncClient
    ) -> None:
        now = [0.0]
        mock.get(f"{BASE}/metadata").respond(json={"resourceType": "CapabilityStatement"})
        client = FhirClient(BASE, http, clock=lambda: now[0], capabilities_ttl=60)
        await asyncio.gather(client.capabilities(), client.capabilities())
        assert len(mock.calls) == 1
        now[0] = 60.0
        await client.capabilities()
        assert len(mock.calls) == 2

    def test_etags_and_references(self) -> None:
        assert [version_of(etag) for etag in ("", None, "5", '"5"', 'W/"5"')] == [None, None, "5", "5", "5"]
        assert etag_of(PATIENT) == 'W/"1"'
        with pytest.raises(FhirMalformed):
            etag_of(TASK)
        assert location_of("urn:uuid:00000000-0000-4000-8000-000000000000") is None
        assert location_of("#contained") is None
        assert location_of(None) is None

    async def test_an_update_without_a_version_is_not_sent(self, client: FhirClient) -> None:
        with pytest.raises(CheckFailed):
            await client.update(TASK, if_match="")


class TestRealSockets:
    """What mocks cannot show: bodies that end early or never."""

    async def test_a_connection_cut_in_the_body(self, http: httpx.AsyncClient) -> None:
        async with serving(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"resourceType":') as base:
            with pytest.raises(FhirTimeout):
                await FhirClient(base, http, max_attempts=1).read("Patient", "p1")

    async def test_an_answer_that_never_ends(self, http: httpx.AsyncClient) -> None:
        async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", hold=True) as base:
            with pytest.raises(FhirTimeout):
                await FhirClient(base, http, max_attempts=1, longest_call=0.2).read("Patient", "p1")

    async def test_nobody_listens(self, http: httpx.AsyncClient) -> None:
        async with serving(b"") as base:
            pass
        with pytest.raises(FhirUnreachable):
            await FhirClient(base, http, max_attempts=1).read("Patient", "p1")

    async def test_a_body_packed_to_explode(self, http: httpx.AsyncClient) -> None:
        bomb = gzip.compress(json.dumps({"resourceType": "Patient", "x": "0" * 5_000_000}).encode())
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        async with serving(head.encode() + bomb) as base:
            with pytest.raises(FhirMalformed):
                await FhirClient(base, http, max_body=1_000_000).read("Patient", "p1")


@asynccontextmanager
async def serving(answer: bytes, *, hold: bool = False) -> AsyncIterator[str]:
    """A socket that gives one fixed answer to whoever comes, and then hangs up (or does not)."""
    held = asyncio.Event()

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if hold:
            await held.wait()
        writer.close()

    listener = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/fhir"
    finally:
        held.set()
        listener.close()
        await listener.wait_closed()
