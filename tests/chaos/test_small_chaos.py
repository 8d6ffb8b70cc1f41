"""A small run of ``make chaos``: kill -9 of services and of the FHIR server, signals by every road, one plan each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.catch_up import catch_up

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.hapi
@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgresql", "h2"])
def test_every_discharge_has_one_plan_whatever_is_killed(database: str) -> None:
    command = [sys.executable, "-m", "chaos.run", "--database", database, "--encounters", "12", "--kills", "3"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-6000:]}"
    assert "| plans of an infusion at the end | 12 |" in done.stdout


async def test_what_ended_during_an_outage_is_caught_up_by_one_sweep(tmp_path: Path) -> None:
    done = await catch_up(tmp_path, 120, lambda _: None)
    assert done.right, done
