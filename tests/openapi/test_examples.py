"""Every example of the OpenAPI file is really sent, and every answer in it was really received."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from fhir_aftercare.api import document
from fhir_aftercare.api.catalogue import CATALOGUE
from fhir_aftercare.config import Settings
from fhir_aftercare.sandbox.store import create_store
from fhir_aftercare.service import create_app
from openapi.document import codes, followed, operations, schema_faults
from openapi.story import CHAPTERS, Step, Told, count_ids, service, tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

Document = dict[str, Any]

ANSWERS = Path(document.__file__).with_name("answers.json")
BASE_URL = "http://examples.localhost/fhir"


@pytest.fixture(scope="module")
def openapi() -> Document:
    return create_app(Settings.model_construct()).openapi()


@pytest.fixture(scope="module")
async def story(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Told]]:
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        count_ids(patch)
        store = create_store(folder / "store", BASE_URL)
        try:
            async with service(store, BASE_URL, folder) as running:
                yield await tell(running)
        finally:
            store.close()


async def unready() -> httpx.Response:
    """Ask a service that has not started."""
    transport = httpx.ASGITransport(app=create_app(Settings.model_construct()))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.localhost") as http:
        return await http.get("/readyz")


async def received(story: list[Told]) -> dict[str, dict[str, dict[str, Any]]]:
    """Give the answers that are shown, by operationId, status and name."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for told in story:
        if told.step.said:
            shown = {"summary": told.step.said, "value": told.value}
            found.setdefault(told.step.operation, {}).setdefault(str(told.status), {})[told.step.label] = shown
    answer = await unready()
    found["readyz"]["503"] = {"starting": {"summary": "Not everything is there yet", "value": answer.json()}}
    return found


def test_every_step_of_the_story_is_answered_as_it_says(story: list[Told]) -> None:
    for told in story:
        assert told.status == told.step.status, (told.chapter, told.step, told.value)
        if told.step.code:
            assert told.value["code"] == told.step.code


async def test_the_answers_in_the_openapi_file_are_those_that_the_service_gives(story: list[Told]) -> None:
    found = await received(story)
    if os.environ.get("RECORD_ANSWERS"):
        ANSWERS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    shown = json.loads(ANSWERS.read_text("utf-8"))
    for operation, statuses in found.items():
        assert shown.get(operation) == statuses, f"{operation} answers otherwise now: see tests/openapi/story.py"
    assert shown.keys() == found.keys()


def test_every_example_of_a_body_is_sent(openapi: Document) -> None:
    sent = {(step.operation, step.example) for step in _steps() if step.body is None and step.status < 300}
    for operation in operations(openapi).values():
        for name in operation.request_examples:
            assert (operation.id, name) in sent, f"add a step for {operation.id} {name} to tests/openapi/story.py"


def test_every_answer_is_as_the_openapi_file_describes_it(openapi: Document, story: list[Told]) -> None:
    known = operations(openapi)
    for told in story:
        described = followed(openapi, known[told.step.operation].definition["responses"][str(told.status)])
        if told.value is None:
            assert "content" not in described
            continue
        media = told.headers["content-type"].partition(";")[0]
        assert media in described["content"], (told.step, media)
        assert not schema_faults(openapi, described["content"][media]["schema"], told.value), told.step
        for name in told.headers.keys() & {"etag", "link", "retry-after", "idempotent-replayed", "x-request-id"}:
            assert name in {each.lower() for each in described["headers"]}, (told.step, name)
        for name, header in described["headers"].items():
            assert name.lower() in told.headers or not followed(openapi, header).get("required"), (told.step, name)


def test_every_error_is_one_that_its_route_names_and_has_the_shape_of_its_example(
    openapi: Document, story: list[Told]
) -> None:
    examples = {entry.code: entry.problem() for entry in CATALOGUE.values()}
    for told in story:
        if told.step.code:
            response = operations(openapi)[told.step.operation].definition["responses"][str(told.status)]
            assert told.step.code in codes(openapi, response)
            assert told.value.keys() == examples[told.step.code].keys()


def test_an_answer_holds_nothing_that_the_openapi_file_does_not_name(openapi: Document, story: list[Told]) -> None:
    for told in story:
        response = followed(openapi, operations(openapi)[told.step.operation].definition["responses"][str(told.status)])
        for media, content in response.get("content", {}).items():
            if media == "application/json":
                assert not [*_unnamed(openapi, content["schema"], told.value, told.step.operation)]


def _unnamed(openapi: Document, schema: Mapping[str, Any], value: Any, place: str) -> list[str]:
    """Give the fields of a value that its schema does not name."""
    schema = followed(openapi, schema)
    if "anyOf" in schema:
        return min((_unnamed(openapi, each, value, place) for each in schema["anyOf"]), key=len)
    if isinstance(value, list):
        return [found for each in value for found in _unnamed(openapi, schema.get("items", {}), each, place)]
    if not isinstance(value, dict) or schema.get("additionalProperties"):
        return []
    named: Mapping[str, Any] = schema.get("properties", {})
    found = [f"{place}.{name}" for name in value if name not in named]
    for name in value.keys() & named.keys():
        found += _unnamed(openapi, named[name], value[name], f"{place}.{name}")
    return found


def _steps() -> list[Step]:
    return [step for steps in CHAPTERS.values() for step in steps if isinstance(step, Step)]
