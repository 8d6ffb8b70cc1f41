"""The EHR's style: taken where it can be read, refused where it could do harm, and never missed when it fails."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import re
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.observe import logs
from fhir_aftercare.smart import BoundedHttp, Limits
from fhir_aftercare.ui import styles as module
from fhir_aftercare.ui.styles import KEPT, MOST, TRIED_AGAIN, Styles
from fhir_aftercare.ui.theme import LINE, OWN, TEXT, contrast, sheet
from smart.clinic import Clock
from ui.house import base_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ui.house import House

# The example of SMART App Launch 2.2, with the semicolon it has.
EXAMPLE = {
    "color_background": "#edeae3",
    "color_error": "#9e2d2d",
    "color_highlight": "#69b5ce",
    "color_modal_backdrop": "",
    "color_success": "#498e49",
    "color_text": "#303030",
    "dim_border_radius": "6px",
    "dim_font_size": "13px",
    "dim_spacing_size": "20px",
    "font_family_body": "Georgia, Times, 'Times New Roman', serif",
    "font_family_heading": "'HelveticaNeue-Light', Helvetica, Arial, 'Lucida Grande', sans-serif;",
}
STYLE = "https://ehr.example/style.json"
# All that may ever stand in a sheet.
_FAMILY = r'("[A-Za-z0-9 -]+"|[a-z-]+)'
_LINE = re.compile(
    r":root \{|\}|@media \(prefers-color-scheme: (light|dark)\) \{|  color-scheme: (light|dark);"
    rf"|  --[a-z-]+: #[0-9a-f]{{6}};|  --(radius|size|gap): [0-9.]+rem;|  --(font|heading): {_FAMILY}(, {_FAMILY})*;"
)


def tokens(text: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): ([^;]+);", text))


def colour(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:], 16)


def readable(found: dict[str, str]) -> None:
    """Check what test_pages_in_general checks of our own sheet."""
    pairs = [
        *itertools.product(("text", "muted", "accent", "danger", "ok"), ("back", "raised")),
        *(("on-accent", "accent"), ("warn", "warn-back")),
    ]
    for front, back in pairs:
        assert contrast(colour(found[front]), colour(found[back])) >= TEXT, (front, back)
    assert contrast(colour(found["line"]), colour(found["back"])) >= LINE


# --- what is taken ---------------------------------------------------------------------------------------------------
def test_the_style_of_smarts_own_example() -> None:
    found = tokens(sheet(EXAMPLE))
    assert (found["back"], found["text"], found["danger"]) == ("#edeae3", "#303030", "#9e2d2d")
    assert found["accent"] == "#0b5cad"  # its highlight has 1.9 : 1 on its own background: ours stays
    assert (found["radius"], found["gap"]) == ("0.375rem", "1.25rem")
    assert found["font"] == '"Georgia", "Times", "Times New Roman", serif'
    assert found["heading"] == '"HelveticaNeue-Light", "Helvetica", "Arial", "Lucida Grande", sans-serif'
    readable(found)


def test_letters_are_never_smaller_than_14_px_and_nothing_is_without_bounds() -> None:
    assert tokens(sheet({"dim_font_size": "8px"}))["size"] == "0.875rem"
    assert tokens(sheet({"dim_font_size": "99px"}))["size"] == "1.25rem"
    assert tokens(sheet({"dim_spacing_size": "0px", "dim_border_radius": "999px"})) == {
        "gap": "0.5rem",
        "radius": "1rem",
    }


def test_a_background_of_the_ehrs_wins_over_the_browsers_scheme() -> None:
    dark = sheet({"color_background": "#101820", "color_text": "#ffffff", "color_highlight": "#7fc8ff"})
    assert "prefers-color-scheme" not in dark
    assert "color-scheme: dark;" in dark
    assert tokens(dark)["accent"] == "#7fc8ff"
    readable(tokens(dark))
    assert "color-scheme: light;" in sheet({"color_background": "#ffffff"})


def test_without_a_background_each_scheme_takes_what_can_be_read_on_it() -> None:
    made = sheet({"color_highlight": "#00665a", "color_error": "#ff9a90"})
    light, dark = made.split("prefers-color-scheme: dark")
    assert (tokens(light).get("accent"), tokens(light).get("danger")) == ("#00665a", None)
    assert (tokens(dark).get("accent"), tokens(dark).get("danger")) == (None, "#ff9a90")


@pytest.mark.parametrize("back", ["#767676", "#808080", "#7b8794"])
def test_a_background_on_which_no_text_of_ours_can_be_read_is_refused(back: str) -> None:
    assert "--back" not in sheet({"color_background": back, "color_text": "#000000"})


def test_the_short_form_of_a_colour_is_one() -> None:
    assert tokens(sheet({"color_background": "#fff"}))["back"] == "#ffffff"


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)
            for name in ("color_background", "color_text", "color_highlight", "color_error", "color_success")
        },
    )
)
def test_whatever_the_colours_everything_can_be_read(style: dict[str, str]) -> None:
    made = sheet(style)
    if "--back" in made:
        readable(tokens(made))
        return
    blocks = dict(re.findall(r"prefers-color-scheme: (light|dark)\) \{(.*?)\n\}\n\}", made, re.DOTALL))
    for scheme, block in blocks.items():
        own = {name: f"#{bytes(each).hex()}" for name, each in OWN[scheme].items()}
        readable({**own, **tokens(block)})


# --- what is not -----------------------------------------------------------------------------------------------------
HOSTILE = (
    "url(https://evil.example/x)", "red", "#12345", "#1234567", "rgb(0,0,0)", "#000;} body{display:none}", "#000/**/",
    "</style><script>alert(1)</script>", "expression(alert(1))", "#٠٠٠٠٠٠", "1px;}", "-5px", "1e3px", "calc(1px)",
    "٣px", "12", "px", "a{}", "Arial;} *{background:url(//evil.example)}", "'Arial", "Arial'", "\"Arial'", "\\41 rial",
    "Arial, url(x)", "Ärial", "A" * 41, ",", "Arial,,serif", "@import 'x'", "var(--back)", "", " ",
    ", ".join(["Arial"] * 9),
)  # fmt: skip


@pytest.mark.parametrize("value", [*HOSTILE, 7, None, True, ["#000"], {"a": "#000"}])
@pytest.mark.parametrize("name", [*EXAMPLE, "unknown"])
def test_what_is_no_plain_value_is_left_out(name: str, value: Any) -> None:
    if name.startswith("font") and value in ("red", "px"):
        return  # fonts may be called so
    assert sheet({name: value}) == ""


@given(
    st.dictionaries(st.sampled_from([*EXAMPLE, "other"]), st.one_of(st.text(), st.sampled_from(HOSTILE), st.integers()))
)
def test_nothing_else_ever_stands_in_a_sheet(style: dict[str, Any]) -> None:
    for line in sheet({**EXAMPLE, **style}).splitlines():
        assert _LINE.fullmatch(line), line


# --- reading it ------------------------------------------------------------------------------------------------------
class Source(httpx.AsyncBaseTransport):
    """Where style documents come from. ``answer`` may be an error."""

    def __init__(self, answer: httpx.Response | Exception | None = None) -> None:
        self.answer = answer or httpx.Response(200, json=EXAMPLE)
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        given = self.answer
        return httpx.Response(given.status_code, headers=given.headers, content=given.content)


@asynccontextmanager
async def reading(source: httpx.AsyncBaseTransport) -> AsyncIterator[tuple[Styles, Clock]]:
    clock = Clock()
    async with httpx.AsyncClient(transport=source) as http:
        yield Styles(BoundedHttp(http, Limits(seconds=2)), clock), clock


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    before = structlog.get_config()
    stream = io.StringIO()
    logs.configure("debug", stream)
    yield stream
    structlog.configure(**before)


async def test_a_document_is_read_once_an_hour_without_any_token() -> None:
    source = Source()
    async with reading(source) as (styles, clock):
        assert await styles.of(STYLE, "harbor") == await styles.of(STYLE, "quay") == sheet(EXAMPLE)
        assert len(source.asked) == 1
        clock.move(seconds=KEPT.total_seconds())
        await styles.of(STYLE, "harbor")
    assert len(source.asked) == 2
    assert "authorization" not in source.asked[0].headers


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("down"),
        httpx.Response(404),
        httpx.Response(500),
        httpx.Response(302, headers={"location": "https://evil.example/"}),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, content=b"[]"),
        httpx.Response(200, content=b'{"color_text": "#000", "color_text": "#fff"}'),
        httpx.Response(200, content=json.dumps({**EXAMPLE, "x": "y" * 16_000}).encode()),
    ],
)
async def test_whatever_goes_wrong_our_own_style_stays_and_it_is_not_asked_on_every_page(
    answer: Any, logged: io.StringIO
) -> None:
    source = Source(answer)
    async with reading(source) as (styles, clock):
        for _ in range(3):
            assert await styles.of(f"{STYLE}?patient=Rivera", "harbor") == ""
        assert len(source.asked) == 1
        source.answer = httpx.Response(200, json=EXAMPLE)
        clock.move(seconds=TRIED_AGAIN.total_seconds())
        assert await styles.of(f"{STYLE}?patient=Rivera", "harbor")
    assert "style not read" in logged.getvalue()
    assert "Rivera" not in logged.getvalue()


async def test_an_ehr_that_is_slow_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.05)

    class Slow(Source):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(1)
            return await super().handle_async_request(request)

    async with reading(Slow()) as (styles, _):
        assert await styles.of(STYLE, "harbor") == ""


async def test_only_so_many_are_kept() -> None:
    source = Source()
    async with reading(source) as (styles, _):
        for number in range(MOST + 1):
            await styles.of(f"{STYLE}?v={number}", "harbor")
        await styles.of(f"{STYLE}?v=1", "harbor")
        assert len(source.asked) == MOST + 1
        await styles.of(f"{STYLE}?v=0", "harbor")
    assert len(source.asked) == MOST + 2


# --- on the page -----------------------------------------------------------------------------------------------------
def styled(house: House, answer: httpx.Response | None = None) -> Source:
    """Let the EHR name a style and serve it."""
    source = Source(answer)
    house.door.styles.http = BoundedHttp(httpx.AsyncClient(transport=source), Limits(seconds=2))
    house.ehr.faults.token = {"smart_style_url": STYLE}
    return source


async def test_the_page_links_the_ehrs_style_after_ours(house: House) -> None:
    source = styled(house)
    browser = house.browser()
    page = await browser.launch(patient=await house.patient())
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
    assert sheets[0].startswith("/app/static/aftercare.css")
    assert re.fullmatch(rf"{base_of(page)}theme\.css\?v=[0-9a-f]{{12}}", sheets[1])
    assert not source.asked  # a page waits for no style
    answer = await browser.get(sheets[1])
    assert answer.text == sheet(EXAMPLE)
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.headers["cache-control"] == "private, max-age=600"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "style-src 'self'" in page.headers["content-security-policy"]


async def test_without_a_style_no_sheet_is_linked(house: House) -> None:
    browser = house.browser()
    page = await browser.launch(patient=await house.patient())
    assert "theme.css" not in page.text
    answer = await browser.get(f"{base_of(page)}theme.css")
    assert (answer.status_code, answer.text, answer.headers["cache-control"]) == (200, "", "no-store")


async def test_a_style_of_an_unknown_origin_is_never_asked_for(house: House) -> None:
    source = styled(house)
    house.ehr.faults.token = {"smart_style_url": "https://evil.example/style.json"}
    browser = house.browser()
    page = await browser.launch(patient=await house.patient())
    assert "theme.css" not in page.text
    await browser.get(f"{base_of(page)}theme.css")
    assert not source.asked


async def test_a_style_that_cannot_be_read_is_an_empty_sheet_that_is_asked_for_again(house: House) -> None:
    styled(house, httpx.Response(500))
    browser = house.browser()
    page = await browser.launch(patient=await house.patient())
    answer = await browser.get(f"{base_of(page)}theme.css")
    assert (answer.status_code, answer.text, answer.headers["cache-control"]) == (200, "", "no-store")


async def test_nobody_else_learns_how_the_ehr_of_a_launch_looks(house: House) -> None:
    source = styled(house)
    page = await house.browser().launch(patient=await house.patient())
    other = await house.browser().get(f"{base_of(page)}theme.css")
    assert other.status_code == 401
    assert not source.asked


def test_after_a_failure_it_is_tried_again_sooner_than_what_was_read() -> None:
    assert timedelta(0) < TRIED_AGAIN < KEPT
