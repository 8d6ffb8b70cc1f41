"""What cannot be a real record is refused with every fault at once; what stands out is flagged."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.flags import flags
from fhir_aftercare.care.infusion import (
    DECIMALS,
    LIMITS,
    Check,
    Dissociation,
    InfusionRecord,
    InfusionStatus,
    Measure,
)
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.record_check import check_record
from fhir_aftercare.errors import InvalidInput, MissingZone, OutOfRange

NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 9, 16, 13, 0, tzinfo=NEW_YORK)
END = START + timedelta(minutes=40)
NOW = END + timedelta(hours=2)
POLICY = Policy()


def check(minutes: int = 60, **values: Any) -> Check:
    return Check(at=START + timedelta(minutes=minutes), **values)


def record(*checks: Check, **values: Any) -> InfusionRecord:
    given_: dict[str, Any] = {"start": START, "end": END, "status": InfusionStatus.COMPLETED, **values}
    return InfusionRecord(checks=checks, **given_)


def refused(sheet: InfusionRecord, now: datetime = NOW) -> InvalidInput:
    with pytest.raises(InvalidInput) as found:
        check_record(sheet, now)
    return found.value


def levels(found: Check, baseline: Check | None = None, age: int | None = None, **more: Any) -> dict[str, str]:
    return {flag.measure.value: flag.level for flag in flags(found, baseline, POLICY, age, **more)}


FULL = check(
    40,
    id="row-1",
    systolic=128,
    diastolic=80,
    mean_pressure=96,
    heart_rate=72,
    respiratory_rate=14,
    spo2=98,
    oxygen_flow=Decimal(2),
    oxygen_concentration=Decimal(28),
    weight=Decimal("70.5"),
    temperature=Decimal("36.8"),
    dissociation=Dissociation.MILD,
    cadss_total=6,
    cadss_6=2,
    moaa_s=5,
    nausea=1,
    vomiting=0,
    oriented=True,
    walks_unaided=True,
    no_acute_suicidal_intent=True,
    escort_present=True,
    written_instructions=True,
    emergency_contact=True,
    recorded_by="Practitioner/1",
)


def test_a_full_and_plausible_record_is_accepted() -> None:
    check_record(record(FULL, check(70, spo2=97), dose_mg=Decimal(35), recorded_by="Practitioner/1"), NOW)


def test_an_infusion_still_running_needs_no_end() -> None:
    check_record(record(status=InfusionStatus.IN_PROGRESS, end=None), NOW)


@pytest.mark.parametrize("name", LIMITS)
def test_each_value_is_accepted_at_its_limits_and_refused_beyond_with_its_field_named(name: str) -> None:
    step = Decimal("0.1") if name in DECIMALS else 1
    limit = LIMITS[name]
    number = Decimal if name in DECIMALS else int
    pair = {"systolic": {"diastolic": 20}, "diastolic": {"systolic": 300}}.get(name, {})
    for value in (limit.low, limit.high):
        check_record(record(check(**{name: number(value)}, **pair)), NOW)
    for value in (limit.low - step, limit.high + step):
        fault = refused(record(check(**{name: number(value)}, **pair)))
        assert isinstance(fault, OutOfRange)
        assert fault.where == (f"checks[0].{name}",)


@pytest.mark.parametrize("name", sorted(DECIMALS))
@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused(name: str, value: str) -> None:
    assert refused(record(check(**{name: Decimal(value)}))).where == (f"checks[0].{name}",)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal(0), Decimal(-5), Decimal("1000.1")])
def test_a_dose_that_cannot_be_is_refused(value: Decimal) -> None:
    fault = refused(record(dose_mg=value))
    assert isinstance(fault, OutOfRange)
    assert fault.where == ("dose_mg",)


@pytest.mark.parametrize("value", [98.5, True])
def test_a_whole_number_is_asked_for_where_only_that_is_measured(value: Any) -> None:
    assert refused(record(check(spo2=value))).where == ("checks[0].spo2",)


@pytest.mark.parametrize(("systolic", "diastolic"), [(80, 80), (80, 120)])
def test_the_systolic_value_is_above_the_diastolic(systolic: int, diastolic: int) -> None:
    assert refused(record(check(systolic=systolic, diastolic=diastolic))).where == ("checks[0].systolic",)


def test_half_a_blood_pressure_is_refused_and_names_the_missing_half() -> None:
    assert refused(record(check(systolic=120))).where == ("checks[0].diastolic",)
    assert refused(record(check(diastolic=80))).where == ("checks[0].systolic",)


def test_all_faults_come_at_once_and_name_every_field() -> None:
    sheet = record(
        check(40, spo2=98),
        check(41, spo2=12, heart_rate=400),
        check(42),
        check(43, systolic=120),
        check(44, spo2=97, recorded_by="Nurse Okafor"),
        end=START - timedelta(minutes=1),
        dose_mg=Decimal(0),
        recorded_by="Device/1",
        infusion=" ",
    )
    fault = refused(sheet)
    assert set(fault.where) == {
        "end",
        "dose_mg",
        "recorded_by",
        "infusion",
        "checks[1].spo2",
        "checks[1].heart_rate",
        "checks[2]",
        "checks[3].diastolic",
        "checks[4].recorded_by",
    }


def test_a_refusal_repeats_no_value_and_no_name() -> None:
    fault = refused(record(check(spo2=13, recorded_by="Nurse Okafor")))
    assert "13" not in fault.message
    assert "Okafor" not in fault.message


def test_times_without_an_offset_are_refused_as_such() -> None:
    naive = START.replace(tzinfo=None)
    fault = refused(record(replace(FULL, at=naive), replace(FULL, at=naive, id=None), start=naive, end=naive))
    assert isinstance(fault, MissingZone)
    assert fault.where == ("start", "end", "checks[0].at", "checks[1].at")


def test_a_mix_of_faults_is_neither_a_range_nor_a_zone_alone() -> None:
    fault = refused(record(check(spo2=12), check(41)))
    assert type(fault) is InvalidInput


def test_the_present_time_needs_an_offset() -> None:
    with pytest.raises(MissingZone):
        check_record(record(FULL), NOW.replace(tzinfo=None))


def test_a_completed_infusion_needs_its_end() -> None:
    assert refused(record(end=None)).where == ("end",)


def test_an_infusion_in_progress_has_no_end_yet() -> None:
    assert refused(record(status=InfusionStatus.IN_PROGRESS)).where == ("end",)


@pytest.mark.parametrize("status", [InfusionStatus.STOPPED, InfusionStatus.NOT_DONE])
def test_a_stopped_infusion_may_be_recorded_before_its_end_is_known(status: InfusionStatus) -> None:
    check_record(record(end=None, status=status), NOW)


def test_what_lies_in_the_future_is_refused_but_clocks_may_differ_a_little() -> None:
    soon, later = NOW + timedelta(minutes=5), NOW + timedelta(minutes=5, seconds=1)
    check_record(record(replace(FULL, at=soon), end=soon), NOW)
    assert refused(record(replace(FULL, at=later), start=later, end=later)).where == ("start", "end", "checks[0].at")


def test_a_check_lies_near_its_infusion() -> None:
    now = END + timedelta(days=10)
    check_record(record(check(-24 * 60, spo2=98), replace(FULL, at=END + timedelta(hours=72))), now)
    for at in (START - timedelta(hours=24, seconds=1), END + timedelta(hours=72, seconds=1)):
        assert refused(record(replace(FULL, at=at)), now).where == ("checks[0].at",)


def test_two_rows_of_one_id_or_one_instant_without_id_are_refused() -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert refused(record(check(1, id="a", spo2=98), check(2, id="a", spo2=97))).where == ("checks[1].id",)
    assert refused(record(Check(at=START, spo2=98), Check(at=elsewhere, spo2=97))).where == ("checks[1].at",)


def test_two_rows_of_one_instant_are_kept_apart_by_their_ids() -> None:
    check_record(record(check(1, id="a", spo2=98), check(1, id="b", heart_rate=70)), NOW)


def test_an_end_within_the_repeated_hour_of_autumn_is_after_a_start_before_it() -> None:
    start = datetime(2026, 11, 1, 1, 40, tzinfo=NEW_YORK)
    end = datetime(2026, 11, 1, 1, 10, fold=1, tzinfo=NEW_YORK)
    check_record(record(start=start, end=end), datetime(2026, 11, 2, tzinfo=UTC))


def test_a_row_is_known_by_its_id_or_by_its_instant_in_any_zone() -> None:
    assert check(id="r1", spo2=98).row == "r1"
    assert Check(at=START).row == Check(at=START.astimezone(UTC)).row


@given(st.lists(st.sampled_from([each.name for each in fields(Check) if each.name not in {"at", "id", "recorded_by"}])))
def test_a_check_is_empty_only_if_nothing_at_all_was_observed(names: list[str]) -> None:
    some = Check(at=START, **{name: getattr(FULL, name) for name in names})
    assert some.is_empty is (not names)


def test_every_measure_is_a_field_of_a_check() -> None:
    names = {each.name for each in fields(Check)} | {"blood_pressure"}
    assert {each.value for each in Measure} <= names
    assert names - {each.value for each in Measure} == {"at", "id", "recorded_by", "systolic", "diastolic"}


def test_dissociation_has_four_levels_in_order() -> None:
    assert [each.level for each in Dissociation] == [0, 1, 2, 3]


# --- flags -----------------------------------------------------------------------------------------------------------
BASELINE = check(-10, systolic=120, diastolic=75)


@pytest.mark.parametrize(
    ("systolic", "diastolic", "age", "level"),
    [
        (140, 90, 40, None),
        (141, 90, 40, "watch"),
        (140, 91, 40, "watch"),
        (141, 90, None, "watch"),
        (150, 90, 65, None),
        (151, 90, 65, "watch"),
        (150, 90, 64, "watch"),
        (160, 100, 40, "watch"),
        (161, 90, 70, "urgent"),
        (130, 101, 40, "urgent"),
    ],
)
def test_blood_pressure_before_the_infusion(systolic: int, diastolic: int, age: int | None, level: str | None) -> None:
    found = levels(check(-10, systolic=systolic, diastolic=diastolic), None, age)
    assert found.get("blood_pressure") == level


@pytest.mark.parametrize(
    ("systolic", "diastolic", "level"),
    [
        (159, 99, None),
        (160, 80, "watch"),
        (150, 100, "watch"),
        (180, 110, "watch"),
        (181, 90, "urgent"),
        (150, 111, "urgent"),
    ],
)
def test_blood_pressure_after_the_start(systolic: int, diastolic: int, level: str | None) -> None:
    own = check(-10, systolic=140, diastolic=85)
    assert levels(check(40, systolic=systolic, diastolic=diastolic), own).get("blood_pressure") == level


@pytest.mark.parametrize(("rise", "level"), [((39, 24), None), ((40, 0), "watch"), ((0, 25), "watch")])
def test_a_rise_of_the_labels_size_is_flagged_below_the_limit(rise: tuple[int, int], level: str | None) -> None:
    found = check(40, systolic=115 + rise[0], diastolic=70 + rise[1])
    assert levels(found, check(-10, systolic=115, diastolic=70)).get("blood_pressure") == level


def test_the_start_tells_before_from_after_where_there_is_no_baseline() -> None:
    found = check(40, systolic=145, diastolic=80)
    assert levels(found) == {"blood_pressure": "watch"}
    assert levels(found, start=START) == {}
    assert levels(check(0, systolic=145, diastolic=80), start=START) == {"blood_pressure": "watch"}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"spo2": 94}, {}),
        ({"spo2": 93}, {"spo2": "watch"}),
        ({"spo2": 90}, {"spo2": "watch"}),
        ({"spo2": 89}, {"spo2": "urgent"}),
        ({"heart_rate": 50}, {}),
        ({"heart_rate": 49}, {"heart_rate": "watch"}),
        ({"heart_rate": 120}, {}),
        ({"heart_rate": 121}, {"heart_rate": "watch"}),
        ({"respiratory_rate": 10}, {}),
        ({"respiratory_rate": 9}, {"respiratory_rate": "watch"}),
        ({"respiratory_rate": 24}, {}),
        ({"respiratory_rate": 25}, {"respiratory_rate": "watch"}),
        ({"moaa_s": 4}, {}),
        ({"moaa_s": 3}, {"moaa_s": "urgent"}),
        ({"nausea": 6}, {}),
        ({"nausea": 7}, {"nausea": "watch"}),
        ({"vomiting": 1}, {}),
        ({"vomiting": 2}, {"vomiting": "watch"}),
        ({"no_acute_suicidal_intent": False}, {"no_acute_suicidal_intent": "urgent"}),
        ({"no_acute_suicidal_intent": True}, {}),
    ],
)
def test_other_values_are_flagged_beyond_their_limits(values: dict[str, Any], found: dict[str, str]) -> None:
    assert levels(check(40, **values), BASELINE) == found


def test_a_clinics_own_thresholds_are_used_and_named() -> None:
    found = flags(check(40, spo2=93), BASELINE, replace(POLICY, spo2_watch=92), None)
    assert found == []
    (flag,) = flags(check(40, spo2=95), BASELINE, replace(POLICY, spo2_watch=96), None)
    assert "96" in flag.rule
    assert flag.source.startswith("clinical §")
