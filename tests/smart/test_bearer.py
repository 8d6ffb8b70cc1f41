"""Access tokens of others: what a good one says, and that nothing else opens the API. One test for each attack."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey
from starlette.responses import JSONResponse, RedirectResponse, Response
from structlog.testing import capture_logs

from fhir_aftercare.api import scopes
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.smart.bearer import BearerTokens, Caller, Trust
from fhir_aftercare.smart.bearer_faults import IssuerUnavailable, TokenRejected
from fhir_aftercare.smart.http import BoundedHttp, Limits
from fhir_aftercare.smart.issuer_key import ALGORITHMS
from smart.bearer_issuer import ATTACKER, AUDIENCE, ISSUER, JWKS, KEYS, METADATA, OTHER_ISSUER, Issuer, down

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ALL = {each.scope for each in scopes.PERMISSIONS}


def trusting(**changed: Any) -> Trust:
    return Trust(**{"issuers": (ISSUER,), "audience": AUDIENCE, "permissions": scopes.WAYS, **changed})


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def bearer(issuer: Issuer) -> AsyncIterator[BearerTokens]:
    async with issuer.http() as client:
        made = checking(issuer, client)
        yield made
        await made.close()


def checking(issuer: Issuer, client: Any, **trust: Any) -> BearerTokens:
    return BearerTokens(trusting(**trust), BoundedHttp(client, Limits(seconds=1)), now=issuer.clock)


async def refused(bearer: BearerTokens, token: str, where: str) -> TokenRejected:
    with pytest.raises(TokenRejected) as fault:
        await bearer.caller(token)
    assert fault.value.where == (where,), fault.value.message
    assert fault.value.status == 401
    parts = [part for part in token.split(".") if len(part) > 8]
    assert not any(part in f"{fault.value!r} {fault.value.message} {fault.value.remedy}" for part in parts)
    return fault.value


# --- what a good token says ------------------------------------------------------------------------------------------
async def test_a_good_token_tells_who_calls_and_for_what(issuer: Issuer, bearer: BearerTokens) -> None:
    assert await bearer.caller(issuer.token()) == Caller(
        client="portal",
        subject="service-account-7",
        clinics=frozenset({"harbor"}),
        scopes=frozenset({"aftercare/plans.read", "aftercare/plans.write"}),
        permissions=frozenset({"aftercare/plans.read", "aftercare/plans.write", "aftercare/events.write"}),
        issuer=ISSUER,
    )


@pytest.mark.parametrize(
    ("claim", "clinics"),
    [
        (["harbor", "quay"], {"harbor", "quay"}),
        ("quay", {"quay"}),
        (None, set()),
        ("harbor quay", set()),
        ("*", set()),
        (["Harbor", 7, None, "../quay", {"harbor": True}, ["harbor"]], set()),
        ({"harbor": "admin"}, set()),
    ],
)
async def test_the_clinics_are_those_the_claim_names(
    issuer: Issuer, bearer: BearerTokens, claim: Any, clinics: set[str]
) -> None:
    assert (await bearer.caller(issuer.token(clinic=claim))).clinics == clinics


async def test_the_claim_of_the_clinic_can_be_another(issuer: Issuer) -> None:
    async with issuer.http() as client:
        bearer = checking(issuer, client, clinic_claim="https://harbor.example/site")
        token = issuer.token(**{"https://harbor.example/site": ["quay"]})
        assert (await bearer.caller(token)).clinics == {"quay"}


SHOWN = "system/CarePlan.rs system/Task.rs system/Observation.rs system/QuestionnaireResponse.rs system/Patient.rs"


@pytest.mark.parametrize(
    ("scope", "permissions"),
    [
        ("aftercare/plans.read", {"aftercare/plans.read"}),
        ("aftercare/plans.write", {"aftercare/plans.write", "aftercare/events.write"}),
        ("aftercare/events.write", {"aftercare/events.write"}),
        ("aftercare/admin openid profile", {"aftercare/admin"}),
        ("aftercare/plans", set()),
        ("aftercare/*", set()),
        ("AFTERCARE/plans.read", set()),
        ("system/*.cruds", ALL - {"aftercare/admin"}),
        ("system/*.*", ALL - {"aftercare/admin"}),
        (SHOWN, {"aftercare/plans.read"}),
        (SHOWN.replace("system/Observation.rs ", ""), set()),
        (SHOWN.replace("system/", "user/"), set()),
        (SHOWN.replace("Observation.rs", "Observation.rs?category=survey"), set()),
        (SHOWN.replace(".rs", ".read"), {"aftercare/plans.read"}),
        ("system/CarePlan.cu system/Task.cruds system/Encounter.rs", {"aftercare/events.write"}),
        ("", set()),
    ],
)
async def test_scopes_give_the_permissions_of_the_table(
    issuer: Issuer, bearer: BearerTokens, scope: str, permissions: set[str]
) -> None:
    assert (await bearer.caller(issuer.token(scope=scope))).permissions == permissions


async def test_scopes_may_come_as_a_list_under_the_name_that_okta_uses(issuer: Issuer, bearer: BearerTokens) -> None:
    caller = await bearer.caller(issuer.token(scope=None, scp=["aftercare/admin"], client_id=None, cid="portal"))
    assert (caller.permissions, caller.client) == ({"aftercare/admin"}, "portal")


@pytest.mark.parametrize("kind", sorted(KEYS))
async def test_every_kind_of_key_is_read(issuer: Issuer, bearer: BearerTokens, kind: str) -> None:
    issuer.keys = {"first": KEYS[kind]}
    assert (await bearer.caller(issuer.token())).client == "portal"


@pytest.mark.parametrize("alg", ["PS256", "RS384", "RS512", "PS384"])
async def test_an_rsa_key_checks_every_algorithm_of_its_kind(issuer: Issuer, bearer: BearerTokens, alg: str) -> None:
    issuer.keys = {"first": KEYS["RS256"]}
    assert (await bearer.caller(issuer.token(header={"alg": alg}))).client == "portal"


async def test_a_small_difference_of_clocks_is_borne(issuer: Issuer, bearer: BearerTokens) -> None:
    now = issuer.clock().timestamp()
    await bearer.caller(issuer.token(nbf=now + 59, iat=now + 59))
    await bearer.caller(issuer.token(exp=now - 59))
    await bearer.caller(issuer.token(aud=[AUDIENCE, "https://other.example"]))


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", None])
async def test_an_access_token_calls_itself_one_or_says_nothing(
    issuer: Issuer, bearer: BearerTokens, typ: str | None
) -> None:
    await bearer.caller(issuer.token(header={"typ": typ}))


# --- what is no token of ours ----------------------------------------------------------------------------------------
def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    return ".".join([*parts, signature])


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, 7, ["ES384"], "ES256K", "EdDSA", "dir"])
async def test_a_token_without_a_signature_that_counts_is_refused(
    issuer: Issuer, bearer: BearerTokens, alg: Any
) -> None:
    signature = issuer.token().rpartition(".")[2]
    await refused(bearer, unsigned({"alg": alg, "kid": "first", "typ": "at+jwt"}, issuer.claims(), signature), "alg")
    assert not issuer.asked


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("kind", ["ES384", "RS256"])
async def test_the_public_key_is_no_secret_to_sign_with(
    issuer: Issuer, bearer: BearerTokens, kind: str, alg: str
) -> None:
    issuer.keys = {"first": KEYS[kind]}
    public = KEYS[kind].as_pem(private=False)
    await bearer.caller(issuer.token())
    raw = OctKey.import_key(base64.urlsafe_b64encode(public).decode())
    await refused(bearer, issuer.token(key=raw, header={"alg": alg}), "alg")


async def test_a_symmetric_key_that_the_issuer_publishes_checks_nothing(issuer: Issuer, bearer: BearerTokens) -> None:
    issuer.extra_keys = [{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0", "kid": "oct"}]
    token = issuer.token(key=OctKey.import_key("secret-secret-secret-secret"), kid="oct", header={"alg": "HS256"})
    await refused(bearer, token, "alg")


async def test_a_key_for_encryption_checks_nothing(issuer: Issuer, bearer: BearerTokens) -> None:
    issuer.extra_keys = [{**ATTACKER.as_dict(private=False), "kid": "enc", "use": "enc"}]
    await refused(bearer, issuer.token(key=ATTACKER, kid="enc"), "signature")


@pytest.mark.parametrize(
    "kid",
    ["../../etc/passwd", "first' OR '1'='1", "https://evil.example/jwks", "second", "FIRST", "", "a" * 4000],
)
async def test_a_kid_is_only_ever_compared(issuer: Issuer, bearer: BearerTokens, kid: str) -> None:
    await refused(bearer, issuer.token(key=ATTACKER, header={"kid": kid}), "signature")
    assert set(issuer.asked) == {METADATA, JWKS}


@pytest.mark.parametrize("kid", [7, ["first"], {"first": 1}, True])
async def test_a_kid_that_is_no_text_is_refused(issuer: Issuer, bearer: BearerTokens, kid: Any) -> None:
    header = {"alg": "ES384", "kid": kid, "typ": "at+jwt"}
    await refused(bearer, unsigned(header, issuer.claims(), issuer.token().rpartition(".")[2]), "kid")


async def test_keys_that_a_token_brings_along_are_not_used(issuer: Issuer, bearer: BearerTokens) -> None:
    brought = {
        "jwk": ATTACKER.as_dict(private=False),
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/chain",
    }
    await refused(bearer, issuer.token(key=ATTACKER, header=brought), "signature")
    assert set(issuer.asked) == {METADATA, JWKS}


async def test_what_must_be_understood_and_is_not_is_refused(issuer: Issuer, bearer: BearerTokens) -> None:
    header = {"alg": "ES384", "kid": "first", "crit": ["exp"], "exp": 1}
    await refused(bearer, unsigned(header, issuer.claims(), issuer.token().rpartition(".")[2]), "crit")


async def test_claims_that_were_changed_are_refused(issuer: Issuer, bearer: BearerTokens) -> None:
    head, _, signature = issuer.token().split(".")
    changed = unsigned({}, issuer.claims(clinic="quay")).split(".")[1]
    await refused(bearer, f"{head}.{changed}.{signature}", "signature")


async def test_a_key_of_another_kind_than_the_algorithm_is_not_tried(issuer: Issuer, bearer: BearerTokens) -> None:
    issuer.keys = {"first": KEYS["ES384"]}
    await refused(bearer, issuer.token(key=KEYS["RS256"]), "signature")
    issuer.clock.move(minutes=20)
    issuer.keys, issuer.extra_keys = {}, [{**KEYS["RS256"].as_dict(private=False), "kid": "first", "alg": "RS256"}]
    await refused(bearer, issuer.token(key=KEYS["RS256"], header={"alg": "RS512"}), "signature")
    await bearer.caller(issuer.token(key=KEYS["RS256"]))


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"exp": -61}, "exp"),
        ({"exp": -86_400}, "exp"),
        ({"nbf": 61}, "nbf"),
        ({"iat": 61}, "iat"),
    ],
)
async def test_a_token_of_another_time_is_refused(
    issuer: Issuer, bearer: BearerTokens, changed: dict[str, int], where: str
) -> None:
    now = int(issuer.clock().timestamp())
    await refused(bearer, issuer.token(**{name: now + by for name, by in changed.items()}), where)


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"exp": None}, "exp"),
        ({"exp": "2026-11-23"}, "exp"),
        ({"exp": float("nan")}, "exp"),
        ({"exp": float("inf")}, "exp"),
        ({"exp": True}, "exp"),
        ({"aud": None}, "aud"),
        ({"aud": "https://other.example"}, "aud"),
        ({"aud": ["https://other.example"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": AUDIENCE + "/"}, "aud"),
        ({"aud": {AUDIENCE: 1}}, "aud"),
        ({"iss": OTHER_ISSUER}, "iss"),
        ({"iss": None}, "iss"),
        ({"iss": ISSUER + "/"}, "iss"),
        ({"iss": [ISSUER]}, "iss"),
        ({"client_id": None, "sub": None}, "client_id"),
        ({"client_id": "c" * 256}, "client_id"),
        ({"scope": 'a"b'}, "scope"),
        ({"cnf": {"jkt": "thumb"}}, "cnf"),
        ({"cnf": {"x5t#S256": "thumb"}}, "cnf"),
    ],
)
async def test_a_token_with_a_claim_that_is_wrong_is_refused(
    issuer: Issuer, bearer: BearerTokens, changed: dict[str, Any], where: str
) -> None:
    await refused(bearer, issuer.token(**changed), where)


async def test_a_token_of_an_issuer_nobody_trusts_has_nothing_fetched(issuer: Issuer, bearer: BearerTokens) -> None:
    await refused(bearer, issuer.token(key=ATTACKER, iss="https://evil.example"), "iss")
    assert not issuer.asked


async def test_a_token_of_one_issuer_cannot_name_another(issuer: Issuer) -> None:
    async with issuer.http() as client:
        bearer = checking(issuer, client, issuers=(ISSUER, OTHER_ISSUER))
        await bearer.caller(issuer.token())
        with pytest.raises(AssertionError, match="another host"):
            await bearer.caller(issuer.token(iss=OTHER_ISSUER))  # its keys are asked for at its own address


@pytest.mark.parametrize("typ", ["JWT", "logout+jwt", "dpop+jwt", "secevent+jwt", "at+jwt;x", 7])
async def test_a_token_of_another_kind_is_refused_by_its_header(issuer: Issuer, bearer: BearerTokens, typ: Any) -> None:
    if typ == 7:
        await refused(bearer, unsigned({"alg": "ES384", "typ": 7}, issuer.claims(), "c2ln"), "typ")
    else:
        await refused(bearer, issuer.token(header={"typ": typ}), "typ")


@pytest.mark.parametrize("mark", [{"nonce": "n"}, {"at_hash": "h"}, {"events": {}}, {"typ": "ID"}, {"typ": "Refresh"}])
@pytest.mark.parametrize("typ", ["JWT", None])
async def test_an_id_token_is_no_access_token_where_plain_ones_are_taken(
    issuer: Issuer, typ: str | None, mark: dict[str, Any]
) -> None:
    async with issuer.http() as client:
        bearer = checking(issuer, client, plain_jwt=True)
        assert (await bearer.caller(issuer.token(header={"typ": typ}))).client == "portal"
        await refused(bearer, issuer.token(header={"typ": typ}, **mark), "typ")


@pytest.mark.parametrize(
    "token",
    [
        "",
        " ",
        "a b",
        "a\r\nX: y",
        "ü",
        "…",
        "a" * 20_000,
        "..",
        "a.b.c",
        "a.b.c.d.e",
        "e30.e30.e30",
        "opaque-1234567890",
    ],
)
async def test_what_is_no_token_at_all_is_refused(issuer: Issuer, bearer: BearerTokens, token: str) -> None:
    await refused(bearer, token, "token")
    assert not issuer.asked


async def test_a_header_nested_without_end_is_refused(bearer: BearerTokens) -> None:
    deep = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 5000).rstrip(b"=").decode()
    await refused(bearer, f"{deep}.e30.c2ln", "token")


@given(
    st.text(alphabet=st.characters(codec="ascii"), max_size=60), st.sampled_from(["", "e30.", "eyJhbGciOiJFUzM4NCJ9."])
)
def test_whatever_is_sent_is_answered_with_a_refusal(text: str, before: str) -> None:
    async def check() -> None:
        issuer = Issuer()
        async with issuer.http() as client:
            with pytest.raises(TokenRejected):
                await checking(issuer, client).caller(before + text)
            assert not issuer.asked

    asyncio.run(check())


# --- the issuer's keys -----------------------------------------------------------------------------------------------
async def test_keys_are_read_once_and_again_when_they_are_old(issuer: Issuer, bearer: BearerTokens) -> None:
    for _ in range(20):
        await bearer.caller(issuer.token())
    assert issuer.counts == {METADATA: 1, JWKS: 1}
    issuer.clock.move(minutes=16)
    await bearer.caller(issuer.token())
    assert issuer.counts == {METADATA: 2, JWKS: 2}


async def test_many_first_calls_read_the_keys_once(issuer: Issuer, bearer: BearerTokens) -> None:
    issuer.slow = 0.01
    await asyncio.gather(*(bearer.caller(issuer.token()) for _ in range(20)))
    assert issuer.counts == {METADATA: 1, JWKS: 1}


async def test_a_caller_who_goes_away_does_not_end_the_reading(issuer: Issuer, bearer: BearerTokens) -> None:
    issuer.slow = 0.02
    first = asyncio.ensure_future(bearer.caller(issuer.token()))
    await asyncio.sleep(0.01)
    first.cancel()
    assert (await bearer.caller(issuer.token())).client == "portal"
    assert issuer.counts == {METADATA: 1, JWKS: 1}


async def test_a_new_key_of_the_issuer_is_found_at_once(issuer: Issuer, bearer: BearerTokens) -> None:
    await bearer.caller(issuer.token())
    issuer.clock.move(minutes=2)
    issuer.keys = {"second": KEYS["ES256"]}
    assert (await bearer.caller(issuer.token(kid="second"))).client == "portal"


async def test_a_new_key_is_found_where_keys_have_no_names(issuer: Issuer, bearer: BearerTokens) -> None:
    await bearer.caller(issuer.token(kid=None))
    issuer.clock.move(minutes=2)
    issuer.keys = {"first": KEYS["ES256"]}
    assert (await bearer.caller(issuer.token(kid=None))).client == "portal"


async def test_a_withdrawn_key_opens_nothing_once_the_keys_are_read_again(issuer: Issuer, bearer: BearerTokens) -> None:
    old = issuer.token(exp=issuer.clock().timestamp() + 86_400)
    await bearer.caller(old)
    issuer.keys = {"second": KEYS["ES256"]}
    issuer.clock.move(minutes=16)
    await refused(bearer, old, "signature")


async def test_a_flood_of_unknown_keys_has_the_issuer_asked_once_a_minute(issuer: Issuer, bearer: BearerTokens) -> None:
    await bearer.caller(issuer.token())
    for second in range(180):
        issuer.clock.move(seconds=1)
        for each in range(5):
            await refused(bearer, issuer.token(key=ATTACKER, header={"kid": f"made-up-{second}-{each}"}), "signature")
    assert issuer.counts[JWKS] <= 1 + 3


async def test_a_wrong_signature_under_a_known_kid_has_nobody_asked(issuer: Issuer, bearer: BearerTokens) -> None:
    await bearer.caller(issuer.token())
    issuer.clock.move(minutes=5)
    await refused(bearer, issuer.token(key=ATTACKER), "signature")
    assert issuer.counts[JWKS] == 1


async def test_a_token_without_kid_is_not_tried_with_many_keys(issuer: Issuer, bearer: BearerTokens) -> None:
    issuer.keys = {f"key-{number}": KEYS["ES384"] for number in range(4)} | {"first": KEYS["ES384"]}
    await refused(bearer, issuer.token(kid=None), "signature")
    await bearer.caller(issuer.token())


@pytest.mark.parametrize("where", [METADATA, JWKS])
async def test_known_keys_stay_good_while_the_issuer_is_down_but_not_for_ever(
    issuer: Issuer, bearer: BearerTokens, where: str
) -> None:
    await bearer.caller(issuer.token())
    issuer.instead[where] = down()
    issuer.clock.move(hours=1)
    with capture_logs() as lines:
        for _ in range(10):
            await bearer.caller(issuer.token())
    assert len([line for line in lines if line["event"] == "issuer keys not read"]) == 1
    assert issuer.counts[METADATA] == 2
    issuer.clock.move(hours=24)
    with pytest.raises(IssuerUnavailable):
        await bearer.caller(issuer.token())
    issuer.instead.clear()
    issuer.clock.move(minutes=2)
    await bearer.caller(issuer.token())


async def test_an_issuer_that_hangs_holds_nobody_up_twice(issuer: Issuer) -> None:
    async with issuer.http() as client:
        # It is given up after a minute only: whoever waited for it could not be done within half of one.
        bearer = BearerTokens(trusting(), BoundedHttp(client, Limits(seconds=60)), now=issuer.clock)
        await bearer.caller(issuer.token())
        issuer.instead[METADATA] = down()
        issuer.clock.move(minutes=16)
        await bearer.caller(issuer.token())
        issuer.instead.clear()
        issuer.slow = 3600
        issuer.clock.move(minutes=2)
        async with asyncio.timeout(30):
            for _ in range(5):
                await bearer.caller(issuer.token())
            for _ in range(100):  # it is asked all the same; nothing of this is on a network
                await asyncio.sleep(0)
            await bearer.caller(issuer.token())
        assert issuer.counts == {METADATA: 3, JWKS: 1}
        await bearer.close()


async def test_without_any_key_it_is_503_and_the_issuer_is_asked_again_soon(
    issuer: Issuer, bearer: BearerTokens
) -> None:
    issuer.instead[JWKS] = down()
    for _ in range(10):
        with pytest.raises(IssuerUnavailable) as fault:
            await bearer.caller(issuer.token())
        assert (fault.value.status, fault.value.issue) == (503, "transient")
    assert issuer.counts[JWKS] == 1
    issuer.instead.clear()
    issuer.clock.move(seconds=5)
    await bearer.caller(issuer.token())


BAD_ANSWERS: dict[str, Response] = {
    "too large": Response(b'{"keys": [' + b" " * 70_000 + b"]}"),
    "too many": JSONResponse({"keys": [{**KEYS["ES384"].as_dict(private=False), "kid": "first"}] * 51}),
    "none": JSONResponse({"keys": []}),
    "only small": JSONResponse({"keys": [{"kty": "RSA", "kid": "first", "n": "AQAB", "e": "AQAB"}]}),
    "no set": JSONResponse(["first"]),
    "no list": JSONResponse({"keys": {"first": 1}}),
    "not JSON": Response(b"<html>"),
    "elsewhere": RedirectResponse("https://evil.example/jwks"),
    "an error": Response(b"", 500),
    "not there": Response(b"", 404),
    "packed": Response(b"\x1f\x8b", headers={"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_keys_that_cannot_be_read_are_none(issuer: Issuer, bearer: BearerTokens, name: str) -> None:
    issuer.instead[JWKS] = BAD_ANSWERS[name]
    with pytest.raises(IssuerUnavailable):
        await bearer.caller(issuer.token())
    assert set(issuer.asked) == {METADATA, JWKS}


async def test_a_slow_issuer_is_not_waited_for(issuer: Issuer) -> None:
    issuer.slow = 30
    async with issuer.http() as client:
        bearer = BearerTokens(trusting(), BoundedHttp(client, Limits(seconds=0.05)), now=issuer.clock)
        with pytest.raises(IssuerUnavailable):
            await bearer.caller(issuer.token())


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": OTHER_ISSUER},
        {"jwks_uri": "/jwks"},
        {"jwks_uri": None},
        {"jwks_uri": "http://login.example/jwks"},
        {"jwks_uri": "https://169.254.169.254/latest"},
        {"jwks_uri": "https://localhost/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
    ],
)
async def test_metadata_cannot_send_us_anywhere(issuer: Issuer, bearer: BearerTokens, metadata: dict[str, Any]) -> None:
    issuer.metadata = metadata
    with pytest.raises(IssuerUnavailable):
        await bearer.caller(issuer.token())
    assert JWKS not in issuer.asked


async def test_an_issuer_of_plain_oauth_has_its_metadata_where_rfc_8414_says(issuer: Issuer) -> None:
    issuer.instead[METADATA] = Response(b"", 404)
    issuer.instead["/.well-known/oauth-authorization-server"] = JSONResponse(
        {"issuer": ISSUER, "jwks_uri": ISSUER + JWKS}
    )
    async with issuer.http() as client:
        await checking(issuer, client).caller(issuer.token())
        issuer.instead["/realm/.well-known/openid-configuration"] = Response(b"", 404)
        realm = f"{ISSUER}/realm"
        issuer.instead["/.well-known/oauth-authorization-server/realm"] = JSONResponse(
            {"issuer": realm, "jwks_uri": ISSUER + JWKS}
        )
        await checking(issuer, client, issuers=(realm,)).caller(issuer.token(iss=realm))


async def test_private_members_that_an_issuer_publishes_by_mistake_are_not_read(
    issuer: Issuer, bearer: BearerTokens
) -> None:
    issuer.extra_keys = [{**KEYS["ES256"].as_dict(private=True), "kid": "leaked"}]
    await bearer.caller(issuer.token(key=KEYS["ES256"], kid="leaked"))
    (kept,) = bearer._keys.values()
    assert kept._known
    assert not any(key.jose.is_private for key in kept._known.keys)


# --- what is set up wrongly ------------------------------------------------------------------------------------------
def test_every_fault_of_the_set_up_is_told_at_once() -> None:
    with pytest.raises(ConfigFault) as fault:
        trusting(
            issuers=("http://login.example", "login.example", "https://u:p@login.example"),
            audience="",
            algorithms=("HS256",),
            leeway=timedelta(minutes=2),
        )
    assert len(fault.value.faults) == 6
    with pytest.raises(ConfigFault):
        trusting(issuers=())


def test_no_algorithm_with_a_shared_secret_is_known() -> None:
    assert not [alg for alg in ALGORITHMS if alg.startswith("HS") or alg == "none"]


async def test_nothing_of_a_token_is_logged(issuer: Issuer, bearer: BearerTokens) -> None:
    issuer.instead[JWKS] = Response(b"<html>")
    token = issuer.token()
    with capture_logs() as lines, pytest.raises(IssuerUnavailable):
        await bearer.caller(token)
    said = json.dumps(lines)
    assert "portal" not in said
    assert not any(part in said for part in token.split("."))
