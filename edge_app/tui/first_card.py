"""What the chat shows before the first question of all: in a few lines, what this model can do and how to get more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.text import file_size
from models.core.errors import UserError

if TYPE_CHECKING:
    from models.hub.store import ModelStatus


def read_first_card(
    dependencies: ChatDependencies, model: str, key: Callable[[str], str], elsewhere: str
) -> str | None:
    """The card where no chat was ever saved, else None. Reads the disk.

    model: the name of the chosen model. key: returns the label of a binding's key. elsewhere: the endpoint that a
    question may go to; empty for none.
    """
    try:
        if dependencies.sessions is None or dependencies.sessions.recent(1):
            return None
        status, better = dependencies.models.show(model), dependencies.models.better(model)
        installed = {adapter.name for adapter in dependencies.described()}
        adapters = sorted(installed.union(dependencies.coming()))
    except UserError:  # said where it matters: when the model is loaded, or the adapters are listed
        return None
    return first_card(status, better, adapters, key, elsewhere)


def first_card(
    status: ModelStatus,
    better: ModelStatus | None,
    adapters: Sequence[str],
    key: Callable[[str], str],
    elsewhere: str,
) -> str:
    """Five lines. better: the model that is recommended, None when there is none. adapters: that can be asked."""
    entry = status.entry
    good_at = entry.good_at or entry.description
    model = f"{entry.name} answers here" + (f": it {good_at}." if good_at else ".")
    experts = (
        f"Its adapters ({', '.join(adapters)}) answer what they were trained for."
        if adapters
        else "No adapter is installed; `edge-app adapters install` adds experts for one kind of image."
    )
    more = (
        f"Better: {key('chat.model')} gets {better.entry.name}, which {better.entry.good_at} "
        f"({file_size(better.entry.download_size)})."
        if better is not None
        else f"{key('chat.model')} lists the models that can be chosen."
    )
    leaves = f" unless you let a question go to {elsewhere}" if elsewhere else ""
    return "\n".join(
        [
            model,
            experts,
            f"Every answer says how sure it is. Everything happens on this machine{leaves}.",
            more,
            f"Attach an image: {key('chat.image')}, @path, or paste or drop it. "
            f"{key('chat.help')} shows keys and commands.",
        ]
    )
