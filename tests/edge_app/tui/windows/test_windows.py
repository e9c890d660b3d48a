"""Help, the palette, choices, earlier chats, and remapped keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from textual.command import CommandPalette
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static

from edge_app.storage.sessions import SessionStore
from edge_app.tui.composer.commands import COMMANDS
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.conversation.messages import QuestionView
from edge_app.tui.keys import BINDING_GROUPS
from edge_app.tui.status import StatusLine
from edge_app.tui.windows.adapters_window import AdaptersWindow
from edge_app.tui.windows.help_window import HelpWindow
from edge_app.tui.windows.sessions_window import SessionsWindow
from edge_app.tui.windows.window import ChoiceWindow, ConfirmWindow
from tests.edge_app.conftest import new_image
from tests.edge_app.tui.conftest import (
    ANSWER,
    MakeApp,
    ScriptedAssistant,
    notice,
    opened,
    press,
    settled,
    type_text,
    until,
)


def test_every_binding_has_an_id_of_its_own_and_says_what_it_does() -> None:
    bindings = [binding for _, group in BINDING_GROUPS for binding in group]
    ids = [binding.id for binding in bindings]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert all(binding.tooltip for binding in bindings)


async def test_the_help_lists_every_key_and_command_as_it_is_now(make_app: MakeApp) -> None:
    app = make_app(keys={"chat.help": "f10", "chat.image": "ctrl+t"})
    async with app.run_test() as pilot:
        await press(pilot, "f1")
        assert app.screen is app.chat
        await press(pilot, "f10")
        assert isinstance(app.screen, HelpWindow)
        text = "\n".join(str(static.content) for static in app.screen.query(Static))
        assert "F10  Show the keys and the commands  chat.help" in text
        assert "Ctrl+T  Pick an image to attach  chat.image" in text
        for _, bindings in BINDING_GROUPS:
            for binding in bindings:
                assert str(binding.id) in text
        for command in COMMANDS:
            assert command.usage in text
        await press(pilot, "escape")
        assert app.screen is app.chat


async def test_a_remapped_key_of_the_prompt_works_and_the_old_one_does_not(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app(keys={"prompt.send": "ctrl+s", "prompt.new_line": "enter"})
    async with app.run_test() as pilot:
        await press(pilot, "a", "enter", "b")
        assert assistant.turns == []
        await press(pilot, "ctrl+s")
        assert [turn.question for turn in assistant.turns] == ["a\nb"]


async def test_wrong_settings_are_told(make_app: MakeApp) -> None:
    app = make_app(keys={"chat.fly": "f9"}, theme="pink")
    async with app.run_test() as pilot:
        await settled(pilot)
        assert notice(app) == (
            "There is no key binding 'chat.fly'; There is no theme 'pink' (in settings.toml)."
        )


def found(palette: Screen[Any]) -> list[str]:
    """The first lines of what the palette lists."""
    options = palette.query_one(OptionList).options
    return [str(option.prompt).partition("\n")[0] for option in options]


async def test_the_palette_runs_our_commands(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await press(pilot, "ctrl+p")
        assert isinstance(app.screen, CommandPalette)
        palette = app.screen
        palette.query_one(Input).value = "choose the mode"
        await until(pilot, lambda: found(palette) == ["Choose the mode"])
        await press(pilot, "enter")
        await opened(pilot, ChoiceWindow)


async def test_the_adapter_is_chosen_in_a_window(make_app: MakeApp, assistant: ScriptedAssistant) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await press(pilot, "f2")
        await opened(pilot, AdaptersWindow)
        options = app.screen.query_one(OptionList)
        assert [str(options.get_option_at_index(place).prompt) for place in range(4)] == [
            "auto  the adapter that suits the question",
            "none  the model alone",
            "medical  1.2 · Knows all about medical.",
            "receipts  1.2 · Knows all about receipts.",
        ]
        await press(pilot, "down", "down", "enter")
        assert app.chat.query_one(StatusLine).adapter == "medical"
        assert assistant.prefetched == ["medical"]
        await press(pilot, "f2")
        await opened(pilot, AdaptersWindow)
        assert app.screen.query_one(OptionList).highlighted == 2  # what is chosen already
        await press(pilot, "escape")
        await press(pilot, "f3")
        await press(pilot, "escape")
        assert app.chat.query_one(StatusLine).mode == "auto"


async def test_adapters_are_listed_by_words_of_their_descriptions(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await type_text(pilot, "/adapters about rec")
        await press(pilot, "enter")
        await opened(pilot, AdaptersWindow)
        assert app.screen.query_one(OptionList).option_count == 1
        app.screen.query_one(Input).value = "zebra"
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count == 0)
        await settled(pilot)
        assert "No adapter has these words" in str(app.screen.query_one(".nothing", Static).content)
        app.screen.query_one(Input).value = "rec"
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count == 1)
        await press(pilot, "enter")
        assert app.chat.query_one(StatusLine).adapter == "receipts"


def saved_chats(store: SessionStore) -> list[str]:
    """Two chats: one with an image and a whole answer, one cut short."""
    image = new_image(name="cat.png")
    first = store.begin_turn(session=None, question="What is this?", images=(image,), system=None)
    store.finish_turn(first, "complete", replace(ANSWER, text="A **cat**.", session=first.session))
    second = store.begin_turn(session=None, question="Tell me a story", images=(), system=None)
    store.save_partial(second, "Once upon")
    store.fail_turn(second, "Once upon", "The disk is full.")
    return [first.session, second.session]


async def test_an_earlier_chat_is_searched_and_opened_and_goes_on(
    make_app: MakeApp, store: SessionStore, assistant: ScriptedAssistant
) -> None:
    chats = saved_chats(store)
    app = make_app(store)
    async with app.run_test() as pilot:
        await press(pilot, "ctrl+r")
        await opened(pilot, SessionsWindow)
        window = app.screen
        assert window.query_one(OptionList).option_count == 2
        window.query_one(Input).value = "cat"
        await until(pilot, lambda: window.query_one(OptionList).option_count == 1)
        await press(pilot, "enter")
        await settled(pilot)
        assert [view.text for view in app.chat.query(QuestionView)] == ["What is this?"]
        assert app.chat.query_one(AnswerView).text == "A **cat**."
        assert "181 tokens/s" in str(app.chat.query_one(".answer-line", Static).content)
        assert str(app.chat.query_one(".picture-name", Static).content) == "cat.png"
        assert app.chat.query_one(StatusLine).chat == "What is this?"
        await type_text(pilot, "and now?")
        await press(pilot, "enter")
        assert assistant.turns[0].session == chats[0]


async def test_a_chat_that_failed_says_why(make_app: MakeApp, store: SessionStore) -> None:
    chats = saved_chats(store)
    app = make_app(store, session=chats[1])
    async with app.run_test() as pilot:
        await settled(pilot)
        assert app.chat.query_one(AnswerView).text == "Once upon"
        assert str(app.chat.query_one(".answer-line", Static).content) == "The disk is full."


async def test_nothing_found_is_said_and_escape_changes_nothing(
    make_app: MakeApp, store: SessionStore
) -> None:
    app = make_app(store)
    async with app.run_test() as pilot:
        await type_text(pilot, "/sessions dragons")
        await press(pilot, "enter")
        assert str(app.screen.query_one(".nothing", Static).content) == "No chat has these words."
        await press(pilot, "enter", "escape")
        assert app.screen is app.chat
        assert app.chat.session is None


async def test_a_chat_is_deleted_by_keys_after_a_question_and_only_then(
    make_app: MakeApp, store: SessionStore
) -> None:
    chats = saved_chats(store)  # the window lists the second first
    app = make_app(store)
    async with app.run_test() as pilot:
        for answer in ("enter", "n", "escape"):
            await press(pilot, "ctrl+r")
            await opened(pilot, SessionsWindow)
            await press(pilot, "ctrl+d")
            await opened(pilot, ConfirmWindow)
            assert "Tell me a story" in str(app.screen.query_one(".window-text", Static).content)
            await press(pilot, answer)
            assert [chat.id for chat in store.recent()] == chats[::-1]
            await press(pilot, "escape")
            assert app.screen is app.chat
        await press(pilot, "ctrl+r")
        await press(pilot, "ctrl+d")
        await press(pilot, "down", "enter")
        await until(pilot, lambda: [chat.id for chat in store.recent()] == chats[:1])
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count == 1)
        await press(pilot, "shift+delete")
        await press(pilot, "y")
        await until(pilot, lambda: store.recent() == ())
        await settled(pilot)
        assert str(app.screen.query_one(".nothing", Static).content) == "No chat is saved yet."
        await press(pilot, "ctrl+d")
        assert isinstance(app.screen, SessionsWindow)  # nothing to ask about


async def test_who_deletes_the_open_chat_is_in_a_new_one(
    make_app: MakeApp, store: SessionStore, assistant: ScriptedAssistant
) -> None:
    chats = saved_chats(store)
    app = make_app(store, session=chats[1])
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "ctrl+r")
        await press(pilot, "ctrl+d")
        await press(pilot, "y")
        await opened(pilot, SessionsWindow)
        await press(pilot, "escape")
        await settled(pilot)
        assert app.chat.session is None
        assert not app.chat.query(QuestionView)
        await type_text(pilot, "hello")
        await press(pilot, "enter")
        assert assistant.turns[0].session is None
