"""``Idempotency-Key``: sent twice, done once, answered alike."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from fhir_aftercare import errors
from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.api.bodies import JsonRoute
from fhir_aftercare.api.idempotency import MustBeOnce, Once
from fhir_aftercare.api.middleware import LimitValues
from fhir_aftercare.api.scope import identify
from fhir_aftercare.errors import StoreUnavailable
from fhir_aftercare.observe.metrics import Metrics
from fhir_aftercare.store.database import Database
from fhir_aftercare.store.idempotency import IdempotencyKeys
from openapi.document import codes


class Sent(BaseModel):
    n: int = 0


class Server:
    """A pretend FHIR server with conditional creates: what is there is not made again."""

    def __init__(self) -> None:
        self.there: set[int] = set()
        self.runs = 0
        self.fails_with: Exception | None = None
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def create(self, n: int) -> bool:
        self.runs += 1
        self.begun.set()
        await self.go.wait()
        if self.fails_with:
            raise self.fails_with
        fresh = n not in self.there
        self.there.add(n)
        return fresh


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def app(server: Server, keys: IdempotencyKeys, metrics: Metrics) -> FastAPI:
    return app_of(server, keys, metrics)


def app_of(server: Server, keys: IdempotencyKeys, metrics: Metrics, seconds: float = 30) -> FastAPI:
    made = make_app("Test", "1", Machinery(LimitValues(seconds=seconds), keys, metrics, docs=False))
    router = APIRouter(prefix="/v1/{clinic}", route_class=JsonRoute)

    @router.post("/things", status_code=201)
    async def things(body: Sent, once: Once, response: Response) -> dict[str, Any]:
        fresh = await server.create(body.n)
        once.wrote(f"Thing/{body.n}")
        response.status_code = 201 if fresh else 200
        return {"n": body.n, "replayed": once.replayed, "earlier": list(once.earlier)}

    @router.post("/must")
    async def must(body: Sent, once: MustBeOnce) -> Sent:
        return body

    @router.post("/named")
    async def named(request: Request, client: str) -> Sent:
        identify(request.scope, client)
        return Sent()

    made.include_router(router)
    return made


def key(value: str = "k-1") -> dict[str, str]:
    return {"Idempotency-Key": value}


async def test_a_repeat_runs_the_route_again_and_keeps_the_first_status(
    app: FastAPI, reach: Callable[..., Any], server: Server, metrics: Metrics
) -> None:
    async with reach(app) as http:
        first = await http.post("/v1/a/things", json={"n": 1}, headers=key())
        again = await http.post("/v1/a/things", json={"n": 1}, headers=key())
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == {"n": 1, "replayed": False, "earlier": []}
    assert again.json() == {"n": 1, "replayed": True, "earlier": ["Thing/1"]}
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert server.runs == 2
    assert 'aftercare_idempotent_replays_total{route="/v1/{clinic}/things"} 1.0' in metrics.text()


async def test_without_a_key_nothing_is_remembered(app: FastAPI, reach: Callable[..., Any], server: Server) -> None:
    async with reach(app) as http:
        statuses = [(await http.post("/v1/a/things", json={"n": 1})).status_code for _ in range(2)]
    assert statuses == [201, 200]


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/a/things", {"n": 2}), ("/v1/b/things", {"n": 1}), ("/v1/a/things?x=1", {"n": 1})]
)
async def test_the_same_key_for_another_request_is_a_422(
    app: FastAPI, reach: Callable[..., Any], path: str, body: dict[str, int], server: Server
) -> None:
    async with reach(app) as http:
        await http.post("/v1/a/things", json={"n": 1}, headers=key())
        other = await http.post(path, json=body, headers=key())
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert server.there == {1}


async def test_the_same_key_on_another_route_is_another_key(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        await http.post("/v1/a/things", json={"n": 1}, headers=key())
        assert (await http.post("/v1/a/must", json={"n": 2}, headers=key())).status_code == 200


async def test_while_the_first_still_runs_its_repeat_is_a_409_with_a_time_to_wait(
    app: FastAPI, reach: Callable[..., Any], server: Server
) -> None:
    server.go.clear()
    async with reach(app) as http:
        first = asyncio.create_task(http.post("/v1/a/things", json={"n": 1}, headers=key()))
        await server.begun.wait()
        repeat = await http.post("/v1/a/things", json={"n": 1}, headers=key())
        server.go.set()
        assert (await first).status_code == 201
    assert (repeat.status_code, repeat.json()["code"]) == (409, "still-running")
    assert 1 <= int(repeat.headers["retry-after"]) <= 5
    assert server.runs == 1


async def test_a_refusal_leaves_the_key_free_for_the_corrected_request(
    app: FastAPI, reach: Callable[..., Any], server: Server
) -> None:
    async with reach(app) as http:
        invalid = await http.post("/v1/a/things", json={"n": "many"}, headers=key())
        server.fails_with = errors.NotReady(["oriented"])
        refused = await http.post("/v1/a/things", json={"n": 3}, headers=key())
        server.fails_with = None
        right = await http.post("/v1/a/things", json={"n": 4}, headers=key())
    assert [invalid.status_code, refused.status_code, right.status_code] == [422, 409, 201]


@pytest.mark.parametrize(
    ("fault", "status"), [(errors.FhirTimeout("x"), 504), (errors.FhirBroken("x"), 502), (KeyError("x"), 500)]
)
async def test_after_a_failure_of_unknown_outcome_only_the_same_request_runs_again(
    app: FastAPI, reach: Callable[..., Any], server: Server, fault: Exception, status: int
) -> None:
    server.fails_with = fault
    async with reach(app) as http:
        failed = await http.post("/v1/a/things", json={"n": 1}, headers=key())
        server.fails_with = None
        other = await http.post("/v1/a/things", json={"n": 2}, headers=key())
        again = await http.post("/v1/a/things", json={"n": 1}, headers=key())
    assert (failed.status_code, other.status_code, again.status_code) == (status, 422, 201)
    assert again.json()["replayed"] is False


async def test_a_request_cut_off_by_the_time_limit_may_run_again_at_once(
    reach: Callable[..., Any], server: Server, keys: IdempotencyKeys, metrics: Metrics
) -> None:
    server.go.clear()
    async with reach(app_of(server, keys, metrics, seconds=0.5)) as http:
        cut = await http.post("/v1/a/things", json={"n": 1}, headers=key())
        server.go.set()
        again = await http.post("/v1/a/things", json={"n": 1}, headers=key())
    assert (cut.status_code, again.status_code) == (504, 201)


async def test_after_a_crash_the_request_runs_again_when_the_lease_has_ended(
    app: FastAPI, reach: Callable[..., Any], keys: IdempotencyKeys
) -> None:
    async def crash(*_: Any) -> None:
        raise SystemExit

    alive = keys.done, keys.failed
    keys.done = keys.failed = crash  # type: ignore[method-assign]
    async with reach(app) as http:
        with pytest.raises(SystemExit):
            await http.post("/v1/a/things", json={"n": 1}, headers=key())
        keys.done, keys.failed = alive  # type: ignore[method-assign]
        early = await http.post("/v1/a/things", json={"n": 1}, headers=key())
        keys._now = lambda: datetime.now(UTC) + timedelta(seconds=91)
        late = await http.post("/v1/a/things", json={"n": 1}, headers=key())
    assert (early.status_code, late.status_code) == (409, 200)


async def test_a_route_that_must_have_a_key_says_so(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        answer = await http.post("/v1/a/must", json={})
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency-key-missing")


@pytest.mark.parametrize("bad", ["", '""', "a b", "x" * 256, "é"])
async def test_a_key_that_is_none_is_refused(app: FastAPI, reach: Callable[..., Any], bad: str) -> None:
    async with reach(app) as http:
        answer = await http.post("/v1/a/things", json={}, headers={"Idempotency-Key": bad.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-input")
    assert answer.json()["where"] == ["Idempotency-Key"]


async def test_quotes_around_a_key_make_no_difference(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        await http.post("/v1/a/things", json={"n": 1}, headers=key('"k-1"'))
        assert (await http.post("/v1/a/things", json={"n": 1}, headers=key("k-1"))).json()["replayed"] is True


async def test_clients_do_not_share_keys(keys: IdempotencyKeys, reach: Callable[..., Any]) -> None:
    app = make_app("Test", "1", Machinery(keys=keys, docs=False))

    def who(request: Request, client: str) -> None:
        identify(request.scope, client)

    router = APIRouter(dependencies=[Depends(who)])

    @router.post("/things")
    async def things(once: Once) -> bool:
        return once.replayed

    app.include_router(router)
    async with reach(app) as http:
        replayed = [(await http.post(f"/things?client={c}", headers=key())).json() for c in ("a", "b")]
    assert replayed == [False, False]


async def test_without_the_store_a_request_with_a_key_is_refused_and_one_without_is_served(
    tmp_path: Path, reach: Callable[..., Any], server: Server
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'aftercare.db'}")
    app = make_app("Test", "1", Machinery(keys=IdempotencyKeys(database), docs=False))

    @app.post("/things")
    async def things(once: Once) -> bool:
        return once.replayed

    async with reach(app) as http:
        refused = await http.post("/things", headers=key())
        served = await http.post("/things")
    await database.close()
    assert (refused.status_code, refused.json()["code"]) == (503, "store-unavailable")
    assert served.status_code == 200


async def test_what_was_written_is_acknowledged_even_if_the_key_cannot_be_settled(
    app: FastAPI, reach: Callable[..., Any], keys: IdempotencyKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: Any) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(keys, "done", gone)
    with capture_logs() as lines:
        async with reach(app) as http:
            answer = await http.post("/v1/a/things", json={"n": 1}, headers=key())
    assert answer.status_code == 201
    assert "idempotency key not settled" in [line["event"] for line in lines]


async def test_sixteen_equal_requests_at_once_make_one_thing(
    app: FastAPI, reach: Callable[..., Any], server: Server
) -> None:
    async with reach(app) as http:
        answers = await asyncio.gather(*(http.post("/v1/a/things", json={"n": 1}, headers=key()) for _ in range(16)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert server.there == {1}


@pytest.mark.parametrize(("path", "required"), [("things", False), ("must", True)])
def test_the_openapi_file_shows_the_header_and_what_may_come_of_it(app: FastAPI, path: str, required: bool) -> None:
    document = app.openapi()
    operation = document["paths"][f"/v1/{{clinic}}/{path}"]["post"]
    (header,) = [parameter for parameter in operation["parameters"] if parameter["in"] == "header"]
    assert (header["name"], header["required"]) == ("Idempotency-Key", required)
    assert "pattern" in str(header["schema"])
    examples = {code for described in operation["responses"].values() for code in codes(document, described)}
    assert {"idempotency-key-reused", "still-running", "store-unavailable", "invalid-input"} <= examples
    assert ("idempotency-key-missing" in examples) is required


async def test_a_repeat_never_gets_the_status_of_an_answer_without_a_body_for_one_that_has_one(
    keys: IdempotencyKeys, reach: Callable[..., Any]
) -> None:
    app = make_app("Test", "1", Machinery(keys=keys, docs=False))

    @app.post("/things")
    async def things(once: Once) -> Response:
        return Response("was there") if once.replayed else Response(status_code=204)

    async with reach(app) as http:
        answers = [await http.post("/things", headers=key()) for _ in range(2)]
    assert [(answer.status_code, answer.text) for answer in answers] == [(204, ""), (200, "was there")]
