"""Tokens that say nothing by themselves: looked up at the authorization server, remembered for a moment."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.responses import JSONResponse, Response

from fhir_aftercare.api import scopes
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.smart.bearer import BearerTokens, Trust
from fhir_aftercare.smart.bearer_faults import IssuerUnavailable, TokenRejected
from fhir_aftercare.smart.http import BoundedHttp, Limits
from fhir_aftercare.smart.introspection import MOST_AT_ONCE, MOST_REMEMBERED, Introspection, IntrospectionClient
from fhir_aftercare.smart.keys import KeyRing
from smart.bearer_issuer import AUDIENCE, INTROSPECTION, ISSUER, OTHER_ISSUER, Issuer, down

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

OPAQUE = "ya29.a-token-that-says-nothing"


@pytest.fixture
def issuer() -> Issuer:
    made = Issuer()
    made.active[OPAQUE] = {**made.claims(), "token_type": "Bearer"}
    return made


@pytest.fixture
async def client(issuer: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    async with issuer.http() as made:
        yield made


def us(**changed: Any) -> IntrospectionClient:
    given = {"issuer": ISSUER, "endpoint": ISSUER + INTROSPECTION, "client_id": "aftercare", "secret": "s3cret%&"}
    return IntrospectionClient(**{**given, **changed})


def asking(issuer: Issuer, client: httpx.AsyncClient, *, revocable: bool = False, **changed: Any) -> BearerTokens:
    http = BoundedHttp(client, Limits(seconds=1))
    trust = Trust(issuers=(ISSUER, OTHER_ISSUER), audience=AUDIENCE, permissions=scopes.WAYS)
    introspection = Introspection(us(**changed), http, now=issuer.clock)
    return BearerTokens(trust, http, introspection=introspection, revocable=revocable, now=issuer.clock)


async def test_an_opaque_token_is_looked_up(issuer: Issuer, client: httpx.AsyncClient) -> None:
    caller = await asking(issuer, client).caller(OPAQUE)
    assert (caller.client, caller.clinics, caller.issuer) == ("portal", {"harbor"}, ISSUER)
    assert "aftercare/plans.write" in caller.permissions
    assert issuer.forms == [{"token": [OPAQUE], "token_type_hint": ["access_token"]}]
    pair = base64.b64decode(issuer.authorizations[0].removeprefix("Basic ")).decode()
    assert pair == "aftercare:s3cret%25%26"


async def test_who_asks_may_prove_it_with_the_key_that_signs_now(issuer: Issuer, client: httpx.AsyncClient) -> None:
    rings = [KeyRing.new("ES384")]
    bearer = asking(issuer, client, secret=None, keys=lambda: rings[-1])
    for _ in range(2):
        await bearer.caller(OPAQUE)
        (form,) = issuer.forms[-1:]
        assert issuer.authorizations[-1] == ""
        assert form["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
        public = ECKey.import_key(dict(rings[-1].public_jwks()["keys"][0]))
        claims = jwt.decode(form["client_assertion"][0], public, algorithms=["ES384"]).claims
        assert (claims["iss"], claims["sub"], claims["aud"]) == ("aftercare", "aftercare", ISSUER)
        rings.append(rings[-1].rotate(compromised=True))
        issuer.clock.move(minutes=1)
    assert len({form["client_assertion"][0] for form in issuer.forms}) == 2


async def test_an_answer_is_good_for_half_a_minute(issuer: Issuer, client: httpx.AsyncClient) -> None:
    bearer = asking(issuer, client)
    for _ in range(20):
        await bearer.caller(OPAQUE)
    assert issuer.counts[INTROSPECTION] == 1
    del issuer.active[OPAQUE]
    issuer.clock.move(seconds=30)
    with pytest.raises(TokenRejected) as fault:
        await bearer.caller(OPAQUE)
    assert fault.value.where == ("active",)
    assert OPAQUE not in f"{fault.value.message} {fault.value!r}"


async def test_a_remembered_answer_does_not_outlive_the_token(issuer: Issuer, client: httpx.AsyncClient) -> None:
    issuer.active[OPAQUE]["exp"] = issuer.clock().timestamp() - 50
    bearer = asking(issuer, client)
    await bearer.caller(OPAQUE)
    issuer.clock.move(seconds=11)
    with pytest.raises(TokenRejected) as fault:
        await bearer.caller(OPAQUE)
    assert fault.value.where == ("exp",)


async def test_an_unknown_token_is_asked_for_once_in_ten_seconds(issuer: Issuer, client: httpx.AsyncClient) -> None:
    bearer = asking(issuer, client)
    for _ in range(20):
        with pytest.raises(TokenRejected):
            await bearer.caller("made-up")
    assert issuer.counts[INTROSPECTION] == 1
    issuer.active["made-up"] = issuer.claims()
    issuer.clock.move(seconds=10)
    await bearer.caller("made-up")


async def test_one_token_at_many_calls_at_once_is_asked_for_once(issuer: Issuer, client: httpx.AsyncClient) -> None:
    issuer.slow = 0.02
    bearer = asking(issuer, client)
    calls = [asyncio.ensure_future(bearer.caller(OPAQUE)) for _ in range(20)]
    await asyncio.sleep(0.01)
    calls[0].cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert {each.client for each in done[1:] if not isinstance(each, BaseException)} == {"portal"}
    assert issuer.counts[INTROSPECTION] == 1


async def test_many_made_up_tokens_are_not_passed_on_all_at_once_nor_remembered_for_ever(
    issuer: Issuer, client: httpx.AsyncClient
) -> None:
    at_once = most = 0
    answer = issuer.introspect

    async def counted(request: Any) -> Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return await answer(request)

    issuer.introspect = counted  # type: ignore[method-assign]
    async with issuer.http() as own:
        bearer = asking(issuer, own)
        await bearer.caller(OPAQUE)
        calls = (bearer.caller(f"made-up-{number}") for number in range(MOST_REMEMBERED + 50))
        refused = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(each) for each in refused} == {TokenRejected}
        assert most <= MOST_AT_ONCE
        assert bearer._introspection
        assert len(bearer._introspection._inactive._kept) == MOST_REMEMBERED
        # The flood does not push out who is known.
        asked = issuer.counts[INTROSPECTION]
        await bearer.caller(OPAQUE)
        assert issuer.counts[INTROSPECTION] == asked
        assert OPAQUE not in repr(vars(bearer._introspection._active))


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"active": False}, "active"),
        ({"active": "true"}, "active"),
        ({"active": 1}, "active"),
        ({"active": None}, "active"),
        ({"exp": 1_000}, "exp"),
        ({"nbf": 9_999_999_999}, "nbf"),
        ({"aud": "https://other.example"}, "aud"),
        ({"aud": None}, "aud"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"token_type": "DPoP"}, "token_type"),
        ({"cnf": {"jkt": "thumb"}}, "cnf"),
        ({"client_id": None, "sub": None}, "client_id"),
    ],
)
async def test_what_the_answer_says_is_looked_at(
    issuer: Issuer, client: httpx.AsyncClient, changed: dict[str, Any], where: str
) -> None:
    claims = {**issuer.active[OPAQUE], **changed}
    issuer.active[OPAQUE] = {name: value for name, value in claims.items() if value is not None or name == "active"}
    with pytest.raises(TokenRejected) as fault:
        await asking(issuer, client).caller(OPAQUE)
    assert fault.value.where == (where,)


async def test_an_answer_need_not_repeat_who_issued_the_token(issuer: Issuer, client: httpx.AsyncClient) -> None:
    for name in ("iss", "exp", "iat"):
        del issuer.active[OPAQUE][name]
    assert (await asking(issuer, client).caller(OPAQUE)).issuer == ISSUER


@pytest.mark.parametrize(
    "answer",
    [
        down(),
        Response(b"", 401),
        Response(b"", 503),
        Response(b"<html>"),
        Response(b"", 302, headers={"location": "https://evil.example"}),
        JSONResponse({"active": True, "scope": "x" * 300_000}),
    ],
)
async def test_when_nobody_can_say_it_is_503_and_nothing_is_remembered(
    issuer: Issuer, client: httpx.AsyncClient, answer: Any
) -> None:
    bearer = asking(issuer, client)
    issuer.instead[INTROSPECTION] = answer
    with pytest.raises(IssuerUnavailable) as fault:
        await bearer.caller(OPAQUE)
    assert (fault.value.status, fault.value.issue) == (503, "transient")
    issuer.instead.clear()
    await bearer.caller(OPAQUE)


async def test_without_introspection_an_opaque_token_is_refused(issuer: Issuer, client: httpx.AsyncClient) -> None:
    trust = Trust(issuers=(ISSUER,), audience=AUDIENCE, permissions=scopes.WAYS)
    with pytest.raises(TokenRejected):
        await BearerTokens(trust, BoundedHttp(client), now=issuer.clock).caller(OPAQUE)
    assert not issuer.asked


async def test_a_signed_token_that_was_revoked_is_refused_where_that_is_asked(
    issuer: Issuer, client: httpx.AsyncClient
) -> None:
    token = issuer.token()
    await asking(issuer, client).caller(token)
    assert not issuer.forms
    careful = asking(issuer, client, revocable=True)
    with pytest.raises(TokenRejected) as fault:
        await careful.caller(token)
    assert fault.value.where == ("active",)
    issuer.active[token] = {}
    issuer.clock.move(seconds=10)
    assert (await careful.caller(token)).client == "portal"


async def test_a_bad_signature_is_never_passed_on(issuer: Issuer, client: httpx.AsyncClient) -> None:
    with pytest.raises(TokenRejected):
        await asking(issuer, client, revocable=True).caller(issuer.token()[:-8] + "AAAAAAAA")
    assert not issuer.forms


def test_who_asks_has_one_way_to_prove_it() -> None:
    with pytest.raises(ConfigFault):
        us(secret=None)
    with pytest.raises(ConfigFault):
        us(keys=lambda: KeyRing.new("ES384"))
    with pytest.raises(ConfigFault):
        us(client_id=" ")
    assert "s3cret" not in repr(us())
