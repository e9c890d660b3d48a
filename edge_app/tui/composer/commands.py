"""The slash commands as data: names, arguments, help. The chat screen runs them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edge_app.images.image_detail import ImageDetail
from router.types import Mode

Argument = Literal["", "path", "adapter", "mode", "model", "detail", "switch", "words", "name", "option"]


@dataclass(frozen=True)
class Command:
    """A slash command.

    name: without the slash. argument: the kind of argument, "" for none. usage: as the help shows it.
    title: its name in the command palette. action: the chat screen's action, called with the argument's text.
    """

    name: str
    argument: Argument
    usage: str
    title: str
    help: str
    action: str
    aliases: tuple[str, ...] = ()


COMMANDS = (
    Command(
        "image",
        "path",
        "/image [PATH]",
        "Attach an image",
        "Attach an image; without a path, pick it.",
        "image",
    ),
    Command(
        "paste",
        "",
        "/paste",
        "Paste an image",
        "Attach the image in the clipboard; Ctrl+V does it where the terminal passes it on.",
        "paste",
    ),
    Command(
        "detach", "name", "/detach [NAME]", "Detach images", "Remove an attached image, or all.", "detach"
    ),
    Command("new", "", "/new", "New chat", "Start a new chat; this one stays saved.", "new", ("clear",)),
    Command(
        "sessions",
        "words",
        "/sessions [WORDS]",
        "Earlier chats",
        "Find and open an earlier chat.",
        "sessions",
    ),
    Command(
        "adapter",
        "adapter",
        "/adapter [NAME|auto|none]",
        "Choose the adapter",
        "Answer with an adapter, none, the one that fits, or a sum (a:0.5,b:0.5).",
        "adapter",
    ),
    Command(
        "adapters",
        "words",
        "/adapters [WORDS]",
        "Adapters",
        "List the installed adapters and what they are for.",
        "adapters",
    ),
    Command(
        "model",
        "model",
        "/model [NAME]",
        "Choose a model",
        "Answer with another model; without a name, pick it. One that is not here is downloaded.",
        "model",
    ),
    Command(
        "mode",
        "mode",
        "/mode [auto|fast|quality|eco]",
        "Choose the mode",
        "Choose what matters most in the next answers.",
        "mode",
    ),
    Command(
        "detail",
        "detail",
        "/detail [auto|low|high]",
        "Choose the detail of images",
        "Look at images quickly or closely, with a model that cuts them into tiles.",
        "detail",
    ),
    Command(
        "route",
        "words",
        "/route [QUESTION]",
        "Route",
        "Show which adapter and place a question goes to, or the last one went to, and why.",
        "route",
    ),
    Command(
        "cloud",
        "",
        "/cloud",
        "Ask the cloud",
        "Ask the cloud the last question; nothing leaves without your consent.",
        "ask_cloud",
    ),
    Command(
        "again",
        "",
        "/again",
        "Try again with another adapter",
        "Ask the last question again with the next best adapter.",
        "try_again",
    ),
    Command(
        "system",
        "words",
        "/system [TEXT|off]",
        "System prompt",
        "Tell the model how to answer in this chat; off takes it back, without a text it is shown.",
        "system",
    ),
    Command(
        "set",
        "option",
        "/set [OPTION VALUE]",
        "Options of this chat",
        "Change temperature, max_tokens, seed or detail for this chat alone; the value default takes it back.",
        "set",
    ),
    Command(
        "edit",
        "",
        "/edit",
        "Edit the last question",
        "Change the last question and ask it again, in a copy of the chat; `e` does it for any question.",
        "edit",
    ),
    Command(
        "fork",
        "",
        "/fork",
        "Fork the chat",
        "Go on in a copy of this chat; `f` copies it up to the chosen message.",
        "fork",
    ),
    Command("rename", "words", "/rename TITLE", "Rename the chat", "Give this chat another title.", "rename"),
    Command(
        "export",
        "path",
        "/export [FILE]",
        "Export the chat",
        "Write this chat to a new file, as Markdown, or as JSON when its name ends in .json.",
        "export",
    ),
    Command(
        "offline",
        "switch",
        "/offline [on|off]",
        "Offline mode",
        "Forbid or allow the network; without an argument, the opposite of now.",
        "offline",
    ),
    Command(
        "copy", "", "/copy", "Copy the last answer", "Copy the last answer to the clipboard.", "copy_answer"
    ),
    Command("help", "", "/help", "Help", "Show the keys and the commands.", "help"),
    Command("quit", "", "/quit", "Quit", "Quit; everything is saved already.", "quit", ("exit",)),
)
MODE_HELP: dict[Mode, str] = {
    "auto": "this device; for an unsure answer, the cloud",
    "fast": "this device, unless its answer is hopeless",
    "quality": "the cloud; when it fails, this device",
    "eco": "the least energy; the cloud only on request",
}
DETAIL_HELP: dict[ImageDetail, str] = {
    "auto": "closely to read, to count and for pages; else quickly",
    "low": "quickly, the whole image in one tile",
    "high": "closely, in as many tiles as the model allows",
}
MODES: tuple[Mode, ...] = tuple(MODE_HELP)
ON_OFF = ("on", "off")

_COMMAND = re.compile(r"/([A-Za-z][A-Za-z-]*)(?:[ \t]+(.*))?", re.DOTALL)


def parse(text: str) -> tuple[str, str] | None:
    """(name, argument) of a text in the form of a command, whether it exists or not; None for other texts."""
    match = _COMMAND.fullmatch(text.strip())
    return (match[1].lower(), (match[2] or "").strip()) if match else None


def find(name: str) -> Command | None:
    """The command with this name or alias."""
    return next((c for c in COMMANDS if name == c.name or name in c.aliases), None)
