"""Draws images in the terminal: by kitty graphics, sixel or half blocks, as the terminal supports.

Importing textual_image queries the terminal, so `preview_class` must be called before Textual takes it over.
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
"""Longest side of a thumbnail, in pixels; a preview of a few cells shows fewer."""

_DEFAULT_CELL = ("10", "20")


def preview_class() -> Callable[..., Widget]:
    """The widget class for this terminal; half blocks where the terminal does not answer the query."""
    widgets = _textual_image()
    drawn: Callable[..., Widget] = widgets.Image
    if drawn is widgets.AutoImage and issubclass(widgets.AutoRenderable, widgets.UnicodeRenderable):
        drawn = widgets.HalfcellImage
    return drawn


def _textual_image() -> Any:
    """Imports textual_image.widget.

    The import divides by zero on a terminal that reports 0 columns; it is then repeated with the size of a cell
    given. The library's log is silenced, since it would be printed across the screen.
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
    """The image reduced to at most LONGEST_SIDE pixels on each side."""
    picture = PIL.Image.fromarray(image.pixels)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return picture
