"""What stands behind Tasks: reasons read back as they were written, the score of each, who has taken it; one batch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.timing import utc
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.behind_tasks import ReviewReason, behind, reasons_of
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.flows.receive_response import ResponseRequest, receive_response
from flows.cases import check_in, of_patient, only, phq9, with_code
from world import START

if TYPE_CHECKING:
    from datetime import datetime

    from world import World

Resource = dict[str, Any]

NOW = START + timedelta(days=7)
SEVENTEEN = (2, 2, 2, 2, 2, 2, 2, 2, 1)


async def answered(world: World, patient: str, at: datetime, response: Resource) -> Resource:
    """Have answers received, and give the patient's review."""
    world.clock.move_to(at)
    await receive_response(world.context, ResponseRequest(patient, response))
    return await review(world, patient)


async def review(world: World, patient: str) -> Resource:
    return only(with_code(await of_patient(world, "Task", patient), terms.CLINICAL_REVIEW))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Call. [clinical §2.5] (answered 2026-09-23T13:00:00-04:00; phq9-item9-low)", ("clinical §2.5", True)),
        ("Call. [design §10.4] (2026-09-23T13:00:00-04:00; call-unreachable)", ("design §10.4", True)),
        ("Call.", ("", False)),
        ("Call. (answered some day; x)", ("", False)),
    ],
)
def test_what_a_reason_says_is_told_apart_from_where_it_is_from(written: str, read: tuple[str, bool]) -> None:
    task = {"input": [tasks.text_input(terms.INPUT_REASON, written), tasks.text_input(terms.INPUT_CALL_PHONE, "1")]}
    (reason,) = reasons_of(task)
    assert reason.words == "Call."
    assert (reason.source, reason.at is not None) == read


async def test_each_reason_has_the_score_it_rests_on(world: World) -> None:
    patient, other = await world.patient(), await world.patient("Chen")
    await answered(world, patient, NOW, phq9(NOW, SEVENTEEN))
    later = NOW + timedelta(days=1)
    task = await answered(world, patient, later, phq9(later, (0, 0, 0, 0, 0, 0, 0, 0, 2)))
    elsewhere = await answered(world, other, NOW, phq9(NOW, (1,) * 9))
    world.round_trips()
    found = await behind(world.context, [task, elsewhere])
    assert world.round_trips() == ["batch"]
    totals = [score.total for each in reasons_of(task) if (score := found.score(patient, each))]
    assert totals == [17, 2]
    assert found.score(other, next(reasons_of(elsewhere))).total == 9  # type: ignore[union-attr]
    observation = await world.server.client().read("Observation", found.scores[patient, utc(NOW)].source[12:])
    assert observation["valueQuantity"]["value"] == 17


async def test_a_total_that_could_not_be_computed_is_not_0(world: World) -> None:
    patient = await world.patient()
    task = await answered(world, patient, NOW, phq9(NOW, (None,) * 8 + (1,)))
    found = await behind(world.context, [task])
    (score,) = (found.score(patient, each) for each in reasons_of(task))
    assert score is not None
    assert score.total is None


async def test_a_check_in_has_no_score_behind_it(world: World) -> None:
    patient = await world.patient()
    task = await answered(world, patient, NOW, check_in(NOW, {"unsafe": {"valueBoolean": True}}))
    world.round_trips()
    found = await behind(world.context, [task])
    assert world.round_trips() == []
    assert [found.score(patient, each) for each in reasons_of(task)] == [None]


async def test_a_score_of_the_same_instant_is_not_another_patients(world: World) -> None:
    mine, theirs = await world.patient(), await world.patient("Chen")
    task = await answered(world, mine, NOW, phq9(NOW, SEVENTEEN))
    await answered(world, theirs, NOW, phq9(NOW, (3,) * 9))
    found = await behind(world.context, [task])
    assert [patient for patient, _ in found.scores] == [mine]
    assert found.score(theirs, ReviewReason("x", key="phq9-item9-low", at=NOW)) is None


async def test_who_has_taken_a_task_is_read_by_name(world: World) -> None:
    patient = await world.patient()
    await answered(world, patient, NOW, phq9(NOW, SEVENTEEN))
    reference = f"Task/{(await review(world, patient))['id']}"
    await move_task(world.context, MoveRequest(reference, "claim", person=world.nurse))
    task = await review(world, patient)
    found = await behind(world.context, [task])
    assert found.persons[world.nurse]["name"] == [{"family": "Okafor", "given": ["Ngozi"]}]
    assert (await behind(world.context, [task], known={world.nurse})).persons == {}


async def test_an_owner_who_cannot_be_read_takes_nothing_with_it(world: World) -> None:
    patient = await world.patient()
    task = await answered(world, patient, NOW, phq9(NOW, SEVENTEEN))
    found = await behind(world.context, [{**task, "owner": {"reference": "Practitioner/nobody-of-this-name"}}])
    assert found.persons == {}
    assert [each.total for each in found.scores.values()] == [17]
    assert not found.gap


async def test_scores_that_cannot_be_read_are_a_gap(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    task = await answered(world, patient, NOW, phq9(NOW, SEVENTEEN))

    class Refused(type(world.context.fhir)):  # type: ignore[misc]
        async def batch(self, entries: Any) -> Any:
            """Ask for something there is not in place of Observations."""
            return await super().batch(["Observation/there-is-no-such-one" for _ in entries])

    client = Refused(world.server.base_url, world.server.http)
    found = await behind(replace(world.context, fhir=client), [task])
    assert found.gap
    assert found.scores == {}


async def test_what_was_withdrawn_is_not_shown_as_the_score(world: World) -> None:
    patient = await world.patient()
    task = await answered(world, patient, NOW, phq9(NOW, SEVENTEEN))
    for each in await of_patient(world, "Observation", patient):
        withdrawn = {**each, "status": "entered-in-error"}
        await world.server.client().update(withdrawn, if_match=each["meta"]["versionId"])
    assert (await behind(world.context, [task])).scores == {}
