"""Reads the ``[policy]`` table of a clinic's file into ``care.policy``: each value in the type of its field.

All faults are told at once; which values go together is the policy's own to say.
"""

from __future__ import annotations

import re
from datetime import timedelta
from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING, Any, get_type_hints

from fhir_aftercare.care.policy import Policy
from fhir_aftercare.errors import AftercareError

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "wk": "weeks"}
_DURATION = re.compile(r"(\d{1,6})\s*(s|min|h|d|wk)")


def unknown(name: str, known: Iterable[str]) -> str:
    """Say that a setting is unknown, and which one may have been meant."""
    close = get_close_matches(name, list(known), n=1)
    return f"is unknown; did you mean {close[0]}?" if close else f"is unknown; known are {', '.join(sorted(known))}"


def policy_of(given: object) -> tuple[Policy, list[str]]:
    """Give the policy with the clinic's overrides, and what is wrong with them."""
    if not isinstance(given, dict):
        return Policy(), ["policy: must be a table, [policy]"]
    wanted = get_type_hints(Policy)
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in given.items():
        if name not in wanted:
            faults.append(f"policy.{name}: {unknown(name, wanted)}")
            continue
        try:
            values[name] = _typed(value, wanted[name])
        except ValueError as error:
            faults.append(f"policy.{name}: {error}")
    try:
        return Policy(**values), faults
    except AftercareError as error:
        return Policy(), [*faults, *(f"policy.{rule}" for rule in error.message.split("; "))]


def _typed(value: object, wanted: type) -> object:
    """Give a TOML value as the type of a field of ``Policy``. Raises ``ValueError`` that says what it must be."""
    if wanted is timedelta:
        match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
        if not match:
            raise ValueError('must be a duration such as "90 min", "24 h" or "7 d"')
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    if issubclass(wanted, Enum):
        try:
            return wanted(value)
        except ValueError:
            raise ValueError(f"must be one of {', '.join(each.value for each in wanted)}") from None
    # In Python true is a number too.
    if type(value) is not wanted:
        raise ValueError("must be true or false" if wanted is bool else "must be a whole number")
    return value
