"""``fhir-aftercare openapi``: the OpenAPI 3.1 file of the API, written or compared, without starting any server.

The file is made of the application itself: what it says is what is served. Settings and environment do not change it.
"""

from __future__ import annotations

import difflib
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fhir_aftercare.config import Settings
from fhir_aftercare.service import create_app

if TYPE_CHECKING:
    from yaml import Node, SafeDumper

DEFAULT = Path("openapi/openapi.yaml")
_STDOUT = Path("-")
_SHOWN = 40
_HEAD = "# Made by `make openapi` from the application. Do not edit: a test compares it.\n"


def openapi(
    path: Annotated[Path, typer.Argument(help="The file; - is standard output.")] = DEFAULT,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if the file is not up to date.")
    ] = False,
) -> None:
    """Write the OpenAPI file of the REST API, or check that it is up to date."""
    wanted = document_text()
    if path == _STDOUT:
        sys.stdout.write(wanted)
        return
    found = path.read_text("utf-8") if path.is_file() else ""
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, "utf-8")
        typer.echo(f"{path}: {'unchanged' if found == wanted else 'written'}", err=True)
    elif found != wanted:
        changes = difflib.unified_diff(
            found.splitlines(), wanted.splitlines(), str(path), "the application", lineterm=""
        )
        typer.echo("\n".join(islice(changes, _SHOWN)), err=True)
        typer.echo(f"{path} is not what the application serves. Run: make openapi", err=True)
        raise typer.Exit(1)


def document_text() -> str:
    """Give the OpenAPI document of the service as YAML, the same on every machine."""
    import yaml  # noqa: PLC0415  (the service itself starts without it)

    class Dumper(yaml.SafeDumper):
        """Writes texts of several lines as they are, and everything where it stands instead of by reference."""

        def ignore_aliases(self, _: Any) -> bool:
            return True

    Dumper.add_representer(str, _text)
    app = create_app(Settings.model_construct())
    written = yaml.dump(app.openapi(), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)
    return _HEAD + written


def _text(dumper: SafeDumper, value: str) -> Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)
