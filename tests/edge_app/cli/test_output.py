"""What the command line writes: a terminal is never controlled by what is said, a pipe gets it unchanged."""

from __future__ import annotations

import io
import json
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


class Latin(io.TextIOWrapper):
    """A stream that is not UTF-8, as under an older locale."""

    def __init__(self, encoding: str = "latin-1") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    @property
    def written(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined, no-any-return]


def test_what_a_stream_cannot_write_becomes_the_nearest_that_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout, stderr = Latin(), Latin("ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    output.result("Müller’s harbour… 日本")
    output.say("It’s here · 5 × 3")
    assert stdout.written == "Müller's harbour... ??\n"
    assert stderr.written == "It's here - 5 x 3\n"


def test_json_keeps_every_character_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"answer": "日本 🎈 … é"}
    for encoding in ("latin-1", "utf-8"):
        stdout = Latin(encoding)
        monkeypatch.setattr(sys, "stdout", stdout)
        output.result_json(value)
        assert json.loads(stdout.written) == value
        assert ("日本" in stdout.written) == (encoding == "utf-8")


def test_a_name_that_is_no_text_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = Latin("utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    output.result("photo\udcff.png")
    assert stdout.written == "photo?.png\n"


def test_nothing_is_written_over_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    output.ProgressLine().show(Progress("encode", "Looking at a.jpg", 0, 1))
    output.say("Done.", " · fast")
    assert terminal.getvalue() == "Done. · fast\n"
