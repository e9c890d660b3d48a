"""Key bindings as data, and what keys are called once remapped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textual.binding import Binding, BindingType

_NAMES = {
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "escape": "Esc",
    "delete": "Del",
    "question_mark": "?",
    "tilde": "~",
}


def declared(bindings: Iterable[BindingType]) -> list[Binding]:
    """Ours are all written as Binding, never as a bare tuple."""
    return [binding for binding in bindings if isinstance(binding, Binding)]


def keys_of(binding: Binding, remapped: Mapping[str, str]) -> list[str]:
    """What the binding's keys are called: ["Ctrl+J", "Shift+Enter"]."""
    keys = remapped.get(binding.id or "") or binding.key
    return [pretty(key) for key in keys.split(",")]


def pretty(key: str) -> str:
    """ "Ctrl+PgUp" for "ctrl+pageup"."""
    *modifiers, last = key.strip().split("+")
    return "+".join([m.capitalize() for m in modifiers] + [_NAMES.get(last, last.capitalize())])
