"""Many encounters in little memory, from servers that page, sort and refuse each in their way."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from facts import CLINIC, IDENTIFIERS, PROTOCOL
from fhir_aftercare.errors import FhirBroken, FhirMalformed, FhirRejected, FhirUnauthorized
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.flows.sweep import SweepSettings, Watermark, sweep
from fhir_aftercare.flows.sweep_listing import By, Listing
from flows.sweep_server import BASE, FIRST, Many, reached

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.flows.signal import DischargeSignal
    from fhir_aftercare.flows.sweep import Swept

NOW = FIRST + timedelta(days=2)
PAGES_OF_20 = SweepSettings(page=20)


def context(fhir: FhirClient, now: datetime = NOW) -> ClinicContext:
    return ClinicContext(CLINIC, fhir, PROTOCOL, IDENTIFIERS, SettableClock(now))


class Inbox:
    """Remembers the names of the work it was given, as the durable one does."""

    def __init__(self) -> None:
        self.work: dict[str, DischargeSignal] = {}
        self.asked = 0

    async def take(self, signal: DischargeSignal) -> bool:
        self.asked += 1
        new = signal.work_id not in self.work
        self.work.setdefault(signal.work_id, signal)
        return new

    @property
    def encounters(self) -> list[str | None]:
        return [each.encounter for each in self.work.values()]


async def swept(many: Many, mark: Watermark | None = None, **more: Any) -> tuple[Swept, Inbox]:
    inbox = more.pop("inbox", None) or Inbox()
    async with reached(many) as fhir:
        return await sweep(context(fhir), mark, inbox.take, settings=more.pop("settings", PAGES_OF_20), **more), inbox


async def test_each_of_many_is_found_once_by_pages_that_begin_where_the_last_ended() -> None:
    many = Many(305, NOW)
    found, inbox = await swept(many)
    assert (found.new, found.seen, inbox.asked) == (305, 305, 305)
    assert sorted(inbox.encounters, key=str) == sorted((f"Encounter/e{n}" for n in range(305)), key=str)
    assert all("_offset" not in params for _, params in many.asked)
    assert found.watermark == Watermark(NOW, FIRST + timedelta(seconds=304), "Encounter/e304")
    assert found.by == {"Encounter": "changed", "MedicationAdministration": "changed", "Procedure": "changed"}


@pytest.mark.parametrize(
    "more", [{"links_only": True}, {"reverse": True}, {"apart": timedelta()}, {"apart": timedelta(microseconds=20)}]
)
async def test_where_a_page_does_not_tell_where_the_next_begins_links_are_followed(more: dict[str, Any]) -> None:
    """It does not sort, or sorts the other way, or has more of one instant than fit on a page."""
    found, inbox = await swept(Many(95, NOW, **more))
    assert (len(inbox.work), found.new) == (95, 95)


async def test_after_many_of_one_instant_pages_go_on_from_the_next() -> None:
    many = Many(400, NOW, apart=timedelta(milliseconds=12), whole_seconds=True)  # 83 or 84 in each second
    _, inbox = await swept(many)
    assert (len(inbox.work), inbox.asked) == (400, 400)
    assert any("_offset" in params for _, params in many.asked)
    assert len({params["_lastUpdated"] for type_, params in many.asked if "_lastUpdated" in params}) >= 5


async def test_a_second_sweep_asks_for_the_overlap_alone_and_finds_it_known() -> None:
    many = Many(3000, FIRST + timedelta(seconds=3000))
    first, inbox = await swept(many)
    assert first.new == 3000
    second, _ = await swept(many, first.watermark, inbox=inbox)
    assert second.new == 0
    assert second.seen == 600  # ten minutes of one a second


async def test_what_was_written_late_is_found_by_the_overlap() -> None:
    """It was being written while the first sweep asked, and got its time before that."""
    before = Many(100, FIRST + timedelta(seconds=160))
    first, inbox = await swept(before)
    late = replace(before, encounters=130, now=before.now + timedelta(minutes=5))
    second, _ = await swept(late, first.watermark, inbox=inbox)
    assert second.new == 30


# --- clocks and backups ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("skew", [timedelta(days=-400), timedelta(hours=-3), timedelta(hours=3), timedelta(days=400)])
@pytest.mark.parametrize("tells_time", [True, False])
async def test_however_wrong_our_clock_is_nothing_is_lost_between_two_sweeps(skew: timedelta, tells_time: bool) -> None:
    mark: Watermark | None = Watermark(FIRST)
    inbox = Inbox()
    for hours in range(1, 6):
        many = Many(hours * 60, FIRST + timedelta(hours=hours), apart=timedelta(minutes=1), tells_time=tells_time)
        async with reached(many) as fhir:
            ours = context(fhir, many.now + skew)
            found = await sweep(ours, mark, inbox.take, settings=PAGES_OF_20)
        mark = found.watermark
        assert not found.looked_again
    assert set(inbox.encounters) == {f"Encounter/e{n}" for n in range(300)}


async def test_a_restored_server_is_looked_at_again_once_also_at_what_is_known() -> None:
    whole = Many(300, FIRST + timedelta(seconds=300))
    first, inbox = await swept(whole)
    restored = replace(whole, encounters=200, now=FIRST + timedelta(days=1))
    again, _ = await swept(restored, first.watermark, inbox=inbox)
    assert (again.looked_again, again.seen, again.new) == (True, 200, 200)
    assert again.watermark == Watermark(restored.now, FIRST + timedelta(seconds=199), "Encounter/e199")
    calm, _ = await swept(restored, again.watermark, inbox=inbox)
    assert (calm.looked_again, calm.new) == (False, 0)


async def test_a_sweep_of_a_restored_server_that_failed_finds_the_same_work_again() -> None:
    whole = Many(300, FIRST + timedelta(seconds=300))
    first, inbox = await swept(whole)
    restored = replace(whole, encounters=200, now=FIRST + timedelta(days=1))
    broken = replace(restored, refused=lambda type_, _: 500 if type_ == "Procedure" else None)
    with pytest.raises(FhirBroken):
        await swept(broken, first.watermark, inbox=inbox)
    assert len(inbox.work) == 500
    again, _ = await swept(restored, first.watermark, inbox=inbox)
    assert (again.looked_again, again.new) == (True, 0)


async def test_a_watermark_of_the_future_is_mended() -> None:
    many = Many(50, NOW)
    found, inbox = await swept(many, Watermark(NOW + timedelta(days=30)))
    assert (found.looked_again, len(inbox.work)) == (True, 50)
    assert found.watermark.at == NOW


# --- refusals -------------------------------------------------------------------------------------------------------
def no_last_update(_type: str, params: dict[str, str]) -> int | None:
    return 400 if "_lastUpdated" in params or params.get("_sort") == "_lastUpdated" else None


async def test_where_the_last_change_cannot_be_asked_for_the_date_is() -> None:
    many = Many(60, NOW, refused=no_last_update)
    found, inbox = await swept(many, Watermark(NOW))  # signed off days after the patient left
    assert len(inbox.work) == 60
    assert found.by["Encounter"] == "date"
    assert found.population
    second, _ = await swept(many, found.watermark, inbox=inbox)
    assert second.new == 0


@pytest.mark.parametrize("status", [400, 403, 422])
async def test_where_all_patients_cannot_be_asked_for_the_given_ones_are(status: int) -> None:
    many = Many(60, NOW, refused=lambda _, params: None if "patient" in params or "_id" in params else status)
    found, inbox = await swept(many, patients=["Patient/p3", "Patient/p9", "Patient/p3"])
    assert inbox.encounters == ["Encounter/e3", "Encounter/e9"]
    assert (found.population, found.new, found.unreached) == (False, 2, 0)


async def test_a_clinic_may_forbid_to_ask_for_all_patients() -> None:
    many = Many(60, NOW)
    found, inbox = await swept(many, patients=["Patient/p3"], settings=SweepSettings(population=False))
    assert (inbox.encounters, found.population) == (["Encounter/e3"], False)
    assert all("patient" in params or "_id" in params or type_ == "CarePlan" for type_, params in many.asked)


async def test_one_patient_the_server_does_not_tell_of_hides_no_other() -> None:
    def refused(_type: str, params: dict[str, str]) -> int | None:
        return 403 if params.get("patient") == "Patient/p3" else None

    many = Many(60, NOW, refused=refused)
    settings = SweepSettings(population=False)
    found, inbox = await swept(many, patients=["Patient/p3", "Patient/p9"], settings=settings)
    assert (inbox.encounters, found.unreached) == (["Encounter/e9"], 1)
    with pytest.raises(FhirUnauthorized):
        await swept(many, patients=["Patient/p3"], settings=settings)


async def test_a_server_that_refuses_everything_is_no_sweep_that_found_nothing() -> None:
    many = Many(60, NOW, refused=lambda _, __: 400)
    with pytest.raises(FhirRejected):
        await swept(many)


async def test_a_kind_of_record_that_a_server_does_not_have_is_told_of_and_left_out() -> None:
    many = Many(60, NOW, refused=lambda type_, _: 404 if type_ == "MedicationAdministration" else None)
    found, inbox = await swept(many)
    assert (found.refused, len(inbox.work)) == (("MedicationAdministration",), 60)


async def test_a_server_that_fails_keeps_the_watermark() -> None:
    with pytest.raises(FhirBroken):
        await swept(Many(60, NOW, refused=lambda _, __: 500))


async def test_an_inbox_that_cannot_keep_a_signal_ends_the_sweep() -> None:
    async def full(_: DischargeSignal) -> bool:
        raise FhirMalformed("full")

    async with reached(Many(60, NOW)) as fhir:
        with pytest.raises(FhirMalformed):
            await sweep(context(fhir), None, full)


# --- memory ---------------------------------------------------------------------------------------------------------
async def peak(encounters: int) -> int:
    """Give the bytes at the peak of a sweep of so many encounters."""
    seconds = timedelta(seconds=encounters)
    many = Many(encounters, FIRST + seconds, keep_asked=False)
    count = 0

    async def take(_: DischargeSignal) -> bool:
        nonlocal count
        count += 1
        return True

    async with reached(many) as fhir:
        tracemalloc.start()
        try:
            await sweep(context(fhir), Watermark(FIRST), take, settings=SweepSettings(page=100))
            used = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert count == encounters
    return used


async def test_ten_times_as_many_encounters_take_no_more_memory() -> None:
    await peak(200)  # what is made once
    few, many = await peak(500), await peak(5_000)
    assert many < few * 1.3 + 200_000


# --- servers that would be read for ever ----------------------------------------------------------------------------
async def listed(many: Many) -> list[str]:
    async with reached(many) as fhir:
        return [each["id"] async for each in Listing(fhir, "Encounter", {}, By.CHANGED, page=20).since(FIRST)]


class Coarse(Many):
    """It compares seconds alone, and gives again what is a little older than was asked for."""

    def _numbers(self, params: dict[str, str]) -> range:
        since = params.get("_lastUpdated")
        whole = {**params, "_lastUpdated": f"{since.partition('.')[0]}+00:00"} if since else params
        return super()._numbers(whole)


async def test_a_server_that_compares_seconds_alone_is_read_to_the_end_and_not_again_and_again() -> None:
    many = Coarse(1000, NOW, apart=timedelta(milliseconds=7))  # 142 or 143 in each second
    found = await listed(many)
    assert len(set(found)) == 1000
    assert len(many.asked) < 100
    assert len(found) < 1300


class Stuck(Many):
    """It gives the same page whatever is asked, and says that there is more: where, ``more`` tells."""

    more = f"{BASE}/Encounter?_offset=20"

    def answer(self, request: httpx.Request) -> httpx.Response:
        bundle = super().answer(request).json()
        bundle["entry"] = [{"resource": self.encounter(n), "search": {"mode": "match"}} for n in range(20)]
        bundle["link"] = [{"relation": "next", "url": self.more}, *bundle["link"][:1]]
        return httpx.Response(200, json=bundle)


class Restless(Stuck):
    """To it, all was changed when it is asked."""

    def encounter(self, number: int) -> dict[str, Any]:
        self.first += timedelta(milliseconds=1)
        return super().encounter(number)


@pytest.mark.parametrize("more", [{}, {"links_only": True}, {"apart": timedelta()}, {"tells_changes": False}])
async def test_a_server_that_names_the_same_next_page_for_ever_ends_the_sweep(more: dict[str, Any]) -> None:
    many = Stuck(20, NOW, **more)
    with pytest.raises(FhirMalformed):
        await listed(many)
    assert len(many.asked) < 10


async def test_a_server_to_which_all_changes_while_it_is_read_ends_the_sweep() -> None:
    many = Restless(20, NOW)
    with pytest.raises(FhirMalformed):
        await listed(many)
    assert len(many.asked) < 10


async def test_such_a_server_keeps_the_watermark() -> None:
    with pytest.raises(FhirMalformed):
        await swept(Stuck(20, NOW))
