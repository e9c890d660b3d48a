"""The other answer to a question, folded below the one that counts: one line, until it is unfolded."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from edge_app.system.terminal_text import one_line, printable


class OtherAnswer(Vertical):
    """Hidden while there is none. what: which one it is, as in "The answer from this device"."""

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
        """An empty text is none."""
        self._what, self.text = what, text
        self.display = bool(text.strip())
        self._body.update(Content(printable(text).strip()))
        self._show()

    def toggle(self) -> None:
        self._body.display = not self._body.display
        self._show()

    def _show(self) -> None:
        is_open = self._body.display
        sign, verb = ("▾", "folds") if is_open else ("▸", "unfolds")
        beginning = "" if is_open else f": {one_line(self.text)}"
        title = Content.assemble(f"{sign} {self._what}", (f" ({self._key} {verb} it)", "dim"), beginning)
        self._title.update(title)
