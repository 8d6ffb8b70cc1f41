"""From when a sweep looks and how far it came: nothing between two sweeps is left out, whatever the clocks say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts import CLINIC
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.flows.sweep_signals import drug_codes, event_of, signal_of
from fhir_aftercare.flows.sweep_since import Look, Probe, Seen, SweepSettings, look_from, mark_after
from fhir_aftercare.store.sweep_state import Watermark
from world import make_clinic

NOW = datetime(2026, 9, 16, 18, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SETTINGS = SweepSettings()
CALM = Look(NOW)


def encounter(changed: datetime | None, id_: str = "12", **more: Any) -> dict[str, Any]:
    meta = {"versionId": "3", **({"lastUpdated": changed.isoformat()} if changed else {})}
    return {"resourceType": "Encounter", "id": id_, "meta": meta, "status": "finished", **more}


def seen(*changes: datetime, witness: bool = True) -> Seen:
    found = Seen()
    for number, each in enumerate(changes):
        found.note(encounter(each, str(number)), witness=witness)
    return found


# --- from when ------------------------------------------------------------------------------------------------------
def test_the_first_sweep_looks_back_as_far_as_it_may_by_the_servers_clock() -> None:
    ahead = Probe(NOW + 9 * DAY)
    assert look_from(None, ahead, NOW, SETTINGS) == Look(NOW + 9 * DAY - SETTINGS.max_lookback)
    assert look_from(None, Probe(), NOW, SETTINGS) == Look(NOW - SETTINGS.max_lookback)


def test_a_further_sweep_looks_from_the_watermark_less_an_overlap() -> None:
    mark = Watermark(NOW - HOUR, NOW - 2 * HOUR, "Encounter/12")
    there = Probe(NOW, encounter(NOW - 2 * HOUR), asked=True)
    assert look_from(mark, there, NOW, SETTINGS) == Look(NOW - HOUR - SETTINGS.overlap)


def test_a_weekend_without_encounters_is_no_loss() -> None:
    mark = Watermark(NOW, NOW - 3 * DAY, "Encounter/12")
    there = Probe(NOW + HOUR, encounter(NOW - 3 * DAY), asked=True)
    assert look_from(mark, there, NOW, SETTINGS).again == ""


@pytest.mark.parametrize("witness", [None, encounter(NOW - 5 * DAY)])
def test_a_server_that_lost_what_it_had_is_looked_at_from_long_before(witness: dict[str, Any] | None) -> None:
    """It was restored: it is not there any more, or as it was before."""
    mark = Watermark(NOW - HOUR, NOW - 2 * DAY, "Encounter/12")
    look = look_from(mark, Probe(NOW, witness, asked=True), NOW, SETTINGS)
    assert look == Look(NOW - 2 * DAY - SETTINGS.max_lookback, f"lost-{int(mark.at.timestamp())}")


def test_a_witness_that_was_changed_since_is_no_loss() -> None:
    mark = Watermark(NOW - HOUR, NOW - 2 * DAY, "Encounter/12")
    assert look_from(mark, Probe(NOW, encounter(NOW), asked=True), NOW, SETTINGS).again == ""


def test_a_server_that_does_not_tell_of_the_witness_has_lost_nothing() -> None:
    mark = Watermark(NOW - HOUR, NOW - 2 * DAY, "Encounter/12")
    assert look_from(mark, Probe(NOW), NOW, SETTINGS) == Look(NOW - HOUR - SETTINGS.overlap)


def test_a_watermark_of_the_future_is_looked_back_from_the_present() -> None:
    mark = Watermark(NOW + 400 * DAY)
    look = look_from(mark, Probe(NOW), NOW, SETTINGS)
    assert look.since == NOW - SETTINGS.max_lookback
    assert look.again


def test_our_clock_that_was_set_back_moves_only_a_watermark_of_its_own() -> None:
    assert look_from(Watermark(NOW), Probe(), NOW - DAY, SETTINGS) == Look(NOW - DAY - SETTINGS.overlap)
    of_the_server = Watermark(NOW, NOW, "Encounter/12")
    assert look_from(of_the_server, Probe(), NOW - DAY, SETTINGS) == Look(NOW - SETTINGS.overlap)


@given(st.integers(-600, 600))
def test_clocks_that_differ_by_less_than_the_overlap_change_nothing(seconds: int) -> None:
    mark = Watermark(NOW)
    look = look_from(mark, Probe(NOW - timedelta(seconds=abs(seconds))), NOW + timedelta(seconds=seconds), SETTINGS)
    assert look == Look(NOW - SETTINGS.overlap)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)), st.booleans())  # noqa: DTZ001
def test_no_sweep_begins_after_the_watermark(at: datetime, told: bool) -> None:
    mark = Watermark(at)
    look = look_from(mark, Probe(NOW) if told else Probe(), NOW, SETTINGS)
    assert look.since < min(mark.at, NOW + SETTINGS.overlap)


# --- up to where ----------------------------------------------------------------------------------------------------
def test_the_watermark_is_the_servers_clock_as_the_first_page_of_any_search_told_it() -> None:
    mark = mark_after(None, CALM, seen(NOW - HOUR), [NOW, NOW + timedelta(seconds=9)], NOW + 400 * DAY)
    assert mark == Watermark(NOW, NOW - HOUR, "Encounter/0")


def test_without_the_servers_clock_it_is_the_newest_that_was_seen_whatever_our_clock_says() -> None:
    found = seen(NOW - HOUR, NOW - 2 * HOUR)
    assert mark_after(None, CALM, found, [None, NOW], NOW + 400 * DAY).at == NOW - HOUR


def test_without_any_time_of_the_servers_it_is_ours_less_the_overlap() -> None:
    found = Seen()
    found.note(encounter(None), witness=True)
    assert mark_after(None, CALM, found, [None], NOW - SETTINGS.overlap).at == NOW - SETTINGS.overlap


def test_where_nothing_was_seen_and_no_time_told_it_stays() -> None:
    before = Watermark(NOW, NOW - HOUR, "Encounter/12")
    assert mark_after(before, CALM, Seen(), [None], NOW + 400 * DAY) == before
    assert mark_after(None, CALM, Seen(), [None], NOW + 400 * DAY) == Watermark(NOW)


def test_it_never_goes_back_but_after_a_loss() -> None:
    before = Watermark(NOW, NOW - HOUR, "Encounter/12")
    assert mark_after(before, CALM, seen(NOW - 2 * HOUR), [NOW - HOUR], NOW) == before
    lost = Look(NOW - 9 * DAY, "lost-1")
    assert mark_after(before, lost, seen(NOW - 3 * DAY), [NOW - HOUR], NOW) == Watermark(
        NOW - HOUR, NOW - 3 * DAY, "Encounter/0"
    )
    assert mark_after(before, lost, Seen(), [NOW - HOUR], NOW) == Watermark(NOW - HOUR)


def test_the_newest_encounter_bears_witness_and_no_record_of_a_drug() -> None:
    found = seen(NOW - 2 * HOUR, NOW - HOUR, NOW - 3 * HOUR)
    found.note({**encounter(NOW), "resourceType": "Procedure"}, witness=False)
    assert mark_after(None, CALM, found, [NOW], NOW) == Watermark(NOW, NOW - HOUR, "Encounter/1")


def test_settings_that_cannot_work_are_all_named() -> None:
    with pytest.raises(ConfigFault) as refused:
        SweepSettings(overlap=timedelta(), max_lookback=-DAY, page=0)
    assert len(refused.value.faults) == 3


# --- what a signal says ---------------------------------------------------------------------------------------------
def test_a_finished_encounter_is_a_signal_under_the_id_of_its_version() -> None:
    found = encounter(NOW, subject={"reference": "Patient/7"}, period={"end": "2026-09-16T13:40:00-04:00"})
    signal = signal_of("harbor", found)
    assert signal is not None
    assert (signal.source, signal.encounter, signal.patient, signal.kind) == (
        "sweep", "Encounter/12", "Patient/7", "finished",
    )  # fmt: skip
    assert signal.occurred_at == datetime(2026, 9, 16, 17, 40, tzinfo=UTC)
    same, later = signal_of("harbor", found), signal_of("harbor", encounter(NOW + HOUR))
    assert same is not None
    assert later is not None
    assert same.work_id == signal.work_id != later.work_id


def test_a_version_that_comes_twice_after_a_restored_backup_is_another_event() -> None:
    assert event_of(encounter(NOW)) != event_of(encounter(NOW + HOUR))
    assert event_of(encounter(NOW)) != event_of(encounter(NOW), "lost-1")


def test_a_server_without_versions_is_known_by_what_it_says() -> None:
    plain = {name: value for name, value in encounter(None).items() if name != "meta"}
    assert event_of(plain) == event_of(dict(plain)) != event_of({**plain, "status": "cancelled"})


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
def test_an_encounter_that_was_taken_back_is_told_as_such(status: str) -> None:
    signal = signal_of("harbor", encounter(NOW, status=status))
    assert signal is not None
    assert signal.kind == "cancelled"


@pytest.mark.parametrize(("type_", "element"), [("MedicationAdministration", "context"), ("Procedure", "encounter")])
def test_a_record_of_the_drug_is_a_signal_of_its_encounter(type_: str, element: str) -> None:
    record = {"resourceType": type_, "id": "4", "subject": {"reference": "https://ehr.example.com/fhir/Patient/7"}}
    signal = signal_of("harbor", {**record, element: {"reference": "Encounter/12"}})
    assert signal is not None
    assert (signal.encounter, signal.patient, signal.kind) == ("Encounter/12", "Patient/7", "changed")
    alone = signal_of("harbor", {**record, element: {"reference": "EpisodeOfCare/1"}})
    assert alone is not None
    assert (alone.encounter, alone.patient) == (None, "Patient/7")
    assert signal_of("harbor", {"resourceType": type_, "id": "4"}) is None


def test_ketamine_is_sought_by_the_standard_codes_and_the_clinics() -> None:
    own = make_clinic("Organization/1", ketamine_codes=frozenset({("urn:lab", "K,1|a")}))
    assert drug_codes(CLINIC).split(",")[0] == "http://www.nlm.nih.gov/research/umls/rxnorm|6130"
    assert drug_codes(own) == f"{drug_codes(CLINIC)},urn:lab|K\\,1\\|a"
