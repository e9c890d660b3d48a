"""Everything that has keys, in the order the help shows it; the settings' keys are checked against it."""

from __future__ import annotations

from collections.abc import Mapping

from textual.binding import Binding, BindingType

from edge_app.tui.chat_keys import CHAT_BINDINGS
from edge_app.tui.composer.attachments import AttachmentChip
from edge_app.tui.composer.prompt import PromptInput
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.conversation.messages import MessageView
from edge_app.tui.keys import declared, keys_of
from edge_app.tui.windows.confirm_window import ConfirmWindow
from edge_app.tui.windows.file_picker import FilePicker, ImageTree
from edge_app.tui.windows.finder import Finder
from edge_app.tui.windows.outgoing_view import OutgoingView
from edge_app.tui.windows.sessions_window import SessionsWindow
from edge_app.tui.windows.window import Window

APP_BINDINGS: list[BindingType] = [
    Binding(
        "ctrl+p",
        "command_palette",
        "Commands",
        id="app.commands",
        priority=True,
        tooltip="Search all commands",
    ),
    Binding(
        "ctrl+q",
        "quit",
        "Quit",
        id="app.quit",
        priority=True,
        show=False,
        tooltip="Quit; everything is saved already",
    ),
]

KEY_OWNERS: list[tuple[str, list[Binding]]] = [
    ("Chat", declared([*CHAT_BINDINGS, *APP_BINDINGS])),
    ("Question", declared(PromptInput.BINDINGS)),
    ("Attached image (Shift+Tab leads there)", declared(AttachmentChip.BINDINGS)),
    ("Message (Shift+Tab leads there)", declared([*MessageView.BINDINGS, *AnswerView.BINDINGS])),
    ("Windows", declared(Window.BINDINGS)),
    ("Image picker", declared([*FilePicker.BINDINGS, *ImageTree.BINDINGS])),
    ("Lists of chats and adapters", declared([*Finder.BINDINGS, *SessionsWindow.BINDINGS])),
    ("Questions of the chat", declared([*ConfirmWindow.BINDINGS, *OutgoingView.BINDINGS])),
]


def key_name(binding_id: str, remapped: Mapping[str, str]) -> str:
    """What the first of a binding's keys is called."""
    for _, bindings in KEY_OWNERS:
        for binding in bindings:
            if binding.id == binding_id:
                return keys_of(binding, remapped)[0]
    raise KeyError(binding_id)


def unknown_ids(remapped: Mapping[str, str]) -> list[str]:
    """Ids in the settings that no binding has."""
    known = {binding.id for _, bindings in KEY_OWNERS for binding in bindings}
    return sorted(name for name in remapped if name not in known)
