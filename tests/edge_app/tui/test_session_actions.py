"""Saved chats in the chat: renamed, exported, copied, and a question of theirs asked again. On a real database."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.events import TurnSaved
from edge_app.storage.sessions import SessionStore
from edge_app.tui.conversation.messages import QuestionView
from edge_app.tui.first_card import read_first_card
from edge_app.tui.status import StatusLine
from tests.edge_app.conftest import new_image
from tests.edge_app.tui.conftest import (
    ANSWER,
    MakeApp,
    ScriptedAssistant,
    burst,
    notice,
    press,
    settled,
    type_text,
)


def chat_of(store: SessionStore, *questions: str) -> str:
    """A saved chat; its first question has an image. Returns its id."""
    session: str | None = None
    for place, question in enumerate(questions):
        images = () if place else (new_image(),)
        saved = store.begin_turn(session=session, question=question, images=images, system=None)
        session = saved.session
        store.finish_turn(saved, "complete", replace(ANSWER, text=f"Answer {place}.", session=session))
    assert session is not None
    return session


def questions_of(store: SessionStore, session: str | None) -> list[str]:
    assert session is not None
    return [turn.question for turn in store.get(session).turns]


async def test_an_edited_question_is_asked_in_a_copy_that_ends_before_it(
    make_app: MakeApp, assistant: ScriptedAssistant, store: SessionStore
) -> None:
    session = chat_of(store, "What is this?", "And its colour?", "Why?")
    app = make_app(store, session=session)
    async with app.run_test() as pilot:
        await settled(pilot)
        app.chat.query(QuestionView)[1].focus()
        await press(pilot, "e")
        await settled(pilot)
        assert app.chat.composer.prompt.text == "And its colour?"
        assert "editing an earlier question" in str(app.chat.query_one("#status-facts").content)  # type: ignore[attr-defined]
        await press(pilot, "enter")
        await settled(pilot)

        (turn,) = assistant.turns
        assert turn.question == "And its colour?"
        assert turn.session not in (None, session)
        assert questions_of(store, turn.session) == ["What is this?"]
        assert questions_of(store, session) == ["What is this?", "And its colour?", "Why?"]
        assert "editing" not in str(app.chat.query_one("#status-facts").content)  # type: ignore[attr-defined]


async def test_an_edited_first_question_keeps_its_image(
    make_app: MakeApp, assistant: ScriptedAssistant, store: SessionStore
) -> None:
    session = chat_of(store, "What is this?")
    app = make_app(store, session=session)
    async with app.run_test() as pilot:
        await settled(pilot)
        await app.chat.run_command("edit", "")
        await settled(pilot)
        (attachment,) = app.chat.composer.attachments
        assert attachment.name == new_image().name
        await press(pilot, "enter")
        await settled(pilot)
        (turn,) = assistant.turns
        assert len(turn.images) == 1
        assert turn.session != session


async def test_escape_asks_the_edited_question_at_the_end_of_the_chat(
    make_app: MakeApp, assistant: ScriptedAssistant, store: SessionStore
) -> None:
    session = chat_of(store, "What is this?", "Why?")
    app = make_app(store, session=session)
    async with app.run_test() as pilot:
        await settled(pilot)
        await app.chat.run_command("edit", "")
        await settled(pilot)
        await press(pilot, "escape")
        await press(pilot, "enter")
        await settled(pilot)
        assert [(turn.question, turn.session) for turn in assistant.turns] == [("Why?", session)]


async def test_a_chat_is_copied_up_to_the_chosen_message(make_app: MakeApp, store: SessionStore) -> None:
    session = chat_of(store, "What is this?", "Why?")
    app = make_app(store, session=session)
    async with app.run_test() as pilot:
        await settled(pilot)
        app.chat.query(QuestionView)[0].focus()
        await press(pilot, "f")
        await settled(pilot)
        assert app.chat.session != session
        assert questions_of(store, app.chat.session) == ["What is this?"]
        assert len(app.chat.query(QuestionView)) == 1
        assert notice(app) == "This is a copy; the chat before stays as it was."


async def test_a_turn_of_this_run_is_edited_as_a_saved_one(
    make_app: MakeApp, assistant: ScriptedAssistant, store: SessionStore
) -> None:
    session = chat_of(store, "What is this?")
    assistant.script[0] = TurnSaved(session, store.get(session).turns[0].id)
    app = make_app(store)
    async with app.run_test() as pilot:
        await type_text(pilot, "What is this?")
        await press(pilot, "enter")
        await settled(pilot)
        await app.chat.run_command("fork", "")
        await settled(pilot)
        assert app.chat.session not in (None, session)


async def test_a_chat_is_renamed_and_exported(
    make_app: MakeApp, store: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = chat_of(store, "What is this?")
    app = make_app(store, session=session)
    monkeypatch.chdir(tmp_path)
    async with app.run_test() as pilot:
        await settled(pilot)
        await app.chat.run_command("rename", "The cat / of 2026")
        await settled(pilot)
        assert store.get(session).title == app.chat.query_one(StatusLine).chat == "The cat / of 2026"
        for target in ("", "chat.json"):
            await app.chat.run_command("export", target)
            await settled(pilot)
        assert "## What is this?" in (tmp_path / "The-cat-of-2026.md").read_text()
        assert json.loads((tmp_path / "chat.json").read_text())["id"] == session
        before = (tmp_path / "chat.json").read_bytes()
        await app.chat.run_command("export", "chat.json")
        await settled(pilot)
        assert "exists already" in notice(app)
        assert (tmp_path / "chat.json").read_bytes() == before
        await app.chat.run_command("export", "no/such/folder.md")
        await settled(pilot)
        assert notice(app).startswith("Cannot write")


@pytest.mark.parametrize("command", ["fork", "edit", "rename", "export"])
async def test_a_chat_that_is_not_saved_yet_says_so(
    make_app: MakeApp, store: SessionStore, command: str
) -> None:
    app = make_app(store)
    async with app.run_test() as pilot:
        await app.chat.run_command(command, "")
        await settled(pilot)
        assert notice(app).startswith("This chat has no question yet")


async def test_the_first_start_shows_what_the_model_can_do(make_app: MakeApp, store: SessionStore) -> None:
    app = make_app(store)
    async with app.run_test() as pilot:
        await settled(pilot)
        card = str(app.chat.query_one("#welcome").content)  # type: ignore[attr-defined]
        assert card.startswith("edge-vlm-135m answers here: it works at once.")
        assert "medical, receipts" in card
        assert "smolvlm-500m, which counts, reads text in images (545.6 MB)" in card
        assert len(card.splitlines()) == 5


async def test_the_first_start_names_the_adapters_that_are_installed_with_the_first_question(
    make_app: MakeApp, store: SessionStore
) -> None:
    app = make_app(store)
    fresh = replace(app.chat._dependencies, described=list, coming=lambda: ("receipts", "charts"))
    card = read_first_card(fresh, "edge-vlm-135m", str, "")
    assert card is not None
    assert "(charts, receipts)" in card
    without = read_first_card(replace(fresh, coming=tuple), "edge-vlm-135m", str, "")
    assert without is not None
    assert "No adapter is installed" in without


async def test_later_starts_show_the_short_welcome(make_app: MakeApp, store: SessionStore) -> None:
    chat_of(store, "What is this?")
    app = make_app(store)
    async with app.run_test() as pilot:
        await settled(pilot)
        card = str(app.chat.query_one("#welcome").content)  # type: ignore[attr-defined]
        assert card.startswith("Ask about an image")


async def test_the_line_at_the_top_says_how_much_of_the_context_is_used(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(160, 30)) as pilot:
        await type_text(pilot, "hello")
        await press(pilot, "enter")
        await settled(pilot)
        used = ANSWER.tokens.prompt + ANSWER.tokens.completion
        assert f"{used} of 2,048 tokens" in str(app.chat.query_one("#status-facts").content)  # type: ignore[attr-defined]


async def test_a_question_typed_behind_a_fork_is_asked_in_the_copy(
    make_app: MakeApp, assistant: ScriptedAssistant, store: SessionStore
) -> None:
    session = chat_of(store, "one")
    app = make_app(store, session=session)
    async with app.run_test() as pilot:
        await settled(pilot)
        burst(app, "/fork\rtwo\r")
        await settled(pilot)
        await settled(pilot)
        (turn,) = assistant.turns
        assert (turn.question, turn.session == session) == ("two", False)
        assert questions_of(store, turn.session) == questions_of(store, session) == ["one"]
