"""In another site's frame: what browsers are told, whose forms are taken, and what is done where no cookie returns."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import pytest

from ui.house import FRAMES, REDIRECT, base_of, form_of, house_of, launch_id_of

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from servers import Server
    from ui.house import Browser, House

PLAIN = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
ENDS = f"form-action 'self'; frame-ancestors {' '.join(FRAMES)}"
POLICY = PLAIN + ENDS
SCRIPTED = f"{PLAIN}script-src 'self'; connect-src 'self'; {ENDS}"


async def signed_in(house: House) -> tuple[Browser, httpx.Response]:
    browser = house.browser()
    return browser, await browser.launch(patient=await house.patient())


def links(page: httpx.Response) -> list[str]:
    return [unescape(each) for each in re.findall(r'href="([^"]+)" target="_blank"', page.text)]


# What browsers are told


async def test_every_page_has_the_strict_headers(house: House) -> None:
    browser, page = await signed_in(house)
    error = await browser.get("/callback?state=x")
    over = await house.browser().get(str(page.url))
    out = await browser.sign_out(page)
    ours = [each for each in page.history if each.url.host == "app.example"]
    for answer in (page, error, over, out, *ours):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "x-frame-options" not in answer.headers
    assert page.headers["content-security-policy"] == SCRIPTED
    for answer in (error, out):  # these may be shown where the app is framed, too
        assert answer.headers["content-security-policy"] == POLICY
    assert over.headers["content-security-policy"].endswith("frame-ancestors 'none'")


async def test_a_clinic_that_names_no_origins_is_framed_by_nobody(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path, pages={"frame_ancestors": ()}) as house:
        _, page = await signed_in(house)
        assert page.headers["content-security-policy"].endswith("frame-ancestors 'none'")


async def test_pages_hold_no_inline_script_or_style_and_nothing_from_elsewhere(house: House) -> None:
    _, page = await signed_in(house)
    assert not re.search(r"<script(?! src=)|<style|style=|\son\w+=|javascript:", page.text)
    assert len(re.findall(r'<script src="/app/static/[^"]+" defer></script>', page.text)) == 2
    assert {unescape(each)[0] for each in re.findall(r'(?:href|src|action)="([^"]*)"', page.text)} == {"/", "#", "."}
    sheet = await house.browser().get(re.findall(r'href="([^"]+\.css[^"]*)"', page.text)[0])
    assert sheet.headers["content-type"].startswith("text/css")
    assert "immutable" in sheet.headers["cache-control"]
    assert "url(" not in sheet.text
    assert "@import" not in sheet.text


async def test_an_old_address_of_the_style_sheet_is_not_kept(house: House) -> None:
    sheet = await house.browser().get("/app/static/aftercare.css?v=old")
    assert sheet.headers["cache-control"] == "no-cache"


# Whose forms are taken


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "", "origin": "https://evil.example"},
        {"sec_fetch_site": "", "origin": "https://ehr.example"},
        {"sec_fetch_site": "", "origin": "http://app.example"},
        {"sec_fetch_site": "", "origin": "https://app.example:8443"},
        {"sec_fetch_site": "", "origin": "https://app.example.evil.example"},
        {"sec_fetch_site": "", "origin": "x:[:"},
        {"sec_fetch_site": "same-origin", "origin": "https://evil.example"},
    ],
)
async def test_a_form_of_another_site_does_nothing(house: House, headers: dict[str, str]) -> None:
    browser, page = await signed_in(house)
    answer = await browser.post(f"{base_of(page)}sign-out", form_of(page), **headers)
    assert answer.status_code == 403
    assert house.ehr.revoked == []
    assert (await browser.get(str(page.url))).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin", "origin": "null"},
        {"sec_fetch_site": "same-origin", "origin": "https://app.example"},
        {"sec_fetch_site": "none", "origin": "null"},
        {"sec_fetch_site": "", "origin": "https://app.example"},
        {"sec_fetch_site": "", "origin": "https://app.example:443"},
        {"sec_fetch_site": "", "origin": "null"},
        {"sec_fetch_site": "", "origin": ""},
    ],
)
async def test_a_form_of_our_own_is_taken_from_new_and_old_browsers(house: House, headers: dict[str, str]) -> None:
    browser, page = await signed_in(house)
    answer = await browser.post(f"{base_of(page)}sign-out", form_of(page), **headers)
    assert answer.url.path == "/app/signed-out/harbor"


@pytest.mark.parametrize("token", [None, "", "x", "é"])
async def test_without_the_pages_own_token_nothing_is_done(house: House, token: str | None) -> None:
    browser, page = await signed_in(house)
    answer = await browser.post(f"{base_of(page)}sign-out", {} if token is None else {"form": token})
    assert answer.status_code in {400, 403}
    assert house.ehr.revoked == []


async def test_the_token_of_one_launch_is_no_good_for_another(house: House) -> None:
    browser, one = await signed_in(house)
    two = await browser.launch(patient=await house.patient())
    answer = await browser.post(f"{base_of(one)}sign-out", form_of(two))
    assert answer.status_code == 403


async def test_a_form_sent_as_something_else_is_refused(house: House) -> None:
    browser, page = await signed_in(house)
    for content, kind in ((b"{}", "application/json"), (b"form=a", "text/plain"), (b"form=\xff", None)):
        sent = {"sec-fetch-site": "same-origin", "content-type": kind or "application/x-www-form-urlencoded"}
        answer = await browser.http.post(f"{base_of(page)}sign-out", content=content, headers=sent)
        assert answer.status_code == 400
    assert house.ehr.revoked == []


async def test_signing_out_takes_a_form_and_never_an_address(house: House) -> None:
    browser, page = await signed_in(house)
    assert (await browser.get(f"{base_of(page)}sign-out")).status_code == 405
    assert house.ehr.revoked == []


# Where no cookie comes back


async def test_a_browser_without_cookies_is_told_so_while_the_launch_is_still_unused(house: House) -> None:
    page = await house.browser(cookies=False).launch(patient=await house.patient())
    assert page.status_code == 403
    assert "Cookies are blocked here" in page.text
    assert "frame-ancestors https://ehr.example" in page.headers["content-security-policy"]
    assert house.wire.requests == []  # the EHR was not asked, so the launch is still good
    (address,) = links(page)
    own_window = house.browser()
    assert "RIVERA" in (await own_window.get(address)).text


async def test_a_cookie_that_got_lost_on_the_way_is_told_and_a_new_launch_offered(house: House) -> None:
    browser = house.browser()
    back = await browser.until(browser.launch_address(patient="1"), REDIRECT)
    page = await house.browser(cookies=False).get(back)
    assert page.status_code == 403
    assert links(page) == ["/launch/harbor"]
    assert house.ehr.token_requests == []


async def test_standalone_without_cookies_offers_itself_in_a_window_of_its_own(house: House) -> None:
    page = await house.browser(cookies=False).get("/launch/harbor")
    assert links(page) == ["/launch/harbor"]


@pytest.fixture
def allowing() -> dict[str, bool]:
    return {"allow_cookieless_callback": True}


async def test_a_clinic_may_allow_launches_without_cookies(
    sandbox: Server, tmp_path: Path, allowing: dict[str, bool]
) -> None:
    async with house_of(sandbox, tmp_path, registered=allowing) as house:
        browser = house.browser(cookies=False)
        page = await browser.launch(patient=await house.patient())
        assert (page.status_code, page.url.path) == (200, "/callback")
        assert "RIVERA" not in page.text
        place = re.findall(r'action="([^"]+)"', page.text)[0]
        secret = form_of(page)
        shown = await browser.post(place, secret)
        assert "RIVERA" in shown.text
        assert secret["handle"] not in " ".join(browser.seen)
        # The address alone opens nothing, nor does the handle from another site or of another launch.
        assert (await browser.get(place)).status_code == 401
        assert (await browser.post(place, secret, sec_fetch_site="cross-site")).status_code == 403
        other = await browser.launch(patient=await house.patient("Chen"))
        assert (await browser.post(place, form_of(other))).status_code == 401
        # Each page carries it on; it ends with the launch.
        assert (await browser.post(f"{place}sign-out", form_of(shown))).url.path == "/app/signed-out/harbor"
        assert (await browser.post(place, secret)).status_code == 401


async def test_a_launch_without_cookies_is_idle_like_any_other(
    sandbox: Server, tmp_path: Path, allowing: dict[str, bool]
) -> None:
    async with house_of(sandbox, tmp_path, registered=allowing) as house:
        browser = house.browser(cookies=False)
        page = await browser.launch(patient=await house.patient())
        house.clock.move(minutes=15)
        place = re.findall(r'action="([^"]+)"', page.text)[0]
        assert (await browser.post(place, form_of(page))).status_code == 401
        assert len(house.ehr.revoked) == 2


async def test_where_it_is_allowed_a_cookie_of_another_session_is_still_refused(
    sandbox: Server, tmp_path: Path, allowing: dict[str, bool]
) -> None:
    async with house_of(sandbox, tmp_path, registered=allowing) as house:
        attacker, victim = house.browser(), house.browser()
        await victim.launch(patient=await house.patient())
        back = await attacker.until(attacker.launch_address(patient="1"), REDIRECT)
        assert (await victim.get(back)).status_code == 403
        victim.http.cookies.clear()
        victim.http.cookies.set("__Host-aftercare", "garbage", domain="app.example", path="/")
        back = await attacker.until(attacker.launch_address(patient="1"), REDIRECT)
        assert (await victim.get(back)).status_code == 403


async def test_a_browser_with_cookies_uses_them_also_where_it_need_not(
    sandbox: Server, tmp_path: Path, allowing: dict[str, bool]
) -> None:
    async with house_of(sandbox, tmp_path, registered=allowing) as house:
        _, page = await signed_in(house)
        assert launch_id_of(page)
        assert "handle" not in page.text
