"""What holds for every page: errors nobody foresaw, colours that can be read, and no place in the API's document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi.routing import iter_route_contexts

import fhir_aftercare.ui
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.flows.context import Clinics
from fhir_aftercare.ui import door
from ui.house import launch_id_of, registration

if TYPE_CHECKING:
    from ui.house import House

SHEET = (Path(fhir_aftercare.ui.__file__).parent / "static" / "aftercare.css").read_text("utf-8")


async def test_an_error_nobody_foresaw_is_a_page_without_its_text(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("Ana Rivera")

    monkeypatch.setattr("fhir_aftercare.ui.overview_page.overview", broken)
    page = await house.browser().launch(patient=await house.patient())
    assert page.status_code == 500
    assert "This page cannot be shown" in page.text
    assert page.headers["x-request-id"] in page.text
    assert "Ana" not in page.text


async def test_a_database_that_fails_is_a_page_that_says_to_try_again(house: House) -> None:
    browser = house.browser()
    page = await browser.launch(patient=await house.patient())
    await house.database.downgrade("0004")
    failed = await browser.get(str(page.url))
    assert failed.status_code == 503
    assert failed.headers["retry-after"]
    assert "RIVERA" not in failed.text


async def test_an_address_that_is_none_of_ours_is_a_page(house: House) -> None:
    for path in ("/app/l/short/", "/launch/NOT-A-CLINIC", f"/app/l/{'x' * 65}/"):
        page = await house.browser().get(path)
        assert page.status_code == 404
        assert "<h1>Not found</h1>" in page.text


async def test_pages_are_not_part_of_the_apis_document(house: House) -> None:
    assert not [path for path in house.app.openapi()["paths"] if path.startswith(("/launch", "/app", "/callback"))]


async def test_a_clinic_whose_fhir_server_is_not_the_ehr_that_launches_is_refused(house: House) -> None:
    context = house.world.context  # on the sandbox itself, which nobody's user token may reach
    opening = door.opened(
        [door.ClinicPages(registration(house.ehr))],
        Clinics({"harbor": context}),
        house.database,
        None,  # type: ignore[arg-type]
        smart=None,  # type: ignore[arg-type]
        fhir=house.world.server.http,
    )
    with pytest.raises(ConfigFault, match="must be the clinic's FHIR server"):
        await opening.__aenter__()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [
        *((front, back, 4.5) for front in ("text", "muted", "accent", "danger") for back in ("back", "raised")),
        ("on-accent", "accent", 4.5),
        ("warn", "warn-back", 4.5),
        ("line", "back", 3.0),
    ],
)
def test_colours_can_be_told_apart(scheme: str, front: str, back: str, least: float) -> None:
    light, dark = SHEET.split("prefers-color-scheme: dark")
    tokens = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", light))
    if scheme == "dark":
        tokens |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", dark))
    lighter, darker = sorted((luminance(tokens[front]), luminance(tokens[back])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= least


def luminance(colour: str) -> float:
    """Give the relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


async def test_no_page_and_nothing_that_a_form_does_is_open_without_the_launch(house: House) -> None:
    page = await house.browser().launch(patient=await house.patient())
    stranger, before = house.browser(), len(house.wire.fhir)
    asked = 0
    for route in iter_route_contexts(house.app.routes):
        if not (route.path or "").startswith("/app/l/"):
            continue
        path = str(route.path).replace("{launch_id}", launch_id_of(page)).replace("{patient}", "1")
        for method in route.methods or ():
            answer = await stranger.http.request(method, path, data={"form": "x"} if method == "POST" else None)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["cache-control"] == "no-store"
            asked += 1
    assert asked > 20
    assert len(house.wire.fhir) == before
