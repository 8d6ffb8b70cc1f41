"""Attacks on a launch, one test each: what the attacker does, and that nothing comes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from joserfc import jwt

from fhir_aftercare.errors import CheckFailed
from fhir_aftercare.smart import MemoryLaunchStore, Registrations
from fhir_aftercare.smart.faults import (
    LaunchExpired,
    MalformedCallback,
    MixedUp,
    SmartFault,
    StateUsed,
    TokenRefused,
    UnknownIssuer,
    UnknownState,
    WrongSession,
)
from smart.clinic import COOKIE, REDIRECT, Clinic, Internet, registered
from smart.conformance import requirement
from smart.strict_server import StrictEhr

if TYPE_CHECKING:
    from smart.clinic import Clock

OTHER_COOKIE = "the-cookie-of-another-browser-session"


def other_code(callback: list[tuple[str, str]], code: str) -> list[tuple[str, str]]:
    return [(name, code if name == "code" else value) for name, value in callback]


@requirement("attack", "a forged state is refused, and nothing is asked for", rows=(4, 60))
@pytest.mark.parametrize("state", ["A" * 43, "", "short", "x" * 5000, "with space and more characters", "é" * 43])
async def test_a_forged_state_is_refused(clinic: Clinic, ehr: StrictEhr, state: str) -> None:
    await clinic.browser(await clinic.depart(ehr))
    with pytest.raises((UnknownState, MalformedCallback)):
        await clinic.launcher.finish([("state", state), ("code", "stolen"), ("iss", ehr.issuer)], session=COOKIE)
    assert ehr.token_requests == []


@requirement("1.1-7", "a state is used once: a replay is refused, and known as one to its own session", rows=(4, 60))
async def test_a_replayed_callback_is_refused(clinic: Clinic, ehr: StrictEhr) -> None:
    callback = await clinic.browser(await clinic.depart(ehr))
    arrived = await clinic.launcher.finish(callback, session=COOKIE)
    with pytest.raises(StateUsed) as mine:
        await clinic.launcher.finish(callback, session=COOKIE)
    assert mine.value.launch_id == arrived.launch_id, "so that reload and back button go on"
    for session in (OTHER_COOKIE, None):
        with pytest.raises(StateUsed) as other:
            await clinic.launcher.finish(callback, session=session)
        assert other.value.launch_id is None
    assert len(ehr.token_requests) == 1


async def test_a_callback_that_failed_cannot_be_tried_again(clinic: Clinic, ehr: StrictEhr) -> None:
    callback = await clinic.browser(await clinic.depart(ehr))
    with pytest.raises(WrongSession):
        await clinic.launcher.finish(callback, session=OTHER_COOKIE)
    with pytest.raises(StateUsed):
        await clinic.launcher.finish(callback, session=COOKIE)


@requirement("1.1-7", "a state lives five minutes")
async def test_a_launch_that_took_too_long_is_refused(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    callback = await clinic.browser(await clinic.depart(ehr))
    clock.move(minutes=5)
    with pytest.raises(LaunchExpired):
        await clinic.launcher.finish(callback, session=COOKIE)
    callback = await clinic.browser(await clinic.depart(ehr))
    clock.move(minutes=4, seconds=59)
    await clinic.launcher.finish(callback, session=COOKIE)


@requirement("1.1-7", "a state is tied to the browser session that began the launch", rows=(39, 61))
async def test_a_callback_in_another_session_is_refused(clinic: Clinic, ehr: StrictEhr) -> None:
    for session in (OTHER_COOKIE, "", None):
        callback = await clinic.browser(await clinic.depart(ehr))
        with pytest.raises(WrongSession):
            await clinic.launcher.finish(callback, session=session)
    assert ehr.token_requests == []


@requirement("1.1-7", "without a cookie it is finished only for a clinic that allows that, never with a wrong one")
async def test_a_clinic_may_allow_a_callback_without_a_cookie(ehr: StrictEhr, internet: Internet, clock: Clock) -> None:
    allowed = Registrations([registered(ehr, allow_cookieless_callback=True)])
    clinic = Clinic(allowed, internet, clock)
    arrived = await clinic.sign_in(ehr, cookie=None)
    assert not arrived.belongs_to(COOKIE)
    arrived = await clinic.sign_in(ehr)
    assert arrived.belongs_to(COOKIE)
    assert not arrived.belongs_to(OTHER_COOKIE)
    callback = await clinic.browser(await clinic.depart(ehr))
    with pytest.raises(WrongSession):
        await clinic.launcher.finish(callback, session=OTHER_COOKIE)


async def test_a_launch_is_not_begun_with_a_session_that_can_be_guessed(clinic: Clinic, ehr: StrictEhr) -> None:
    with pytest.raises(CheckFailed):
        await clinic.depart(ehr, cookie="1")


@requirement("attack", "a code of another launch is of no use: it fits no other verifier", rows=(13, 70))
async def test_an_injected_code_is_refused(clinic: Clinic, ehr: StrictEhr) -> None:
    victims = await clinic.browser(await clinic.depart(ehr, cookie=OTHER_COOKIE, patient="pat-2"))
    mine = await clinic.browser(await clinic.depart(ehr, patient="pat-1"))
    with pytest.raises(TokenRefused) as refused:
        await clinic.launcher.finish(other_code(mine, dict(victims)["code"]), session=COOKIE)
    assert refused.value.error == "invalid_grant"
    assert "code_verifier" in ehr.complaints[-1]


@requirement("attack", "an id_token of another launch is of no use: it holds another nonce")
async def test_an_id_token_of_another_launch_is_refused(clinic: Clinic, ehr: StrictEhr) -> None:
    seen: list[dict[str, object]] = []

    def keep(header: dict[str, object], claims: dict[str, object]) -> str:
        seen.append(dict(claims))
        return jwt_of(ehr, header, {**claims, "nonce": seen[0]["nonce"]})

    ehr.faults.sign = keep
    await clinic.sign_in(ehr)
    with pytest.raises(SmartFault) as refused:
        await clinic.sign_in(ehr)
    assert refused.value.where == ("nonce",)


@requirement("attack", "two clinics are not mixed up: a code of one EHR never reaches the other")
async def test_an_answer_of_another_clinics_ehr_is_refused(clock: Clock) -> None:
    honest, evil = StrictEhr("honest", clock=clock.seconds), StrictEhr("evil", clock=clock.seconds)
    both = Registrations([registered(honest, clinic="harbor"), registered(evil, clinic="hill")])
    clinic = Clinic(both, Internet(honest, evil), clock)
    # The evil EHR sends the browser on to the honest one, with the state of its own launch: the code would go to evil.
    departure = await clinic.depart(evil)
    state = departure.url.partition("state=")[2].partition("&")[0]
    callback = await clinic.browser(await clinic.depart(honest))
    stolen = [(name, state if name == "state" else value) for name, value in callback]
    with pytest.raises(MixedUp):
        await clinic.launcher.finish(stolen, session=COOKIE)
    assert evil.token_requests == []


@requirement("attack", "each clinic's tokens, keys and sessions go to its own EHR alone")
async def test_each_clinic_speaks_to_its_own_ehr(clock: Clock) -> None:
    one, two = StrictEhr("one", clock=clock.seconds), StrictEhr("two", clock=clock.seconds)
    both = Registrations([registered(one, clinic="harbor"), registered(two, clinic="hill")])
    clinic = Clinic(both, Internet(one, two), clock)
    first, second = await clinic.sign_in(one, patient="same"), await clinic.sign_in(two, patient="same")
    clock.move(hours=2)
    await clinic.sessions.of(first.launch_id)
    assert (len(one.token_requests), len(two.token_requests)) == (2, 1)
    for request in clinic.internet.requests:
        sent = f"{request.url} {request.headers} {request.content!r}"
        theirs = second.tokens if request.url.host.endswith("one.example") else first.tokens
        assert theirs.access_token not in sent
        assert (theirs.refresh_token or "-") not in sent


@requirement("1.1-8", "what comes back is forwarded nowhere: no parameter chooses an address", rows=(6,))
async def test_nothing_in_the_callback_chooses_an_address(clinic: Clinic, ehr: StrictEhr) -> None:
    callback = await clinic.browser(await clinic.depart(ehr))
    more = [(name, "https://evil.example") for name in ("redirect_uri", "next", "error_uri", "token_endpoint", "aud")]
    await clinic.launcher.finish([*callback, *more], session=COOKIE)
    assert clinic.internet.asked("evil.example") == []
    assert ehr.token_requests[-1]["redirect_uri"] == REDIRECT
    code = dict(callback)["code"]
    assert [r for r in clinic.internet.requests if code in str(r.url) or code.encode() in r.content] == [
        request for request in clinic.internet.requests if str(request.url) == ehr.token_url
    ]


@pytest.mark.parametrize("name", ["state", "code", "iss", "error"])
async def test_a_parameter_given_twice_is_refused(clinic: Clinic, ehr: StrictEhr, name: str) -> None:
    callback = await clinic.browser(await clinic.depart(ehr))
    with pytest.raises(MalformedCallback):
        await clinic.launcher.finish([*callback, (name, "x"), (name, "y")], session=COOKIE)
    assert ehr.token_requests == []


@pytest.mark.parametrize("code", ["", "with space", "line\n", "é", "x" * 9000])
async def test_a_code_that_is_none_is_refused(clinic: Clinic, ehr: StrictEhr, code: str) -> None:
    callback = await clinic.browser(await clinic.depart(ehr))
    with pytest.raises(MalformedCallback):
        await clinic.launcher.finish(other_code(callback, code), session=COOKIE)
    assert ehr.token_requests == []


@requirement("attack", "a configuration that points into a private network is refused (SSRF)", rows=(1,))
@pytest.mark.parametrize("name", ["token_endpoint", "authorization_endpoint", "revocation_endpoint", "issuer"])
@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/token",
        "https://[::1]/token",
        "https://localhost/token",
        "https://db.internal/token",
        "https://vault/token",
        "https://10.0.0.7:8443/token",
        "https://203.0.113.9/token",
        "http://login.ehr.example/token",
        "https://user:password@login.ehr.example/token",
        "file:///etc/passwd",
        "gopher://login.ehr.example/x",
        "//evil.example/token",
        "https://login.ehr.example/token#x",
        "https://login.ehr.example/a/../token",
    ],
)
async def test_endpoints_in_private_places_are_refused(clinic: Clinic, ehr: StrictEhr, name: str, url: str) -> None:
    ehr.faults.config = {name: url}
    with pytest.raises(SmartFault):
        await clinic.depart(ehr)
    assert {request.url.host for request in clinic.internet.requests} == {"ehr.example"}


@requirement("attack", "a jwks_uri that points into a private network or has no TLS is not fetched (SSRF)")
@pytest.mark.parametrize("url", ["https://169.254.169.254/jwks", "http://login.ehr.example/jwks", "/jwks", None, 7])
async def test_a_jwks_uri_in_a_private_place_is_refused(clinic: Clinic, ehr: StrictEhr, url: object) -> None:
    ehr.faults.openid = {"jwks_uri": url}
    with pytest.raises(SmartFault):
        await clinic.sign_in(ehr)
    assert {request.url.host for request in clinic.internet.requests} == {ehr.fhir_host, ehr.login_host}
    assert clinic.internet.asked("/jwks") == []


@requirement("attack", "an id_token that has run out or comes from the future is refused")
@pytest.mark.parametrize("by", [{"exp": -61}, {"iat": 61}, {"nbf": 61}, {"iat": -661}])
async def test_expired_and_future_id_tokens_are_refused(
    clinic: Clinic, ehr: StrictEhr, clock: Clock, by: dict[str, int]
) -> None:
    ehr.faults.claims = {name: int(clock.seconds()) + seconds for name, seconds in by.items()}
    with pytest.raises(SmartFault) as refused:
        await clinic.sign_in(ehr)
    assert refused.value.code == "smart-id-token"


@requirement("attack", "a style document of an unknown origin is not offered to be fetched")
@pytest.mark.parametrize(
    ("url", "offered"),
    [
        ("https://ehr.example/style.json", True),
        ("https://cdn.ehr.example/style.json", True),
        ("https://evil.example/style.json", False),
        ("http://ehr.example/style.json", False),
        ("https://169.254.169.254/style.json", False),
        (7, False),
    ],
)
async def test_a_style_of_an_unknown_origin_is_dropped(
    ehr: StrictEhr, internet: Internet, clock: Clock, url: object, offered: bool
) -> None:
    known = Registrations([registered(ehr, style_origins=("https://cdn.ehr.example",))])
    context = (await Clinic(known, internet, clock).sign_in(ehr, patient="p", smart_style_url=url)).context
    assert context.smart_style_url == (url if offered else None)


async def test_a_launch_begun_at_another_ehr_than_the_clinic_has_now_is_refused(
    ehr: StrictEhr, internet: Internet, clock: Clock
) -> None:
    clinic = Clinic(Registrations([registered(ehr)]), internet, clock)
    callback = await clinic.browser(await clinic.depart(ehr))
    moved = StrictEhr("moved", clock=clock.seconds)
    later = Clinic(Registrations([registered(moved)]), internet, clock)
    later.launcher._launches = clinic.launches
    with pytest.raises(UnknownIssuer):
        await later.launcher.finish(callback, session=COOKIE)


async def test_old_launches_are_forgotten(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    callback = await clinic.browser(await clinic.depart(ehr))
    clock.move(minutes=59)
    assert await clinic.launcher.purge() == 0
    clock.move(minutes=2)
    assert await clinic.launcher.purge() == 1
    with pytest.raises(UnknownState):
        await clinic.launcher.finish(callback, session=COOKIE)


async def test_of_two_callbacks_at_once_one_finishes(clinic: Clinic, ehr: StrictEhr) -> None:
    store = MemoryLaunchStore()
    clinic.launcher._launches = store
    departure = await clinic.depart(ehr)
    [record] = store._records.values()
    assert (await store.take(record.state)) == record
    assert (await store.take(record.state)) == replace(record, used=True)
    assert departure.launch_id == record.launch_id


def jwt_of(ehr: StrictEhr, header: dict[str, object], claims: dict[str, object]) -> str:
    return jwt.encode(dict(header), dict(claims), ehr.keys[-1], algorithms=["ES384"])
