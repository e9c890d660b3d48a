"""`edge-app ask` as a process of its own: signals, pipes and terminals need real ones."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Self, cast

import pytest

from edge_app.assistant import Assistant
from edge_app.cli.ask import Screen, show_turn
from edge_app.events import Event
from edge_app.storage.sessions import SessionStore

WITH_A_FAKE_ENGINE = """
import sys, time
from functools import partial
from edge_app import assistant
from edge_app.cli.main import main
from tests.edge_app.fakes import FakeEngine

def load(report):
    report("pull", "Downloading", 5, 10)

words, pause = int(sys.argv.pop(1)), float(sys.argv.pop(1))
engine = FakeEngine(words=("word ",) * words, before_token=lambda _: time.sleep(pause), loading=load)
assistant.Assistant = partial(assistant.Assistant, load=engine.load)
sys.argv = ["edge-app", *sys.argv[1:]]
main()
"""


def start(*arguments: str, words: int | None = None, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """The command with a fake engine. words: the length of its answer; None is one that never ends by itself."""
    length = ("1000000", "0.02") if words is None else (str(words), "0")
    command = [sys.executable, "-c", WITH_A_FAKE_ENGINE, *length, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def last_status() -> str:
    store = SessionStore.open()
    try:
        return store.get(store.latest()).turns[-1].status
    finally:
        store.close()


def test_ctrl_c_keeps_what_was_printed_and_exits_130() -> None:
    child = start("ask", "?")
    assert child.stdout is not None and child.stderr is not None
    assert child.stdout.read(10) == "word word "
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=240)
    assert child.returncode == 130
    assert out.endswith("\n")
    assert "Traceback" not in err
    assert last_status() == "stopped"


def test_ctrl_c_with_json_still_prints_the_object() -> None:
    child = start("ask", "?", "--json")
    store = SessionStore.open()
    deadline = time.monotonic() + 240
    while not any("word" in t.answer for s in store.recent() for t in store.get(s.id).turns):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    store.close()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=240)
    assert child.returncode == 130, err
    assert json.loads(out)["stop_reason"] == "cancelled"
    assert "word" in json.loads(out)["answer"]


@pytest.mark.parametrize("second", [KeyboardInterrupt, StopIteration])
def test_a_second_ctrl_c_ends_the_command_as_interrupted(second: type[BaseException]) -> None:
    """It comes while the stopped answer is awaited, either here or inside the turn, whose events then just end."""
    raised = iter([KeyboardInterrupt, second])
    cancelled: list[bool] = []

    class Interrupted:
        def __iter__(self) -> Self:
            return self

        def __next__(self) -> Event:
            raise next(raised)

    answering = cast(Assistant, SimpleNamespace(cancel=lambda: cancelled.append(True)))
    with pytest.raises(KeyboardInterrupt):
        show_turn(Interrupted(), Screen(stream=True), answering)
    assert cancelled == [True]


def test_a_reader_that_leaves_ends_it_quietly_and_the_answer_is_saved_as_stopped() -> None:
    child = start("ask", "?")
    assert child.stdout is not None and child.stderr is not None
    assert child.stdout.read(5) == "word "
    child.stdout.close()
    assert child.stderr.read() == "Downloading (0.0 MB)\n"
    assert child.wait(timeout=240) == 141
    assert last_status() == "stopped"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_progress_is_one_changing_line_on_stderr_only() -> None:
    ours, theirs = os.openpty()
    child = start("ask", "?", "--no-stream", words=200, stderr=theirs)
    os.close(theirs)
    out, _ = child.communicate(timeout=240)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert out == "word " * 200 + "\n"
    assert "\r\x1b[2KDownloading" in seen
    assert re.search(r"\r\x1b\[2Kon this device · unsure, \d+%, not calibrated\x1b\[2m · ", seen)
    assert seen.count("\n") == 1
