"""Offsets, windows and open hours, on plain days and on those on which the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fhir_aftercare.care.timing import (
    Offset,
    OpenHours,
    Window,
    in_staff_hours,
    latest,
    local,
    require_aware,
    same_local_day,
    utc,
    wall_clock,
    zone_of,
)
from fhir_aftercare.errors import InvalidInput, MissingZone, OutOfRange, UnknownZone

if TYPE_CHECKING:
    from fhir_aftercare.care.timing import Unit

NEW_YORK = ZoneInfo("America/New_York")
PHOENIX = ZoneInfo("America/Phoenix")
BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
ZONES = [
    *("America/New_York", "America/Los_Angeles", "America/Phoenix", "America/St_Johns", "America/Sao_Paulo", "UTC"),
    *("Europe/Berlin", "Europe/London", "Europe/Dublin", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Auckland"),
    *("Pacific/Apia", "Pacific/Chatham", "Australia/Lord_Howe", "Africa/Casablanca", "Antarctica/Troll"),
]

zones = st.sampled_from(ZONES).map(ZoneInfo)
instants = st.integers(946_684_800, 2_145_916_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
minutes_of_day = st.times().map(lambda at: at.replace(second=0, microsecond=0))


def offset(value: int | str, unit: Unit, at: time | None = None) -> Offset:
    return Offset(Decimal(value), unit, at)


def driving_release(end: datetime, *zones: ZoneInfo) -> datetime:
    """The protocol's action "no-driving": two related actions, and the later of two zones if the patient is unsure."""
    parts = (offset(12, "h"), offset(1, "d", time(7)))
    return latest([Window(end, part.after(end, zone), None, None) for part in parts for zone in zones]).target


def exists(shown: datetime) -> bool:
    """Whether clocks in the zone ever show this."""
    back = shown.astimezone(UTC).astimezone(shown.tzinfo)
    return back.replace(tzinfo=None) == shown.replace(tzinfo=None)


# --- the vectors of the clinical reference (§4.5) and of the design (§10.6)


@pytest.mark.parametrize(
    ("zone", "end", "next_seven", "day_elapsed", "same_clock"),
    [
        (
            "America/New_York",
            "2026-03-07T15:45-05:00",
            "2026-03-08T07:00:00-04:00",
            "2026-03-08T16:45:00-04:00",
            "2026-03-08T15:45:00-04:00",
        ),
        (
            "America/New_York",
            "2026-10-31T15:45-04:00",
            "2026-11-01T07:00:00-05:00",
            "2026-11-01T14:45:00-05:00",
            "2026-11-01T15:45:00-05:00",
        ),
        (
            "America/Phoenix",
            "2026-03-07T15:45-07:00",
            "2026-03-08T07:00:00-07:00",
            "2026-03-08T15:45:00-07:00",
            "2026-03-08T15:45:00-07:00",
        ),
        (
            "America/Los_Angeles",
            "2026-11-23T17:10-08:00",
            "2026-11-24T07:00:00-08:00",
            "2026-11-24T17:10:00-08:00",
            "2026-11-24T17:10:00-08:00",
        ),
        (
            "America/New_York",
            "2026-03-07T02:30-05:00",
            "2026-03-08T07:00:00-04:00",
            "2026-03-08T03:30:00-04:00",
            "2026-03-08T03:30:00-04:00",
        ),
    ],
)
def test_the_clinical_vectors_hold(zone: str, end: str, next_seven: str, day_elapsed: str, same_clock: str) -> None:
    there, moment = ZoneInfo(zone), datetime.fromisoformat(end)
    assert offset(1, "d", time(7)).after(moment, there).isoformat() == next_seven
    assert offset(24, "h").after(moment, there).isoformat() == day_elapsed
    assert offset(1, "d").after(moment, there).isoformat() == same_clock


@pytest.mark.parametrize(
    ("end", "hours_to_seven"),
    [
        ("2026-03-07T15:45-05:00", 14.25),
        ("2026-10-31T15:45-04:00", 16.25),
        ("2026-03-07T02:30-05:00", 27.5),
    ],
)
def test_the_time_until_seven_is_what_really_passes(end: str, hours_to_seven: float) -> None:
    moment = datetime.fromisoformat(end)
    assert utc(offset(1, "d", time(7)).after(moment, NEW_YORK)) - moment == timedelta(hours=hours_to_seven)


@pytest.mark.parametrize(
    ("end", "release"),
    [
        ("2026-03-07T18:30-05:00", "2026-03-08T07:30:00-04:00"),
        ("2026-03-07T21:00-05:00", "2026-03-08T10:00:00-04:00"),
        ("2026-10-31T20:30-04:00", "2026-11-01T07:30:00-05:00"),
        ("2026-03-07T15:45-05:00", "2026-03-08T07:00:00-04:00"),
        ("2026-09-16T13:40-04:00", "2026-09-17T07:00:00-04:00"),
        ("2026-09-16T01:10-04:00", "2026-09-17T07:00:00-04:00"),
        ("2026-09-16T23:50-04:00", "2026-09-17T11:50:00-04:00"),
    ],
)
def test_the_release_for_driving_is_the_later_of_seven_and_twelve_hours(end: str, release: str) -> None:
    assert driving_release(datetime.fromisoformat(end), NEW_YORK).isoformat() == release


def test_a_patient_unsure_where_to_sleep_gets_the_later_release_of_both_zones() -> None:
    end = datetime(2026, 9, 16, 14, 0, tzinfo=NEW_YORK)
    los_angeles = ZoneInfo("America/Los_Angeles")
    assert driving_release(end, NEW_YORK, los_angeles) == datetime(2026, 9, 17, 7, 0, tzinfo=los_angeles)


@given(instants, zones)
def test_nobody_drives_within_twelve_hours_or_before_seven_of_the_next_day(end: datetime, zone: ZoneInfo) -> None:
    release = driving_release(end, zone)
    tomorrow = local(end, zone).date() + timedelta(days=1)
    assert utc(release) - end >= timedelta(hours=12)
    assert local(release, zone).replace(tzinfo=None) >= datetime.combine(tomorrow, time(7))


# --- offsets


@given(instants, zones, st.integers(-100_000, 100_000), st.sampled_from(["s", "min", "h"]))
def test_elapsed_offsets_are_exact(anchor: datetime, zone: ZoneInfo, value: int, unit: Unit) -> None:
    seconds = {"s": 1, "min": 60, "h": 3600}[unit]
    found = offset(value, unit).after(anchor, zone)
    assert utc(found) - anchor == timedelta(seconds=value * seconds)
    assert found.tzinfo is zone


@given(instants, zones, st.integers(-400, 400), st.one_of(st.none(), minutes_of_day))
def test_calendar_offsets_keep_the_wall_clock_unless_it_does_not_exist(
    anchor: datetime, zone: ZoneInfo, days: int, at: time | None
) -> None:
    start = local(anchor, zone)
    assume(days or at)
    shown = datetime.combine(start.date() + timedelta(days=days), at or start.time(), tzinfo=zone)
    found = offset(days, "d", at).after(anchor, zone)
    if exists(shown):
        assert found.replace(tzinfo=None) == shown.replace(tzinfo=None, fold=0)
        assert not found.fold, "the first of two"
    else:
        assert found.replace(tzinfo=None) > shown.replace(tzinfo=None), "forward"
        assert exists(found)


@given(instants, zones, st.integers(-300, 300), st.integers(1, 50), st.sampled_from(["d", "wk", "mo", "a", "h"]))
def test_a_longer_offset_is_never_earlier(anchor: datetime, zone: ZoneInfo, value: int, more: int, unit: Unit) -> None:
    shorter, longer = offset(value, unit).after(anchor, zone), offset(value + more, unit).after(anchor, zone)
    # Equal only where the clocks left out a day.
    assert utc(shorter) <= utc(longer)


@given(instants, instants, zones, st.integers(-100, 100))
def test_what_ends_on_a_later_day_is_due_later(one: datetime, other: datetime, zone: ZoneInfo, days: int) -> None:
    assume(local(one, zone).date() < local(other, zone).date())
    seven = offset(days, "d", time(7))
    assert utc(seven.after(one, zone)) <= utc(seven.after(other, zone))


def test_no_days_at_all_is_the_anchor_even_in_the_hour_that_comes_twice() -> None:
    second = datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK, fold=1)
    assert utc(offset(0, "d").after(second, NEW_YORK)) == utc(second)


def test_weeks_and_years_are_days_and_months_of_the_calendar() -> None:
    anchor = datetime(2028, 2, 29, 9, 0, tzinfo=NEW_YORK)
    assert offset(2, "wk").after(anchor, NEW_YORK) == offset(14, "d").after(anchor, NEW_YORK)
    assert offset(1, "a").after(anchor, NEW_YORK) == datetime(2029, 2, 28, 9, 0, tzinfo=NEW_YORK)


def test_a_month_without_that_day_gives_its_last() -> None:
    anchor = datetime(2026, 1, 31, 9, 0, tzinfo=BERLIN)
    assert offset(1, "mo").after(anchor, BERLIN).date() == date(2026, 2, 28)
    assert offset(2, "mo").after(anchor, BERLIN).date() == date(2026, 3, 31)
    assert offset(-2, "mo").after(anchor, BERLIN).date() == date(2025, 11, 30)


def test_half_an_hour_is_thirty_minutes() -> None:
    anchor = datetime(2026, 3, 8, 1, 45, tzinfo=NEW_YORK)
    assert offset("0.5", "h").after(anchor, NEW_YORK).isoformat() == "2026-03-08T03:15:00-04:00"


@pytest.mark.parametrize(
    ("value", "unit", "at", "where"),
    [
        ("1.5", "d", None, "value"),
        ("0.5", "mo", None, "value"),
        ("NaN", "h", None, "value"),
        ("Infinity", "d", None, "value"),
        ("12", "h", time(7), "at"),
        ("1", "fortnight", None, "unit"),
    ],
)
def test_an_offset_that_means_nothing_is_refused(value: str, unit: Unit, at: time | None, where: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        offset(value, unit, at)
    assert refused.value.where == (where,)


@pytest.mark.parametrize("unit", ["s", "h", "d", "mo", "a"])
def test_an_offset_beyond_the_calendar_is_out_of_range(unit: Unit) -> None:
    for value in ("1e15", "-1e15"):
        with pytest.raises(OutOfRange):
            offset(value, unit).after(datetime(2026, 1, 1, tzinfo=UTC), NEW_YORK)


def test_recurrences_add_days_to_weeks_and_months_to_years_and_keep_the_clock() -> None:
    assert offset(7, "d", time(9)).plus(2, "wk") == offset(21, "d", time(9))
    assert offset(1, "wk").plus(3, "d") == offset(10, "d")
    assert offset(1, "mo").plus(1, "a") == offset(13, "mo")


@pytest.mark.parametrize(("unit", "added"), [("d", "mo"), ("mo", "wk"), ("h", "d"), ("h", "h"), ("d", "h")])
def test_recurrences_of_other_units_are_refused(unit: Unit, added: Unit) -> None:
    with pytest.raises(InvalidInput):
        offset(1, unit).plus(1, added)


# --- zones and wall clocks


@pytest.mark.parametrize(
    ("zone", "day", "at", "shown"),
    [
        (NEW_YORK, date(2026, 3, 8), time(2, 30), "2026-03-08T03:30:00-04:00"),
        (NEW_YORK, date(2026, 11, 1), time(1, 30), "2026-11-01T01:30:00-04:00"),
        (BERLIN, date(2026, 3, 29), time(2, 15), "2026-03-29T03:15:00+02:00"),
        (BERLIN, date(2026, 10, 25), time(2, 15), "2026-10-25T02:15:00+02:00"),
        # Half an hour only: 02:00 becomes 02:30.
        (LORD_HOWE, date(2026, 10, 4), time(2, 10), "2026-10-04T02:40:00+11:00"),
        (LORD_HOWE, date(2026, 4, 5), time(1, 45), "2026-04-05T01:45:00+11:00"),
        (PHOENIX, date(2026, 3, 8), time(2, 30), "2026-03-08T02:30:00-07:00"),
        # Samoa left out a whole day.
        (ZoneInfo("Pacific/Apia"), date(2011, 12, 30), time(7), "2011-12-31T07:00:00+14:00"),
    ],
)
def test_a_clock_time_that_is_missing_moves_forward_and_a_double_one_is_the_first(
    zone: ZoneInfo, day: date, at: time, shown: str
) -> None:
    assert wall_clock(day, at, zone).isoformat() == shown


def test_the_second_of_a_double_time_cannot_be_asked_for() -> None:
    assert wall_clock(date(2026, 11, 1), time(1, 30, fold=1), NEW_YORK).isoformat() == "2026-11-01T01:30:00-04:00"


@pytest.mark.parametrize("name", ["America/New_York", "UTC", "Australia/Lord_Howe"])
def test_iana_names_are_zones(name: str) -> None:
    assert zone_of(name).key == name


@pytest.mark.parametrize(
    "name",
    ["", "America", "Amerika/New_York", "../etc/passwd", "/etc/passwd", "localtime", "EDT+4", "a\0b", "right/UTC"],
)
def test_other_names_are_not(name: str) -> None:
    with pytest.raises(UnknownZone):
        zone_of(name)


def test_a_time_without_an_offset_is_never_guessed() -> None:
    naive = datetime(2026, 9, 16, 13, 40)  # noqa: DTZ001
    with pytest.raises(MissingZone) as refused:
        require_aware(naive, "infusion.end")
    assert refused.value.where == ("infusion.end",)
    for use in (lambda: local(naive, NEW_YORK), lambda: utc(naive), lambda: offset(1, "d").after(naive, NEW_YORK)):
        with pytest.raises(MissingZone):
            use()


def test_one_instant_may_be_another_day_elsewhere() -> None:
    late = datetime(2026, 9, 16, 23, 30, tzinfo=NEW_YORK)
    assert same_local_day(late, late + timedelta(minutes=29), NEW_YORK)
    assert not same_local_day(late, late + timedelta(minutes=31), NEW_YORK)
    assert same_local_day(late, late + timedelta(minutes=31), PHOENIX)


# --- windows


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A time of September 2026 in New York; the 14th is a Monday, the 18th a Friday."""
    return datetime(2026, 9, day, hour, minute, tzinfo=NEW_YORK)


def test_the_latest_window_is_the_latest_part_by_part() -> None:
    one = Window(at(16, 8), at(16, 10), at(16, 20), None)
    other = Window(None, at(16, 12), at(16, 18), at(17, 9))
    assert latest([one, other]) == Window(at(16, 8), at(16, 12), at(16, 20), at(17, 9))


def test_what_is_due_is_never_before_the_latest_target() -> None:
    one = Window(at(16, 8), at(16, 10), at(16, 12), at(16, 13))
    assert latest([one, Window(None, at(17, 7), None, None)]) == Window(at(16, 8), at(17, 7), at(17, 7), at(17, 7))


def test_the_latest_counts_instants_not_wall_clocks() -> None:
    first = datetime(2026, 11, 1, 1, 40, tzinfo=NEW_YORK)
    second = datetime(2026, 11, 1, 1, 10, tzinfo=NEW_YORK, fold=1)
    found = latest([Window(None, first, None, None), Window(None, second, None, None)]).target
    assert utc(found) == utc(second)


def test_the_latest_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput):
        latest([])


# --- open hours

WEEKDAYS = {day: ((time(9), time(18)),) for day in range(5)}
HOURS = OpenHours(WEEKDAYS, frozenset(), NEW_YORK)


def test_open_time_is_counted_over_days_and_clipped() -> None:
    assert list(HOURS.spans(at(17, 17), at(18, 10))) == [(at(17, 17), at(17, 18)), (at(18, 9), at(18, 10))]
    assert HOURS.open_time(at(17, 17), at(18, 10)) == timedelta(hours=2)
    assert HOURS.open_time(at(18, 18), at(21, 9)) == timedelta()
    assert HOURS.open_time(at(18, 12), at(18, 11)) == timedelta()


def test_a_clinic_is_open_from_the_opening_to_before_the_closing() -> None:
    assert HOURS.is_open(at(18, 9))
    assert not HOURS.is_open(at(18, 18))
    assert not HOURS.is_open(at(19, 12))


def test_the_next_open_span_is_what_is_left_of_this_one_or_the_next() -> None:
    assert HOURS.next_open(at(18, 17)) == (at(18, 17), at(18, 18))
    assert HOURS.next_open(at(18, 18)) == (at(21, 9), at(21, 18))
    assert OpenHours({}, frozenset(), NEW_YORK).next_open(at(18, 18)) is None


def test_a_holiday_has_no_open_hours() -> None:
    hours = OpenHours(WEEKDAYS, frozenset({date(2026, 9, 21)}), NEW_YORK)
    assert hours.next_open(at(18, 18)) == (at(22, 9), at(22, 18))


def test_open_hours_are_the_clinics_whatever_zone_is_asked_in() -> None:
    assert HOURS.is_open(datetime(2026, 9, 18, 13, 0, tzinfo=UTC))
    assert not HOURS.is_open(datetime(2026, 9, 18, 12, 59, tzinfo=UTC))


def test_a_night_shift_of_a_dst_day_is_as_long_as_it_is() -> None:
    night = OpenHours({6: ((time(0), time(6)),)}, frozenset(), NEW_YORK)
    for day, hours in ((date(2026, 3, 8), 5), (date(2026, 11, 1), 7), (date(2026, 11, 8), 6)):
        start = wall_clock(day, time(0), NEW_YORK)
        assert night.open_time(start, wall_clock(day, time(12), NEW_YORK)) == timedelta(hours=hours)


def test_a_clinic_that_never_closes_is_open_all_the_time() -> None:
    always = OpenHours({day: ((time(0), time(0)),) for day in range(7)}, frozenset(), NEW_YORK)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    assert always.open_time(start, start + timedelta(days=300)) == timedelta(days=300)
    assert always.is_open(at(18, 23, 59))


@pytest.mark.parametrize(
    "weekly",
    [
        {7: ((time(9), time(18)),)},
        {0: ((time(18), time(9)),)},
        {0: ((time(9), time(9)),)},
        {0: ((time(9), time(12)), (time(11), time(18)))},
        {0: ((time(9), time(0)), (time(20), time(22)))},
    ],
)
def test_open_hours_that_cannot_be_are_refused(weekly: dict[int, tuple[tuple[time, time], ...]]) -> None:
    with pytest.raises(InvalidInput) as refused:
        OpenHours(weekly, frozenset(), NEW_YORK)
    assert refused.value.where == tuple(str(day) for day in weekly)


# --- staff's windows: the follow-up call, 24 h after the end, from 18 to 36 h, given up after 48 h


def follow_up_call(end: datetime, hours: OpenHours = HOURS) -> Window:
    def hours_after(value: int) -> datetime:
        return offset(value, "h").after(end, NEW_YORK)

    window = Window(hours_after(18), hours_after(24), hours_after(36), hours_after(48))
    return in_staff_hours(window, hours)


def test_a_call_on_a_plain_day_is_narrowed_to_open_hours() -> None:
    assert follow_up_call(at(15, 13, 40)) == Window(at(16, 9), at(16, 13, 40), at(16, 18), at(17, 13, 40))


def test_a_target_in_the_evening_is_moved_back_into_the_window() -> None:
    assert follow_up_call(at(14, 20)) == Window(at(15, 14), at(15, 18), at(15, 18), at(16, 20))


def test_a_target_at_night_waits_for_the_opening() -> None:
    window = Window(at(16, 12), at(16, 22), at(17, 12), at(17, 20))
    assert in_staff_hours(window, HOURS) == Window(at(16, 12), at(17, 9), at(17, 12), at(17, 20))


@pytest.mark.parametrize("hour", [12, 13, 14, 15, 16, 17, 18])
def test_after_an_infusion_on_friday_the_call_is_on_monday(hour: int) -> None:
    assert follow_up_call(at(18, hour)) == Window(at(21, 9), at(21, 9), at(21, 18), at(22, 6))


def test_a_holiday_on_monday_moves_the_call_to_tuesday() -> None:
    hours = OpenHours(WEEKDAYS, frozenset({date(2026, 9, 21)}), NEW_YORK)
    assert follow_up_call(at(18, 14), hours) == Window(at(22, 9), at(22, 9), at(22, 18), at(23, 6))


def test_less_than_one_open_hour_is_too_little_and_reaches_into_the_next_span() -> None:
    window = Window(at(18, 17, 30), at(18, 18), at(19, 12), at(19, 12))
    assert in_staff_hours(window, HOURS) == Window(at(18, 17, 30), at(21, 9), at(21, 9, 30), at(21, 9, 30))


def test_an_infusion_before_the_clocks_change_on_sunday_is_called_on_monday_at_nine_of_the_new_time() -> None:
    sunday = {**WEEKDAYS, 6: ((time(1), time(4)),)}
    hours = OpenHours(sunday, frozenset(), NEW_YORK)
    moved = follow_up_call(datetime(2026, 3, 6, 14, 0, tzinfo=NEW_YORK))
    assert moved.opens == datetime(2026, 3, 9, 9, 0, tzinfo=NEW_YORK)
    # 01:00 to 04:00 are two hours in that night.
    night = follow_up_call(datetime(2026, 3, 7, 2, 0, tzinfo=NEW_YORK), hours)
    assert (night.opens, night.due) == tuple(
        datetime.fromisoformat(each) for each in ("2026-03-08T01:00-05:00", "2026-03-08T04:00-04:00")
    )


def test_a_clinic_that_is_never_open_keeps_the_window() -> None:
    window = Window(at(16, 8), at(16, 10), at(16, 12), at(16, 13))
    assert in_staff_hours(window, OpenHours({}, frozenset(), NEW_YORK)) == window


def test_a_window_of_one_instant_becomes_workable() -> None:
    window = Window(None, at(19, 12), None, None)
    assert in_staff_hours(window, HOURS) == Window(at(21, 9), at(21, 9), at(21, 18), None)


spans_of_a_day = st.lists(st.integers(0, 23), unique=True, min_size=0, max_size=4).map(
    lambda hours: tuple(
        (time(opens), time(closes)) for opens, closes in zip(sorted(hours)[::2], sorted(hours)[1::2], strict=False)
    )
)
open_hours = st.builds(
    OpenHours,
    st.dictionaries(st.integers(0, 6), spans_of_a_day),
    st.frozensets(st.dates(date(2026, 1, 1), date(2026, 12, 31)), max_size=5),
    zones,
)


@given(
    open_hours,
    st.integers(0, 364 * 24 * 60).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)),
    st.lists(st.integers(0, 100), min_size=3, max_size=3),
)
def test_no_staff_window_can_fail_before_an_open_hour_has_passed(
    hours: OpenHours, start: datetime, lengths: list[int]
) -> None:
    target, due, expires = (start + timedelta(hours=sum(lengths[: n + 1])) for n in range(3))
    window = Window(start, target, due, expires)
    found = in_staff_hours(window, hours)
    if hours.next_open(start) is None:
        assert found == window
        return
    assert found.opens is not None
    assert found.due is not None
    assert found.expires is not None
    opens, aim, end, gone = (utc(each) for each in (found.opens, found.target, found.due, found.expires))
    assert start <= opens <= aim <= end <= gone
    assert expires <= gone
    assert hours.is_open(opens)
    assert hours.is_open(aim) or aim == end
    assert hours.open_time(opens, end) >= timedelta(hours=1)
    if hours.open_time(start, due) >= timedelta(hours=1):
        assert end <= due
        assert hours.open_time(opens, end) == hours.open_time(start, due), "nothing open is lost"


@given(open_hours, instants, st.integers(0, 2000))
def test_open_spans_are_in_order_apart_and_inside(hours: OpenHours, start: datetime, length: int) -> None:
    end = start + timedelta(hours=length)
    edges = [start, *(utc(edge) for span in hours.spans(start, end) for edge in span), end]
    assert edges == sorted(edges)
    for opens, closes in hours.spans(start, end):
        assert utc(opens) < utc(closes)
        assert hours.is_open(opens)
