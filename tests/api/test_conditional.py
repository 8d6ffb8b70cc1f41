"""ETag, If-Match, If-None-Match: nobody overwrites what they have not seen."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.api.conditional import IfMatch, IfNoneMatch, etag, etag_of_content, parse
from fhir_aftercare.errors import InvalidInput


@pytest.fixture
def app() -> FastAPI:
    made = make_app("Test", "1", Machinery(docs=False))
    router = APIRouter(prefix="/v1")

    @router.put("/thing")
    async def change(expected: IfMatch) -> dict[str, str]:
        expected.check("3")
        return {"etag": expected.etag}

    @router.get("/thing")
    async def read(known: IfNoneMatch) -> Response:
        tag = etag("3")
        return known.not_modified(tag) or JSONResponse({"n": 3}, headers={"etag": tag})

    made.include_router(router)
    return made


@pytest.mark.parametrize("header", ['W/"3"', '"3"', ' W/"3" '])
async def test_a_change_of_the_newest_version_passes(app: FastAPI, reach: Callable[..., Any], header: str) -> None:
    async with reach(app) as http:
        answer = await http.put("/v1/thing", headers={"If-Match": header})
    assert answer.json() == {"etag": 'W/"3"'}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 428, "precondition-required"),
        ({"If-Match": "*"}, 428, "precondition-required"),
        ({"If-Match": 'W/"2"'}, 412, "stale"),
        ({"If-Match": 'W/"2", W/"3"'}, 400, "invalid-input"),
        ({"If-Match": "3"}, 400, "invalid-input"),
        ({"If-Match": ""}, 400, "invalid-input"),
        ({"If-Match": 'W/"3" W/"4"'}, 400, "invalid-input"),
        ({"If-Match": 'W/"3",'}, 400, "invalid-input"),
    ],
)
async def test_a_change_of_anything_else_is_refused(
    app: FastAPI, reach: Callable[..., Any], headers: dict[str, str], status: int, code: str
) -> None:
    async with reach(app) as http:
        answer = await http.put("/v1/thing", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["where"] == ["If-Match"]


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 200), ('W/"2"', 200), ('W/"3"', 304), ('"3"', 304), ('"1", W/"3"', 304), ("*", 304), ("three", 400)],
)
async def test_what_the_caller_has_is_not_sent_again(
    app: FastAPI, reach: Callable[..., Any], header: str | None, status: int
) -> None:
    async with reach(app) as http:
        answer = await http.get("/v1/thing", headers={"If-None-Match": header} if header else {})
    assert answer.status_code == status
    if status == 304:
        assert (answer.content, answer.headers["etag"]) == (b"", 'W/"3"')


def test_an_answer_made_of_many_resources_has_the_etag_of_its_bytes() -> None:
    assert etag_of_content(b"a") == etag_of_content(b"a") != etag_of_content(b"b")


@given(st.lists(st.from_regex(r"\A[!#-~]{1,20}\Z"), min_size=1), st.booleans())
def test_every_list_of_etags_is_read(versions: list[str], weak: bool) -> None:
    written = ", ".join(etag(version) if weak else f'"{version}"' for version in versions)
    assert parse(written, "If-Match") == tuple(versions)


@given(st.text())
def test_no_text_at_all_breaks_the_reading(text: str) -> None:
    with suppress(InvalidInput):
        assert parse(text, "If-Match")


def test_the_openapi_file_shows_the_headers_and_what_may_come_of_them(app: FastAPI) -> None:
    path = app.openapi()["paths"]["/v1/thing"]
    (header,) = path["put"]["parameters"]
    assert (header["name"], header["required"]) == ("If-Match", True)
    assert {"400", "412", "428"} <= set(path["put"]["responses"])
    assert "304" in path["get"]["responses"]
