"""Lint's rules of time: a year of infusions is dated, so that no hour and no change of the clocks holds a surprise.

What an offset and a window are is ``care.timing``'s; this only tries them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.timing import Window, in_staff_hours, latest, utc
from fhir_aftercare.care.wording import list_text, short_text
from fhir_aftercare.errors import OutOfRange
from fhir_aftercare.fhir.lint_rules import Finding, Sheet, error, info, warning
from fhir_aftercare.fhir.lint_rules_reach import can_apply

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.timing import Offset, OpenHours
    from fhir_aftercare.fhir.definitions import Action, Plan, Related

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_YEAR: Final = 366
# A window may open before its anchor.
_DAYS_BEFORE: Final = 60 * _DAY
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_ELAPSED: Final = frozenset({"s", "min", "h"})
_MONTHS: Final = frozenset({"mo", "a"})
# A day of each month besides those near a change of the clocks.
_ORDINARY: Final = 30


def times(sheet: Sheet) -> Iterator[Finding]:
    """Find windows out of order on some dates, and staff's work without an open hour."""
    instants = _instants(sheet)
    open_spans = _OpenSpans(sheet.clinic.call_hours, instants[0] - _DAYS_BEFORE, instants[-1] + 2 * _YEAR * _DAY)
    orders: dict[tuple[object, ...], _Disorder | None] = {}
    for plan, action in sheet.actions(sound=True):
        if not action.related:
            continue
        undatable = _undatable(action, (instants[0], instants[-1]), sheet.clinic.zone)
        if undatable:
            yield error(sheet.at(plan, action, "relatedAction"), "window-order", undatable, "Write a shorter offset.")
            continue
        if action.related not in orders:
            orders[action.related] = _disorder(action, instants, sheet.clinic.zone)
        yield from _out_of_order(sheet, plan, action, orders[action.related])
        policy = sheet.clinic.policy
        if action.staff_hours and can_apply(action, integrationSession=policy.integration_session):
            yield from _closed(sheet, plan, action, instants, open_spans)


def _instants(sheet: Sheet) -> list[datetime]:
    """Give every full hour of a year, in UTC."""
    first = datetime(sheet.since.year, sheet.since.month, sheet.since.day, tzinfo=UTC)
    return [first + hour * _HOUR for hour in range(_YEAR * 24)]


def dated(related: Related, anchor: datetime, zone: ZoneInfo) -> Window:
    """Give a window as it is written in the protocol, its anchor at one instant."""

    def at(offset: Offset | None) -> datetime | None:
        return offset.after(anchor, zone) if offset else None

    return Window(at(related.low), related.target.after(anchor, zone), at(related.high), at(related.expiry))


def _as_applied(action: Action, anchor: datetime, zone: ZoneInfo) -> Window:
    """Give the window of an action as the software makes it, before staff's hours are looked at."""
    return latest([dated(each, anchor, zone) for each in action.related])


# --- order -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Disorder:
    """How often a window was out of order, when first, and what came before what."""

    count: int
    tried: int
    first: datetime
    what: str
    refused: bool


def _disorder(action: Action, instants: Sequence[datetime], zone: ZoneInfo) -> _Disorder | None:
    mixed = [each for each in action.related if _is_mixed(each.parts)]
    if not mixed:
        return None  # each of one kind: loading has compared them, and no date changes their order
    tried = [*_telling([part for each in mixed for part in each.parts], instants, zone)]
    found = [(each, what) for each in tried if (what := _wrong(mixed, each, zone))]
    if not found:
        return None
    refused = [(each, what) for each, what in found if _is_refused(action, each, zone)]
    first, what = (refused or found)[0]
    return _Disorder(len(found), len(tried), first, what, bool(refused))


def _is_mixed(parts: Sequence[Offset]) -> bool:
    return len({(part.unit in _ELAPSED, part.unit in _MONTHS, part.at is None) for part in parts}) > 1


def _undatable(action: Action, ends: Sequence[datetime], zone: ZoneInfo) -> str | None:
    try:
        for each in ends:
            _as_applied(action, each, zone)
    except OutOfRange as fault:
        return fault.message
    return None


def _wrong(mixed: Sequence[Related], anchor: datetime, zone: ZoneInfo) -> str | None:
    for related in mixed:
        window = dated(related, anchor, zone)
        opens, target, last = utc(window.opens or window.target), utc(window.target), utc(window.due or window.target)
        if opens > last:
            return "it is due before it opens"
        if window.expires is not None and last > utc(window.expires):
            return "it expires before it is due"
        if not opens <= target <= last:
            return "the best time lies outside the window"
    return None


def _is_refused(action: Action, anchor: datetime, zone: ZoneInfo) -> bool:
    """Tell whether what is made of it has an end before its start, which no server is given."""
    window = _as_applied(action, anchor, zone)
    return window.opens is not None and utc(window.opens) > utc(window.due or window.target)


def _telling(parts: Sequence[Offset], instants: Sequence[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """Give the anchors among which any order must show: every hour near a change of the clocks and of ordinary days.

    With months or years in it, how long they are counts too: every day of the year.
    """
    if any(part.unit in _MONTHS for part in parts):
        yield from instants
        return
    reach = 2 + max(abs(int((part.after(instants[0], zone) - instants[0]) / _DAY)) for part in parts)
    shifts = [each.astimezone(zone).utcoffset() for each in instants]
    changes = [index // 24 for index in range(1, len(instants)) if shifts[index] != shifts[index - 1]]
    for index, each in enumerate(instants):
        day = index // 24
        if day % _ORDINARY == 0 or any(abs(day - change) <= reach for change in changes):
            yield each


def _out_of_order(sheet: Sheet, plan: Plan, action: Action, found: _Disorder | None) -> Iterator[Finding]:
    if found is None:
        return
    zone = sheet.clinic.zone
    when = short_text(found.first, zone, with_zone=True)
    anchor = action.related[0].anchor
    finding = error if found.refused else warning
    yield finding(
        sheet.at(plan, action, "relatedAction"),
        "window-order",
        f"In {found.count} of {found.tried} cases {found.what}, such as {anchor} at {when}.",
        "Write the parts of the window so that none can overtake another: in one unit, or all with an at-local-time.",
    )


# --- open hours ------------------------------------------------------------------------------------------------------
class _OpenSpans:
    """All open spans of a stretch of time, in UTC, to look at many windows quickly."""

    def __init__(self, hours: OpenHours, first: datetime, last: datetime) -> None:
        self._spans = [(utc(opens), utc(closes)) for opens, closes in hours.spans(first, last)]
        self._starts = [opens for opens, _ in self._spans]

    def between(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Give the open spans between two instants, clipped to them."""
        for opens, closes in self._spans[max(0, bisect_right(self._starts, start) - 1) :]:
            if opens >= end:
                return
            if closes > start:
                yield max(opens, start), min(closes, end)

    def has_an_hour(self, start: datetime, end: datetime) -> bool:
        """Tell whether staff work for an hour between two instants."""
        found = timedelta()
        for opens, closes in self.between(start, end):
            found += closes - opens
            if found >= _HOUR:
                return True
        return False


def _closed(
    sheet: Sheet, plan: Plan, action: Action, instants: Sequence[datetime], spans: _OpenSpans
) -> Iterator[Finding]:
    zone, at = sheet.clinic.zone, sheet.at(plan, action, "relatedAction")
    closed: list[datetime] = []
    never: list[datetime] = []
    longest = timedelta()
    for each in instants:
        # As ``_as_applied``, without the parts that do not matter here: this runs for every hour of a year.
        opens = max(utc((related.low or related.target).after(each, zone)) for related in action.related)
        due = max(utc((related.high or related.target).after(each, zone)) for related in action.related)
        if spans.has_an_hour(opens, due):
            continue
        closed.append(each)
        if not spans.has_an_hour(opens, opens + _YEAR * _DAY):
            never.append(each)
        else:
            first, _ = next(spans.between(opens, opens + _YEAR * _DAY))
            longest = max(longest, first - due)
    what = f"{action.related[0].anchor}s {'ending' if action.related[0].relationship == 'after-end' else 'starting'}"
    if never:
        yield error(
            at,
            "no-open-hour",
            f"For {what} {_slots(never, zone)} there is no open call hour within a year: nobody can do it.",
            "Give the clinic call hours in its file, or take staff-hours from the action.",
        )
    elif closed:
        example = next((each for each in closed if each.astimezone(zone).hour == 12), closed[0])
        to = in_staff_hours(_as_applied(action, example, zone), sheet.clinic.call_hours)
        yield info(
            at,
            "no-open-hour",
            f"{what.capitalize()} {_slots(closed, zone)} have less than one open call hour before they are moved. "
            f"After {short_text(example, zone)} the work opens {short_text(to.opens or to.target, zone)} and is due "
            f"{short_text(to.due or to.target, zone)}. The longest wait after the due time is "
            f"{max(longest, timedelta()) / _HOUR:.0f} h.",
            "Nothing has to be done. More call hours or a longer window would make fewer moves.",
        )


def _slots(found: Sequence[datetime], zone: ZoneInfo) -> str:
    """Give the hours of the week in which most of these lie, such as "Fri 12-18 h", and how many lie outside them."""
    local = [each.astimezone(zone) for each in found]
    often = Counter((each.weekday(), each.hour) for each in local)
    usual = {slot for slot, count in often.items() if count > _YEAR / 7 / 2}
    said = []
    for day, name in enumerate(_WEEKDAYS):
        hours = [hour for hour in range(24) if (day, hour) in usual]
        begins = [hour for hour in hours if hour - 1 not in hours]
        ends = [hour + 1 for hour in hours if hour + 1 not in hours]
        said += [f"{name} {begin}-{end} h" for begin, end in zip(begins, ends, strict=True)]
    others = [each for each in local if (each.weekday(), each.hour) not in usual]
    if others:
        hours_of = "hour" if len(others) == 1 else "hours"
        said.append(f"{len(others)} further {hours_of} of the year (the first {short_text(others[0], zone)})")
    return list_text(said)
