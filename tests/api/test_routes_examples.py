"""Every example of the OpenAPI file works: sent as it is but for the ids, and again without effect."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from fhir_aftercare.api import examples
from fhir_aftercare.config import Settings
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.service import create_app
from flows.cases import phq9

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from api.service import Service

Resource = dict[str, Any]

LEFT: Final = datetime.fromisoformat(examples.LEFT)
ANSWERED: Final = datetime.fromisoformat("2026-09-23T18:20:00-04:00")
PORTAL: Final = examples.STORED["portal"]["value"]["reference"]
# Names of examples that stand for the first call about a patient, and of those about a patient who is not ready.
UNRECORDED: Final = frozenset({"monitored", "running", "without-record", "two"})
NOT_READY: Final = frozenset({"overridden"})
# What is only kept; the work it causes is done afterwards.
KEPT: Final = frozenset({"/signals"})


def of_openapi() -> Iterator[tuple[str, str, Any]]:
    """Yield route, name and value of every example of a body."""
    for path, operations in create_app(Settings()).openapi()["paths"].items():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name, example in content.get("examples", {}).items():
                yield path.removeprefix("/v1/clinics/{clinic}"), name, example["value"]


EXAMPLES: Final = [each for each in of_openapi() if "{" not in each[0]]


async def prepare(service: Service) -> Callable[[Any], Any]:
    """Put there whom the examples speak of, and give what names them in an example: nobody knows them yet."""
    mark = uuid.uuid4().hex[:12]

    def named(value: Any) -> Any:
        text = json.dumps(value)
        for reference in (examples.PATIENT, examples.ENCOUNTER, examples.NURSE, PORTAL):
            text = text.replace(f'"{reference}"', f'"{reference}-{mark}"')
        return json.loads(text)

    await service.put({**_identified(named(examples.NURSE)), "name": [{"family": "Okafor"}]})
    await service.put({**_identified(named(examples.PATIENT)), "birthDate": "1988-03-04"})
    await service.put(
        {
            **_identified(named(examples.ENCOUNTER)),
            "status": "in-progress",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
            "subject": {"reference": named(examples.PATIENT)},
            "period": {"start": examples.START},
        }
    )
    service.world.clock.move_to(LEFT + timedelta(minutes=5))
    return named


def _identified(reference: str) -> Resource:
    type_, _, id_ = reference.partition("/")
    return {"resourceType": type_, "id": id_}


async def record(service: Service, value: Resource, *, ready: bool) -> None:
    if not ready:
        value["checks"].pop()
    answer = await service.post("/infusions", value)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(("path", "name", "value"), EXAMPLES, ids=[f"{path} {name}" for path, name, _ in EXAMPLES])
async def test_an_example_of_the_openapi_file_works_and_repeated_changes_nothing(
    service: Service, path: str, name: str, value: Any
) -> None:
    named = await prepare(service)
    patient: str = named(examples.PATIENT)
    if name not in UNRECORDED:
        await record(service, named(examples.INFUSION["monitored"]["value"]), ready=name not in NOT_READY)
    if path.startswith("/responses"):
        service.world.clock.move_to(ANSWERED + timedelta(minutes=5))
        portal = phq9(ANSWERED, (2, 2, 2, 2, 2, 2, 2, 1, 2), subject={"reference": patient})
        await service.put({**portal, **_identified(named(PORTAL))})
    before = await service.state(patient)
    first = await service.post(path, named(value))
    assert first.status_code in ({202} if path in KEPT else {200, 201}), first.text
    after = await service.state(patient)
    again = await service.post(path, named(value))
    assert again.status_code == (202 if path in KEPT else 200), again.text
    assert await service.state(patient) == after
    if path.endswith(("/preview", "/readiness")):
        assert after == before
    elif path.endswith("/batch"):
        assert [each["status"] for each in again.json()["items"]] == [200, 200]
    elif path in KEPT:
        assert after == before
        assert again.json() == {**first.json(), "new": False}
    else:
        assert (first.json()["changed"], again.json()["changed"]) == (True, False)
        told = [{k: v for k, v in each.json().items() if k not in {"changed", "written"}} for each in (first, again)]
        assert told[0] == told[1]


def test_every_example_is_among_them() -> None:
    tables = (examples.INFUSION, examples.DISCHARGE, examples.BATCH, examples.RESPONSE, examples.STORED)
    sent = [value for _, _, value in EXAMPLES]
    assert all(each["value"] in sent for table in tables for each in table.values())


def test_the_answers_of_the_examples_are_those_of_the_forms() -> None:
    given = examples.RESPONSE["phq-9"]["value"]["item"]
    assert [each["linkId"] for each in given] == [f"/{item.code}" for item in terms.PHQ9_ITEMS]
    assert tasks.instant(ANSWERED) == examples.RESPONSE["phq-9"]["value"]["authored"]
