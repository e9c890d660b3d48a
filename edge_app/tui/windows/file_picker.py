"""A window to pick an image file: a tree of folders and images, with a preview of the image under the cursor.

textual-fspicker (1.0.1) is not used: it shows no preview, and its bindings have no ids, so that they can neither be
remapped in the settings nor be listed by the help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DirectoryTree, Static, Tree
from textual.widgets.directory_tree import DirEntry

from edge_app.images.image_paths import home_folders, is_folder, looks_like_image, shown
from edge_app.system.terminal_text import printable
from edge_app.tui.composer.attachments import read_attachment
from edge_app.tui.windows.window import Window
from models.core.errors import UserError


class ImageTree(DirectoryTree):
    """A directory tree without hidden entries and without files that are no images."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "left",
            "fold",
            "Fold",
            id="picker.fold",
            show=False,
            tooltip="Close the folder, or go to its parent",
        ),
        Binding("right", "unfold", "Open", id="picker.unfold", show=False, tooltip="Open the folder"),
    ]

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [
            path
            for path in paths
            if not path.name.startswith(".") and (looks_like_image(path) or is_folder(path))
        ]

    def action_fold(self) -> None:
        node = self.cursor_node
        if node is None:
            return
        if node.is_expanded and node.allow_expand:
            node.collapse()
        elif node.parent is not None:
            self.move_cursor(node.parent)

    def action_unfold(self) -> None:
        if self.cursor_node is not None and self.cursor_node.allow_expand:
            self.cursor_node.expand()


class FilePicker(Window[Path]):
    """Returns the path of the chosen image. start: the folder that is shown first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("backspace,u", "up", "Folder above", id="picker.up", tooltip="Go to the folder above"),
        Binding("tilde", "home", "Home", id="picker.home", tooltip="Go to your home folder"),
    ]

    def __init__(self, start: Path, preview: Callable[..., Widget]) -> None:
        super().__init__()
        self._folder = start.absolute()
        self._preview = preview

    def compose(self) -> ComposeResult:
        with Vertical(classes="window", id="picker") as window:
            window.border_title = Content("Attach an image")
            yield Static(id="picker-folder")
            with Horizontal():
                yield ImageTree(self._folder)
                yield Vertical(id="picker-preview")
            yield Static(
                Content("Enter attaches · Backspace folder above · Esc closes"), classes="window-keys"
            )

    def on_mount(self) -> None:
        self._show_folder()
        self.query_one(ImageTree).focus()

    def action_up(self) -> None:
        self._go(self._folder.parent)

    def action_home(self) -> None:
        for home in home_folders():
            self._go(home)

    def _go(self, folder: Path) -> None:
        self._folder = folder
        self.query_one(ImageTree).path = folder
        self._show_folder()

    def _show_folder(self) -> None:
        self.query_one("#picker-folder", Static).update(Content(printable(shown(self._folder))))

    @on(DirectoryTree.FileSelected)
    def _selected(self, event: DirectoryTree.FileSelected) -> None:
        event.stop()
        self.dismiss(event.path)

    @on(Tree.NodeHighlighted)
    def _highlighted(self, event: Tree.NodeHighlighted[DirEntry]) -> None:
        entry = event.node.data
        self._look(entry.path if entry is not None else None)

    @work(exclusive=True, group="preview")
    async def _look(self, path: Path | None) -> None:
        """Shows the image under the cursor once the cursor has rested for 0.1 s."""
        place = self.query_one("#picker-preview", Vertical)
        await place.remove_children()
        if path is None or not looks_like_image(path):
            return
        await asyncio.sleep(0.1)
        try:
            attachment = await asyncio.to_thread(read_attachment, path)
        except UserError as error:
            await place.mount(Static(Content(printable(str(error)))))
            return
        await place.mount(self._preview(attachment.picture), Static(Content(attachment.facts)))
