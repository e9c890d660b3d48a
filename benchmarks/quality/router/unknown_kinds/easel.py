"""Random numbers, colours and fonts for the kinds of picture. Pictures are painted at twice their size and reduced."""

from __future__ import annotations

import random

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

TEXT = (
    "The harbour lay quiet when Ines walked down to the boats. Nobody had told her that the ferry would not run on "
    "Sundays any more, and so she sat on a crate, ate her bread and looked at the gulls. At noon a man with a red cap "
    "came by; he asked whether she had seen a dog. She had not. They talked about rain, about the price of nets, and "
    "about a bridge that had been promised for thirty years. Later the fog came in from the west and took the island. "
)
PALETTES = (
    ("#264653", "#2a9d8f", "#e9c46a", "#f4a261", "#e76f51"),
    ("#0b132b", "#1c2541", "#3a506b", "#5bc0be", "#ffffff"),
    ("#ffcdb2", "#ffb4a2", "#e5989b", "#b5838d", "#6d6875"),
    ("#606c38", "#283618", "#fefae0", "#dda15e", "#bc6c25"),
    ("#22223b", "#4a4e69", "#9a8c98", "#c9ada7", "#f2e9e4"),
    ("#d00000", "#ffba08", "#3f88c5", "#032b43", "#136f63"),
    ("#111111", "#444444", "#888888", "#cccccc", "#ffffff"),
    ("#7400b8", "#5e60ce", "#4ea8de", "#56cfe1", "#80ffdb"),
)


class Easel:
    """One picture to paint, of which the seed decides everything."""

    def __init__(self, seed: str) -> None:
        self.dice = random.Random(f"unknown kinds: {seed}")
        self.numbers = np.random.default_rng(self.dice.randrange(2**32))
        self.palette = list(self.dice.choice(PALETTES))
        self.dice.shuffle(self.palette)

    def sheet(
        self, width: int, height: int, colour: str = "#ffffff"
    ) -> tuple[PIL.Image.Image, PIL.ImageDraw.ImageDraw]:
        """A picture of twice this size to paint on. `finish` reduces it."""
        image = PIL.Image.new("RGB", (2 * width, 2 * height), colour)
        return image, PIL.ImageDraw.Draw(image)

    def finish(self, image: PIL.Image.Image) -> PIL.Image.Image:
        return image.resize((image.width // 2, image.height // 2), PIL.Image.Resampling.LANCZOS)

    def type(self, size: float) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
        """Pillow's own font, or a serif where the system has one."""
        if self.dice.random() < 0.3:
            try:
                return PIL.ImageFont.truetype("DejaVuSerif.ttf", int(size))
            except OSError:
                pass
        return PIL.ImageFont.load_default(int(size))

    def sentence(self, words: int) -> str:
        every = TEXT.split()
        start = self.dice.randrange(len(every) - words) if words < len(every) else 0
        return " ".join(every[start : start + words])

    def prose(
        self,
        draw: PIL.ImageDraw.ImageDraw,
        x: float,
        y: float,
        width: float,
        lines: int,
        size: float,
        colour: str,
    ) -> float:
        """Writes some lines of text, broken at `width`; returns where the next line would be."""
        font, words, at = self.type(size), (TEXT * 6).split(), self.dice.randrange(60)
        for _ in range(lines):
            line = ""
            while font.getlength(line + " " + words[at % len(words)]) < width:
                line, at = f"{line} {words[at % len(words)]}".strip(), at + 1
            draw.text((x, y), line, fill=colour, font=font)
            y += size * 1.4
        return y

    def pick(self) -> str:
        return self.dice.choice(self.palette)

    def span(self, low: float, high: float) -> float:
        return low + (high - low) * self.dice.random()

    def whole(self, low: int, high: int) -> int:
        return self.dice.randint(low, high)
