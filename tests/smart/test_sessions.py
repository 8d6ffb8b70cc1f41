"""Refreshing: ahead of time, once for all who wait, no refresh token sent twice (our §1.2 rows 17, 20)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from fhir_aftercare.smart import SessionTokens
from fhir_aftercare.smart.faults import EhrTimeout, EhrUnreachable, SessionOver, TokenRefused
from smart.conformance import requirement

if TYPE_CHECKING:
    from fhir_aftercare.smart import LaunchSession
    from smart.clinic import Clinic, Clock
    from smart.strict_server import StrictEhr


@requirement(
    "1.2-17", "a refresh request is a form with grant_type and the token, and asks for no scope", rows=(105, 106, 108)
)
async def test_a_refresh_request_says_what_it_must(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    arrived = await clinic.sign_in(ehr)
    clock.move(minutes=59, seconds=30)
    await clinic.sessions.of(arrived.launch_id)
    form = ehr.token_requests[-1]
    assert form["grant_type"] == "refresh_token"
    assert form["refresh_token"] == arrived.tokens.refresh_token
    assert "scope" not in form


@requirement("1.2-17", "a new refresh token replaces the old one, however many ask at once")
async def test_many_who_ask_at_once_cause_one_refresh(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    arrived = await clinic.sign_in(ehr)
    clock.move(minutes=59, seconds=30)
    before = len(ehr.token_requests)
    sessions = await asyncio.gather(*(clinic.sessions.of(arrived.launch_id) for _ in range(50)))
    assert len(ehr.token_requests) == before + 1
    assert {session.tokens.access_token for session in sessions} != {arrived.tokens.access_token}
    assert len({session.tokens.access_token for session in sessions}) == 1
    for _ in range(3):  # each round uses the token the last one gave
        clock.move(minutes=59, seconds=30)
        await clinic.sessions.of(arrived.launch_id)
    assert not ehr.theft_noticed


@requirement("1.2-17", "new tokens are durable before anybody gets them; a spent one is marked before it is sent")
async def test_tokens_are_stored_before_they_are_used(
    clinic: Clinic, ehr: StrictEhr, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = await clinic.sign_in(ehr)
    clock.move(minutes=59, seconds=30)
    happened: list[str] = []
    put = clinic.store.put

    async def recorded(session: LaunchSession) -> None:
        happened.append("spent" if session.spent else "stored")
        await put(session)

    async def asked(request: httpx.Request) -> httpx.Response:
        happened.append("sent")
        return await clinic.internet.hosts[ehr.login_host].handle_async_request(request)

    monkeypatch.setattr(clinic.store, "put", recorded)
    clinic.internet.answers[ehr.token_url] = asked
    session = await clinic.sessions.of(arrived.launch_id)
    assert happened == ["spent", "sent", "stored"]
    assert await clinic.store.get(arrived.launch_id) == session


@requirement("1.2-17", "a refresh token whose answer was lost is never sent again")
async def test_after_a_lost_answer_the_refresh_token_is_not_sent_again(
    clinic: Clinic, ehr: StrictEhr, clock: Clock
) -> None:
    arrived = await clinic.sign_in(ehr)

    async def lost(request: httpx.Request) -> httpx.Response:
        await clinic.internet.hosts[ehr.login_host].handle_async_request(request)
        raise httpx.ReadTimeout("lost")

    clinic.internet.answers[ehr.token_url] = lost
    clock.move(minutes=59, seconds=30)
    assert (await clinic.sessions.of(arrived.launch_id)).tokens == arrived.tokens  # good for half a minute more
    del clinic.internet.answers[ehr.token_url]
    sent = len(ehr.token_requests)
    clock.move(minutes=1)
    with pytest.raises(SessionOver):
        await clinic.sessions.of(arrived.launch_id)
    assert len(ehr.token_requests) == sent
    assert not ehr.theft_noticed


async def test_after_a_failed_connection_the_refresh_token_is_still_good(
    clinic: Clinic, ehr: StrictEhr, clock: Clock
) -> None:
    arrived = await clinic.sign_in(ehr)

    async def down(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("down")

    clinic.internet.answers[ehr.token_url] = down
    clock.move(hours=2)
    with pytest.raises(EhrUnreachable):
        await clinic.sessions.of(arrived.launch_id)
    del clinic.internet.answers[ehr.token_url]
    assert (await clinic.sessions.of(arrived.launch_id)).tokens != arrived.tokens


async def test_a_lost_answer_with_a_token_that_has_run_out_is_told_as_such(
    clinic: Clinic, ehr: StrictEhr, clock: Clock
) -> None:
    arrived = await clinic.sign_in(ehr)

    async def slow(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    clinic.internet.answers[ehr.token_url] = slow
    clock.move(hours=2)
    with pytest.raises(EhrTimeout):
        await clinic.sessions.of(arrived.launch_id)
    with pytest.raises(SessionOver):
        await clinic.sessions.of(arrived.launch_id)


async def test_a_refused_client_keeps_its_refresh_token(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    arrived = await clinic.sign_in(ehr)
    ehr.faults.token_error = (401, "invalid_client")
    clock.move(hours=2)
    with pytest.raises(TokenRefused):
        await clinic.sessions.of(arrived.launch_id)
    ehr.faults.token_error = None
    assert (await clinic.sessions.of(arrived.launch_id)).tokens != arrived.tokens


@requirement("1.2-17", "a refresh token the EHR no longer takes ends the session")
async def test_a_refused_refresh_token_ends_the_session(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    arrived = await clinic.sign_in(ehr)
    ehr.refresh.clear()
    clock.move(hours=2)
    with pytest.raises(SessionOver) as over:
        await clinic.sessions.of(arrived.launch_id)
    assert over.value.status == 401
    assert await clinic.store.get(arrived.launch_id) is None


@requirement("1.2-17", "a refresh can only narrow what was granted at the launch", rows=(108,))
async def test_a_refresh_never_widens_what_was_granted(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    ehr.faults.granted = "openid fhirUser online_access user/Patient.r user/CarePlan.rs"
    arrived = await clinic.sign_in(ehr)
    ehr.faults.granted = "online_access user/*.cruds system/*.cruds"
    clock.move(hours=2)
    granted = (await clinic.sessions.of(arrived.launch_id)).tokens.granted
    assert granted.allows("CarePlan", "s")
    assert not granted.allows("CarePlan", "c")
    assert not granted.allows("Patient", "r", levels=("system",))


async def test_a_refresh_that_says_nothing_of_scope_and_token_keeps_both(
    clinic: Clinic, ehr: StrictEhr, clock: Clock
) -> None:
    ehr.faults.rotates = False
    arrived = await clinic.sign_in(ehr)
    ehr.faults.token = {"scope": None, "refresh_token": None}
    for _ in range(2):
        clock.move(hours=2)
        session = await clinic.sessions.of(arrived.launch_id)
        assert session.tokens.refresh_token == arrived.tokens.refresh_token
        assert session.tokens.granted == arrived.tokens.granted


async def test_a_refresh_for_another_patient_ends_the_session(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    arrived = await clinic.sign_in(ehr)
    ehr.faults.token = {"patient": "pat-2"}
    clock.move(hours=2)
    with pytest.raises(SessionOver):
        await clinic.sessions.of(arrived.launch_id)


@requirement("1.2-20", "a token refused with 401 is replaced once, and not by itself")
async def test_a_token_refused_with_401_is_replaced(clinic: Clinic, ehr: StrictEhr) -> None:
    arrived = await clinic.sign_in(ehr)
    provider = SessionTokens(clinic.sessions, arrived.launch_id)
    first = await provider.token()
    ehr.access.clear()
    second = await provider.renew()
    assert second != first
    headers = {"Authorization": f"Bearer {second}"}
    assert (await clinic.http.get(f"{ehr.base}/Patient/pat-1", headers=headers)).status_code == 200


async def test_what_lasts_one_request_looks_nothing_up_while_its_token_lives(
    clinic: Clinic, ehr: StrictEhr, clock: Clock
) -> None:
    arrived = await clinic.sign_in(ehr)
    provider = SessionTokens(clinic.sessions, arrived.launch_id, await clinic.sessions.of(arrived.launch_id))
    renewed = await clinic.sessions.renewed(arrived.launch_id, arrived.tokens.access_token)  # by another request
    assert await provider.token() == arrived.tokens.access_token
    assert await provider.renew() == renewed.tokens.access_token  # after a 401
    assert await provider.token() == renewed.tokens.access_token
    clock.move(hours=2)
    assert await provider.token() not in {arrived.tokens.access_token, renewed.tokens.access_token}


async def test_many_who_were_refused_at_once_cause_one_refresh(clinic: Clinic, ehr: StrictEhr) -> None:
    arrived = await clinic.sign_in(ehr)
    provider, everybody = SessionTokens(clinic.sessions, arrived.launch_id), asyncio.Barrier(20)
    before = len(ehr.token_requests)

    async def refused() -> str:
        await provider.token()
        await everybody.wait()
        return await provider.renew()

    tokens = set(await asyncio.gather(*(refused() for _ in range(20))))
    assert len(tokens) == 1
    assert tokens != {arrived.tokens.access_token}
    assert len(ehr.token_requests) == before + 1


async def test_without_a_refresh_token_a_session_lives_as_long_as_its_token(
    clinic: Clinic, ehr: StrictEhr, clock: Clock
) -> None:
    ehr.faults.token = {"refresh_token": None}
    arrived = await clinic.sign_in(ehr)
    clock.move(minutes=59, seconds=30)
    assert (await clinic.sessions.of(arrived.launch_id)).tokens == arrived.tokens
    clock.move(minutes=1)
    with pytest.raises(SessionOver):
        await clinic.sessions.of(arrived.launch_id)
