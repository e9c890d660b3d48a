"""Writes results to stdout and messages to stderr, and sets the exit code.

Progress on a terminal is one line that changes; elsewhere it is one line for each long step. Control characters are
removed from text on a terminal, since models, files and saved chats may contain them. A pipe gets the text unchanged.
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

BROKEN_PIPE = 141  # the status that a shell reports for a program ended by SIGPIPE: 128 + 13
DIM, PLAIN = "\x1b[2m", "\x1b[0m"
CLEAR_LINE = "\r\x1b[2K"
THINKING = "thinking: "
TAKES_LONG = ("pull", "pack", "compile", "wait")
# click's UsageError. Typer may contain a click of its own, so it is taken from typer's exception.
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]


class ExitCode(IntEnum):
    ANSWERED = 0
    MISTAKE = 1
    USAGE = 2
    OFFLINE = 3
    CLOUD_FAILED = 4
    INTERRUPTED = 130


class ReaderGoneError(Exception):
    """The reader of stdout has closed it, as in `edge-app … | head -1`."""


def result(text: str) -> None:
    """Writes one or more lines of the result."""
    result_piece(text + "\n")


def result_piece(text: str) -> None:
    """Writes a part of the result, without a line end. Raises ReaderGoneError when stdout is closed."""
    try:
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None


def result_json(value: Any) -> None:
    result(json.dumps(value, ensure_ascii=False, indent=2))


def say(text: str, aside: str = "") -> None:
    """Writes a message that is not part of the result to stderr. aside: its end, which is dimmed on a terminal."""
    if sys.stderr.isatty():
        dimmed = f"{DIM}{printable(aside)}{PLAIN}" if aside and "NO_COLOR" not in os.environ else aside
        text, aside = printable(text), dimmed
    print(text + aside, file=sys.stderr, flush=True)


def megabytes(count: int) -> str:
    """A size in bytes as text: "98.4 MB" for 98362432."""
    return f"{count / 1e6:.1f} MB"


class ProgressLine:
    """Shows Progress events on stderr: on a terminal as one line that changes, elsewhere a line for each long step."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = False
        self._thought = ""
        self._said: set[tuple[str, str]] = set()

    def show(self, event: Progress) -> None:
        if self._terminal:
            width = max(20, terminal_columns() - 1)
            sys.stderr.write(CLEAR_LINE + one_line(_describe(event))[:width])
            sys.stderr.flush()
            self._shown = True
        elif event.stage in TAKES_LONG and (event.stage, event.message) not in self._said:
            self._said.add((event.stage, event.message))
            size = f" ({megabytes(event.total)})" if event.stage == "pull" and event.total else ""
            say(f"{event.message}{size}")

    def think(self, text: str) -> None:
        """Shows the end of what a model thinks, on a terminal only. text: the next piece."""
        if self._terminal:
            self._thought = (self._thought + text)[-terminal_columns() :]
            room = max(20, terminal_columns() - 1) - len(THINKING)
            sys.stderr.write(CLEAR_LINE + THINKING + one_line(self._thought)[-room:])
            sys.stderr.flush()
            self._shown = True

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()
            self._shown = False


def run(app: typer.Typer) -> None:
    """Runs the command line and exits with its code. Other exceptions than UserError are defects and pass through."""
    try:
        returned = app(prog_name="edge-app", standalone_mode=False)
        # typer returns the code of typer.Exit
        code = returned if isinstance(returned, int) else ExitCode.ANSWERED
    except USAGE_ERROR as error:
        error.message = error.message.replace(
            "Value error, ", "", 1
        )  # pydantic's words, which Typer passes on
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
    """Ends the command with an exit code."""
    raise typer.Exit(code)


def _silence_stdout() -> None:
    """Redirects stdout to the null device, so that flushing it at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe(event: Progress) -> str:
    if event.stage == "pull":
        total = f" of {megabytes(event.total)}" if event.total else ""
        return f"{event.message}: {megabytes(event.done)}{total}"
    if event.stage == "encode" and event.total and event.total > 1:
        return f"{event.message}, tile {min(event.done + 1, event.total)} of {event.total}"
    if event.stage == "wait":
        return f"{event.message}: {event.done} of at most {event.total} s" if event.total else event.message
    if event.total and event.total > 1:
        return f"{event.message}: {event.done} of {event.total}"
    return f"{event.message} …"


def terminal_columns() -> int:
    """The width of the terminal that stderr is."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80
