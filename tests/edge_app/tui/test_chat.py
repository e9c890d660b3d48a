"""Asking and answering in the chat."""

from __future__ import annotations

from textual.widgets import Markdown

from edge_app.tui.chat_screen import ChatScreen
from edge_app.tui.messages import AnswerView, QuestionView
from tests.edge_app.tui.conftest import MakeApp, ScriptedAssistant, settled, type_text


async def test_enter_sends_the_question_and_the_answer_streams_as_markdown(
    make_app: MakeApp, assistant: ScriptedAssistant
) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await type_text(pilot, "What is this?")
        await pilot.press("enter")
        await settled(pilot)
        assert [turn.question for turn in assistant.turns] == ["What is this?"]
        assert app.chat.query_one(QuestionView).text == "What is this?"
        answer = app.chat.query_one(AnswerView)
        assert answer.text == "A **cat** sleeps on a sofa."
        assert answer.query_one(Markdown).source == "A **cat** sleeps on a sofa."
        assert app.chat.composer.prompt.text == ""
