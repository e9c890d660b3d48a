"""The conversation: questions, answers and remarks. It scrolls with new text unless the user has scrolled up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from edge_app.system.terminal_text import printable
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.conversation.messages import MessageView, QuestionView, RemarkView, ShownImage
from edge_app.tui.conversation.saved_chat import EarlierChat


class ConversationView(VerticalScroll, can_focus=False):
    """The scrolling list of questions, answers and remarks.

    welcome: shown while it is empty. other_key: name of the key that unfolds the other answer. elsewhere: the word for
    the place that is not this device. model: returns the chosen model, which the line about an answer does not name.
    """

    def __init__(
        self,
        welcome: str,
        preview: Callable[..., Widget],
        clock: Callable[[], float],
        other_key: str,
        elsewhere: str,
        model: Callable[[], str],
    ) -> None:
        super().__init__(id="conversation")
        self._welcome = welcome
        self._other_key = other_key
        self._preview = preview
        self._clock = clock
        self._elsewhere = elsewhere
        self._model = model

    def compose(self) -> ComposeResult:
        yield Static(Content(self._welcome), id="welcome")

    def on_mount(self) -> None:
        self.anchor()

    @property
    def last_answer(self) -> AnswerView | None:
        answers = [view for view in self.query(AnswerView) if view.text]
        return answers[-1] if answers else None

    async def ask(self, question: str, images: Sequence[ShownImage], stop_key: str) -> AnswerView:
        """Adds a question and an answer that waits for its first token; returns the answer."""
        self.query_one("#welcome").display = False
        for earlier in self.query(AnswerView):
            earlier.withdraw_offers()
        answer = AnswerView(self._clock, stop_key, self._other_key, self._elsewhere, self._model)
        await self.mount(QuestionView(question, images, self._preview), answer)
        self.anchor()
        return answer

    def welcome(self, text: str) -> None:
        """Replaces what is shown while the conversation is empty."""
        self.query_one("#welcome", Static).update(Content(printable(text)))

    def belongs_to(self, answer: AnswerView, turn: int) -> None:
        """Tells an answer and its question the saved turn that they belong to."""
        answer.turn = turn
        before = [view for view in self.query(MessageView) if isinstance(view, QuestionView | AnswerView)]
        question = before[before.index(answer) - 1]
        question.turn = turn

    async def remark(self, sentence: str, *, before: Widget | None = None) -> None:
        await self.mount(RemarkView(sentence), before=before)

    async def show_chat(self, chat: EarlierChat) -> list[AnswerView]:
        """Replaces what is shown by a saved chat. Returns the answers, one for each turn of the chat."""
        await self.clear()
        if chat.left_out:
            await self.remark(f"{chat.left_out} earlier questions of this chat are not shown.")
        views = []
        for turn in chat.turns:
            view = await self.ask(turn.question, turn.images, "")
            self.belongs_to(view, turn.id)
            if turn.answer:
                await view.append(turn.answer)
            if turn.result is not None:
                await view.end(turn.result)
            else:
                view.hold_other(turn.kept, turn.broken)
                view.fail(turn.remark)
            views.append(view)
        return views

    async def clear(self) -> None:
        await self.query(MessageView).remove()
        await self.query(RemarkView).remove()
        self.query_one("#welcome").display = True
        self.anchor()
