"""Asking and answering in the chat."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Markdown, Static
from textual.widgets.markdown import MarkdownFence

from edge_app.events import (
    Answered,
    ContextTrimmed,
    Event,
    Picture,
    Progress,
    Ready,
    Route,
    Routed,
    TokenText,
    TurnSaved,
)
from edge_app.tui.app import ChatApp
from edge_app.tui.composer.attaching import NoticeLine
from edge_app.tui.conversation.answer_view import CODE_STEP, AnswerView
from edge_app.tui.conversation.messages import QuestionView, RemarkView
from edge_app.tui.status import StatusLine
from tests.edge_app.tui.conftest import (
    ANSWER,
    Clock,
    MakeApp,
    ScriptedAssistant,
    encoded,
    failure,
    notice,
    press,
    settled,
    type_text,
    until,
)


async def ask(pilot: Pilot[None], question: str) -> None:
    await type_text(pilot, question)
    await pilot.press("enter")
    await settled(pilot)


def shown(app: ChatApp, selector: str) -> str:
    return str(app.chat.query(selector).last(Static).content)


async def test_the_status_line_names_the_adapter_that_auto_chose(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        for adapter, shown in (("receipts", "adapter auto (receipts) ·"), (None, "adapter auto ·")):
            assistant.script[1] = Routed(Route(adapter, "local", "it fits"), "auto")
            await type_text(pilot, "hello")
            await press(pilot, "enter")
            assert shown in str(app.chat.query_one("#status-facts", Static).content)


async def test_enter_sends_the_question_and_the_answer_streams_as_markdown(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await ask(pilot, "What is this?")
        assert [turn.question for turn in assistant.turns] == ["What is this?"]
        assert app.chat.query_one(QuestionView).text == "What is this?"
        answer = app.chat.query_one(AnswerView)
        assert answer.query_one(Markdown).source == answer.text == "A **cat** sleeps on a sofa."
        assert app.chat.composer.prompt.text == ""
        assert shown(app, ".answer-line") == ("on this device · sure, 90% · 181 tokens/s")


async def test_the_second_question_goes_to_the_same_session(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await ask(pilot, "one")
        await ask(pilot, "two")
        await ask(pilot, "/new")
        await ask(pilot, "three")
        assert [turn.session for turn in assistant.turns] == [None, "0123456789ab", None]
        assert [view.text for view in app.chat.query(QuestionView)] == ["three"]


async def test_escape_stops_the_answer_and_what_had_come_stays(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.answers("one two three four")
    assistant.gate = threading.Semaphore(4)  # saved, routed and two words
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "Count")
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.query(AnswerView) and app.chat.query_one(AnswerView).text)
        await press(pilot, "escape")
        assert app.chat.query_one(AnswerView).text == "one two "
        assert shown(app, ".answer-line").startswith("stopped · ")


async def test_the_wait_for_an_image_counts_its_tiles(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.script.insert(2, Progress("encode", "Looking at cat.png", 2, 13))
    assistant.gate = threading.Semaphore(3)
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "What is this?")
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.query(".waiting") and "tile 3 of 13" in shown(app, ".waiting"))
        await press(pilot, "escape")
        assert shown(app, ".answer-line").startswith("stopped · ")


async def test_escape_stops_looking_at_the_image_that_the_answer_waits_for(
    make_app: MakeApp, assistant: ScriptedAssistant, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile, stopped = threading.Semaphore(1), threading.Event()

    def prepare(images: Sequence[Picture] = (), detail: object = None) -> Iterator[Event]:
        del detail
        try:
            for number in range(13 if images else 0):
                tile.acquire()
                yield Progress("encode", "Looking at cat.png", number, 13)
        except GeneratorExit:
            stopped.set()
            raise

    monkeypatch.setattr(assistant, "prepare", prepare)
    assistant.gate = threading.Semaphore(0)
    app = make_app()
    async with app.run_test() as pilot:
        await settled(pilot)
        app.chat.composer.attach([folder / "cat.png"])
        await until(pilot, lambda: "tile 1 of 13" in app.chat.query_one(StatusLine).doing)
        app.chat.composer.prompt.insert("What is this?")
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.composer.busy)
        await pilot.press("escape")
        tile.release()
        await until(pilot, stopped.is_set)
        await settled(pilot)
        assert app.chat.query_one(StatusLine).doing == ""
        assert shown(app, ".answer-line").startswith("stopped · ")


async def test_the_adapter_may_be_changed_while_an_answer_comes_and_is_loaded_meanwhile(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.answers("one two three four")
    assistant.gate = threading.Semaphore(4)
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "Count")
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.query(AnswerView) and app.chat.query_one(AnswerView).text)
        app.chat.composer.prompt.insert("/adapter receipts")
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.query_one(StatusLine).adapter == "receipts")
        assert assistant.prefetched == ["receipts"]
        assistant.gate.release(50)
        await settled(pilot)
        assert app.chat.query_one(AnswerView).text == "one two three four"
        await type_text(pilot, "Again")
        await press(pilot, "enter")
        assert [turn.adapter for turn in assistant.turns] == ["auto", "receipts"]


async def test_the_wait_for_the_first_token_says_what_is_going_on_and_for_how_long(
    make_app: MakeApp, assistant: ScriptedAssistant, clock: Clock
) -> None:
    assistant.script = [
        Progress("pull", "edge-vlm-135m", 49_000_000, 98_000_000),
        Progress("compile", "Compiling the model", 0, None),
        *assistant.script,
    ]
    assistant.gate = threading.Semaphore(1)
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "hello")
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.query(".waiting") and "98.0 MB" in shown(app, ".waiting"))
        clock.now += 12
        app.chat.query_one(AnswerView).doing(Progress("pull", "edge-vlm-135m", 60_000_000, 98_000_000))
        assert shown(app, ".waiting") == "edge-vlm-135m: 61% of 98.0 MB · 12.0 s · Esc stops it"
        assistant.gate.release()
        await until(pilot, lambda: shown(app, ".waiting").startswith("Compiling the model"))
        assistant.gate.release(50)
        await settled(pilot)
        assert not app.chat.query_one(".waiting").display


async def test_the_model_is_prepared_at_the_start_and_the_status_line_tells(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await settled(pilot)
        assert assistant.prepared == [()]
        assert app.chat.query_one(StatusLine).model == "edge-vlm-135m"
        assistant.preparation = [Ready("another", 64, False)]


async def test_a_question_meanwhile_waits_in_the_prompt(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.gate = threading.Semaphore(2)
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "first")
        await pilot.press("enter")
        await until(pilot, lambda: assistant.turns)
        await pilot.press(*"second", "enter")
        await until(pilot, lambda: app.chat.query_one(NoticeLine).display)
        assert app.chat.composer.prompt.text == "second"
        assert "not finished" in notice(app)
        assistant.gate.release(100)
        await settled(pilot)
        await press(pilot, "enter")
        assert [turn.question for turn in assistant.turns] == ["first", "second"]


async def test_notes_on_images_and_turns_left_out_are_told(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.script[2:2] = [encoded("party.gif", "first of 12 frames"), ContextTrimmed(3)]
    app = make_app()
    async with app.run_test() as pilot:
        await ask(pilot, "hello")
        remarks = [str(view.content) for view in app.chat.query(RemarkView)]
        assert remarks[0] == "party.gif: first of 12 frames."
        assert "the 3 oldest questions were left out" in remarks[1]


async def test_a_failure_is_one_sentence_and_the_question_comes_back(
    make_app: MakeApp, assistant: ScriptedAssistant, folder: Path
) -> None:
    assistant.script = [
        TurnSaved("0123456789ab", 1),
        failure("The model is not here and the network is off."),
    ]
    app = make_app()
    async with app.run_test() as pilot:
        app.chat.composer.attach([folder / "cat.png"])
        await settled(pilot)
        await ask(pilot, "What is it?")
        assert shown(app, ".answer-line") == "The model is not here and the network is off."
        assert app.chat.composer.prompt.text == "What is it?"
        assert [a.name for a in app.chat.composer.attachments] == ["cat.png"]
        assistant.answers("A cat.")
        await press(pilot, "enter")
        assert assistant.turns[-1].images == (folder / "cat.png",)
        assert app.chat.query(AnswerView).last().text == "A cat."


async def test_a_defect_is_shown_and_written_down_and_the_chat_goes_on(
    make_app: MakeApp, assistant: ScriptedAssistant, tmp_path: Path
) -> None:
    assistant.script = [TokenText("some "), ZeroDivisionError("in the kernels")]
    app = make_app()
    async with app.run_test() as pilot:
        await ask(pilot, "hello")
        assert "ZeroDivisionError: in the kernels" in shown(app, ".answer-line")
        assert app.chat.query_one(AnswerView).text == "some "
        assert "Traceback" in (tmp_path / "chat-errors.log").read_text()
        assistant.answers("fine")
        await press(pilot, "enter")
        assert app.chat.query(AnswerView).last().text == "fine"


async def test_a_failed_preparation_is_told(make_app: MakeApp, assistant: ScriptedAssistant) -> None:
    assistant.preparation = [failure("Nothing is downloaded yet and the network is off.")]
    app = make_app()
    async with app.run_test() as pilot:
        await settled(pilot)
        assert notice(app) == "Nothing is downloaded yet and the network is off."


async def test_quitting_in_the_middle_of_an_answer_leaves_at_once(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.gate = threading.Semaphore(3)
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "Count")
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.query(AnswerView) and app.chat.query_one(AnswerView).text)
        await pilot.press("ctrl+q")
        await pilot.pause()
    assert app.return_code == 0


HOSTILE = "[bold]x[/bold] \x1b[2J <div>kept</div> [link=http://a]b[/link] [click](javascript:x)"


async def test_an_answer_cannot_act_on_the_terminal_and_loses_no_text(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.answers(HOSTILE)
    app = make_app()
    async with app.run_test(size=(120, 24)) as pilot:
        await ask(pilot, "[red]mine[/red] ]")
        screen = app.export_screenshot()
        assert "\x1b" not in screen
        for literal in ("[bold]x[/bold]", "&lt;div&gt;kept&lt;/div&gt;", "[red]mine[/red]"):
            assert literal in screen.replace("&#160;", " ")


async def test_a_link_shows_its_address_first_and_opens_at_the_second_click(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    app = make_app()
    monkeypatch.setattr(app, "open_url", opened.append)
    async with app.run_test() as pilot:
        await ask(pilot, "hello")
        markdown = app.chat.query_one(Markdown)
        for address in ("file:///etc/passwd", "https://example.org/a"):
            markdown.post_message(Markdown.LinkClicked(markdown, address))
            await pilot.pause()
        assert opened == []
        assert notice(app) == "Click again to open https://example.org/a"
        markdown.post_message(Markdown.LinkClicked(markdown, "https://example.org/a"))
        await pilot.pause()
        assert opened == ["https://example.org/a"]


def long_answer(lines: int) -> str:
    return "\n\n".join(f"line {number}" for number in range(lines))


async def test_the_conversation_follows_unless_the_user_scrolled_up(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.answers(long_answer(60))
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await ask(pilot, "Count")
        conversation = app.chat.conversation
        assert conversation.scroll_y == conversation.max_scroll_y > 0
        await pilot.press("pageup")
        await pilot.pause()
        reading = conversation.scroll_y
        assert reading < conversation.max_scroll_y
        await app.chat.query_one(AnswerView).append("\n\nmore\n\nmore")
        await pilot.pause()
        assert conversation.scroll_y == reading
        await pilot.press("ctrl+end")
        await app.chat.query_one(AnswerView).append("\n\nmore\n\nmore")
        await pilot.pause()
        assert conversation.scroll_y == conversation.max_scroll_y


async def test_of_thousands_of_tokens_none_is_lost(make_app: MakeApp, assistant: ScriptedAssistant) -> None:
    words = [TokenText(f"word{number} ") for number in range(3000)]
    whole = "".join(word.text for word in words)
    assistant.script = [*words, Answered(replace(ANSWER, text=whole))]
    app = make_app()
    async with app.run_test() as pilot:
        await ask(pilot, "go")
        assert app.chat.query_one(AnswerView).text == whole


async def test_long_lines_of_code_are_scrolled_with_the_arrows(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    assistant.answers("See:\n\n```python\ntotal = " + "1 + " * 100 + "1\n```\n\nDone.")
    app = make_app()
    async with app.run_test(size=(80, 30)) as pilot:
        await type_text(pilot, "Code, please")
        await press(pilot, "enter")
        await settled(pilot)
        code = app.chat.query_one(MarkdownFence)
        await press(pilot, "shift+tab", "right", "right")
        assert code.scroll_x == 2 * CODE_STEP
        await press(pilot, "left")
        assert code.scroll_x == CODE_STEP
        await press(pilot, *["right"] * 40)
        assert code.scroll_x == code.max_scroll_x > 200
