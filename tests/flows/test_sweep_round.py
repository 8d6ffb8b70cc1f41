"""A round of all sweeps: how far each came is kept, and one that fails holds up no other."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.errors import FhirBroken
from fhir_aftercare.flows.sweep_round import SWEEPS, Hands, beats, sweep_round, work_id
from fhir_aftercare.store.database import Database
from fhir_aftercare.store.watermarks import Watermarks
from flows.course_cases import infusion
from flows.sweep_server import FIRST, Many, reached
from flows.test_sweep import Inbox, leave
from flows.test_sweep_listing import context
from flows.test_sweep_plans import Hand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fhir_aftercare.flows.signal import DischargeSignal
    from world import World

NOW = FIRST + timedelta(days=1)


@pytest.fixture
async def watermarks(tmp_path: Path) -> AsyncIterator[Watermarks]:
    database = Database(f"sqlite:///{tmp_path / 'aftercare.db'}")
    await database.upgrade()
    yield Watermarks(database)
    await database.close()


async def test_a_round_finds_encounters_patients_and_goes_on_from_there(
    small_world: World, watermarks: Watermarks
) -> None:
    world, inbox, hand = small_world, Inbox(), Hand()
    patient = await world.patient()
    await infusion(world, patient)
    (encounter,) = await leave(world, patient, 1)
    hands = Hands(inbox.take, hand, Hand())
    first = await sweep_round(world.context, watermarks, hands)
    assert (set(first.new), first.failed) == (set(SWEEPS), {})
    assert encounter in [each.encounter for each in inbox.of([patient])]
    assert patient in hand.given
    state = await watermarks.of("harbor", "encounters")
    assert state.watermark is not None
    assert state.last_finished == world.clock()
    again = await sweep_round(world.context, watermarks, hands)
    assert (again.new["encounters"], again.failed) == (0, {})
    later = (await watermarks.of("harbor", "encounters")).watermark
    assert later is not None
    assert later.at >= state.watermark.at


async def test_a_sweep_that_fails_is_noted_and_begins_again_where_it_was(watermarks: Watermarks) -> None:
    inbox, hand = Inbox(), Hand()
    whole = Many(20, NOW)
    hands = Hands(inbox.take, hand, Hand())
    async with reached(whole) as fhir:
        await sweep_round(context(fhir, NOW), watermarks, hands)
    before = await watermarks.of("harbor", "encounters")
    broken = Many(40, NOW + timedelta(hours=1), refused=lambda type_, _: 500 if type_ == "Encounter" else None)
    async with reached(broken) as fhir:
        found = await sweep_round(context(fhir, NOW + timedelta(hours=1)), watermarks, hands, patients=["Patient/p1"])
    assert found.failed == {"encounters": FhirBroken.code, "answers": FhirBroken.code}
    assert hand.given == ["Patient/p1"]
    after = await watermarks.of("harbor", "encounters")
    assert (after.watermark, after.last_finished, after.last_error) == (
        before.watermark, before.last_finished, FhirBroken.code,
    )  # fmt: skip
    assert (await watermarks.of("harbor", "plans")).last_finished == NOW + timedelta(hours=1)
    async with reached(Many(40, NOW + timedelta(hours=2))) as fhir:
        assert not (await sweep_round(context(fhir, NOW + timedelta(hours=2)), watermarks, hands)).failed
    assert (await watermarks.of("harbor", "encounters")).last_error is None


async def test_what_is_found_while_the_process_dies_is_found_again(watermarks: Watermarks) -> None:
    inbox = Inbox()

    async def dies(signal: DischargeSignal) -> bool:
        if len(inbox.work) == 7:
            raise KeyboardInterrupt
        return await inbox.take(signal)

    async with reached(Many(20, NOW)) as fhir:
        with pytest.raises(KeyboardInterrupt):
            await sweep_round(context(fhir, NOW), watermarks, Hands(dies, Hand(), Hand()))
        assert (await watermarks.of("harbor", "encounters")).watermark is None
        await sweep_round(context(fhir, NOW), watermarks, Hands(inbox.take, Hand(), Hand()))
    assert len(inbox.work) == 20


async def test_every_sweep_of_a_clinic_beats_also_one_that_never_ran(watermarks: Watermarks) -> None:
    await watermarks.finished("harbor", "plans", NOW)
    await watermarks.finished("harbor", "worker", NOW)
    await watermarks.finished("closed", "plans", NOW)
    found = {(each.clinic, each.name): each.last for each in await beats(watermarks, ["harbor", "bay"])}
    assert found == {
        ("harbor", "encounters"): None, ("harbor", "answers"): None,
        ("harbor", "plans"): NOW, ("harbor", "worker"): NOW,
        ("bay", "encounters"): None, ("bay", "answers"): None, ("bay", "plans"): None,
    }  # fmt: skip


def test_the_name_of_work_tells_nothing_of_what_it_is_about() -> None:
    assert work_id("harbor", "tend", "Patient/7") == work_id("harbor", "tend", "Patient/7")
    assert "Patient" not in work_id("harbor", "tend", "Patient/7")
    assert work_id("harbor", "tend", "Patient/7") != work_id("harbor", "tend", "Patient/8")
