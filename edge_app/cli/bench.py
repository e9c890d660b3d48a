"""`edge-app bench`: hands its arguments to the benchmark harness."""

from __future__ import annotations

from importlib import import_module

import typer

from edge_app.cli import output


def bench(context: typer.Context) -> None:
    """Measure speed and memory on this machine (`edge-app bench --help` for its options).

    \b
    Example:
      edge-app bench --quick
    """
    harness = import_module("benchmarks.__main__")  # by name: benchmarks stands above edge_app
    output.leave(harness.main(context.args) or output.ExitCode.ANSWERED)
