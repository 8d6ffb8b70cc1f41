"""``fhir-aftercare protocol simulate``: what would be written, and when everything opens, is due and expires."""

from __future__ import annotations

import json
import re
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path  # noqa: TC003 (typer needs it)
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

import typer
from rich.table import Table
from rich.text import Text

from fhir_aftercare.care.timing import Offset, wall_clock, zone_of
from fhir_aftercare.care.wording import LANGUAGES, long_text
from fhir_aftercare.cli.protocol_asked import CLINIC, PROFILES, ZONE, Reported, console, print_json, settings_of
from fhir_aftercare.fhir import exact_json
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.fhir.loading import load_protocol
from fhir_aftercare.flows.simulate import Scenario, simulate
from fhir_aftercare.protocol_files import read_protocol_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.care.timing import Unit
    from fhir_aftercare.flows.simulate import Row, Simulation


class Escort(Enum):
    """What is known of the escort when the patient leaves."""

    PRESENT = "present"
    LEFT_ALONE = "left-alone"
    NOT_RECORDED = "not-recorded"


_EVERY = re.compile(r"(\d{1,4})\s*(h|d|wk)")
_ESCORT = typer.Option(Escort.PRESENT, "--escort", help="What is known of the escort when the patient leaves.")
_STYLES = {"superseded": "dim", "coming": "italic", "failed": "red", "done": "green"}


def simulate_command(
    *,
    date: str = typer.Option(..., "--date", help="When the (first) infusion ends, such as 2026-03-07T15:45."),
    zone: str | None = typer.Option(None, "--zone", help="Where the patient sleeps (IANA); else the clinic's zone."),
    infusions: int = typer.Option(1, "--infusions", min=1, max=40, help="How many infusions."),
    every: str = typer.Option("3d", "--every", help="From one infusion to the next: 3d, 1wk, 72h."),
    clinic: Path | None = CLINIC,
    language: str | None = typer.Option(None, "--language", help="The patient's: en or es."),
    escort: Escort = _ESCORT,
    ready: bool = typer.Option(True, "--ready/--not-ready", help="Whether everything needed to leave was recorded."),
    profiles: Path | None = PROFILES,
    as_json: bool = typer.Option(False, "--json", help="Print a Bundle of all that would be written."),
) -> None:
    """Show what would be written for one infusion or a course, and when everything opens, is due and expires."""
    with Reported():
        there = zone_of(zone) if zone else None
        if there is None and clinic is None:
            raise typer.BadParameter("say where the patient sleeps, or give --clinic", param_hint="--zone")
        settings = settings_of(clinic, there or ZoneInfo(ZONE))
        there = there or settings.clinic.zone
        scenario = Scenario(
            end=_moment(date, there),
            zone=there,
            infusions=infusions,
            every=_offset(every),
            language=_language(language),
            escort=escort.value,
            ready=ready,
        )
        protocol = load_protocol(read_protocol_files(profiles or settings.profiles))
        simulation = simulate(settings.clinic, protocol, Identifiers(settings.identifier_base), scenario)
    if as_json:
        print_json(json.loads(exact_json.dumps(simulation.bundle)))
    else:
        _print(simulation, settings.clinic, there)


# --- what was asked --------------------------------------------------------------------------------------------------
def _moment(text: str, zone: ZoneInfo) -> datetime:
    """Give the instant of a date and time; without an offset it is on the wall clock of ``zone``, and must be one."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or "T" not in text.upper().replace(" ", "T"):
        raise typer.BadParameter("write date and time, such as 2026-03-07T15:45", param_hint="--date")
    if found.tzinfo is not None:
        return found
    there = wall_clock(found.date(), found.time(), zone)
    if there.replace(tzinfo=None, fold=0) != found:
        raise typer.BadParameter("the clocks skip this time on that day; write another", param_hint="--date")
    if there.replace(fold=0).utcoffset() != there.replace(fold=1).utcoffset():
        both = sorted(there.replace(fold=fold).isoformat()[-6:] for fold in (0, 1))
        raise typer.BadParameter(f"this time comes twice on that day; add {both[0]} or {both[1]}", param_hint="--date")
    return there


def _offset(text: str) -> Offset:
    match = _EVERY.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter("write a number and h, d or wk, such as 3d", param_hint="--every")
    return Offset(Decimal(match[1]), cast("Unit", match[2]))


def _language(given: str | None) -> str | None:
    if given is not None and given not in LANGUAGES:
        raise typer.BadParameter(f"use one of {', '.join(LANGUAGES)}", param_hint="--language")
    return given


# --- what is printed -------------------------------------------------------------------------------------------------
def _print(found: Simulation, clinic: Clinic, zone: ZoneInfo) -> None:
    """Print a table for each infusion, and one of the forms that come later. All times in ``zone``."""
    shown = console()
    shown.print(
        f"At {clinic.name}; times of {zone.key}. As if nobody answered a form or did a Task in between.",
        markup=False,
        soft_wrap=True,
    )
    for each in found.infusions:
        title = f"Infusion {each.number} of {len(found.infusions)}: from {_iso(each.start)} to {_iso(each.end)}"
        title += f" ({long_text(each.end, zone, 'en')}); the patient left {_iso(each.left_at)}"
        shown.print(_table(title, each.rows))
    if found.coming:
        shown.print(_table("Coming: forms that open later, and are made Tasks then", found.coming))


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", expand=False)
    table.add_column("what", overflow="fold", ratio=1)
    table.add_column("who", overflow="fold")
    for name in ("opens", "due", "expires"):
        table.add_column(name, no_wrap=True)
    table.add_column("state")
    for each in rows:
        state = each.state if each.priority == "routine" else f"{each.state}, {each.priority}"
        cells = (each.what, each.who, _iso(each.opens), _iso(each.due), _iso(each.expires), state)
        table.add_row(*(Text(cell) for cell in cells), style=_STYLES.get(each.state))
    return table


def _iso(moment: datetime | None) -> str:
    """Give an instant in ISO 8601 with its offset; whole minutes without seconds."""
    if moment is None:
        return ""
    whole = not (moment.second or moment.microsecond)
    return moment.isoformat(timespec="minutes" if whole else "seconds")
