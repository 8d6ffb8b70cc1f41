"""Says what is wrong with a table of a clinic's file, as people read it: the place, and what would be right.

Quotes no value: there may be a secret in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def faults_of(table: str, error: ValidationError, examples: Mapping[str, str]) -> list[str]:
    """Give all faults that pydantic found in ``[table]``; ``examples`` are right values by the name of the setting."""
    return [_fault(table, each, examples) for each in error.errors(include_url=False, include_input=False)]


def _fault(table: str, error: ErrorDetails, examples: Mapping[str, str]) -> str:
    place = table + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{place}: is unknown"
    message = "is missing" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
    name = next((part for part in reversed(error["loc"]) if isinstance(part, str)), "")
    return f"{place}: {message}" + (f" (for example {examples[name]})" if name in examples else "")
