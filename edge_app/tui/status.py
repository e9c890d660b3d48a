"""The line at the top: the chat's title, and the model, adapter, mode and network of the next question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from edge_app.cloud.endpoint import Endpoint
from edge_app.images.image_detail import ImageDetail
from edge_app.system.battery import Battery
from edge_app.system.terminal_text import one_line
from edge_app.tui.text import battery_text, network_text
from router.types import Mode

NEW_CHAT = "New chat"
SEPARATOR = " · "
TITLE_COLUMNS = 16
"""Columns reserved for the title; facts are left out before it gets fewer."""

BATTERY_SECONDS = 30.0
"""Interval between readings of the battery. Without a battery it is read once."""

SHOWN = (
    *("chat", "model", "doing", "adapter", "routed", "mode", "offline", "endpoint", "failing"),
    *("battery", "sure", "download", "detail", "options", "tokens", "editing"),
)


@dataclass(frozen=True)
class Fact:
    """A part of the line. rank: where the line is too short, the fact of the highest rank is left out first."""

    text: str
    rank: int


def fitting(facts: Sequence[Fact], columns: int) -> str:
    """The facts in their order, joined, without the highest ranks that do not fit into the columns."""
    left = [fact for fact in facts if fact.text]
    while left and len(SEPARATOR.join(fact.text for fact in left)) > columns:
        left.remove(max(left, key=lambda fact: fact.rank))
    return SEPARATOR.join(fact.text for fact in left)


class StatusLine(Horizontal):
    """The status line; each reactive attribute is shown when it is set.

    model: its name. doing: the step of loading it. download: the progress of one that is downloaded. routed: the
    adapter that "auto" chose last. endpoint: of the cloud, None when none is set up. failing: the endpoint did
    not answer the last question. sure: how sure the last answer is, in words; empty when that is unknown.
    options: what is set for this chat alone, in words. tokens: how much of the context the chat takes, in words.
    editing: an earlier question is in the prompt.
    """

    chat: reactive[str] = reactive(NEW_CHAT)
    model: reactive[str] = reactive("")
    doing: reactive[str] = reactive("")
    adapter: reactive[str] = reactive("auto")
    routed: reactive[str] = reactive("")
    mode: reactive[Mode] = reactive[Mode]("auto")
    detail: reactive[ImageDetail] = reactive[ImageDetail]("auto")
    offline: reactive[bool] = reactive(False)
    endpoint: reactive[Endpoint | None] = reactive[Endpoint | None](None)
    failing: reactive[bool] = reactive(False)
    battery: reactive[Battery | None] = reactive[Battery | None](None)
    sure: reactive[str] = reactive("")
    download: reactive[str] = reactive("")
    options: reactive[tuple[str, ...]] = reactive(())
    tokens: reactive[str] = reactive("")
    editing: reactive[bool] = reactive(False)

    def __init__(self, read_battery: Callable[[], Battery | None]) -> None:
        super().__init__()
        self._read_battery = read_battery

    def compose(self) -> ComposeResult:
        yield Static("", id="status-chat")
        yield Static("", id="status-facts")

    def on_mount(self) -> None:
        for name in SHOWN:
            self.watch(self, name, self._show)
        self._look_at_battery()

    def on_resize(self) -> None:
        self._show()

    @work(group="battery")
    async def _look_at_battery(self) -> None:
        self.battery = await asyncio.to_thread(self._read_battery)
        if self.battery is not None:
            self.set_timer(BATTERY_SECONDS, self._look_at_battery)

    def facts(self) -> list[Fact]:
        adapter = one_line(self.adapter)
        if self.adapter == "auto" and self.routed:
            adapter += f" ({one_line(self.routed)})"
        return [
            Fact(one_line(self.doing), 0),
            Fact(one_line(self.download), 0),
            Fact("editing an earlier question" if self.editing else "", 0),
            Fact("" if self.doing else one_line(self.model), 6),
            Fact(f"adapter {adapter}", 3),
            Fact(f"mode {self.mode}", 2),
            Fact(f"detail {self.detail}" if self.detail != "auto" else "", 3),
            *(Fact(one_line(option), 3) for option in self.options),
            Fact(network_text(self.endpoint, offline=self.offline, failing=self.failing), 1),
            Fact(battery_text(self.battery), 5),
            Fact(self.sure, 4),
            Fact(self.tokens, 7),
        ]

    def _show(self) -> None:
        title = one_line(self.chat)
        self.query_one("#status-chat", Static).update(Content(title))
        columns = self.size.width - min(len(title), TITLE_COLUMNS) - 2
        self.query_one("#status-facts", Static).update(Content(fitting(self.facts(), columns)))
