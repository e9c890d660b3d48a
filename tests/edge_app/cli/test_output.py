"""What the command line writes: a terminal is never controlled by what is said, a pipe gets it unchanged."""

from __future__ import annotations

import io
import sys

import pytest

from edge_app.cli import output
from edge_app.events import Progress

HOSTILE = "ok\x1b]52;c;ZXZpbA==\x07\x1b[31m\x9b2J\u202e"
HARMLESS = "ok]52;c;ZXZpbA==[31m2J"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_terminal_is_not_controlled_by_what_is_said(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, stream, terminal)
    (output.result if stream == "stdout" else output.say)(HOSTILE)
    assert terminal.getvalue() == HARMLESS + "\n"


def test_the_progress_line_stays_one_line_whatever_a_file_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    output.ProgressLine().show(Progress("encode", f"Looking at a\n{HOSTILE}", 0, 1))
    assert terminal.getvalue() == f"{output.CLEAR_LINE}Looking at a {HARMLESS} …"


def test_an_image_is_looked_at_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    output.ProgressLine().show(Progress("encode", "Looking at a.jpg", 2, 13))
    assert terminal.getvalue() == f"{output.CLEAR_LINE}Looking at a.jpg, tile 3 of 13"


def test_a_pipe_gets_a_result_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.result(HOSTILE)
    assert capsys.readouterr().out == HOSTILE + "\n"
