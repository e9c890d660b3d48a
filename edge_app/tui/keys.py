"""The key bindings of the chat and of the app, the list of all bindings for help and settings, and key labels.

Bindings of a widget are declared in the widget. Those with priority work while the prompt, which has keys of its
own, has the focus.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textual.binding import Binding, BindingType

from edge_app.tui.composer.attachments import AttachmentChip
from edge_app.tui.composer.prompt import PromptInput
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.conversation.messages import MessageView
from edge_app.tui.windows.file_picker import FilePicker, ImageTree
from edge_app.tui.windows.finder import Finder
from edge_app.tui.windows.outgoing_view import OutgoingView
from edge_app.tui.windows.sessions_window import SessionsWindow
from edge_app.tui.windows.window import ConfirmWindow, Window

_NAMES = {
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "escape": "Esc",
    "delete": "Del",
    "question_mark": "?",
    "tilde": "~",
}


URGENT = frozenset(
    (
        "chat.stop",
        "chat.back",
        "chat.interrupt",
        "app.quit",
        "prompt.close_suggestions",
        "window.close",
    )
)
"""Ids of the bindings whose keys do not wait until a question is sent or a command has run."""


def declared(bindings: Iterable[BindingType]) -> list[Binding]:
    """The bindings that are declared as Binding, as all of this app are; Textual also allows tuples."""
    return [binding for binding in bindings if isinstance(binding, Binding)]


def key_labels(binding: Binding, remapped: Mapping[str, str]) -> list[str]:
    """Labels of a binding's keys, such as ["Ctrl+J", "Shift+Enter"]. remapped: keys by binding id."""
    keys = remapped.get(binding.id or "") or binding.key
    return [key_label(key) for key in keys.split(",")]


def key_label(key: str) -> str:
    """The label of a key: "Ctrl+PgUp" for "ctrl+pageup"."""
    *modifiers, last = key.strip().split("+")
    return "+".join([m.capitalize() for m in modifiers] + [_NAMES.get(last, last.capitalize())])


def _key(keys: str, action: str, name: str, text: str, *, label: str = "", priority: bool = True) -> Binding:
    """A binding of the chat.

    label: shown in the footer; empty leaves the binding out there.
    """
    return Binding(
        keys, action, label or text, id=f"chat.{name}", tooltip=text, show=bool(label), priority=priority
    )


CHAT_BINDINGS: list[BindingType] = [
    _key("escape", "stop", "stop", "Stop the answer; the text so far stays", label="Stop", priority=False),
    _key(
        "escape", "back", "back", "Cancel the download of a model, and go back to the prompt", priority=False
    ),
    _key("ctrl+o", "image", "image", "Pick an image to attach", label="Image"),
    _key("ctrl+n", "new", "new", "Start a new chat; this one stays saved", label="New"),
    _key("ctrl+r", "sessions", "sessions", "Find and open an earlier chat", label="Chats"),
    _key("ctrl+y", "copy_answer", "copy", "Copy the last answer", label="Copy"),
    _key("f1,ctrl+g", "help", "help", "Show the keys and the commands", label="Help"),
    _key("f2", "adapter", "adapter", "Choose the adapter to answer with"),
    _key("f3", "mode", "mode", "Choose what matters most in an answer"),
    _key("f4", "offline", "offline", "Forbid the network, or allow it again"),
    _key("f5", "route", "route", "Show the route of the question in the prompt, or of the last one"),
    _key("f6", "ask_cloud", "ask_cloud", "Ask the cloud the last question; nothing leaves without consent"),
    _key("f7", "try_again", "try_again", "Ask the last question again with the next best adapter"),
    _key("f8", "model", "model", "Choose the model that answers"),
    _key("pageup", "scroll_by(-1)", "scroll_up", "Scroll the conversation up"),
    _key("pagedown", "scroll_by(1)", "scroll_down", "Scroll the conversation down"),
    _key("ctrl+home", "scroll_to_start", "start", "Go to the beginning of the conversation"),
    _key("ctrl+end", "follow", "follow", "Go to the end, and follow new text"),
    _key(
        "ctrl+c",
        "interrupt",
        "interrupt",
        "Copy the selection, else stop, else clear the prompt; twice: quit",
    ),
]
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

BINDING_GROUPS: list[tuple[str, list[Binding]]] = [
    ("Chat", declared([*CHAT_BINDINGS, *APP_BINDINGS])),
    ("Question", declared(PromptInput.BINDINGS)),
    ("Attached image (Shift+Tab leads there)", declared(AttachmentChip.BINDINGS)),
    ("Message (Shift+Tab leads there)", declared([*MessageView.BINDINGS, *AnswerView.BINDINGS])),
    ("Windows", declared(Window.BINDINGS)),
    ("Image picker", declared([*FilePicker.BINDINGS, *ImageTree.BINDINGS])),
    ("Lists of chats, adapters and models", declared([*Finder.BINDINGS, *SessionsWindow.BINDINGS])),
    ("Questions of the chat", declared([*ConfirmWindow.BINDINGS, *OutgoingView.BINDINGS])),
]
"""All bindings under their headings, in the order of the help. The settings' [keys] are checked against it."""


def key_name(binding_id: str, remapped: Mapping[str, str]) -> str:
    """The label of a binding's first key. Raises KeyError for an unknown id."""
    for _, bindings in BINDING_GROUPS:
        for binding in bindings:
            if binding.id == binding_id:
                return key_labels(binding, remapped)[0]
    raise KeyError(binding_id)


def unknown_ids(remapped: Mapping[str, str]) -> list[str]:
    """The ids in the settings that no binding has."""
    known = {binding.id for _, bindings in BINDING_GROUPS for binding in bindings}
    return sorted(name for name in remapped if name not in known)
