"""The one place that writes to stdout and stderr and decides exit codes.

Results go to stdout, everything else to stderr. Without a terminal there is no cursor movement and no
repetition: a line for each thing that takes long, once. What a model, a file or a saved chat says never
controls the terminal; a pipe gets it as it is.
"""

from __future__ import annotations

import json
import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import typer

from edge_app.system.terminal_text import one_line, printable
from models.core.errors import UserError

if TYPE_CHECKING:
    from edge_app.events import Progress

BROKEN_PIPE = 141  # what a shell reports of a program that SIGPIPE ended
CLEAR_LINE = "\r\x1b[2K"
TAKES_LONG = ("pull", "pack", "compile")
USAGE_ERROR: Any = typer.BadParameter.__bases__[
    0
]  # click's UsageError, of whichever click typer brings along


class ExitCode(IntEnum):
    ANSWERED = 0
    MISTAKE = 1
    USAGE = 2
    OFFLINE = 3
    CLOUD_FAILED = 4
    INTERRUPTED = 130


class ReaderGoneError(Exception):
    """Nobody reads stdout any more: `edge-app … | head -1`."""


def result(text: str) -> None:
    """A line, or several, of the result."""
    result_piece(text + "\n")


def result_piece(text: str) -> None:
    """A piece of the result that is still coming."""
    try:
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None


def result_json(value: Any) -> None:
    result(json.dumps(value, ensure_ascii=False, indent=2))


def say(text: str) -> None:
    """Something for the user that is not part of the result."""
    print(printable(text) if sys.stderr.isatty() else text, file=sys.stderr, flush=True)


def megabytes(count: int) -> str:
    """Bytes for people: 98362432 is "98.4 MB"."""
    return f"{count / 1e6:.1f} MB"


class ProgressLine:
    """Shows Progress events: on a terminal as one line that changes, elsewhere a line for each long thing."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = False
        self._said: set[tuple[str, str]] = set()

    def show(self, event: Progress) -> None:
        if self._terminal:
            width = max(20, _columns() - 1)
            sys.stderr.write(CLEAR_LINE + one_line(_describe(event))[:width])
            sys.stderr.flush()
            self._shown = True
        elif event.stage in TAKES_LONG and (event.stage, event.message) not in self._said:
            self._said.add((event.stage, event.message))
            size = f" ({megabytes(event.total)})" if event.stage == "pull" and event.total else ""
            say(f"{event.message}{size}")

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()
            self._shown = False


def run(app: typer.Typer) -> None:
    """Runs the program and leaves with the right code; what is no UserError is a defect and shows."""
    try:
        returned = app(prog_name="edge-app", standalone_mode=False)
        code = returned if isinstance(returned, int) else ExitCode.ANSWERED  # `leave` comes back as its code
    except USAGE_ERROR as error:
        error.show(file=sys.stderr)
        code = ExitCode.USAGE
    except UserError as error:
        say(f"edge-app: {error}")
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        say("")
        code = ExitCode.INTERRUPTED
    except ReaderGoneError:
        code = BROKEN_PIPE
        _silence_stdout()
    sys.exit(code)


def leave(code: int) -> None:
    """Ends the command with a code, after it has said why."""
    raise typer.Exit(code)


def _silence_stdout() -> None:
    """Keeps the interpreter from complaining at exit about what it can no longer write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe(event: Progress) -> str:
    if event.stage == "pull":
        total = f" of {megabytes(event.total)}" if event.total else ""
        return f"{event.message}: {megabytes(event.done)}{total}"
    if event.total and event.total > 1:
        return f"{event.message}: {event.done} of {event.total}"
    return f"{event.message} …"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80
