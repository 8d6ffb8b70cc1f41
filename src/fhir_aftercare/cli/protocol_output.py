"""How ``fhir-aftercare protocol`` shows what it found: for people as text and tables, for programs as JSON."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fhir_aftercare.care import wording
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.lint import Severity
from fhir_aftercare.flows.install_protocol import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.fhir.lint import Finding
    from fhir_aftercare.flows.install_protocol import Installed
    from fhir_aftercare.flows.simulate import Row, Simulation

# Times with their offset need this much room; a terminal that is narrower wraps.
_WIDTH = 132
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_STATE_STYLES = {"superseded": "dim", "coming": "italic", "failed": "red", "done": "green"}


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


# --- lint ------------------------------------------------------------------------------------------------------------
def unreadable(faults: Sequence[str], *, as_json: bool) -> None:
    """Print what cannot be read."""
    if as_json:
        _json({"unreadable": list(faults), "findings": []})
        return
    console = Console(stderr=True, highlight=False)
    for each in faults:
        console.print(each, markup=False, soft_wrap=True)


def findings(found: Sequence[Finding], *, given: int, clinic: str, since: date, as_json: bool) -> None:
    """Print findings by file, the gravest first, and how many there are."""
    count = {severity: sum(each.severity is severity for each in found) for severity in Severity}
    if as_json:
        _json(
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
    console = _console()
    for file, group in groupby(sorted(found, key=lambda each: each.file), key=lambda each: each.file):
        console.print(Text(file or "the protocol as a whole", "bold"), soft_wrap=True)
        for each in group:
            head = Text.assemble("  ", (each.severity.value, _STYLES[each.severity]), f" {each.rule}  {each.path}")
            console.print(head, soft_wrap=True)
            console.print(Text(f"    {each.why}"), soft_wrap=True)
            console.print(Text(f"    → {each.remedy}"), soft_wrap=True)
    console.print(
        f"{given} file(s): {count[Severity.ERROR]} error(s), {count[Severity.WARNING]} warning(s), "
        f"{count[Severity.INFO]} to know. Times were tried for a year from {wording.short_date(since)} at {clinic}.",
        soft_wrap=True,
    )


# --- simulate --------------------------------------------------------------------------------------------------------
def simulation(found: Simulation, clinic: Clinic, zone: ZoneInfo) -> None:
    """Print a table for each infusion, and one of the forms that come later. All times in ``zone``."""
    console = _console()
    console.print(
        f"At {clinic.name}; times of {zone.key}. As if nobody answered a form or did a Task in between.",
        markup=False,
        soft_wrap=True,
    )
    for each in found.infusions:
        title = f"Infusion {each.number} of {len(found.infusions)}: from {_iso(each.start)} to {_iso(each.end)}"
        title += f" ({wording.long_text(each.end, zone, 'en')}); the patient left {_iso(each.left_at)}"
        console.print(_table(title, each.rows))
    if found.coming:
        console.print(_table("Coming: forms that open later, and are made Tasks then", found.coming))


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
        table.add_row(*(Text(cell) for cell in cells), style=_STATE_STYLES.get(each.state))
    return table


def _iso(moment: datetime | None) -> str:
    """Give an instant in ISO 8601 with its offset; whole minutes without seconds."""
    if moment is None:
        return ""
    whole = not (moment.second or moment.microsecond)
    return moment.isoformat(timespec="minutes" if whole else "seconds")


# --- install ---------------------------------------------------------------------------------------------------------
def installed(results: Sequence[Installed], base: str, *, as_json: bool) -> None:
    """Print what became of each file, and what the server said where it refused one."""
    if as_json:
        files = [
            {"file": each.file, "reference": each.reference, "outcome": each.outcome, "said": _said(each)}
            for each in results
        ]
        _json({"fhirBaseUrl": base, **counted(results), "files": files})
        return
    console = _console()
    for each in results:
        console.print(f"{each.outcome:<10} {each.reference}  ({each.file})", markup=False, soft_wrap=True)
        for line in _said(each):
            console.print(f"           {line}", markup=False, soft_wrap=True)
    total = ", ".join(f"{count} {outcome}" for outcome, count in counted(results).items())
    console.print(f"{base}: {total}.", markup=False, soft_wrap=True)
    new = {each.reference for each in results if each.outcome in {"created", "updated"}}
    if f"SearchParameter/{terms.SEARCH_TASK_DUE.rpartition('/')[2]}" in new:
        console.print("Tasks that were there before are found by task-due once the server has indexed them again.")


def _said(each: Installed) -> list[str]:
    """Give the words of a refusal: the error, and what the server's OperationOutcome says of our own definition."""
    if each.error is None:
        return []
    issues = (each.error.outcome or {}).get("issue") or []
    return [each.error.message, *(str(issue["diagnostics"]) for issue in issues if issue.get("diagnostics"))]
