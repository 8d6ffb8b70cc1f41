"""The sandbox tells a real server of ours: unlike HAPI it greets the subscriber of a topic, and says what failed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.flows.subscribe import look
from fhir_aftercare.sandbox.store import create_store
from intake.hook_stage import Stage, until
from servers import SANDBOX_URL, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    store = create_store(tmp_path, SANDBOX_URL)
    store._context.settings.subscriptions.retries = 1  # it gives up at once
    async with Server.reached("sandbox", SANDBOX_URL, store) as server:
        found = await Stage.make(server)
        found.up()
        yield found
        await found.close()
    store.close()
    store._context.subscriptions._active = []  # its heartbeat never ends, and finds nothing to do


async def test_a_topic_greets_counts_and_tells_whose_record_it_is(stage: Stage) -> None:
    await stage.topic()
    first = await stage.leaves()
    await until(lambda: stage.encounters() == [first])
    second = await stage.leaves()
    await until(lambda: stage.encounters() == [first, second])
    assert [(each.source, each.patient) for each in stage.inbox.taken] == [("subscription-topic", stage.patient)] * 2
    assert [path for _, path, _, _ in stage.received.calls] == ["/topic"] * 3  # the first is the handshake
    assert list(stage.app.state.subscription_events.numbers.values()) == [2]
    assert stage.inbox.looks == []


async def test_a_topic_that_failed_is_switched_on_again_and_what_was_lost_meanwhile_is_swept(stage: Stage) -> None:
    await stage.topic()
    stage.down()
    await stage.leaves()
    await failed(stage)
    stage.up()
    assert [(each.outcome, each.active) for each in await stage.again()] == [("unchanged", True), ("activated", True)]
    await until(lambda: stage.inbox.looks == ["harbor"])
    assert stage.inbox.taken == []


async def test_criteria_that_failed_say_so_and_are_switched_on_again(stage: Stage) -> None:
    await stage.criteria()
    stage.down()
    await stage.leaves()
    said = await failed(stage)
    assert said.startswith("Delivery to http://127.0.0.1:")
    stage.up()
    assert [each.outcome for each in await stage.again()] == ["activated", "unchanged", "unchanged"]
    visit = await stage.leaves()
    await until(lambda: stage.encounters() == [visit])


async def failed(stage: Stage) -> str:
    """Wait until the server has given up, and give its words."""
    for _ in range(150):
        for each in await look(stage.world.context.fhir, stage.forms):
            if not each.active:
                return each.error or ""
        await asyncio.sleep(0.1)
    raise AssertionError("the server did not give up")
