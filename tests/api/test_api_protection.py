"""Nobody calls a route of a clinic without a token for that clinic and that call; everything else is as before."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from structlog.testing import capture_logs

from api.bodies import body_of_infusion
from api.service import Service, problem_of, running
from fhir_aftercare.api import scopes
from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.api.clinics import PREFIX, Clinic
from fhir_aftercare.api.security import OPEN, PLAN_READERS, admit
from fhir_aftercare.config import Settings
from fhir_aftercare.flows.context import Clinics
from fhir_aftercare.intake.cds_routes import cds_router
from fhir_aftercare.service import create_app
from fhir_aftercare.ui.routes import ui_router
from flows.cases import LEFT
from openapi.document import codes, followed, operations
from smart.bearer_issuer import ATTACKER, AUDIENCE, INTROSPECTION, ISSUER, JWKS, Issuer, down
from world import make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from openapi.document import Operation
    from servers import Server

ON: dict[str, Any] = {"auth_issuers": ISSUER, "auth_audience": AUDIENCE}
ALL = " ".join(each.scope for each in scopes.PERMISSIONS)
METADATA_URL = f"{AUDIENCE}/.well-known/oauth-protected-resource"
# What is open to all, and why.
OPEN_TO_ALL = {
    "/livez": "a probe",
    "/readyz": "a probe; tells states and no detail",
    "/docs": "documentation",
    "/docs/start.js": "documentation",
    "/docs/assets": "documentation",
    "/openapi.json": "documentation",
    "/.well-known/oauth-protected-resource": "read before there is a token",
    "/.well-known/jwks.json": "public keys",
    "/hooks/{clinic}/subscription": "the clinic's FHIR server proves itself by its secret",
    "/hooks/{clinic}/subscription/{type_}/{id_}": "the clinic's FHIR server proves itself by its secret",
    "/hooks/{clinic}/topic": "the clinic's FHIR server proves itself by its secret or its signature",
    **{
        f"{base}cds-services{rest}": "the EHR proves itself by a token it signs"
        for base in ("/", "/cds/{clinic}/")
        for rest in ("", "/aftercare-discharge", "/aftercare-discharge/feedback")
    },
    "/launch": "only a registered EHR can be launched from",
    "/launch/{clinic}": "only a registered EHR can be launched from",
    "/callback": "needs a launch under way and its one-use state",
    "/app/signed-out/{clinic}": "says so, and shows nothing",
    "/app/static/{name}": "how pages look and what they do",
}
# Need the session of the launch: tests/ui/test_pages_in_general.py asks each of them without one.
PAGES: Final = "/app/l/{launch_id}/"


class Now:
    """The real time, for an issuer."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(clock=Now())  # type: ignore[arg-type]


@asynccontextmanager
async def protected(
    issuer: Issuer, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> AsyncIterator[Service]:
    """Run the service with authentication; what it fetches from the issuer it fetches from ``issuer``."""
    monkeypatch.setattr("fhir_aftercare.smart.http.new_client", issuer.http)
    monkeypatch.setattr("fhir_aftercare.flows.settle._JITTER", 0.0)
    async with running(server, folder, settings={**ON, **more.pop("settings", {})}, **more) as made:
        yield made


@pytest.fixture
async def guarded(
    issuer: Issuer, sandbox: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    async with protected(issuer, sandbox, tmp_path, monkeypatch) as made:
        yield made


def bearing(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def needing(app: FastAPI) -> list[Operation]:
    return [each for each in operations(app.openapi()).values() if "security" in each.definition]


def needed_by(operation: Operation) -> str:
    found = {scope for way in operation.definition["security"] for given in way.values() for scope in given}
    (scope,) = found
    return str(scope)


async def call(service: Service, operation: Operation, clinic: str, headers: dict[str, str]) -> httpx.Response:
    """Call an operation with values that fit nothing but its path."""
    path = re.sub(r"\{(\w+)\}", lambda found: clinic if found[1] == "clinic" else "1", operation.path)
    json_body = {"json": {}} if operation.method == "post" else {}
    return await service.http.request(operation.method.upper(), path, headers=headers, **json_body)


# --- every route -----------------------------------------------------------------------------------------------------
def whole_app() -> FastAPI:
    """Give the application with the doors that a clinic's settings open when it starts."""
    app = create_app(Settings.model_construct())
    app.include_router(cds_router())
    app.include_router(ui_router())
    return app


def test_every_route_is_protected_or_open_for_a_reason() -> None:
    found = list(iter_route_contexts(whole_app().routes))
    assert len(found) > 20
    assert OPEN_TO_ALL.keys() <= {route.path for route in found}, "what is gone needs no reason"
    for route in found:
        if (route.path or "").startswith(PAGES):
            continue
        asks = any(each.dependency is admit for each in getattr(route, "dependencies", None) or ())
        assert asks is not (route.path in OPEN_TO_ALL), f"{route.path}: say what its callers need (api.security)"
        assert not (route.path or "").startswith("/v1") or asks


def test_every_route_names_one_scope_of_the_table_and_what_it_answers_without() -> None:
    app = create_app(Settings.model_construct())
    document = app.openapi()
    known = {each.scope: each.says for each in scopes.PERMISSIONS}
    schemes = document["components"]["securitySchemes"]
    assert {schemes[name]["type"] for name in schemes} == {"openIdConnect", "oauth2"}
    assert schemes["clientCredentials"]["flows"]["clientCredentials"]["scopes"] == known
    for operation in operations(document).values():
        if not operation.path.startswith("/v1"):
            assert "security" not in operation.definition
            continue
        assert [set(way) for way in operation.definition["security"]] == [{"openId"}, {"clientCredentials"}]
        assert needed_by(operation) in known
        responses = dict(operation.responses())
        assert codes(document, responses["401"]) == {"unauthenticated"}
        assert "forbidden" in codes(document, responses["403"])
        assert "WWW-Authenticate" in followed(document, responses["401"])["headers"]


async def test_no_route_of_a_clinic_answers_without_a_token(guarded: Service) -> None:
    every = needing(guarded.app)
    assert len(every) > 15
    for operation in every:
        answer = await call(guarded, operation, "harbor", {})
        problem_of(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == f'Bearer resource_metadata="{METADATA_URL}"'
    assert not guarded.wire.sent


async def test_no_route_answers_with_every_scope_but_its_own(guarded: Service, issuer: Issuer) -> None:
    clinic = guarded.world.context.clinic.id
    for operation in needing(guarded.app):
        needed = needed_by(operation)
        wider = next(each.within for each in scopes.PERMISSIONS if each.scope == needed)
        token = issuer.token(clinic=clinic, scope=" ".join(set(ALL.split()) - {needed, *wider}))
        answer = await call(guarded, operation, clinic, bearing(token))
        assert problem_of(answer, 403, "forbidden")["where"] == ["scope"]
        challenge = f'Bearer error="insufficient_scope", scope="{needed}", resource_metadata="{METADATA_URL}"'
        assert answer.headers["www-authenticate"] == challenge
    assert not guarded.wire.sent


async def test_no_route_answers_for_another_clinic_or_tells_whether_there_is_one(
    issuer: Issuer, sandbox: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {"quay": (await make_world(sandbox)).context}
    async with protected(issuer, sandbox, tmp_path, monkeypatch, others=others) as service:
        headers = {**bearing(issuer.token(clinic=["elsewhere"], scope=ALL)), "x-request-id": "same"}
        for operation in needing(service.app):
            answers = [await call(service, operation, name, headers) for name in ("quay", "nowhere", "No.Clinic")]
            assert problem_of(answers[0], 403, "forbidden")["where"] == ["clinic"]
            assert len({(each.status_code, each.text, str(each.headers)) for each in answers}) == 1
        assert not service.wire.sent
        # Its own clinic may be missing here; that is told.
        problem_of(await service.get("/worklist", clinic="elsewhere", headers=headers), 404, "not-found")


async def test_a_good_token_opens_its_clinic_and_goes_no_further(guarded: Service, issuer: Issuer) -> None:
    clinic = guarded.world.context.clinic.id
    answer = await guarded.get("/worklist", headers=bearing(issuer.token(clinic=["quay", clinic])))
    assert answer.status_code == 200, answer.text
    assert guarded.wire.sent
    assert not [each for each in guarded.wire.sent if "authorization" in each.headers]
    assert issuer.counts[JWKS] == 1


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs", "/docs/start.js", "/openapi.json"])
async def test_what_is_open_needs_no_token_and_minds_none(guarded: Service, issuer: Issuer, path: str) -> None:
    assert (await guarded.http.get(path)).status_code == 200
    assert (await guarded.http.get(path, headers=bearing("rubbish"))).status_code == 200
    assert not issuer.asked


# --- how it is refused -----------------------------------------------------------------------------------------------
async def test_a_token_that_is_refused_is_told_why_and_never_repeated(guarded: Service, issuer: Issuer) -> None:
    now = int(datetime.now(UTC).timestamp())
    token = issuer.token(clinic="harbor", exp=now - 3600)
    with capture_logs() as lines:
        answer = await guarded.get("/worklist", headers=bearing(token))
    body = problem_of(answer, 401, "unauthenticated")
    assert (body["where"], body["detail"]) == (["exp"], "The access token has expired.")
    assert answer.headers["www-authenticate"] == (
        'Bearer error="invalid_token", error_description="The access token has expired.", '
        f'resource_metadata="{METADATA_URL}"'
    )
    assert {"event": "token refused", "log_level": "info", "code": "token-rejected", "error": "exp"}.items() <= next(
        line for line in lines if line["event"] == "token refused"
    ).items()
    said = f"{json.dumps(lines, default=str)} {answer.text} {answer.headers}"
    assert not [part for part in token.split(".") if part in said]


async def test_the_refusal_comes_as_fhir_where_that_is_preferred(guarded: Service) -> None:
    answer = await guarded.get("/worklist", headers={"accept": "application/fhir+json"})
    assert answer.status_code == 401
    assert answer.json()["issue"][0]["code"] == "login"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "sign",
    [
        {"key": ATTACKER},
        {"aud": "https://other.example"},
        {"iss": "https://evil.example"},
        {"header": {"typ": "JWT"}},
        {"nbf": 9_999_999_999},
    ],
)
async def test_a_forged_token_is_invalid(guarded: Service, issuer: Issuer, sign: dict[str, Any]) -> None:
    answer = await guarded.get("/worklist", headers=bearing(issuer.token(clinic="harbor", **sign)))
    problem_of(answer, 401, "unauthenticated")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_a_token_anywhere_but_in_the_header_is_not_looked_at(guarded: Service, issuer: Issuer) -> None:
    token = issuer.token(clinic="harbor")
    for answer in (
        await guarded.get("/worklist", params={"access_token": token}),
        await guarded.get("/worklist", headers={"cookie": f"access_token={token}"}),
        await guarded.post("/infusions", {"access_token": token}),
    ):
        problem_of(answer, 401, "unauthenticated")
        assert "error=" not in answer.headers["www-authenticate"]


async def test_an_authorization_of_another_kind_is_refused(guarded: Service, issuer: Issuer) -> None:
    token = issuer.token(clinic="harbor")
    path = guarded.url("/worklist")
    for given in (["Basic dXNlcjpwYXNz"], [f"DPoP {token}"], [token], [f"Bearer {token}", f"Bearer {token}"]):
        answer = await guarded.http.get(path, headers=[("authorization", each) for each in given])
        problem_of(answer, 401, "unauthenticated")
        assert 'error="invalid_request"' in answer.headers["www-authenticate"]
    for given in (["Bearer"], ["Bearer "], [f"Bearer {token},{token}"], [f"Bearer {token} {token}"]):
        answer = await guarded.http.get(path, headers=[("authorization", each) for each in given])
        problem_of(answer, 401, "unauthenticated")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_the_word_bearer_may_be_written_anyhow(guarded: Service, issuer: Issuer) -> None:
    token = issuer.token(clinic=guarded.world.context.clinic.id)
    assert (await guarded.get("/worklist", headers={"authorization": f"bEARER {token}"})).status_code == 200


async def test_a_stranger_learns_nothing_of_what_a_body_must_be(guarded: Service) -> None:
    for body in ({"patient": 7}, [], None):
        problem_of(await guarded.post("/infusions", body), 401, "unauthenticated")


async def test_while_the_issuer_is_down_it_is_503_and_not_401(guarded: Service, issuer: Issuer) -> None:
    issuer.instead[JWKS] = down()
    answer = await guarded.get("/worklist", headers=bearing(issuer.token(clinic="harbor")))
    assert answer.status_code == 503
    assert answer.json()["code"] == "issuer-unavailable"
    assert int(answer.headers["retry-after"]) > 0
    assert "www-authenticate" not in answer.headers


async def test_an_opaque_token_is_looked_up_where_the_settings_say(
    issuer: Issuer, sandbox: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "auth_introspection_url": ISSUER + INTROSPECTION,
        "auth_introspection_client": "aftercare",
        "auth_introspection_secret": "s3cret",
    }
    async with protected(issuer, sandbox, tmp_path, monkeypatch, settings=settings) as service:
        clinic = service.world.context.clinic.id
        issuer.active["opaque"] = issuer.claims(clinic=clinic)
        assert (await service.get("/worklist", headers=bearing("opaque"))).status_code == 200
        assert issuer.authorizations[0].startswith("Basic ")
        problem_of(await service.get("/worklist", headers=bearing("other")), 401, "unauthenticated")


# --- idempotency -----------------------------------------------------------------------------------------------------
async def test_an_idempotency_key_is_its_callers_alone(guarded: Service, issuer: Issuer) -> None:
    clinic = guarded.world.context.clinic.id
    patient = await guarded.world.patient()
    encounter = await guarded.world.encounter(patient)
    guarded.world.clock.move_to(LEFT)

    async def record(stop: str, **claims: Any) -> httpx.Response:
        token = issuer.token(clinic=clinic, scope=ALL, **claims)
        body = body_of_infusion(guarded.world, patient, encounter, status=stop)
        return await guarded.post("/infusions", body, headers={**bearing(token), "idempotency-key": "one"})

    first = await record("completed")
    assert first.status_code == 201, first.text
    again = await record("completed", jti="a fresh token of the same caller")
    assert again.headers["idempotent-replayed"] == "true"
    problem_of(await record("stopped"), 422, "idempotency-key-reused")
    for claims in ({"client_id": "another"}, {"sub": "another person"}):
        answer = await record("completed", **claims)
        assert answer.status_code == 200, answer.text
        assert "idempotent-replayed" not in answer.headers


# --- what is not said is not open ------------------------------------------------------------------------------------
def app_with(machinery: Machinery) -> FastAPI:
    app = make_app("Test", "1", machinery)
    router = APIRouter(prefix=PREFIX)

    @router.get("/forgotten")
    async def forgotten(clinic: Clinic) -> str:
        return "open"

    @router.get("/said", dependencies=[PLAN_READERS])
    async def said(clinic: Clinic) -> str:
        return "open"

    app.include_router(router)
    app.state.clinics = Clinics({"harbor": None})  # type: ignore[dict-item]
    return app


async def get(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.localhost") as http:
        return await http.get(path)


async def test_a_route_that_says_nothing_is_closed_even_where_all_is_open() -> None:
    app = app_with(Machinery(docs=False, protection=OPEN))
    assert (await get(app, "/v1/clinics/harbor/said")).status_code == 200
    answer = await get(app, "/v1/clinics/harbor/forgotten")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_an_application_that_says_nothing_of_protection_lets_nobody_in() -> None:
    app = app_with(Machinery(docs=False))
    assert (await get(app, "/v1/clinics/harbor/said")).status_code == 401


async def test_nobody_gets_in_before_the_service_has_started() -> None:
    app = create_app(Settings(**ON))
    assert (await get(app, "/v1/clinics/harbor/worklist")).status_code == 401


async def test_without_issuers_everything_is_as_before(small_service: Service) -> None:
    assert (await small_service.get("/worklist")).status_code == 200
    assert (await small_service.get("/worklist", headers=bearing("not looked at"))).status_code == 200
