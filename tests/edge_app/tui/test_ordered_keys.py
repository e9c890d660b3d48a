"""Keys that come faster than they are handled: none is lost, none counts twice, and they keep their order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_app.tui.composer import attaching
from edge_app.tui.composer.attachments import Attachment
from edge_app.tui.windows.adapters_window import AdaptersWindow
from edge_app.tui.windows.finder import Found
from tests.edge_app.tui.conftest import MakeApp, ScriptedAssistant, burst, settled, type_text, until


@pytest.mark.parametrize(
    ("typed", "asked", "left"),
    [
        ("hellp\x7fo\r", [("hello", "auto")], ""),
        ("lost\x15found\r", [("found", "auto")], ""),
        ("abc\x03", [], ""),
        ("one\r\r", [("one", "auto")], ""),
        ("one\r\x0etwo", [("one", "auto")], "two"),
        ("/adapter receipts\r/mode fast\rone\r", [("one", "receipts")], ""),
        ("/adapter receipts\r/adapter medical\r\rone\r\r", [("one", "medical")], ""),
        ("/ad\trec\rone\r", [("one", "receipts")], ""),
        ("/adapters\r\rrec\rone\r", [("one", "receipts")], ""),
        ("Is @cat.png a cat?\r", [("Is the image a cat?", "auto")], ""),
        ("What is @cat.png\rnext", [("What is the image", "auto")], "next"),
        ("What is @re\t in it?\r", [("What is the image in it?", "auto")], ""),
        ("/set seed 5\r\rone\r", [("one", "auto")], ""),
    ],
)
async def test_a_burst_of_keys_does_what_the_same_keys_do_one_by_one(
    make_app: MakeApp, assistant: ScriptedAssistant, typed: str, asked: list[tuple[str, str]], left: str
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await settled(pilot)
        burst(app, typed)
        await settled(pilot)
        await settled(pilot)
        assert [(turn.question, turn.adapter) for turn in assistant.turns] == asked
        assert [len(turn.images) for turn in assistant.turns] == ["@" in typed] * len(asked)
        assert app.chat.composer.prompt.text == left
        assert not app.chat.composer.busy


@dataclass(frozen=True)
class Reading:
    """The reading of an attached image. begun: set when it begins. go_on: ends it when it is set."""

    begun: threading.Event
    go_on: threading.Event


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    read, reading = attaching.read_attachment, Reading(threading.Event(), threading.Event())

    def slowly(source: Path) -> Attachment:
        reading.begun.set()
        assert reading.go_on.wait(240)
        return read(source)

    monkeypatch.setattr(attaching, "read_attachment", slowly)
    return reading


async def test_keys_wait_while_the_image_of_a_question_is_read(
    make_app: MakeApp, assistant: ScriptedAssistant, reading: Reading
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await settled(pilot)
        app.chat.composer.prompt.recall("Is @cat.png a cat?")
        burst(app, "\r\rnext")
        await until(pilot, reading.begun.is_set)
        assert app.chat.composer.prompt.text == "Is @cat.png a cat?"
        reading.go_on.set()
        await settled(pilot)
        assert [(turn.question, len(turn.images)) for turn in assistant.turns] == [("Is the image a cat?", 1)]
        assert (app.chat.composer.prompt.text, app.chat.composer.busy) == ("next", False)


@pytest.mark.parametrize("key", ["\x1b", "\x03"])
async def test_a_key_that_stops_does_not_wait_and_what_was_typed_stays(
    make_app: MakeApp, assistant: ScriptedAssistant, reading: Reading, key: str
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await settled(pilot)
        prompt = app.chat.composer.prompt
        prompt.recall("Is @cat.png a cat?")
        burst(app, "\r Or\r")
        await until(pilot, reading.begun.is_set)
        burst(app, f"{key} not?")
        await until(pilot, lambda: prompt.text.endswith("not?"))
        assert (prompt.text, prompt.sending) == ("Is @cat.png a cat? Or not?", False)
        reading.go_on.set()
        await settled(pilot)
        assert (assistant.turns, app.chat.composer.busy) == ([], False)
        burst(app, "\r")
        await settled(pilot)
        assert [turn.question for turn in assistant.turns] == ["Is the image a cat? Or not?"]


async def test_keys_behind_a_command_that_opens_a_window_go_to_the_window(
    make_app: MakeApp, assistant: ScriptedAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched, listed = threading.Event(), threading.Event()
    find = AdaptersWindow.find

    def slowly(window: AdaptersWindow, words: str) -> Sequence[Found]:
        if words == "rec":
            searched.set()
            assert listed.wait(240)
        return find(window, words)

    app = make_app()
    monkeypatch.setattr(AdaptersWindow, "find", slowly)
    async with app.run_test() as pilot:
        await settled(pilot)
        burst(app, "/adapters\r\rrec\rone\r")
        await until(pilot, searched.is_set)
        assert assistant.turns == []
        listed.set()
        await settled(pilot)
        await settled(pilot)
        assert [(turn.question, turn.adapter) for turn in assistant.turns] == [("one", "receipts")]


async def test_text_behind_a_mention_that_is_taken_stays_behind_it(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "Is @c")
        burst(app, "\t a cat?")
        await settled(pilot)
        assert app.chat.composer.prompt.text == "Is the image a cat?"
