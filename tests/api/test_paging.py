"""Lists in pages: every row once, in order, and no cursor that was not given out."""

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.api.faults import InvalidCursor
from fhir_aftercare.api.paging import LARGEST_LIMIT, Page, Paged, Paging, _read
from openapi.document import codes

SCOPE = {"path": "/v1/things", "query_string": b"", "root_path": ""}


@pytest.fixture
def rows() -> list[tuple[str, int]]:
    return [(f"2026-09-{day:02}", n) for day in range(1, 4) for n in range(3)]


@pytest.fixture
def app(rows: list[tuple[str, int]]) -> FastAPI:
    made = make_app("Test", "1", Machinery(docs=False))
    router = APIRouter(prefix="/v1/{clinic}")

    @router.get("/things")
    async def things(paging: Paged, response: Response, owner: str = "") -> Page[str]:
        page, following = paging.cut(rows, lambda row: row)
        paging.link(response, following)
        return Page(items=[f"{day}/{n}" for day, n in page], next=following)

    @router.get("/others")
    async def others(paging: Paged) -> int:
        return paging.limit

    made.include_router(router)
    return made


async def test_following_the_links_gives_every_row_once_and_in_order(
    app: FastAPI, reach: Callable[..., Any], rows: list[tuple[str, int]]
) -> None:
    seen: list[str] = []
    url: str | None = "/v1/h%C3%A4rbor/things?limit=4&owner=a%26b"
    async with reach(app) as http:
        while url:
            answer = await http.get(url)
            seen += answer.json()["items"]
            link = re.fullmatch(r'<(/[^>]+)>; rel="next"', answer.headers.get("link", ""))
            url = link[1] if link else None
            assert (answer.json()["next"] is None) is (url is None)
    assert seen == [f"{day}/{n}" for day, n in rows]


async def test_rows_that_come_and_go_between_pages_shift_nothing(
    app: FastAPI, reach: Callable[..., Any], rows: list[tuple[str, int]]
) -> None:
    async with reach(app) as http:
        first = (await http.get("/v1/a/things?limit=3")).json()
        rows.remove(("2026-09-01", 2))  # the very row the cursor names
        rows.insert(0, ("2026-08-01", 0))
        second = (await http.get("/v1/a/things", params={"limit": 2, "cursor": first["next"]})).json()
    assert second["items"] == ["2026-09-02/0", "2026-09-02/1"]


async def test_the_last_page_has_no_next_even_if_it_is_full(app: FastAPI, reach: Callable[..., Any]) -> None:
    async with reach(app) as http:
        answer = await http.get("/v1/a/things?limit=9")
    assert answer.json()["next"] is None
    assert "link" not in answer.headers


async def test_the_page_size_may_change_on_the_way_and_the_filters_may_not(
    app: FastAPI, reach: Callable[..., Any]
) -> None:
    async with reach(app) as http:
        cursor = (await http.get("/v1/a/things?limit=3&owner=x")).json()["next"]
        wider = await http.get("/v1/a/things", params={"owner": "x", "limit": 5, "cursor": cursor})
        other_owner = await http.get("/v1/a/things", params={"owner": "y", "cursor": cursor})
        other_clinic = await http.get("/v1/b/things", params={"owner": "x", "cursor": cursor})
        other_list = await http.get("/v1/a/others", params={"owner": "x", "cursor": cursor})
    assert len(wider.json()["items"]) == 5
    for answer in (other_owner, other_clinic, other_list):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-cursor")


@pytest.mark.parametrize("limit", ["0", "-1", str(LARGEST_LIMIT + 1), "many"])
async def test_a_limit_out_of_bounds_is_refused(app: FastAPI, reach: Callable[..., Any], limit: str) -> None:
    async with reach(app) as http:
        answer = await http.get(f"/v1/a/things?limit={limit}")
    assert (answer.status_code, answer.json()["where"]) == (422, ["query.limit"])


async def test_a_cursor_of_another_shape_is_refused(app: FastAPI, reach: Callable[..., Any]) -> None:
    scope = {"path": "/v1/a/things", "raw_path": b"/v1/a/things", "query_string": b""}
    forged = Paging(1, None, scope).cursor((1, 2, 3))
    async with reach(app) as http:
        answer = await http.get("/v1/a/things", params={"cursor": forged})
    assert answer.json()["code"] == "invalid-cursor"


def test_the_openapi_file_shows_what_may_come_of_a_cursor(app: FastAPI) -> None:
    document = app.openapi()
    refused = document["paths"]["/v1/{clinic}/things"]["get"]["responses"]["400"]
    assert "invalid-cursor" in codes(document, refused)


@given(st.lists(st.integers(-(2**53), 2**53) | st.text(), min_size=1, max_size=5))
def test_a_cursor_brings_back_its_position(position: list[int | str]) -> None:
    cursor = Paging(1, None, SCOPE).cursor(tuple(position))
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    assert _read(cursor, SCOPE) == tuple(position)


@given(st.data())
def test_a_cursor_that_was_changed_anywhere_is_refused(data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(Paging(1, None, SCOPE).cursor(("2026-09-01", 7)) + "=="))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidCursor):
        _read(base64.urlsafe_b64encode(raw).decode().rstrip("="), SCOPE)


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_no_text_at_all_breaks_the_reading(text: str) -> None:
    with pytest.raises(InvalidCursor):
        _read(text, SCOPE)
