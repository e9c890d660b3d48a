"""`edge-app eval NAME`: evaluations that are more than rows of questions; any other argument is a file.

Loads an evaluation when its name was given. A file of such a name is meant by "./NAME".
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

NAMED = {
    "continual": "benchmarks.quality.continual_command:continual",
    "router": "benchmarks.quality.router_command:router",
    "confidence": "edge_app.cli.eval.confidence:confidence",
    "scenarios": "benchmarks.quality.scenarios_command:scenarios",
}


class EvaluateCommand(TyperCommand):
    """The command over rows, unless its first argument names another evaluation."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if args and args[0] in NAMED:
            command = typer.main.get_command(_app(_function(NAMED[args[0]])))
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


def _function(place: str) -> Callable[..., None]:
    module, name = place.split(":")
    function: Callable[..., None] = getattr(import_module(module), name)
    return function


def _app(function: Callable[..., None]) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(function)
    return app
