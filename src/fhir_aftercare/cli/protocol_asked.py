"""What the commands of ``fhir-aftercare protocol`` share: the clinic they are asked about, and how they answer."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import time
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console

from fhir_aftercare.care.clinic import Clinic
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.timing import OpenHours
from fhir_aftercare.errors import AftercareError, ConfigFault
from fhir_aftercare.fhir import terms

if TYPE_CHECKING:
    from pathlib import Path
    from zoneinfo import ZoneInfo

ZONE = "America/New_York"
CLINIC = typer.Option(None, "--clinic", help="A clinic's TOML file: its zone, call hours, policy, language.")
PROFILES = typer.Option(None, "--profiles", help="Folder of protocol files, instead of the shipped ones.")
# Times with their offset need this much room; a terminal that is narrower wraps.
_WIDTH = 132


@dataclass(frozen=True, slots=True)
class Asked:
    """The clinic a command is about, its FHIR server, where its identifiers are made, and its own protocol's folder."""

    clinic: Clinic
    fhir_base_url: str
    identifier_base: str
    profiles: Path | None = None


def settings_of(path: Path | None, zone: ZoneInfo) -> Asked:
    """Give the clinic of a file, else one in ``zone`` that calls on weekdays from 9 to 18. Raises ``ConfigFault``."""
    if path is None:
        weekdays = {day: ((time(9), time(18)),) for day in range(5)}
        return Asked(
            Clinic(
                id="weekdays-9-to-18",
                name="A clinic open on weekdays from 9 to 18",
                zone=zone,
                organization="Organization/clinic",
                phone="+1 555 0100",
                policy=Policy(),
                call_hours=OpenHours(weekdays, frozenset(), zone),
            ),
            fhir_base_url="",
            identifier_base=terms.BASE,
        )
    # Imported here: without a clinic's file a command starts without all that reads one.
    from fhir_aftercare.clinic_file import read_clinic_file  # noqa: PLC0415

    try:
        found = read_clinic_file(path)
        return Asked(found.clinic, found.fhir_base_url, found.identifier_base, found.profiles)
    except ConfigFault as fault:
        raise ConfigFault([f"{path}: {each}" for each in fault.faults]) from None


class Reported:
    """Turns an error of ours into its message and remedy on standard error, and exit code 1."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, AftercareError):
            _fail(error)


def _fail(error: AftercareError) -> NoReturn:
    console = Console(stderr=True, highlight=False)
    for line in (error.message, *(f"  {each}" for each in error.where), error.remedy):
        console.print(line, markup=False, soft_wrap=True)
    raise typer.Exit(1) from None


def console() -> Console:
    """Give standard output, as wide as tables of times need where nobody looks at it on a terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_WIDTH)


def print_json(value: Any) -> None:
    """Print a value as JSON that people can read too."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
