"""A long chat keeps a bounded number of messages on the screen and in memory, and loses none of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from textual.pilot import Pilot
from textual.widgets import Static
from textual.worker import Worker

from edge_app.events import Event, TokenText, Turn, TurnSaved
from edge_app.storage.sessions import SessionStore
from edge_app.tui.app import ChatApp
from edge_app.tui.composer.prompt import PromptInput
from edge_app.tui.conversation import answer_view, conversation_view, saved_chat
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.conversation.messages import QuestionView
from tests.edge_app.tui.conftest import ANSWER, MakeApp, ScriptedAssistant, press, settled
from tests.edge_app.tui.test_session_actions import chat_of

SHOWN = 3


@pytest.fixture(autouse=True)
def _few_turns_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (conversation_view, saved_chat):
        monkeypatch.setattr(module, "MOST_TURNS", SHOWN)
    monkeypatch.setattr(conversation_view, "LEAVING", 1)


@pytest.fixture
def _garbage_is_collected_on_demand() -> Iterator[None]:
    """As in the app, whose thresholds are so high that the collector does not run by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@dataclass
class SavingAssistant(ScriptedAssistant):
    """Saves each turn as the app does. store: None saves nothing."""

    store: SessionStore | None = field(default=None)

    def answer(self, turn: Turn) -> Iterator[Event]:
        if self.store is not None:
            saved = self.store.begin_turn(
                session=turn.session, question=turn.question, images=(), system=None
            )
            text = "".join(event.text for event in self.script if isinstance(event, TokenText))
            self.store.finish_turn(saved, "complete", replace(ANSWER, text=text, session=saved.session))
            self.script[0] = TurnSaved(saved.session, saved.turn)
        else:
            self.script[0] = TokenText("")
        yield from super().answer(turn)


@pytest.fixture
def assistant(store: SessionStore) -> SavingAssistant:
    scripted = SavingAssistant(store=store)
    scripted.answers("A **cat** sleeps on a sofa.")
    return scripted


async def ask(pilot: Pilot[None], *questions: str) -> None:
    for question in questions:
        pilot.app.screen.query_one(PromptInput).text = question
        await press(pilot, "enter")
        await settled(pilot)


def questions_on_screen(app: ChatApp) -> list[str]:
    return [view.text for view in app.chat.query(QuestionView)]


def said_at_the_start(app: ChatApp) -> str:
    remark = app.chat.query_one("#left-out", Static)
    return str(remark.content) if remark.display else ""


async def test_the_earliest_questions_leave_the_screen_and_are_shown_again_from_disk(
    make_app: MakeApp, store: SessionStore
) -> None:
    app = make_app(store)
    async with app.run_test() as pilot:
        await ask(pilot, "q1", "q2", "q3", "q4")
        assert questions_on_screen(app) == ["q1", "q2", "q3", "q4"]
        assert said_at_the_start(app) == ""
        await ask(pilot, "q5")
        assert questions_on_screen(app) == ["q3", "q4", "q5"]
        assert len(app.chat.query(AnswerView)) == SHOWN
        assert (
            said_at_the_start(app) == "2 earlier questions of this chat are not shown; Ctrl+Home shows them."
        )

        await press(pilot, "ctrl+home")
        await settled(pilot)
        assert questions_on_screen(app) == ["q1", "q2", "q3", "q4", "q5"]
        assert said_at_the_start(app) == ""
        assert [view.text for view in app.chat.query(AnswerView)] == ["A **cat** sleeps on a sofa."] * 5

        await ask(pilot, "q6")
        assert questions_on_screen(app) == ["q4", "q5", "q6"]
        assert "3 earlier questions" in said_at_the_start(app)


async def test_a_saved_chat_is_shown_piece_by_piece_from_its_end(
    make_app: MakeApp, store: SessionStore
) -> None:
    session = chat_of(store, *(f"q{number}" for number in range(1, 8)))
    app = make_app(store, session=session)
    async with app.run_test() as pilot:
        await settled(pilot)
        shown = [questions_on_screen(app)]
        for _ in range(2):
            await press(pilot, "ctrl+home")
            await settled(pilot)
            shown.append(questions_on_screen(app))
        assert shown == [[f"q{number}" for number in range(first, 8)] for first in (5, 2, 1)]
        assert said_at_the_start(app) == ""


async def test_a_chat_that_is_not_saved_keeps_all_its_questions(
    make_app: MakeApp, assistant: SavingAssistant
) -> None:
    assistant.store = None
    app = make_app(None)
    async with app.run_test() as pilot:
        await ask(pilot, "q1", "q2", "q3", "q4", "q5", "q6")
        assert questions_on_screen(app) == ["q1", "q2", "q3", "q4", "q5", "q6"]


@pytest.mark.usefixtures("_garbage_is_collected_on_demand")
async def test_the_messages_of_a_chat_are_freed_when_another_begins(
    make_app: MakeApp, store: SessionStore, folder: Path
) -> None:
    app = make_app(store)
    async with app.run_test() as pilot:
        app.chat.composer.attach([next(folder.glob("*.png"))])
        await settled(pilot)
        await ask(pilot, "What is this?", "And its colour?")
        views = [weakref.ref(view) for kind in (QuestionView, AnswerView) for view in app.chat.query(kind)]
        assert len(views) == 4
        await press(pilot, "ctrl+n")
        await settled(pilot)
        await ask(pilot, "What else?")
        assert [view() for view in views if view() is not None] == []


@pytest.mark.usefixtures("_garbage_is_collected_on_demand")
async def test_messages_that_left_the_screen_are_freed(
    make_app: MakeApp, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_view, "QUESTIONS_UNTIL_FREED", 2)
    app = make_app(store)
    async with app.run_test() as pilot:
        await ask(pilot, "q1", "q2")
        earliest = [weakref.ref(view) for kind in (QuestionView, AnswerView) for view in app.chat.query(kind)]
        await ask(pilot, "q3", "q4", "q5", "q6", "q7", "q8")
        assert questions_on_screen(app)[0] > "q2"
        assert [view() for view in earliest if view() is not None] == []


async def test_an_answer_that_comes_in_many_pieces_makes_one_parser(
    make_app: MakeApp, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[MarkdownIt] = []

    def make(*arguments: object) -> MarkdownIt:
        made.append(MarkdownIt(*arguments))  # type: ignore[arg-type]
        return made[-1]

    app = make_app(store)
    async with app.run_test() as pilot:
        await ask(pilot, "q1")
        monkeypatch.setattr(answer_view, "MarkdownIt", make)
        for _ in range(20):
            await app.chat.query(AnswerView).last().append("and *more* ")
        await settled(pilot)
    assert len(made) == 1


async def test_workers_that_looked_at_images_are_not_kept(
    make_app: MakeApp, store: SessionStore, folder: Path
) -> None:
    app = make_app(store)
    picture = next(folder.glob("*.png"))
    async with app.run_test() as pilot:
        for number in range(4):
            app.chat.composer.attach([picture])
            await settled(pilot)
            await ask(pilot, f"Question {number}")
        gc.collect()
        kept = [each for each in gc.get_objects() if isinstance(each, Worker) and each.group == "prepare"]
        assert len(kept) <= 2


async def test_keys_that_the_footer_no_longer_shows_are_freed(make_app: MakeApp, store: SessionStore) -> None:
    app = make_app(store)
    async with app.run_test() as pilot:
        await ask(pilot, "q1", "q2", "q3", "q4", "q5", "q6")
        gc.collect()
        made = [each for each in gc.get_objects() if type(each).__name__ == "FooterKey"]
        assert 0 < len(made) <= 4 * len(app.chat.query("FooterKey"))
