"""An answer in the conversation: its text as it is generated, then one line about it.

A question can get two answers, one from this device and one from the cloud. The one that counts is shown, the other
is folded below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from markdown_it import MarkdownIt
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Markdown, Static
from textual.widgets.markdown import MarkdownFence

from edge_app.answer import Answer
from edge_app.answer_text import answer_line, needs_help, seconds, speed_text
from edge_app.events import Progress
from edge_app.system.terminal_text import one_line, printable
from edge_app.tui.conversation.messages import MessageView
from edge_app.tui.text import progress_text

CODE_STEP = 16
"""Columns by which a key scrolls long lines of code."""

THOUGHT = "What the model thought before"
LOCAL, BROKEN = "The answer from this device", "The other answer, incomplete"


class FoldedText(Vertical):
    """A text that is folded to one line until the user unfolds it. Hidden while there is none.

    key: the name of the key that folds and unfolds it.
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self.text = ""
        self.display = False
        self._key = key
        self._what = ""
        self._title = Static("", classes="other-title")
        self._body = Static("", classes="other-text")

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._body

    def on_mount(self) -> None:
        self._body.display = False
        self._show()

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.toggle()

    def hold(self, what: str, text: str) -> None:
        """Sets the text that is folded.

        what: the title, as in "The answer from this device". text: empty hides it.
        """
        self._what, self.text = what, text
        self.display = bool(text.strip())
        self._show()

    def toggle(self) -> None:
        self._body.display = not self._body.display
        self._show()

    def _show(self) -> None:
        is_open = self._body.display
        if is_open:
            self._body.update(Content(printable(self.text).strip()))
        sign, verb = ("▾", "folds") if is_open else ("▸", "unfolds")
        beginning = "" if is_open else f": {one_line(self.text)}"
        title = Content.assemble(f"{sign} {self._what}", (f" ({self._key} {verb} it)", "dim"), beginning)
        self._title.update(title)


class OtherAnswer(FoldedText):
    """The answer that does not count."""


class Thinking(FoldedText):
    """What the endpoint's model thought before it answered."""


class AnswerView(MessageView):
    """One answer of the conversation.

    clock: monotonic seconds. stop_key, other_key: names of the keys that stop it and that show the other answer.
    elsewhere: the word for the place that is not this device. model: returns the chosen model.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "o", "toggle_other", "Other answer", id="message.other", tooltip="Unfold or fold the other answer"
        ),
        Binding(
            "right,l",
            "scroll_code(1)",
            "Code right",
            id="message.code_right",
            show=False,
            tooltip="Scroll long lines of code to the right",
        ),
        Binding(
            "left,h",
            "scroll_code(-1)",
            "Code left",
            id="message.code_left",
            show=False,
            tooltip="Scroll long lines of code back to the left",
        ),
    ]

    def __init__(
        self,
        clock: Callable[[], float],
        stop_key: str = "",
        other_key: str = "o",
        elsewhere: str = "cloud",
        model: Callable[[], str] = str,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._stop_key = stop_key
        self._elsewhere = elsewhere
        self._model = model
        self._begun = clock()
        self._doing = "Waiting for the model"
        self._begins_anew = False  # the next text begins another answer
        self._came_back = False  # the cloud was asked and gave no whole answer
        self._ended: Answer | None = None
        self._speaker = Static(Content("Assistant"), classes="speaker")
        self._parser: MarkdownIt | None = None
        self._markdown = Markdown(parser_factory=self._own_parser, open_links=False)
        self._waiting = Static("", classes="waiting")
        self._thought = Thinking(other_key)
        self._other = OtherAnswer(other_key)
        self._line = Static("", classes="answer-line")

    def compose(self) -> ComposeResult:
        yield self._speaker
        yield self._thought
        yield self._markdown
        yield self._waiting
        yield self._other
        yield self._line

    def on_mount(self) -> None:
        self._line.display = False
        self._tick()
        self._timer = self.set_interval(0.25, self._tick)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "toggle_other":
            return self._other.display or self._thought.display
        return super().check_action(action, parameters)

    def action_toggle_other(self) -> None:
        for folded in (self._thought, self._other):
            if folded.display:
                folded.toggle()

    def action_scroll_code(self, steps: int) -> None:
        """Scrolls the code blocks whose lines are longer than the screen is wide."""
        for code in self.query(MarkdownFence):
            code.scroll_relative(x=steps * CODE_STEP, animate=False)

    # -- while it is generated

    def doing(self, what: Progress | str) -> None:
        """Shows what is being done before the first token."""
        self._doing = progress_text(what) if isinstance(what, Progress) else one_line(what)
        self._tick()

    def wait_again(self, what: str) -> None:
        """Waits for another answer to the same question. This one stays readable until the other begins."""
        self._begun = self._clock()
        self._thought.hold(THOUGHT, "")
        self._came_back = False
        self._ended = None
        self._line.display = False
        self.set_class(False, "-failed", "-unsure")
        self._waiting.display = True
        self._timer.resume()
        self.doing(what)

    def escalate(self, reason: str) -> None:
        """Shows that the cloud is being asked. Its answer will replace this one."""
        self._begins_anew = True
        self.wait_again(f"Asking the {reason}")

    def think(self, text: str) -> None:
        """Shows that the model thinks, and folds what it thinks above its answer."""
        self._thought.hold(THOUGHT, self._thought.text + text)
        self.doing("Thinking")

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
        """Goes back to this device after the cloud gave no whole answer.

        trouble: what went wrong, as a sentence. kept: the local answer so far, None without one.
        """
        broken = "" if self._begins_anew else self.text
        self._begins_anew, self._came_back = False, True
        await self._replace(kept or "")
        self._other.hold(BROKEN, broken)
        self._waiting.display = True
        self.doing(f"{trouble} Answering on this device")

    # -- when it ends

    async def end(self, answer: Answer, offers: Sequence[str] = ()) -> None:
        """Shows the whole answer and the line about it. offers: as for answer_line."""
        self._begins_anew = False
        if printable(answer.text) != self.text:
            await self._replace(answer.text)
        self.hold_other(answer.kept or "", answer.broken or "")
        self._came_back = self._came_back or answer.broken is not None
        mark = ("  local answer kept", "$text-warning") if self._came_back else ""
        self._speaker.update(Content.assemble("Assistant", mark))
        self._ended = answer
        self._about(answer, offers)

    def hold_other(self, kept: str, broken: str) -> None:
        """Folds the other answer: kept, the local one, or broken, the received part of the cloud's. Empty is none."""
        self._other.hold(*((LOCAL, kept) if kept else (BROKEN, broken)))

    def fail(self, sentence: str) -> None:
        self.add_class("-failed")
        self._end(Content(one_line(sentence)))

    def withdraw_offers(self) -> None:
        """Removes from the line what can be done about the answer, since another question was asked."""
        if self._ended is not None:
            self._about(self._ended, ())

    async def _replace(self, text: str) -> None:
        self.text = printable(text)
        await self._markdown.update(self.text)

    def _about(self, answer: Answer, offers: Sequence[str]) -> None:
        """Shows the line about the answer, its speed dimmed."""
        self.set_class(needs_help(answer), "-unsure")
        line, speed = answer_line(answer, self._elsewhere, offers, self._model()), speed_text(answer)
        self._end(Content.assemble(one_line(line), (f" · {speed}" if speed else "", "dim")))

    def _end(self, line: Content) -> None:
        self._parser = None
        self._timer.pause()
        self._waiting.display = False
        self._line.update(line)
        self._line.display = True

    def _tick(self) -> None:
        if self._waiting.display:
            stop = f" · {self._stop_key} stops it" if self._stop_key else ""
            elapsed = seconds(self._clock() - self._begun)
            self._waiting.update(Content(f"{self._doing} · {elapsed}{stop}"))

    def _own_parser(self) -> MarkdownIt:
        """A parser that keeps HTML as text; the widget would drop it, and with it a part of the answer.

        The widget asks for one with every piece of an answer. A parser takes 3 ms to make, and 200 KB that only the
        garbage collector frees, so that there is one an answer.
        """
        if self._parser is None:
            self._parser = MarkdownIt("gfm-like", {"html": False})
        return self._parser
