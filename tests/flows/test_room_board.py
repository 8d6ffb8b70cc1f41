"""The room: whose infusion runs or has ended today, of this clinic alone, in two round trips."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.flows import room_board as flow
from fhir_aftercare.flows.discharge import discharge
from fhir_aftercare.flows.open_visit import Stage
from fhir_aftercare.flows.record_infusion import record_infusion
from fhir_aftercare.flows.room_board import room_board
from flows.cases import check, leaving, record, recording
from world import START as USUAL

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.flows.room_board import Room
    from world import World

MINUTE = timedelta(minutes=1)
# A day of its own: on a server that all tests share, hundreds of infusions stand on the usual one.
START = USUAL.replace(year=USUAL.year + 3)
END = START + 40 * MINUTE
LEFT = END + 90 * MINUTE


@pytest.fixture
def clinic(world: World) -> World:
    """A clinic that shares its FHIR server with those of other tests."""
    own = replace(world.context.clinic, organizations=frozenset({world.organization}))
    world.context = replace(world.context, clinic=own)
    return world


async def infused(world: World, name: str, start: datetime = START, *, ended: bool = False, **more: Any) -> str:
    """Give a patient with an infusion that was recorded a quarter of an hour after its start, or after its end."""
    infusion = record(start)
    if not ended:
        infusion = replace(infusion, end=None, status=InfusionStatus.IN_PROGRESS, checks=(check(start),))
    world.clock.move_to(LEFT if ended else start + 15 * MINUTE)
    patient = await world.patient(name)
    visit = await world.encounter(patient, **{"serviceProvider": {"reference": world.organization}, **more})
    await record_infusion(world.context, recording(world, patient, visit, record=infusion))
    return visit


async def at(world: World, moment: datetime) -> Room:
    world.clock.move_to(moment)
    world.round_trips()
    return await room_board(world.context)


def stages(room: Room) -> list[tuple[str | None, Stage]]:
    return [(each.encounter, each.stage) for each in room.visits]


async def test_running_ones_come_first_then_by_their_start(clinic: World) -> None:
    ended = await infused(clinic, "Ended", ended=True)
    second = await infused(clinic, "Second", START + 10 * MINUTE)
    first = await infused(clinic, "First", START + 5 * MINUTE)
    room = await at(clinic, LEFT)
    assert stages(room) == [(first, Stage.RUNNING), (second, Stage.RUNNING), (ended, Stage.ENDED)]
    assert (room.more, dict(room.gaps)) == (0, {})
    assert clinic.round_trips() == ["batch", "batch"]


async def test_each_visit_has_what_was_found_in_it_and_nothing_of_others(clinic: World) -> None:
    one = await infused(clinic, "One")
    other = await infused(clinic, "Other", ended=True)
    room = await at(clinic, LEFT)
    by_visit = {each.encounter: each for each in room.visits}
    assert len({finding.at for finding in by_visit[one].findings}) == 1
    assert len({finding.at for finding in by_visit[other].findings}) == 3
    for each in by_visit.values():
        assert each.plan is not None
        assert each.plan["subject"]["reference"] == f"Patient/{each.patient['id']}"
        assert each.escort is not None
        assert each.escort["for"]["reference"] == f"Patient/{each.patient['id']}"


async def test_who_has_left_is_said_to_have(clinic: World) -> None:
    visit = await infused(clinic, "Gone", ended=True)
    patient = (await clinic.server.client().read("Encounter", visit.partition("/")[2]))["subject"]["reference"]
    await discharge(clinic.context, leaving(clinic, patient, visit, left_at=LEFT))
    assert stages(await at(clinic, LEFT)) == [(visit, Stage.LEFT)]


async def test_yesterday_is_not_in_the_room(clinic: World) -> None:
    await infused(clinic, "Yesterday", ended=True)
    room = await at(clinic, END + timedelta(hours=20))
    assert room.visits == ()
    assert clinic.round_trips() == ["batch"]


async def test_another_clinics_visit_is_left_out(clinic: World) -> None:
    stranger = await clinic._create({"resourceType": "Organization", "name": "Another Clinic"})
    mine = await infused(clinic, "Mine")
    unbound = replace(clinic.context, clinic=replace(clinic.context.clinic, organizations=frozenset()))
    bound, clinic.context = clinic.context, unbound
    await infused(clinic, "Stranger", serviceProvider={"reference": stranger})
    clinic.context = bound
    assert stages(await at(clinic, LEFT)) == [(mine, Stage.RUNNING)]


async def test_where_a_visit_is_comes_from_its_last_place(clinic: World) -> None:
    places = [
        {"location": {"display": "Waiting room"}, "status": "completed"},
        {"location": {"display": "Room 2"}, "status": "active"},
        {"location": {"display": "Chair 2"}, "status": "active"},
    ]
    visit = await infused(clinic, "Placed", location=places)
    nowhere = await infused(clinic, "Unplaced", location=places[:1])
    room = await at(clinic, LEFT)
    assert (room.places[visit], room.places[nowhere]) == ("Chair 2", "")


async def test_what_does_not_fit_is_counted_and_never_a_running_one(
    clinic: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "MOST", 1)
    await infused(clinic, "Ended", ended=True)
    running = await infused(clinic, "Running", START + 5 * MINUTE)
    room = await at(clinic, LEFT)
    assert stages(room) == [(running, Stage.RUNNING)]
    assert room.more == 1
