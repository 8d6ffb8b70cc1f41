"""The pretend EHR's pages: what a person can do there without script, and what the pages never let through."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.sandbox.ehr import Faults
from fhir_aftercare.sandbox.ehr.html import tag
from fhir_aftercare.sandbox.ehr.memory import Bounded
from sandbox.ehr_world import APP, AUTH, BASE, ORIGIN, EhrWorld

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from servers import Server

EVIL = '<script>alert(1)</script>"onload="x'


class Page(HTMLParser):
    """A page as elements: (name, attributes) in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for each, attributes in self.elements if each == name]


def policy(answer: httpx.Response) -> Mapping[str, list[str]]:
    parts = [part.split() for part in answer.headers["content-security-policy"].split(";")]
    return {name: values for name, *values in parts}


async def pages(world: EhrWorld, patient: str) -> list[httpx.Response]:
    """Give each page there is."""
    opened = {"patient": patient, "user": "nurse", "client": "app-public"}
    return [
        await world.http.get(f"{ORIGIN}/"),
        await world.http.get(f"{ORIGIN}/chart", params=opened),
        await world.http.get(f"{ORIGIN}/chart", params={**opened, "width": "full"}),
        await world.http.get(f"{ORIGIN}/chart", params={"patient": "nobody"}),
        await world.http.get(f"{AUTH}/authorize", params=world.asks("launch/patient user/Patient.rs")),
        await world.http.get(f"{AUTH}/authorize", params={"client_id": "unknown"}),
    ]


async def test_every_page_says_test_data_and_holds_no_script_style_or_strange_address(
    world: EhrWorld, patient: str
) -> None:
    for answer in await pages(world, patient):
        page = Page(answer.text)
        assert page.all("p")[0] == {"class": "test-data", "role": "note"}
        assert "TEST DATA: a pretend EHR" in page.text
        assert not page.all("script")
        assert not page.all("style")
        for _, attributes in page.elements:
            assert not {name for name in attributes if name == "style" or name.startswith("on")}
            for name in ("src", "href", "action"):
                link = attributes.get(name) or "/"
                assert link.startswith(("/", APP)), link


async def test_every_page_has_a_strict_policy_and_is_never_cached(world: EhrWorld, patient: str) -> None:
    start, panel, full, missing, sign_in, refused = await pages(world, patient)
    for answer in (start, panel, full, missing, sign_in, refused):
        assert policy(answer)["default-src"] == ["'none'"]
        assert policy(answer)["base-uri"] == ["'none'"]
        assert policy(answer)["style-src"] == ["'self'"]
        assert "script-src" not in policy(answer)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
    assert (start.status_code, missing.status_code, refused.status_code) == (200, 404, 400)


async def test_frames_and_forms_reach_the_app_and_nothing_else(world: EhrWorld, patient: str) -> None:
    start, panel, full, _, sign_in, _ = await pages(world, patient)
    # The launch in the frame passes through the EHR's own authorization endpoint.
    assert policy(panel)["frame-src"] == policy(full)["frame-src"] == ["'self'", APP]
    assert policy(start)["frame-src"] == policy(sign_in)["frame-src"] == ["'none'"]
    # A browser applies form-action to the redirect that answers the form, too.
    assert policy(sign_in)["form-action"] == ["'self'", APP]
    assert policy(start)["form-action"] == policy(panel)["form-action"] == ["'self'"]
    assert policy(sign_in)["frame-ancestors"] == ["'self'"]
    assert policy(start)["frame-ancestors"] == policy(panel)["frame-ancestors"] == ["'none'"]


async def test_the_start_page_opens_each_patient_in_each_way(world: EhrWorld, patient: str) -> None:
    page = Page((await world.http.get(f"{ORIGIN}/", params={"user": "prescriber"})).text)
    assert "Rivera, Ana" in page.text
    links = [link["href"] or "" for link in page.all("a") if patient in (link["href"] or "")]
    assert [parse_qs(urlsplit(link).query).get("width", ["portal"])[0] for link in links] == ["panel", "full", "portal"]
    assert all("user=prescriber" in link for link in links[:2])
    assert f"{APP}/standalone" in {link["href"] for link in page.all("a")}
    labels = [link.get("aria-label") for link in page.all("a") if link.get("aria-label")]
    assert len(set(labels)) >= 3


@pytest.mark.parametrize("width", ["panel", "full"])
async def test_a_chart_holds_the_app_with_a_launch_of_its_own(
    world: EhrWorld, sandbox: Server, patient: str, width: str
) -> None:
    made = await sandbox.client().create(
        {
            "resourceType": "Encounter",
            "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
            "subject": {"reference": f"Patient/{patient}"},
        }
    )
    query = {"patient": patient, "width": width, "user": "prescriber", "intent": "review"}
    first = Page((await world.http.get(f"{ORIGIN}/chart", params=query)).text)
    second = Page((await world.http.get(f"{ORIGIN}/chart", params=query)).text)
    [frame], [again] = first.all("iframe"), second.all("iframe")
    assert frame["src"] != again["src"]
    assert frame["class"] == f"app {width}"
    assert frame["title"]
    launched = parse_qs(urlsplit(frame["src"] or "").query)
    assert launched["iss"] == [BASE]
    opened = world.ehr.launches.take(launched["launch"][0], client_id="app-public")
    assert opened
    assert (opened.patient, opened.encounter, opened.intent) == (patient, made["id"], "review")
    assert (opened.user.key, opened.need_patient_banner) == ("prescriber", False)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/chart?patient={}&width=wide", 400),
        ("/chart?patient={}&user=nobody", 400),
        ("/chart?patient={}&client=backend", 400),
        ("/chart?patient={}&encounter=1", 400),
        ("/chart?patient=..", 404),
        ("/chart", 404),
        ("/portal?patient=nobody", 404),
        ("/?user=nobody", 400),
    ],
)
async def test_what_is_not_there_is_told(world: EhrWorld, patient: str, path: str, status: int) -> None:
    answer = await world.http.get(f"{ORIGIN}{path.format(patient)}")
    assert answer.status_code == status
    assert "TEST DATA" in answer.text


async def test_names_from_the_store_and_the_address_are_escaped(world: EhrWorld, sandbox: Server) -> None:
    made = await sandbox.client().create({"resourceType": "Patient", "name": [{"text": EVIL}]})
    for path in ("/", f"/chart?patient={made['id']}"):
        answer = await world.http.get(f"{ORIGIN}{path}")
        assert "<script" not in answer.text
        assert EVIL in Page(answer.text).text
    answer = await world.http.get(f"{AUTH}/authorize", params=world.asks("launch/patient user/Patient.rs"))
    assert "<script" not in answer.text
    answer = await world.http.get(f"{ORIGIN}/", params={"client": "app-public", "user": EVIL})
    assert "<script" not in answer.text


def test_elements_that_the_policy_refuses_cannot_be_made() -> None:
    for make in (lambda: tag("script"), lambda: tag("p", style="x"), lambda: tag("p", onclick="x")):
        with pytest.raises(ValueError, match="refused by the CSP"):
            make()


class TestFaults:
    async def test_the_form_sets_every_switch(self, world: EhrWorld) -> None:
        page = Page((await world.http.get(f"{ORIGIN}/")).text)
        names = {field["name"] for kind in ("input", "select") for field in page.all(kind)} - {"action"}
        assert names == set(Faults().as_json())
        assert {label["for"] for label in page.all("label")} == names | {"action"}
        form = {"token_error": "invalid_grant", "unauthorized_once": "on", "slow_seconds": "0.5", "token_life": "60"}
        answer = await world.http.post(f"{ORIGIN}/faults", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        faults = world.ehr.faults
        assert (faults.token_error, faults.unauthorized_once) == ("invalid_grant", True)
        assert (faults.slow_seconds, faults.token_life) == (0.5, 60)
        shown = Page((await world.http.get(f"{ORIGIN}/")).text)
        assert "checked" in next(each for each in shown.all("input") if each["name"] == "unauthorized_once")
        await world.http.post(f"{ORIGIN}/faults", data={"action": "reset"})
        assert faults == Faults()

    async def test_json_sets_some_switches_and_acts(self, world: EhrWorld, patient: str) -> None:
        held = (await world.tokens(patient))["access_token"]
        keys = world.ehr.signer.jwks()
        answer = await world.http.post(f"{ORIGIN}/faults", json={"wrong_iss": True, "slow_seconds": 0})
        assert answer.json()["wrong_iss"] is True
        for action in ("expire_tokens", "rotate_keys"):
            assert (await world.http.post(f"{ORIGIN}/faults", json={"action": action})).status_code == 200
        assert world.ehr.grants.active(held) is None
        assert world.ehr.signer.jwks() != keys
        assert (await world.http.get(f"{ORIGIN}/faults")).json()["wrong_iss"] is True

    @pytest.mark.parametrize(
        "changes",
        [
            {"no_such_switch": True},
            {"token_error": "nonsense"},
            {"authorize_error": 1},
            {"slow_seconds": 61},
            {"slow_seconds": "soon"},
            {"token_life": 0},
            {"token_life": True},
            {"withheld": "nonsense"},
            {"unauthorized_once": "yes"},
            {"action": "explode"},
            [],
        ],
    )
    async def test_an_impossible_switch_changes_nothing(self, world: EhrWorld, changes: Any) -> None:
        answer = await world.http.post(f"{ORIGIN}/faults", json=changes)
        assert answer.status_code == 400
        assert answer.json()["message"]
        assert world.ehr.faults == Faults()

    async def test_strange_pages_cannot_set_them(self, world: EhrWorld) -> None:
        for origin in (APP, "null", "https://evil.example"):
            headers = {"Origin": origin}
            answer = await world.http.post(f"{ORIGIN}/faults", data={"wrong_iss": "on"}, headers=headers)
            assert answer.status_code == 403
        assert world.ehr.faults == Faults()
        answer = await world.http.post(f"{ORIGIN}/faults", data={"wrong_iss": "on"}, headers={"Origin": ORIGIN})
        assert answer.status_code == 303

    def test_a_switch_names_what_is_wrong_with_it(self) -> None:
        with pytest.raises(InvalidInput) as refused:
            Faults().set({"scope_version": "v3"})
        assert refused.value.where == ("scope_version",)


async def test_only_its_own_host_is_answered(world: EhrWorld) -> None:
    for host in ("evil.example", "127.0.0.1:8001", "ehr.localhost"):
        assert (await world.http.get(f"{ORIGIN}/", headers={"Host": host})).status_code == 421


async def test_what_it_publishes_leads_to_itself(world: EhrWorld) -> None:
    smart = (await world.http.get(f"{BASE}/.well-known/smart-configuration")).json()
    openid = (await world.http.get(f"{AUTH}/.well-known/openid-configuration")).json()
    assert smart["issuer"] == openid["issuer"] == AUTH
    assert smart["code_challenge_methods_supported"] == ["S256"]
    assert {"permission-v1", "permission-v2", "launch-ehr", "launch-standalone"} <= set(smart["capabilities"])
    for name, value in {**openid, **smart}.items():
        if name.endswith(("_endpoint", "_uri")):
            assert value.startswith(f"{AUTH}/")
    keys = (await world.http.get(smart["jwks_uri"])).json()["keys"]
    assert [key.keys() for key in keys] == [{"kty", "n", "e", "kid", "alg", "use"}]
    assert (await world.http.get(f"{ORIGIN}/ehr.css")).headers["content-type"].startswith("text/css")


def test_memory_is_bounded_and_forgets_the_oldest_first() -> None:
    time = [0.0]
    kept: Bounded[int] = Bounded(3, lambda: time[0])
    for number in range(5):
        kept.put(str(number), number, life=10)
    assert [kept.get(str(number)) for number in range(5)] == [None, None, 2, 3, 4]
    time[0] = 10
    assert list(kept.values()) == []
    kept.put("new", 9, life=10)
    assert len(kept) == 1
