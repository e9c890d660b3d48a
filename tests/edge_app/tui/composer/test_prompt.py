"""Typing: several lines, history, commands, Ctrl+C."""

from __future__ import annotations

import threading

import pytest
from textual import events
from textual.widgets import Static

from edge_app.storage.sessions import SessionStore
from edge_app.tui.composer.commands import COMMANDS
from edge_app.tui.composer.prompt import FoldedTexts
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.conversation.messages import QuestionView
from edge_app.tui.status import StatusLine
from tests.edge_app.tui.conftest import (
    Clock,
    MakeApp,
    ScriptedAssistant,
    is_typing,
    notice,
    press,
    settled,
    type_text,
)


async def test_keys_arrive_and_a_new_line_does_not_send(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await press(pilot, "a", "ctrl+j", "b", "shift+enter", "alt+enter", "c")
        assert app.chat.composer.prompt.text == "a\nb\n\nc"
        assert assistant.turns == []
        await press(pilot, "enter")
        assert [turn.question for turn in assistant.turns] == ["a\nb\n\nc"]


async def test_enter_waits_for_what_was_typed_before_it(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        for key in ("h", "i", "enter"):  # all at once, as a fast typist's keys reach a busy machine
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await settled(pilot)
        assert [turn.question for turn in assistant.turns] == ["hi"]


async def test_up_and_down_move_within_the_text_and_beyond_it_through_the_history(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        for text in ("/mode fast", "one\ntwo"):
            await type_text(pilot, text)
            await press(pilot, "enter")
        prompt = app.chat.composer.prompt
        await type_text(pilot, "draft")
        await press(pilot, "up")
        assert prompt.text == "one\ntwo"
        await press(pilot, "up")
        assert prompt.text == "one\ntwo"
        await press(pilot, "up")
        assert prompt.text == "/mode fast"
        assert not prompt.suggesting
        await press(pilot, "down", "down")
        assert prompt.text == "draft"


async def test_questions_of_earlier_chats_are_in_the_history(make_app: MakeApp, store: SessionStore) -> None:
    store.begin_turn(session=None, question="asked yesterday", images=(), system=None)
    app = make_app(store)
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "up")
        assert app.chat.composer.prompt.text == "asked yesterday"


async def test_an_unknown_command_is_told_and_kept(make_app: MakeApp, assistant: ScriptedAssistant) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "/frobnicate now")
        await press(pilot, "enter")
        assert notice(app) == "There is no command /frobnicate; /help lists them."
        assert app.chat.composer.prompt.text == "/frobnicate now"
        assert assistant.turns == []


async def test_a_command_is_completed_and_run_with_enter(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "hello")
        await press(pilot, "enter")
        await type_text(pilot, "/ne")
        await press(pilot, "enter")
        assert not app.chat.query(QuestionView)
        await type_text(pilot, "/mo")
        await press(pilot, "down", "tab")  # after /model
        assert app.chat.composer.prompt.text == "/mode "
        await press(pilot, "down", "enter")
        assert app.chat.query_one(StatusLine).mode == "fast"


@pytest.mark.parametrize(
    ("text", "adapter", "sentence"),
    [
        ("/adapter receipts", "receipts", ""),
        ("/adapter none", "none", ""),
        ("/adapter medical:0.50, receipts", "medical:0.5,receipts", ""),
        ("/adapter recipts", "auto", "There is no adapter named 'recipts'; did you mean receipts?"),
        ("/adapter cats", "auto", "There is no adapter named 'cats' (installed: medical, receipts)."),
        ("/mode slow", "auto", "There is no mode slow; there are auto, fast, quality, eco."),
    ],
)
async def test_adapter_and_mode_apply_to_the_next_question(
    make_app: MakeApp, assistant: ScriptedAssistant, text: str, adapter: str, sentence: str
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, text)
        await press(pilot, "escape", "enter")
        assert notice(app) == sentence
        await type_text(pilot, "hello")
        await press(pilot, "enter")
        assert assistant.turns[0].adapter == adapter
        assert assistant.turns[0].mode == "auto"


async def test_settings_are_what_a_chat_begins_with(make_app: MakeApp, assistant: ScriptedAssistant) -> None:
    app = make_app(adapter="medical", mode="eco", theme="textual-light")
    async with app.run_test() as pilot:
        await type_text(pilot, "hello")
        await press(pilot, "enter")
        assert (assistant.turns[0].adapter, assistant.turns[0].mode) == ("medical", "eco")
        assert app.theme == "textual-light"


async def test_copying_an_answer_a_message_and_nothing(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await press(pilot, "ctrl+y")
        assert notice(app) == "There is no answer to copy yet."
        await type_text(pilot, "hello")
        await press(pilot, "enter")
        await press(pilot, "ctrl+y")
        assert app.clipboard == "A **cat** sleeps on a sofa."
        await press(pilot, "shift+tab")
        assert isinstance(app.focused, AnswerView)
        await press(pilot, "up", "c")
        assert app.clipboard == "hello"
        await press(pilot, "e")
        assert app.chat.composer.prompt.text == "hello"
        assert is_typing(app)


async def test_ctrl_c_copies_then_stops_then_empties_then_quits(
    make_app: MakeApp, assistant: ScriptedAssistant, clock: Clock
) -> None:
    assistant.gate = threading.Semaphore(0)
    app = make_app()
    async with app.run_test() as pilot:
        prompt = app.chat.composer.prompt
        await type_text(pilot, "hello")
        prompt.select_all()
        await press(pilot, "ctrl+c")
        assert app.clipboard == "hello"
        await pilot.press("enter")
        while not assistant.turns:
            await pilot.pause(0.01)
        await press(pilot, "ctrl+c")
        assert "stopped" in str(app.chat.query_one(".answer-line").render())
        await type_text(pilot, "a draft")
        await press(pilot, "ctrl+c")
        assert prompt.text == ""
        await press(pilot, "up")
        assert prompt.text == "a draft"
        prompt.clear()
        await press(pilot, "ctrl+c")
        assert notice(app) == "Press Ctrl+C again to quit."
        clock.now += 10
        await press(pilot, "ctrl+c")
        assert app.is_running
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert app._exit


async def test_every_command_has_an_action_of_the_chat(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await settled(pilot)
        for command in COMMANDS:
            assert callable(getattr(app.chat, f"action_{command.action}"))


LONG = "\n".join(f"line {i}: boats and gulls" for i in range(50_000))


async def test_a_long_paste_is_shown_as_a_mark_and_sent_whole(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "Summarise ")
        app.post_message(events.Paste(LONG))
        await settled(pilot)
        prompt = app.chat.composer.prompt
        assert prompt.text == "Summarise [long text 1: 50,000 lines]"
        await press(pilot, "enter")
        assert [turn.question for turn in assistant.turns] == [f"Summarise {LONG}"]
        shown = app.chat.query_one(QuestionView)
        assert shown.text == f"Summarise {LONG}"
        assert len(str(shown.query_one(".question-text", Static).content)) < 25_000
        await press(pilot, "up")
        assert prompt.text == "Summarise [long text 1: 50,000 lines]"
        await press(pilot, "enter")
        assert assistant.turns[-1].question == f"Summarise {LONG}"


async def test_a_mark_that_stands_for_nothing_is_text(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.post_message(events.Paste("[long text 7: 9 lines]"))
        await settled(pilot)
        await press(pilot, "enter")
        assert [turn.question for turn in assistant.turns] == ["[long text 7: 9 lines]"]


def test_a_long_text_has_one_mark_and_a_short_one_has_none() -> None:
    folded = FoldedTexts()
    assert folded.fold("short") == "short"
    mark = folded.fold("x" * 30_000)
    assert mark == folded.fold("x" * 30_000) == "[long text 1: 30,000 characters]"
    assert folded.unfold(f"a {mark} b {folded.fold(LONG)}") == f"a {'x' * 30_000} b {LONG}"


@pytest.mark.parametrize("stop", ["stop", "interrupt"])
async def test_a_question_that_is_stopped_before_it_is_asked_stays_in_the_prompt(
    make_app: MakeApp, assistant: ScriptedAssistant, stop: str
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "Where?")
        app.chat.composer.prompt.action_send()  # Enter, and the next key before its message is handled
        assert app.chat.check_action("stop", ())
        getattr(app.chat, f"action_{stop}")()
        await settled(pilot)
        assert (assistant.turns, app.chat.composer.prompt.text) == ([], "Where?")
        await press(pilot, "enter")
        assert [turn.question for turn in assistant.turns] == ["Where?"]
        assert not app.chat.composer.busy
