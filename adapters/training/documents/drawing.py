"""Draws pages with Pillow, and knows where each piece of text stands, so that most pages need not be read."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import PIL.ImageFont

from adapters.training.documents.page import Item, WrittenLine, WrittenPage
from models.core.types import TextLine
from models.ocr.page_layout import PageText, in_reading_order

_FACES: Final = (
    "DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSansCondensed.ttf",
    "LiberationSans-Regular.ttf", "LiberationSerif-Regular.ttf", "LiberationMono-Regular.ttf", "Arial.ttf",
    "Times New Roman.ttf", "Courier New.ttf", "",
)  # fmt: skip
"""Fonts by the names of their files; those that a system lacks, and "", are Pillow's own."""

_BOLD: Final = {
    "DejaVuSans.ttf": "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf": "DejaVuSerif-Bold.ttf",
    "DejaVuSansMono.ttf": "DejaVuSansMono-Bold.ttf",
}
_GROUNDS: Final = (
    "white",
    "white",
    "white",
    "#fbfaf4",
    "#f2f2f2",
    "#fffbe0",
    "#e9f0f7",
    "#1f2430",
    "#0a3d62",
    "#f7ece8",
)
_DARK: Final = ("#1f2430", "#0a3d62")
_INKS: Final = ("black", "black", "#222222", "#333366", "#402020")
MARGIN: Final = 36

_CONFUSED: Final = (
    ("0", "O"),
    ("O", "0"),
    ("1", "l"),
    ("l", "1"),
    ("I", "l"),
    ("5", "S"),
    ("S", "5"),
    ("8", "B"),
    ("m", "rn"),
    (".", ","),
    (":", "："),
    ("-", "–"),
)
SPACES_LOST: Final = 0.06
LETTERS_LOST: Final = 0.02


@dataclass(frozen=True)
class DrawnPage:
    """picture: RGB. text: what stands in it, with boxes."""

    picture: PIL.Image.Image
    text: PageText


def draw(page: WrittenPage, seed: str) -> DrawnPage:
    """The page in a font, size and colours that follow from the seed."""
    rng = random.Random(seed)
    face, size = rng.choice(_FACES), rng.choice((16, 18, 20, 22, 26, 30))
    widest = max((_width(each, _font(face, each, size)) for each in page.lines), default=100)
    width = max(rng.choice((420, 560, 720, 860)), int(widest) + 2 * MARGIN)
    ground = rng.choice(_GROUNDS)
    ink = "white" if ground in _DARK else rng.choice(_INKS)
    height = int(2 * MARGIN + sum(size * (1.5 * each.size + each.gap) for each in page.lines)) + rng.choice(
        (0, 40, 160)
    )
    picture = PIL.Image.new("RGB", (width, height), ground)
    pen = PIL.ImageDraw.Draw(picture)
    found: list[TextLine] = []
    y = float(MARGIN)
    for each in page.lines:
        font = _font(face, each, size)
        y += size * each.gap
        for item in each.items:
            length = font.getlength(item.text)
            x = MARGIN + (width - 2 * MARGIN) * item.x - (length if item.right else 0)
            pen.text((x, y), item.text, fill=ink, font=font)
            box = x / width, y / height, (x + length) / width, (y + size * each.size * 1.15) / height
            found.append(TextLine(item.text, 0.97, box))
        y += size * each.size * 1.5
        if rng.random() < 0.06:
            pen.line((MARGIN, y - 2, width - MARGIN, y - 2), fill=ink)
    return DrawnPage(picture, PageText(in_reading_order(found)))


def photographed(picture: PIL.Image.Image, seed: str) -> PIL.Image.Image:
    """The picture as a scan or a photo of it: tilted on a ground, in uneven light, blurred, with noise."""
    rng = random.Random(seed)
    noise = np.random.default_rng(rng.getrandbits(32))
    ground = tuple(rng.randint(20, 200) for _ in range(3))
    wide = PIL.Image.new("RGB", (int(picture.width * 1.12), int(picture.height * 1.12)), ground)
    wide.paste(picture, (int(picture.width * 0.06), int(picture.height * 0.06)))
    wide = wide.rotate(rng.uniform(-6, 6), PIL.Image.Resampling.BICUBIC, fillcolor=ground)
    pixels = np.asarray(wide, np.float32)
    rise = np.linspace(rng.uniform(0.6, 0.9), 1.0, pixels.shape[0], dtype=np.float32)[:, None, None]
    pixels = pixels * rise + noise.normal(0, rng.uniform(1, 7), pixels.shape).astype(np.float32)
    blurred = PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return blurred.filter(PIL.ImageFilter.GaussianBlur(rng.uniform(0, 0.9)))


def as_read(text: PageText, seed: str) -> PageText:
    """The text as a reader gets it wrong: spaces lost, letters mistaken, pieces joined."""
    rng = random.Random(seed)
    clean = rng.random() < 0.4
    return (
        text
        if clean
        else PageText(tuple(replace(each, text=_misread(each.text, rng)) for each in text.lines))
    )


def _misread(text: str, rng: random.Random) -> str:
    if " " in text and rng.random() < SPACES_LOST:
        at = rng.choice([number for number, c in enumerate(text) if c == " "])
        text = text[:at] + text[at + 1 :]
    if ": " in text and rng.random() < 2 * SPACES_LOST:
        text = text.replace(": ", ":", 1)
    if rng.random() < LETTERS_LOST:
        old, new = rng.choice(_CONFUSED)
        text = text.replace(old, new, 1)
    return text


def _width(each: WrittenLine, font: PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont) -> float:
    """The width that a line needs so that its items do not touch."""
    need = 0.0
    items: Sequence[Item] = each.items
    for number, item in enumerate(items):
        length = font.getlength(item.text) + 14
        after = items[number + 1] if number + 1 < len(items) else None
        if after is None:
            need = max(need, length / max(1 - item.x, 0.2) if not item.right else need)
        elif after.right:
            need = max(need, (length + font.getlength(after.text) + 14) / max(after.x - item.x, 0.1))
        else:
            need = max(need, length / max(after.x - item.x, 0.1))
    return need


def _font(face: str, each: WrittenLine, size: int) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    return _load(_BOLD.get(face, face) if each.bold else face, max(10, int(size * each.size)))


@cache
def _load(face: str, size: int) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    try:
        return PIL.ImageFont.truetype(face, size)
    except OSError:
        return PIL.ImageFont.load_default(size)
