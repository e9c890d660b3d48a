"""The conversation: questions, answers and remarks. It scrolls with new text unless the user has scrolled up.

A question with its image and answer takes half a megabyte. The earliest of a long chat are therefore taken off the
screen, once they are saved, and shown again when the user goes to them.
"""

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
from edge_app.tui.conversation.saved_chat import MOST_TURNS, EarlierChat, EarlierTurn
from models.core.freed_memory import free_garbage

LEAVING = 10
"""So many questions beyond MOST_TURNS are taken off the screen at once."""

QUESTIONS_UNTIL_FREED = 10
"""Questions after which the memory of what is no longer shown is freed. Widgets refer to one another, so that only the
garbage collector frees them. It takes a tenth of a second, after the question is on the screen."""


class ConversationView(VerticalScroll, can_focus=False):
    """The scrolling list of questions, answers and remarks.

    welcome: shown while it is empty. other_key: name of the key that unfolds the other answer. elsewhere: the word for
    the place that is not this device. model: returns the chosen model, which the line about an answer does not name.
    start_key: name of the key that goes to the beginning.

    left_out: how many questions of this chat come before what is shown.
    """

    def __init__(
        self,
        welcome: str,
        preview: Callable[..., Widget],
        clock: Callable[[], float],
        other_key: str,
        elsewhere: str,
        model: Callable[[], str],
        start_key: str,
    ) -> None:
        super().__init__(id="conversation")
        self.left_out = 0
        self._welcome = welcome
        self._other_key = other_key
        self._preview = preview
        self._clock = clock
        self._elsewhere = elsewhere
        self._model = model
        self._start_key = start_key
        self._before = Static("", id="left-out")  # says how many questions are not shown
        self._until_freed = QUESTIONS_UNTIL_FREED  # in questions

    def compose(self) -> ComposeResult:
        yield Static(Content(self._welcome), id="welcome")
        yield self._before

    def on_mount(self) -> None:
        self._leave_out(0)
        self.anchor()

    @property
    def last_answer(self) -> AnswerView | None:
        answers = [view for view in self.query(AnswerView) if view.text]
        return answers[-1] if answers else None

    @property
    def first_turn(self) -> int | None:
        """Id of the first saved turn that is shown; None without one."""
        return next((view.turn for view in self.query(QuestionView) if view.turn is not None), None)

    async def ask(self, question: str, images: Sequence[ShownImage], stop_key: str) -> AnswerView:
        """Adds a question and an answer that waits for its first token; returns the answer."""
        for earlier in self.query(AnswerView):
            earlier.withdraw_offers()
        answer = await self._add(question, images, stop_key)
        await self._take_off_earliest()
        self.anchor()
        if self._until_freed == 0:
            self._until_freed = QUESTIONS_UNTIL_FREED
            self.call_after_refresh(free_garbage)
        self._until_freed -= 1
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
        views = [await self._show(turn) for turn in chat.turns]
        self._leave_out(chat.left_out)
        self.anchor()
        return views

    async def show_earlier(self, chat: EarlierChat) -> None:
        """Shows the turns of a chat before those that are shown, and goes to the first of them."""
        first = self.query(QuestionView).first()
        for turn in chat.turns:
            await self._show(turn, first)
        self._leave_out(chat.left_out)
        self.scroll_home(animate=False)

    async def clear(self) -> None:
        if self.query(MessageView):
            self._until_freed = 0  # with the next question, when nothing refers to the removed ones any more
        await self.query(MessageView).remove()
        await self.query(RemarkView).remove()
        self._leave_out(0)
        self.query_one("#welcome").display = True
        self.anchor()

    async def _add(
        self, question: str, images: Sequence[ShownImage], stop_key: str, before: Widget | None = None
    ) -> AnswerView:
        """Adds a question and its answer. before: a widget; None adds them at the end."""
        self.query_one("#welcome").display = False
        answer = AnswerView(self._clock, stop_key, self._other_key, self._elsewhere, self._model)
        await self.mount(QuestionView(question, images, self._preview), answer, before=before)
        return answer

    async def _show(self, turn: EarlierTurn, before: Widget | None = None) -> AnswerView:
        """Adds a saved turn."""
        view = await self._add(turn.question, turn.images, "", before)
        self.belongs_to(view, turn.id)
        if turn.answer:
            await view.append(turn.answer)
        if turn.result is not None:
            await view.end(turn.result)
        else:
            view.hold_other(turn.kept, turn.broken)
            view.fail(turn.remark)
        return view

    async def _take_off_earliest(self) -> None:
        """Takes the earliest questions of a long chat off the screen, unless the chat is not saved."""
        questions = list(self.query(QuestionView))
        earliest = questions[:-MOST_TURNS]
        if len(earliest) <= LEAVING or all(question.turn is None for question in earliest):
            return
        kept = questions[len(earliest)]
        leaving = [view for view in self.children[: self.children.index(kept)] if view.id is None]
        await self.remove_children(leaving)
        self._leave_out(self.left_out + len(earliest))

    def _leave_out(self, count: int) -> None:
        """Says at the beginning that so many questions of this chat are not shown."""
        self.left_out = count
        self._before.display = count > 0
        what = (
            "1 earlier question of this chat is"
            if count == 1
            else f"{count} earlier questions of this chat are"
        )
        self._before.update(Content(f"{what} not shown; {self._start_key} shows them."))
