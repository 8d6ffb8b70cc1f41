"""What people type into forms, as values: a day and a clock on the clinic's wall become an instant, or say why not.

A clock that the night of the change skips does not exist, one that comes twice is asked for with its abbreviation
(``01:30 EDT``): neither is guessed. Messages name the field and the rule, never what was typed.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.timing import local
from fhir_aftercare.errors import InvalidInput

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
# 13:05, 1305, 9:05 and 13.05; behind it the zone's abbreviation, needed only where the clock comes twice.
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3])[:.]?([0-5]\d)(?:\s*([A-Za-z]{2,5}))?")


def day_text(moment: datetime, zone: ZoneInfo) -> str:
    """Give the day of an instant as a date field holds it."""
    return local(moment, zone).date().isoformat()


def clock_text(moment: datetime, zone: ZoneInfo) -> str:
    """Give the clock of an instant as a time field holds it; with the abbreviation where the clock comes twice."""
    there = local(moment, zone)
    text = f"{there:%H:%M}"
    return text if len(_readings(there.date(), there.time(), zone)) == 1 else f"{text} {there.tzname()}"


def typed_moment(day: str, clock: str, zone: ZoneInfo, where: str) -> datetime:
    """Give the instant of a day (``2026-09-16``) and a clock (``13:05``) in ``zone``.

    Raises ``InvalidInput`` at ``where``: no day, no clock, a clock that does not exist that day, one that comes twice.
    """
    if not _DAY.fullmatch(day.strip()):
        raise InvalidInput("Give the day as 2026-09-16.", where=where)
    found = _CLOCK.fullmatch(clock.strip())
    if found is None:
        raise InvalidInput("Give the time as 13:05.", where=where)
    try:
        on = date.fromisoformat(day.strip())
    except ValueError:
        raise InvalidInput("There is no such day.", where=where) from None
    readings = _readings(on, time(int(found[1]), int(found[2])), zone)
    if not readings:
        raise InvalidInput("There is no such time on that day: the clocks were set forward.", where=where)
    if found[3]:
        readings = [each for each in readings if each.tzname() == found[3].upper()]
        if not readings:
            raise InvalidInput("That is not the clinic's time zone on that day.", where=where)
    if len(readings) > 1:
        names = " or ".join(str(each.tzname()) for each in readings)
        raise InvalidInput(f"That time comes twice, as the clocks were set back: add {names}.", where=where)
    return readings[0]


def typed_clock(clock: str, earliest: datetime, zone: ZoneInfo, where: str) -> datetime:
    """Give the instant of a clock without a day: the one within the 24 hours from ``earliest`` on. Raises as above."""
    found = _CLOCK.fullmatch(clock.strip())
    if found is None:
        raise InvalidInput("Give the time as 13:05.", where=where)
    first = local(earliest, zone).replace(second=0, microsecond=0, tzinfo=None)
    shown = datetime.combine(first.date(), time(int(found[1]), int(found[2])))
    day = first.date() if shown >= first else first.date() + timedelta(days=1)
    return typed_moment(day.isoformat(), clock, zone, where)


def _readings(day: date, clock: time, zone: ZoneInfo) -> list[datetime]:
    """Give the instants at which clocks show this, in order: one, none or two."""
    plain = clock.replace(second=0, microsecond=0, tzinfo=None, fold=0)
    both = [datetime.combine(day, plain.replace(fold=fold), tzinfo=zone) for fold in (0, 1)]
    real = [each for each in both if each.astimezone(UTC).astimezone(zone).time() == plain]
    return real if len(real) < 2 or real[0].utcoffset() != real[1].utcoffset() else real[:1]
