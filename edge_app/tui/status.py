"""The line at the top: the chat's title, and what the next question will be answered with."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from edge_app.mode import Mode
from edge_app.tui.text import one_line

NEW_CHAT = "New chat"


class StatusLine(Horizontal):
    """model: its name, or what is being done to make it ready. routed: the adapter that "auto" chose last."""

    chat: reactive[str] = reactive(NEW_CHAT)
    model: reactive[str] = reactive("")
    adapter: reactive[str] = reactive("auto")
    routed: reactive[str] = reactive("")
    mode: reactive[Mode] = reactive[Mode]("auto")
    offline: reactive[bool] = reactive(False)

    def compose(self) -> ComposeResult:
        yield Static("", id="status-chat")
        yield Static("", id="status-model")

    def on_mount(self) -> None:
        for name in ("chat", "model", "adapter", "routed", "mode", "offline"):
            self.watch(self, name, self._show)

    def _show(self) -> None:
        self.query_one("#status-chat", Static).update(Content(one_line(self.chat)))
        adapter = one_line(self.adapter)
        if self.adapter == "auto" and self.routed:
            adapter += f" ({one_line(self.routed)})"
        parts = [one_line(self.model), f"adapter {adapter}", f"mode {self.mode}"]
        parts += ["offline"] if self.offline else []
        self.query_one("#status-model", Static).update(Content(" · ".join(part for part in parts if part)))
