"""``fhir-aftercare serve`` with a clock that can be moved: CHAOS_CLOCK names a file with its offset in seconds."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fhir_aftercare.cli.serve import run

OFFSET = Path(os.environ["CHAOS_CLOCK"])


def moved() -> datetime:
    """Give the present instant by this process's clock."""
    return datetime.now(UTC) + timedelta(seconds=int(OFFSET.read_text() or 0))


if __name__ == "__main__":
    run(moved)
