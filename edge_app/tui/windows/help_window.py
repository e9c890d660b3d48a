"""The help: all commands and all keys, generated from their definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static, TextArea

from edge_app.tui.composer.commands import COMMANDS
from edge_app.tui.keys import declared, key_label, key_labels
from edge_app.tui.windows.window import Window


class HelpWindow(Window[None]):
    """The window with the help.

    groups: headings with their bindings. remapped: keys of the settings, by binding id.
    """

    def __init__(self, groups: Sequence[tuple[str, list[Binding]]], remapped: Mapping[str, str]) -> None:
        super().__init__()
        self._groups = groups
        self._remapped = remapped

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="window") as window:
            window.border_title = Content("Help")
            yield Static("Commands", classes="help-heading")
            yield _table([(command.usage, command.help, "") for command in COMMANDS])
            yield Static(
                "An image is attached by /image, by @path in the text, by pasting or dropping its path, "
                "or from the picker.",
                classes="help-text",
            )
            for heading, bindings in self._groups:
                yield Static(Content(heading), classes="help-heading")
                yield _table([self._row(binding) for binding in bindings])
            yield Static("Editing", classes="help-heading")
            yield _table(_editing())
            yield Static(
                Content("The names at the right are for [keys] in settings.toml, which remaps them."),
                classes="help-text",
            )

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def _row(self, binding: Binding) -> tuple[str, str, str]:
        keys = " or ".join(key_labels(binding, self._remapped))
        return keys, binding.tooltip or binding.description, binding.id or ""


def _table(rows: Sequence[tuple[str, str, str]]) -> Static:
    """A line for each row: keys, description, binding id."""
    content = Content("\n").join(
        Content.assemble((keys, "bold"), "  ", text, (f"  {name}" if name else "", "dim"))
        for keys, text, name in rows
    )
    return Static(content, classes="help-table")


def _editing() -> list[tuple[str, str, str]]:
    """Textual's own keys of the input that use a modifier or a function key. They cannot be remapped."""
    rows = []
    for binding in declared(TextArea.BINDINGS):
        keys = [key for key in binding.key.split(",") if "super" not in key]
        if any("+" in key or key.startswith("f") for key in keys):
            rows.append((" or ".join(map(key_label, keys)), binding.description, ""))
    return rows
