"""JSON that keeps decimals as they were written.

In FHIR ``1.50`` and ``1.5`` are different statements about precision, and binary floats lose the difference. Here a
number with a fraction or an exponent is read as :class:`~decimal.Decimal` and written back digit for digit, so that a
resource which is read, changed and written keeps every number nobody touched. It does not know FHIR's shapes, and
refuses what JSON itself refuses: NaN, Infinity, and values that have no JSON form.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import orjson

# Times and models have one FHIR form, which is chosen where they are made; here they would be given some other one.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_INT64_DIGITS = 18
_LONGEST_PLAIN = 64


def loads(text: bytes | str) -> Any:
    """Read one JSON document, numbers with a fraction or an exponent as ``Decimal``.

    Raises ``ValueError`` if it is not JSON (also when it is cut short, or nested too deeply to be read safely).
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_int=_integer, parse_constant=_refuse)
    except (InvalidOperation, RecursionError) as fault:
        raise ValueError(f"not usable as JSON: {type(fault).__name__}") from fault


def dumps(value: Any) -> bytes:
    """Write a document of dicts, lists, strings, numbers, booleans and None as UTF-8 JSON.

    Raises ``ValueError`` if a part of it has no JSON form: NaN, a datetime, a lone surrogate, an object of a class,
    an ``int`` beyond 64 bits (``loads`` gives those as ``Decimal``).
    """
    try:
        written = orjson.dumps(value, default=_fragment, option=_OPTIONS)
    except TypeError as fault:  # orjson's JSONEncodeError
        raise ValueError(str(fault)) from fault
    # orjson writes NaN as null without a word; looking for it costs a walk only where a null was written at all.
    if b"null" in written and _holds_nan(value):
        raise ValueError("NaN and Infinity have no JSON form")
    return written


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _INT64_DIGITS else Decimal(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _fragment(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(_text(value))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _text(value: Decimal) -> str:
    """Plain digits wherever they say the same as the exponent does: str() turns 0.0000001 into 1E-7."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and -_LONGEST_PLAIN <= exponent <= 0:
        return format(value, "f")
    return str(value)


def _holds_nan(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_nan(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_nan(item) for item in value)
    return isinstance(value, float) and not math.isfinite(value)
