"""Commands that are imported only when they are asked for: each starts with what it needs itself, and no more."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Mapping


def group_of(commands: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    """Give a group of commands: of each name the module, and what is there called, a function or a ``Typer``."""

    class Commands(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
            """Give the names in the order in which one meets them."""
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
            """Give a command; None if there is none of that name."""
            if cmd_name not in commands:
                return None
            module, name = commands[cmd_name]
            found = getattr(import_module(module), name)
            if isinstance(found, typer.Typer):
                return typer.main.get_group(found)
            one = typer.Typer(pretty_exceptions_show_locals=False)
            one.command(cmd_name)(found)
            return typer.main.get_command(one)

    return Commands
