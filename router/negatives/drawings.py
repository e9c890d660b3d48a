"""Drawings: scribbles, line art, scenes, abstract art, icons, logos, flags, comics, patterns of several shapes."""

from __future__ import annotations

import math

from router.negatives.sketch import Colour, Kinds, Sketch


def scribble(s: Sketch) -> None:
    s.ground(s.paper())
    for _ in range(s.count(1, 8)):
        points = [s.point() for _ in range(s.count(4, 14))]
        s.draw.line(s.curve(points), fill=s.colour((0, 1), (0, 0.8)), width=s.count(1, 8))


def line_art(s: Sketch) -> None:
    """Outlines that lie over one another, as of things drawn by pen."""
    s.ground(s.paper())
    ink, thick = s.ink(), s.count(1, 5)
    for _ in range(s.count(3, 9)):
        outline = s.blob(s.point(60), s.between(0.08, 0.35) * min(s.size), rough=s.between(0.1, 0.7))
        s.draw.line(s.wobble([*outline, outline[0]], 1.5), fill=ink, width=thick)
        for _ in range(s.count(0, 4)):
            x, y = s.rng.choice(outline)
            s.draw.line(
                s.curve(
                    [
                        (x, y),
                        (x + s.between(-60, 60), y + s.between(-60, 60)),
                        (x + s.between(-90, 90), y + s.between(-90, 90)),
                    ]
                ),
                fill=ink,
                width=thick,
            )


def scene(s: Sketch) -> None:
    """A cartoon landscape: sky, hills, sun, houses, trees."""
    width, height = s.size
    s.ground(s.colour((0.1, 0.7), (0.7, 1)))
    sun = s.point(40)
    s.draw.ellipse(
        (sun[0] - 35, sun[1] / 3 - 35, sun[0] + 35, sun[1] / 3 + 35), fill=s.colour((0.2, 0.9), (0.8, 1))
    )
    for layer in range(s.count(1, 4)):
        level = height * (0.45 + 0.15 * layer)
        edge = s.curve([(x * width / 5, level + s.between(-0.12, 0.12) * height) for x in range(6)])
        s.draw.polygon([*edge, (width, height), (0, height)], fill=s.colour((0.3, 0.9), (0.3, 0.9)))
    for _ in range(s.count(0, 5)):
        x, y, size = s.between(0, width), s.between(0.55, 0.85) * height, s.between(0.06, 0.2) * width
        if s.chance(0.5):
            s.draw.rectangle((x, y, x + size, y + size * 0.8), fill=s.colour(), outline=(30, 30, 30))
            s.draw.polygon([(x - 5, y), (x + size / 2, y - size / 2), (x + size + 5, y)], fill=s.colour())
            s.draw.rectangle(
                (x + size * 0.4, y + size * 0.4, x + size * 0.6, y + size * 0.8), fill=s.colour()
            )
        else:
            s.draw.rectangle((x - size / 12, y, x + size / 12, y + size / 2), fill=(100, 70, 40))
            s.draw.polygon(s.blob((x, y - size / 4), size / 2), fill=s.colour((0.4, 1), (0.3, 0.8)))


def figure(s: Sketch) -> None:
    """A face or a person of a few strokes."""
    width, height = s.size
    s.ground(s.paper() if s.chance(0.6) else s.colour())
    ink, thick, filled = s.ink(), s.count(2, 7), s.chance(0.5)
    for _ in range(s.count(1, 3)):
        x, y, r = s.between(0.2, 0.8) * width, s.between(0.2, 0.5) * height, s.between(0.08, 0.25) * height
        s.draw.ellipse(
            (x - r, y - r, x + r, y + r),
            outline=ink,
            width=thick,
            fill=s.colour((0.1, 0.6), (0.7, 1)) if filled else None,
        )
        for side in (-1, 1):
            s.draw.ellipse(
                (x + side * r * 0.4 - r / 8, y - r / 3, x + side * r * 0.4 + r / 8, y - r / 12), fill=ink
            )
        s.draw.arc(
            (x - r / 2, y - r / 4, x + r / 2, y + r * 0.6),
            *((20, 160) if s.chance(0.7) else (200, 340)),
            fill=ink,
            width=thick,
        )
        if s.chance(0.7):
            s.draw.line(s.wobble([(x, y + r), (x, y + 2.6 * r)], 1), fill=ink, width=thick)
            for dx, start, end in (
                (-1, 1.4, 1.9),
                (1, 1.4, s.between(0.8, 1.9)),
                (-0.7, 2.6, 3.8),
                (0.7, 2.6, 3.8),
            ):
                s.draw.line(
                    s.wobble([(x, y + start * r), (x + dx * r, y + end * r)], 1), fill=ink, width=thick
                )


def abstract(s: Sketch) -> None:
    """Many coloured shapes, one over the other."""
    width, _ = s.size
    s.ground(s.colour((0, 0.8), (0.1, 1)))
    palette = [s.colour() for _ in range(s.count(2, 6))]
    for _ in range(s.count(8, 60)):
        colour, size, (x, y) = s.rng.choice(palette), s.between(0.03, 0.35) * width, s.point()
        kind = s.count(0, 3)
        if kind == 0:
            s.draw.ellipse((x - size, y - size, x + size, y + size * s.between(0.3, 1)), fill=colour)
        elif kind == 1:
            s.draw.rectangle((x, y, x + size, y + size * s.between(0.2, 2)), fill=colour)
        elif kind == 2:
            s.draw.polygon(
                [
                    s.point() if s.chance(0.2) else (x + s.between(-size, size), y + s.between(-size, size))
                    for _ in range(3)
                ],
                fill=colour,
            )
        else:
            s.draw.line(s.curve([(x, y), s.point(), s.point()]), fill=colour, width=s.count(2, 16))


def glyph(s: Sketch, x: float, y: float, size: float, colour: Colour) -> None:
    """One pictogram of two to four simple parts."""
    for _ in range(s.count(2, 4)):
        u, v, part = (
            x + s.between(-0.3, 0.3) * size,
            y + s.between(-0.3, 0.3) * size,
            s.between(0.15, 0.4) * size,
        )
        kind, thick = s.count(0, 4), max(int(size / 14), 1)
        if kind == 0:
            s.draw.ellipse((u - part, v - part, u + part, v + part), outline=colour, width=thick)
        elif kind == 1:
            s.draw.rounded_rectangle((u - part, v - part / 2, u + part, v + part / 2), part / 4, fill=colour)
        elif kind == 2:
            s.draw.line((u - part, v, u + part, v + s.between(-part, part)), fill=colour, width=thick)
        elif kind == 3:
            s.draw.arc(
                (u - part, v - part, u + part, v + part),
                s.count(0, 180),
                s.count(190, 360),
                fill=colour,
                width=thick,
            )
        else:
            s.draw.polygon([(u, v - part), (u + part, v + part), (u - part, v + part)], fill=colour)


def icons(s: Sketch) -> None:
    width, height = s.size
    s.ground(s.paper() if s.chance(0.6) else s.colour())
    columns, rows = s.count(2, 8), s.count(2, 6)
    step, one = min(width / columns, height / rows), s.colour((0, 1), (0, 0.6))
    for row in range(rows):
        for column in range(columns):
            glyph(
                s,
                (column + 0.5) * width / columns,
                (row + 0.5) * height / rows,
                step * 0.9,
                one if s.chance(0.6) else s.colour(),
            )


def logo(s: Sketch) -> None:
    """A mark of a few parts, with or without a name."""
    width, height = s.size
    s.ground(s.paper() if s.chance(0.6) else s.colour((0.3, 1), (0.1, 0.9)))
    colours, size = [s.colour((0.5, 1), (0.3, 1)), s.colour()], min(s.size) * s.between(0.2, 0.4)
    x, y, fold = width / 2 if s.chance(0.6) else width * 0.25, height * s.between(0.35, 0.55), s.count(2, 8)
    kind, phase = s.count(0, 3), s.between(0, 3)
    for part in range(fold):
        turn = 2 * math.pi * part / fold + phase
        u, v = x + size * 0.5 * math.cos(turn), y + size * 0.5 * math.sin(turn)
        if kind == 0:
            s.draw.ellipse((u - size / 3, v - size / 3, u + size / 3, v + size / 3), fill=colours[part % 2])
        elif kind == 1:
            tip = (x + size * math.cos(turn + 0.5), y + size * math.sin(turn + 0.5))
            s.draw.polygon([(x, y), (u, v), tip], fill=colours[part % 2])
        elif kind == 2:
            r = size * (1 - part / 10)
            s.draw.arc(
                (x - r, y - r, x + r, y + r),
                int(57 * turn),
                int(57 * turn) + 200,
                fill=colours[part % 2],
                width=8,
            )
        else:
            s.draw.rounded_rectangle(
                (
                    x - size + part * size / fold,
                    y - size + part * size / fold,
                    x + part * size / fold,
                    y + part * size / fold,
                ),
                9,
                fill=colours[part % 2],
            )
    if s.chance(0.75):
        name = s.word().upper() if s.chance(0.5) else s.word().title()
        left, top = (width * 0.2, y + size) if x == width / 2 else (width * 0.48, y - size / 4)
        s.draw.text(
            (left, top),
            name,
            fill=s.rng.choice([colours[0], (30, 30, 30)]),
            font=s.font(s.rng.choice(["sans", "serif"]), width / s.count(6, 12)),
        )


def flag(s: Sketch) -> None:
    width, height = s.size
    colours, parts, upright = [s.colour((0, 1), (0.2, 1)) for _ in range(4)], s.count(2, 5), s.chance(0.5)
    for part in range(parts):
        box = (
            (width * part / parts, 0, width * (part + 1) / parts, height)
            if upright
            else (0, height * part / parts, width, height * (part + 1) / parts)
        )
        s.draw.rectangle(box, fill=colours[part % 3])
    extra = s.count(0, 4)
    if extra == 0:
        s.draw.polygon([(0, 0), (width * 0.4, height / 2), (0, height)], fill=colours[3])
    elif extra == 1:
        s.draw.rectangle((width * 0.3, 0, width * 0.42, height), fill=colours[3])
        s.draw.rectangle((0, height * 0.42, width, height * 0.58), fill=colours[3])
    elif extra == 2:
        glyph(s, width / 2, height / 2, height * 0.5, colours[3])
    elif extra == 3:
        s.draw.rectangle((0, 0, width * 0.4, height * 0.5), fill=colours[3])
        for _ in range(s.count(4, 20)):
            x, y = s.between(0, 0.38) * width, s.between(0, 0.48) * height
            s.draw.ellipse((x, y, x + 9, y + 9), fill=(255, 255, 255))


def comic(s: Sketch) -> None:
    """Panels with figures and speech bubbles."""
    width, height = s.size
    s.ground((255, 255, 255))
    columns, rows = s.count(1, 3), s.count(1, 3)
    for row in range(rows):
        for column in range(columns):
            x, y, w, h = (
                column * width / columns + 6,
                row * height / rows + 6,
                width / columns - 12,
                height / rows - 12,
            )
            s.draw.rectangle(
                (x, y, x + w, y + h), fill=s.colour((0, 0.6), (0.6, 1)), outline=(0, 0, 0), width=3
            )
            for _ in range(s.count(1, 3)):
                u, v, r = x + s.between(0.2, 0.8) * w, y + s.between(0.5, 0.7) * h, 0.12 * min(w, h)
                s.draw.polygon(s.blob((u, v + 2 * r), 1.3 * r), fill=s.colour(), outline=(0, 0, 0))
                s.draw.ellipse(
                    (u - r, v - r, u + r, v + r),
                    fill=s.colour((0.1, 0.5), (0.7, 1)),
                    outline=(0, 0, 0),
                    width=2,
                )
            s.draw.ellipse(
                (x + w * 0.1, y + h * 0.05, x + w * 0.8, y + h * 0.32),
                fill=(255, 255, 255),
                outline=(0, 0, 0),
                width=2,
            )
            s.paragraph(
                (x + w * 0.22, y + h * 0.1, x + w * 0.7, y + h * 0.28), s.font("sans", w / 18), (0, 0, 0)
            )


def mosaic(s: Sketch) -> None:
    """Tiles of one form in repeating colours."""
    width, height = s.size
    palette, across, kind = [s.colour() for _ in range(s.count(2, 5))], s.count(4, 24), s.count(0, 3)
    step = width / across
    s.ground(palette[0])
    for row in range(int(height / step) + 1):
        for column in range(across):
            x, y = column * step + (step / 2 if kind == 1 and row % 2 else 0), row * step
            colour = s.rng.choice(palette) if s.chance(0.3) else palette[(row + column) % len(palette)]
            if kind == 0:
                s.draw.polygon(
                    [(x, y), (x + step, y), s.rng.choice([(x, y + step), (x + step, y + step)])], fill=colour
                )
            elif kind == 1:
                s.draw.ellipse((x + 1, y + 1, x + step - 1, y + step - 1), fill=colour)
            elif kind == 2:
                s.draw.arc(
                    (x - step / 2, y - step / 2, x + step / 2, y + step / 2),
                    0,
                    90,
                    fill=colour,
                    width=max(int(step / 4), 1),
                )
                s.draw.arc(
                    (x + step / 2, y + step / 2, x + 1.5 * step, y + 1.5 * step),
                    180,
                    270,
                    fill=colour,
                    width=max(int(step / 4), 1),
                )
            else:
                s.draw.polygon(
                    [
                        (x + step / 2, y),
                        (x + step, y + step / 2),
                        (x + step / 2, y + step),
                        (x, y + step / 2),
                    ],
                    fill=colour,
                )


def mandala(s: Sketch) -> None:
    """Curves around a centre with rotational symmetry."""
    width, height = s.size
    s.ground(s.paper() if s.chance(0.5) else s.colour((0, 1), (0, 0.4)))
    fold, x, y = s.count(5, 18), width / 2, height / 2
    for _ in range(s.count(2, 7)):
        colour, thick = s.colour(), s.count(1, 4)
        path = [(s.between(0.02, 0.5) * min(s.size), s.between(-0.5, 0.5)) for _ in range(4)]
        for part in range(fold):
            turn = 2 * math.pi * part / fold
            points = [(x + r * math.cos(turn + a), y + r * math.sin(turn + a)) for r, a in path]
            s.draw.line(s.curve(points), fill=colour, width=thick)


SIZES = ((480, 480), (600, 440), (440, 600), (320, 240), (128, 128))
KINDS: Kinds = {
    kind.__name__: (kind, SIZES)
    for kind in (scribble, line_art, scene, figure, abstract, icons, logo, flag, comic, mosaic, mandala)
}
