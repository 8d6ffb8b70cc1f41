"""``fhir-aftercare protocol lint``: find everything that is wrong with a protocol, before a patient does."""

from __future__ import annotations

import tempfile
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.text import Text

from fhir_aftercare.care import wording
from fhir_aftercare.cli.protocol_asked import CLINIC, ZONE, console, print_json, settings_of
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.fhir.lint import Severity, is_clean, lint
from fhir_aftercare.protocol_files import read_protocol_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from fhir_aftercare.fhir.lint import Finding

Resource = dict[str, Any]

_FINDINGS, _UNREADABLE = 1, 2
_PATHS = typer.Argument(..., help="Files or folders; a file is looked at together with the shipped rest.")
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def lint_command(
    paths: list[Path] = _PATHS,
    clinic: Path | None = CLINIC,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Find everything wrong with a protocol at once. Exit code 0: clean, 1: something to mend, 2: cannot be read."""
    try:
        here = settings_of(clinic, ZoneInfo(ZONE)).clinic
        given, rest = _files(paths)
    except ConfigFault as fault:
        _unreadable(fault.faults, as_json=as_json)
        raise typer.Exit(_UNREADABLE) from None
    known = {f"{each['url']}|{each.get('version')}" for each in read_protocol_files(None).values()}
    since = datetime.now(here.zone).date()
    found = [
        each
        for each in lint({**rest, **given}, here, since=since, known=known)
        if each.file not in rest or each.severity is not Severity.INFO
    ]
    _print(found, given=len(given), clinic=here.id, since=since, as_json=as_json)
    raise typer.Exit(0 if is_clean(found) else _FINDINGS)


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


# --- what is printed -------------------------------------------------------------------------------------------------
def _unreadable(faults: Sequence[str], *, as_json: bool) -> None:
    """Print what cannot be read."""
    if as_json:
        print_json({"unreadable": list(faults), "findings": []})
        return
    beside = Console(stderr=True, highlight=False)
    for each in faults:
        beside.print(each, markup=False, soft_wrap=True)


def _print(found: Sequence[Finding], *, given: int, clinic: str, since: date, as_json: bool) -> None:
    """Print findings by file, the gravest first, and how many there are."""
    count = {severity: sum(each.severity is severity for each in found) for severity in Severity}
    if as_json:
        print_json(
            {
                "unreadable": [],
                "files": given,
                "clinic": clinic,
                "since": since.isoformat(),
                "errors": count[Severity.ERROR],
                "warnings": count[Severity.WARNING],
                "information": count[Severity.INFO],
                "findings": [each.as_json() for each in found],
            }
        )
        return
    shown = console()
    for file, group in groupby(sorted(found, key=lambda each: each.file), key=lambda each: each.file):
        shown.print(Text(file or "the protocol as a whole", "bold"), soft_wrap=True)
        for each in group:
            head = Text.assemble("  ", (each.severity.value, _STYLES[each.severity]), f" {each.rule}  {each.path}")
            shown.print(head, soft_wrap=True)
            shown.print(Text(f"    {each.why}"), soft_wrap=True)
            shown.print(Text(f"    → {each.remedy}"), soft_wrap=True)
    shown.print(
        f"{given} file(s): {count[Severity.ERROR]} error(s), {count[Severity.WARNING]} warning(s), "
        f"{count[Severity.INFO]} to know. Times were tried for a year from {wording.short_date(since)} at {clinic}.",
        soft_wrap=True,
    )
