"""Completions of the text before the cursor (commands, arguments, paths), and the list that shows them.

textual-autocomplete (4.0.6) is not used: it completes an Input, while the prompt is a TextArea of several lines, and
it compares key names, so that keys remapped in the settings would not reach it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from edge_app.images.image_detail import DETAILS
from edge_app.images.image_paths import expanded, looks_like_image, mention_before, quoted_mention
from edge_app.system.terminal_text import one_line
from edge_app.tui.composer import commands
from edge_app.tui.options.chat_options import NAMES as OPTIONS

MOST = 50
_MOST_READ = 5000  # entries of a folder that are examined, so that a huge folder does not delay typing


@dataclass(frozen=True)
class Suggestion:
    """A replacement for the columns start to end of the line.

    text: the replacement. label, detail: shown in the list. image: the file that accepting it attaches.
    complete: nothing more can follow.
    """

    label: str
    detail: str
    text: str
    start: int
    end: int
    image: Path | None = None
    complete: bool = False


def suggestions(
    line: str,
    column: int,
    *,
    first_line: bool,
    adapters: Callable[[], Sequence[str]] = tuple,
    models: Callable[[], Sequence[str]] = tuple,
) -> list[Suggestion]:
    """Suggestions for the cursor at a column of a line.

    first_line: only there a command can begin. adapters, models: read their names, when a command takes one.
    """
    if first_line and line.startswith("/"):
        name, space, _ = line.partition(" ")
        if not space:
            return _commands(line, column) if column == len(line) else []
        command = commands.find(name[1:].lower())
        if command is not None and column == len(line):
            return _arguments(command, line, len(name) + 1, adapters, models)
        return []
    mention = mention_before(line, column)
    if mention is None:
        return []
    return [
        Suggestion(
            label=path.name + ("/" if folder else ""),
            detail=detail,
            text=quoted_mention(written, closed=not folder),
            start=mention.start,
            end=mention.end,
            image=None if folder else path,
        )
        for path, written, folder, detail in _paths(mention.path)
    ]


def _commands(line: str, column: int) -> list[Suggestion]:
    found = []
    for command in commands.COMMANDS:
        for name in (command.name, *command.aliases):
            if name.startswith(line[1:].lower()):
                text = f"/{name} " if command.argument else f"/{name}"
                found.append(
                    Suggestion(f"/{name}", command.help, text, 0, column, complete=not command.argument)
                )
    return found


def _arguments(
    command: commands.Command,
    line: str,
    start: int,
    adapters: Callable[[], Sequence[str]],
    models: Callable[[], Sequence[str]],
) -> list[Suggestion]:
    typed = line[start:]
    end = len(line)
    if command.argument == "path":
        return [
            Suggestion(
                path.name + ("/" if folder else ""),
                detail,
                written,
                start,
                end,
                image=None if folder else path,
                complete=not folder,
            )
            for path, written, folder, detail in _paths(typed)
        ]
    choices: Sequence[str] = ()
    if command.argument == "adapter":
        before, comma, typed = typed.rpartition(",")  # in a sum, complete the last adapter
        start = end - len(typed.lstrip())
        typed = typed.lstrip()
        taken = {part.partition(":")[0].strip() for part in before.split(",")}
        names = adapters()
        choices = [name for name in names if name not in taken] if comma else ("auto", "none", *names)
    elif command.argument == "model":
        choices = models()
    elif command.argument == "mode":
        choices = commands.MODES
    elif command.argument == "detail":
        choices = DETAILS
    elif command.argument == "option":
        choices = OPTIONS
    elif command.argument == "switch":
        choices = commands.ON_OFF
    fitting = (c for c in choices if c.lower().startswith(typed.lower()) and c != typed)
    return [Suggestion(choice, "", choice, start, end, complete=True) for choice in islice(fitting, MOST)]


def _paths(typed: str) -> list[tuple[Path, str, bool, str]]:
    """(path, path as typed, is a folder, detail) of entries that begin with `typed`: images, folders, other files."""
    written_folder, _, beginning = typed.rpartition("/")
    if typed == "~":
        written_folder, beginning = "~", ""
    if written_folder or typed.startswith("/"):
        written_folder += "/"
    folder = expanded(written_folder) if written_folder else Path()
    found = []
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(_MOST_READ), entries, strict=False):
                if not entry.name.lower().startswith(beginning.lower()):
                    continue
                if entry.name.startswith(".") and not beginning.startswith("."):
                    continue
                path = folder / entry.name
                if entry.is_dir():
                    found.append((1, path, f"{written_folder}{entry.name}/", True, "folder"))
                elif looks_like_image(path):
                    found.append((0, path, f"{written_folder}{entry.name}", False, "image"))
                else:
                    found.append((2, path, f"{written_folder}{entry.name}", False, ""))
    except (OSError, ValueError):  # no such folder: nothing to suggest
        return []
    found.sort(key=lambda item: (item[0], item[1].name.lower()))
    return [item[1:] for item in found[:MOST]]


class SuggestionList(OptionList):
    """The list above the prompt. The prompt keeps the focus and moves the highlight by messages."""

    can_focus = False

    @dataclass
    class Clicked(Message):
        suggestion: Suggestion

    def __init__(self) -> None:
        super().__init__(id="suggestions", markup=False, compact=True)
        self._suggestions: list[Suggestion] = []
        self.display = False

    def show(self, suggestions: Sequence[Suggestion]) -> None:
        """Lists the suggestions; an empty sequence closes the list."""
        self._suggestions = list(suggestions)
        self.clear_options()
        self.add_options(
            Option(Content.assemble(one_line(s.label), ("  " + s.detail, "dim"))) for s in suggestions
        )
        self.display = bool(suggestions)
        if suggestions:
            self.highlighted = 0

    def move(self, step: int) -> None:
        if self.highlighted is not None:
            self.highlighted = (self.highlighted + step) % self.option_count

    @property
    def chosen(self) -> Suggestion | None:
        return self._suggestions[self.highlighted] if self.display and self.highlighted is not None else None

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Clicked(self._suggestions[event.option_index]))
