"""Who signed in: the id_token and the fhirUser it names (our §1.2 rows 14, 15)."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from fhir_aftercare.smart import Registrations, ScopeTable
from fhir_aftercare.smart.faults import ContextFault, DiscoveryFault, IdTokenRefused, SmartFault
from smart.clinic import COOKIE, USER_SCOPES, Clinic, backend_of, registered
from smart.conformance import requirement

if TYPE_CHECKING:
    from smart.clinic import Clock, Internet
    from smart.strict_server import StrictEhr


@requirement("1.2-14", "the id_token is checked with keys found through its issuer's configuration", rows=(201, 218))
async def test_the_signature_is_checked_with_the_issuers_keys(clinic: Clinic, ehr: StrictEhr) -> None:
    arrived = await clinic.sign_in(ehr)
    assert arrived.subject == "dr-grey"
    paths = [request.url.path for request in clinic.internet.requests]
    assert paths[-2:] == ["/.well-known/openid-configuration", "/jwks"]
    await clinic.sign_in(ehr)
    assert len(clinic.internet.asked("/jwks")) == 1, "keys are remembered"


@requirement("1.2-14", "max_age and auth_time are never sent", rows=(211,))
async def test_max_age_is_never_sent(clinic: Clinic, ehr: StrictEhr) -> None:
    await clinic.sign_in(ehr)
    assert not {"max_age", "auth_time", "claims"} & set(ehr.authorizations[-1])


@requirement("1.2-14", "every claim that proves something is checked", rows=(201,))
@pytest.mark.parametrize(
    ("claims", "named"),
    [
        ({"iss": "https://login.evil.example"}, "iss"),
        ({"iss": "https://login.ehr.example/"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "another app"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": ["app of harbor/asymmetric", "another app"]}, "azp"),
        ({"azp": "another app"}, "azp"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": 1}, "exp"),
        ({"iat": None}, "iat"),
        ({"iat": 4_000_000_000}, "iat"),
        ({"iat": 1}, "iat"),
        ({"nbf": 4_000_000_000}, "nbf"),
        ({"nonce": None}, "nonce"),
        ({"nonce": "of another launch"}, "nonce"),
        ({"nonce": "\ud800"}, "nonce"),
        ({"nonce": ["x"]}, "nonce"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"at_hash": "of another token"}, "at_hash"),
        ({"fhirUser": 7}, "fhirUser"),
    ],
)
async def test_a_claim_that_is_wrong_ends_the_launch(
    clinic: Clinic, ehr: StrictEhr, claims: dict[str, Any], named: str
) -> None:
    ehr.faults.claims = claims
    with pytest.raises(IdTokenRefused) as refused:
        await clinic.sign_in(ehr)
    assert refused.value.where == (named,)
    if named == "iss":
        assert clinic.internet.asked("openid-configuration") == [], "no token chooses whom we ask for keys"
    assert len(ehr.revoked) == 2, "tokens without a proven user are handed back"


async def test_several_audiences_are_fine_if_the_token_was_made_for_us(clinic: Clinic, ehr: StrictEhr) -> None:
    us = "app of harbor/asymmetric"
    ehr.faults.claims = {"aud": [us, "https://ehr.example/fhir"], "azp": us, "at_hash": None}
    assert (await clinic.sign_in(ehr)).subject == "dr-grey"


async def test_a_clock_may_differ_by_a_minute(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    now = int(clock.seconds())
    ehr.faults.claims = {"exp": now - 30, "iat": now + 30}
    assert (await clinic.sign_in(ehr)).subject == "dr-grey"


@requirement("1.2-14", "the issuer is the one pinned for the clinic; an EHR that names another is refused")
async def test_the_issuer_is_pinned(ehr: StrictEhr, internet: Internet, clock: Clock) -> None:
    clinic = Clinic(Registrations([registered(ehr, openid_issuer=ehr.issuer)]), internet, clock)
    assert (await clinic.sign_in(ehr)).subject == "dr-grey"
    ehr.faults.config = {"issuer": "https://login.other.example"}
    clinic = Clinic(clinic.registrations, internet, clock)
    with pytest.raises(DiscoveryFault):
        await clinic.depart(ehr)
    assert internet.asked("login.other.example") == []


async def test_a_pin_holds_even_if_a_client_without_one_asked_first(
    ehr: StrictEhr, internet: Internet, clock: Clock
) -> None:
    ehr.faults.config = {"issuer": "https://login.other.example"}
    clinic = Clinic(Registrations([registered(ehr, openid_issuer=ehr.issuer)]), internet, clock)
    assert await clinic.backend(backend_of(ehr)).token()
    with pytest.raises(DiscoveryFault):
        await clinic.depart(ehr)


async def test_a_pinned_issuer_serves_an_ehr_that_names_none(ehr: StrictEhr, internet: Internet, clock: Clock) -> None:
    ehr.faults.config = {"issuer": None, "authorization_response_iss_parameter_supported": None}
    ehr.faults.callback = {"iss": ""}
    with pytest.raises(IdTokenRefused):
        await Clinic(Registrations([registered(ehr)]), internet, clock).sign_in(ehr)
    pinned = Registrations([registered(ehr, openid_issuer=ehr.issuer)])
    assert (await Clinic(pinned, internet, clock).sign_in(ehr)).subject == "dr-grey"


async def test_a_configuration_of_another_issuer_is_refused(clinic: Clinic, ehr: StrictEhr) -> None:
    ehr.faults.openid = {"issuer": "https://login.other.example"}
    with pytest.raises(DiscoveryFault):
        await clinic.sign_in(ehr)


@requirement("1.2-14", "keys without a kid are tried; rotated keys are fetched again, once a minute at most")
async def test_keys_without_a_kid_work(clinic: Clinic, ehr: StrictEhr) -> None:
    ehr.key_ids = False
    ehr.keys = [ECKey.generate_key("P-384"), ECKey.generate_key("P-384")]
    assert (await clinic.sign_in(ehr)).subject == "dr-grey"
    kid = "named in the token alone"
    ehr.faults.sign = lambda header, claims: jwt.encode({**header, "kid": kid}, claims, ehr.keys[1], ["ES384"])
    assert (await clinic.sign_in(ehr)).subject == "dr-grey"


async def test_rotated_keys_are_fetched_again_but_not_for_every_forged_token(
    clinic: Clinic, ehr: StrictEhr, clock: Clock
) -> None:
    await clinic.sign_in(ehr)
    ehr.new_keys()
    clock.move(minutes=2)
    assert (await clinic.sign_in(ehr)).subject == "dr-grey"
    assert len(clinic.internet.asked("/jwks")) == 2
    stranger = ECKey.generate_key("P-384")
    ehr.faults.sign = lambda header, claims: jwt.encode(header, claims, stranger, algorithms=["ES384"])
    for _ in range(5):
        with pytest.raises(IdTokenRefused):
            await clinic.sign_in(ehr)
    assert len(clinic.internet.asked("/jwks")) == 2
    clock.move(minutes=2)
    with pytest.raises(IdTokenRefused):
        await clinic.sign_in(ehr)
    assert len(clinic.internet.asked("/jwks")) == 3


@pytest.mark.parametrize("alg", ["RS256", "PS384", "ES256"])
async def test_other_public_key_algorithms_are_taken(clinic: Clinic, ehr: StrictEhr, alg: str) -> None:
    key = ECKey.generate_key("P-256") if alg == "ES256" else RSAKey.generate_key(2048)
    ehr.keys = [ECKey.generate_key("P-384"), key]
    ehr.faults.claims = {"at_hash": None}
    ehr.faults.sign = lambda header, claims: jwt.encode({**header, "alg": alg}, claims, key, algorithms=[alg])
    assert (await clinic.sign_in(ehr)).subject == "dr-grey"


@requirement("attack", "an id_token with alg none, with HS* over the public key, or with a key of its own is refused")
@pytest.mark.parametrize("attack", ["none", "hs-public-key", "own-jwk", "own-jku", "stranger", "crit", "garbage"])
async def test_a_forged_signature_is_refused(clinic: Clinic, ehr: StrictEhr, attack: str) -> None:
    stranger = ECKey.generate_key("P-384")

    def packed(part: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    def sign(header: dict[str, Any], claims: dict[str, Any]) -> str:
        body = packed(claims)
        if attack == "none":
            return f"{packed({'alg': 'none'})}.{body}."
        if attack == "hs-public-key":
            pem = ehr.keys[0].as_pem(private=False)
            return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(base64.urlsafe_b64encode(pem).decode()))
        if attack == "own-jwk":
            own = {**header, "jwk": stranger.as_dict(private=False), "kid": stranger.thumbprint()}
            return jwt.encode(own, claims, stranger, algorithms=["ES384"])
        if attack == "own-jku":
            return jwt.encode({**header, "jku": "https://evil.example/jwks"}, claims, stranger, algorithms=["ES384"])
        if attack == "crit":
            whole = jwt.encode({**header, "crit": ["b64"], "b64": True}, claims, ehr.keys[0], algorithms=["ES384"])
            return whole[:-4] + "AAAA"
        if attack == "garbage":
            return "bm90.YQ.and"
        return jwt.encode(header, claims, stranger, algorithms=["ES384"])

    ehr.faults.sign = sign
    with pytest.raises(IdTokenRefused):
        await clinic.sign_in(ehr)
    assert clinic.internet.asked("evil.example") == []


@requirement("1.2-15", "fhirUser is a URL inside the FHIR base, absolute or relative", rows=(202,))
@pytest.mark.parametrize("type_", ["Practitioner", "PractitionerRole", "Patient", "RelatedPerson", "Person"])
async def test_the_user_is_read_from_fhir_user(clinic: Clinic, ehr: StrictEhr, type_: str) -> None:
    for claim in (f"{ehr.base}/{type_}/u-1", f"{type_}/u-1", f"https://EHR.example:443/fhir/{type_}/u-1"):
        ehr.faults.claims = {"fhirUser": claim}
        arrived = await clinic.sign_in(ehr)
        assert arrived.user is not None
        assert arrived.user.reference == f"{type_}/u-1"
        assert arrived.user.url == f"{ehr.base}/{type_}/u-1"
        headers = {"Authorization": f"Bearer {arrived.tokens.access_token}"}
        assert (await clinic.http.get(arrived.user.url, headers=headers)).status_code == 200


@requirement("attack", "a fhirUser outside the FHIR base is refused, and nothing is sent there")
@pytest.mark.parametrize(
    "claim",
    [
        "https://evil.example/fhir/Practitioner/1",
        "https://ehr.example/other/Practitioner/1",
        "https://ehr.example/fhir/../Practitioner/1",
        "https://ehr.example@evil.example/fhir/Practitioner/1",
        "//evil.example/fhir/Practitioner/1",
        "/Practitioner/1",
        "Practitioner/../Patient/1",
        "Practitioner/1?x=https://evil.example",
        "Practitioner/1/_history/2",
        "Device/1",
        "Practitioner/",
        "",
    ],
)
async def test_a_user_elsewhere_is_refused(clinic: Clinic, ehr: StrictEhr, claim: str) -> None:
    ehr.faults.claims = {"fhirUser": claim}
    with pytest.raises(ContextFault):
        await clinic.sign_in(ehr)
    assert clinic.internet.asked("evil.example") == []


async def test_an_openid_grant_without_id_token_is_refused(clinic: Clinic, ehr: StrictEhr) -> None:
    ehr.faults.token = {"id_token": None}
    with pytest.raises(IdTokenRefused):
        await clinic.sign_in(ehr)


@pytest.mark.parametrize("identity", [True, False])
async def test_without_openid_nobody_is_named(ehr: StrictEhr, internet: Internet, clock: Clock, identity: bool) -> None:
    table = ScopeTable(USER_SCOPES.access, identity=identity)
    clinic = Clinic(Registrations([registered(ehr, scopes=table)]), internet, clock)
    ehr.faults.granted = "launch user/Patient.r"
    arrived = await clinic.sign_in(ehr)
    assert (arrived.user, arrived.subject) == (None, None)
    assert ("openid" in arrived.missing) is identity


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"keys": {}},
        {"keys": []},
        {"keys": [{"kty": "oct", "k": "AAAA"}]},
        {"keys": [{"kty": "EC", "crv": "P-384", "x": "!"}]},
        {"keys": [RSAKey.generate_key(2048).as_dict(private=False) | {"use": "enc"}]},
        {"keys": [{"kty": "EC"}] * 51},
        {"keys": [{"kty": "RSA", "n": "x" * 171, "e": "AQAB"}]},
        [],
    ],
)
async def test_a_key_set_without_a_usable_key_is_refused(clinic: Clinic, ehr: StrictEhr, keys: Any) -> None:
    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=keys)

    clinic.internet.answers[f"{ehr.issuer}/jwks"] = answer
    with pytest.raises(SmartFault):
        await clinic.sign_in(ehr)


async def test_nothing_of_the_id_token_is_kept(clinic: Clinic, ehr: StrictEhr) -> None:
    departure = await clinic.depart(ehr)
    arrived = await clinic.launcher.finish(await clinic.browser(departure), session=COOKIE)
    assert "id_token" not in json.dumps(arrived.to_dict())
