"""``fhir-aftercare protocol``: lint a protocol, see what it would do and when, install it in a FHIR server.

Each command reads files, asks the part that decides, and prints; results on standard output, everything else beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx
import typer
from rich.console import Console

from fhir_aftercare.care.clinic import Clinic
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.timing import Offset, OpenHours, wall_clock, zone_of
from fhir_aftercare.care.wording import LANGUAGES
from fhir_aftercare.cli import protocol_output as output
from fhir_aftercare.clinic_file import ClinicSettings, read_clinic_file
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import AftercareError, ConfigFault
from fhir_aftercare.fhir import exact_json, terms
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.fhir.lint import Severity, is_clean, lint
from fhir_aftercare.fhir.loading import load_protocol
from fhir_aftercare.flows.install_protocol import install_protocol
from fhir_aftercare.flows.simulate import Scenario, simulate
from fhir_aftercare.loopback import is_loopback
from fhir_aftercare.protocol_files import read_protocol_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.care.timing import Unit
    from fhir_aftercare.flows.install_protocol import Installed


class Escort(Enum):
    """What is known of the escort when the patient leaves."""

    PRESENT = "present"
    LEFT_ALONE = "left-alone"
    NOT_RECORDED = "not-recorded"


app = typer.Typer(name="protocol", help="Check a protocol, see what it would do, install it.", no_args_is_help=True)

Resource = dict[str, Any]

_FINDINGS, _UNREADABLE = 1, 2
_ZONE = "America/New_York"
_EVERY = re.compile(r"(\d{1,4})\s*(h|d|wk)")
_TOKEN = "AFTERCARE_FHIR_TOKEN"  # noqa: S105 - the name of a variable, not a token
_PATHS = typer.Argument(..., help="Files or folders; a file is looked at together with the shipped rest.")
_CLINIC = typer.Option(None, "--clinic", help="A clinic's TOML file: its zone, call hours, policy, language.")
_PROFILES = typer.Option(None, "--profiles", help="Folder of protocol files, instead of the shipped ones.")
_ESCORT = typer.Option(Escort.PRESENT, "--escort", help="What is known of the escort when the patient leaves.")


@app.command("lint")
def lint_command(
    paths: list[Path] = _PATHS,
    clinic: Path | None = _CLINIC,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Find everything wrong with a protocol at once. Exit code 0: clean, 1: something to mend, 2: cannot be read."""
    try:
        here = _settings(clinic, ZoneInfo(_ZONE)).clinic
        given, rest = _files(paths)
    except ConfigFault as fault:
        output.unreadable(fault.faults, as_json=as_json)
        raise typer.Exit(_UNREADABLE) from None
    known = {f"{each['url']}|{each.get('version')}" for each in read_protocol_files(None).values()}
    since = datetime.now(here.zone).date()
    found = [
        each
        for each in lint({**rest, **given}, here, since=since, known=known)
        if each.file not in rest or each.severity is not Severity.INFO
    ]
    output.findings(found, given=len(given), clinic=here.id, since=since, as_json=as_json)
    raise typer.Exit(0 if is_clean(found) else _FINDINGS)


@app.command("simulate")
def simulate_command(
    *,
    date: str = typer.Option(..., "--date", help="When the (first) infusion ends, such as 2026-03-07T15:45."),
    zone: str | None = typer.Option(None, "--zone", help="Where the patient sleeps (IANA); else the clinic's zone."),
    infusions: int = typer.Option(1, "--infusions", min=1, max=40, help="How many infusions."),
    every: str = typer.Option("3d", "--every", help="From one infusion to the next: 3d, 1wk, 72h."),
    clinic: Path | None = _CLINIC,
    language: str | None = typer.Option(None, "--language", help="The patient's: en or es."),
    escort: Escort = _ESCORT,
    ready: bool = typer.Option(True, "--ready/--not-ready", help="Whether everything needed to leave was recorded."),
    profiles: Path | None = _PROFILES,
    as_json: bool = typer.Option(False, "--json", help="Print a Bundle of all that would be written."),
) -> None:
    """Show what would be written for one infusion or a course, and when everything opens, is due and expires."""
    with _Reported():
        there = zone_of(zone) if zone else None
        if there is None and clinic is None:
            raise typer.BadParameter("say where the patient sleeps, or give --clinic", param_hint="--zone")
        settings = _settings(clinic, there or ZoneInfo(_ZONE))
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
        _print(simulation.bundle)
    else:
        output.simulation(simulation, settings.clinic, there)


@app.command("install")
def install_command(
    fhir_base_url: str | None = typer.Option(None, "--fhir-base-url", help="The FHIR R4 server; else the clinic's."),
    clinic: Path | None = _CLINIC,
    profiles: Path | None = _PROFILES,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Load the definitions and profiles into a FHIR server; repeat it as you like.

    A bearer token, if the server asks for one, is taken from the variable AFTERCARE_FHIR_TOKEN.
    """
    with _Reported():
        base = fhir_base_url or (_settings(clinic, ZoneInfo(_ZONE)).fhir_base_url if clinic else None)
        if base is None:
            raise typer.BadParameter("say which server, or give --clinic", param_hint="--fhir-base-url")
        token = os.environ.get(_TOKEN)
        parts = urlsplit(base)
        if token and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise typer.BadParameter("a token is only sent over https", param_hint="--fhir-base-url")
        files = read_protocol_files(profiles)
        load_protocol(files)
        results = asyncio.run(_install(base, token, files))
    output.installed(results, base, as_json=as_json)
    raise typer.Exit(1 if any(each.error for each in results) else 0)


async def _install(base: str, token: str | None, files: dict[str, Resource]) -> list[Installed]:
    async with httpx.AsyncClient() as http:
        return await install_protocol(FhirClient(base, http, token=_FixedToken(token) if token else None), files)


class _FixedToken:
    """A token that was given and cannot be renewed."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token

    async def renew(self) -> str:
        return self._token


class _Reported:
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


def _print(resource: Resource) -> None:
    sys.stdout.write(json.dumps(json.loads(exact_json.dumps(resource)), indent=2, ensure_ascii=False) + "\n")


# --- what was asked --------------------------------------------------------------------------------------------------
def _files(paths: Sequence[Path]) -> tuple[dict[str, Resource], dict[str, Resource]]:
    """Give the definitions that were named, by path, and those they are looked at with, by file name.

    A folder is a whole protocol. Raises ``ConfigFault`` with everything that cannot be read.
    """
    given: dict[str, Resource] = {}
    faults: list[str] = []
    for path in paths:
        try:
            given.update(_named(path))
        except ConfigFault as fault:
            faults += fault.faults
    if faults:
        raise ConfigFault(faults)
    if any(path.is_dir() for path in paths):
        return given, {}
    named = {(each["url"], each.get("version")) for each in given.values()}
    shipped = read_protocol_files(None)
    return given, {name: each for name, each in shipped.items() if (each["url"], each.get("version")) not in named}


def _named(path: Path) -> dict[str, Resource]:
    if path.is_dir():
        return {str(path / name): each for name, each in read_protocol_files(path).items()}
    with tempfile.TemporaryDirectory() as alone:
        try:
            (Path(alone) / "one.json").write_bytes(path.read_bytes())
            return {str(path): each for each in read_protocol_files(Path(alone)).values()}
        except OSError as error:
            raise ConfigFault([f"{path}: the file cannot be read ({error.strerror})."]) from None
        except ConfigFault as fault:
            raise ConfigFault([each.replace("one.json", str(path)) for each in fault.faults]) from None


def _settings(path: Path | None, zone: ZoneInfo) -> ClinicSettings:
    """Give the clinic of a file, else one in ``zone`` that calls on weekdays from 9 to 18. Raises ``ConfigFault``."""
    if path is None:
        weekdays = {day: ((time(9), time(18)),) for day in range(5)}
        return ClinicSettings(
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
    try:
        return read_clinic_file(path)
    except ConfigFault as fault:
        raise ConfigFault([f"{path}: {each}" for each in fault.faults]) from None


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
