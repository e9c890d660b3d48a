"""What the drawing modules share: random numbers, colours, fonts and made-up text."""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Point = tuple[float, float]
Font = PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont

_ENGLISH = """
the of and to in is that for it as was with be by on not he his but at are this have from or had an they
which one you were her all she there would their we him been has when who will more no if out so said what
up its about into than them can only other new some could time these two may then do first any my now such
like our over man me even most made after also did many before must through back years where much your way
well down should because each just those people how too little state good very make world still own see men
work long get here between both life being under never day same another know while last might us great old
year off come since against go came right used take three
"""

SCRIPTS = {
    "greek": "αβγδεζηθικλμνξοπρστυφχψω",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщыьэюя",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "armenian": "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ",
    "georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
    "symbols": "∑∏∫∂∇√∞≈≠≤≥±×÷∈∉⊂⊃∪∩∀∃→⇒↔αβγλμπσω",
}

_FACES = {
    "sans": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansCondensed.ttf"),
    "serif": (
        "DejaVuSerif.ttf",
        "STIXGeneral.ttf",
        "DejaVuSerif-Italic.ttf",
        "cmr10.ttf",
        "DejaVuSerif-Bold.ttf",
    ),
    "mono": ("DejaVuSansMono.ttf", "cmtt10.ttf", "DejaVuSansMono-Bold.ttf"),
}


@cache
def load_font(style: str, number: int, size: int) -> Font:
    """A font of a style. Fonts that the system lacks are looked for in matplotlib, then replaced by Pillow's own."""
    names = _FACES[style]
    name = names[number % len(names)]
    for place in (Path(name), *(folder / name for folder in _matplotlib_fonts())):
        try:
            return PIL.ImageFont.truetype(str(place), size)
        except OSError:
            continue
    return PIL.ImageFont.load_default(size)


@cache
def _matplotlib_fonts() -> tuple[Path, ...]:
    try:
        import matplotlib
    except ImportError:
        return ()
    return (Path(matplotlib.get_data_path()) / "fonts" / "ttf",)


class Sketch:
    """One picture to draw. The same seed gives the same picture.

    rng, noise: random numbers. size: width and height in pixels.
    """

    def __init__(self, seed: str, shapes: Sequence[tuple[int, int]]) -> None:
        self.rng = random.Random(seed)
        self.noise = np.random.default_rng(self.rng.getrandbits(32))
        width, height = self.rng.choice(shapes)
        self.size = int(width * self.rng.uniform(0.85, 1.15)), int(height * self.rng.uniform(0.85, 1.15))
        self.image = PIL.Image.new("RGB", self.size, "white")
        self.draw = PIL.ImageDraw.Draw(self.image)

    def ground(self, colour: Colour) -> Colour:
        """Fills the picture with one colour, and returns it."""
        self.image.paste(colour, (0, 0, *self.size))
        return colour

    def between(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)

    def count(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return self.rng.randint(low, high)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def colour(
        self, saturation: tuple[float, float] = (0.2, 1), value: tuple[float, float] = (0.2, 1)
    ) -> Colour:
        """A random colour; saturation and value are ranges of 0..1."""
        return hsv(self.rng.random(), self.between(*saturation), self.between(*value))

    def paper(self) -> Colour:
        """The colour of a page: mostly white or nearly so."""
        return (255, 255, 255) if self.chance(0.5) else self.colour((0, 0.12), (0.88, 1))

    def ink(self) -> Colour:
        return self.colour((0, 0.4), (0, 0.3)) if self.chance(0.8) else self.colour((0.5, 1), (0.2, 0.6))

    def point(self, margin: float = 0) -> Point:
        width, height = self.size
        return self.between(margin, width - margin), self.between(margin, height - margin)

    def font(self, style: str, size: float) -> Font:
        return load_font(style, self.rng.randrange(5), max(int(size), 5))

    def word(self, script: str = "latin") -> str:
        if script == "latin":
            return self.rng.choice(_ENGLISH.split())
        if script == "digits":
            return str(self.rng.randrange(10 ** self.count(1, 5)))
        return "".join(self.rng.choices(SCRIPTS[script], k=self.count(2, 9)))

    def words(self, number: int, script: str = "latin") -> str:
        return " ".join(self.word(script) for _ in range(number))

    def script(self) -> str:
        return self.rng.choice(["latin", "latin", *(name for name in SCRIPTS if name != "symbols")])

    def paragraph(
        self,
        box: tuple[float, float, float, float],
        font: Font,
        colour: Colour,
        script: str = "latin",
        fill: float = 1,
    ) -> float:
        """Sets lines of made-up text into (left, top, right, bottom); returns where the text ends.

        fill: the share of the box's height that the text takes.
        """
        left, top, right, bottom = box
        step = getattr(font, "size", 10) * self.between(1.2, 1.6)
        last = top + (bottom - top) * fill
        while top + step < last:
            line = self.word(script).capitalize()
            end = right - (right - left) * (self.between(0.2, 0.8) if self.chance(0.12) else 0)
            while True:
                longer = f"{line} {self.word(script)}"
                if font.getlength(longer) > end - left:
                    break
                line = longer
            self.draw.text((left, top), line, fill=colour, font=font)
            top += step
        return top

    def wobble(self, points: Sequence[Point], amount: float) -> list[Point]:
        """The points, each moved by up to `amount` pixels, with more points between."""
        path: list[Point] = []
        for (x, y), (u, v) in pairwise(points):
            for part in np.linspace(0, 1, 8, endpoint=False):
                path.append(
                    (
                        x + (u - x) * part + self.between(-amount, amount),
                        y + (v - y) * part + self.between(-amount, amount),
                    )
                )
        return [*path, points[-1]]

    def blob(self, centre: Point, radius: float, points: int = 24, rough: float = 0.3) -> list[Point]:
        """A closed outline around the centre, whose radius varies smoothly by the share `rough`."""
        waves = [(self.between(-rough, rough) / wave, wave, self.between(0, 6.3)) for wave in (1, 2, 3, 5)]
        outline = []
        for turn in np.linspace(0, 2 * math.pi, points, endpoint=False):
            length = radius * (1 + sum(size * math.sin(wave * turn + phase) for size, wave, phase in waves))
            outline.append((centre[0] + length * math.cos(turn), centre[1] + length * math.sin(turn)))
        return outline

    def curve(self, points: Sequence[Point], steps: int = 12) -> list[Point]:
        """A smooth curve through the points (Catmull-Rom spline)."""
        ends = np.array([points[0], *points, points[-1]], float)  # [n + 2, 2]
        path: list[Point] = []
        for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
            for t in np.linspace(0, 1, steps, endpoint=False):
                x, y = 0.5 * (
                    2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
                )
                path.append((float(x), float(y)))
        return [*path, points[-1]]

    def smooth_field(self, cells: int) -> NDArray[np.float32]:
        """Smooth noise over the picture, float32 [height, width], 0..1. cells: number of bumps across."""
        small = self.noise.random((max(cells, 2), max(cells, 2)), np.float32)
        grown = PIL.Image.fromarray(small, "F").resize(self.size, PIL.Image.Resampling.BICUBIC)
        return np.clip(np.asarray(grown, np.float32), 0, 1)

    def put(self, pixels: NDArray[np.floating | np.integer]) -> None:
        """Replaces the picture by pixels, [height, width, 3], 0..255."""
        self.image.paste(PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


Kinds = Mapping[str, tuple[Callable[[Sketch], None], Sequence[tuple[int, int]]]]
"""Kinds of picture by name: what draws one, and the sizes of which it takes about one."""
