"""Shows doubtful rows one by one: the picture of the page beside inputs with its values. Enter accepts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import PIL.Image
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Footer, Input, Label, Static

from edge_app.events import Picture
from edge_app.extract.review import Review, ReviewItem, shown
from edge_app.extract.rows import PageRow
from edge_app.system.terminal_text import one_line
from edge_app.tui.ordered_keys import OrderedKeysApp
from models.core.errors import UserError
from models.core.types import Image

LONGEST_SIDE = 1400
"""Longest side of the picture, in pixels."""

CELL_HEIGHT = 2
"""Of a character cell, in widths of it."""


Decode = Callable[[Picture], Image]


class ReviewApp(OrderedKeysApp, inherit_bindings=False):
    """decided: the rows that the user accepted or corrected, by their position in the table.

    decode: decodes a page; raises UserError. draw: makes the widget of a picture (conversation.previews).
    """

    TITLE = "edge-app extract --review"
    CSS = """
    #where { height: 1; padding: 0 1; text-style: bold; }
    #trouble { height: auto; padding: 0 1; color: $error; }
    #picture { width: 3fr; padding: 0 1; }
    #picture .wide { width: 100%; height: auto; }
    #picture .tall { width: auto; height: 100%; }
    #fields { width: 2fr; min-width: 30; padding: 0 1; }
    #fields Label { margin-top: 1; }
    .doubtful { color: $warning; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "accept", "Accept", key_display="Enter", priority=True),
        Binding("tab", "app.focus_next", "Next field", key_display="Tab", priority=True),
        Binding("down", "app.focus_next", show=False, priority=True),
        Binding("shift+tab,up", "app.focus_previous", show=False, priority=True),
        Binding("ctrl+n", "skip", "Skip", priority=True),
        Binding("ctrl+o", "open", "Open the file", priority=True),
        Binding("escape", "quit", "End", key_display="Esc", priority=True),
        Binding("ctrl+q,ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(
        self, items: Sequence[ReviewItem], review: Review, decode: Decode, draw: Callable[..., Widget]
    ) -> None:
        super().__init__()
        self.decided: dict[int, PageRow] = {}
        self._items = items
        self._review = review
        self._decode = decode
        self._draw = draw
        self._at = 0

    @property
    def item(self) -> ReviewItem:
        """The row that is shown."""
        return self._items[self._at]

    def compose(self) -> ComposeResult:
        yield Static(id="where", markup=False)
        with Horizontal():
            yield Container(id="picture")
            yield VerticalScroll(id="fields", can_focus=False)
        yield Static(id="trouble", markup=False)
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        await self._show()

    async def action_accept(self) -> None:
        """Keeps the values as they stand, and goes on to the next row."""
        if self._at == len(self._items):
            return
        typed = [each.value for each in self.query(Input)]
        try:
            self.decided[self.item.number] = self._review.decide(self.item, typed)
        except UserError as error:
            self._say(str(error))
            return
        await self.action_skip()

    async def action_skip(self) -> None:
        """Goes on to the next row; this one stays as it is."""
        self._at = min(self._at + 1, len(self._items))
        if self._at == len(self._items):
            self.exit()
            return
        await self._show()

    def action_open(self) -> None:
        """Opens the file in the system's own viewer."""
        if self._at < len(self._items):
            self.open_url(Path(self.item.job.file).absolute().as_uri())

    async def _show(self) -> None:
        item, row = self.item, self.item.row
        declined = " · not found by the model" if row.declined else ""
        where = f"{self._at + 1} of {len(self._items)} · {one_line(row.file)}, page {row.page}{declined}"
        self.query_one("#where", Static).update(where)
        self._say("")
        fields = self.query_one("#fields", VerticalScroll)
        await fields.remove_children()
        widgets: list[Widget] = []
        inputs = []
        for field, value, sure in zip(self._review.asked.fields, row.values, row.confidences, strict=True):
            doubtful = row.declined or (sure is not None and sure < self._review.least)
            chance = "" if sure is None else f" · {sure:.0%}"
            kind = "" if field.kind == "text" else f" ({field.kind})"
            label = Label(f"{field.name}{kind}{chance}", markup=False)
            label.set_class(doubtful, "doubtful")
            box = Input(shown(value))
            widgets += [label, box]
            inputs.append((not doubtful, box))
        await fields.mount_all(widgets)
        if inputs:
            doubted = min(inputs, key=lambda each: each[0])[1]  # the first doubtful one
            self.screen.set_focus(doubted)  # at once, so that it has the keys that follow
        await self.query_one("#picture", Container).remove_children()
        self._load(item)

    @work(thread=True, exclusive=True)
    def _load(self, item: ReviewItem) -> None:
        """Decodes the picture on another thread, and shows it if its row is still shown."""
        try:
            picture = PIL.Image.fromarray(self._decode(item.job.picture()).pixels)
            picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        except UserError as error:
            self.call_from_thread(self._say, str(error))
            return
        self.call_from_thread(partial(self._show_picture, item, picture))

    def _show_picture(self, item: ReviewItem, picture: PIL.Image.Image) -> None:
        if self._at < len(self._items) and self.item is item:
            place, widget = self.query_one("#picture", Container), self._draw(picture)
            columns, rows = place.content_size
            is_wide = picture.width * rows * CELL_HEIGHT > picture.height * columns
            widget.add_class("wide" if is_wide else "tall")
            place.mount(widget)

    def _say(self, text: str) -> None:
        self.query_one("#trouble", Static).update(one_line(text))


def review_rows(items: Sequence[ReviewItem], review: Review, decode: Decode) -> dict[int, PageRow]:
    """Shows the rows on the terminal until the user has seen all or ends it. Returns those that were decided."""
    from edge_app.tui.conversation.previews import preview_class

    app = ReviewApp(items, review, decode, preview_class())
    app.run()
    return app.decided
