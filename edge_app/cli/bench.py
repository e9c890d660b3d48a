"""`edge-app bench`: hands its arguments to the benchmark harness."""

from __future__ import annotations

import typer

from edge_app.cli import output


def bench(context: typer.Context) -> None:
    """Measure speed and memory on this machine (`edge-app bench --help` for its options).

    \b
    Example:
      edge-app bench --quick
    """
    from benchmarks.__main__ import main

    output.leave(main(context.args) or output.ExitCode.ANSWERED)
