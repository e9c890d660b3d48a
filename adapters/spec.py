"""Specifications of adapters: one by name, one with a scale, or the weighted sum of several.

Examples: "receipts", "receipts:0.5", "receipts:0.5,medical:0.5". The names are those of installed adapters. "auto" and
"none" are no specifications; the router handles them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from dataclasses import dataclass

from adapters.store.manifest import RESERVED, is_name
from models.core.errors import UserError

MOST_PARTS = 8
LARGEST_SCALE = 10.0
FORM = "write NAME, NAME:SCALE or NAME:SCALE,NAME:SCALE"


@dataclass(frozen=True)
class AdapterSpec:
    """Adapters and the scales that their updates are multiplied with; each name once, at least one."""

    parts: tuple[tuple[str, float], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parts)

    @property
    def is_plain(self) -> bool:
        """Whether this is one adapter with scale 1."""
        return len(self.parts) == 1 and self.parts[0][1] == 1.0

    def __str__(self) -> str:
        """The canonical text, without scales of 1."""
        return ",".join(name if scale == 1.0 else f"{name}:{scale!r}" for name, scale in self.parts)


def parse_spec(text: str) -> AdapterSpec:
    """Parse a specification. Raises UserError for a malformed one, or one that names an adapter twice."""
    parts = tuple(_part(piece.strip(), text) for piece in text.split(","))
    names = [name for name, _ in parts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{text!r} names the adapter {twice} twice; give each once, with one scale.")
    if len(parts) > MOST_PARTS:
        raise UserError(f"{text!r} names {len(parts)} adapters; at most {MOST_PARTS} can run at once.")
    return AdapterSpec(parts)


def checked_spec(text: str, installed: Collection[str]) -> AdapterSpec:
    """Parse a specification of installed adapters. Raises UserError, with a suggestion for a misspelt name."""
    spec = parse_spec(text)
    for name in spec.names:
        if name not in installed:
            raise UserError(f"There is no adapter named {name!r}{_remedy(name, installed)}")
    return spec


def _part(piece: str, text: str) -> tuple[str, float]:
    """The name and scale in one part of a specification. Raises UserError."""
    name, colon, number = piece.partition(":")
    if name in RESERVED:
        raise UserError(f"{text!r} uses {name!r} like an adapter; it stands alone or not at all.")
    if not is_name(name):
        raise UserError(f"{text!r} does not name an adapter; {FORM}.")
    if not colon:
        return name, 1.0
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not abs(scale) <= LARGEST_SCALE:  # also true for NaN
        raise UserError(
            f"{text!r} gives {name} the scale {number!r}; a number from {-LARGEST_SCALE:g} to {LARGEST_SCALE:g} "
            "is needed."
        )
    return name, scale


def _remedy(name: str, installed: Collection[str]) -> str:
    """The end of the error message about an adapter that is not installed."""
    # Imported here, because only error messages need it.
    from adapters.store.adapter_store import bundled_names

    if name in bundled_names():
        return f" here yet; it comes with the app: run `edge-app adapters install {name}`."
    folded = {each.lower(): each for each in installed}
    close = [folded[each] for each in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.6)]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    known = sorted(installed)
    if len(known) > 12:
        return f"; `edge-app adapters list` shows the {len(known)} that are installed."
    return f" (installed: {', '.join(known) or 'none'})."
