"""An answer in the conversation, while and after it comes: its text, where it is from and why, how sure it is.

One question may get two answers, of this device and of the cloud: the one that counts is shown, the other is
folded below it and never lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from markdown_it import MarkdownIt
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Markdown, Static

from edge_app.events import Answer, Progress
from edge_app.system.terminal_text import one_line, printable
from edge_app.tui.conversation.messages import MessageView
from edge_app.tui.conversation.other_answer import OtherAnswer
from edge_app.tui.text import answer_line, is_unsure, progress_text, seconds

LOCAL, BROKEN = "The answer from this device", "The other answer, as far as it came"


class AnswerView(MessageView):
    """clock: seconds. stop_key, other_key: what to press to stop it, and to see the other answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "o", "toggle_other", "Other answer", id="message.other", tooltip="Unfold or fold the other answer"
        ),
    ]

    def __init__(self, clock: Callable[[], float], stop_key: str = "", other_key: str = "o") -> None:
        super().__init__()
        self._clock = clock
        self._stop_key = stop_key
        self._begun = clock()
        self._doing = "Waiting for the model"
        self._begins_anew = False  # the next text is another answer's first
        self._came_back = False  # the cloud was asked, and had no answer
        self._speaker = Static(Content("Assistant"), classes="speaker")
        self._markdown = Markdown(parser_factory=_parser, open_links=False)
        self._waiting = Static("", classes="waiting")
        self._other = OtherAnswer(other_key)
        self._why = Static("", classes="answer-why")
        self._line = Static("", classes="answer-line")
        self._offer = Static("", classes="answer-offer")

    def compose(self) -> ComposeResult:
        yield self._speaker
        yield self._markdown
        yield self._waiting
        yield self._other
        yield self._why
        yield self._line
        yield self._offer

    def on_mount(self) -> None:
        for empty in (self._why, self._line, self._offer):
            empty.display = False
        self._tick()
        self._timer = self.set_interval(0.25, self._tick)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "toggle_other":
            return self._other.display
        return super().check_action(action, parameters)

    def action_toggle_other(self) -> None:
        self._other.toggle()

    # -- while it comes

    def doing(self, what: Progress | str) -> None:
        """What the first token waits for."""
        self._doing = progress_text(what) if isinstance(what, Progress) else one_line(what)
        self._tick()

    def wait_again(self, what: str) -> None:
        """For another answer to the same question; this one stays readable until that begins."""
        self._begun = self._clock()
        self._came_back = False
        self._say(self._offer, "")
        self._waiting.display = True
        self._timer.resume()
        self.doing(what)

    def escalate(self, reason: str) -> None:
        """The cloud is being asked; its answer will take the place of what has come."""
        self._begins_anew = True
        self.wait_again(f"Asking the {reason}")

    async def append(self, text: str) -> None:
        if self._begins_anew:
            self._begins_anew = False
            self._other.hold(LOCAL, self.text)
            await self._replace("")
        text = printable(text)
        self.text += text
        self._waiting.display = False
        await self._markdown.append(text)

    async def come_back(self, trouble: str, kept: str | None) -> None:
        """The cloud gave no whole answer, and the reason of the end will say so. kept: of this device, to be gone
        on from; None when there is none."""
        broken = "" if self._begins_anew else self.text
        self._begins_anew, self._came_back = False, True
        await self._replace(kept or "")
        self._other.hold(BROKEN, broken)
        self._waiting.display = True
        self.doing(f"{trouble} Answering on this device")

    # -- its end

    async def end(self, answer: Answer) -> None:
        self._begins_anew = False
        if printable(answer.text) != self.text:
            await self._replace(answer.text)
        self.hold_other(answer.kept or "", answer.broken or "")
        self._came_back = self._came_back or answer.broken is not None
        marks = ["low confidence"] if is_unsure(answer) else []
        marks += ["local answer kept"] if self._came_back else []
        mark = (f"  {', '.join(marks)}", "$text-warning") if marks else ""
        self._speaker.update(Content.assemble("Assistant", mark))
        self.set_class(self._came_back, "-came-back")
        self._say(self._why, answer.reason)
        self._end(answer_line(answer))

    def hold_other(self, kept: str, broken: str) -> None:
        """The answer that does not count: of this device, or as far as the cloud's came; empty is none."""
        self._other.hold(*((LOCAL, kept) if kept else (BROKEN, broken)))

    def fail(self, sentence: str) -> None:
        self.add_class("-failed")
        self._end(sentence)

    def offer(self, sentence: str) -> None:
        """What the user may do about it; empty withdraws it."""
        self._say(self._offer, sentence)

    async def _replace(self, text: str) -> None:
        self.text = printable(text)
        await self._markdown.update(self.text)

    def _end(self, line: str) -> None:
        self._timer.pause()
        self._waiting.display = False
        self._say(self._line, line)

    @staticmethod
    def _say(place: Static, sentence: str) -> None:
        place.update(Content(one_line(sentence)))
        place.display = bool(sentence)

    def _tick(self) -> None:
        if self._waiting.display:
            stop = f" · {self._stop_key} stops it" if self._stop_key else ""
            elapsed = seconds(self._clock() - self._begun)
            self._waiting.update(Content(f"{self._doing} · {elapsed}{stop}"))


def _parser() -> MarkdownIt:
    """HTML stays visible as text: the widget would drop it, and with it a part of the answer."""
    return MarkdownIt("gfm-like", {"html": False})
