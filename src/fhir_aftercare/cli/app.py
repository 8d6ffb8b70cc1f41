"""What ``fhir-aftercare`` can do. Progress goes to standard error, results to standard output.

A command is imported only when it is asked for: the service starts in half the time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup

from fhir_aftercare import __version__

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


class Commands(TyperGroup):
    """The commands by name, each imported when it is needed."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Give the names in the order in which one meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Give a command; None if there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        found = getattr(import_module(module), name)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        one = typer.Typer(pretty_exceptions_show_locals=False)
        one.command(cmd_name)(found)
        return typer.main.get_command(one)


app = typer.Typer(
    name="fhir-aftercare",
    help="Aftercare of ketamine infusions on FHIR R4.",
    cls=Commands,
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
