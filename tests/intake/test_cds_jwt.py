"""Only a known CDS client may call: its token is checked on every call, and no address off the list is ever fetched."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey
from structlog.testing import capture_logs

from fhir_aftercare.errors import StoreUnavailable
from fhir_aftercare.intake.cds_hooks import DEFAULT_TIMES
from fhir_aftercare.intake.cds_replays import MemoryReplays, StoredReplays
from fhir_aftercare.intake.cds_settings import CdsClient, CdsSettings
from fhir_aftercare.store.database import Database
from fhir_aftercare.store.idempotency import IdempotencyKeys
from intake.hooks_cases import (
    API,
    FEEDBACK,
    ISS,
    JKU,
    KEY,
    LAUNCH,
    OTHER_KEY,
    ROOT_SERVICE,
    RSA,
    SERVICE,
    SERVICES,
    SETTINGS,
    calling,
    elsewhere,
    token,
)
from world import make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from intake.hooks_cases import Ehr
    from servers import Server
    from world import World


@pytest.fixture
async def world(sandbox: Server) -> World:
    return await make_world(sandbox)


@pytest.fixture
async def ehr(world: World) -> AsyncIterator[Ehr]:
    async with calling(world) as made:
        yield made


def refused(answer: httpx.Response, status: int = 401) -> str:
    """Give the text of a refusal, when it is an OperationOutcome with a remedy."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    issue = answer.json()["issue"][0]
    assert issue["diagnostics"]
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    return str(issue["details"]["text"])


@pytest.mark.parametrize("key", [KEY, RSA])
async def test_both_algorithms_of_the_specification_are_accepted(ehr: Ehr, key: ECKey | RSAKey) -> None:
    assert (await ehr.get(SERVICES, token(SERVICES, key=key))).status_code == 200


@pytest.mark.parametrize(
    "aud", [f"{API}{SERVICES}", [f"{API}{SERVICES}"], ["https://other.example", f"{API}{SERVICES}"]]
)
async def test_the_audience_is_a_string_or_an_array(ehr: Ehr, aud: Any) -> None:
    assert (await ehr.get(SERVICES, token(SERVICES, aud=aud))).status_code == 200


async def test_the_token_may_name_its_key_set_if_that_is_on_the_list(ehr: Ehr) -> None:
    assert (await ehr.get(SERVICES, token(SERVICES, header={"jku": JKU}))).status_code == 200


@pytest.mark.parametrize("path", [SERVICES, "/cds-services"])
async def test_discovery_needs_a_token_too(ehr: Ehr, path: str) -> None:
    assert "no token" in refused(await ehr.get(path, None))


@pytest.mark.parametrize("path", [SERVICE, FEEDBACK, ROOT_SERVICE])
async def test_no_other_call_is_served_without_a_token(ehr: Ehr, path: str) -> None:
    body = ehr.hook("Patient/1", "Encounter/1") if "feedback" not in path else {"feedback": []}
    assert "no token" in refused(await ehr.post(path, body, None))
    assert ehr.network.asked == []


@pytest.mark.parametrize(
    ("said", "claims", "header"),
    [
        ("issuer", {"iss": "https://evil.example"}, {}),
        ("issuer", {"iss": None}, {}),
        ("issuer", {"iss": [ISS]}, {}),
        ("another address", {"aud": f"{API}{SERVICE}"}, {}),
        ("another address", {"aud": f"{API}{SERVICES}/"}, {}),
        ("another address", {"aud": f"{API}/cds/other/cds-services"}, {}),
        ("another address", {"aud": [[f"{API}{SERVICES}"]]}, {}),
        ("another address", {"aud": None}, {}),
        ("expired", {"iat": 1_700_000_000, "exp": 1_700_000_240}, {}),
        ("until when", {"exp": None}, {}),
        ("until when", {"iat": None}, {}),
        ("until when", {"exp": "soon"}, {}),
        ("until when", {"exp": True}, {}),
        ("until when", {"exp": 1e300}, {}),
        # Far off: these are worked out when the tests are collected.
        ("future", {"iat": int(time.time()) + 90_000, "exp": int(time.time()) + 90_100}, {}),
        ("longer than an hour", {"exp": int(time.time()) + 40_000}, {}),
        ("no id", {"jti": None}, {}),
        ("no id", {"jti": ""}, {}),
        ("no id", {"jti": 7}, {}),
        ("no key", {}, {"kid": None}),
        ("header", {}, {"typ": ""}),
        ("header", {}, {"typ": "at+jwt"}),
        ("key set is not on the list", {}, {"jku": "https://evil.example/jwks.json"}),
        ("key set is not on the list", {}, {"jku": JKU + "?x=1"}),
        ("not by a key", {}, {"kid": "another"}),
    ],
)
async def test_a_token_that_is_not_right_is_refused_and_nothing_off_the_list_is_fetched(
    ehr: Ehr, said: str, claims: dict[str, Any], header: dict[str, Any]
) -> None:
    assert said in refused(await ehr.get(SERVICES, token(SERVICES, header=header, **claims)))
    assert {str(each.url) for each in ehr.network.asked} <= {JKU}


async def test_what_is_wrong_with_issuer_or_key_set_is_told_before_anything_is_fetched(ehr: Ehr) -> None:
    await ehr.get(SERVICES, token(SERVICES, iss="https://evil.example"))
    await ehr.get(SERVICES, token(SERVICES, header={"jku": "http://127.0.0.1/admin"}))
    assert ehr.network.asked == []


async def test_a_key_of_the_same_name_that_is_not_the_clients_does_not_help(ehr: Ehr) -> None:
    assert "not by a key" in refused(await ehr.get(SERVICES, token(SERVICES, key=OTHER_KEY)))


@pytest.mark.parametrize("curve", ["P-256", "P-521"])
async def test_other_algorithms_are_refused(ehr: Ehr, curve: str) -> None:
    key = ECKey.generate_key(curve, {"kid": "ehr-2"})
    ehr.network.keys.append(key)
    alg = {"P-256": "ES256", "P-521": "ES512"}[curve]
    assert "ES384 or RS384" in refused(await ehr.get(SERVICES, token(SERVICES, key=key, header={"alg": alg})))


@pytest.mark.parametrize("alg", ["none", "HS256", "HS384"])
async def test_no_signature_and_no_shared_secret_is_ever_enough(ehr: Ehr, alg: str) -> None:
    head = (
        base64.urlsafe_b64encode(json.dumps({"alg": alg, "typ": "JWT", "kid": "ehr-1"}).encode()).decode().rstrip("=")
    )
    _, body, signature = token(SERVICES).split(".")
    assert "ES384 or RS384" in refused(await ehr.get(SERVICES, f"{head}.{body}.{signature}"))
    refused(await ehr.get(SERVICES, f"{head}.{body}."))


async def test_a_token_is_good_for_one_call(ehr: Ehr) -> None:
    signed = token(SERVICES)
    assert (await ehr.get(SERVICES, signed)).status_code == 200
    assert "used before" in refused(await ehr.get(SERVICES, signed))


async def test_a_refused_token_does_not_use_up_the_id_of_a_good_one(ehr: Ehr) -> None:
    refused(await ehr.get(SERVICES, token(SERVICES, key=OTHER_KEY, jti="once")))
    assert (await ehr.get(SERVICES, token(SERVICES, jti="once"))).status_code == 200


async def test_keys_are_read_once_and_again_only_for_a_new_key_and_not_by_every_call(ehr: Ehr) -> None:
    for _ in range(5):
        await ehr.get(SERVICES)
    assert len(ehr.network.asked) == 1
    for number in range(5):
        refused(await ehr.get(SERVICES, token(SERVICES, header={"kid": f"unknown-{number}"})))
    assert len(ehr.network.asked) == 1, "within a minute an unknown key has nothing read again"


async def test_slow_keys_do_not_hold_the_caller_and_are_there_for_the_next_call(world: World) -> None:
    async with calling(world, times=DEFAULT_TIMES) as ehr:
        ehr.network.key_delay = 0.4
        started = time.perf_counter()
        answer = await ehr.get(SERVICES)
        assert time.perf_counter() - started < 0.5
        assert "still being read" in refused(answer, 503)
        assert answer.headers["retry-after"]
        for _ in range(20):
            answer = await ehr.get(SERVICES)
            if answer.status_code == 200:
                break
        assert answer.status_code == 200
        assert len(ehr.network.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.Response(500),
        lambda: httpx.Response(302, headers={"location": "http://127.0.0.1/admin"}),
        lambda: httpx.Response(200, content=b"{" + b" " * 70_000 + b"}"),
        lambda: httpx.Response(200, content=b"<html>"),
        lambda: httpx.Response(200, json={"keys": []}),
    ],
)
async def test_keys_that_cannot_be_read_are_no_yes(ehr: Ehr, answer: Any) -> None:
    ehr.network.key_answer = answer
    assert "could not be read" in refused(await ehr.get(SERVICES), 503)
    assert {str(each.url) for each in ehr.network.asked} == {JKU}


async def test_a_tenant_is_asked_for_where_the_settings_name_one(world: World) -> None:
    with_tenant = CdsSettings(API, LAUNCH, (CdsClient(ISS, (JKU,), "harbor-tenant"),))
    async with calling(world, {"harbor": with_tenant}) as ehr:
        assert "tenant" in refused(await ehr.get(SERVICES))
        assert "tenant" in refused(await ehr.get(SERVICES, token(SERVICES, tenant="another")))
        assert (await ehr.get(SERVICES, token(SERVICES, tenant="harbor-tenant"))).status_code == 200


async def test_another_clinics_client_is_a_stranger(world: World) -> None:
    south = CdsSettings(API, LAUNCH, (CdsClient("https://south.example.com", (JKU,)),))
    async with calling(world, {"harbor": SETTINGS, "south": south}, others={"south": elsewhere(world, "south")}) as ehr:
        path = "/cds/south/cds-services"
        assert "issuer" in refused(await ehr.get(path))
        assert (await ehr.get(path, token(path, iss="https://south.example.com"))).status_code == 200


async def test_if_used_tokens_cannot_be_remembered_it_is_no_yes(ehr: Ehr, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any) -> bool:
        raise StoreUnavailable("The service's own database does not answer.")

    monkeypatch.setattr(MemoryReplays, "first", fails)
    refused(await ehr.get(SERVICES), 503)


async def test_nothing_of_a_token_is_logged_or_answered(ehr: Ehr) -> None:
    secret = token(SERVICES, jti="secret-jti", sub="secret-sub", header={"kid": "secret-kid"})
    with capture_logs() as logs:
        answer = await ehr.get(SERVICES, secret)
    text = f"{logs} {answer.text} {dict(answer.headers)}"
    assert "secret" not in text
    assert secret[:20] not in text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.text(st.characters(codec="ascii"), max_size=60), st.lists(st.binary(max_size=30), max_size=4)))
async def test_any_text_as_a_token_is_refused(ehr: Ehr, given_: Any) -> None:
    parts = given_ if isinstance(given_, str) else ".".join(base64.urlsafe_b64encode(each).decode() for each in given_)
    if not parts.isprintable():
        return
    refused(await ehr.get(SERVICES, parts or "x"))


async def test_used_tokens_are_remembered_over_a_restart_and_by_another_process(tmp_path: Path) -> None:
    until = datetime.now(UTC) + timedelta(minutes=5)
    url = f"sqlite:///{tmp_path / 'aftercare.db'}"
    for expected in (True, False):
        database = Database(url)
        await database.upgrade()
        replays = StoredReplays(IdempotencyKeys(database))
        assert await replays.first(ISS, "one", until) is expected
        assert await replays.first(ISS, "one", until) is False
        await database.close()


async def test_a_token_that_has_expired_is_forgotten() -> None:
    now = datetime.now(UTC)
    replays = MemoryReplays(lambda: now)
    for number in range(10_002):
        assert await replays.first(ISS, str(number), now - timedelta(seconds=1))
    assert await replays.first(ISS, "0", now + timedelta(minutes=1))
    assert not await replays.first(ISS, "0", now + timedelta(minutes=1))
