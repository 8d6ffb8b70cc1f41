"""When work is over: staff have had one open hour for it, and a form was asked three days ago."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.expiry import call_from, is_over, is_over_for_staff
from fhir_aftercare.care.timing import OpenHours, utc

NEW_YORK = ZoneInfo("America/New_York")
HOURS = OpenHours({day: ((time(9), time(18)),) for day in range(5)}, frozenset(), NEW_YORK)
NEVER = OpenHours({}, frozenset(), NEW_YORK)
FRIDAY = datetime(2026, 9, 18, 17, 40, tzinfo=NEW_YORK)
SATURDAY = datetime(2026, 9, 19, 7, 40, tzinfo=NEW_YORK)
MONDAY = datetime(2026, 9, 21, 9, 0, tzinfo=NEW_YORK)


def test_a_window_is_over_when_it_expires_and_one_without_expiry_never() -> None:
    assert is_over(FRIDAY, FRIDAY)
    assert not is_over(FRIDAY, FRIDAY - timedelta(seconds=1))
    assert not is_over(None, FRIDAY)


def test_9_18_nothing_of_staffs_is_over_before_one_open_hour_has_passed() -> None:
    assert not is_over_for_staff(SATURDAY, FRIDAY, SATURDAY, HOURS)  # twenty minutes on Friday
    assert not is_over_for_staff(SATURDAY, FRIDAY, MONDAY + timedelta(minutes=39), HOURS)
    assert is_over_for_staff(SATURDAY, FRIDAY, MONDAY + timedelta(minutes=40), HOURS)
    assert not is_over_for_staff(None, FRIDAY, MONDAY, HOURS)


def test_where_the_clinic_never_opens_or_nobody_knows_since_when_the_expiry_counts() -> None:
    assert is_over_for_staff(SATURDAY, FRIDAY, SATURDAY, NEVER)
    assert is_over_for_staff(SATURDAY, None, SATURDAY, HOURS)


def test_2_5_staff_call_three_days_after_a_form_was_asked() -> None:
    opens = datetime(2026, 9, 23, 9, 0, tzinfo=NEW_YORK)
    expires = opens + timedelta(days=5)
    assert call_from(opens, opens - timedelta(days=7), expires, NEW_YORK) == opens + timedelta(days=3)
    asked_late = opens + timedelta(days=1)
    assert call_from(opens, asked_late, expires, NEW_YORK) == opens + timedelta(days=4)
    assert call_from(opens, opens + timedelta(days=4), expires, NEW_YORK) == expires


def test_the_three_days_are_the_patients_days() -> None:
    opens = datetime(2026, 10, 30, 9, 0, tzinfo=NEW_YORK)  # the clocks go back on the first of November
    due = call_from(opens, None, None, NEW_YORK)
    assert (due.hour, utc(due) - utc(opens)) == (9, timedelta(days=3, hours=1))


moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda at: at.replace(tzinfo=NEW_YORK))  # noqa: DTZ001


@given(moments, moments, moments, st.integers(0, 10_000))
def test_what_is_over_stays_over(expires: datetime, since: datetime, now: datetime, minutes: int) -> None:
    later = (utc(now) + timedelta(minutes=minutes)).astimezone(NEW_YORK)
    if is_over_for_staff(expires, since, now, HOURS):
        assert is_over_for_staff(expires, since, later, HOURS)
        assert HOURS.open_time(since, now) >= timedelta(hours=1)
