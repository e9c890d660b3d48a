"""The open chat: its session and its last turn. Asks questions, shows the answers, and asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

from edge_app.answer import Answer
from edge_app.answer_text import adapter_words, another_adapter, needs_help, sure_text
from edge_app.events import Answered, Event, Failed, Routed, Turn, TurnSaved
from edge_app.images.question_images import read_question
from edge_app.tui.composer.composer import Composer
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.conversation.conversation_view import ConversationView
from edge_app.tui.conversation.messages import ShownImage
from edge_app.tui.conversation.saved_chat import EarlierChat
from edge_app.tui.conversation.turn_view import show_turn
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.options.chat_options import ChatOptions
from edge_app.tui.status import NEW_CHAT, StatusLine
from edge_app.tui.text import context_text
from edge_app.tui.windows.route_window import RouteWindow
from models.core.errors import UserError


@dataclass
class LastTurn:
    """The last turn, as far as it has come.

    asked: None in a chat that was opened from disk. adapter: the requested one. saved, routed, answer: set when
    they are known.
    """

    question: str
    asked: Composer.Asked | None
    adapter: str
    view: AnswerView
    saved: TurnSaved | None = None
    routed: Routed | None = None
    answer: Answer | None = None

    @property
    def another_adapter(self) -> str | None:
        """The adapter for another try; None when nothing is left to try."""
        used = self.answer.adapter if self.answer is not None else None
        candidates = self.routed.route.candidates if self.routed is not None else ()
        return another_adapter(self.adapter, used, candidates)


class OpenChat:
    """The chat that is open.

    key: returns the label of a binding's key. offer: the sentence that is shown after an answer, about a model that may
    answer better; empty shows none. context: returns how many tokens the model takes, None when that is unknown.

    session: the chat's id; None until its first question is saved. options, system: what the user set for this chat
    alone; system is its system prompt, None for the settings'.
    """

    def __init__(
        self,
        dependencies: ChatDependencies,
        status: StatusLine,
        composer: Composer,
        conversation: ConversationView,
        key: Callable[[str], str],
        offer: Callable[[Answer], Awaitable[str]],
        context: Callable[[], int | None],
    ) -> None:
        self.session: str | None = None
        self.options = ChatOptions()
        self.system: str | None = None
        self._context = context
        self._dependencies = dependencies
        self._status = status
        self._composer = composer
        self._conversation = conversation
        self._key = key
        self._offer = offer
        self._last: LastTurn | None = None

    async def ask(self, asked: Composer.Asked, adapter: str = "") -> None:
        """Asks a question. adapter: for this question alone; empty takes the one of the status line."""
        shown = [ShownImage(a.name, a.picture) for a in asked.attachments]
        view = await self._conversation.ask(asked.question, shown, self._key("chat.stop"))
        turn = self._turn(asked.question, asked, adapter)
        last = self._last = LastTurn(asked.question, asked, turn.adapter, view)
        is_new = self.session is None
        trouble = await self._run(self._dependencies.backend.answer(turn), last)
        if is_new and self.options != ChatOptions():
            await self._keep_options()
        if trouble is not None:
            view.fail(trouble)
            await self._composer.restore(asked.text, asked.attachments)
        elif self._status.chat == NEW_CHAT:
            self._status.chat = asked.question[:1000]  # the line shows its beginning

    async def set(self, options: ChatOptions, system: str | None) -> None:
        """Sets what holds for this chat alone, from its next question on, and shows and saves it.

        The system prompt is saved with the next question.
        """
        self.options, self.system = options, system
        self._show_options()
        await self._keep_options()

    async def ask_cloud(self) -> None:
        """Asks the cloud the last question. The local answer is kept."""
        last, endpoint = self._last, self._status.endpoint
        if last is None or last.answer is None:
            self._refuse("There is no answer yet that the cloud could be asked about.")
        elif endpoint is None:
            self._refuse("No cloud is set up; `edge-app cloud setup` does that.")
        elif last.answer.place == "cloud":
            self._refuse(f"This answer is from {endpoint} already.")
        elif last.saved is None:
            self._refuse("Chats are not saved here, and only a saved question can be asked again.")
        else:
            before, saved = last.answer, last.saved
            last.view.wait_again(f"Asking {endpoint}")
            trouble = await self._run(self._dependencies.backend.ask_cloud(saved.session, saved.turn), last)
            if trouble is not None:
                await self._answered(last, before)
                self._refuse(trouble)

    async def try_again(self) -> None:
        """Asks the last question again with the next best adapter."""
        last = self._last
        other = last.another_adapter if last is not None else None
        if last is None or last.asked is None or other is None:
            self._refuse("There is no other adapter that suits the last question.")
        else:
            await self.ask(last.asked, other)

    def route_window(self, question: str) -> RouteWindow | None:
        """The route of this question, else of the one in the prompt, else all about the last one; None without any."""
        last, backend, report = self._last, self._dependencies.backend, self._dependencies.report
        elsewhere = self._status.endpoint.noun if self._status.endpoint is not None else "cloud"
        question = question or self._composer.prompt.text
        if question.strip():
            turn = self._turn(question, None, "")
            try:
                read = read_question(question, [each.source for each in self._composer.attachments])
            except UserError as error:
                self._refuse(str(error))
                return None
            text = self._composer.prompt.folded.unfold(read.text)
            turn = replace(turn, question=text, images=(*turn.images, *read.images))
            return RouteWindow("The next question", question, lambda: backend.route(turn), elsewhere, report)
        if last is not None and (last.routed is not None or last.answer is not None):
            events = tuple(event for event in (last.routed,) if event is not None)
            return RouteWindow(
                "The last question", last.question, lambda: iter(events), elsewhere, report, last.answer
            )
        self._refuse("Write a question first; its route is shown without asking it.")
        return None

    async def show(self, chat: EarlierChat) -> None:
        """Replaces the open chat by a saved one."""
        self.forget()
        views = await self._conversation.show_chat(chat)
        self.session, self.system = chat.id, chat.system
        self.options = ChatOptions.from_json(chat.options)
        self._show_options()
        if chat.turns and (result := chat.turns[-1].result) is not None:
            turn, view = chat.turns[-1], views[-1]
            saved = TurnSaved(chat.id, turn.id)
            self._last = LastTurn(turn.question, None, result.adapter or "none", view, saved)
            await self._answered(self._last, result)

    def forget(self) -> None:
        """Closes the chat. The next question begins a new one."""
        self.session = self._last = self.system = None
        self.options = ChatOptions()
        self._show_options()
        self._status.routed = self._status.sure = self._status.tokens = ""

    # -- inside

    def _turn(self, question: str, asked: Composer.Asked | None, adapter: str) -> Turn:
        attachments = self._composer.attachments if asked is None else asked.attachments
        settings = self._dependencies.settings
        return Turn(
            question=question,
            images=tuple(a.source for a in attachments),
            session=self.session,
            adapter=adapter or self._status.adapter,
            mode=self._status.mode,
            detail=self.options.detail or self._status.detail,
            sampling=self.options.sampling(settings.sampling()) if self.options != ChatOptions() else None,
            system=self.system,
        )

    def _show_options(self) -> None:
        own = ("own system prompt",) if self.system else ()
        self._status.options = (*self.options.words(self._dependencies.settings), *own)

    async def _keep_options(self) -> None:
        """Saves the options, once the chat is saved itself."""
        store, session, options = self._dependencies.sessions, self.session, self.options.as_json()
        if store is not None and session is not None:
            try:
                await asyncio.to_thread(store.set_options, session, options)
            except UserError as error:
                self._refuse(str(error))

    async def _run(self, events: Iterator[Event], last: LastTurn) -> str | None:
        """Shows the events of a turn. Returns None when it was answered, else a sentence that says what went wrong."""
        try:
            end = await show_turn(
                events, last.view, self._conversation, lambda event: self._note(event, last)
            )
        except Exception as error:
            return self._dependencies.report(error)
        self._status.failing = self._dependencies.backend.cloud_state in ("failing", "resting")
        if isinstance(end, Answered):
            await self._answered(last, end.answer)
            if sentence := await self._offer(end.answer):
                await self._conversation.remark(sentence)
            return None
        return end.message if isinstance(end, Failed) else "The turn ended without an answer."

    def _note(self, event: TurnSaved | Routed, last: LastTurn) -> None:
        match event:
            case TurnSaved():
                self.session, last.saved = event.session, event
                self._conversation.belongs_to(last.view, event.turn)
            case Routed():
                self._status.routed, last.routed = event.route.adapter or "", event

    async def _answered(self, last: LastTurn, answer: Answer) -> None:
        last.answer = answer
        await last.view.end(answer, self._offers(last, answer))
        self._status.sure = sure_text(answer)
        if answer.place == "local":
            self._status.tokens = context_text(
                answer.tokens.prompt + answer.tokens.completion, self._context()
            )

    def _offers(self, last: LastTurn, answer: Answer) -> list[str]:
        """What the user can do about an answer that is unsure or a decline, as clauses."""
        if not needs_help(answer):
            return []
        offers, endpoint = [], self._status.endpoint
        if answer.offer == "ask_cloud" and endpoint is not None:
            offers.append(f"{self._key('chat.ask_cloud')} asks the {endpoint.noun}")
        elif answer.offer == "set_up_cloud" and endpoint is None:
            offers.append("`edge-app cloud setup` sets up a cloud to ask")
        if last.asked is not None and (other := last.another_adapter) is not None:
            offers.append(f"{self._key('chat.try_again')} tries {adapter_words(other)}")
        return offers

    def _refuse(self, sentence: str) -> None:
        self._composer.say(sentence, wrong=True)
