"""What a rule says of a resource, and the few questions that several rules ask of FHIR JSON."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from fhir_aftercare.fhir import tasks

Resource = dict[str, Any]

REFERENCE: Final = re.compile(r"(?:https?://.+/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?")


class Fault(NamedTuple):
    """A broken rule and its place, such as ``Task.restriction.period``. Never holds a value."""

    place: str
    rule: str


def dicts(value: Any) -> list[Resource]:
    """Give the objects of a list; nothing if it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def has_value(part: Resource) -> bool:
    """Tell whether an element has a value[x]."""
    return any(name.startswith("value") for name in part)


def in_order(first: Any, second: Any) -> bool:
    """Tell whether two FHIR dates are in order. Of partial dates only what both state is compared."""
    if not isinstance(first, str) or not isinstance(second, str):
        return True
    earlier, later = tasks.moment(first), tasks.moment(second)
    if earlier is not None and later is not None:
        return earlier <= later
    stated = min(len(first.partition("T")[0]), len(second.partition("T")[0]))
    return first[:stated] <= second[:stated]
