"""``fhir-aftercare protocol install``: load the definitions and profiles into a FHIR server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path  # noqa: TC003 (typer needs it)
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import httpx
import typer

from fhir_aftercare.cli.given_token import GivenToken, given_token
from fhir_aftercare.cli.protocol_asked import CLINIC, PROFILES, ZONE, Reported, console, print_json, settings_of
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.loading import load_protocol
from fhir_aftercare.flows.install_protocol import counted, install_protocol
from fhir_aftercare.protocol_files import read_protocol_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.flows.install_protocol import Installed

Resource = dict[str, Any]


def install_command(
    fhir_base_url: str | None = typer.Option(None, "--fhir-base-url", help="The FHIR R4 server; else the clinic's."),
    clinic: Path | None = CLINIC,
    profiles: Path | None = PROFILES,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Load the definitions and profiles into a FHIR server; repeat it as you like.

    A bearer token, if the server asks for one, is taken from the variable AFTERCARE_FHIR_TOKEN.
    """
    with Reported():
        base = fhir_base_url or (settings_of(clinic, ZoneInfo(ZONE)).fhir_base_url if clinic else None)
        if base is None:
            raise typer.BadParameter("say which server, or give --clinic", param_hint="--fhir-base-url")
        try:
            token = given_token(base, os.environ)
        except ConfigFault as fault:
            raise typer.BadParameter("; ".join(fault.faults), param_hint="--fhir-base-url") from None
        files = read_protocol_files(profiles)
        load_protocol(files)
        results = asyncio.run(_install(base, token, files))
    _print(results, base, as_json=as_json)
    raise typer.Exit(1 if any(each.error for each in results) else 0)


async def _install(base: str, token: GivenToken | None, files: dict[str, Resource]) -> list[Installed]:
    async with httpx.AsyncClient() as http:
        return await install_protocol(FhirClient(base, http, token=token), files)


def _print(results: Sequence[Installed], base: str, *, as_json: bool) -> None:
    """Print what became of each file, and what the server said where it refused one."""
    if as_json:
        files = [
            {"file": each.file, "reference": each.reference, "outcome": each.outcome, "said": _said(each)}
            for each in results
        ]
        print_json({"fhirBaseUrl": base, **counted(results), "files": files})
        return
    shown = console()
    for each in results:
        shown.print(f"{each.outcome:<10} {each.reference}  ({each.file})", markup=False, soft_wrap=True)
        for line in _said(each):
            shown.print(f"           {line}", markup=False, soft_wrap=True)
    total = ", ".join(f"{count} {outcome}" for outcome, count in counted(results).items())
    shown.print(f"{base}: {total}.", markup=False, soft_wrap=True)
    new = {each.reference for each in results if each.outcome in {"created", "updated"}}
    if f"SearchParameter/{terms.SEARCH_TASK_DUE.rpartition('/')[2]}" in new:
        shown.print("Tasks that were there before are found by task-due once the server has indexed them again.")


def _said(each: Installed) -> list[str]:
    """Give the words of a refusal: the error, and what the server's OperationOutcome says of our own definition."""
    if each.error is None:
        return []
    issues = (each.error.outcome or {}).get("issue") or []
    return [each.error.message, *(str(issue["diagnostics"]) for issue in issues if issue.get("diagnostics"))]
