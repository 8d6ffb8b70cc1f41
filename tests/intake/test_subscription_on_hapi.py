"""A real HAPI tells a real server of ours what changes: criteria with and without payload, a topic, and outages.

Each test asks for one patient's records only, so that nothing else on the server is told of.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.fhir import terms
from fhir_aftercare.flows.signal import DischargeSignal
from fhir_aftercare.flows.sweep import sweep
from fhir_aftercare.intake.settings import SubscriptionSettings
from fhir_aftercare.store.sweep_state import Watermark
from intake.hook_cases import BEFORE, SECRET
from intake.hook_stage import LATER, Stage, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from servers import Server
    from world import World

pytestmark = pytest.mark.hapi

# HAPI tries again after growing pauses, for about a minute, and looks for topics once a minute.
AGAIN, NEXT_MINUTE = 45.0, 90.0
DRUG = {"coding": [{"system": terms.KETAMINE_RXNORM.system, "code": terms.KETAMINE_RXNORM.code}]}
OTHER_DRUG = {"coding": [{"system": "https://ehr.example.com/drugs", "code": "SOMETHING"}]}


@pytest.fixture
async def stage(hapi: Server) -> AsyncIterator[Stage]:
    found = await Stage.make(hapi)
    found.up()
    yield found
    await found.close()


# --- with and without payload ----------------------------------------------------------------------------------------
async def test_what_matters_is_told_once_each_and_nothing_else_is(stage: Stage) -> None:
    await stage.criteria()
    visit = await stage.world.encounter(stage.patient)
    await stage.given(OTHER_DRUG)
    await stage.ends(visit)
    drug = await stage.given(DRUG)
    cancelled = await stage.leaves("cancelled")
    await until(lambda: len(stage.inbox.taken) == 3)
    await asyncio.sleep(LATER)
    expected = [
        DischargeSignal("harbor", "subscription", await stage.event(each), encounter, stage.patient, "changed")
        for each, encounter in ((visit, visit), (drug, None), (cancelled, cancelled))
    ]
    assert sorted(stage.inbox.taken, key=lambda each: each.event) == sorted(expected, key=lambda each: each.event)
    assert sorted((method, path, status) for method, path, _, status in stage.received.calls) == sorted(
        ("PUT", f"/subscription/{each}", 200) for each in (visit, drug, cancelled)
    )
    assert stage.inbox.looks == []


async def test_a_change_of_what_was_told_is_told_again(stage: Stage) -> None:
    await stage.criteria()
    visit = await stage.leaves()
    await until(lambda: stage.encounters() == [visit])
    await stage.ends(visit, "entered-in-error")
    await until(lambda: stage.encounters() == [visit, visit])
    assert len({each.work_id for each in stage.inbox.taken}) == 2


async def test_without_payload_only_that_something_changed_is_sent_and_the_clinic_is_swept(stage: Stage) -> None:
    await stage.criteria(payload=False)
    await stage.leaves()
    await until(lambda: stage.inbox.looks)
    await asyncio.sleep(LATER)
    assert stage.received.calls == [("POST", "/subscription", 0, 200)]
    assert (stage.inbox.looks, stage.inbox.taken) == (["harbor"], [])


# --- the secret ------------------------------------------------------------------------------------------------------
async def test_nothing_is_taken_with_the_old_secret_until_the_server_has_the_new_one(stage: Stage) -> None:
    stage.app.state.subscriptions = {"harbor": SubscriptionSettings((SECRET,))}
    await stage.criteria(BEFORE)
    await stage.leaves()
    await until(lambda: 401 in {status for *_, status in stage.received.calls})
    assert stage.inbox.told == 0
    await stage.criteria(SECRET)
    visit = await stage.leaves()
    await until(lambda: visit in stage.encounters())


async def test_while_both_secrets_hold_nothing_is_missed(stage: Stage) -> None:
    await stage.criteria(BEFORE)
    first = await stage.leaves()
    await until(lambda: stage.encounters() == [first])
    await stage.criteria(SECRET)
    second = await stage.leaves()
    await until(lambda: stage.encounters() == [first, second])
    assert {status for *_, status in stage.received.calls} == {200}


# --- outages ---------------------------------------------------------------------------------------------------------
async def test_what_could_not_be_kept_is_sent_again_until_it_is(stage: Stage) -> None:
    await stage.criteria()
    stage.inbox.failures = 3
    visit = await stage.leaves()
    await until(lambda: stage.encounters() == [visit], AGAIN)
    assert [status for *_, status in stage.received.calls] == [503, 503, 503, 200]


async def test_what_happens_while_we_are_down_for_some_seconds_is_told_afterwards(stage: Stage) -> None:
    await stage.criteria()
    stage.down()
    visits = [await stage.leaves(), await stage.leaves()]
    await asyncio.sleep(4)
    stage.up()
    await until(lambda: set(stage.encounters()) == set(visits), AGAIN)
    await asyncio.sleep(LATER)
    assert len(stage.inbox.taken) == 2


async def test_what_the_server_gave_up_on_it_never_tells_and_a_sweep_finds(stage: Stage) -> None:
    """HAPI gives up after a while and says so nowhere: its Subscription stays active. Here it believes it was heard."""
    await stage.criteria()
    patient = await stage.world.context.fhir.read(*stage.patient.split("/"))
    before = Watermark(datetime.fromisoformat(patient["meta"]["lastUpdated"]))
    stage.received.swallows = True
    visit = await stage.leaves()
    await until(lambda: stage.received.calls)
    stage.received.swallows = False
    later = await stage.leaves()
    await until(lambda: stage.encounters() == [later])
    assert [(each.outcome, each.active) for each in await stage.again()] == [("unchanged", True)] * 3
    assert await swept(stage.world, before, {visit, later}) == {visit, later}


# --- a topic ---------------------------------------------------------------------------------------------------------
async def test_a_topic_tells_ids_only_and_its_numbers_tell_what_was_lost(stage: Stage) -> None:
    await stage.topic()
    visits = {*await first_told(stage), await told(stage)}
    assert stage.inbox.looks == []
    assert {(each.source, each.patient, each.kind) for each in stage.inbox.taken} == {
        ("subscription-topic", None, "changed")
    }
    calls = len(stage.received.calls)
    stage.received.swallows = True
    await stage.leaves()
    await until(lambda: len(stage.received.calls) > calls)
    stage.received.swallows = False
    visits.add(await told(stage))
    assert set(stage.encounters()) == visits
    assert stage.inbox.looks == ["harbor"]
    assert list(stage.app.state.subscription_events.numbers.values()) == [len(visits) + 1]


async def told(stage: Stage) -> str:
    visit = await stage.leaves()
    await until(lambda: visit in stage.encounters())
    return visit


async def first_told(stage: Stage) -> set[str | None]:
    """Let patients leave until HAPI has seen the topic, and give the visits that it told of."""
    end, last = time.monotonic() + NEXT_MINUTE, ""
    while not stage.inbox.taken:
        assert time.monotonic() < end, "HAPI did not pick up the topic"
        last = await stage.leaves()
        await asyncio.sleep(2)
    await until(lambda: last in stage.encounters())  # it may be told of one that left before it, and not yet of it
    return set(stage.encounters())


async def swept(world: World, since: Watermark, known: set[str]) -> set[str | None]:
    found: set[str | None] = set()

    async def take(signal: DischargeSignal) -> bool:
        found.add(signal.encounter)
        return True

    await sweep(world.context, since, take)
    return found & known
