"""How images are drawn: kitty graphics, sixel, or half blocks of colour, whichever the terminal can.

Importing textual_image asks the terminal, so `preview_class` must be called before the chat takes it over.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import PIL.Image
from textual.widget import Widget

from models.core.types import Image

LONGEST_SIDE = 384
"""Pixels kept for drawing: more than a preview of a few cells can show."""

_DEFAULT_CELL = ("10", "20")


def preview_class() -> Callable[..., Widget]:
    """The best widget for this terminal. Half blocks where it says nothing of itself."""
    widgets = _textual_image()
    drawn: Callable[..., Widget] = widgets.Image
    if drawn is widgets.AutoImage and issubclass(widgets.AutoRenderable, widgets.UnicodeRenderable):
        drawn = widgets.HalfcellImage
    return drawn


def _textual_image() -> Any:
    """A terminal without a size (0 columns) makes the library divide by zero while it is imported; it must
    then be told the size of a cell. What it logs of a silent terminal would be printed across the screen.
    """
    logging.getLogger("textual_image").addHandler(logging.NullHandler())
    try:
        import textual_image.widget as widgets
    except (ArithmeticError, ValueError, OSError):
        from textual_image import _terminal

        os.environ.setdefault("TEXTUAL_CELL_WIDTH", _DEFAULT_CELL[0])
        os.environ.setdefault("TEXTUAL_CELL_HEIGHT", _DEFAULT_CELL[1])
        _terminal.get_cell_size._result = _terminal.CellSize(*map(int, _DEFAULT_CELL))
        import textual_image.widget as widgets
    return widgets


def thumbnail(image: Image) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(image.pixels)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return picture
