"""Noise, gradients, stripes and nearly blank pictures."""

from __future__ import annotations

import numpy as np

from router.negatives.sketch import Kinds, Sketch


def grain(s: Sketch) -> None:
    """Independent noise in every pixel or block of pixels, grey or coloured."""
    width, height = s.size
    block = s.rng.choice([1, 1, 2, 4, 8, 16])
    shape = (height // block + 1, width // block + 1, 3 if s.chance(0.5) else 1)
    spread = s.between(10, 90)
    noise = (
        s.noise.normal(s.between(60, 200), spread, shape)
        if s.chance(0.5)
        else s.noise.integers(0, 256, shape)
    )
    s.put(np.broadcast_to(noise.repeat(block, 0).repeat(block, 1)[:height, :width], (height, width, 3)))


def clouds(s: Sketch) -> None:
    """Smooth noise over several scales, between two or three colours."""
    scales = [s.smooth_field(cells) / weight for cells, weight in ((3, 1), (7, 2), (15, 4), (40, 8))]
    field = np.sum(scales, axis=0) / 1.875
    low, high = np.array(s.colour((0, 1), (0, 1))), np.array(s.colour((0, 1), (0, 1)))
    pixels = low + field[..., None] * (high - low)
    if s.chance(0.4):
        pixels = low + (0.5 + 0.5 * np.sin(field * s.between(10, 60)))[..., None] * (high - low)
    s.put(pixels)


def gradient(s: Sketch) -> None:
    width, height = s.size
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    turn = s.between(0, 6.3)
    share = x * np.cos(turn) + y * np.sin(turn)
    if s.chance(0.4):
        share = np.hypot(x - s.rng.random(), y - s.rng.random())
    share = (share - share.min()) / np.ptp(share)
    stops = np.array([s.colour((0, 1), (0.1, 1)) for _ in range(s.count(2, 4))], float)
    s.put(
        np.stack(
            [np.interp(share, np.linspace(0, 1, len(stops)), stops[:, part]) for part in range(3)], axis=-1
        )
    )


def stripes(s: Sketch) -> None:
    """Stripes, checks or plaid."""
    width, height = s.size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    turn, period = s.between(0, 3.14), s.between(4, 90)
    first = np.sin((x * np.cos(turn) + y * np.sin(turn)) * 6.28 / period)
    second = np.sin((y * np.cos(turn) - x * np.sin(turn)) * 6.28 / (period * s.between(0.5, 2)))
    kind = s.count(0, 2)
    wave = first if kind == 0 else first * second if kind == 1 else (first + second) / 2
    share = ((wave > 0) if s.chance(0.6) else (wave + 1) / 2)[..., None]
    s.put(np.array(s.colour()) * share + np.array(s.colour((0, 1), (0.1, 1))) * (1 - share))


def fibres(s: Sketch) -> None:
    """Many short lines in about one direction, like wood, cloth or grass."""
    s.ground(s.colour((0, 0.8), (0.1, 0.9)))
    turn, length, palette = (
        s.between(0, 3.14),
        s.between(5, 80),
        [s.colour((0, 0.8), (0.1, 1)) for _ in range(4)],
    )
    for _ in range(s.count(500, 3000)):
        (x, y), angle = s.point(), turn + s.between(-0.3, 0.3)
        s.draw.line(
            (x, y, x + length * np.cos(angle), y + length * np.sin(angle)),
            fill=s.rng.choice(palette),
            width=s.count(1, 3),
        )


def speckles(s: Sketch) -> None:
    """Small dots or flakes of different sizes on a plain ground."""
    s.ground(s.colour((0, 0.8), (0, 1)))
    palette, largest = [s.colour((0, 1), (0, 1)) for _ in range(s.count(1, 4))], s.between(2, 14)
    for _ in range(s.count(50, 1500)):
        (x, y), r = s.point(), s.between(0.5, largest)
        s.draw.ellipse((x - r, y - r, x + r, y + r * s.between(0.5, 1)), fill=s.rng.choice(palette))


def blank(s: Sketch) -> None:
    """One colour, perhaps with a trace of noise, a line or a word."""
    s.ground(
        s.rng.choice([(255, 255, 255), (0, 0, 0), s.colour((0, 1), (0, 1)), s.colour((0, 0.1), (0.3, 1))])
    )
    kind = s.count(0, 4)
    if kind == 0:
        s.put(np.asarray(s.image) + s.noise.normal(0, s.between(1, 8), (*s.size[::-1], 1)))
    elif kind == 1:
        s.draw.line((*s.point(), *s.point()), fill=s.colour(), width=s.count(1, 3))
    elif kind == 2:
        s.draw.text(s.point(40), s.word(), fill=s.colour(), font=s.font("sans", s.size[0] / s.count(15, 40)))
    elif kind == 3:
        s.put(np.asarray(s.image) * (1 - 0.3 * s.smooth_field(2)[..., None]))


SIZES = ((480, 360), (360, 480), (400, 400), (640, 400))
KINDS: Kinds = {
    kind.__name__: (kind, SIZES) for kind in (grain, clouds, gradient, stripes, fibres, speckles, blank)
}
