"""The chat's own keys. Those with priority work while the prompt, which has keys of its own, is typed in."""

from __future__ import annotations

from textual.binding import Binding, BindingType


def _key(keys: str, action: str, name: str, text: str, *, label: str = "", priority: bool = True) -> Binding:
    """label: what the footer shows; without one it is left out there."""
    return Binding(
        keys, action, label or text, id=f"chat.{name}", tooltip=text, show=bool(label), priority=priority
    )


CHAT_BINDINGS: list[BindingType] = [
    _key("escape", "stop", "stop", "Stop the answer; what has come stays", label="Stop", priority=False),
    _key("escape", "back", "back", "Go back to the prompt", priority=False),
    _key("ctrl+o", "image", "image", "Pick an image to attach", label="Image"),
    _key("ctrl+n", "new", "new", "Start a new chat; this one stays saved", label="New"),
    _key("ctrl+r", "sessions", "sessions", "Find and open an earlier chat", label="Chats"),
    _key("ctrl+y", "copy_answer", "copy", "Copy the last answer", label="Copy"),
    _key("f1,ctrl+g", "help", "help", "Show the keys and the commands", label="Help"),
    _key("f2", "adapter", "adapter", "Choose the adapter to answer with"),
    _key("f3", "mode", "mode", "Choose what matters most in an answer"),
    _key("f4", "offline", "offline", "Go offline: nothing leaves this machine; or back"),
    _key("f5", "route", "route", "Show the route of what is written, or of the last question, and why"),
    _key("f6", "ask_cloud", "ask_cloud", "Ask the cloud the last question; nothing leaves without consent"),
    _key("f7", "try_again", "try_again", "Ask the last question again with the next best adapter"),
    _key("pageup", "scroll_by(-1)", "scroll_up", "Scroll the conversation up"),
    _key("pagedown", "scroll_by(1)", "scroll_down", "Scroll the conversation down"),
    _key("ctrl+home", "scroll_to_start", "start", "Go to the beginning of the conversation"),
    _key("ctrl+end", "follow", "follow", "Go to the end, and follow what comes"),
    _key("ctrl+c", "interrupt", "interrupt", "Copy the selection, or stop, or empty the input; twice: quit"),
]
