"""Who sees what after a launch, for how long, and how it ends."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.smart import Vault
from fhir_aftercare.store.launch_sessions import LaunchSessions
from smart.clinic import Clock
from smart.strict_server import StrictEhr
from ui.house import REDIRECT, Browser, base_of, form_of, house_of, launch_id_of

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from servers import Server
    from ui.house import House

SHIFT = timedelta(hours=12)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def signed_in(house: House, name: str = "Rivera", **options: object) -> tuple[Browser, httpx.Response]:
    browser = house.browser(**options)
    page = await browser.launch(patient=await house.patient(name))
    assert page.status_code == 200, page.text
    return browser, page


def set_cookies(answer: httpx.Response) -> list[str]:
    return [value for each in (*answer.history, answer) for value in each.headers.get_list("set-cookie")]


# The cookie


async def test_the_cookie_is_as_an_iframe_needs_it_and_says_nothing(house: House) -> None:
    _, page = await signed_in(house)
    given = set_cookies(page)
    assert len(given) == 2  # at the launch, and another at the callback
    for header in given:
        value, *attributes = header.split("; ")
        assert re.fullmatch(r"__Host-aftercare=[A-Za-z0-9_-]{43}", value)
        assert set(attributes) == {"Path=/", "Secure", "HttpOnly", "SameSite=None", "Partitioned"}


async def test_a_cookie_planted_before_the_sign_in_opens_nothing_after_it(house: House) -> None:
    attacker = house.browser()
    await attacker.until(attacker.launch_address(patient="1"), "https://login.ehr.example/")
    planted = str(attacker.cookie)
    victim = house.browser()
    victim.http.cookies.set("__Host-aftercare", planted, domain="app.example", path="/")
    back = await victim.until(victim.launch_address(patient=await house.patient()), REDIRECT)
    answer = await victim.http.get(back, follow_redirects=False)  # the victim has not even followed the redirect
    place = answer.headers["location"]
    assert planted not in answer.headers["set-cookie"]
    assert (await attacker.get(place)).status_code == 401
    assert (await victim.get(place)).status_code == 200
    assert (await attacker.get(place)).status_code == 401
    # And now the planted value is no session any more at all.
    assert await house.door.browsers.of(planted) is None


async def test_a_value_that_the_browser_brings_along_is_never_taken_over(house: House) -> None:
    browser = house.browser()
    browser.http.cookies.set("__Host-aftercare", "A" * 43, domain="app.example", path="/")
    page = await browser.launch(patient=await house.patient())
    assert page.status_code == 200
    assert all("A" * 43 not in each for each in set_cookies(page))


async def test_an_answer_that_got_lost_at_the_callback_signs_nobody_out(house: House) -> None:
    browser, first = await signed_in(house)
    before = str(browser.cookie)
    back = await browser.until(browser.launch_address(patient=await house.patient()), REDIRECT)
    await browser.http.get(back, follow_redirects=False)  # its cookie never arrives:
    browser.http.cookies.set("__Host-aftercare", before, domain="app.example", path="/")
    assert (await browser.get(str(first.url))).status_code == 200
    assert (await browser.get(back)).status_code == 200  # the reload gets another


# Tabs and patients


async def test_two_patients_in_two_tabs_never_mix(house: House) -> None:
    browser, one = await signed_in(house, "Rivera")
    two = await browser.launch(patient=await house.patient("Chen"))
    assert launch_id_of(one) != launch_id_of(two)
    for _ in range(2):
        again = await browser.get(str(one.url))
        assert "RIVERA" in again.text
        assert "CHEN" not in again.text
        again = await browser.get(str(two.url))
        assert "CHEN" in again.text
        assert "RIVERA" not in again.text
    asked = [each.headers["authorization"] for each in house.wire.fhir]
    assert len(set(asked)) == 2  # each with its own token


async def test_forms_of_an_older_tab_still_work_after_another_launch(house: House) -> None:
    browser, one = await signed_in(house)
    two = await browser.launch(patient=await house.patient("Chen"))
    assert (await browser.sign_out(one)).status_code == 200
    assert (await browser.get(str(two.url))).status_code == 200


async def test_two_launches_at_once_in_one_browser_both_land(house: House) -> None:
    browser, _ = await signed_in(house)
    patient = await house.patient()
    pages = await asyncio.gather(*(browser.launch(patient=patient) for _ in range(3)))
    assert [(await browser.get(str(page.url))).status_code for page in pages] == [200, 200, 200]


async def test_nobody_else_sees_a_launch_whose_address_they_know(house: House) -> None:
    _, page = await signed_in(house, "Rivera")
    other, own = await signed_in(house, "Chen")
    calls = len(house.wire.fhir)
    for browser in (other, house.browser()):
        seen = await browser.get(str(page.url))
        assert seen.status_code == 401
        assert "RIVERA" not in seen.text
        answer = await browser.post(f"{base_of(page)}sign-out", form_of(own))
        assert answer.status_code == 401
    assert len(house.wire.fhir) == calls
    assert house.ehr.revoked == []


# How it ends


async def test_who_is_idle_for_a_quarter_of_an_hour_is_signed_out(house: House) -> None:
    browser, page = await signed_in(house)
    house.clock.move(minutes=14, seconds=59)
    assert (await browser.get(str(page.url))).status_code == 200
    house.clock.move(minutes=15)
    over = await browser.get(str(page.url))
    assert over.status_code == 401
    assert "not used for 15 minutes" in over.text
    assert "RIVERA" not in over.text
    assert len(house.ehr.revoked) == 2  # refresh and access token
    assert (await browser.get(str(page.url))).status_code == 401


async def test_a_clinic_may_set_another_time(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path, pages={"idle": timedelta(minutes=2)}) as house:
        browser, page = await signed_in(house)
        assert "after 2 minutes without use" in page.text
        house.clock.move(minutes=2)
        assert (await browser.get(str(page.url))).status_code == 401


async def test_an_idle_sign_in_is_ended_though_nobody_comes_back(house: House) -> None:
    _, page = await signed_in(house)
    house.clock.move(minutes=14)
    await house.door.tidy()
    assert await house.door.kept.get(launch_id_of(page)) is not None
    house.clock.move(minutes=1)
    await house.door.tidy()
    assert await house.door.kept.get(launch_id_of(page)) is None
    assert len(house.ehr.revoked) == 2


async def test_an_idle_sign_in_whose_tokens_cannot_be_opened_any_more_is_dropped(
    sandbox: Server, tmp_path: Path, clock: Clock
) -> None:
    ehr = StrictEhr(clock=clock.seconds)
    async with house_of(sandbox, tmp_path, clock=clock, ehr=ehr) as one:
        await signed_in(one)
        clock.move(minutes=15)
        async with house_of(sandbox, tmp_path, clock=clock, ehr=ehr, world=one.world) as two:  # with other keys
            await two.door.tidy()
            assert await two.door.kept.clinics() == frozenset()


async def test_sessions_of_a_clinic_that_is_gone_are_dropped_and_shown_to_nobody(house: House) -> None:
    browser, page = await signed_in(house)
    house.door.pages.clear()  # type: ignore[attr-defined]
    assert (await browser.get(str(page.url))).status_code == 401
    await house.door.tidy()
    assert await house.door.kept.get(launch_id_of(page)) is None


async def test_nobody_stays_signed_in_for_longer_than_a_shift(house: House) -> None:
    browser, page = await signed_in(house)
    for _ in range(71):
        house.clock.move(minutes=10)
        assert await house.door.kept.used(launch_id_of(page), idle=house.door.pages["harbor"].idle, longest=SHIFT)
    house.clock.move(minutes=10)
    assert (await browser.get(str(page.url))).status_code == 401


async def test_a_sign_in_that_the_ehr_ended_says_to_open_the_app_again(house: House) -> None:
    browser, page = await signed_in(house)
    house.ehr.access.clear()
    house.ehr.refresh.clear()
    over = await browser.get(str(page.url))
    assert over.status_code == 401
    assert "Open the app again from the chart." in over.text


async def test_a_token_refused_by_the_fhir_server_is_renewed_once_and_nobody_notices(house: House) -> None:
    browser, page = await signed_in(house)
    house.ehr.access.clear()  # the refresh token is still good
    assert (await browser.get(str(page.url))).status_code == 200
    assert len(house.ehr.token_requests) == 2


async def test_a_token_that_runs_out_is_refreshed_before_it_is_used(house: House) -> None:
    house.ehr.faults.expires_in = 300
    browser, page = await signed_in(house)
    house.clock.move(minutes=4, seconds=30)
    assert (await browser.get(str(page.url))).status_code == 200
    assert [each["grant_type"] for each in house.ehr.token_requests] == ["authorization_code", "refresh_token"]


async def test_another_patient_in_the_ehr_ends_the_page(house: House) -> None:
    browser, page = await signed_in(house)
    house.ehr.faults.token = {"patient": "another"}
    house.ehr.access.clear()
    over = await browser.get(str(page.url))
    assert over.status_code == 401
    assert "RIVERA" not in over.text


# Signing out


async def test_signing_out_revokes_and_takes_the_cookie_back(house: House) -> None:
    browser, page = await signed_in(house)
    out = await browser.sign_out(page)
    assert (out.status_code, out.url.path) == (200, "/app/signed-out/harbor")
    assert len(house.ehr.revoked) == 2
    assert house.ehr.access == {}
    assert any("Max-Age=0" in each and "Partitioned" in each for each in set_cookies(out))
    assert (await browser.get(str(page.url))).status_code == 401


async def test_signing_out_of_one_tab_leaves_the_other(house: House) -> None:
    browser, one = await signed_in(house, "Rivera")
    two = await browser.launch(patient=await house.patient("Chen"))
    await browser.sign_out(one)
    assert (await browser.get(str(one.url))).status_code == 401
    assert (await browser.get(str(two.url))).status_code == 200


async def test_a_revocation_that_fails_still_signs_out(house: House) -> None:
    browser, page = await signed_in(house)
    house.ehr.faults.refuse_revocation = True
    out = await browser.sign_out(page)
    assert out.status_code == 200
    assert await house.door.kept.get(launch_id_of(page)) is None
    assert (await browser.get(str(page.url))).status_code == 401


async def test_signing_out_twice_is_no_error_of_ours(house: House) -> None:
    browser, page = await signed_in(house)
    await browser.sign_out(page)
    assert (await browser.sign_out(page)).status_code == 401


# Several processes


async def test_two_processes_refresh_once(sandbox: Server, tmp_path: Path, clock: Clock) -> None:
    ehr, vault = StrictEhr(clock=clock.seconds), Vault([Vault.new_key()])
    async with (
        house_of(sandbox, tmp_path, clock=clock, vault=vault, ehr=ehr) as one,
        house_of(sandbox, tmp_path, clock=clock, vault=vault, ehr=ehr, world=one.world) as two,
    ):
        ehr.faults.expires_in = 300
        _, page = await signed_in(one)
        clock.move(minutes=4, seconds=30)
        sessions = (one.door.sessions, two.door.sessions)
        found = await asyncio.gather(*(each.of(launch_id_of(page)) for _ in range(10) for each in sessions))
        assert len({each.tokens.access_token for each in found}) == 1
        assert len(ehr.token_requests) == 2
        assert not ehr.theft_noticed


async def test_a_callback_at_two_processes_at_once_is_finished_by_one(
    sandbox: Server, tmp_path: Path, clock: Clock
) -> None:
    ehr, vault = StrictEhr(clock=clock.seconds), Vault([Vault.new_key()])
    async with (
        house_of(sandbox, tmp_path, clock=clock, vault=vault, ehr=ehr) as one,
        house_of(sandbox, tmp_path, clock=clock, vault=vault, ehr=ehr, world=one.world) as two,
    ):
        browser, twin = one.browser(), two.browser()
        back = await browser.until(browser.launch_address(patient=await one.patient()), REDIRECT)
        twin.http.cookies.set("__Host-aftercare", str(browser.cookie), domain="app.example", path="/")
        pages = await asyncio.gather(browser.get(back), twin.get(back))
        assert 200 in {page.status_code for page in pages}
        assert len(ehr.token_requests) == 1
        assert ehr.complaints == []


async def test_another_process_with_the_keys_goes_on_where_one_ended(
    sandbox: Server, tmp_path: Path, clock: Clock
) -> None:
    ehr, keys = StrictEhr(clock=clock.seconds), [Vault.new_key()]
    async with house_of(sandbox, tmp_path, clock=clock, vault=Vault(keys), ehr=ehr) as one:
        browser, page = await signed_in(one)
        world, value = one.world, str(browser.cookie)
    rotated = Vault([Vault.new_key(), *keys])
    async with house_of(sandbox, tmp_path, clock=clock, vault=rotated, ehr=ehr, world=world) as two:
        browser = two.browser()
        browser.http.cookies.set("__Host-aftercare", value, domain="app.example", path="/")
        assert (await browser.get(str(page.url))).status_code == 200
        lost = LaunchSessions(two.database, Vault([Vault.new_key()]))
        with pytest.raises(Exception, match="cannot be opened"):
            await lost.get(launch_id_of(page))
