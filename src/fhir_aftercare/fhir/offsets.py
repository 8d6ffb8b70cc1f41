"""The times of a protocol: how a relatedAction and a repetition are written in FHIR (profiles/README.md).

It refuses what could be read in two ways, and windows that are out of order (fhir-model §2.2). Dates are made of
offsets by ``care.timing``.
"""

from __future__ import annotations

from datetime import time
from itertools import pairwise
from typing import TYPE_CHECKING, cast, get_args

from fhir_aftercare.care.timing import Offset, Unit
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.definitions import Related, Relationship, Repeat

if TYPE_CHECKING:
    from decimal import Decimal

    from fhir_aftercare.fhir.elements import Element

_SECONDS = {"s": 1, "min": 60, "h": 3600}
_DAYS = {"d": 1, "wk": 7}
_MONTHS = {"mo": 1, "a": 12}
_DAY = 86_400
# The clocks are moved by an hour, so a day has 23 to 25.
_CLOCK_CHANGE = 3_600
_SHORTEST_MONTH, _LONGEST_MONTH = 28, 31
_QUANTITY = {"value", "comparator", "unit", "system", "code"}
_RELATED = {"actionId", "relationship", "offsetDuration"}
_REPEAT = {"count", "frequency", "period", "periodUnit"}


def read_offset(quantity: Element, at: time | None = None) -> Offset:
    """Give the offset of a Duration or Quantity in UCUM. ``at`` is where it lands on, unless it says so itself.

    Raises ``ProtocolFault`` for an unknown unit, a calendar value that is not whole, a clock time of elapsed time.
    """
    quantity.only(_QUANTITY, "An offset has `value`, `unit`, `system` and `code`.")
    quantity.only_extensions(terms.EXT_AT_LOCAL_TIME)
    if quantity.text("comparator"):
        raise quantity.fault("An offset must be exact.", "Leave out `comparator`.")
    if quantity.required("system") != terms.UCUM:
        raise quantity.fault("The unit of an offset is not from UCUM.", f"Write {terms.UCUM} as its `system`.")
    unit = cast("Unit", quantity.required("code"))
    if unit not in get_args(Unit):
        raise quantity.fault(f"The unit of an offset is unknown: {unit}.", f"Use one of {', '.join(get_args(Unit))}.")
    own = _clock(quantity)
    try:
        return Offset(quantity.decimal("value"), unit, own or (None if unit in _SECONDS else at))
    except InvalidInput as fault:
        raise quantity.fault(fault.message, "Use whole d, wk, mo, a; `at-local-time` goes with those only.") from fault


def read_related(element: Element) -> Related:
    """Give the window that a relatedAction says. All offsets of ``before-start`` are turned to lie before the anchor.

    Raises ``ProtocolFault`` if it cannot be understood, or its parts are out of order.
    """
    element.only(_RELATED, "Say the target by `offsetDuration`, the window by the extensions of profiles/README.md.")
    element.only_extensions(terms.EXT_ACCEPTABLE_OFFSET, terms.EXT_EXPIRY_OFFSET, terms.EXT_AT_LOCAL_TIME)
    at = _clock(element)
    relationship = element.code("relationship", get_args(Relationship))
    target = element.child("offsetDuration")
    if relationship is None or target is None:
        raise element.fault(
            "A relatedAction has no relationship or no offset.", "Add `relationship` and `offsetDuration`."
        )
    low, high = _window(element, at)
    expiry = element.extension(terms.EXT_EXPIRY_OFFSET)
    ends = expiry.child("valueDuration") if expiry else None
    if expiry and ends is None:
        raise element.fault("The extension expiry-offset is empty.", "Give it a `valueDuration`.")
    related = Related(
        anchor=element.required("actionId"),
        relationship=cast("Relationship", relationship),
        low=low,
        target=read_offset(target, at),
        high=high,
        expiry=read_offset(ends, at) if ends else None,
    )
    if at and not any(part.at for part in related.parts):
        raise element.fault("An at-local-time changes nothing here.", "Use d, wk, mo or a with it; h is elapsed time.")
    if related.relationship == "before-start":
        related = _before(related)
    _check_order(related, element)
    return related


def read_repeat(action: Element) -> Repeat | None:
    """Give how often an action comes, from its ``timingTiming``; None if it comes once. Raises ``ProtocolFault``."""
    timing = action.child("timingTiming")
    if timing is None:
        return None
    remedy = "Say it by `repeat` with `count`, `frequency` 1, `period` and `periodUnit` (d, wk, mo, a)."
    timing.only({"repeat"}, remedy)
    repeat = timing.child("repeat")
    if repeat is None:
        raise action.fault("A timing has no `repeat`.", remedy)
    repeat.only(_REPEAT, remedy)
    count, period = repeat.whole("count"), repeat.whole("period")
    unit = repeat.code("periodUnit", _DAYS.keys() | _MONTHS.keys())
    if count is None or period is None or unit is None or repeat.whole("frequency") not in {None, 1}:
        raise action.fault("A repetition is not complete, or comes more than once a period.", remedy)
    return Repeat(count, period, cast("Unit", unit))


def check_repeatable(repeat: Repeat, related: Related, action: Element) -> None:
    """Refuse a repetition whose period cannot be added to every part of the window. Raises ``ProtocolFault``."""
    try:
        for part in related.parts:
            part.plus(repeat.period, repeat.unit)
    except InvalidInput as fault:
        raise action.fault(
            "The period of a repetition cannot be added to its offsets.",
            "Write all offsets of the action in d and wk, or all in mo and a, as the period.",
        ) from fault


def _clock(element: Element) -> time | None:
    extension = element.extension(terms.EXT_AT_LOCAL_TIME)
    if extension is None:
        return None
    try:
        found = time.fromisoformat(extension.required("valueTime"))
    except ValueError:
        found = None
    if found is None or found.tzinfo is not None:
        raise element.fault("An at-local-time is no time of day.", "Write it as 07:00:00, without a zone.")
    return found


def _window(element: Element, at: time | None) -> tuple[Offset | None, Offset | None]:
    extension = element.extension(terms.EXT_ACCEPTABLE_OFFSET)
    if extension is None:
        return None, None
    window = extension.child("valueRange")
    if window is None:
        raise element.fault("The extension AcceptableOffsetRangeSoa is empty.", "Give it a `valueRange`.")
    window.only({"low", "high"}, "A window has `low` and `high`.")
    window.only_extensions()
    low, high = window.child("low"), window.child("high")
    return (read_offset(low, at) if low else None), (read_offset(high, at) if high else None)


def _before(related: Related) -> Related:
    """Turn the offsets round: what is most before the anchor comes first, so low and high change places."""

    def turned(offset: Offset | None) -> Offset | None:
        return Offset(-offset.value, offset.unit, offset.at) if offset else None

    target = related.target
    return Related(
        anchor=related.anchor,
        relationship=related.relationship,
        low=turned(related.high),
        target=Offset(-target.value, target.unit, target.at),
        high=turned(related.low),
        expiry=turned(related.expiry),
    )


def _check_order(related: Related, element: Element) -> None:
    if any(_later(first, second, certainly=True) for first, second in pairwise(related.parts)):
        raise element.fault(
            "The parts of a window are out of order.", "Order them: low ≤ offsetDuration ≤ high ≤ expiry-offset."
        )
    if related.low and _later(related.low, related.high or related.target, certainly=False):
        # It would go well at most hours of the day, and be refused as a period that ends before it starts at others.
        raise element.fault(
            "The window can end before it opens, depending on the time of day.",
            "Write its two ends in one unit, both with an at-local-time or both without.",
        )


def _later(first: Offset, second: Offset, *, certainly: bool) -> bool:
    """Tell whether ``first`` comes after ``second``: certainly, or for some anchor."""
    if (_base(first)[0], first.at is None) == (_base(second)[0], second.at is None):
        return (_base(first)[1], first.at or time.min) > (_base(second)[1], second.at or time.min)
    if certainly:
        return _bounds(first)[0] > _bounds(second)[1]
    return _bounds(first)[1] > _bounds(second)[0]


def _base(offset: Offset) -> tuple[str, Decimal]:
    for name, factors in (("s", _SECONDS), ("d", _DAYS)):
        if offset.unit in factors:
            return name, offset.value * factors[offset.unit]
    return "mo", offset.value * _MONTHS[offset.unit]


def _bounds(offset: Offset) -> tuple[Decimal, Decimal]:
    """Give the least and the most seconds after an anchor, whatever its time of day and its date."""
    base, value = _base(offset)
    if base == "s":
        return value, value
    days = [value] if base == "d" else [value * _SHORTEST_MONTH, value * _LONGEST_MONTH]
    low, high = min(days) * _DAY, max(days) * _DAY
    if offset.at is not None:
        clock = offset.at.hour * 3600 + offset.at.minute * 60 + offset.at.second
        low, high = low + clock - _DAY, high + clock
    elif not value:
        return low, high
    return low - _CLOCK_CHANGE, high + _CLOCK_CHANGE
