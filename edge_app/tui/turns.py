"""The turns of the open chat: asks, shows what comes back, and asks again elsewhere or otherwise when told to.

Knows which chat is open and what was asked last. Knows no keys but by name, and no commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edge_app.events import Answer, Answered, Event, Failed, Routed, TurnSaved
from edge_app.system.terminal_text import one_line
from edge_app.tui.composer.composer import Composer
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.conversation.conversation_view import Conversation
from edge_app.tui.conversation.messages import Shown
from edge_app.tui.conversation.saved_chat import EarlierChat
from edge_app.tui.conversation.turn_view import Told, show_turn
from edge_app.tui.status import NEW_CHAT, StatusLine
from edge_app.tui.surroundings import Surroundings
from edge_app.tui.text import is_unsure
from edge_app.tui.windows.route_window import RouteWindow
from edge_app.turn import Turn
from router.choice import Candidate


@dataclass
class LastTurn:
    """asked: None of a chat that was opened again. adapter: as it was asked for; saved, routed, answer: what is
    known of it by now."""

    question: str
    asked: Composer.Asked | None
    adapter: str
    view: AnswerView
    saved: TurnSaved | None = None
    routed: Routed | None = None
    answer: Answer | None = None


class Turns:
    """key: what the key of a binding is called."""

    def __init__(
        self,
        around: Surroundings,
        status: StatusLine,
        composer: Composer,
        conversation: Conversation,
        key: Callable[[str], str],
    ) -> None:
        self.session: str | None = None
        self._around = around
        self._status = status
        self._composer = composer
        self._conversation = conversation
        self._key = key
        self._last: LastTurn | None = None

    async def ask(self, asked: Composer.Asked, adapter: str = "") -> None:
        """adapter: for this question alone; empty takes the one that is chosen."""
        shown = [Shown(a.name, a.picture) for a in asked.attachments]
        view = await self._conversation.ask(asked.question, shown, self._key("chat.stop"))
        turn = self._turn(asked.question, asked, adapter)
        last = self._last = LastTurn(asked.question, asked, turn.adapter, view)
        trouble = await self._run(self._around.backend.answer(turn), last)
        if trouble is not None:
            view.fail(trouble)
            await self._composer.restore(asked.text, asked.attachments)
        elif self._status.chat == NEW_CHAT:
            self._status.chat = asked.question

    async def ask_cloud(self) -> None:
        """The last question once more, there; the answer that was, is kept."""
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
            trouble = await self._run(self._around.backend.ask_cloud(saved.session, saved.turn), last)
            if trouble is not None:
                await self._answered(last, before)
                self._refuse(trouble)

    async def try_again(self) -> None:
        """The last question once more, with the adapter that suits next best."""
        last = self._last
        other = another_adapter(last) if last is not None else None
        if last is None or last.asked is None or other is None:
            self._refuse("There is no other adapter that suits the last question.")
        else:
            await self.ask(last.asked, other)

    def route_window(self, question: str) -> RouteWindow | None:
        """Of this question, or of the one that is being written, or of the last."""
        last, backend, report = self._last, self._around.backend, self._around.report
        elsewhere = self._status.endpoint.noun if self._status.endpoint is not None else "cloud"
        question = question or self._composer.prompt.text
        if question.strip():
            turn = self._turn(question, None, "")
            return RouteWindow("The next question", question, lambda: backend.route(turn), elsewhere, report)
        if last is not None and last.routed is not None:
            routed = last.routed
            return RouteWindow("The last question", last.question, lambda: iter((routed,)), elsewhere, report)
        self._refuse("Write a question first; its route is shown without asking it.")
        return None

    async def show(self, chat: EarlierChat) -> None:
        """A saved chat in place of the open one."""
        self.forget()
        views = await self._conversation.show_chat(chat)
        self.session = chat.id
        if chat.turns and (result := chat.turns[-1].result) is not None:
            turn, view = chat.turns[-1], views[-1]
            saved = TurnSaved(chat.id, turn.id)
            self._last = LastTurn(turn.question, None, result.adapter or "none", view, saved)
            await self._answered(self._last, result)

    def forget(self) -> None:
        """The next question begins a new chat."""
        self.session = self._last = None
        self._status.routed, self._status.confidence, self._status.unsure = "", None, False

    # -- inside

    def _turn(self, question: str, asked: Composer.Asked | None, adapter: str) -> Turn:
        attachments = self._composer.attachments if asked is None else asked.attachments
        return Turn(
            question=question,
            images=tuple(a.path for a in attachments),
            session=self.session,
            adapter=adapter or self._status.adapter,
            mode=self._status.mode,
        )

    async def _run(self, events: Iterator[Event], last: LastTurn) -> str | None:
        """Shows them. None when they ended in an answer; else what went wrong."""
        try:
            end = await show_turn(
                events, last.view, self._conversation, lambda event: self._told(event, last)
            )
        except Exception as error:
            return self._around.report(error)
        self._status.failing = self._around.backend.cloud_state in ("failing", "resting")
        if isinstance(end, Answered):
            await self._answered(last, end.answer)
            return None
        return end.message if isinstance(end, Failed) else "The answer ended without an end."

    def _told(self, event: Told, last: LastTurn) -> None:
        match event:
            case TurnSaved():
                self.session, last.saved = event.session, event
            case Routed():
                self._status.routed, last.routed = event.route.adapter or "", event

    async def _answered(self, last: LastTurn, answer: Answer) -> None:
        last.answer = answer
        await last.view.end(answer)
        is_local = answer.place == "local"
        self._status.confidence, self._status.unsure = (
            answer.confidence if is_local else None,
            is_unsure(answer),
        )
        last.view.offer(self._offers(last, answer))

    def _offers(self, last: LastTurn, answer: Answer) -> str:
        if not is_unsure(answer):
            return ""
        offers = []
        if answer.offer == "ask_cloud" and self._status.endpoint is not None:
            offers.append(f"{self._key('chat.ask_cloud')} asks {self._status.endpoint}")
        if last.asked is not None and (other := another_adapter(last)) is not None:
            how = "without an adapter" if other == "none" else f"with adapter {one_line(other)}"
            offers.append(f"{self._key('chat.try_again')} tries again {how}")
        return " · ".join(offers)

    def _refuse(self, sentence: str) -> None:
        self._composer.say(sentence, wrong=True)


def another_adapter(last: LastTurn) -> str | None:
    """What else might answer: who named an adapter gets the one that fits; else the next that suits better than
    none at all, else none. None when there is nothing else to be had."""
    if last.adapter != "auto":
        return None if last.adapter == "none" else "auto"
    used = last.answer.adapter if last.answer is not None else None
    candidates: Sequence[Candidate] = last.routed.route.candidates if last.routed is not None else ()
    suits = (each.adapter for each in candidates if each.adapter != used and each.score > 0)
    return next(suits, "none" if used is not None else None)
