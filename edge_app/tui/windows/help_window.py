"""The help: every key, read from the bindings themselves, and every command, read from their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static, TextArea

from edge_app.tui.composer.commands import COMMANDS
from edge_app.tui.keys import declared, keys_of, pretty
from edge_app.tui.windows.window import Window


class HelpWindow(Window[None]):
    """groups: bindings under their headings. remapped: the settings' keys."""

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
        keys = " or ".join(keys_of(binding, self._remapped))
        return keys, binding.tooltip or binding.description, binding.id or ""


def _table(rows: Sequence[tuple[str, str, str]]) -> Static:
    """A line or two each: keys, what they do, and the binding's id."""
    content = Content("\n").join(
        Content.assemble((keys, "bold"), "  ", text, (f"  {name}" if name else "", "dim"))
        for keys, text, name in rows
    )
    return Static(content, classes="help-table")


def _editing() -> list[tuple[str, str, str]]:
    """The input's own keys, those that are not plain arrows and the like: they are Textual's, and fixed."""
    rows = []
    for binding in declared(TextArea.BINDINGS):
        keys = [key for key in binding.key.split(",") if "super" not in key]
        if any("+" in key or key.startswith("f") for key in keys):
            rows.append((" or ".join(map(pretty, keys)), binding.description, ""))
    return rows
