"""What ``fhir-aftercare`` can do. Progress goes to standard error, results to standard output.

A command is imported only when it is asked for: the service starts in half the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from fhir_aftercare import __version__
from fhir_aftercare.cli.lazy import group_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "serve": ("fhir_aftercare.cli.serve", "serve"),
    "demo": ("fhir_aftercare.cli.demo", "demo"),
    "protocol": ("fhir_aftercare.cli.protocol", "app"),
    "work": ("fhir_aftercare.cli.work", "app"),
    "subscribe": ("fhir_aftercare.cli.subscribe", "subscribe"),
    "keys": ("fhir_aftercare.cli.keys", "app"),
    "openapi": ("fhir_aftercare.cli.openapi", "openapi"),
}


app = typer.Typer(
    name="fhir-aftercare",
    help="Aftercare of ketamine infusions on FHIR R4.",
    cls=group_of(_COMMANDS),
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Aftercare of ketamine infusions on FHIR R4."""
