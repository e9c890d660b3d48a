"""The text of a page inside a PNG file, so that a saved page keeps the text layer of the document it came from.

The lines are JSON in one text chunk of the file: [[text, [left, top, right, bottom]], ...], boxes as in TextLine.
"""

from __future__ import annotations

import io
import json
from typing import Any, Final

import PIL.Image
from PIL.PngImagePlugin import PngInfo

from models.core.types import Box, Image, TextLine

_KEY: Final = "edge-app:lines"
_MOST_CHARACTERS: Final = 900_000
"""A longer text is left out, and has to be read in the pixels: Pillow refuses chunks above 1 MiB."""

_MOST_LINES: Final = 20_000


def png_file(image: Image) -> bytes:
    """The image as a PNG file with its text. The same image gives the same bytes."""
    chunks = PngInfo()
    if image.text is not None:
        lines = [[line.text, [round(x, 5) for x in line.box]] for line in image.text]
        content = json.dumps(lines, ensure_ascii=False, separators=(",", ":"))
        if len(content.encode("utf-8", "replace")) <= _MOST_CHARACTERS:
            chunks.add_itxt(_KEY, content.encode("utf-8", "replace").decode(), zip=True)
    buffer = io.BytesIO()
    PIL.Image.fromarray(image.pixels).save(buffer, "PNG", pnginfo=chunks, compress_level=3)
    return buffer.getvalue()


def text_in(opened: PIL.Image.Image) -> tuple[TextLine, ...] | None:
    """The lines in a PNG file that png_file made; None in every other file and for lines that make no sense."""
    content = opened.info.get(_KEY) if opened.format == "PNG" else None
    if not isinstance(content, str):
        return None
    try:
        lines = json.loads(content)
        if not isinstance(lines, list):
            return None
        return tuple(TextLine(str(text), 1.0, _box(box)) for text, box in lines[:_MOST_LINES])
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
    ):  # OverflowError: a whole number beyond any float
        return None


def _box(values: Any) -> Box:
    left, top, right, bottom = (min(1.0, max(0.0, float(value))) for value in values)
    return left, top, right, bottom
