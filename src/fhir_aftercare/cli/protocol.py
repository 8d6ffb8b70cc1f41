"""``fhir-aftercare protocol``: lint a protocol, see what it would do and when, install it in a FHIR server.

Each command reads files, asks the part that decides, and prints; results on standard output, everything else beside it.
"""

from __future__ import annotations

import typer

from fhir_aftercare.cli.lazy import group_of

app = typer.Typer(
    name="protocol",
    cls=group_of(
        {
            "lint": ("fhir_aftercare.cli.protocol_lint", "lint_command"),
            "simulate": ("fhir_aftercare.cli.protocol_simulate", "simulate_command"),
            "install": ("fhir_aftercare.cli.protocol_install", "install_command"),
        }
    ),
    no_args_is_help=True,
)


@app.callback()
def protocol() -> None:
    """Check a protocol, see what it would do, install it."""
