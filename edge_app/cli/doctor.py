"""`edge-app doctor`: shows the machine, the installation, the locations of files, and problems."""

from __future__ import annotations

import sys
from typing import Any

from edge_app.cli import output
from edge_app.cli.options import JsonOption
from edge_app.system.terminal_text import text_table


def doctor(json: JsonOption = False) -> None:
    """Show processor, kernels, memory, versions, files, and problems. Exit code 1 when there are problems.

    \b
    Example:
      edge-app doctor --json
    """
    from edge_app.engine.diagnosis import diagnose

    diagnosis = diagnose()
    facts = {**diagnosis.facts, "terminal": _terminal()}
    if json:
        output.result_json({**facts, "problems": list(diagnosis.problems)})
    else:
        output.result("\n\n".join(f"{name.capitalize()}\n{_section(value)}" for name, value in facts.items()))
        for problem in diagnosis.problems:
            output.say(f"Problem: {problem}")
    if diagnosis.problems:
        output.leave(output.ExitCode.MISTAKE)


def _terminal() -> dict[str, Any]:
    """The graphics protocol for images; None when stdin or stdout is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return {"images": None}
    from textual_image.renderable import Image

    return {"images": Image.__module__.rpartition(".")[2]}


def _section(value: Any) -> str:
    rows = list(_lines(value))
    return text_table(rows) if rows else "  none"


def _lines(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [(f"  {key}", _short(key, item)) for key, item in value.items()]
    return [("  " + _short("", item), "") for item in value]


def _short(key: str, value: Any) -> str:
    match value:
        case {"path": path, "exists": exists}:
            return f"{path}{'' if exists else '  (not there yet)'}"
        case {"files": files, "bytes": size}:
            return f"{files} files, {output.megabytes(size)}"
        case dict():
            return ", ".join(f"{name} {_short(name, item)}" for name, item in value.items()) or "none"
        case list():
            return " ".join(map(str, value)) or "none"
        case int() if key in ("total", "available", "bytes", "memory"):
            return output.megabytes(value)
        case _:
            return "-" if value is None else str(value)
