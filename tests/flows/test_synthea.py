"""Patients somebody else made: their scores are read as they are, on both servers."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.open_chart import open_chart
from fhir_aftercare.flows.receive_observation import receive_observation
from fhir_aftercare.flows.record_infusion import record_infusion
from flows.cases import leaving, of_patient, record, recording
from world import make_world

if TYPE_CHECKING:
    from servers import Server

FILE = Path(__file__).resolve().parents[1] / "data" / "synthea" / "scores.json.gz"
DATA: dict[str, Any] = json.loads(gzip.decompress(FILE.read_bytes()))
AFTER_SCORE = timedelta(hours=3)


@pytest.fixture(scope="session")
async def patients(server: Server) -> list[str]:
    """Load the places and people, then the patients, and give their references."""
    client = server.client()
    for entry in DATA["places_and_people"]["entry"]:
        condition = entry["request"].get("ifNoneExist") or identifier_query(entry["resource"])
        await client.create(entry["resource"], if_none_exist=condition)
    loaded = []
    for bundle in DATA["patients"]:
        answer = await client.transaction(bundle)
        loaded.append(
            next(each.location.reference for each in answer if each.location and each.location.type == "Patient")
        )
    return loaded


def identifier_query(resource: dict[str, Any]) -> str:
    first = resource["identifier"][0]
    return f"identifier={first['system']}|{first['value']}"


def scores(number: int, code: terms.Code) -> list[tuple[datetime, int]]:
    """Give the scores of one patient as the file has them, oldest first."""
    found = [
        (datetime.fromisoformat(each["resource"]["effectiveDateTime"]), int(each["resource"]["valueQuantity"]["value"]))
        for each in DATA["patients"][number]["entry"]
        if each["resource"]["resourceType"] == "Observation"
        and each["resource"]["code"]["coding"][0]["code"] == code.code
    ]
    return sorted(found)


@pytest.mark.parametrize("number", range(len(DATA["patients"])))
async def test_a_whole_case_of_a_patient_with_scores_of_before(
    server: Server, patients: list[str], number: int
) -> None:
    patient = patients[number]
    last_at, last = scores(number, terms.PHQ9_TOTAL)[-1]
    start = last_at.replace(microsecond=0) + AFTER_SCORE
    left = start + timedelta(minutes=130)
    world = await make_world(server, now=left)
    encounter = await world.encounter(patient, period={"start": tasks.instant(start)})
    await record_infusion(
        world.context, recording(world, patient, encounter, record=record(start, recorded_by=world.nurse))
    )
    done = await discharge(world.context, leaving(world, patient, encounter, left_at=left, mode="ask"))
    assert done.panel.ready
    view = await open_chart(world.context, patient)
    phq9 = next(each for each in view.trends if each.instrument == "phq-9")
    assert [(point.at, point.total) for point in phq9.points] == scores(number, terms.PHQ9_TOTAL)
    assert phq9.baseline is not None
    assert (phq9.baseline.at, phq9.baseline.total) == (last_at, last)
    made = await of_patient(world, "Task", patient)
    opened_before = [
        each
        for each in made
        if tasks.asks_for(each) == terms.QUESTIONNAIRE_PHQ9 and tasks.window_of(each)[0] < start  # type: ignore[operator]
    ]
    assert opened_before == []
    assert terms.QUESTIONNAIRE_PHQ9 in {tasks.asks_for(each) for each in made}


async def test_a_total_of_the_ehr_after_the_plan_is_looked_at(server: Server, patients: list[str]) -> None:
    """The newest total lies after an infusion: it is read, and since item 9 is not in it, somebody asks."""
    patient = patients[0]
    at, total = scores(0, terms.PHQ9_TOTAL)[-1]
    start = at.replace(microsecond=0) - timedelta(days=8)
    left = start + timedelta(minutes=130)
    world = await make_world(server, now=left)
    encounter = await world.encounter(patient, period={"start": tasks.instant(start)})
    await discharge(
        world.context,
        leaving(world, patient, encounter, left_at=left, start=start, end=start + timedelta(minutes=40)),
    )
    world.clock.move_to(at + timedelta(minutes=5))
    found = [
        each
        for each in await of_patient(world, "Observation", patient)
        if tasks.has_code(each, terms.PHQ9_TOTAL) and each["effectiveDateTime"].startswith(at.date().isoformat())
    ]
    received = await receive_observation(world.context, patient, f"Observation/{found[0]['id']}")
    assert received.score.total == total
    assert not received.score.item9_known
    assert received.review
