"""When: offsets from an anchor, windows, time zones, and the hours in which a clinic's staff work.

Hours and minutes are elapsed time; days, weeks, months and years go by the patient's calendar and keep the wall clock
(design §5.5, fhir-model §2.2). What is due when is said by the protocol; how it is written down is ``wording``'s.

Two aware datetimes of one zone are compared and subtracted by Python as wall clocks, which is an hour wrong around a
change of the clocks. So everything here is compared and added in UTC, and given back in the zone that was asked for.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fhir_aftercare.errors import InvalidInput, MissingZone, OutOfRange, UnknownZone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal

Unit = Literal["s", "min", "h", "d", "wk", "mo", "a"]

_UNITS = frozenset(get_args(Unit))
_SECONDS: Mapping[str, int] = {"s": 1, "min": 60, "h": 3600}
_DAYS: Mapping[str, int] = {"d": 1, "wk": 7}
_MONTHS: Mapping[str, int] = {"mo": 1, "a": 12}
_DAY = timedelta(days=1)
_SEARCHED_DAYS = 366
# Staff work that is due must have been possible for this long (design §9.18).
_ONE_OPEN_HOUR = timedelta(hours=1)
# Files beside the IANA zones that name no place: this machine's own zone, and tables with leap seconds.
_NO_PLACES = ("localtime", "posixrules", "Factory", "posix/", "right/")


def zone_of(name: str) -> ZoneInfo:
    """Give the IANA time zone of a name such as ``America/New_York``. Raises ``UnknownZone``."""
    try:
        if not name.startswith(_NO_PLACES):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise UnknownZone("The time zone is not in the IANA database.", where="zone")


def require_aware(moment: datetime, where: str) -> datetime:
    """Give ``moment`` back if it has an offset. Raises ``MissingZone``, naming the field ``where``, if it has none."""
    if moment.utcoffset() is None:
        raise MissingZone("The time has no offset.", where=where)
    return moment


def utc(moment: datetime) -> datetime:
    """Give the same instant in UTC, where times may be compared, added to and subtracted. Raises ``MissingZone``."""
    return moment if moment.tzinfo is UTC else require_aware(moment, "time").astimezone(UTC)


def local(moment: datetime, zone: ZoneInfo) -> datetime:
    """Give the same instant in ``zone``. Raises ``MissingZone``."""
    return require_aware(moment, "time").astimezone(zone)


def wall_clock(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Give the instant at which clocks in ``zone`` show ``at`` on ``day``.

    A time that does not exist that day is moved forward by what the clocks skip; one that comes twice is the first
    (fhir-model §2.2.3).
    """
    shown = datetime.combine(day, at.replace(tzinfo=None, fold=0), tzinfo=zone)
    return shown.astimezone(UTC).astimezone(zone)


def same_local_day(a: datetime, b: datetime, zone: ZoneInfo) -> bool:
    """Tell whether two instants fall on one calendar day in ``zone``. Raises ``MissingZone``."""
    return local(a, zone).date() == local(b, zone).date()


@dataclass(frozen=True, slots=True)
class Offset:
    """How long after an anchor: a value in a UCUM unit; below 0 is before it.

    ``at`` is the wall clock on which a calendar offset lands. Raises ``InvalidInput`` for an unknown unit, an ``at``
    with elapsed time (s, min, h), and a value of a calendar unit that is no whole number.
    """

    value: Decimal
    unit: Unit
    at: time | None = None

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise InvalidInput("The unit of an offset must be one of s, min, h, d, wk, mo, a.", where="unit")
        if not self.value.is_finite():
            raise InvalidInput("The value of an offset must be a number.", where="value")
        if self.unit in _SECONDS:
            if self.at is not None:
                raise InvalidInput("Elapsed time (s, min, h) cannot land on a wall clock.", where="at")
        elif self.value != self.value.to_integral_value():
            raise InvalidInput("Days, weeks, months and years are counted in whole numbers.", where="value")

    def after(self, anchor: datetime, zone: ZoneInfo) -> datetime:
        """Give the instant this long after ``anchor``, in ``zone``, which is where the patient is.

        s, min and h are elapsed time. d, wk, mo and a go by the calendar of ``zone`` and keep the anchor's wall clock,
        or land on ``at``; a day that a month lacks is its last (clinical §4.5, fhir-model §2.2).
        Raises ``MissingZone``; ``OutOfRange`` if no calendar reaches so far.
        """
        start = local(anchor, zone)
        try:
            if self.unit in _SECONDS:
                return (start.astimezone(UTC) + self._elapsed()).astimezone(zone)
            if not self.value and self.at is None:
                return start
            return wall_clock(self._day_after(start.date()), self.at or start.time(), zone)
        except (OverflowError, ValueError):
            raise OutOfRange("The offset leads to no date of the calendar.", where="value") from None

    def plus(self, value: int, unit: Unit) -> Offset:
        """Give this offset made longer by ``value`` of ``unit``, for the next of a recurring action.

        Days combine with weeks (to days), months with years (to months). Raises ``InvalidInput`` for any other pair: a
        month has no fixed number of days, and elapsed time none of the calendar's.
        """
        for same, combined in ((_DAYS, "d"), (_MONTHS, "mo")):
            if self.unit in same and unit in same:
                total = self.value * same[self.unit] + value * same[unit]
                return Offset(total, "d" if combined == "d" else "mo", self.at)
        raise InvalidInput("Only d with wk, and mo with a, can be added up.", where="unit")

    def _elapsed(self) -> timedelta:
        return timedelta(microseconds=int(self.value * _SECONDS[self.unit] * 1_000_000))

    def _day_after(self, day: date) -> date:
        if self.unit in _DAYS:
            return day + timedelta(days=int(self.value) * _DAYS[self.unit])
        months = day.year * 12 + day.month - 1 + int(self.value) * _MONTHS[self.unit]
        year, month = months // 12, months % 12 + 1
        return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


@dataclass(frozen=True, slots=True)
class Window:
    """When something is to be done: from ``opens``, best at ``target``, by ``due``; after ``expires`` no longer.

    None: no such limit. A restriction has only ``opens`` and its end, ``target``.
    """

    opens: datetime | None
    target: datetime
    due: datetime | None
    expires: datetime | None


def latest(windows: Sequence[Window]) -> Window:
    """Give the window that waits for all: part by part the latest instant (fhir-model §2.2.1).

    A part that only some windows state is the latest of those; due is never before the target, expiry never before
    either. Raises ``InvalidInput`` for no window, ``MissingZone``.
    """
    if not windows:
        raise InvalidInput("The latest of no windows is not a time.", where="windows")
    target = max((each.target for each in windows), key=utc)
    due = _latest(*(each.due for each in windows))
    expires = _latest(*(each.expires for each in windows))
    return Window(
        opens=_latest(*(each.opens for each in windows)),
        target=target,
        due=_latest(due, target) if due else None,
        expires=_latest(expires, due, target) if expires else None,
    )


def _latest(*moments: datetime | None) -> datetime | None:
    return max((each for each in moments if each is not None), key=utc, default=None)


@dataclass(frozen=True, slots=True)
class OpenHours:
    """When staff work: the spans of each weekday (0 is Monday) on the clinic's wall clock, and the days without any.

    A span that closes at 00:00 goes on to the end of the day. Raises ``InvalidInput`` naming each faulty weekday: an
    unknown one, a span that closes before it opens, spans that overlap.
    """

    weekly: Mapping[int, tuple[tuple[time, time], ...]]
    holidays: frozenset[date]
    zone: ZoneInfo

    def __post_init__(self) -> None:
        faulty = [str(day) for day, spans in self.weekly.items() if day not in range(7) or not _in_order(spans)]
        if faulty:
            raise InvalidInput("Open hours must open before they close, and not overlap.", where=faulty)

    def spans(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Give the open spans between two instants, in order and clipped to them, in the clinic's zone."""
        first, last = utc(start), utc(end)
        done = first
        day = local(start, self.zone).date()
        while day <= local(end, self.zone).date():
            for opens, closes in self._of(day):
                # A day that the clocks skip would be counted with the next one.
                clipped = max(opens, done), min(closes, last)
                if clipped[0] < clipped[1]:
                    yield clipped[0].astimezone(self.zone), clipped[1].astimezone(self.zone)
                    done = clipped[1]
            day += _DAY

    def open_time(self, start: datetime, end: datetime) -> timedelta:
        """Give how long staff work between two instants."""
        return sum((utc(closes) - utc(opens) for opens, closes in self.spans(start, end)), timedelta())

    def is_open(self, at: datetime) -> bool:
        """Tell whether staff work at this instant; at the instant of closing they do not."""
        return any(opens <= utc(at) < closes for opens, closes in self._of(local(at, self.zone).date()))

    def next_open(self, at: datetime) -> tuple[datetime, datetime] | None:
        """Give the rest of the open span that ``at`` lies in, else the next one within 366 days, else None."""
        return next(self.spans(at, utc(at) + timedelta(days=_SEARCHED_DAYS)), None)

    def _of(self, day: date) -> list[tuple[datetime, datetime]]:
        if day in self.holidays:
            return []
        return [
            (utc(wall_clock(day, opens, self.zone)), utc(wall_clock(*_closing(day, closes), self.zone)))
            for opens, closes in sorted(self.weekly.get(day.weekday(), ()))
        ]


def _closing(day: date, closes: time) -> tuple[date, time]:
    return (day, closes) if closes != time.min else (day + _DAY, closes)


def _in_order(spans: Sequence[tuple[time, time]]) -> bool:
    ordered = sorted(spans)
    forward = all(opens < closes or closes == time.min for opens, closes in ordered)
    apart = all(before[1] <= after[0] and before[1] != time.min for before, after in pairwise(ordered))
    return forward and apart


def in_staff_hours(window: Window, hours: OpenHours) -> Window:
    """Give a window of staff's work as it can be worked (design §9.18).

    With at least one open hour in it, it is narrowed to the first and the last open instant. With less it is moved: it
    begins with the next open span and is due at that span's end, or later, when one open hour has passed. The target
    stays inside and falls into open hours; expiry keeps its distance to due and is never earlier than it was, so
    nothing fails before one open hour has passed. A clinic that is not open for an hour within a year keeps the window;
    the protocol's lint reports it.
    """
    opens, due = window.opens or window.target, window.due or window.target
    spans = list(hours.spans(opens, due))
    if hours.open_time(opens, due) < _ONE_OPEN_HOUR:
        spans = _next_open_hour(opens, hours)
    if not spans:
        return window
    first, last = spans[0][0], spans[-1][1]
    return Window(
        opens=first,
        target=_open_target(min(max(window.target, first, key=utc), last, key=utc), last, hours),
        due=last,
        expires=_latest(window.expires, _later_by(utc(window.expires) - utc(due), last)) if window.expires else None,
    )


def _later_by(grace: timedelta, due: datetime) -> datetime:
    """Work that was moved keeps the time it had between its due date and its expiry."""
    return (utc(due) + max(grace, timedelta(0))).astimezone(due.tzinfo)


def _open_target(target: datetime, last: datetime, hours: OpenHours) -> datetime:
    """Give the target, or if it falls into closed hours, the next opening before the window is over."""
    return next((start for start, _ in hours.spans(target, last)), last)


def _next_open_hour(at: datetime, hours: OpenHours) -> list[tuple[datetime, datetime]]:
    """Give the next open span, and as much of those after it as one open hour needs; nothing if a year has none."""
    found: list[tuple[datetime, datetime]] = []
    missing = _ONE_OPEN_HOUR
    for opens, closes in hours.spans(at, utc(at) + timedelta(days=_SEARCHED_DAYS)):
        enough = utc(opens) + missing
        found.append((opens, closes if not found else min(closes, enough.astimezone(hours.zone), key=utc)))
        missing -= utc(closes) - utc(opens)
        if missing <= timedelta():
            return found
    return []
