"""What ``fhir-aftercare`` can do. Progress goes to standard error, results to standard output."""

from __future__ import annotations

import typer

from fhir_aftercare import __version__
from fhir_aftercare.cli import demo, serve

app = typer.Typer(
    name="fhir-aftercare",
    help="Aftercare of ketamine infusions on FHIR R4.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Aftercare of ketamine infusions on FHIR R4."""
