"""Writes results to stdout and messages to stderr, and sets the exit code.

Progress on a terminal is one line that changes; elsewhere it is one line for each long step. Control characters are
removed from text on a terminal, since models, files and saved chats may contain them. A pipe gets the text unchanged.
"""

from __future__ import annotations

import io
import json
import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TextIO

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
_NEAREST = str.maketrans(
    {
        "…": "...",
        "–": "-",
        "—": "-",
        "“": '"',
        "”": '"',
        "‘": "'",
        "’": "'",
        "·": "-",
        "×": "x",
        "→": "->",
        "\u00a0": " ",
    }
)
# click's UsageError. Typer may contain a click of its own, so it is taken from typer's exception.
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]


class ExitCode(IntEnum):
    """What the process returns to the shell (docs/cloud.md, docs/extract.md)."""

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
    """Writes a part of the result, without a line end.

    Raises ReaderGoneError when stdout is closed, and UserError when it cannot be written, as on a full disk.
    """
    try:
        sys.stdout.write(encodable(printable(text) if sys.stdout.isatty() else text, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None
    except OSError as error:
        _silence_stdout()
        raise UserError(f"The result cannot be written to standard output: {error.strerror}.") from error


def result_json(value: Any) -> None:
    """Writes a value as JSON, with escapes for what the encoding of stdout lacks."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    result(text if encodable(text, sys.stdout) == text else json.dumps(value, indent=2))


def encodable(text: str, stream: TextIO) -> str:
    """The text in characters that a stream can write: the nearest ASCII, or else "?"."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(
            encoding, "surrogateescape" if getattr(stream, "errors", "") == "surrogateescape" else "strict"
        )
    except UnicodeEncodeError:
        return text.translate(_NEAREST).encode(encoding, "replace").decode(encoding)
    except LookupError:
        return text
    return text


def is_dumb() -> bool:
    """Whether the terminal cannot move its cursor or change its colours."""
    return os.environ.get("TERM") == "dumb"


def live_stderr() -> bool:
    """Whether stderr is a terminal on which a line can be written over."""
    return sys.stderr.isatty() and not is_dumb()


def say(text: str, aside: str = "") -> None:
    """Writes a message that is not part of the result to stderr. aside: its end, which is dimmed on a terminal."""
    if sys.stderr.isatty():
        plain = not aside or "NO_COLOR" in os.environ or is_dumb()
        text, aside = printable(text), printable(aside) if plain else f"{DIM}{printable(aside)}{PLAIN}"
    print(encodable(text + aside, sys.stderr), file=sys.stderr, flush=True)


def megabytes(count: int) -> str:
    """A size in bytes as text: "98.4 MB" for 98362432."""
    return f"{count / 1e6:.1f} MB"


class ProgressLine:
    """Shows Progress events on stderr: on a terminal as one line that changes, elsewhere a line for each long step."""

    def __init__(self) -> None:
        self._terminal = live_stderr()
        self._shown = False
        self._thought = ""
        self._said: set[tuple[str, str]] = set()

    def show(self, event: Progress) -> None:
        if self._terminal:
            width = max(20, terminal_columns() - 1)
            sys.stderr.write(CLEAR_LINE + encodable(one_line(_describe(event))[:width], sys.stderr))
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
    _allow_any_text()
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


def _allow_any_text() -> None:
    """Lets help and usage, which are not written by this module, pass through a stream that is not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


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
