"""From a chart, or by itself, to the overview; and everything that can come back from the EHR instead."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx
import pytest

from smart.strict_server import StrictEhr
from ui.house import APP, REDIRECT, house_of, launch_id_of

if TYPE_CHECKING:
    from pathlib import Path

    from servers import Server
    from ui.house import House


async def test_a_launch_from_a_chart_lands_on_the_patients_overview(house: House) -> None:
    page = await house.browser().launch(patient=await house.patient())
    assert page.status_code == 200
    launch_id_of(page)
    for text in ("RIVERA, Ana", "Call the patient.", "Aftercare of one ketamine infusion", "PHQ-9", "21 on"):
        assert text in page.text
    # Batches are all that was read: for where to land, which visit and how it stands, and for the page.
    assert [(each.method, str(each.url)) for each in house.wire.fhir] == [("POST", house.ehr.base)] * 3
    assert house.ehr.complaints == []


async def test_a_launch_for_one_of_several_clinics_of_an_ehr_names_it_in_the_address(house: House) -> None:
    page = await house.browser().launch(clinic="harbor", patient=await house.patient())
    assert page.status_code == 200


async def test_outside_the_ehr_the_context_is_asked_for(house: House) -> None:
    page = await house.browser().get("/launch/harbor")
    assert page.status_code == 404  # the patient that the strict EHR chooses is on no FHIR server
    assert "launch/patient" in house.ehr.authorizations[-1]["scope"].split(" ")
    launch_id_of(page)


@pytest.mark.parametrize("path", ["/launch/nowhere", "/launch/nowhere?iss=https://ehr.example/fhir&launch=x"])
async def test_a_clinic_that_is_not_here_is_refused(house: House, path: str) -> None:
    page = await house.browser().get(path)
    assert page.status_code == 403
    assert house.wire.requests == []


@pytest.mark.parametrize(
    "iss",
    [
        "https://evil.example/fhir",
        "https://ehr.example.evil.example/fhir",
        "http://169.254.169.254/",
        "ehr.example",
        "",
    ],
)
async def test_an_unknown_iss_is_a_page_and_nothing_is_fetched_or_kept(house: House, iss: str) -> None:
    browser = house.browser()
    page = await browser.get(f"/launch?{urlencode({'iss': iss, 'launch': 'x'})}")
    assert page.status_code == 403
    assert "This EHR is not registered here" in page.text
    assert iss == "" or iss not in page.text
    assert house.wire.requests == []
    assert browser.cookie is None
    assert page.headers["content-security-policy"].endswith("frame-ancestors 'none'")


@pytest.mark.parametrize("query", ["", "?launch=x", "?iss=https://ehr.example/fhir", "?iss=a&iss=b&launch=x"])
async def test_a_launch_without_what_it_needs_is_a_page(house: House, query: str) -> None:
    page = await house.browser().get(f"/launch{query}")
    assert page.status_code in {400, 403}
    assert "<h1>" in page.text
    assert house.wire.fhir == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("access_denied", "access was denied"),
        ("invalid_scope", "the scopes were refused"),
        ("unauthorized_client", "may not be launched"),
        ("server_error", "server failed"),
        ("temporarily_unavailable", "is busy"),
        ("login_required", "nobody is signed in"),
        ("something_else", "the EHR&#39;s authorization server refused"),
    ],
)
async def test_an_error_of_the_ehr_is_a_plain_page_with_a_reference(house: House, error: str, said: str) -> None:
    house.ehr.faults.authorize_error = error
    page = await house.browser().launch(patient="1")
    assert page.status_code == 403
    assert page.url.path == "/callback"
    assert "The EHR did not sign you in" in page.text
    assert said in page.text
    assert page.headers["x-request-id"] in page.text
    assert "Sam Doe" not in page.text  # the EHR's own description
    assert "frame-ancestors https://ehr.example" in page.headers["content-security-policy"]


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "invalid_request"])
async def test_an_error_of_the_token_endpoint_is_a_plain_page(house: House, error: str) -> None:
    house.ehr.faults.token_error = (400, error)
    page = await house.browser().launch(patient="1")
    assert page.status_code == 502
    assert "The EHR could not sign you in" in page.text


async def test_an_ehr_that_is_down_is_a_page_that_says_to_try_again(house: House) -> None:
    async def down(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("down")

    house.wire.answers[house.ehr.token_url] = down
    page = await house.browser().launch(patient="1")
    assert page.status_code == 503
    assert page.headers["retry-after"]


@pytest.mark.parametrize("query", ["", "?state=abc", "?code=x", f"?state={'a' * 43}&code=x", "?state=a&state=b&code=x"])
async def test_a_forged_callback_is_refused(house: House, query: str) -> None:
    browser = house.browser()
    await browser.launch(patient=await house.patient())
    page = await browser.get(f"/callback{query}")
    assert page.status_code == 400
    assert len(house.ehr.token_requests) == 1  # that of the good launch before


async def test_a_callback_is_good_for_five_minutes(house: House) -> None:
    browser = house.browser()
    back = await browser.until(browser.launch_address(patient="1"), REDIRECT)
    house.clock.move(minutes=5)
    page = await browser.get(back)
    assert page.status_code == 400
    assert "The sign-in took too long" in page.text
    assert house.ehr.token_requests == []


async def test_a_callback_in_another_browser_is_refused(house: House) -> None:
    attacker, victim = house.browser(), house.browser()
    await victim.launch(patient=await house.patient())
    back = await attacker.until(attacker.launch_address(patient="2"), REDIRECT)
    page = await victim.get(back)
    assert page.status_code == 403
    assert "Opened in another session" in page.text
    assert len(house.ehr.token_requests) == 1


async def test_an_answer_of_another_server_is_refused(house: House) -> None:
    house.ehr.faults.callback = {"iss": "https://login.evil.example"}
    page = await house.browser().launch(patient="1")
    assert page.status_code == 400
    assert house.ehr.token_requests == []


async def test_reload_and_back_on_the_callback_resume_without_using_the_code_again(house: House) -> None:
    browser = house.browser()
    back = await browser.until(browser.launch_address(patient=await house.patient()), REDIRECT)
    first = await browser.get(back)
    again = await browser.get(back)
    assert (again.status_code, again.url.path) == (200, first.url.path)
    assert len(house.ehr.token_requests) == 1
    assert house.ehr.complaints == []


async def test_a_callback_replayed_by_somebody_else_says_already_launched_and_shows_nothing(house: House) -> None:
    browser = house.browser()
    back = await browser.until(browser.launch_address(patient=await house.patient()), REDIRECT)
    await browser.get(back)
    for other in (house.browser(), house.browser(cookies=False)):
        page = await other.get(back)
        assert page.status_code == 409
        assert "Already launched" in page.text
        assert "RIVERA" not in page.text
    assert len(house.ehr.token_requests) == 1


async def test_a_replay_after_sign_out_opens_nothing(house: House) -> None:
    browser = house.browser()
    back = await browser.until(browser.launch_address(patient=await house.patient()), REDIRECT)
    await browser.sign_out(await browser.get(back))
    assert (await browser.get(back)).status_code == 409


async def test_the_code_never_stays_in_the_address_of_a_page(house: House) -> None:
    page = await house.browser().launch(patient=await house.patient())
    assert {name for name, _ in page.url.params.multi_items()} <= {"visit"}
    assert page.history[-1].status_code == 303
    assert page.history[-1].headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", ["next", "redirect_uri", "return_to", "url", "target"])
async def test_no_parameter_of_a_request_says_where_the_browser_goes(house: House, name: str) -> None:
    browser, evil = house.browser(), "https://evil.example/"
    browser.seen.clear()
    await browser.get(f"{browser.launch_address(patient=await house.patient())}&{name}={evil}")
    back = await browser.until(browser.launch_address(patient="2"), REDIRECT)
    await browser.get(f"{back}&{name}={evil}")
    assert all(address.startswith((f"{APP}/", "https://login.ehr.example/")) for address in browser.seen)


async def test_a_long_request_is_posted_by_the_browser(sandbox: Server, tmp_path: Path) -> None:
    async with house_of(sandbox, tmp_path) as house:
        browser = house.browser()
        launch = "x" * 2000
        house.ehr.launches[launch] = {"patient": "1"}
        page = await browser.get(f"/launch?{urlencode({'iss': house.ehr.base, 'launch': launch})}")
        assert page.status_code == 200
        assert f'action="{house.ehr.issuer}/authorize"' in page.text
        assert 'name="state"' in page.text
        assert "form-action" not in page.headers["content-security-policy"]
        assert "script" not in page.text


async def test_without_any_clinic_that_can_be_launched_the_pages_say_so(house: House) -> None:
    house.app.state.door = None
    for path in ("/launch", "/launch/harbor", "/callback", "/app/l/abcdefghijklmnopqrst/", "/app/signed-out/harbor"):
        page = await house.browser().get(path)
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")


async def test_two_ehrs_do_not_take_each_others_launches(house: House) -> None:
    other = StrictEhr("bay")
    launch = other.open_chart(patient="1")
    page = await house.browser().get(f"/launch?{urlencode({'iss': house.ehr.base, 'launch': launch})}")
    assert page.status_code == 403  # the EHR asked knows no such launch
    assert house.ehr.token_requests == []
